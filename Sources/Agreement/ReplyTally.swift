import Cryptography
import Messages

/// The replies to one request: when they make a result (PBFT sections 4.1, 5.1.1 and 5.1.2).
///
/// f + 1 committed replies with one payload do, whatever their views: one of them is correct. So do 2f + 1 replies, tentative or not,
/// that agree in the view and the sequence number as well: f + 1 correct replicas have then prepared the batch there, and every later
/// view takes it over.
struct ReplyTally: Sendable {
    /// What replies of one payload have in common, whether they carry it or its digest.
    private enum Key: Hashable, Sendable {
        /// A short payload, which correct replicas always send whole.
        case payload(Reply.Payload)
        case digest(Digest)

        init(_ content: Reply.Content) {
            switch content {
            case .whole(let payload): self = payload.isLong ? .digest(Digest.of(payload.bytes)) : .payload(payload)
            case .digest(_, _, let digest): self = .digest(digest)
            }
        }
    }

    /// The replicas that said the same.
    private struct Candidate: Sendable {
        let key: Key
        let view: View
        let sequence: SequenceNumber
        var all = VoteSet()
        var committed = VoteSet()
        /// The payload, when one of them sent it.
        var payload: Reply.Payload?
    }

    private let mutations: Mutations
    private var voters = VoteSet()
    // Replies that differ are rare: a list beats a dictionary. There are no more candidates than replicas.
    private var candidates: [Candidate] = []

    init(mutations: Mutations = Mutations()) {
        self.mutations = mutations
    }

    /// Counts a replica's latest reply. It may say something else later: that the batch is committed, or, while a session is opened,
    /// that another one is current.
    ///
    /// - Returns: The payload, once it is the result.
    mutating func count(_ reply: Reply, from replica: ReplicaID, of size: ClusterSize) -> Reply.Payload? {
        if !voters.insert(replica) { retract(replica) }
        let key = Key(reply.content)
        var place = candidates.count
        for index in candidates.indices
        where candidates[index].view == reply.view && candidates[index].sequence == reply.sequence
            && candidates[index].key == key
        {
            place = index
        }
        if place == candidates.count {
            candidates.append(Candidate(key: key, view: reply.view, sequence: reply.sequence))
        }
        candidates[place].all.insert(replica)
        if !reply.isTentative { candidates[place].committed.insert(replica) }
        if candidates[place].payload == nil { candidates[place].payload = reply.payload }
        return isEnough(place, size) ? payload(of: key) : nil
    }

    private mutating func retract(_ replica: ReplicaID) {
        for index in candidates.indices {
            candidates[index].all.remove(replica)
            candidates[index].committed.remove(replica)
        }
        // A payload stays true of its digest whoever sent it, but what nobody says any more must not fill the list.
        candidates.removeAll { $0.all.count == 0 }
    }

    private func isEnough(_ place: Int, _ size: ClusterSize) -> Bool {
        let quorum = mutations.contains(.takesFewerTentativeReplies) ? size.weakQuorum : size.quorum
        if candidates[place].all.count >= quorum { return true }
        let key = candidates[place].key
        var committed = 0
        for candidate in candidates where candidate.key == key {
            committed += candidate.committed.count
        }
        return committed >= (mutations.contains(.takesOneReply) ? 1 : size.weakQuorum)
    }

    private func payload(of key: Key) -> Reply.Payload? {
        for candidate in candidates where candidate.key == key {
            if let payload = candidate.payload { return payload }
        }
        return nil
    }

    /// Whether enough replicas agree on a result of which only the digest is here.
    func lacksPayload(_ size: ClusterSize) -> Bool {
        candidates.indices.contains { isEnough($0, size) && payload(of: candidates[$0].key) == nil }
    }
}

/// Which replica is asked for the next long result: each in its turn, but for those that kept one back lately, and those that are not
/// heard of while the others answer.
struct Repliers: Sendable {
    private let size: ClusterSize
    private var turn = 0
    /// By replica: how many results there were since it last answered.
    private var silence: [UInt32]
    /// By replica: how many requests it is left out of yet.
    private var left: [UInt32]
    /// By replica: how many it will be left out of the next time.
    private var penalty: [UInt32]

    private static let firstPenalty: UInt32 = 64
    private static let longestPenalty: UInt32 = 1 << 16
    // Less than a penalty: one that is gone is asked once in vain, and not again before it is heard of.
    private static let longestSilence: UInt32 = 32

    init(size: ClusterSize) {
        self.size = size
        silence = Array(repeating: 0, count: size.replicas)
        left = Array(repeating: 0, count: size.replicas)
        penalty = Array(repeating: Self.firstPenalty, count: size.replicas)
    }

    /// The replica to name in the next request.
    mutating func next() -> ReplicaID {
        for index in left.indices where left[index] > 0 { left[index] -= 1 }
        for _ in left.indices {
            turn = (turn + 1) % size.replicas
            if left[turn] == 0, silence[turn] < Self.longestSilence { break }
        }
        return ReplicaID(UInt8(turn))
    }

    /// A replica answered something that was asked lately.
    mutating func heard(_ replica: ReplicaID) {
        silence[replica.index] = 0
    }

    /// There is a result: whoever is not heard of is one more behind.
    mutating func completed() {
        for index in silence.indices { silence[index] = min(silence[index] + 1, Self.longestSilence) }
    }

    /// A replica kept a result back: it is left out for a time, twice as long with each time.
    mutating func avoid(_ replica: ReplicaID) {
        guard size.contains(replica), left[replica.index] == 0 else { return }
        left[replica.index] = penalty[replica.index]
        penalty[replica.index] = min(2 * penalty[replica.index], Self.longestPenalty)
    }
}
