import Adversary
import Agreement
import Cryptography
import Messages

/// Who voted for what, as far as correct replicas are concerned, and whether what they did follows from it: a correct replica's COMMIT and
/// its execution rest on a quorum, of which the faulty replicas can make up their part and no more (PBFT section 4.2).
struct Ballots {
    private struct Place: Hashable {
        let view: View
        let sequence: SequenceNumber
        let digest: Digest
    }

    private struct Committed {
        let place: Place
        var voters: VoteSet
    }

    private let size: ClusterSize
    private let correct: Set<ReplicaID>
    /// The correct replicas that said PREPARE; the primary's proposal counts as one.
    private var prepares: [Place: VoteSet] = [:]
    /// By number: the correct replicas that said COMMIT.
    private var commits: [SequenceNumber: [Committed]] = [:]

    init(size: ClusterSize, correct: Set<ReplicaID>) {
        self.size = size
        self.correct = correct
    }

    /// How many correct replicas there are in every quorum.
    private var correctInQuorum: Int { size.quorum - (size.replicas - correct.count) }

    /// The correct primary of a view proposes a batch.
    mutating func proposes(_ view: View, _ sequence: SequenceNumber, _ digest: Digest) {
        let place = Place(view: view, sequence: sequence, digest: digest)
        prepares[place, default: VoteSet()].insert(view.primary(in: size))
    }

    /// The correct primary of a view says what it starts from.
    mutating func begins(_ newView: NewView) {
        var sequence = newView.start
        for digest in newView.chosen {
            sequence = sequence.next
            proposes(newView.view, sequence, digest)
        }
    }

    /// A correct replica votes.
    mutating func votes(_ vote: Vote, by replica: ReplicaID) -> Violation? {
        let place = Place(view: vote.view, sequence: vote.sequence, digest: vote.digest)
        switch vote.phase {
        case .prepare:
            let primary = vote.view.primary(in: size)
            if correct.contains(primary), prepares[place]?.contains(primary) != true {
                return Violation(
                    .certificates,
                    "\(replica) says PREPARE for \(vote.view) \(vote.sequence), but \(primary) has not proposed that"
                )
            }
            prepares[place, default: VoteSet()].insert(replica)
        case .commit:
            // Its own PREPARE counts before others hear of it.
            var voters = prepares[place] ?? VoteSet()
            voters.insert(replica)
            if voters.count < correctInQuorum {
                return Violation(
                    .certificates,
                    "\(replica) says COMMIT for \(vote.view) \(vote.sequence) on \(voters.count) PREPAREs of correct replicas"
                )
            }
            commit(place, replica)
        }
        return nil
    }

    private mutating func commit(_ place: Place, _ replica: ReplicaID) {
        var known = commits[place.sequence] ?? []
        if let index = known.firstIndex(where: { $0.place == place }) {
            known[index].voters.insert(replica)
        } else {
            var voters = VoteSet()
            voters.insert(replica)
            known.append(Committed(place: place, voters: voters))
        }
        commits[place.sequence] = known
    }

    /// A correct replica executes a number for good.
    func executes(_ sequence: SequenceNumber, at replica: ReplicaID) -> Violation? {
        let voters = (commits[sequence] ?? []).map { committed in
            // Its own COMMIT counts before others hear of it.
            committed.voters.count + (committed.voters.contains(replica) ? 0 : 1)
        }
        let most = voters.max() ?? 1
        if most >= correctInQuorum { return nil }
        return Violation(.certificates, "\(replica) executes \(sequence) on \(most) COMMITs of correct replicas")
    }
}

extension Fault {
    /// The replica that it makes faulty. A correct one may lose its power, or its store as long as it knows.
    var faultyReplica: ReplicaID? {
        switch self {
        case .replica(let replica, _), .twin(let replica), .amnesia(let replica, at: _, outage: _): replica
        case .client, .network, .powerLoss, .powerLossAtWrite, .lostStore, .administration: nil
        }
    }
}
