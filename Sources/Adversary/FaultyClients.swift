import Agreement
import Messages

/// `big-mac`: a client whose authenticator is good for the primary and bad for every backup.
///
/// PBFT: the primary proposes, no backup can check; throughput falls to nothing unless batches are accepted on f + 1 voices. Aardvark:
/// requests are signed, so that the primary gets a good signature and the backups another copy with a bad one; that costs them a check,
/// and the client its place off the blacklist. Source: Aardvark section 3.1 and table 1 ("client with MACs good for the primary only").
public struct BigMAC: ClientBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Spoils the proof for the backups.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        faulty.spoil(request, for: faulty.backups, to: replica)
    }
}

/// `partial-mac`: a client whose authenticator is bad for a random part of the replicas, another one each time.
///
/// PBFT: batches with its requests wait until f + 1 voices vouch for them, or for a view change. Aardvark: some replicas get a copy with
/// a bad signature. Source: Aardvark section 3.1.
public struct PartialMAC: ClientBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Spoils the proof for some replicas.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        let count = faulty.random.below(faulty.size.replicas)
        let spoiled = faulty.random.sample(count, of: faulty.size.members)
        return faulty.spoil(request, for: spoiled, to: replica)
    }
}

/// `poison-batch`: a client that is correct but for one request in a millisecond, which is good for the primary and bad for the backups:
/// about one in each batch, together with good ones of its own and of others.
///
/// PBFT: each batch with such a request waits until f + 1 voices vouch for it, the good requests with it. Aardvark: as `big-mac`. Source:
/// Aardvark section 3.1.
public struct PoisonBatch: ClientBehaviour {
    private var isDue = true
    private var poisoned: RequestNumber?

    /// Makes the behaviour.
    public init() {}

    /// Spoils the proof of one request, wherever it goes.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        guard request.kind == .ordered else { return .pass }
        if isDue {
            isDue = false
            poisoned = request.number
        }
        return request.number == poisoned ? faulty.spoil(request, for: faulty.backups, to: replica) : .pass
    }

    /// 1 ms.
    public var period: UInt64? { 1_000_000 }

    /// Makes the next request a bad one.
    public mutating func timePassed(as faulty: inout FaultyClient) { isDue = true }
}

/// `bad-signature`: a client whose channel is good and whose signatures (in PBFT: all MACs of the authenticator) are not.
///
/// PBFT: dropped at the primary for the price of a MAC. Aardvark: dropped for the price of one signature check, after which the client
/// is on the blacklist. Both: no request of it is ever executed. Source: Aardvark section 4.1.
public struct BadSignature: ClientBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Spoils the proof for everybody.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        .replace(faulty.reauthenticated(request, spoiledFor: faulty.size.members))
    }
}

/// `replay-old`: a client that sends its own old requests again and again, to every replica.
///
/// Both: each is answered from the reply cache or dropped, and none is executed twice. Source: Aardvark section 4.1 (sequence check).
public struct ReplayOld: ClientBehaviour {
    private var sent: [Request] = []

    /// Makes the behaviour.
    public init() {}

    /// Remembers the last requests.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        if sent.last?.digest != request.digest { sent.append(request) }
        if sent.count > 32 { sent.removeFirst() }
        return .pass
    }

    /// 5 ms.
    public var period: UInt64? { 5_000_000 }

    /// Sends one again.
    public mutating func timePassed(as faulty: inout FaultyClient) {
        guard let request = faulty.random.pick(sent) else { return }
        for replica in faulty.size.members { faulty.send(request, to: replica) }
    }
}

/// `replay-pending`: a client that sends the request it waits for to every replica all the time.
///
/// Both: it is ordered once; the copies are dropped before any cryptography, and a backup forwards it once in a view at the most.
/// Source: Aardvark section 4.1 (retransmission check).
public struct ReplayPending: ClientBehaviour {
    private var last: Request?

    /// Makes the behaviour.
    public init() {}

    /// Remembers the request.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        last = request
        return .pass
    }

    /// 2 ms.
    public var period: UInt64? { 2_000_000 }

    /// Sends it again.
    public mutating func timePassed(as faulty: inout FaultyClient) {
        guard let last else { return }
        for replica in faulty.size.members { faulty.send(last, to: replica) }
    }
}

/// `sequence-skip`: a client that sends validly authenticated requests with numbers far ahead, inside and outside its window.
///
/// Both: none is executed before its predecessors, memory stays inside the client's window. Source: Aardvark section 4.1.
public struct SequenceSkip: ClientBehaviour {
    private var last: Request?

    /// Makes the behaviour.
    public init() {}

    /// Remembers how far it is.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        last = request
        return .pass
    }

    /// 5 ms.
    public var period: UInt64? { 5_000_000 }

    /// Sends a number ahead of it.
    public mutating func timePassed(as faulty: inout FaultyClient) {
        guard let last, last.kind == .ordered else { return }
        let jumps: [UInt64] = [1, 2, 3, 63, 64, 65, 127, 128, 129, 1_000, 1 << 40, .max]
        let jump = faulty.random.pick(jumps) ?? 1
        let ahead = Request(
            client: faulty.client,
            session: last.session,
            number: RequestNumber(max(last.number.rawValue &+ jump, 1)),
            operations: last.operations,
            authenticator: faulty.authenticator([])
        )
        if let replica = faulty.random.pick(faulty.size.members) { faulty.send(ahead, to: replica) }
    }
}

/// `two-requests-one-number`: a client that gives one number to two different requests, both well authenticated, and sends one to half
/// of the replicas and one to the others.
///
/// Both: at most one of the two is executed, the same one everywhere. Source: Castro and Liskov, TOCS 2002, section 4.1 (a faulty
/// client); the rule of exactly once.
public struct TwoRequestsOneNumber: ClientBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Replaces it for the odd replicas.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        let other = request.operations.map { Array($0.reversed()) }
        guard request.kind == .ordered else { return .pass }
        let twin = Request(
            client: faulty.client,
            session: request.session,
            number: request.number,
            operations: other,
            authenticator: faulty.authenticator([])
        )
        // Everybody gets to hear of both in the end, in different orders.
        let isOdd = replica.index % 2 == 1
        faulty.send(isOdd ? request : twin, to: faulty.random.pick(faulty.size.members) ?? replica)
        return isOdd ? .replace(twin) : .pass
    }
}

/// `backup-only`: a client that never sends to the primary, only to the backups.
///
/// Both: backups forward, at most once in a view, and the request is ordered; nobody blames the primary for it while it orders what is
/// forwarded. Source: Aardvark section 4.1; SBFT and Prime discuss the same request.
public struct BackupOnly: ClientBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Sends it elsewhere.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        guard replica == faulty.primary else { return .pass }
        for backup in faulty.backups { faulty.send(request, to: backup) }
        return .drop
    }
}

/// `frame-client`: a client that sends requests in a victim's name, over its own channel, with its own proof.
///
/// Both: refused, because the channel is not the victim's; the victim is not blamed and not slowed down. Source: Clement et al., NSDI 2009, section 4.1 (only the owner of a
/// channel is ever blamed).
public struct FrameClient: ClientBehaviour {
    private var number: UInt64 = 0

    /// Makes the behaviour.
    public init() {}

    /// 5 ms.
    public var period: UInt64? { 5_000_000 }

    /// Sends a request in the victim's name.
    public mutating func timePassed(as faulty: inout FaultyClient) {
        number += 1
        let forged = Request(
            client: faulty.victim,
            session: SessionID(faulty.random.within(1...3)),
            number: RequestNumber(number),
            operations: [[0]],
            authenticator: faulty.authenticator([])
        )
        for replica in faulty.size.members { faulty.send(forged, to: replica) }
    }
}

/// `many-identities`: a client that uses identities which the cluster does not know, a new one each time.
///
/// Both: dropped before any cryptography; no memory is kept for them. Source: this project (client keys are replicated state).
public struct ManyIdentities: ClientBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// 2 ms.
    public var period: UInt64? { 2_000_000 }

    /// Opens a session under an unknown identity.
    public mutating func timePassed(as faulty: inout FaultyClient) {
        let stranger = Request(
            client: ClientID(1_000_000 + UInt32(truncatingIfNeeded: faulty.random.below(UInt64(1 << 20)))),
            session: SessionID(1),
            number: .opening,
            operations: [],
            authenticator: faulty.authenticator([])
        )
        for replica in faulty.size.members { faulty.send(stranger, to: replica) }
    }
}

/// `session-churn`: a client that opens session after session, some of them with numbers from far in the future.
///
/// Both: each opening is one ordered request like others; older sessions are void, and memory for the client does not grow. Source:
/// this project ("a client opens a session by an ordered request").
public struct SessionChurn: ClientBehaviour {
    private var session: UInt64 = 1 << 20

    /// Makes the behaviour.
    public init() {}

    /// 10 ms.
    public var period: UInt64? { 10_000_000 }

    /// Opens the next session, now and then the last possible one.
    public mutating func timePassed(as faulty: inout FaultyClient) {
        session += faulty.random.within(1...3)
        let number = faulty.random.chance(perMille: 20) ? UInt64.max - faulty.random.below(UInt64(3)) : session
        let opening = Request(
            client: faulty.client,
            session: SessionID(number),
            number: .opening,
            operations: [],
            authenticator: faulty.authenticator([])
        )
        for replica in faulty.random.sample(2, of: faulty.size.members) { faulty.send(opening, to: replica) }
    }
}

/// `bad-mac-flood`: a client that sends requests with wrong signatures (in PBFT: MACs) to every replica as fast as it can, with the numbers
/// that the cheap checks let pass.
///
/// PBFT: a MAC each. Aardvark: after the first wrong signature the client is on the blacklist. Both: none is ordered. Source: Clement et
/// al., NSDI 2009, section 4.1 (verification).
public struct BadMACFlood: ClientBehaviour {
    private var last: Request?

    /// Makes the behaviour.
    public init() {}

    /// Remembers how far it is.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        last = request
        return .pass
    }

    /// 0.5 ms.
    public var period: UInt64? { 500_000 }

    /// As fast as its links take it.
    public var isFlood: Bool { true }

    /// Sends a wrong one.
    public mutating func timePassed(as faulty: inout FaultyClient) {
        guard let last else { return }
        let next = RequestNumber(last.number.rawValue &+ faulty.random.within(1...3))
        let wrong = Request(
            client: faulty.client,
            session: last.session,
            number: next,
            operations: [[UInt8(truncatingIfNeeded: faulty.random.next())]],
            replier: last.replier,
            authenticator: faulty.authenticator(faulty.size.members)
        )
        for replica in faulty.size.members { faulty.send(wrong, to: replica) }
    }
}

/// `client-flood`: a client that sends long requests which cannot be ordered, well authenticated, to every replica as fast as it can.
///
/// Both: they are dropped before any cryptography, or wait within the client's own bounds. Source: Clement et al., NSDI 2009, section 5
/// and table 3 (flooding clients).
public struct ClientFlood: ClientBehaviour {
    private let bytes: Int
    private var last: Request?
    private var sent: UInt64 = 0

    /// Sends operations of `bytes` bytes.
    public init(bytes: Int) {
        self.bytes = bytes
    }

    /// Remembers how far it is.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        last = request
        return .pass
    }

    /// 2 ms.
    public var period: UInt64? { 2_000_000 }

    /// As fast as its links take it.
    public var isFlood: Bool { true }

    /// Sends one that leaves a gap, inside the window and beyond it.
    public mutating func timePassed(as faulty: inout FaultyClient) {
        guard let last else { return }
        sent += 1
        let junk = Request(
            client: faulty.client,
            session: last.session,
            number: RequestNumber(last.number.rawValue &+ 2 &+ sent % 160),
            operations: [Array(repeating: UInt8(truncatingIfNeeded: sent), count: bytes)],
            replier: last.replier,
            authenticator: faulty.authenticator([])
        )
        for replica in faulty.size.members { faulty.send(junk, to: replica) }
    }
}

/// `heavy-request`: a client that puts as many operations into each request as fit.
///
/// Both: each is ordered and executed like others; other clients have their turns between. Source: this project (bundles).
public struct HeavyRequest: ClientBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Repeats its operations.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        guard let operation = request.operations.first else { return .pass }
        let count = MessageLimits.operationsPerRequest
        return .replace(faulty.changed(request, operations: Array(repeating: operation, count: count)))
    }
}

/// `big-request`: a client whose operations are as long as they may be.
///
/// Both: each is ordered; a batch has a bound in bytes, so that others are not held up by many of them. Source: Clement et al., NSDI 2009,
/// section 5 (9 KB requests).
public struct BigRequest: ClientBehaviour {
    private let bytes: Int

    /// Sends operations of `bytes` bytes.
    public init(bytes: Int) {
        self.bytes = bytes
    }

    /// Lengthens its operation.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        guard request.kind == .ordered else { return .pass }
        let filling = UInt8(truncatingIfNeeded: request.number.rawValue)
        return .replace(faulty.changed(request, operations: [Array(repeating: filling, count: bytes)]))
    }
}

extension FaultyClient {
    /// The same request with other operations, well authenticated.
    fileprivate func changed(_ request: Request, operations: [[UInt8]]) -> Request {
        Request(
            client: client,
            session: request.session,
            number: request.number,
            operations: operations,
            replier: request.replier,
            authenticator: authenticator([])
        )
    }
}
