import Agreement
import Cryptography
import Messages

/// An answer to a read, and what it rests on.
struct ReadAnswer: Sendable {
    let reply: ReadReply
    let client: ClientID
    /// Where the last record is by which a batch that it shows was prepared.
    let foundation: LogPosition
}

/// What a correct replica says rests on records that are durable by then, because after a power loss it must not contradict it.
extension SimulatedDisk {
    /// What a correct replica breaks by saying this now; nil when what it rests on is durable.
    func breach(saying message: PeerMessage, as replica: ReplicaID) -> Violation? {
        switch message {
        case .prePrepare(let said):
            breach(prePrepared, said.view, said.sequence, said.batch.digest, "PRE-PREPARE", replica)
        case .vote(let said) where said.phase == .prepare:
            breach(prePrepared, said.view, said.sequence, said.digest, "PREPARE", replica)
        case .vote(let said):
            breach(prepared, said.view, said.sequence, said.digest, "COMMIT", replica)
        case .viewChange(let said)
        where said.claim.replica == replica && !viewsLeftFor.contains(said.claim.view.rawValue):
            Violation(.durableFirst, "\(replica) says a VIEW-CHANGE before it is durable")
        case .checkpoint(let said) where said.claim.replica == replica && !isDurable(said.claim):
            Violation(.durableFirst, "\(replica) says CHECKPOINT \(said.claim.sequence) before the state is durable")
        case .newView(let said) where !viewsEntered.contains(said.claim.view.rawValue):
            Violation(.durableFirst, "\(replica) says a NEW-VIEW before it is durable")
        default:
            nil
        }
    }

    private func isDurable(_ claim: Messages.Checkpoint) -> Bool {
        checkpoints.last { $0.sequence == claim.sequence }?.root == claim.root
    }

    private func breach(
        _ durable: Set<Claim>,
        _ view: View,
        _ sequence: SequenceNumber,
        _ digest: Digest,
        _ name: String,
        _ replica: ReplicaID
    ) -> Violation? {
        if durable.contains(Self.claim(view, sequence, digest.prefix)) { return nil }
        return Violation(
            .durableFirst,
            "\(replica) says \(name) \(view) \(sequence) before what it rests on is durable"
        )
    }

    /// The same of the answer to a read: no power loss may take back what it shows.
    func breach(answering read: ReadAnswer, as replica: ReplicaID) -> Violation? {
        if read.foundation <= durable { return nil }
        return Violation(.durableFirst, "\(replica) answers a read before what it rests on is durable")
    }

    /// The same of a reply. A tentative one promises that the batch stays prepared here.
    func breach(answering reply: Reply, as replica: ReplicaID) -> Violation? {
        guard reply.isTentative, !preparedPlaces.contains(Place(view: reply.view, sequence: reply.sequence)) else {
            return nil
        }
        return Violation(
            .durableFirst,
            "\(replica) answers tentatively from \(reply.view) \(reply.sequence) before it is durably prepared"
        )
    }
}
