import Cryptography
import Invariants
import Messages

/// What every member of a cluster knows about it: who takes part, where each replica listens, and how the protocol is set.
///
/// It is kept as a YAML file that all replicas and clients share. Nothing in it is secret; each identity's secret key is in a file of
/// its own (see ``KeyFile``). A value of this type is valid: there are 3f + 1 replicas, no key, number or endpoint occurs twice, and
/// every number is in its range.
public struct ClusterFile: Hashable, Sendable {
    /// The version of the file format that this program reads and writes.
    public static let formatVersion = 1

    /// The largest file that is read, in bytes: room for about 30,000 clients.
    public static let mostBytes = 4 << 20

    /// The clients' table holds no more identities than this, clients and administrators each.
    public static let mostMembers = 65_536

    /// Which setting of the agreement engine the replicas run.
    public enum ProtocolName: String, CaseIterable, Hashable, Sendable {
        /// Practical Byzantine Fault Tolerance (Castro and Liskov, OSDI 1999).
        case pbft

        /// Aardvark (Clement, Wong, Marchetti, Dahlin and Alvisi, NSDI 2009).
        case aardvark

        /// Whether ``ClusterFile/isolatedQueues`` is on unless the file says otherwise.
        public var isolatedQueues: Switch {
            switch self {
            case .pbft: .off
            case .aardvark: .on
            }
        }
    }

    /// To whom clients send their requests.
    public enum Dissemination: String, CaseIterable, Hashable, Sendable {
        /// To the primary, and to all replicas after a time-out.
        case primary

        /// To all replicas at once; proposals name requests by their digests (PBFT section 5.1.5).
        case all
    }

    /// Whether a mechanism is on: each of those that make `aardvark` out of `pbft` can be switched alone, to measure what it does.
    public enum Switch: String, CaseIterable, Hashable, Sendable {
        /// The mechanism is on.
        case on

        /// The mechanism is off.
        case off
    }

    /// What a replica's state survives.
    public enum Durability: String, CaseIterable, Hashable, Sendable {
        /// The loss of power: nothing is said before what it rests on is on the disk itself.
        case powerLoss = "power-loss"

        /// The end of the replica's process, but not of the machine: nothing is said before the operating system has it.
        case processCrash = "process-crash"

        /// Nothing: the state is in memory, and a replica that restarts starts empty.
        case none
    }

    /// An address that one listener is bound to and that its peer dials.
    public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
        /// The host that an endpoint has when none is given: this machine only.
        public static let defaultHost = "127.0.0.1"

        /// An IPv4 or IPv6 address, or a name that resolves to one.
        public let host: String

        /// The TCP port, 1 to 65535.
        public let port: Int

        /// Names an endpoint.
        ///
        /// - Parameters:
        ///   - host: An address or a name, not empty.
        ///   - port: The TCP port, 1 to 65535.
        public init(host: String = Self.defaultHost, port: Int) {
            invariant(!host.isEmpty && (1...65_535).contains(port), "an endpoint needs a host and a port")
            self.host = host
            self.port = port
        }

        /// For example `127.0.0.1:7400` or `[::1]:7400`.
        public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    }

    /// One replica of the cluster.
    public struct Replica: Hashable, Sendable {
        /// Its number.
        public let id: ReplicaID

        /// Its identity.
        public let publicKey: PublicKey

        /// Where it listens for clients and administrators.
        public let clientEndpoint: Endpoint

        /// Where it listens for each peer: one endpoint a replica number, nil at its own (Aardvark section 4.2: a network interface
        /// per peer, so that a flooding peer can be cut off alone).
        public let peerEndpoints: [Endpoint?]

        /// Where it listens for `peer`.
        ///
        /// - Returns: nil for itself and for a replica that does not exist.
        public func endpoint(for peer: ReplicaID) -> Endpoint? {
            peer.index < peerEndpoints.count ? peerEndpoints[peer.index] : nil
        }
    }

    /// One client or administrator of the cluster.
    public struct Member: Hashable, Sendable {
        /// Its number, unique among clients or among administrators.
        public let id: UInt32

        /// Its identity.
        public let publicKey: PublicKey
    }

    /// The file that this was read from, for messages to the operator.
    public let path: String

    /// 32 random bytes that name this cluster, so that no member of one cluster is ever taken for a member of another.
    public let clusterID: ClusterID

    /// Which protocol the replicas run.
    public let protocolName: ProtocolName

    /// What a replica's state survives.
    public let durability: Durability

    /// To whom clients send their requests.
    public let dissemination: Dissemination

    /// Whether primaries are watched, and replaced when they are slow, unfair or silent (Aardvark section 5.3).
    public let regularViewChanges: Switch

    /// Whether replicas keep what each peer and each client sends in queues apart, with shares of the processor's time, and cut off peers
    /// that flood (Aardvark section 4.2). Part of `aardvark`; the other protocol, or this one without it, is there to compare with.
    public let isolatedQueues: Switch

    /// Whether clients sign their requests (Aardvark section 5.1) or make one MAC for each replica (PBFT section 2.4). Clients and replicas
    /// alike go by it.
    public let signedRequests: Switch

    /// The settings of the protocol.
    public let tuning: Tuning

    /// The replicas, in the order of their numbers.
    public let replicas: [Replica]

    /// The clients that are known from the start, in the order of their numbers.
    public let clients: [Member]

    /// The administrators that are known from the start, in the order of their numbers.
    public let administrators: [Member]

    /// n and f.
    public var size: ClusterSize {
        guard let size = ClusterSize(replicas: replicas.count) else {
            invariantViolated("a cluster file has 3f + 1 replicas")
        }
        return size
    }

    /// The replica with this number.
    ///
    /// - Returns: nil when there is none.
    public func replica(_ id: ReplicaID) -> Replica? {
        id.index < replicas.count ? replicas[id.index] : nil
    }

    /// The clients and administrators that replicas know from the start.
    var clientKeys: [ClientKey] {
        clients.map { ClientKey(ClientID($0.id), $0.publicKey) }
            + administrators.map { ClientKey(ClientID(administrator: $0.id), $0.publicKey) }
    }

    /// The key of an identity from the start; administrators may have changed that of a client since.
    ///
    /// - Returns: nil when the file does not name this identity.
    public func publicKey(of identity: Identity) -> PublicKey? {
        switch identity.role {
        case .replica:
            identity.number < UInt32(replicas.count) ? replicas[Int(identity.number)].publicKey : nil
        case .client: Self.member(identity.number, in: clients)?.publicKey
        case .administrator: Self.member(identity.number, in: administrators)?.publicKey
        }
    }

    /// Finds a member in a list that is sorted by number.
    private static func member(_ id: UInt32, in members: [Member]) -> Member? {
        var low = 0
        var high = members.count
        while low < high {
            let middle = low + (high - low) / 2
            if members[middle].id < id { low = middle + 1 } else { high = middle }
        }
        return low < members.count && members[low].id == id ? members[low] : nil
    }
}
