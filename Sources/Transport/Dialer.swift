import Cryptography
import Invariants
import NIOCore
import NIOPosix

/// Keeps one connection to another replica's endpoint open: dials, and dials again whenever the connection ends. Used
/// on its event loop only. It keeps itself alive from ``start()`` to ``stop()``.
public final class Dialer: ConnectionOwner {
    /// Whom to dial and how.
    public struct Configuration: Sendable {
        /// The address or name to dial.
        public let host: String

        /// The port to dial, 1 to 65535.
        public let port: Int

        /// Who should be there.
        public let peer: Identity

        /// That identity's keys.
        public let keys: KnownIdentity

        /// Which of its endpoints is dialled.
        public let purpose: EndpointPurpose

        /// The address of this machine to dial from; nil leaves it to the operating system.
        public let localAddress: String?

        /// The bounds on the connection.
        public let limits: TransportLimits

        /// How long to wait between attempts.
        public let backOff: BackOff

        /// After how long without any answer another attempt is made beside those under way; nil for never.
        ///
        /// A first packet that was lost, as in a partition that heals just after it, then costs this much and not ``TransportLimits/connectTimeout``,
        /// which has to allow for the longest round trip.
        public let repeatPause: Duration?

        /// Describes a connection.
        public init(
            host: String,
            port: Int,
            peer: Identity,
            keys: KnownIdentity,
            purpose: EndpointPurpose,
            localAddress: String? = nil,
            limits: TransportLimits = .standard,
            backOff: BackOff = BackOff(),
            repeatPause: Duration? = nil
        ) {
            self.host = host
            self.port = port
            self.peer = peer
            self.keys = keys
            self.purpose = purpose
            self.localAddress = localAddress
            self.limits = limits
            self.backOff = backOff
            self.repeatPause = repeatPause
        }
    }

    /// Whom it dials and how.
    public let configuration: Configuration

    /// The open link; nil while there is none.
    public private(set) var link: Link?

    private let local: LocalIdentity
    private let eventLoop: any EventLoop
    private weak var delegate: (any TransportDelegate)?
    private var backOff: BackOff
    private var state = State.idle
    /// How many attempts to connect have neither succeeded nor failed.
    private(set) var attempts = 0
    /// The next attempt beside those.
    private var repetition: Scheduled<Void>?
    /// Their handlers, one for each address that is tried.
    private var candidates: [ConnectionHandler] = []
    /// When it was last told that an attempt failed.
    private var toldAt: NIODeadline?
    private var linkedAt = NIODeadline.now()

    /// The most attempts at a time.
    static let mostAttempts = 4

    private enum State {
        case idle
        case connecting
        case handshaking(ConnectionHandler)
        case linked
        case waiting(Scheduled<Void>)
        case stopped
    }

    /// Makes a dialer; ``start()`` starts it.
    ///
    /// - Parameters:
    ///   - configuration: Whom to dial and how.
    ///   - local: Who this process is.
    ///   - eventLoop: The loop on which this call is made and everything happens.
    ///   - delegate: Is told what happens; held weakly.
    public init(
        _ configuration: Configuration,
        local: LocalIdentity,
        eventLoop: any EventLoop,
        delegate: any TransportDelegate
    ) {
        self.configuration = configuration
        self.local = local
        self.eventLoop = eventLoop
        self.delegate = delegate
        backOff = configuration.backOff
    }

    /// Dials, from now on until ``stop()``.
    public func start() {
        eventLoop.preconditionInEventLoop()
        guard case .idle = state else { return }
        dial()
    }

    /// Dials at once if there is no connection: the peer has just shown that it can be reached. What waits for a later attempt, or
    /// for an answer to packets that were sent before, would wait longer.
    public func dialNow() {
        eventLoop.preconditionInEventLoop()
        switch state {
        case .waiting(let next):
            next.cancel()
            dial()
        case .connecting:
            dialBeside()
        case .idle, .handshaking, .linked, .stopped:
            break
        }
    }

    /// Closes the connection and dials no more; for good.
    public func stop() {
        eventLoop.preconditionInEventLoop()
        let previous = state
        state = .stopped
        repetition?.cancel()
        switch previous {
        case .handshaking(let handler): handler.abandon(.stopped)
        case .linked: link?.closeAtOnce(.stopped)
        case .waiting(let attempt): attempt.cancel()
        case .idle, .connecting, .stopped: break
        }
    }

    // MARK: Dialling

    private func dial() {
        candidates = []
        state = .connecting
        attempt()
    }

    /// Makes another attempt: the first that is answered counts.
    private func dialBeside() {
        if attempts < Self.mostAttempts { attempt() } else { repeatLater() }
    }

    private func repeatLater() {
        repetition?.cancel()
        repetition = configuration.repeatPause.map { pause in
            eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(pause)) {
                if case .connecting = self.state { self.dialBeside() }
            }
        }
    }

    private func attempt() {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        var bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(configuration.limits.connectTimeout))
            .channelOption(.recvAllocator, value: ReceiveBuffers.allocator)
            .channelOption(.maxMessagesPerRead, value: ReceiveBuffers.readsPerTurn)
        for (option, value) in SocketOptions.forConnections(configuration.limits) {
            bootstrap = bootstrap.channelOption(option, value: value)
        }
        if let address = configuration.localAddress {
            do {
                bootstrap = bootstrap.bind(to: try SocketAddress(ipAddress: address, port: 0))
            } catch {
                return failed(.unreachable("\(address) is not an address of this machine"))
            }
        }
        bootstrap = bootstrap.channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try bound.value.take(channel) }
        }
        attempts += 1
        repeatLater()
        connect(bootstrap)
            .assumeIsolated()
            .whenComplete { result in
                self.attempts -= 1
                guard case .connecting = self.state, case .failure(let error) = result else { return }
                self.attemptFailed(.unreachable(Self.sentence(for: error)))
            }
    }

    /// Goes on while another attempt is under way, and tells of those that failed no more often than if there were one at a time.
    private func attemptFailed(_ reason: ConnectionRefusal) {
        guard attempts > 0 else { return failed(reason) }
        let now = NIODeadline.now()
        if let toldAt, now - toldAt < TimeAmount(configuration.limits.connectTimeout) { return }
        tell(reason)
    }

    /// Connects. An address is not looked up like a name: that takes another thread, which may outlive the event loop.
    private func connect(_ bootstrap: ClientBootstrap) -> EventLoopFuture<any Channel> {
        guard let address = try? SocketAddress(ipAddress: configuration.host, port: configuration.port) else {
            return bootstrap.connect(host: configuration.host, port: configuration.port)
        }
        return bootstrap.connect(to: address)
    }

    /// Prepares a connection that is about to be made.
    func take(_ channel: any Channel) throws {
        let initiator = HandshakeInitiator(
            local: local,
            peer: configuration.peer,
            endpoint: configuration.purpose,
            keys: configuration.keys
        )
        let handler = ConnectionHandler(
            initiator: initiator,
            endpoint: configuration.purpose,
            limits: configuration.limits,
            owner: self
        )
        try channel.pipeline.syncOperations.addHandler(handler)
        candidates.append(handler)
    }

    private func failed(_ reason: ConnectionRefusal, remoteAddress: String = "") {
        if case .stopped = state { return }
        repetition?.cancel()
        tell(reason, remoteAddress)
        dialLater()
    }

    private func tell(_ reason: ConnectionRefusal, _ remoteAddress: String = "") {
        toldAt = .now()
        delegate?.connectionRefused(
            at: .dialer(configuration.peer),
            remoteAddress: remoteAddress.isEmpty ? "\(configuration.host):\(configuration.port)" : remoteAddress,
            reason: reason
        )
    }

    private func dialLater() {
        // The delegate may have stopped this dialer just now.
        if case .stopped = state { return }
        let delay = backOff.next()
        state = .waiting(eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(delay)) { self.dial() })
    }

    private static func sentence(for error: any Error) -> String {
        let cause = (error as? NIOConnectionError).flatMap { $0.connectionErrors.first?.error } ?? error
        return switch cause {
        case let error as IOError: error.description
        case ChannelError.connectTimeout: "connecting took too long"
        case is NIOConnectionError: "the name has no address"
        default: String(describing: cause)
        }
    }

    // MARK: ConnectionOwner

    func handshakeBegan(_ handler: ConnectionHandler) {
        // A name with several addresses may give a second connection, and so may an attempt that was given up; it is not wanted.
        guard case .connecting = state, candidates.contains(where: { $0 === handler }) else {
            return handler.abandon(.stopped)
        }
        candidates = []
        repetition?.cancel()
        state = .handshaking(handler)
    }

    func handshakeAnswered(_ claimant: Identity) {
        invariantViolated("a dialer's handshakes are answered by the other end")
    }

    func mayOpen(with keys: ChannelKeys, on handler: ConnectionHandler) -> Bool {
        isCurrent(handler)
    }

    func handshakeFailed(_ handler: ConnectionHandler, remoteAddress: String, reason: ConnectionRefusal) {
        if isCurrent(handler) { failed(reason, remoteAddress: remoteAddress) }
    }

    private func isCurrent(_ handler: ConnectionHandler) -> Bool {
        if case .handshaking(let current) = state { current === handler } else { false }
    }

    func linkOpened(_ link: Link) {
        state = .linked
        self.link = link
        linkedAt = .now()
        delegate?.linkOpened(link)
    }

    func linkReadable(_ link: Link) {
        delegate?.linkReadable(link)
    }

    func heldBytesChanged(by change: Int) {
        // There is one link, and its own bounds are enough.
    }

    func linkClosed(_ link: Link, reason: LinkCloseReason) {
        self.link = nil
        // A link that lived is no reason to wait; one that is closed again and again is.
        if NIODeadline.now() - linkedAt >= TimeAmount(configuration.backOff.longest) { backOff = configuration.backOff }
        delegate?.linkClosed(link, reason: reason)
        dialLater()
    }
}
