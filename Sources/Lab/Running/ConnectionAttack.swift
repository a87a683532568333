import Aardvark
import Adversary
import Cryptography
import Messages
import NIOCore
import NIOPosix
import Synchronization

/// What a client does beside its link, with connections of its own to the replicas' endpoints for clients. There are no connections in the
/// simulator, so this is in real runs only.
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

    /// How many connections to each replica it keeps.
    fileprivate var connections: Int {
        switch self {
        case .handshakes: 32
        case .drips: 200
        }
    }

    /// How many new connections to each replica it makes in ten milliseconds at the most.
    fileprivate var pace: Int {
        switch self {
        case .handshakes: 10
        case .drips: 20
        }
    }
}

/// The mark of a client that attacks with connections; to its requests it does nothing.
struct ConnectionAttacker: ClientBehaviour {
    let attack: ConnectionAttack
}

/// The connections of an attack, on one event loop. They are closed while the attack is off.
final class AttackConnections {
    /// How often it is looked whether there are enough connections.
    private static let period = TimeAmount.milliseconds(10)

    private let attack: ConnectionAttack
    private let toggle: AttackSwitch
    private let eventLoop: any EventLoop
    private let targets: [ClusterFile.Endpoint]
    /// Handshakes to begin with, some for each target.
    private let hellos: [[[UInt8]]]
    private var channels: [[ObjectIdentifier: any Channel]]
    private var pending: [Int]
    private var made = 0

    /// Prepares an attack on all replicas by one client.
    init(
        _ attack: ConnectionAttack,
        by client: ClientID,
        key: SigningKey,
        on cluster: ClusterFile,
        while toggle: AttackSwitch,
        eventLoop: any EventLoop
    ) {
        self.attack = attack
        self.toggle = toggle
        self.eventLoop = eventLoop
        targets = cluster.replicas.map(\.clientEndpoint)
        channels = Array(repeating: [:], count: targets.count)
        pending = Array(repeating: 0, count: targets.count)
        hellos = cluster.replicas.map { replica in
            (0..<64).compactMap { number in
                let isOwn = number % 2 == 0
                let identity = isOwn ? client.identity : .client(1_000_000 + UInt32(number))
                let local = LocalIdentity(
                    cluster: cluster.clusterID,
                    identity: identity,
                    key: isOwn ? key : .random()
                )
                let peer = Identity(role: .replica, number: UInt32(replica.id.rawValue))
                return PairwiseKeyCache(local: local).keys(of: peer, publicKey: replica.publicKey).map { keys in
                    HandshakeInitiator(local: local, peer: peer, endpoint: .clients, keys: keys).hello
                }
            }
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
        let hello = hellos[target].isEmpty ? [] : hellos[target][made % hellos[target].count]
        let isSilent = attack == .drips && made % 4 < 2
        let (attack, toggle) = (attack, toggle)
        let endpoint = targets[target]
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
        case .handshakes: write(Array(hello), context)
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
