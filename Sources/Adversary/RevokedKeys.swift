import Messages

/// `revoked-key`: a client that goes on with its key after an administrator has given it another or removed it: its old requests again, and
/// new ones under the old key epoch and under those that come after.
///
/// Both: none takes effect at any place in the order after the change; nobody else is slowed down, and no correct primary is blamed.
/// Source: this project (client keys are replicated state).
public struct RevokedKey: ClientBehaviour {
    private var sent: [Request] = []

    /// Makes the behaviour.
    public init() {}

    /// Claims another epoch now and then.
    public mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>
    {
        if sent.last?.digest != request.digest { sent.append(request) }
        if sent.count > 32 { sent.removeFirst() }
        guard faulty.random.chance(perMille: 200) else { return .pass }
        return .replace(Self.changed(request, as: &faulty))
    }

    /// 3 ms.
    public var period: UInt64? { 3_000_000 }

    /// Sends an old one again, as it was or under another epoch.
    public mutating func timePassed(as faulty: inout FaultyClient) {
        guard let request = faulty.random.pick(sent) else { return }
        let other = faulty.random.chance(perMille: 500) ? request : Self.changed(request, as: &faulty)
        for replica in faulty.random.sample(2, of: faulty.size.members) { faulty.send(other, to: replica) }
    }

    private static func changed(_ request: Request, as faulty: inout FaultyClient) -> Request {
        let epoch = KeyEpoch(UInt32(truncatingIfNeeded: faulty.random.below(UInt64(4))))
        return faulty.reauthenticated(request, keyEpoch: epoch, spoiledFor: [])
    }
}

/// `revoked-key`, the replica's part: a replica that has a revoked key from a faulty client, and puts requests authenticated with it into
/// its batches, or forwards them: old ones again, and new ones under the old key epoch and under those that come after.
///
/// Both: a request under an epoch that is over is a no-op, the same at every replica; one under an epoch that the key does not belong to
/// is found out by every backup, once it has executed all batches before. Source: this project (client keys are replicated state).
public struct OldKeyOrders: ReplicaBehaviour {
    /// The last request seen of each accomplice, by its place.
    private var last: [Int: Request] = [:]
    private var shown = ShownBatches()

    /// Makes the behaviour.
    public init() {}

    /// Adds such a request to some of its batches.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        switch message {
        case .prePrepare(let said):
            note(said.batch.requests, faulty)
            let models = last
            let other = shown.other(than: said) { said in
                guard faulty.random.chance(perMille: 300), let forged = Self.request(models, &faulty) else {
                    return nil
                }
                let requests =
                    faulty.random.chance(perMille: 500)
                    ? said.batch.requests + [forged] : [forged] + said.batch.requests
                let batch = Batch(time: said.batch.time, requests: requests)
                return PrePrepare(view: said.view, sequence: said.sequence, batch: batch)
            }
            return other.map { .replace(.prePrepare($0)) } ?? .pass
        case .vote(let said): return shown.sent(said)
        default: return .pass
        }
    }

    /// Hears votes for what it showed, and how far the accomplices are.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        switch message {
        case .prePrepare(let heard):
            note(heard.batch.requests, faulty)
            return .pass
        case .vote(let heard): return shown.received(heard)
        default: return .pass
        }
    }

    /// 10 ms.
    public var period: UInt64? { 10_000_000 }

    /// Forwards one.
    public mutating func timePassed(as faulty: inout FaultyReplica) {
        guard let forged = Self.request(last, &faulty) else { return }
        faulty.sayToAll(faulty.forward(forged))
    }

    private mutating func note(_ requests: [Request], _ faulty: FaultyReplica) {
        for request in requests {
            guard let place = faulty.accomplices.firstIndex(where: { $0.client == request.client }) else { continue }
            last[place] = request
        }
    }

    /// What the client would ask next, or again, or in another session, under some epoch.
    private static func request(_ last: [Int: Request], _ faulty: inout FaultyReplica) -> Request? {
        guard let place = faulty.random.pick(last.keys.sorted()), let model = last[place] else { return nil }
        let accomplice = faulty.accomplices[place]
        let epoch = KeyEpoch(UInt32(truncatingIfNeeded: faulty.random.below(UInt64(4))))
        let isOpening = model.kind == .openSession || faulty.random.chance(perMille: 200)
        let session = model.session.rawValue &+ (isOpening ? faulty.random.below(UInt64(3)) : 0)
        let number = model.number.rawValue &+ faulty.random.below(UInt64(3))
        return Request(
            client: accomplice.client,
            keyEpoch: epoch,
            session: SessionID(max(session, 1)),
            number: isOpening ? .opening : RequestNumber(max(number, 1)),
            operations: isOpening ? [] : model.operations,
            authenticator: accomplice.authenticator
        )
    }
}
