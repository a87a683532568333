import Cryptography
import NIOCore
import NIOPosix
import Testing

@testable import Transport

/// Runs tests on the event loop that their listeners and dialers use.
@globalActor
actor LoopActor {
    static let shared = LoopActor()
    static let loop: any EventLoop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()

    nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe Self.loop.executor.asUnownedSerialExecutor()
    }
}

/// The keys of a cluster, made from numbers.
struct TestCluster {
    var cluster = ClusterID(Array(repeating: 5, count: 32))

    func key(of identity: Identity) throws -> SigningKey {
        let number = UInt8(truncatingIfNeeded: identity.number)
        return try #require(SigningKey(seed: [identity.role.rawValue, number] + Array(repeating: 9, count: 30)))
    }

    func local(
        _ identity: Identity,
        key: SigningKey? = nil,
        version: UInt16 = Handshake.protocolVersion
    ) throws -> LocalIdentity {
        LocalIdentity(
            cluster: try #require(cluster),
            identity: identity,
            key: try key ?? self.key(of: identity),
            protocolVersion: version
        )
    }

    /// What `local` knows of `identity`.
    func known(_ identity: Identity, by local: LocalIdentity) throws -> KnownIdentity {
        try #require(
            PairwiseKeyCache(local: local).keys(of: identity, publicKey: key(of: identity).publicKey)
        )
    }

    /// Admits the clients below 100 and every replica.
    func admission(at local: LocalIdentity) -> (Identity) -> Admission {
        { identity in
            guard identity.number < 100, let keys = try? known(identity, by: local) else { return .unknown }
            return .admitted(keys)
        }
    }
}

/// Something whose state changes by events, on which a test waits.
class Observable {
    private var waiters: [(isMet: () -> Bool, continuation: CheckedContinuation<Void, Never>)] = []

    /// Returns as soon as `condition` holds after an event, or at once.
    nonisolated(nonsending) func wait(until condition: @escaping () -> Bool) async {
        if condition() { return }
        await withCheckedContinuation { waiters.append((condition, $0)) }
    }

    func changed() {
        let met = waiters.filter { $0.isMet() }
        waiters.removeAll { $0.isMet() }
        for waiter in met { waiter.continuation.resume() }
    }
}

/// Remembers all that it is told, and takes every frame unless told not to.
final class Recorder: Observable, TransportDelegate {
    var opened: [Link] = []
    var closed: [(link: Link, reason: LinkCloseReason)] = []
    var refusals: [ConnectionRefusal] = []
    var places: [ConnectionPlace] = []
    var messages: [[UInt8]] = []
    var readableCount = 0
    var isTaking = true
    var mostInboundBytes = 0
    var onOpened: (Link) -> Void = { _ in }
    var onReadable: (Link) -> Void = { _ in }

    func linkOpened(_ link: Link) {
        opened.append(link)
        onOpened(link)
        changed()
    }

    func linkReadable(_ link: Link) {
        readableCount += 1
        mostInboundBytes = max(mostInboundBytes, link.inboundBytes)
        if isTaking { take(from: link) }
        onReadable(link)
        changed()
    }

    func linkClosed(_ link: Link, reason: LinkCloseReason) {
        closed.append((link, reason))
        changed()
    }

    func connectionRefused(at place: ConnectionPlace, remoteAddress: String, reason: ConnectionRefusal) {
        refusals.append(reason)
        places.append(place)
        changed()
    }

    func take(from link: Link) {
        while let frame = link.nextFrame() {
            messages += MessageRanges(frame).map { Array(frame[$0]) }
        }
    }
}

/// A connection without the transport's code, to send what it would never send.
final class RawConnection: Observable, ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private(set) var received: [UInt8] = []
    private(set) var isClosed = false
    private var channel: (any Channel)?

    nonisolated(nonsending) static func open(port: Int, from address: String? = nil) async throws -> RawConnection {
        let connection = RawConnection()
        let bound = NIOLoopBound(connection, eventLoop: LoopActor.loop)
        var bootstrap = ClientBootstrap(group: LoopActor.loop)
        if let address { bootstrap = bootstrap.bind(to: try SocketAddress(ipAddress: address, port: 0)) }
        connection.channel =
            try await bootstrap
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(bound.value)
                }
            }
            .connect(host: "127.0.0.1", port: port)
            .get()
        return connection
    }

    func send(_ bytes: [UInt8]) {
        channel?.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    }

    func close() {
        channel?.close(promise: nil)
    }

    /// Shakes hands as `local`.
    nonisolated(nonsending) func shakeHands(_ initiator: HandshakeInitiator) async throws -> ChannelKeys {
        var initiator = initiator
        send(initiator.hello)
        while true {
            let wanted = initiator.wanted
            await wait { self.received.count >= wanted || self.isClosed }
            let bytes = Array(received.prefix(wanted))
            received.removeFirst(min(wanted, received.count))
            if case .established(let keys, let finish) = try initiator.receive(bytes) {
                send(finish)
                return keys
            }
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received += Array(unwrapInboundIn(data).readableBytesView)
        changed()
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        changed()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

/// Replica 0 with a listener, and what dials it.
final class Fixture {
    let cluster = TestCluster()
    let server = Recorder()
    let client = Recorder()
    let listener: Listener
    private var dialers: [Dialer] = []

    init(
        port: Int = 0,
        purpose: EndpointPurpose = .clients,
        maximumHandshakes: Int = 64,
        maximumLinks: Int = 100,
        maximumBytes: Int = 512 << 20,
        limits: TransportLimits = .standard,
        local: LocalIdentity? = nil
    ) throws {
        let local = try local ?? cluster.local(.replica(0))
        listener = Listener(
            Listener.Configuration(
                host: "127.0.0.1",
                port: port,
                purpose: purpose,
                maximumHandshakes: maximumHandshakes,
                maximumLinks: maximumLinks,
                maximumBytes: maximumBytes,
                limits: limits
            ),
            local: local,
            eventLoop: LoopActor.loop,
            delegate: server,
            admission: cluster.admission(at: local)
        )
    }

    nonisolated(nonsending) func start() async throws -> Int {
        try await listener.start().get()
        return try #require(listener.boundPort)
    }

    nonisolated(nonsending) func stop() async throws {
        for dialer in dialers { dialer.stop() }
        try await listener.stop().get()
    }

    /// Dials the port as `identity`.
    @discardableResult
    func dial(
        _ port: Int,
        as identity: Identity = .client(1),
        local: LocalIdentity? = nil,
        purpose: EndpointPurpose = .clients,
        limits: TransportLimits = .standard,
        backOff: BackOff = BackOff(shortest: .milliseconds(1), longest: .milliseconds(20)),
        repeatPause: Duration? = nil,
        recorder: Recorder? = nil
    ) throws -> Dialer {
        let local = try local ?? cluster.local(identity)
        let dialer = Dialer(
            Dialer.Configuration(
                host: "127.0.0.1",
                port: port,
                peer: .replica(0),
                keys: try cluster.known(.replica(0), by: local),
                purpose: purpose,
                limits: limits,
                backOff: backOff,
                repeatPause: repeatPause
            ),
            local: local,
            eventLoop: LoopActor.loop,
            delegate: recorder ?? client
        )
        dialers.append(dialer)
        dialer.start()
        return dialer
    }

    /// A handshake as `identity`, for a raw connection.
    func initiator(as identity: Identity = .client(1)) throws -> HandshakeInitiator {
        let local = try cluster.local(identity)
        return HandshakeInitiator(
            local: local,
            peer: .replica(0),
            endpoint: .clients,
            keys: try cluster.known(.replica(0), by: local)
        )
    }
}

/// A plaintext made of these messages.
func plaintext(_ messages: [[UInt8]]) -> [UInt8] {
    var bytes: [UInt8] = []
    for message in messages {
        for shift in stride(from: 0, to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: message.count >> shift)) }
        bytes += message
    }
    return bytes
}
