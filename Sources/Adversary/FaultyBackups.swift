import Agreement
import Cryptography
import Messages

/// `crash`: a replica that neither hears nor says anything from some moment on.
///
/// Both: the service goes on; as long as it is a backup nothing slows down. Source: the crash fault, contained in every Byzantine model.
public struct Mute: ReplicaBehaviour {
    private let from: UInt64

    /// Falls silent at `from` nanoseconds.
    public init(from: UInt64) {
        self.from = from
    }

    /// Says nothing.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        faulty.now < from ? .pass : .drop
    }

    /// Answers nobody.
    public mutating func reply(_ reply: Reply, to client: ClientID, as faulty: inout FaultyReplica) -> Fate<Reply> {
        faulty.now < from ? .pass : .drop
    }

    /// Answers no read.
    public mutating func answer(
        _ answer: ReadReply,
        to client: ClientID,
        as faulty: inout FaultyReplica
    ) -> Fate<ReadReply> {
        faulty.now < from ? .pass : .drop
    }

    /// Hears nothing.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        faulty.now < from ? .pass : .drop
    }

    /// Hears no client.
    public mutating func receive(_ request: Request, as faulty: inout FaultyReplica) -> Fate<Request> {
        faulty.now < from ? .pass : .drop
    }
}

/// `duplicate-votes`: a replica that votes several times, for the same digest and for others, in both phases.
///
/// Both: its first vote counts once. Source: PBFT section 4.2 (certificates need different replicas).
public struct DuplicateVotes: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Says each vote again, and the other phase's with it.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .vote(let vote) = message else { return .pass }
        for phase in [Vote.Phase.prepare, .commit] {
            let again = Vote(phase, view: vote.view, sequence: vote.sequence, digest: vote.digest)
            faulty.say(.vote(again), to: peer)
            faulty.say(.vote(again), to: peer, after: 500_000)
            var other = vote.digest.bytes
            other[0] ^= 1
            if let digest = Digest(other) {
                let different = Vote(phase, view: vote.view, sequence: vote.sequence, digest: digest)
                faulty.say(.vote(different), to: peer)
            }
        }
        return .pass
    }
}

/// `wrong-votes`: a replica that votes PREPARE and COMMIT at once for whatever anybody proposes or votes for, and towards some peers for
/// digests that nobody proposed.
///
/// Both: with at most f such replicas no two quorums for different batches come about. Source: PBFT section 4.5.1 (safety).
public struct WrongVotes: ReplicaBehaviour {
    private var seen: [SequenceNumber: [Digest]] = [:]

    /// Makes the behaviour.
    public init() {}

    /// Votes for what it hears of.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        switch message {
        case .prePrepare(let heard): agree(heard.view, heard.sequence, heard.batch.digest, &faulty)
        case .vote(let heard): agree(heard.view, heard.sequence, heard.digest, &faulty)
        default: break
        }
        return .pass
    }

    private mutating func agree(
        _ view: View,
        _ sequence: SequenceNumber,
        _ digest: Digest,
        _ faulty: inout FaultyReplica
    ) {
        var known = seen[sequence] ?? []
        guard known.count < 4, !known.contains(digest) else { return }
        known.append(digest)
        seen[sequence] = known
        // Towards each peer for another one of the digests that it knows.
        for peer in faulty.peers {
            let chosen = faulty.random.pick(known) ?? digest
            faulty.say(.vote(Vote(.prepare, view: view, sequence: sequence, digest: chosen)), to: peer)
            faulty.say(.vote(Vote(.commit, view: view, sequence: sequence, digest: chosen)), to: peer)
            faulty.say(.committed(Committed(sequence, chosen)), to: peer)
        }
    }

    /// Replaces some of its own votes.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .vote(let vote) = message, faulty.random.chance(perMille: 300) else { return .pass }
        let wrong = Digest.of(vote.digest.bytes + [peer.rawValue])
        return .replace(.vote(Vote(vote.phase, view: vote.view, sequence: vote.sequence, digest: wrong)))
    }
}

/// `usurper`: a backup that proposes as if it were the primary, and votes for what it proposes.
///
/// Both: only the primary of a view proposes in it. Source: PBFT section 4.2.
public struct Usurper: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Proposes the requests that it hears of from the primary again, at the next number. Not those of another one like it: the two would
    /// answer each other for ever.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        guard case .prePrepare(let heard) = message, !faulty.isPrimary, peer == heard.view.primary(in: faulty.size)
        else { return .pass }
        let time = Timestamp(nanoseconds: heard.batch.time.nanoseconds &+ 1)
        let own = PrePrepare(
            view: heard.view,
            sequence: SequenceNumber(heard.sequence.rawValue &+ 1),
            batch: Batch(time: time, requests: heard.batch.requests)
        )
        faulty.sayToAll(.prePrepare(own))
        for phase in [Vote.Phase.prepare, .commit] {
            faulty.sayToAll(.vote(Vote(phase, view: own.view, sequence: own.sequence, digest: own.batch.digest)))
        }
        return .pass
    }
}

/// `stale-reads`: a replica that votes for every batch and, from some moment on, executes none: it answers reads with values of that
/// moment.
///
/// Both: 2f + 1 equal answers make a result, and those of the correct replicas wait for all that was prepared when the read came. Source:
/// Berger, Reiser and Bessani, SRDS 2021; PBFT section 5.1.3.
public struct StaleReads: ReplicaBehaviour {
    private let from: UInt64

    /// Stops to execute at `from` nanoseconds.
    public init(from: UInt64) {
        self.from = from
    }

    /// Votes at once, and keeps from the replica inside what would let it execute.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        guard faulty.now >= from else { return .pass }
        switch message {
        case .prePrepare(let heard):
            agree(heard.view, heard.sequence, heard.batch.digest, &faulty)
            return .pass
        case .digestPrePrepare(let heard):
            agree(heard.view, heard.sequence, heard.digest, &faulty)
            return .pass
        case .vote, .checkpoint, .stateAnswer:
            return .drop
        default:
            return .pass
        }
    }

    private func agree(_ view: View, _ sequence: SequenceNumber, _ digest: Digest, _ faulty: inout FaultyReplica) {
        for phase in [Vote.Phase.prepare, .commit] {
            faulty.sayToAll(.vote(Vote(phase, view: view, sequence: sequence, digest: digest)))
        }
    }
}

/// Part of `bad-fetch`: a replica that says no COMMIT from some moment on.
///
/// Both: 2f + 1 others say theirs; where f faulty replicas and one that was left out do not, the view ends. Source: PBFT section 4.2.
public struct CommitWithhold: ReplicaBehaviour {
    private let from: UInt64

    /// Begins at `from` nanoseconds.
    public init(from: UInt64) {
        self.from = from
    }

    /// Withholds it.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .vote(let vote) = message, vote.phase == .commit, faulty.now >= from else { return .pass }
        return .drop
    }
}

/// `two-faced`: a replica that votes towards one backup only, and says in its VIEW-CHANGEs that it prepared nothing.
///
/// What is prepared at that backup alone must bind nobody, and clients must not believe it. Both: with less than 2f + 1 voices nothing is
/// committed and no tentative reply is taken. Source: PBFT sections 4.2 and 5.1.2.
public struct TwoFaced: ReplicaBehaviour {
    private let friend: ReplicaID

    /// Votes towards `friend` only.
    public init(friend: ReplicaID) {
        self.friend = friend
    }

    /// Keeps its votes from the others.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        switch message {
        case .vote where peer != friend:
            return .drop
        case .viewChange(let said) where said.claim.replica == faulty.replica:
            let denial = faulty.viewChange(like: said.claim, prepared: [], prePrepared: [])
            return .replace(.viewChange(Unverified(denial)))
        default:
            return .pass
        }
    }
}

/// `future-spam`: a replica that votes, proposes and signs checkpoints for numbers and views far ahead.
///
/// Both: nothing outside the water marks takes memory; no number overflows. Source: PBFT section 4.2 (water marks).
public struct FutureSpam: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// 2 ms.
    public var period: UInt64? { 2_000_000 }

    /// Says something of the future.
    public mutating func timePassed(as faulty: inout FaultyReplica) {
        let jumps: [UInt64] = [1, 2, 8, 100, 1_000, 1 << 32, .max - 1, .max]
        let sequence = SequenceNumber(far(faulty.executed.rawValue, faulty.random.pick(jumps) ?? 1))
        let isNow = faulty.random.chance(perMille: 500)
        let view = isNow ? faulty.view : View(far(faulty.view.rawValue, faulty.random.pick(jumps) ?? 1))
        let digest = Digest.of([UInt8(truncatingIfNeeded: faulty.random.next())])
        for phase in [Vote.Phase.prepare, .commit] {
            faulty.sayToAll(.vote(Vote(phase, view: view, sequence: sequence, digest: digest)))
        }
        let checkpoint = Checkpoint(
            sequence,
            root: digest,
            by: faulty.replica,
            cluster: faulty.cluster,
            signer: faulty.signer
        )
        faulty.sayToAll(.checkpoint(Unverified(checkpoint)))
        let question = CatchUp(
            view: view,
            standing: isNow ? .active : .waiting,
            executed: sequence,
            stable: sequence,
            prepared: sequence
        )
        faulty.sayToAll(.catchUp(question))
    }

    private func far(_ base: UInt64, _ jump: UInt64) -> UInt64 {
        let (sum, overflow) = base.addingReportingOverflow(jump)
        return overflow ? .max : sum
    }
}

/// `checkpoint-lie`: a replica that signs wrong roots, another one towards each peer.
///
/// Both: a checkpoint needs 2f + 1 equal ones; the correct replicas make it stable without the liar. Source: PBFT section 4.3.
public struct CheckpointLie: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Signs another root.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .checkpoint(let said) = message else { return .pass }
        let lie = Checkpoint(
            said.claim.sequence,
            root: Digest.of(said.claim.root.bytes + [peer.rawValue]),
            by: faulty.replica,
            cluster: faulty.cluster,
            signer: faulty.signer
        )
        return .replace(.checkpoint(Unverified(lie)))
    }
}

/// `checkpoint-withhold`: a replica that never says CHECKPOINT.
///
/// Both: the correct replicas make checkpoints stable among themselves. Source: PBFT section 4.3.
public struct CheckpointWithhold: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Withholds it.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        if case .checkpoint = message { return .drop }
        return .pass
    }
}

/// `wrong-replies`: a replica that answers clients wrongly, and answers what was not executed.
///
/// Both: a client takes a result on f + 1 equal ones only. Source: PBFT section 4.1.
public struct WrongReplies: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Changes the results.
    public mutating func reply(_ reply: Reply, to client: ClientID, as faulty: inout FaultyReplica) -> Fate<Reply> {
        guard let payload = reply.payload else {
            let digest = Digest.of([UInt8(truncatingIfNeeded: faulty.random.below(UInt64(3)))])
            return .replace(reply.with(.digest(reply.session, reply.number, digest)))
        }
        let results = payload.results.map { $0 + [1] }
        let outcomes: [Reply.Outcome] = [.executed, .sessionOpened, .sessionOutdated, .resultsTooLarge]
        let outcome = faulty.random.pick(outcomes) ?? payload.outcome
        let wrong = Reply.Payload(session: payload.session, number: payload.number, outcome: outcome, results: results)
        let next = RequestNumber(payload.number.rawValue &+ 1)
        let early = Reply.Payload(session: payload.session, number: next, outcome: .executed, results: results)
        faulty.say(Reply(view: reply.view, sequence: reply.sequence, payload: early), to: client)
        return .replace(reply.with(.whole(wrong)))
    }

    /// Answers a read with another value, another digest, or a refusal.
    public mutating func answer(
        _ answer: ReadReply,
        to client: ClientID,
        as faulty: inout FaultyReplica
    ) -> Fate<ReadReply> {
        let value = Array(repeating: UInt8(truncatingIfNeeded: faulty.random.below(UInt64(3))), count: 8)
        let outcomes: [ReadReply.Outcome] = [.refused, .result(value), .digest(Digest.of(value))]
        return .replace(ReadReply(tag: answer.tag, outcome: faulty.random.pick(outcomes) ?? .refused))
    }
}

extension Reply {
    /// The same about something else, committed or not.
    fileprivate func with(_ content: Content) -> Reply {
        Reply(view: view, sequence: sequence, isTentative: isTentative, content: content)
    }
}

/// `reply-view-lie`: a replica that names a view of the far future in its replies, to send clients to a wrong primary.
///
/// Both: a client believes the (f + 1)-th highest view. Source: this project (replies).
public struct ReplyViewLie: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Names another view.
    public mutating func reply(_ reply: Reply, to client: ClientID, as faulty: inout FaultyReplica) -> Fate<Reply> {
        let views: [UInt64] = [0, 1, UInt64(faulty.replica.rawValue), reply.view.rawValue &+ 1, .max]
        let view = View(faulty.random.pick(views) ?? .max)
        return .replace(
            Reply(view: view, sequence: reply.sequence, isTentative: reply.isTentative, content: reply.content)
        )
    }
}

/// `slow`: a replica that does everything late.
///
/// Both: a slow backup is one of the f; the others do not wait for it. Source: Aardvark section 3 (slow is worse than silent).
public struct Slow: ReplicaBehaviour {
    private let nanoseconds: UInt64

    /// Is late by `nanoseconds`.
    public init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    /// Sends late.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        .delay(nanoseconds)
    }

    /// Answers late.
    public mutating func reply(_ reply: Reply, to client: ClientID, as faulty: inout FaultyReplica) -> Fate<Reply> {
        .delay(nanoseconds)
    }

    /// Answers reads late.
    public mutating func answer(
        _ answer: ReadReply,
        to client: ClientID,
        as faulty: inout FaultyReplica
    ) -> Fate<ReadReply> {
        .delay(nanoseconds)
    }
}

/// `forward-bad-requests`: a replica that forwards requests with wrong proofs, old ones, and such in the names of others.
///
/// PBFT: dropped at the primary for the price of a MAC. Aardvark: the forwarder's channel for forwards is closed, the clients named are
/// not blamed. Source: this project.
public struct ForwardBadRequests: ReplicaBehaviour {
    private var seen: [Request] = []

    /// Makes the behaviour.
    public init() {}

    /// Remembers requests.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        if case .prePrepare(let heard) = message {
            seen.append(contentsOf: heard.batch.requests)
            seen.removeFirst(max(seen.count - 64, 0))
        }
        return .pass
    }

    /// 3 ms.
    public var period: UInt64? { 3_000_000 }

    /// Forwards a bad one.
    public mutating func timePassed(as faulty: inout FaultyReplica) {
        guard let model = faulty.random.pick(seen) else { return }
        let client =
            faulty.random.chance(perMille: 500) ? model.client : faulty.random.pick(faulty.clients) ?? model.client
        let forged = Request(
            client: client,
            session: model.session,
            number: model.kind == .openSession
                ? .opening : RequestNumber(max(model.number.rawValue &+ faulty.random.below(UInt64(4)), 1)),
            operations: model.operations,
            authenticator: faulty.forger
        )
        faulty.sayToAll(faulty.forward(faulty.random.chance(perMille: 300) ? model : forged))
    }
}

/// `protocol-flood`: a replica that asks its peers to send everything again, all the time.
///
/// Both: answered at a bounded rate, so agreement does not slow down. Source: this project (one outstanding catch-up request a
/// peer, in its own share).
public struct ProtocolFlood: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// 1 ms.
    public var period: UInt64? { 1_000_000 }

    /// As fast as its links take it.
    public var isFlood: Bool { true }

    /// Asks for everything.
    public mutating func timePassed(as faulty: inout FaultyReplica) {
        let first = SequenceNumber(faulty.random.within(0...faulty.executed.rawValue))
        let question = CatchUp(
            view: faulty.view,
            standing: faulty.random.pick([.waiting, .active, .learning]) ?? .active,
            executed: first,
            stable: .zero,
            prepared: first
        )
        faulty.sayToAll(.catchUp(question))
    }
}

/// `flood`: a replica that sends long messages which nobody waits for, as fast as it can: batches that were not asked for, proposals of
/// views to come, forwarded requests, certificates.
///
/// PBFT: they wait in the one queue with everything else. Aardvark: they wait in the flooder's own queue. Both: what is kept of them is
/// bounded, and most is dropped before any cryptography. Source: Clement et al., NSDI 2009, section 5 and table 3.
public struct Flood: ReplicaBehaviour {
    private let bytes: Int
    private var sent: UInt64 = 0

    /// Sends operations of `bytes` bytes.
    public init(bytes: Int) {
        self.bytes = bytes
    }

    /// 1 ms.
    public var period: UInt64? { 1_000_000 }

    /// As fast as its links take it.
    public var isFlood: Bool { true }

    /// Sends one of each.
    public mutating func timePassed(as faulty: inout FaultyReplica) {
        sent += 1
        let junk = Request(
            client: faulty.random.pick(faulty.clients) ?? ClientID(1),
            session: SessionID(1),
            number: RequestNumber(sent),
            operations: [Array(repeating: UInt8(truncatingIfNeeded: sent), count: bytes)],
            authenticator: faulty.forger
        )
        let batch = Batch(time: Timestamp(nanoseconds: sent), requests: [junk])
        let ahead = SequenceNumber(faulty.low.rawValue &+ 1 &+ sent % UInt64(faulty.limits.logWindow))
        faulty.sayToAll(faulty.forward(junk))
        faulty.sayToAll(.batch(BatchBody(sequence: ahead, batch: batch)))
        let view = View(faulty.view.rawValue &+ faulty.random.within(1...3))
        faulty.sayToAll(.prePrepare(PrePrepare(view: view, sequence: ahead, batch: batch)))
        let checkpoint = Checkpoint(
            SequenceNumber(faulty.high.rawValue &+ UInt64(faulty.limits.checkpointInterval) &* sent),
            root: batch.digest,
            by: faulty.replica,
            cluster: faulty.cluster,
            signer: faulty.signer
        )
        faulty.sayToAll(.checkpoint(Unverified(checkpoint)))
        let many = Array(repeating: checkpoint, count: faulty.size.quorum)
        if let certificate = CheckpointCertificate(many) { faulty.sayToAll(.certificate(Unverified(certificate))) }
    }
}

/// `echo-votes`: a replica that votes towards each peer for what that peer voted for. An accomplice of an equivocating primary.
///
/// Both: with the primary and f of these, f + 1 are faulty, and nothing can hold. Source: the bound n > 3f of Pease, Shostak and
/// Lamport, JACM 1980.
public struct EchoVotes: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Agrees with the sender.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        guard case .vote(let heard) = message, heard.phase == .prepare else { return .pass }
        for phase in [Vote.Phase.prepare, .commit] {
            let echo = Vote(phase, view: heard.view, sequence: heard.sequence, digest: heard.digest)
            faulty.say(.vote(echo), to: peer)
        }
        return .pass
    }

    /// Votes in no other way.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        if case .vote = message { return .drop }
        return .pass
    }
}
