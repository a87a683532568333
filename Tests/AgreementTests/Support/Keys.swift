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

    /// Signs as whoever has a key of the test cluster.
    static func holder(of key: PublicKey) -> CheapSigner {
        CheapSigner(name: [2] + key.bytes)
    }

    func sign(_ message: [UInt8]) -> Signature {
        let half = Digest.of(name + message).bytes
        guard let signature = Signature(half + half) else { invariantViolated("a signature has 64 bytes") }
        return signature
    }
}

extension ProtocolSwitches {
    /// `aardvark` without the watch over the primary, which would have its say in every test in which time passes.
    static var unwatched: ProtocolSwitches {
        var switches = ProtocolSwitches.aardvark
        switches.regularViewChanges = false
        return switches
    }
}

/// The keys of a test cluster: cheap signatures, and real MACs for the MAC vectors of `pbft`.
struct Keys {
    static let administrator = ClientID(administrator: 0)

    let size: ClusterSize
    /// The clients that are known from the start, beside the administrator.
    let clients: [ClientID]
    let switches: ProtocolSwitches
    let cluster: ClusterID
    /// For each key, what it shares with each replica; empty under `aardvark`.
    private let shared: [PublicKey: [PairwiseKey]]
    /// A key that nobody shares, for wrong MACs.
    private let wrong: [PairwiseKey]

    /// Makes the keys of a cluster.
    ///
    /// - Parameter generations: How many keys each client has, one after the other. With several, there is also one more client than are
    ///   known from the start.
    init(faults: Int = 1, clients: Int = 2, switches: ProtocolSwitches = .unwatched, generations: Int = 1) {
        guard let size = ClusterSize(faults: faults), let cluster = ClusterID(Array(repeating: 7, count: 32)) else {
            invariantViolated("a test cluster of a size that cannot be")
        }
        self.size = size
        self.clients = (1...UInt32(clients)).map { ClientID($0) }
        self.switches = switches
        self.cluster = cluster
        guard switches.requestAuthentication == .macVector else {
            shared = [:]
            wrong = []
            return
        }
        func secret(_ name: [UInt8]) -> SigningKey {
            guard let key = SigningKey(seed: name) else { invariantViolated("a seed has 32 bytes") }
            return key
        }
        func pairwise(_ own: SigningKey, _ peer: SigningKey) -> PairwiseKey {
            guard let pairwise = PairwiseKey(own: own, peer: peer.publicKey, cluster: cluster) else {
                invariantViolated("two good keys share one")
            }
            return pairwise
        }
        let replicas = size.members.map { secret(Self.name(1, UInt32($0.rawValue), 0)) }
        var shared: [PublicKey: [PairwiseKey]] = [:]
        let newcomers = generations > 1 ? [ClientID(UInt32(clients) + 1)] : []
        for client in self.clients + newcomers + [Self.administrator] {
            for generation in 0..<(client.isAdministrator ? 1 : generations) {
                let own = secret(Self.name(2, client.rawValue, generation))
                shared[Self.key(of: client, generation)] = replicas.map { pairwise(own, $0) }
            }
        }
        self.shared = shared
        wrong = [pairwise(secret(Self.name(3, 0, 0)), secret(Self.name(3, 1, 0)))]
    }

    private static func name(_ role: UInt8, _ number: UInt32, _ generation: Int) -> [UInt8] {
        var name = [role, UInt8(generation)]
        name.append(littleEndian: number)
        return name + Array(repeating: 0, count: 32 - name.count)
    }

    /// A client's key, the first or one of those that it gets later. It stands for a real one, whose bytes it does not have.
    static func key(of client: ClientID, _ generation: Int = 0) -> PublicKey {
        guard let key = PublicKey(name(2, client.rawValue, generation)) else { invariantViolated("a key has 32 bytes") }
        return key
    }

    /// Who is known from the start.
    var genesis: [ClientKey] {
        (clients + [Self.administrator]).map { ClientKey($0, Self.key(of: $0)) }
    }

    func authenticator(
        of client: ClientID,
        generation: Int = 0,
        spoiledFor spoiled: Set<ReplicaID> = []
    ) -> RequestAuthenticator {
        let key = Self.key(of: client, generation)
        switch switches.requestAuthentication {
        case .signature:
            return .signature(spoiled.isEmpty ? CheapSigner.holder(of: key) : CheapSigner(name: [0]), cluster: cluster)
        case .macVector:
            let keys = shared[key] ?? []
            return .macVector(size.members.map { spoiled.contains($0) ? wrong[0] : keys[$0.index] })
        }
    }

    /// What a replica's verifier would say of a request.
    func verify(_ check: RequestCheck, at replica: ReplicaID) -> Verified<Request>? {
        let claim = check.request.claim
        let isGood =
            switch claim.scheme {
            case .signature:
                claim.signature
                    == CheapSigner.holder(of: check.key).sign(SignedBytes.request(claim.digest, cluster: cluster))
            case .macVector:
                claim.mac(for: replica) == shared[check.key]?[replica.index].authenticate(claim.digest)
            }
        return isGood ? Verified(vouchingFor: claim) : nil
    }

    func verify(_ checkpoint: Unverified<Checkpoint>) -> Verified<Checkpoint>? {
        let claim = checkpoint.claim
        let good = self.checkpoint(claim.sequence, root: claim.root, by: claim.replica)
        return good.signature == claim.signature ? Verified(vouchingFor: claim) : nil
    }

    func verify(_ certificate: Unverified<CheckpointCertificate>) -> Verified<CheckpointCertificate>? {
        let claim = certificate.claim
        let isGood = claim.isComplete(size: size) && claim.checkpoints.allSatisfy { verify(Unverified($0)) != nil }
        return isGood ? Verified(vouchingFor: claim) : nil
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
        epoch: UInt32 = 0,
        generation: Int = 0,
        spoiledFor spoiled: Set<ReplicaID> = []
    ) -> Request {
        Request(
            client: ClientID(client),
            keyEpoch: KeyEpoch(epoch),
            session: SessionID(session),
            number: RequestNumber(number),
            operations: operations.map { Array($0.utf8) },
            replier: ReplicaID(replier),
            authenticator: authenticator(of: ClientID(client), generation: generation, spoiledFor: spoiled)
        )
    }

    /// A request as a backup forwards it.
    func forward(_ request: Request, by replica: UInt8) -> PeerMessage {
        guard request.scheme == .signature else { return .forward(Forward(request)) }
        return .forward(Forward(request, endorsement: endorsement(of: request, by: replica)))
    }

    func endorsement(of request: Request, by replica: UInt8, in view: View = View(0)) -> Forward.Endorsement {
        let signer = CheapSigner.replica(ReplicaID(replica))
        return Forward.Endorsement(of: request, by: ReplicaID(replica), in: view, cluster: cluster, signer: signer)
    }

    /// What shows that a replica has forwarded a request that its client has not signed.
    func evidence(of request: Request, by replica: UInt8) -> Evidence {
        Evidence(.badForward(request, endorsement(of: request, by: replica)), clientKey: Self.key(of: request.client))
    }

    /// Why evidence proves nothing in this cluster; nil when it does.
    func flaw(of evidence: Evidence) -> Evidence.Flaw? {
        func stand(_ replica: ReplicaID) -> PublicKey { Self.key(of: ClientID(1_000 + UInt32(replica.rawValue))) }
        return evidence.flaw(
            in: cluster,
            replicaKey: { size.contains($0) ? stand($0) : nil },
            isValid: { key, signature, message in
                let replica = size.members.first { stand($0) == key }
                let signer = replica.map { CheapSigner.replica($0) } ?? CheapSigner.holder(of: key)
                return signer.sign(message) == signature
            }
        )
    }

    func opening(_ client: UInt32, session: UInt64 = 1) -> Request {
        request(client, session: session, number: 0, [])
    }

    /// The administrator's request, in its session 1.
    func administration(number: UInt64, _ operations: [AdministrationOperation]) -> Request {
        Request(
            client: Self.administrator,
            session: SessionID(1),
            number: RequestNumber(number),
            operations: operations.map(\.encoded),
            replier: ReplicaID(1),
            authenticator: authenticator(of: Self.administrator)
        )
    }
}
