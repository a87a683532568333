import Agreement
import Cryptography
import Invariants
import Messages

/// Signs with a hash under a secret: as good as a signature among parties that cannot read each other's memory, and far cheaper.
struct SimulatedSigner: Signer {
    private let secret: [UInt8]

    init(_ role: UInt8, _ number: UInt32) {
        var secret = Array("simulated secret".utf8)
        secret.append(role)
        secret.append(littleEndian: number)
        self.secret = secret
    }

    func sign(_ message: [UInt8]) -> Signature {
        let half = Digest.of(secret + message).bytes
        guard let signature = Signature(half + half) else { invariantViolated("a signature has 64 bytes") }
        return signature
    }
}

/// The keys of a simulated cluster, and the checks that need all of them. Made once for many runs.
public struct KeyRing: Sendable {
    /// The cluster.
    public let size: ClusterSize
    /// Its identifier.
    public let cluster: ClusterID
    /// The clients, numbered from 1.
    public let clients: [ClientID]
    /// How requests are authenticated.
    public let scheme: ProtocolSwitches.RequestAuthentication

    private let replicaSigners: [SimulatedSigner]
    private let clientSigners: [SimulatedSigner]
    /// By client, then replica: the key that they share. Empty where requests are signed.
    private let shared: [[PairwiseKey]]
    /// A key that is nobody's.
    private let wrong: [PairwiseKey]
    private let stranger = SimulatedSigner(9, 0)

    /// Makes the keys of a cluster: about 100 microseconds for each client and replica under `pbft`.
    public init(size: ClusterSize, clients count: Int, scheme: ProtocolSwitches.RequestAuthentication) {
        guard let cluster = ClusterID(Array(repeating: 7, count: ClusterID.byteCount)) else {
            invariantViolated("an identifier has its length")
        }
        self.size = size
        self.cluster = cluster
        self.scheme = scheme
        clients = (0..<UInt32(count)).map { ClientID($0 + 1) }
        replicaSigners = size.members.map { SimulatedSigner(1, UInt32($0.rawValue)) }
        clientSigners = clients.map { SimulatedSigner(2, $0.rawValue) }
        guard scheme == .macVector else {
            shared = []
            wrong = []
            return
        }
        let replicaKeys = size.members.map { Self.key(1, UInt32($0.rawValue)) }
        shared = clients.map { client in
            let own = Self.key(2, client.rawValue)
            return replicaKeys.map { Self.pairwise(own, $0, cluster) }
        }
        wrong = [Self.pairwise(Self.key(3, 0), Self.key(3, 1), cluster)]
    }

    private static func key(_ role: UInt8, _ number: UInt32) -> SigningKey {
        var seed = [role]
        seed.append(littleEndian: number)
        seed.append(contentsOf: Array(repeating: 0, count: SigningKey.seedByteCount - seed.count))
        guard let key = SigningKey(seed: seed) else { invariantViolated("a seed has its length") }
        return key
    }

    private static func pairwise(_ own: SigningKey, _ peer: SigningKey, _ cluster: ClusterID) -> PairwiseKey {
        guard let key = PairwiseKey(own: own, peer: peer.publicKey, cluster: cluster) else {
            invariantViolated("two good keys share one")
        }
        return key
    }

    func signer(of replica: ReplicaID) -> any Signer { replicaSigners[replica.index] }

    private func place(of client: ClientID) -> Int? {
        let place = Int(client.rawValue) - 1
        return clients.indices.contains(place) ? place : nil
    }

    /// What a client authenticates with; wrong for some replicas if it is faulty.
    func authenticator(of client: ClientID, spoiledFor spoiled: [ReplicaID] = []) -> RequestAuthenticator {
        guard let place = place(of: client) else { invariantViolated("a client of the cluster") }
        switch scheme {
        case .signature:
            return .signature(spoiled.isEmpty ? clientSigners[place] : stranger, cluster: cluster)
        case .macVector:
            return .macVector(size.members.map { spoiled.contains($0) ? wrong[0] : shared[place][$0.index] })
        }
    }

    /// The best that a replica can do to authenticate a request in a client's name.
    func forger(of replica: ReplicaID) -> RequestAuthenticator {
        switch scheme {
        case .signature: .signature(replicaSigners[replica.index], cluster: cluster)
        case .macVector: .macVector(size.members.map { _ in wrong[0] })
        }
    }

    /// What a replica's check of a request says.
    func isValid(_ request: Request, at replica: ReplicaID) -> Bool {
        guard let place = place(of: request.client) else { return false }
        switch request.scheme {
        case .signature:
            guard scheme == .signature, let signature = request.signature else { return false }
            return signature == clientSigners[place].sign(SignedBytes.request(request.digest, cluster: cluster))
        case .macVector:
            guard scheme == .macVector, let mac = request.mac(for: replica) else { return false }
            return mac == shared[place][replica.index].authenticate(request.digest)
        }
    }

    func verified(_ request: Unverified<Request>, at replica: ReplicaID) -> Verified<Request>? {
        isValid(request.claim, at: replica) ? Verified(vouchingFor: request.claim) : nil
    }

    func verified(_ checkpoint: Unverified<Checkpoint>) -> Verified<Checkpoint>? {
        isValid(checkpoint.claim) ? Verified(vouchingFor: checkpoint.claim) : nil
    }

    func verified(_ viewChange: Unverified<ViewChange>) -> Verified<ViewChange>? {
        let claim = viewChange.claim
        guard size.contains(claim.replica), claim.isCertified(size: size),
            claim.certificate.allSatisfy({ isValid($0) }),
            replicaSigners[claim.replica.index].sign(claim.signedBytes(cluster: cluster)) == claim.signature
        else { return nil }
        return Verified(vouchingFor: claim)
    }

    func verified(_ newView: Unverified<NewView>) -> Verified<NewView>? {
        let claim = newView.claim
        let primary = claim.view.primary(in: size)
        guard replicaSigners[primary.index].sign(claim.signedBytes(cluster: cluster)) == claim.signature else {
            return nil
        }
        return Verified(vouchingFor: claim)
    }

    func isValid(_ claim: Checkpoint) -> Bool {
        guard size.contains(claim.replica) else { return false }
        let signed = SignedBytes.checkpoint(claim.sequence, root: claim.root, by: claim.replica, cluster: cluster)
        return replicaSigners[claim.replica.index].sign(signed) == claim.signature
    }
}
