import Agreement
import Cryptography
import Invariants
import Messages

/// Signs with a hash under a secret: as good as a signature among parties that cannot read each other's memory, and far cheaper.
struct SimulatedSigner: Signer {
    private let secret: [UInt8]

    /// Whoever checks a signature makes the signer of the public key and signs again.
    init(_ publicKey: PublicKey) {
        secret = Array("simulated secret".utf8) + publicKey.bytes
    }

    func sign(_ message: [UInt8]) -> Signature {
        let half = Digest.of(secret + message).bytes
        guard let signature = Signature(half + half) else { invariantViolated("a signature has 64 bytes") }
        return signature
    }
}

/// The keys of a simulated cluster, and the checks that need all of them. Made once for many runs.
public struct KeyRing: Sendable {
    /// How many keys a client has, one after the other, as an administrator gives them to it.
    public static let generations = 3

    /// The cluster.
    public let size: ClusterSize
    /// Its identifier.
    public let cluster: ClusterID
    /// The clients, numbered from 1.
    public private(set) var clients: [ClientID]
    /// The one administrator.
    public let administrator = ClientID(administrator: 0)
    /// How requests are authenticated.
    public let scheme: ProtocolSwitches.RequestAuthentication

    private let replicaSigners: [SimulatedSigner]
    /// By a client's key, then by replica: the key that they share. Empty where requests are signed.
    private let shared: [PublicKey: [PairwiseKey]]
    /// A key that is nobody's.
    private let wrong: [PairwiseKey]
    private let stranger = SimulatedSigner(Self.key(9, 0, 0))

    /// Makes the keys of a cluster: about 300 microseconds for each client and replica under `pbft`.
    public init(size: ClusterSize, clients count: Int, scheme: ProtocolSwitches.RequestAuthentication) {
        guard let cluster = ClusterID(Array(repeating: 7, count: ClusterID.byteCount)) else {
            invariantViolated("an identifier has its length")
        }
        self.size = size
        self.cluster = cluster
        self.scheme = scheme
        clients = (0..<UInt32(count)).map { ClientID($0 + 1) }
        replicaSigners = size.members.map { SimulatedSigner(Self.key(1, UInt32($0.rawValue), 0)) }
        guard scheme == .macVector else {
            shared = [:]
            wrong = []
            return
        }
        let replicaKeys = size.members.map { Self.secretKey(1, UInt32($0.rawValue), 0) }
        var shared: [PublicKey: [PairwiseKey]] = [:]
        for client in clients + [administrator] {
            for generation in 0..<(client.isAdministrator ? 1 : Self.generations) {
                let own = Self.secretKey(2, client.rawValue, UInt8(generation))
                shared[Self.key(2, client.rawValue, UInt8(generation))] = replicaKeys.map {
                    Self.pairwise(own, $0, cluster)
                }
            }
        }
        self.shared = shared
        wrong = [Self.pairwise(Self.secretKey(3, 0, 0), Self.secretKey(3, 1, 0), cluster)]
    }

    private static func name(_ role: UInt8, _ number: UInt32, _ generation: UInt8) -> [UInt8] {
        var name = [role, generation]
        name.append(littleEndian: number)
        return name + Array(repeating: 0, count: PublicKey.byteCount - name.count)
    }

    private static func key(_ role: UInt8, _ number: UInt32, _ generation: UInt8) -> PublicKey {
        guard let key = PublicKey(name(role, number, generation)) else { invariantViolated("a key has its length") }
        return key
    }

    private static func secretKey(_ role: UInt8, _ number: UInt32, _ generation: UInt8) -> SigningKey {
        guard let key = SigningKey(seed: name(role, number, generation)) else {
            invariantViolated("a seed has its length")
        }
        return key
    }

    private static func pairwise(_ own: SigningKey, _ peer: SigningKey, _ cluster: ClusterID) -> PairwiseKey {
        guard let key = PairwiseKey(own: own, peer: peer.publicKey, cluster: cluster) else {
            invariantViolated("two good keys share one")
        }
        return key
    }

    /// The same cluster with the first clients only: each number of clients needs no keys of its own.
    public func withClients(_ count: Int) -> KeyRing {
        var fewer = self
        fewer.clients = Array(clients.prefix(count))
        return fewer
    }

    func signer(of replica: ReplicaID) -> any Signer { replicaSigners[replica.index] }

    /// A client's key of a generation. It stands for a real one, whose bytes it does not have.
    func publicKey(of client: ClientID, generation: Int = 0) -> PublicKey {
        Self.key(2, client.rawValue, UInt8(generation))
    }

    /// Who is known from the start: the administrator, and the clients but for those that it takes in later.
    func genesis(without newcomers: Set<ClientID> = []) -> [ClientKey] {
        (clients.filter { !newcomers.contains($0) } + [administrator]).map { ClientKey($0, publicKey(of: $0)) }
    }

    /// What a client authenticates with; wrong for some replicas if it is faulty.
    func authenticator(
        of client: ClientID,
        generation: Int = 0,
        spoiledFor spoiled: [ReplicaID] = []
    ) -> RequestAuthenticator {
        let key = publicKey(of: client, generation: generation)
        switch scheme {
        case .signature:
            return .signature(spoiled.isEmpty ? SimulatedSigner(key) : stranger, cluster: cluster)
        case .macVector:
            guard let shared = shared[key] else { invariantViolated("a client of the cluster") }
            return .macVector(size.members.map { spoiled.contains($0) ? wrong[0] : shared[$0.index] })
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
    func isValid(_ request: Request, under key: PublicKey, at replica: ReplicaID) -> Bool {
        switch request.scheme {
        case .signature:
            guard scheme == .signature, let signature = request.signature else { return false }
            return signature == SimulatedSigner(key).sign(SignedBytes.request(request.digest, cluster: cluster))
        case .macVector:
            guard scheme == .macVector, let mac = request.mac(for: replica), let shared = shared[key] else {
                return false
            }
            return mac == shared[replica.index].authenticate(request.digest)
        }
    }

    func verified(_ check: RequestCheck, at replica: ReplicaID) -> Verified<Request>? {
        let claim = check.request.claim
        return isValid(claim, under: check.key, at: replica) ? Verified(vouchingFor: claim) : nil
    }

    /// Why evidence proves nothing; nil when it does. A client's key is one that it had, whatever the accuser says.
    func flaw(of evidence: Evidence) -> Evidence.Flaw? {
        let client = evidence.request.client
        let generations = 0..<(client.isAdministrator ? 1 : Self.generations)
        guard generations.contains(where: { publicKey(of: client, generation: $0) == evidence.clientKey }) else {
            return .otherKey
        }
        return evidence.flaw(
            in: cluster,
            replicaKey: { size.contains($0) ? Self.key(1, UInt32($0.rawValue), 0) : nil },
            isValid: { key, signature, message in SimulatedSigner(key).sign(message) == signature }
        )
    }

    func verified(_ checkpoint: Unverified<Checkpoint>) -> Verified<Checkpoint>? {
        isValid(checkpoint.claim) ? Verified(vouchingFor: checkpoint.claim) : nil
    }

    func verified(_ certificate: Unverified<CheckpointCertificate>) -> Verified<CheckpointCertificate>? {
        let claim = certificate.claim
        guard claim.isComplete(size: size), claim.checkpoints.allSatisfy({ isValid($0) }) else { return nil }
        return Verified(vouchingFor: claim)
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
