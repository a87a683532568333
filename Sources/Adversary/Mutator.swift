import Agreement
import Cryptography
import Messages

/// `mutate`: a replica that changes some of the messages that it sends, and signs and MACs what comes out.
///
/// Small mutations change one field by a little (the next view, the number before, a neighbouring digest); any-scope mutations put any
/// value in. In each view and number the same mutation goes to the same peers, so that whole rounds go wrong and not only single
/// messages. Both protocols: safety holds. Source: Winter, Buse, de Graaf, von Gleissenthall and Kulahcioglu Ozkan, "Randomized testing of
/// Byzantine fault tolerant algorithms" (ByzzFuzz), OOPSLA 2023.
public struct Mutator: ReplicaBehaviour {
    private let perMille: Int
    private let isAnyScope: Bool
    private let seed: UInt64
    private var digests: [Digest] = [.zero]
    private var requests: [Request] = []

    /// Changes messages in `perMille` of a thousand rounds.
    public init(perMille: Int, isAnyScope: Bool, seed: UInt64) {
        self.perMille = perMille
        self.isAnyScope = isAnyScope
        self.seed = seed
    }

    /// Learns values to put in.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        switch message {
        case .prePrepare(let heard):
            digests.append(heard.batch.digest)
            requests.append(contentsOf: heard.batch.requests)
        case .digestPrePrepare(let heard): digests.append(heard.digest)
        case .vote(let heard): digests.append(heard.digest)
        default: break
        }
        digests.removeFirst(max(digests.count - 32, 0))
        requests.removeFirst(max(requests.count - 32, 0))
        return .pass
    }

    /// Changes it, if the round is one of those.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        var round = RandomStream(seed: seed ^ roundNumber(message), stream: UInt64(peer.rawValue))
        guard round.chance(perMille: perMille) else { return .pass }
        switch message {
        case .prePrepare(let said): return mutated(said, &round, &faulty)
        case .vote(let said): return mutated(said, &round)
        case .checkpoint(let said):
            let claim = said.claim
            let lie = Checkpoint(
                SequenceNumber(number(claim.sequence.rawValue, &round)),
                root: round.pick(digests) ?? claim.root,
                by: faulty.replica,
                cluster: faulty.cluster,
                signer: faulty.signer
            )
            return .replace(.checkpoint(Unverified(lie)))
        case .catchUp(let said):
            let view = View(number(said.view.rawValue, &round))
            let executed = SequenceNumber(number(said.executed.rawValue, &round))
            let lie = CatchUp(
                view: view,
                standing: round.pick([.waiting, .active, .learning]) ?? .active,
                executed: executed,
                stable: SequenceNumber(number(said.stable.rawValue, &round)),
                prepared: SequenceNumber(number(said.prepared.rawValue, &round))
            )
            return .replace(.catchUp(lie))
        case .committed(let said):
            let sequence = SequenceNumber(number(said.sequence.rawValue, &round))
            return .replace(.committed(Committed(sequence, round.pick(digests) ?? said.digest)))
        case .certificate(let said):
            // With a word of its own in it, which no quorum shares.
            let claim = said.claim
            let own = Checkpoint(
                claim.sequence,
                root: round.pick(digests) ?? claim.root,
                by: faulty.replica,
                cluster: faulty.cluster,
                signer: faulty.signer
            )
            let changed = CheckpointCertificate(claim.checkpoints.dropLast() + [own])
            return changed.map { .replace(.certificate(Unverified($0))) } ?? .drop
        case .idle(let said):
            let view = View(number(said.view.rawValue, &round))
            return .replace(.idle(Idle(view: view, through: SequenceNumber(number(said.through.rawValue, &round)))))
        case .ping(let said):
            return .replace(.ping(Ping(isAnswer: said.isAnswer, number: number(said.number, &round))))
        case .forward:
            return round.pick(requests).map { .replace(faulty.forward($0)) } ?? .drop
        case .viewChange(let said) where said.claim.replica == faulty.replica:
            return .replace(.viewChange(Unverified(mutated(said.claim, &round, faulty))))
        case .newView(let said) where said.claim.view.primary(in: faulty.size) == faulty.replica:
            return .replace(.newView(Unverified(mutated(said.claim, &round, faulty))))
        case .stateAnswer(var body) where !body.isEmpty:
            body[round.below(body.count)] ^= UInt8(1 << round.below(8))
            return .replace(.stateAnswer(body))
        case .digestPrePrepare, .viewChange, .newView, .fetch, .batch, .requests, .stateRequest, .stateAnswer:
            return .drop
        }
    }

    private func roundNumber(_ message: PeerMessage) -> UInt64 {
        switch message {
        case .prePrepare(let said): said.view.rawValue &* 1_000_003 &+ said.sequence.rawValue
        case .vote(let said): said.view.rawValue &* 1_000_003 &+ said.sequence.rawValue
        case .checkpoint(let said): said.claim.sequence.rawValue
        case .catchUp(let said): said.executed.rawValue
        case .idle(let said): said.through.rawValue
        case .ping(let said): said.number
        case .forward(let said): said.request.claim.number.rawValue
        case .viewChange(let said): said.claim.view.rawValue
        case .newView(let said): said.claim.view.rawValue
        case .digestPrePrepare(let said): said.view.rawValue &* 1_000_003 &+ said.sequence.rawValue
        case .certificate(let said): said.claim.sequence.rawValue
        case .committed(let said): said.sequence.rawValue
        case .fetch, .batch, .requests, .stateRequest, .stateAnswer: 0
        }
    }

    private func number(_ value: UInt64, _ round: inout RandomStream) -> UInt64 {
        if isAnyScope, round.chance(perMille: 500) {
            return round.pick([0, 1, value / 2, value &+ 100, .max - 1, .max, round.next()]) ?? 0
        }
        return round.pick([value &- 1, value &+ 1, value &+ 2]) ?? value
    }

    private func mutated(_ said: ViewChange, _ round: inout RandomStream, _ faulty: FaultyReplica) -> ViewChange {
        ViewChange(
            view: round.chance(perMille: 200) ? View(number(said.view.rawValue, &round)) : said.view,
            replica: faulty.replica,
            stable: said.stable,
            certificate: said.certificate,
            prepared: said.prepared.compactMap { mutated($0, &round) },
            prePrepared: said.prePrepared.compactMap { mutated($0, &round) },
            cluster: faulty.cluster,
            signer: faulty.signer
        )
    }

    private func mutated(_ claim: BatchClaim, _ round: inout RandomStream) -> BatchClaim? {
        switch round.below(6) {
        case 0: nil
        case 1: BatchClaim(claim.sequence, round.pick(digests) ?? claim.digest, claim.view)
        case 2: BatchClaim(claim.sequence, claim.digest, View(number(claim.view.rawValue, &round)))
        default: claim
        }
    }

    private func mutated(_ said: NewView, _ round: inout RandomStream, _ faulty: FaultyReplica) -> NewView {
        var chosen = said.chosen
        var members = said.members
        var start = said.start
        switch round.below(4) {
        case 0 where !chosen.isEmpty: chosen[round.below(chosen.count)] = round.pick(digests) ?? .zero
        case 1: chosen.append(round.pick(digests) ?? .zero)
        case 2 where members.count > 1: members.removeLast()
        default: start = SequenceNumber(number(start.rawValue, &round))
        }
        return NewView(
            view: said.view,
            members: members,
            start: start,
            chosen: chosen,
            cluster: faulty.cluster,
            signer: faulty.signer
        )
    }

    private func mutated(_ said: Vote, _ round: inout RandomStream) -> Fate<PeerMessage> {
        switch round.below(5) {
        case 0:
            let view = View(number(said.view.rawValue, &round))
            return .replace(.vote(Vote(said.phase, view: view, sequence: said.sequence, digest: said.digest)))
        case 1:
            let sequence = SequenceNumber(number(said.sequence.rawValue, &round))
            return .replace(.vote(Vote(said.phase, view: said.view, sequence: sequence, digest: said.digest)))
        case 2:
            let digest = round.pick(digests) ?? said.digest
            return .replace(.vote(Vote(said.phase, view: said.view, sequence: said.sequence, digest: digest)))
        case 3:
            let phase: Vote.Phase = said.phase == .prepare ? .commit : .prepare
            return .replace(.vote(Vote(phase, view: said.view, sequence: said.sequence, digest: said.digest)))
        default:
            return .drop
        }
    }

    private func mutated(
        _ said: PrePrepare,
        _ round: inout RandomStream,
        _ faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        var view = said.view
        var sequence = said.sequence
        var time = said.batch.time
        var batch = said.batch.requests
        switch round.below(7) {
        case 0: view = View(number(view.rawValue, &round))
        case 1: sequence = SequenceNumber(number(sequence.rawValue, &round))
        case 2: time = Timestamp(nanoseconds: number(time.nanoseconds, &round))
        case 3 where batch.count > 1: batch.removeLast()
        case 4: batch.reverse()
        case 5: if let other = round.pick(requests) { batch.append(other) }
        default: return .drop
        }
        let changed = Batch(time: time, requests: batch)
        return .replace(.prePrepare(PrePrepare(view: view, sequence: sequence, batch: changed)))
    }
}
