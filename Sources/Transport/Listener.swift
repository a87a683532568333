import Cryptography
import NIOCore
import NIOPosix

/// One listening endpoint of this process. Used on its event loop only.
///
/// Each identity has at most one link here: the newest, because an older one may belong to a process that is gone.
public final class Listener: ConnectionOwner {
    /// Where to listen and how much to take on.
    public struct Configuration: Sendable {
        /// The address or name to bind.
        public let host: String

        /// The port to bind, 0 to 65535; 0 lets the operating system choose.
        public let port: Int

        /// Whom the endpoint is for.
        public let purpose: EndpointPurpose

        /// How many connections may be in the handshake at once.
        public let maximumHandshakes: Int

        /// How many links there may be at once.
        public let maximumLinks: Int

        /// How many bytes may wait in all links together, in both directions. Beyond it, those in which most waits are closed, until
        /// an eighth of it is free: so whoever holds much goes before everybody who does not. What waits counts in steps of 16 KiB a
        /// link.
        public let maximumBytes: Int

        /// The bounds on each connection.
        public let limits: TransportLimits

        /// Describes an endpoint.
        ///
        /// - Parameters:
        ///   - host: See ``host``.
        ///   - port: See ``port``.
        ///   - purpose: See ``purpose``.
        ///   - maximumHandshakes: See ``maximumHandshakes``; at least 1.
        ///   - maximumLinks: See ``maximumLinks``; at least 1. An endpoint for a peer has one link at most whatever
        ///     this says.
        ///   - maximumBytes: See ``maximumBytes``; at least 1.
        ///   - limits: See ``limits``.
        public init(
            host: String,
            port: Int,
            purpose: EndpointPurpose,
            maximumHandshakes: Int = 64,
            maximumLinks: Int = 4096,
            maximumBytes: Int = 512 << 20,
            limits: TransportLimits = .standard
        ) {
            self.host = host
            self.port = port
            self.purpose = purpose
            self.maximumHandshakes = max(1, maximumHandshakes)
            self.maximumLinks = max(1, maximumLinks)
            self.maximumBytes = max(1, maximumBytes)
            self.limits = limits
        }
    }

    /// Where it listens and how much it takes on.
    public let configuration: Configuration

    /// The open links, by the identity at their other end.
    public private(set) var links: [Identity: Link] = [:]

    /// The bytes that wait in them, as they told.
    private(set) var heldBytes = 0

    /// How many connections are in the handshake.
    public var handshakeCount: Int { handshakes.count }

    private let local: LocalIdentity
    private let eventLoop: any EventLoop
    private let admission: (Identity) -> Admission
    private weak var delegate: (any TransportDelegate)?
    private var channel: (any Channel)?
    private var isStopped = false
    private var budget = HandshakeBudget()

    /// The connections in the handshake, oldest first, and the IP addresses that they come from.
    private var handshakes: [(handler: ConnectionHandler, address: String)] = []

    /// Makes a listener; ``start()`` starts it.
    ///
    /// - Parameters:
    ///   - configuration: Where to listen and how much to take on.
    ///   - local: Who this process is.
    ///   - eventLoop: The loop on which this call is made and everything happens.
    ///   - delegate: Is told what happens; held weakly.
    ///   - admission: Says whether an identity may connect here now and which keys it has. Called once for each HELLO,
    ///     before the sender has proved anything, so it should be cheap; and again when the handshake is over.
    public init(
        _ configuration: Configuration,
        local: LocalIdentity,
        eventLoop: any EventLoop,
        delegate: any TransportDelegate,
        admission: @escaping (Identity) -> Admission
    ) {
        self.configuration = configuration
        self.local = local
        self.eventLoop = eventLoop
        self.delegate = delegate
        self.admission = admission
    }

    /// The port that the listener is bound to; nil while it is not.
    public var boundPort: Int? { channel?.localAddress?.port }

    /// Binds the endpoint and accepts connections. Called once.
    ///
    /// - Returns: Fails with a ``ListenerError``.
    public func start() -> EventLoopFuture<Void> {
        eventLoop.preconditionInEventLoop()
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let (host, port) = (configuration.host, configuration.port)
        var bootstrap = ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                // Without a pause, a process that is out of file descriptors would spin on accepting.
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers([
                        AcceptGate(), AcceptBackoffHandler(shouldForwardIOErrorCaught: false),
                    ])
                }
            }
            .childChannelOption(.recvAllocator, value: ReceiveBuffers.allocator)
            .childChannelOption(.maxMessagesPerRead, value: ReceiveBuffers.readsPerTurn)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try bound.value.accept(channel) }
            }
        for (option, value) in SocketOptions.forConnections(configuration.limits) {
            bootstrap = bootstrap.childChannelOption(option, value: value)
        }
        return bootstrap.bind(host: host, port: port)
            .flatMapErrorThrowing { error in throw ListenerError(host: host, port: port, error: error) }
            .assumeIsolated()
            .map { channel in
                if self.isStopped {
                    channel.close(promise: nil)
                } else {
                    self.channel = channel
                }
            }
            .nonisolated()
    }

    /// Closes the endpoint, its links and its handshakes; for good.
    ///
    /// - Returns: Succeeds when the port is free again.
    public func stop() -> EventLoopFuture<Void> {
        eventLoop.preconditionInEventLoop()
        isStopped = true
        for handshake in handshakes { handshake.handler.abandon(.stopped) }
        for link in Array(links.values) { link.closeAtOnce(.stopped) }
        guard let channel else { return eventLoop.makeSucceededVoidFuture() }
        self.channel = nil
        channel.close(promise: nil)
        return channel.closeFuture
    }

    // MARK: Accepting

    /// Takes up a connection that was just accepted.
    func accept(_ channel: any Channel) throws {
        guard !isStopped, makeRoomForHandshake() else {
            delegate?.connectionRefused(
                at: place,
                remoteAddress: channel.remoteAddress.map(\.text) ?? "",
                reason: isStopped ? .stopped : .tooManyHandshakes
            )
            // Failing closes the connection.
            throw ChannelError.ioOnClosedChannel
        }
        let responder = HandshakeResponder(local: local, endpoint: configuration.purpose) { [weak self] identity in
            self?.admit(identity) ?? .notAllowed
        }
        let handler = ConnectionHandler(
            responder: responder,
            endpoint: configuration.purpose,
            limits: configuration.limits,
            owner: self
        )
        handshakes.append((handler, channel.remoteAddress?.ipAddress ?? ""))
        try channel.pipeline.syncOperations.addHandler(handler)
    }

    private var place: ConnectionPlace { .listener(configuration.purpose) }

    /// Makes room for one more handshake if need be, at the cost of a connection that has not shown yet that it holds a
    /// known key: the oldest one from the address that has most of them. So an address that floods displaces its own.
    /// Refusing the newest instead would let a few silent connections keep everybody out.
    private func makeRoomForHandshake() -> Bool {
        guard handshakes.count >= configuration.maximumHandshakes else { return true }
        var counts: [String: Int] = [:]
        for handshake in handshakes where !handshake.handler.hasClaimant {
            counts[handshake.address, default: 0] += 1
        }
        let most = counts.values.max()
        guard
            let oldest = handshakes.first(where: { !$0.handler.hasClaimant && counts[$0.address] == most })
        else { return false }
        oldest.handler.abandon(.tooManyHandshakes)
        return true
    }

    private func admit(_ identity: Identity) -> Admission {
        guard hasRoom(for: identity), budget.allows(identity, at: .now()) else { return .noRoom }
        return admission(identity)
    }

    private func hasRoom(for identity: Identity) -> Bool {
        links.count < configuration.maximumLinks || links[identity] != nil
    }

    // MARK: ConnectionOwner

    func handshakeBegan(_ handler: ConnectionHandler) {
        // It was counted when it was accepted.
    }

    func handshakeAnswered(_ claimant: Identity) {
        budget.charge(claimant, at: .now())
    }

    func mayOpen(with keys: ChannelKeys, on handler: ConnectionHandler) -> Bool {
        // Asked again: since HELLO others may have come, and the key may have been revoked.
        guard !isStopped, hasRoom(for: keys.peer), case .admitted(let known) = admission(keys.peer),
            known.publicKey == keys.peerKey
        else { return false }
        forget(handler)
        return true
    }

    func handshakeFailed(_ handler: ConnectionHandler, remoteAddress: String, reason: ConnectionRefusal) {
        forget(handler)
        delegate?.connectionRefused(at: place, remoteAddress: remoteAddress, reason: reason)
    }

    private func forget(_ handler: ConnectionHandler) {
        handshakes.removeAll { $0.handler === handler }
    }

    func linkOpened(_ link: Link) {
        links[link.peer]?.closeAtOnce(.replaced)
        links[link.peer] = link
        delegate?.linkOpened(link)
    }

    func linkReadable(_ link: Link) {
        delegate?.linkReadable(link)
    }

    func heldBytesChanged(by change: Int) {
        heldBytes += change
        guard change > 0, heldBytes > configuration.maximumBytes else { return }
        // Much of it may have left since.
        for link in links.values { link.recountHeldBytes() }
        heldBytes = links.values.reduce(0) { $0 + $1.heldBytes }
        guard heldBytes > configuration.maximumBytes else { return }
        for link in links.values.sorted(by: { $0.heldBytes > $1.heldBytes })
        where heldBytes > configuration.maximumBytes / 8 * 7 {
            link.close(.largestOfTooMuch)
            heldBytes -= link.takeHeldBytes()
        }
    }

    func linkClosed(_ link: Link, reason: LinkCloseReason) {
        heldBytes -= link.takeHeldBytes()
        if links[link.peer] === link { links[link.peer] = nil }
        delegate?.linkClosed(link, reason: reason)
    }
}

/// How sockets are read.
enum ReceiveBuffers {
    /// Small while little arrives; large enough under load that one system call brings many frames.
    static var allocator: AdaptiveRecvByteBufferAllocator {
        AdaptiveRecvByteBufferAllocator(minimum: 2048, initial: 4096, maximum: 256 << 10)
    }

    /// One read of each socket in a turn: links get equal shares of the loop, and a pause takes effect after one
    /// buffer.
    static let readsPerTurn: UInt = 1
}
