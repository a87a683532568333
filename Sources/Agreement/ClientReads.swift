import Cryptography
import Invariants
import Messages

/// A client's read-only operations that are under way: 2f + 1 equal answers make a result, anything else makes an ordinary request of it
/// (PBFT section 5.1.3).
struct ClientReads: Sendable {
    /// What becomes of a read after an answer, or when its time is over.
    enum Verdict {
        /// Not enough is known yet.
        case open
        /// 2f + 1 replicas agree on this result.
        case result([UInt8])
        /// The replicas do not agree, or do not answer: the operation has to be ordered.
        case disagreement
    }

    struct Pending: Sendable {
        let tag: UInt64
        let ticket: UInt64
        let operation: [UInt8]
        /// The replica that was asked for the result itself.
        let whole: ReplicaID
        let deadline: Instant
        var voters = VoteSet()
        var refusals = VoteSet()
        /// Answers that differ are rare: a list beats a dictionary.
        var candidates: [(digest: Digest, votes: VoteSet)] = []
        var results: [(digest: Digest, result: [UInt8])] = []
    }

    private let size: ClusterSize
    /// How many equal answers make a result.
    private let quorum: Int
    private(set) var pending: [UInt64: Pending] = [:]
    private var nextTag: UInt64 = 1

    init(size: ClusterSize, mutations: Mutations) {
        self.size = size
        quorum = mutations.contains(.readsFromFewer) ? size.weakQuorum : size.quorum
    }

    /// When the first read's time is over; nil when there is none.
    var deadline: Instant? { pending.values.lazy.map(\.deadline).min() }

    /// Whether a read was sent not long ago: an answer to it, however late, shows a replica that keeps up.
    func isRecent(_ tag: UInt64) -> Bool { tag < nextTag && nextTag - tag <= 64 }

    /// Notes that a read is sent.
    ///
    /// - Parameter whole: The replica that is asked for the whole result.
    /// - Returns: The question.
    mutating func begin(_ operation: [UInt8], ticket: UInt64, whole: ReplicaID, deadline: Instant) -> ReadRequest {
        let tag = nextTag
        nextTag += 1
        pending[tag] = Pending(tag: tag, ticket: ticket, operation: operation, whole: whole, deadline: deadline)
        return ReadRequest(tag: tag, wantsResult: false, operation: operation)
    }

    /// Whether enough replicas agree on a result that the one asked for it keeps back.
    func lacksResult(_ read: Pending) -> Bool {
        guard let most = read.candidates.max(by: { $0.votes.count < $1.votes.count }) else { return false }
        return most.votes.count >= quorum && !read.results.contains { $0.digest == most.digest }
    }

    /// Counts a replica's first answer to a read.
    ///
    /// - Returns: The read and what becomes of it, taken out unless that is still open; nil for an answer that is of no use.
    mutating func count(_ reply: ReadReply, from replica: ReplicaID) -> (read: Pending, verdict: Verdict)? {
        guard var read = pending[reply.tag], read.voters.insert(replica) else { return nil }
        switch reply.outcome {
        case .refused:
            read.refusals.insert(replica)
        case .digest(let digest):
            read.add(digest, from: replica)
        case .result(let result):
            let digest = Digest.of(result)
            read.results.append((digest, result))
            read.add(digest, from: replica)
        }
        let verdict = verdict(on: read)
        if case .open = verdict {
            pending[reply.tag] = read
        } else {
            pending[reply.tag] = nil
        }
        return (read, verdict)
    }

    private func verdict(on read: Pending) -> Verdict {
        // One correct replica that refuses is enough: the operation is not read-only.
        if read.refusals.count >= size.weakQuorum { return .disagreement }
        let most = read.candidates.max { $0.votes.count < $1.votes.count }
        if let most, most.votes.count >= quorum {
            if let found = read.results.first(where: { $0.digest == most.digest }) { return .result(found.result) }
            // The one that was asked for the whole result may still send it.
        } else if (most?.votes.count ?? 0) + size.replicas - read.voters.count < quorum {
            return .disagreement
        }
        return read.voters.count == size.replicas ? .disagreement : .open
    }

    /// Takes out the reads whose time is over, in the order in which they were sent.
    mutating func expire(_ now: Instant) -> [Pending] {
        let overdue = pending.values.filter { $0.deadline <= now }.sorted { $0.tag < $1.tag }
        for read in overdue { pending[read.tag] = nil }
        return overdue
    }

    /// Takes out every read.
    mutating func removeAll() -> [Pending] {
        defer { pending = [:] }
        return pending.values.sorted { $0.tag < $1.tag }
    }
}

extension ClientReads.Pending {
    fileprivate mutating func add(_ digest: Digest, from replica: ReplicaID) {
        for index in candidates.indices where candidates[index].digest == digest {
            candidates[index].votes.insert(replica)
            return
        }
        var votes = VoteSet()
        votes.insert(replica)
        candidates.append((digest, votes))
    }
}
