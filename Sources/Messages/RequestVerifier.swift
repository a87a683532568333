import Cryptography

/// Checks the authentication of requests at one replica: the only maker of verified ones.
///
/// Not safe to use from several threads at once.
public final class RequestVerifier {
    private let cluster: ClusterID
    private let replica: ReplicaID
    private let key: SigningKey
    private var clients: [ClientID: PublicKey]
    private var pairwise: [ClientID: PairwiseKey] = [:]

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
    ///   - clients: The clients that may send requests.
    public init(cluster: ClusterID, replica: ReplicaID, key: SigningKey, clients: [ClientID: PublicKey]) {
        self.cluster = cluster
        self.replica = replica
        self.key = key
        self.clients = clients
    }

    /// Checks one request: about 50 microseconds for a signature, well under one for a MAC.
    ///
    /// - Returns: nil when the authentication is wrong, or the client unknown.
    public func verify(_ request: Unverified<Request>) -> Verified<Request>? {
        isValid(request.claim) ? Verified(vouchingFor: request.claim) : nil
    }

    private func isValid(_ request: Request) -> Bool {
        guard let publicKey = clients[request.client] else { return false }
        switch request.scheme {
        case .signature:
            guard let signature = request.signature else { return false }
            signaturesChecked += 1
            return publicKey.isValid(signature, for: SignedBytes.request(request.digest, cluster: cluster))
        case .macVector:
            guard let mac = request.mac(for: replica), let key = pairwiseKey(with: request.client, publicKey) else {
                return false
            }
            macsChecked += 1
            return key.authenticate(request.digest) == mac
        }
    }

    private func pairwiseKey(with client: ClientID, _ publicKey: PublicKey) -> PairwiseKey? {
        if let known = pairwise[client] { return known }
        let derived = PairwiseKey(own: key, peer: publicKey, cluster: cluster)
        pairwise[client] = derived
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
        for checkpoint in claim.certificate {
            guard let key = publicKey(checkpoint.replica),
                Unverified<Checkpoint>(checkpoint).verified(by: key, cluster: cluster) != nil
            else { return nil }
        }
        return Verified(vouchingFor: claim)
    }
}

extension ViewChange {
    /// Whether the certificate has the form of one: nothing for the initial state, otherwise one root at the stable checkpoint, named by
    /// 2f + 1 different replicas.
    package func isCertified(size: ClusterSize) -> Bool {
        guard stable != .zero else { return certificate.isEmpty }
        let signers = Set(certificate.map(\.replica))
        return certificate.count >= size.quorum && signers.count == certificate.count
            && certificate.allSatisfy { $0.sequence == stable && $0.root == certificate[0].root }
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
