import Aardvark
import Adversary
import Cryptography
import Messages
import NIOCore
import NIOPosix
import Synchronization

/// What a client or a replica does beside its links, with connections of its own to the replicas' endpoints. There are no connections in
/// the simulator, so this is in real runs only.
enum ConnectionAttack: Sendable {
    /// `connection-flood`: connection after connection as fast as it can; half of them begin the handshake of a stranger, half its own,
    /// and none goes on with it.
    ///
    /// Both protocols: strangers are refused before any costly part, handshakes of one identity are paced, and nobody else waits for
    /// them. Source: this project (a bounded number of handshakes under way).
    case handshakes
    /// `slow-connections`: hundreds of connections, half of which say nothing, while the others send their handshake byte by byte.
    ///
    /// Both protocols: so many are under way at the most, and each ends in time, so that others get their turn. Source: this project;
    /// known as Slowloris.
    case drips
    /// `old-version`: a replica that asks to be let in with an older version of the protocol, a hundred times a second.
    ///
    /// Both protocols: it is refused, with a line in the log, and counts as one of the f. Source: this project (section on versions).
    case oldVersion

    /// How many connections to each replica it keeps.
    fileprivate var connections: Int {
        switch self {
        case .handshakes: 32
        case .drips: 200
        case .oldVersion: 1
        }
    }

    /// How many new connections to each replica it makes in ten milliseconds at the most.
    fileprivate var pace: Int {
        switch self {
        case .handshakes: 10
        case .drips: 20
        case .oldVersion: 1
        }
    }
}

/// The mark of a client that attacks with connections; to its requests it does nothing.
struct ConnectionAttacker: ClientBehaviour {
    let attack: ConnectionAttack
}

/// The mark of a replica that asks to be let in with an older version of the protocol; to its messages it does nothing.
struct OldVersionReplica: ReplicaBehaviour {}

/// The connections of an attack, on one event loop. They are closed while the attack is off.
final class AttackConnections {
    /// How often it is looked whether there are enough connections.
    private static let period = TimeAmount.milliseconds(10)

    private let attack: ConnectionAttack
    private let toggle: AttackSwitch
    private let eventLoop: any EventLoop
    private let targets: [Target]
    private var channels: [[ObjectIdentifier: any Channel]]
    private var pending: [Int]
    private var made = 0

    /// Where connections go to, and handshakes to begin with there.
    struct Target {
        let endpoint: ClusterFile.Endpoint
        let hellos: [[UInt8]]
    }

    /// Prepares an attack on these.
    init(_ attack: ConnectionAttack, on targets: [Target], while toggle: AttackSwitch, eventLoop: any EventLoop) {
        self.attack = attack
        self.targets = targets
        self.toggle = toggle
        self.eventLoop = eventLoop
        channels = Array(repeating: [:], count: targets.count)
        pending = Array(repeating: 0, count: targets.count)
    }

    /// All replicas, for a client.
    static func targets(of client: ClientID, key: SigningKey, in cluster: ClusterFile) -> [Target] {
        cluster.replicas.map { replica in
            let hellos = (0..<64).compactMap { number in
                let isOwn = number % 2 == 0
                let local = LocalIdentity(
                    cluster: cluster.clusterID,
                    identity: isOwn ? client.identity : .client(1_000_000 + UInt32(number)),
                    key: isOwn ? key : .random()
                )
                return hello(of: local, to: replica, at: .clients)
            }
            return Target(endpoint: replica.clientEndpoint, hellos: hellos)
        }
    }

    /// All other replicas, for one with an older version.
    static func targets(ofOld replica: ReplicaID, key: SigningKey, in cluster: ClusterFile) -> [Target] {
        let local = LocalIdentity(
            cluster: cluster.clusterID,
            identity: .replica(replica.rawValue),
            key: key,
            protocolVersion: Handshake.protocolVersion - 1
        )
        return cluster.replicas.compactMap { peer in
            peer.peerEndpoints[replica.index].map { endpoint in
                let own = hello(of: local, to: peer, at: .peer(replica.rawValue))
                return Target(endpoint: endpoint, hellos: [own].compactMap(\.self))
            }
        }
    }

    private static func hello(
        of local: LocalIdentity,
        to replica: ClusterFile.Replica,
        at endpoint: EndpointPurpose
    ) -> [UInt8]? {
        let peer = Identity(role: .replica, number: UInt32(replica.id.rawValue))
        return PairwiseKeyCache(local: local).keys(of: peer, publicKey: replica.publicKey).map { keys in
            HandshakeInitiator(local: local, peer: peer, endpoint: endpoint, keys: keys).hello
        }
    }

    /// Attacks from now on, whenever the attack is on.
    func start() {
        if toggle.isOn.load(ordering: .relaxed) {
            for target in targets.indices { fill(target) }
        } else {
            for channel in channels.flatMap(\.values) { channel.close(promise: nil) }
        }
        eventLoop.assumeIsolated().scheduleTask(in: Self.period) { self.start() }
    }

    private func fill(_ target: Int) {
        let missing = attack.connections - channels[target].count - pending[target]
        for _ in 0..<max(0, min(missing, attack.pace)) { connect(target) }
    }

    private func connect(_ target: Int) {
        pending[target] += 1
        made += 1
        let hellos = targets[target].hellos
        let hello = hellos.isEmpty ? [] : hellos[made % hellos.count]
        let isSilent = attack == .drips && made % 4 < 2
        let (attack, toggle) = (attack, toggle)
        let endpoint = targets[target].endpoint
        ClientBootstrap(group: eventLoop)
            .connectTimeout(.seconds(1))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = AttackHandler(attack, hello: isSilent ? [] : hello, while: toggle)
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
            .connect(host: endpoint.host, port: endpoint.port)
            .assumeIsolated()
            .whenComplete { [self] result in
                pending[target] -= 1
                guard case .success(let channel) = result else { return }
                let identifier = ObjectIdentifier(channel)
                channels[target][identifier] = channel
                channel.closeFuture.assumeIsolated().whenComplete { [self] _ in channels[target][identifier] = nil }
            }
    }
}

/// One connection of an attack.
private final class AttackHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private static let dripPeriod = TimeAmount.milliseconds(100)

    private let attack: ConnectionAttack
    private let toggle: AttackSwitch
    private var hello: ArraySlice<UInt8>

    init(_ attack: ConnectionAttack, hello: [UInt8], while toggle: AttackSwitch) {
        self.attack = attack
        self.toggle = toggle
        self.hello = hello[...]
    }

    func channelActive(context: ChannelHandlerContext) {
        toggle.count(1)
        switch attack {
        case .handshakes, .oldVersion: write(Array(hello), context)
        case .drips: drip(context)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // Whatever the answer is, the next one begins anew.
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func drip(_ context: ChannelHandlerContext) {
        guard context.channel.isActive, let byte = hello.popFirst() else { return }
        write([byte], context)
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.dripPeriod) { self.drip(context) }
    }

    private func write(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(bytes: bytes)), promise: nil)
    }
}
