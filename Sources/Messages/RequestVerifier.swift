import Cryptography

/// A request and the key that it must be authenticated with, which only the engine knows: keys change in the agreed order.
public struct RequestCheck: Sendable {
    /// The request.
    public let request: Unverified<Request>
    /// The key of its client in its key epoch.
    public let key: PublicKey
    /// The word of the replica that forwarded it; nil where it came from its client, or carries MACs.
    public let endorsement: Forward.Endorsement?

    /// Joins the parts.
    public init(_ request: Unverified<Request>, under key: PublicKey, endorsement: Forward.Endorsement? = nil) {
        self.request = request
        self.key = key
        self.endorsement = endorsement
    }

    /// What shows, if the check fails and the endorsement is the forwarder's, that the forwarder misbehaves.
    public var evidence: Evidence? {
        endorsement.map { Evidence(.badForward(request.claim, $0), clientKey: key) }
    }

    /// Checks the request's signature: about 50 microseconds. A pure function, for any thread.
    ///
    /// - Parameter cluster: The cluster that signatures are bound to.
    /// - Returns: nil when it has none or a wrong one.
    public func verifiedBySignature(in cluster: ClusterID) -> Verified<Request>? {
        guard let signature = request.claim.signature,
            key.isValid(signature, for: SignedBytes.request(request.claim.digest, cluster: cluster))
        else { return nil }
        return Verified(vouchingFor: request.claim)
    }
}

/// Checks the authentication of requests at one replica: the only maker of verified ones.
///
/// Not safe to use from several threads at once.
public final class RequestVerifier {
    private let cluster: ClusterID
    private let replica: ReplicaID
    private let key: SigningKey
    /// The key shared with each client, and the client's key that it was derived from: one a client that ever was, as the engine bounds
    /// them.
    private var pairwise: [ClientID: (publicKey: PublicKey, shared: PairwiseKey)] = [:]

    /// How many signatures were checked.
    public private(set) var signaturesChecked: UInt64 = 0
    /// How many MAC entries were checked.
    public private(set) var macsChecked: UInt64 = 0

    /// Makes a verifier.
    ///
    /// - Parameters:
    ///   - cluster: The cluster that signatures are bound to.
    ///   - replica: Whose entry of a vector of MACs is checked.
    ///   - key: That replica's identity, for the keys it shares with clients.
    public init(cluster: ClusterID, replica: ReplicaID, key: SigningKey) {
        self.cluster = cluster
        self.replica = replica
        self.key = key
    }

    /// Checks one request: about 50 microseconds for a signature, well under one for a MAC.
    ///
    /// - Returns: nil when the authentication is wrong.
    public func verify(_ check: RequestCheck) -> Verified<Request>? {
        let request = check.request.claim
        switch request.scheme {
        case .signature:
            signaturesChecked += 1
            return check.verifiedBySignature(in: cluster)
        case .macVector:
            guard let mac = request.mac(for: replica), let key = pairwiseKey(with: request.client, check.key) else {
                return nil
            }
            macsChecked += 1
            return key.authenticate(request.digest) == mac ? Verified(vouchingFor: request) : nil
        }
    }

    private func pairwiseKey(with client: ClientID, _ publicKey: PublicKey) -> PairwiseKey? {
        if let known = pairwise[client], known.publicKey == publicKey { return known.shared }
        guard let derived = PairwiseKey(own: key, peer: publicKey, cluster: cluster) else { return nil }
        pairwise[client] = (publicKey, derived)
        return derived
    }
}

extension Unverified where Message == Checkpoint {
    /// Checks the signature of a checkpoint.
    ///
    /// - Parameters:
    ///   - publicKey: The key of the replica that it names.
    ///   - cluster: The cluster that the signature is bound to.
    /// - Returns: nil when the signature is wrong.
    public func verified(by publicKey: PublicKey, cluster: ClusterID) -> Verified<Checkpoint>? {
        let signed = SignedBytes.checkpoint(claim.sequence, root: claim.root, by: claim.replica, cluster: cluster)
        return publicKey.isValid(claim.signature, for: signed) ? Verified(vouchingFor: claim) : nil
    }
}

extension Unverified where Message == ViewChange {
    /// Checks the signature of a VIEW-CHANGE and those of the certificate in it.
    ///
    /// - Parameters:
    ///   - size: The cluster; the certificate needs 2f + 1 signatures.
    ///   - cluster: The cluster that signatures are bound to.
    ///   - publicKey: The keys of the replicas.
    /// - Returns: nil when a signature is wrong, or the certificate is not one.
    public func verified(
        size: ClusterSize,
        cluster: ClusterID,
        publicKey: (ReplicaID) -> PublicKey?
    ) -> Verified<ViewChange>? {
        guard claim.isCertified(size: size), let key = publicKey(claim.replica),
            key.isValid(claim.signature, for: claim.signedBytes(cluster: cluster))
        else { return nil }
        guard let certificate = CheckpointCertificate(claim.certificate) else { return Verified(vouchingFor: claim) }
        let checked = Unverified<CheckpointCertificate>(certificate)
            .verified(size: size, cluster: cluster, publicKey: publicKey)
        return checked.map { _ in Verified(vouchingFor: claim) }
    }
}

extension Unverified where Message == CheckpointCertificate {
    /// Checks the form of a certificate and every signature in it.
    ///
    /// - Parameters:
    ///   - size: The cluster; the certificate needs 2f + 1 signatures.
    ///   - cluster: The cluster that signatures are bound to.
    ///   - publicKey: The keys of the replicas.
    /// - Returns: nil when a signature is wrong, or the certificate is not one.
    public func verified(
        size: ClusterSize,
        cluster: ClusterID,
        publicKey: (ReplicaID) -> PublicKey?
    ) -> Verified<CheckpointCertificate>? {
        guard claim.isComplete(size: size) else { return nil }
        for checkpoint in claim.checkpoints {
            guard let key = publicKey(checkpoint.replica),
                Unverified<Checkpoint>(checkpoint).verified(by: key, cluster: cluster) != nil
            else { return nil }
        }
        return Verified(vouchingFor: claim)
    }
}

extension ViewChange {
    /// Whether the certificate has the form of one for the stable checkpoint; nothing for the initial state.
    package func isCertified(size: ClusterSize) -> Bool {
        guard stable != .zero else { return certificate.isEmpty }
        guard let certificate = CheckpointCertificate(certificate) else { return false }
        return certificate.sequence == stable && certificate.isComplete(size: size)
    }
}

extension Unverified where Message == NewView {
    /// Checks the signature of a NEW-VIEW. What it says of the VIEW-CHANGEs is for the engine to check.
    ///
    /// - Parameters:
    ///   - publicKey: The key of the view's primary.
    ///   - cluster: The cluster that the signature is bound to.
    /// - Returns: nil when the signature is wrong.
    public func verified(by publicKey: PublicKey, cluster: ClusterID) -> Verified<NewView>? {
        publicKey.isValid(claim.signature, for: claim.signedBytes(cluster: cluster))
            ? Verified(vouchingFor: claim) : nil
    }
}
