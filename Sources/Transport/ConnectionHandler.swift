import Cryptography
import NIOCore

/// The listener or dialer that a connection belongs to.
protocol ConnectionOwner: AnyObject {
    /// The connection of `handler` stands, and its handshake begins.
    func handshakeBegan(_ handler: ConnectionHandler)

    /// The responder at this end sent its answer; the costly part of the handshake is done.
    func handshakeAnswered(_ claimant: Identity)

    /// The handshake of `handler` is over, and yielded `keys`.
    ///
    /// - Returns: Whether the link may open.
    func mayOpen(with keys: ChannelKeys, on handler: ConnectionHandler) -> Bool

    /// The link is open.
    func linkOpened(_ link: Link)

    /// New frames wait in the link.
    func linkReadable(_ link: Link)

    /// What waits in a link takes so many bytes more, or less where that is negative, than it was said to take.
    func heldBytesChanged(by change: Int)

    /// The link is closed.
    func linkClosed(_ link: Link, reason: LinkCloseReason)

    /// The connection ended before it became a link.
    func handshakeFailed(_ handler: ConnectionHandler, remoteAddress: String, reason: ConnectionRefusal)
}

/// The only handler of a connection: first the handshake, then the link.
final class ConnectionHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case initiating(HandshakeInitiator)
        case responding(HandshakeResponder)
        case open(Link)
        case closed
    }

    private let endpoint: EndpointPurpose
    private let limits: TransportLimits
    private let owner: any ConnectionOwner
    private var state: State
    private var context: ChannelHandlerContext?
    private var deadline: Scheduled<Void>?
    private var failure: String?

    /// What arrived and was not used yet: part of a handshake message or of a frame.
    private var received = ByteBuffer()
    private var hasNewFrames = false

    init(initiator: HandshakeInitiator, endpoint: EndpointPurpose, limits: TransportLimits, owner: any ConnectionOwner)
    {
        state = .initiating(initiator)
        self.endpoint = endpoint
        self.limits = limits
        self.owner = owner
    }

    init(responder: HandshakeResponder, endpoint: EndpointPurpose, limits: TransportLimits, owner: any ConnectionOwner)
    {
        state = .responding(responder)
        self.endpoint = endpoint
        self.limits = limits
        self.owner = owner
    }

    /// Whether the initiator has shown that it holds the key of an identity that may connect.
    var hasClaimant: Bool {
        if case .responding(let responder) = state { responder.claimant != nil } else { false }
    }

    /// Ends a handshake that is not over.
    func abandon(_ reason: ConnectionRefusal) {
        guard let context else { return }
        fail(reason, context)
    }

    // MARK: ChannelHandler

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin(context) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        begin(context)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        if received.readableBytes > 0 {
            // Taken out of the property first: what follows calls the delegate, which may come back here.
            var joined = ByteBuffer()
            swap(&joined, &received)
            joined.writeBuffer(&buffer)
            buffer = joined
        }
        process(&buffer, context)
        keep(buffer)
        if case .open(let link) = state {
            link.keeps(partialBytes: received.readableBytes > 0 ? received.capacity : 0)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if hasNewFrames, case .open(let link) = state {
            hasNewFrames = false
            owner.linkReadable(link)
        }
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        if case .open(let link) = state, !link.mayRead() { return }
        context.read()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        failure = (error as? IOError)?.description ?? String(describing: error)
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        switch state {
        case .initiating, .responding: fail(.closedEarly, context)
        case .open(let link): link.channelClosed(failure.map(LinkCloseReason.broken) ?? .remote)
        case .closed: break
        }
        state = .closed
        context.fireChannelInactive()
    }

    // MARK: Handshake

    private func begin(_ context: ChannelHandlerContext) {
        guard deadline == nil else { return }
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(limits.handshakeTimeout)) {
            self.fail(.timedOut, context)
        }
        owner.handshakeBegan(self)
        if case .initiating(let initiator) = state {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: initiator.hello)), promise: nil)
        }
    }

    private func process(_ buffer: inout ByteBuffer, _ context: ChannelHandlerContext) {
        while true {
            switch state {
            case .initiating(var initiator):
                guard let bytes = buffer.readBytes(length: initiator.wanted) else { return }
                do throws(HandshakeError) {
                    let step = try initiator.receive(bytes)
                    state = .initiating(initiator)
                    take(step, context)
                } catch {
                    fail(.handshake(error), context)
                }
            case .responding(var responder):
                guard let bytes = buffer.readBytes(length: responder.wanted) else { return }
                do throws(HandshakeError) {
                    let step = try responder.receive(bytes)
                    state = .responding(responder)
                    if case .send = step, let claimant = responder.claimant { owner.handshakeAnswered(claimant) }
                    take(step, context)
                } catch {
                    if let refusal = responder.refusal(for: error) {
                        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: refusal)), promise: nil)
                    }
                    fail(.handshake(error), context)
                }
            case .open(let link):
                if link.receive(&buffer) { hasNewFrames = true }
                return
            case .closed:
                buffer.clear()
                return
            }
        }
    }

    private func take(_ step: HandshakeStep, _ context: ChannelHandlerContext) {
        switch step {
        case .needMore:
            break
        case .send(let bytes):
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
        case .established(let keys, let bytes):
            guard owner.mayOpen(with: keys, on: self) else {
                return fail(.handshake(.noRoom(keys.peer)), context)
            }
            deadline?.cancel()
            let isInitiator = if case .initiating = state { true } else { false }
            let link = Link(
                keys: keys,
                endpoint: endpoint,
                direction: isInitiator ? .dialled : .accepted,
                limits: limits,
                owner: owner,
                context: context
            )
            state = .open(link)
            if !bytes.isEmpty {
                // Written together with what the delegate sends first.
                context.write(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
            }
            owner.linkOpened(link)
            context.flush()
        }
    }

    private func fail(_ reason: ConnectionRefusal, _ context: ChannelHandlerContext) {
        switch state {
        case .open, .closed: return
        case .initiating, .responding: break
        }
        state = .closed
        deadline?.cancel()
        let remoteAddress = context.channel.remoteAddress.map(\.text) ?? ""
        owner.handshakeFailed(self, remoteAddress: remoteAddress, reason: reason)
        context.close(promise: nil)
    }

    /// Keeps what `buffer` has left until more arrives, in memory of its own: the buffer's belongs to the channel's
    /// pool, or holds much that was used already.
    private func keep(_ buffer: ByteBuffer) {
        guard buffer.readableBytes > 0 else { return }
        if buffer.readerIndex == 0, buffer.readableBytes > buffer.capacity / 4 {
            received = buffer
            return
        }
        received = ByteBuffer()
        if case .open = state,
            let length = buffer.getInteger(at: buffer.readerIndex, endianness: .little, as: UInt32.self)
        {
            // Memory for the whole frame at once, if it is a usual one; a long one must arrive before it gets memory.
            let wanted = min(Int(length) + SealedFrame.headerByteCount, Link.softFrameByteCount)
            received.reserveCapacity(wanted)
        }
        received.writeImmutableBuffer(buffer)
    }
}

extension SocketAddress {
    /// The address and port, as an operator writes them.
    var text: String {
        guard let address = ipAddress, let port else { return description }
        return address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
    }
}
