import Agreement
import Cryptography
import Invariants
import Messages

/// Signs with a hash: as good as a signature among actors that do not forge, and far cheaper.
struct CheapSigner: Signer {
    let name: [UInt8]

    static func replica(_ replica: ReplicaID) -> CheapSigner {
        CheapSigner(name: [1, replica.rawValue])
    }

    static func client(_ client: ClientID) -> CheapSigner {
        CheapSigner(name: [2, UInt8(client.rawValue)])
    }

    func sign(_ message: [UInt8]) -> Signature {
        let half = Digest.of(name + message).bytes
        guard let signature = Signature(half + half) else { invariantViolated("a signature has 64 bytes") }
        return signature
    }
}

/// The keys of a test cluster: cheap signatures, and real MACs for the MAC vectors of `pbft`.
struct Keys {
    let size: ClusterSize
    let clients: [ClientID]
    let switches: ProtocolSwitches
    let cluster: ClusterID
    /// For each client, the key that it shares with each replica; empty under `aardvark`.
    private let shared: [ClientID: [PairwiseKey]]
    /// A key that nobody shares, for wrong MACs.
    private let wrong: [PairwiseKey]

    init(faults: Int = 1, clients: Int = 2, switches: ProtocolSwitches = .aardvark) {
        guard let size = ClusterSize(faults: faults), let cluster = ClusterID(Array(repeating: 7, count: 32)) else {
            invariantViolated("a test cluster of a size that cannot be")
        }
        self.size = size
        self.clients = (1...UInt32(clients)).map(ClientID.init)
        self.switches = switches
        self.cluster = cluster
        guard switches.requestAuthentication == .macVector else {
            shared = [:]
            wrong = []
            return
        }
        func key(_ role: UInt8, _ number: UInt8) -> SigningKey {
            guard let key = SigningKey(seed: [role, number] + Array(repeating: 0, count: 30)) else {
                invariantViolated("a seed has 32 bytes")
            }
            return key
        }
        func pairwise(_ own: SigningKey, _ peer: SigningKey) -> PairwiseKey {
            guard let pairwise = PairwiseKey(own: own, peer: peer.publicKey, cluster: cluster) else {
                invariantViolated("two good keys share one")
            }
            return pairwise
        }
        let replicas = size.members.map { key(1, $0.rawValue) }
        shared = Dictionary(
            uniqueKeysWithValues: self.clients.map { client in
                (client, replicas.map { pairwise(key(2, UInt8(client.rawValue)), $0) })
            }
        )
        wrong = [pairwise(key(3, 0), key(3, 1))]
    }

    func authenticator(of client: ClientID, spoiledFor spoiled: Set<ReplicaID> = []) -> RequestAuthenticator {
        switch switches.requestAuthentication {
        case .signature:
            return .signature(spoiled.isEmpty ? CheapSigner.client(client) : CheapSigner(name: [0]), cluster: cluster)
        case .macVector:
            let keys = shared[client] ?? []
            return .macVector(size.members.map { spoiled.contains($0) ? wrong[0] : keys[$0.index] })
        }
    }

    /// What a replica's verifier would say of a request.
    func verify(_ request: Unverified<Request>, at replica: ReplicaID) -> Verified<Request>? {
        let claim = request.claim
        guard clients.contains(claim.client) else { return nil }
        let isGood =
            switch claim.scheme {
            case .signature:
                claim.signature
                    == CheapSigner.client(claim.client).sign(SignedBytes.request(claim.digest, cluster: cluster))
            case .macVector:
                claim.mac(for: replica) == shared[claim.client]?[replica.index].authenticate(claim.digest)
            }
        return isGood ? Verified(vouchingFor: claim) : nil
    }

    func verify(_ checkpoint: Unverified<Checkpoint>) -> Verified<Checkpoint>? {
        let claim = checkpoint.claim
        let good = self.checkpoint(claim.sequence, root: claim.root, by: claim.replica)
        return good.signature == claim.signature ? Verified(vouchingFor: claim) : nil
    }

    func verify(_ viewChange: Unverified<ViewChange>) -> Verified<ViewChange>? {
        let claim = viewChange.claim
        let signature = CheapSigner.replica(claim.replica).sign(claim.signedBytes(cluster: cluster))
        let certificateIsGood = claim.certificate.allSatisfy { verify(Unverified($0)) != nil }
        return signature == claim.signature && claim.isCertified(size: size) && certificateIsGood
            ? Verified(vouchingFor: claim) : nil
    }

    func verify(_ newView: Unverified<NewView>) -> Verified<NewView>? {
        let claim = newView.claim
        let signature = CheapSigner.replica(claim.view.primary(in: size)).sign(claim.signedBytes(cluster: cluster))
        return signature == claim.signature ? Verified(vouchingFor: claim) : nil
    }

    func checkpoint(_ sequence: SequenceNumber, root: Digest, by replica: ReplicaID) -> Checkpoint {
        Checkpoint(sequence, root: root, by: replica, cluster: cluster, signer: CheapSigner.replica(replica))
    }

    /// A request with the given operations; one byte of text is enough for most tests.
    func request(
        _ client: UInt32,
        session: UInt64 = 1,
        number: UInt64,
        _ operations: [String] = ["x"],
        replier: UInt8 = 1,
        spoiledFor spoiled: Set<ReplicaID> = []
    ) -> Request {
        Request(
            client: ClientID(client),
            session: SessionID(session),
            number: RequestNumber(number),
            operations: operations.map { Array($0.utf8) },
            replier: ReplicaID(replier),
            authenticator: authenticator(of: ClientID(client), spoiledFor: spoiled)
        )
    }

    func opening(_ client: UInt32, session: UInt64 = 1) -> Request {
        request(client, session: session, number: 0, [])
    }
}
