import Cryptography
import Messages

/// The signed CHECKPOINT messages above the last stable one, and when they make a later one stable (PBFT section 4.3).
struct CheckpointTracker: Sendable {
    private struct Candidate: Sendable {
        var ownRoot: Digest?
        /// One message of each replica at the most, at its index.
        var messages: [Checkpoint?]
    }

    private let size: ClusterSize
    private var candidates: [SequenceNumber: Candidate] = [:]

    /// The certificate of the last stable checkpoint: 2f + 1 signatures of one root. Empty for the initial state.
    private(set) var certificate: [Checkpoint] = []

    init(size: ClusterSize) {
        self.size = size
    }

    /// Whether a replica's message for this number is here already.
    func has(_ sequence: SequenceNumber, from replica: ReplicaID) -> Bool {
        candidates[sequence]?.messages[replica.index] != nil
    }

    /// A replica's own messages from the last stable checkpoint on, to be sent again to peers that missed them.
    func messages(of replica: ReplicaID) -> [Checkpoint] {
        let stable = certificate.filter { $0.replica == replica }
        return stable + candidates.keys.sorted().compactMap { candidates[$0]?.messages[replica.index] }
    }

    /// Notes the root that this replica computed itself.
    mutating func setOwnRoot(_ root: Digest, at sequence: SequenceNumber) {
        var candidate = candidates[sequence] ?? Candidate(ownRoot: nil, messages: empty)
        candidate.ownRoot = root
        candidates[sequence] = candidate
    }

    /// Adds a message whose signature is good and whose number is between the water marks.
    mutating func add(_ checkpoint: Checkpoint) {
        var candidate = candidates[checkpoint.sequence] ?? Candidate(ownRoot: nil, messages: empty)
        guard candidate.messages[checkpoint.replica.index] == nil else { return }
        candidate.messages[checkpoint.replica.index] = checkpoint
        candidates[checkpoint.sequence] = candidate
    }

    private var empty: [Checkpoint?] { Array(repeating: nil, count: size.replicas) }

    /// What a quorum says of a number.
    enum Verdict {
        /// No quorum, or this replica has not come so far itself.
        case open
        /// A quorum signed the root that this replica computed.
        case stable([Checkpoint])
        /// A quorum signed another root than this replica computed.
        case diverged
    }

    /// What a quorum says of a number.
    func verdict(at sequence: SequenceNumber) -> Verdict {
        guard let candidate = candidates[sequence], let ownRoot = candidate.ownRoot else { return .open }
        let messages = candidate.messages.compactMap { $0 }
        for root in Set(messages.map(\.root)).sorted() {
            let agreeing = messages.filter { $0.root == root }
            guard agreeing.count >= size.quorum else { continue }
            return root == ownRoot ? .stable(agreeing) : .diverged
        }
        return .open
    }

    /// Keeps the certificate of a stable checkpoint and forgets what is at or below it.
    mutating func stabilise(_ sequence: SequenceNumber, certificate: [Checkpoint]) {
        self.certificate = certificate
        candidates = candidates.filter { $0.key > sequence }
    }
}
