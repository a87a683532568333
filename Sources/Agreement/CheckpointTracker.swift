import Cryptography
import Messages

/// The signed CHECKPOINT messages above the last stable one, and when they make a later one stable (PBFT section 4.3).
struct CheckpointTracker: Sendable {
    /// A number and a root that 2f + 1 replicas have signed.
    struct Stable: Sendable {
        let sequence: SequenceNumber
        let root: Digest
        /// Their signatures.
        let certificate: [Checkpoint]

        init(sequence: SequenceNumber, root: Digest, certificate: [Checkpoint]) {
            self.sequence = sequence
            self.root = root
            self.certificate = certificate
        }

        init(_ certificate: CheckpointCertificate) {
            self.init(
                sequence: certificate.sequence,
                root: certificate.root,
                certificate: certificate.checkpoints
            )
        }
    }

    private let size: ClusterSize
    private let window: Int
    private let mutations: Mutations
    private var ownRoots: [SequenceNumber: Digest] = [:]
    /// By replica: its messages between the water marks, and its highest beyond them.
    private var messages: [[SequenceNumber: Checkpoint]]

    /// The certificate of the last stable checkpoint: 2f + 1 signatures of one root. Empty for the initial state.
    private(set) var certificate: [Checkpoint] = []

    /// The highest certificate above the last stable checkpoint that came as one unit. What a faulty signer says beside it, which may
    /// fill that signer's place in ``messages``, does not matter to it.
    private var received: Stable?

    init(size: ClusterSize, window: Int, mutations: Mutations) {
        self.size = size
        self.mutations = mutations
        self.window = window
        messages = Array(repeating: [:], count: size.replicas)
    }

    /// Whether a replica's message is of use: it is not here yet, and not older than one beyond the water marks that is.
    func wants(_ checkpoint: Checkpoint, low: SequenceNumber) -> Bool {
        guard checkpoint.sequence > low, size.contains(checkpoint.replica) else { return false }
        let held = messages[checkpoint.replica.index]
        if held[checkpoint.sequence] != nil { return false }
        return isNear(checkpoint.sequence, low) || !held.keys.contains { $0 > checkpoint.sequence && !isNear($0, low) }
    }

    private func isNear(_ sequence: SequenceNumber, _ low: SequenceNumber) -> Bool {
        sequence.rawValue - low.rawValue <= UInt64(window)
    }

    /// A replica's own messages above the last stable checkpoint, to be sent again to peers that missed them.
    func messages(of replica: ReplicaID) -> [Checkpoint] {
        messages[replica.index].keys.sorted().compactMap { messages[replica.index][$0] }
    }

    /// Whether a certificate is of use: it is for a later number than any quorum that is known here.
    func wants(_ certificate: CheckpointCertificate, low: SequenceNumber) -> Bool {
        certificate.sequence > max(low, received?.sequence ?? .zero)
    }

    /// Adds a certificate whose signatures are good.
    mutating func add(_ certificate: CheckpointCertificate, low: SequenceNumber) {
        guard wants(certificate, low: low) else { return }
        received = Stable(certificate)
    }

    /// Notes the root that this replica computed itself.
    mutating func setOwnRoot(_ root: Digest, at sequence: SequenceNumber) {
        ownRoots[sequence] = root
    }

    /// Adds a message whose signature is good.
    mutating func add(_ checkpoint: Checkpoint, low: SequenceNumber) {
        guard wants(checkpoint, low: low) else { return }
        if !isNear(checkpoint.sequence, low) {
            // One beyond the water marks is kept of each replica, the highest.
            messages[checkpoint.replica.index] = messages[checkpoint.replica.index].filter { isNear($0.key, low) }
        }
        messages[checkpoint.replica.index][checkpoint.sequence] = checkpoint
    }

    /// What a quorum says of a number.
    enum Verdict {
        /// No quorum yet.
        case open
        /// A quorum signed the root that this replica computed.
        case stable(Stable)
        /// A quorum signed a root, and this replica has not come so far.
        case ahead(Stable)
        /// A quorum signed another root than this replica computed.
        case diverged
    }

    /// What a quorum says of a number.
    func verdict(at sequence: SequenceNumber) -> Verdict {
        guard let stable = quorum(at: sequence) else { return .open }
        guard let ownRoot = ownRoots[sequence] else { return .ahead(stable) }
        return ownRoot == stable.root ? .stable(stable) : .diverged
    }

    private func quorum(at sequence: SequenceNumber) -> Stable? {
        if let received, received.sequence == sequence { return received }
        let signed = messages.compactMap { $0[sequence] }
        for root in Set(signed.map(\.root)).sorted() {
            let agreeing = signed.filter { $0.root == root }
            if agreeing.count >= (mutations.contains(.stabilisesWithFewer) ? size.weakQuorum : size.quorum) {
                return Stable(sequence: sequence, root: root, certificate: Array(agreeing.prefix(size.quorum)))
            }
        }
        return nil
    }

    /// The highest number that a quorum has signed.
    var highestSigned: Stable? {
        for sequence in Set(messages.flatMap(\.keys)).sorted(by: >) where sequence > received?.sequence ?? .zero {
            if let stable = quorum(at: sequence) { return stable }
        }
        return received
    }

    /// Adds what is held to a footprint.
    func add(to footprint: inout Footprint, _ limits: Limits) {
        let most = messages.map(\.count).max() ?? 0
        // One at each interval between the water marks, and one beyond.
        let bound = limits.logWindow / limits.checkpointInterval + 1
        footprint.add("CHECKPOINTs of a replica", most, atMost: bound)
        footprint.add("roots computed", ownRoots.count, atMost: bound)
    }

    /// Keeps the certificate of a stable checkpoint and forgets what is below it.
    mutating func stabilise(_ sequence: SequenceNumber, certificate: [Checkpoint]) {
        self.certificate = certificate
        if let ahead = received, ahead.sequence <= sequence { received = nil }
        ownRoots = ownRoots.filter { $0.key > sequence }
        for index in messages.indices {
            messages[index] = messages[index].filter { $0.key > sequence }
        }
    }
}
