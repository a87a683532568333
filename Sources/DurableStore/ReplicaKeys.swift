import Cryptography
import Invariants
import Messages

/// The public keys of a cluster's replicas, which a checkpoint certificate is held against.
public struct ReplicaKeys: Sendable {
    /// The cluster.
    public let cluster: ClusterID

    private let size: ClusterSize
    private let keys: [PublicKey]

    /// Takes the keys of all replicas, in the order of their numbers.
    public init(cluster: ClusterID, size: ClusterSize, keys: [PublicKey]) {
        invariant(keys.count == size.replicas, "each replica has one key")
        self.cluster = cluster
        self.size = size
        self.keys = keys
    }

    /// Whether these are the signatures of 2f + 1 replicas that their state at `sequence` has the root `root` (PBFT section 4.3).
    ///
    /// - Returns: What is wrong, as the rest of a sentence that begins with the certificate; nil when nothing is.
    func problem(with certificate: [Checkpoint], for root: Digest, at sequence: SequenceNumber) -> String? {
        let signers = Set(certificate.map(\.replica))
        guard signers.count == certificate.count, signers.count >= size.quorum else {
            return "has the signatures of \(signers.count) replicas, and needs \(size.quorum)"
        }
        guard let unit = CheckpointCertificate(certificate), unit.isComplete(size: size), unit.sequence == sequence,
            unit.root == root
        else { return "is for different states" }
        let verified = Unverified(unit).verified(size: size, cluster: cluster) { replica in keys[replica.index] }
        return verified == nil ? "has a wrong signature" : nil
    }
}
