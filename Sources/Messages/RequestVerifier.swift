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
