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

    /// Learns batches.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        if case .prePrepare(let heard) = message { batches.append(heard.batch) }
        if batches.count > 32 { batches.removeFirst(16) }
        return .pass
    }

    /// Sends another batch.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .batch(let said) = message else { return .pass }
        guard let other = faulty.random.pick(batches) else { return .drop }
        return .replace(.batch(BatchBody(sequence: said.sequence, batch: other)))
    }
}
