import Cryptography
import Invariants
import Messages
import NIOCore
import NIOPosix

extension ClusterFile {
    /// What a new cluster should be like.
    public struct Plan: Sendable {
        /// The number of replicas, 3f + 1.
        public var replicas = 4

        /// The number of clients, numbered from 0.
        public var clients = 8

        /// The number of administrators, numbered from 0.
        public var administrators = 1

        /// The protocol.
        public var protocolName = ProtocolName.aardvark

        /// What the replicas' state survives.
        public var durability = Durability.powerLoss

        /// To whom clients send their requests.
        public var dissemination = Dissemination.primary

        /// Whether primaries are watched and replaced when they are slow, unfair or silent; nil for what the protocol does.
        public var regularViewChanges: Switch?

        /// Whether replicas keep queues apart; nil for what is part of the protocol.
        public var isolatedQueues: Switch?

        /// Whether clients sign their requests; nil for what is part of the protocol.
        public var signedRequests: Switch?

        /// The settings of the protocol.
        public var tuning = Tuning()

        /// The replicas' hosts: one for all, or one for each.
        public var hosts = [Endpoint.defaultHost]

        /// The hosts at which each replica listens for each replica, where every peer has an interface of its own: n lists of n hosts, of
        /// which that for itself is not used. Empty for the replica's one host.
        public var peerHosts: [[String]] = []

        /// Where the search for free ports starts, 1 to 65535.
        public var basePort = 7_400

        /// The plan of `aardvark init` without options.
        public init() {}

        /// The plan of `aardvark init`, with the state kept in this way.
        public init(durability: Durability) {
            self.durability = durability
        }

        /// The hosts at which a replica listens: that for clients, then those for its peers in their order.
        fileprivate func hosts(of replica: ReplicaID, among members: [ReplicaID]) -> [String] {
            let own = hosts.count == 1 ? hosts[0] : hosts[replica.index]
            return [own]
                + members.filter { $0 != replica }.map { peer in
                    peerHosts.isEmpty ? own : peerHosts[replica.index][peer.index]
                }
        }
    }

    /// A new cluster: its file, and the secret keys that belong to it.
    public struct Created: Sendable {
        /// The cluster file.
        public let file: ClusterFile

        /// Every identity's secret key: the replicas', the clients' and the administrators'.
        public let keys: [(identity: Identity, key: SigningKey)]

        /// The secret key of an identity.
        ///
        /// - Returns: nil when the cluster has no such identity.
        public func key(of identity: Identity) -> SigningKey? {
            keys.first { $0.identity == identity }?.key
        }

        /// Writes the cluster file and, below `keys/` beside it, the key files. Overwrites nothing.
        ///
        /// - Throws: What stood in the way.
        public func write() throws(OperatorError) {
            let directory = file.path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
                .joined(separator: "/")
            guard !FileAccess.exists(file.path) else {
                throw OperatorError(
                    .cannotCreate,
                    "\(file.path): the cluster file exists already and is not overwritten"
                )
            }
            if !directory.isEmpty { try FileAccess.createDirectory(directory, mode: 0o755) }
            try FileAccess.createDirectory(directory.isEmpty ? "keys" : "\(directory)/keys", mode: 0o700)
            for (identity, key) in keys {
                let path = KeyFile.defaultPath(for: identity, clusterPath: file.path)
                try KeyFile.create(key, at: path, owner: ClusterFile.name(of: identity))
            }
            // Last, so that a cluster file is only there when its keys are.
            try FileAccess.create(file.path, what: "cluster file", mode: 0o644, contents: file.render())
        }
    }

    /// Makes a new cluster with random keys and free ports. Nothing is written.
    ///
    /// Ports of hosts that are not this machine cannot be tried; they are numbered on from the base.
    ///
    /// - Parameters:
    ///   - plan: What it should be like.
    ///   - path: Where the cluster file is to be.
    /// - Returns: The cluster file and its keys.
    /// - Throws: When the plan cannot be, or there are not enough free ports.
    public static func create(_ plan: Plan, path: String) async throws(OperatorError) -> Created {
        guard let size = ClusterSize(replicas: plan.replicas) else {
            throw OperatorError(
                .usage,
                "a cluster has 3f + 1 replicas with f from 1 to \(ClusterSize.mostFaults) (4, 7, 10, ...), "
                    + "not \(plan.replicas)"
            )
        }
        for (noun, count) in [("clients", plan.clients), ("administrators", plan.administrators)]
        where !(0...mostMembers).contains(count) {
            throw OperatorError(.usage, "the number of \(noun) is from 0 to \(mostMembers), not \(count)")
        }
        guard plan.hosts.count == 1 || plan.hosts.count == size.replicas else {
            throw OperatorError(.usage, "give one host for all replicas or one for each, not \(plan.hosts.count)")
        }
        guard plan.peerHosts.isEmpty || plan.peerHosts.map(\.count) == size.members.map({ _ in size.replicas }) else {
            throw OperatorError(.usage, "give one host for each pair of \(size.replicas) replicas, or none")
        }
        guard (1...65_535).contains(plan.basePort) else {
            throw OperatorError(.usage, "the base port is from 1 to 65535, not \(plan.basePort)")
        }
        let groups: [(role: Role, count: Int)] = [
            (.replica, size.replicas), (.client, plan.clients), (.administrator, plan.administrators),
        ]
        let keys = groups.flatMap { role, count in
            (0..<count).map { (identity: Identity(role: role, number: UInt32($0)), key: SigningKey.random()) }
        }
        var replicas: [Replica] = []
        var nextPorts: [String: Int] = [:]
        for id in size.members {
            var endpoints: [Endpoint] = []
            for host in plan.hosts(of: id, among: size.members) {
                let endpoint = try await freeEndpoint(host: host, from: nextPorts[host] ?? plan.basePort)
                nextPorts[host] = endpoint.port + 1
                endpoints.append(endpoint)
            }
            replicas.append(
                Replica(
                    id: id,
                    publicKey: keys[id.index].key.publicKey,
                    clientEndpoint: endpoints[0],
                    peerEndpoints: size.members.map { peer in
                        peer == id ? nil : endpoints[peer < id ? peer.index + 1 : peer.index]
                    }
                )
            )
        }
        guard let newID = ClusterID(randomBytes(ClusterID.byteCount)) else {
            invariantViolated("an identifier of the right length was refused")
        }
        let members = keys.map { Member(id: $0.identity.number, publicKey: $0.key.publicKey) }
        let file = ClusterFile(
            path: path,
            clusterID: newID,
            protocolName: plan.protocolName,
            durability: plan.durability,
            dissemination: plan.dissemination,
            regularViewChanges: plan.regularViewChanges ?? plan.protocolName.regularViewChanges,
            isolatedQueues: plan.isolatedQueues ?? plan.protocolName.isolatedQueues,
            signedRequests: plan.signedRequests ?? plan.protocolName.signedRequests,
            tuning: plan.tuning,
            replicas: replicas,
            clients: Array(members[size.replicas..<(size.replicas + plan.clients)]),
            administrators: Array(members[(size.replicas + plan.clients)...])
        )
        // What init writes must be what every command reads, whatever hosts and settings were asked for.
        return Created(file: try ClusterFile(text: file.render(), path: path), keys: keys)
    }

    /// Makes sure that nobody listens on any endpoint of the cluster, as before its replicas are started on this machine.
    ///
    /// - Throws: Which replica's endpoint is taken.
    public func checkEndpointsAreFree() async throws(OperatorError) {
        for replica in replicas {
            for endpoint in [replica.clientEndpoint] + replica.peerEndpoints.compactMap(\.self) {
                guard try await Self.isFree(endpoint) else {
                    throw OperatorError(
                        .unavailable,
                        "\(endpoint): this endpoint of replica \(replica.id.rawValue) is in use; is the cluster of \(path) "
                            + "running already?"
                    )
                }
            }
        }
    }

    /// The first free port of a host, from `first` on.
    private static func freeEndpoint(host: String, from first: Int) async throws(OperatorError) -> Endpoint {
        var port = first
        while port <= 65_535 {
            let endpoint = Endpoint(host: host, port: port)
            if try await isFree(endpoint) { return endpoint }
            port += 1
        }
        throw OperatorError(.unavailable, "\(host): there are not enough free ports from \(first) on")
    }

    /// Whether an endpoint can be listened on, or is another machine's, about which nothing can be said here.
    private static func isFree(_ endpoint: Endpoint) async throws(OperatorError) -> Bool {
        do {
            let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .bind(host: endpoint.host, port: endpoint.port).get()
            try await channel.close()
            return true
        } catch let error as IOError where error.errnoCode == FileAccess.addressNotAvailable {
            return true
        } catch let error as IOError where FileAccess.isTaken(error.errnoCode) {
            return false
        } catch {
            throw OperatorError(.unavailable, "\(endpoint.host): this host cannot be listened on: \(error)")
        }
    }
}
