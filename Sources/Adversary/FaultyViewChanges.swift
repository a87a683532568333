import Agreement
import Cryptography
import Messages

/// `view-change-spam`: a replica that asks for view after view.
///
/// Both: one replica alone moves nobody; f + 1 are needed. Source: PBFT section 4.5.2 (a faulty replica cannot force frequent view
/// changes).
public struct ViewChangeSpam: ReplicaBehaviour {
    private var next: UInt64 = 0

    /// Makes the behaviour.
    public init() {}

    /// 5 ms.
    public var period: UInt64? { 5_000_000 }

    /// Asks for a higher view, with nothing prepared.
    public mutating func timePassed(as faulty: inout FaultyReplica) {
        let isFar = faulty.random.chance(perMille: 100)
        next = isFar ? faulty.random.next() : max(next &+ 1, faulty.view.rawValue &+ 1)
        let spam = ViewChange(
            view: View(next),
            replica: faulty.replica,
            stable: .zero,
            certificate: [],
            prepared: [],
            prePrepared: [],
            cluster: faulty.cluster,
            signer: faulty.signer
        )
        faulty.sayToAll(.viewChange(Unverified(spam)))
    }
}

/// `view-change-lies`: a replica whose VIEW-CHANGEs say of P and Q what is not true, something else towards each peer.
///
/// It leaves out what it prepared, claims batches that it never saw, claims its own in views to come, and goes back to the initial
/// checkpoint. Both: the choice of the new view needs 2f + 1 not to contradict and f + 1 to vouch for a batch, so f liars change nothing
/// that was committed. Source: Castro and Liskov, TOCS 2002, section 4.4.
public struct ViewChangeLies: ReplicaBehaviour {
    private var digests: [Digest] = []

    /// Makes the behaviour.
    public init() {}

    /// Learns digests to lie about.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        if case .vote(let heard) = message { digests.append(heard.digest) }
        if digests.count > 64 { digests.removeFirst(32) }
        return .pass
    }

    /// Lies.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .viewChange(let said) = message, said.claim.replica == faulty.replica else { return .pass }
        let claim = said.claim
        let isFresh = faulty.random.chance(perMille: 200)
        var prepared = faulty.random.chance(perMille: 400) ? [] : claim.prepared
        var prePrepared = faulty.random.chance(perMille: 300) ? [] : claim.prePrepared
        if faulty.random.chance(perMille: 500) {
            prepared = prepared.map { other($0, below: claim.view, &faulty) }
            prePrepared += prepared
        }
        if faulty.random.chance(perMille: 300) {
            let first = SequenceNumber(claim.stable.rawValue + faulty.random.within(1...3))
            let invented = other(BatchClaim(first, .zero, View(0)), below: claim.view, &faulty)
            prepared = [invented] + prepared.filter { $0.sequence > first }
            prePrepared = [invented] + prePrepared.filter { $0.sequence > first }
        }
        let lie = ViewChange(
            view: claim.view,
            replica: faulty.replica,
            stable: isFresh ? .zero : claim.stable,
            certificate: isFresh ? [] : claim.certificate,
            prepared: prepared,
            prePrepared: prePrepared.sorted { $0.sequence < $1.sequence },
            cluster: faulty.cluster,
            signer: faulty.signer
        )
        return .replace(.viewChange(Unverified(lie)))
    }

    private func other(_ claim: BatchClaim, below view: View, _ faulty: inout FaultyReplica) -> BatchClaim {
        let digest = faulty.random.chance(perMille: 500) ? faulty.random.pick(digests) ?? claim.digest : claim.digest
        let highest = view.rawValue == 0 ? 0 : view.rawValue - 1
        return BatchClaim(
            claim.sequence,
            digest,
            View(faulty.random.within(claim.view.rawValue...max(highest, claim.view.rawValue)))
        )
    }
}

/// `new-view-lie`: a new primary whose NEW-VIEW chooses otherwise than its VIEW-CHANGEs demand.
///
/// Both: every backup works the choice out again, refuses, and goes on to the next view. Source: PBFT section 4.4.
public struct NewViewLie: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Chooses otherwise.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .newView(let said) = message, said.claim.view.primary(in: faulty.size) == faulty.replica else {
            return .pass
        }
        let claim = said.claim
        var chosen = claim.chosen
        switch faulty.random.below(4) {
        case 0: chosen = chosen.map { _ in .zero }
        case 1: chosen.append(.zero)
        case 2: if !chosen.isEmpty { chosen.removeLast() }
        default: chosen.reverse()
        }
        let lie = NewView(
            view: claim.view,
            members: claim.members,
            start: claim.start,
            chosen: chosen,
            cluster: faulty.cluster,
            signer: faulty.signer
        )
        return .replace(.newView(Unverified(lie)))
    }
}

/// `view-change-forgery`: a replica that claims in its VIEW-CHANGEs to have prepared a batch which nobody proposed, with a request that its
/// client never made, claims several times to have pre-prepared it, and hands it to whoever asks.
///
/// Both: f + 1 replicas have to vouch for a batch before a new view takes it up, because nobody judges it again; however often one of them
/// says so, it is one. Source: Castro and Liskov, TOCS 2002, section 4.4 (condition A2).
public struct ViewChangeForgery: ReplicaBehaviour {
    private let victim: ClientID
    private var forged: [Digest: Batch] = [:]

    /// Forges requests of `victim`.
    public init(victim: ClientID) {
        self.victim = victim
    }

    /// Claims a batch of its own at the first number that is free.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .viewChange(let said) = message, said.claim.replica == faulty.replica,
            said.claim.view.rawValue > 0
        else { return .pass }
        let claim = said.claim
        let request = Request(
            client: victim,
            session: SessionID(1_000_000 + claim.view.rawValue),
            number: .opening,
            operations: [],
            authenticator: faulty.forger
        )
        let batch = Batch(time: Timestamp(nanoseconds: claim.view.rawValue), requests: [request])
        forged[batch.digest] = batch
        let last = max(claim.prepared.last?.sequence ?? claim.stable, faulty.executed)
        let invented = BatchClaim(last.next, batch.digest, View(claim.view.rawValue - 1))
        let lie = faulty.viewChange(
            like: claim,
            prepared: claim.prepared + [invented],
            prePrepared: claim.prePrepared.filter { $0.sequence <= last } + [invented, invented]
        )
        return .replace(.viewChange(Unverified(lie)))
    }

    /// Hands it over.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        guard case .fetch(let fetch) = message, case .batch(let sequence, let digest) = fetch.subject,
            let batch = forged[digest]
        else { return .pass }
        faulty.say(.batch(BatchBody(sequence: sequence, batch: batch)), to: peer)
        return .drop
    }
}

/// `new-view-stuffing`: a new primary whose NEW-VIEW names 2f + 1 times one VIEW-CHANGE, its own, in which it prepared nothing.
///
/// Both: a NEW-VIEW names different senders. Source: PBFT section 4.4 (2f valid VIEW-CHANGEs of other replicas).
public struct NewViewStuffing: ReplicaBehaviour {
    private var empty: [View: ViewChange] = [:]

    /// Makes the behaviour.
    public init() {}

    /// Empties its VIEW-CHANGE, and names nothing else.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        switch message {
        case .viewChange(let said) where said.claim.replica == faulty.replica:
            let lie = faulty.viewChange(like: said.claim, prepared: [], prePrepared: [])
            empty[lie.view] = lie
            return .replace(.viewChange(Unverified(lie)))
        case .newView(let said) where said.claim.view.primary(in: faulty.size) == faulty.replica:
            guard let lie = empty[said.claim.view] else { return .drop }
            let stuffed = NewView(
                view: lie.view,
                members: Array(repeating: NewView.Member(lie.replica, lie.digest), count: faulty.size.quorum),
                start: lie.stable,
                chosen: [],
                cluster: faulty.cluster,
                signer: faulty.signer
            )
            return .replace(.newView(Unverified(stuffed)))
        default:
            return .pass
        }
    }

    /// Hands its VIEW-CHANGE to whoever lacks it.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        guard case .fetch(let fetch) = message, case .viewChange(let view, faulty.replica, _) = fetch.subject,
            let lie = empty[view]
        else { return .pass }
        faulty.say(.viewChange(Unverified(lie)), to: peer)
        return .drop
    }
}

/// `new-view-withhold`: a new primary that begins its view with some replicas only, or with none.
///
/// Both: those that heard nothing go on to the next view when the NEW-VIEW timer ends; what the others do meanwhile is safe. Source: PBFT
/// section 4.5.2.
public struct NewViewWithhold: ReplicaBehaviour {
    private let told: [ReplicaID]

    /// Tells only these replicas.
    public init(told: [ReplicaID]) {
        self.told = told
    }

    /// Withholds it from the others.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        if case .newView = message, !told.contains(peer) { return .drop }
        return .pass
    }
}

/// `bad-state-transfer`: a replica that answers questions for its state with altered parts, or not at all.
///
/// Both: each part is checked against the certified root; the liar is dropped and others are asked. Source: PBFT section 4.6 and TOCS
/// 2002 section 5.3.2.
public struct BadStateTransfer: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Alters or drops its answers.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .stateAnswer(var body) = message else { return .pass }
        guard !body.isEmpty, faulty.random.chance(perMille: 700) else { return .drop }
        body[faulty.random.below(body.count)] ^= UInt8(1 << faulty.random.below(8))
        return .replace(.stateAnswer(body))
    }
}

/// `bad-fetch`: a replica that answers questions for batches and VIEW-CHANGEs with others, or not at all.
///
/// Both: what comes is checked against the digest that was asked for; the others answer too. Source: this project (fetch it by
/// digest and wait).
public struct BadFetch: ReplicaBehaviour {
    private var batches: [Batch] = []

    /// Makes the behaviour.
    public init() {}

    /// Learns batches of others.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        if case .prePrepare(let heard) = message { learn(heard.batch) }
        return .pass
    }

    private mutating func learn(_ batch: Batch) {
        batches.append(batch)
        if batches.count > 32 { batches.removeFirst(16) }
    }

    /// Sends another batch.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        switch message {
        case .prePrepare(let said):
            learn(said.batch)
            return .pass
        case .batch(let said):
            guard let other = faulty.random.pick(batches) else { return .drop }
            return .replace(.batch(BatchBody(sequence: said.sequence, batch: other)))
        default:
            return .pass
        }
    }
}
