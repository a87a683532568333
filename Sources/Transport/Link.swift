import Cryptography
import Invariants
import NIOCore

/// An authenticated connection to one identity. Used on its event loop only.
///
/// Sending is in two steps, so that a turn of the event loop costs each link one encryption and one system call however
/// many messages it sends: ``send(_:)`` collects, ``flush()`` seals and writes. Receiving is by pulling: frames wait in
/// the link until ``nextFrame()`` takes them, and a link whose frames are not taken stops reading its socket, which
/// stops the sender.
public final class Link {
    /// Who opened the connection.
    public enum Direction: Hashable, Sendable {
        /// The other end did.
        case accepted

        /// This end did.
        case dialled
    }

    /// The longest message, in bytes: with its length it fills a frame.
    public static let maximumMessageByteCount = SealedFrame.maximumPlaintextByteCount - MessageRanges.prefixByteCount

    /// How long a frame's plaintext grows, in bytes, before the next message begins another one.
    static let softFrameByteCount = 256 << 10

    /// How many sealed bytes are collected before they are handed to the channel, to be written with the next flush.
    static let handOverByteCount = 1 << 20

    /// How many bytes an idle link may keep for what is sent next: there may be thousands of links.
    static let recycledByteCount = 16 << 10

    /// By how many bytes what waits in a link must have changed for its owner to be told.
    static let heldByteStep = 16 << 10

    /// The identity at the other end.
    public let peer: Identity

    /// The key with which it proved who it is.
    public let peerKey: PublicKey

    /// The endpoint that the connection goes to: this end's if ``direction`` is accepted, else the other end's.
    public let endpoint: EndpointPurpose

    /// Who opened the connection.
    public let direction: Direction

    /// The other end's address as text, for logs.
    public let remoteAddress: String

    /// False as soon as the link was closed from either end; then sending does nothing.
    public private(set) var isOpen = true

    /// What passed through.
    public private(set) var counters = LinkCounters()

    private let limits: TransportLimits
    private let sealing: SealingKey
    private let opening: OpeningKey
    private weak var owner: (any ConnectionOwner)?
    private var context: ChannelHandlerContext?

    /// Sealed frames, then the frame that is being filled: its header and the messages so far.
    private var pending = ByteBuffer()
    /// How much the last flush wrote, within bounds: what the next one writes is taken to be as much.
    private var expectedByteCount = 0
    /// Where the frame that is being filled begins in `pending`; nil when there is none.
    private var frameStart: Int?
    /// The bytes that the channel had still to write when it was last asked, and those handed to it since.
    private var channelBytes = 0
    private var needsFlush = false

    private var inbound = FrameQueue()
    private var openingNanoseconds: UInt64 = 0
    private var isPaused = false
    private var isReadHeld = false
    /// The memory of the part of a frame that has arrived.
    private var partialBytes = 0
    /// The memory that waits here in both directions, as it was counted last.
    private(set) var heldBytes = 0

    init(
        keys: ChannelKeys,
        endpoint: EndpointPurpose,
        direction: Direction,
        limits: TransportLimits,
        owner: any ConnectionOwner,
        context: ChannelHandlerContext
    ) {
        peer = keys.peer
        peerKey = keys.peerKey
        sealing = keys.sealing
        opening = keys.opening
        self.endpoint = endpoint
        self.direction = direction
        self.limits = limits
        self.owner = owner
        self.context = context
        remoteAddress = context.channel.remoteAddress.map(\.text) ?? ""
    }

    // MARK: Sending

    /// The bytes that wait to be written, for those who pace what they send.
    public var outboundBytes: Int {
        refreshChannelBytes()
        return pending.readableBytes + channelBytes
    }

    /// Adds a message to what the next ``flush()`` writes. No system call.
    ///
    /// When more than the limit's outbound bytes wait, the link closes: its other end reads too slowly.
    ///
    /// - Parameter message: 1 to ``maximumMessageByteCount`` bytes.
    public func send(_ message: [UInt8]) {
        guard isOpen else { return }
        invariant(
            !message.isEmpty && message.count <= Self.maximumMessageByteCount,
            "a message of \(message.count) bytes cannot be sent"
        )
        let needed = MessageRanges.prefixByteCount + message.count
        if pending.readableBytes + channelBytes + needed > limits.outboundBytes {
            refreshChannelBytes()
            if pending.readableBytes + channelBytes + needed > limits.outboundBytes {
                return close(.outboundOverflow)
            }
        }
        if let frameStart, pending.writerIndex - frameStart + needed > Self.softFrameByteCount {
            sealFrame()
            if pending.readableBytes >= Self.handOverByteCount {
                handOver()
                pending = ByteBuffer()
            }
            // Sealing closes the link when the keys are used up.
            guard isOpen else { return }
        }
        if frameStart == nil {
            frameStart = pending.writerIndex
            pending.reserveCapacity(
                minimumWritableBytes: max(expectedByteCount, needed + SealedFrame.overheadByteCount)
            )
            pending.writeInteger(0, as: UInt32.self)
        }
        pending.writeInteger(UInt32(message.count), endianness: .little)
        pending.writeBytes(message)
        counters.messagesOut += 1
    }

    /// Seals and writes all that waits, in one write. Does nothing when nothing waits.
    public func flush() {
        guard isOpen else { return }
        sealFrame()
        guard isOpen, let context else { return }
        handOver()
        guard needsFlush else { return }
        needsFlush = false
        context.flush()
        refreshChannelBytes()
        recyclePending()
        tellHeldBytes()
    }

    private func sealFrame() {
        guard let start = frameStart else { return }
        frameStart = nil
        pending.writeRepeatingByte(0, count: SealedFrame.tagByteCount)
        do throws(SealedFrameError) {
            var span = pending.mutableReadableBytesSpan
            try sealing.sealInPlace(&span, from: start)
            counters.framesOut += 1
        } catch {
            invariant(error == .counterExhausted, "a frame that was filled here has a wrong length")
            close(.keysUsedUp)
        }
    }

    /// Hands the sealed frames to the channel, which writes them at the next flush. `pending` shares its memory with
    /// the channel then, and must be replaced or recycled before anything is added to it.
    private func handOver() {
        guard pending.readableBytes > 0, let context else { return }
        counters.bytesOut += UInt64(pending.readableBytes)
        channelBytes += pending.readableBytes
        needsFlush = true
        context.write(NIOAny(pending), promise: nil)
    }

    /// Empties `pending` after a flush. When the channel wrote it all, which is the rule, its memory is used again.
    private func recyclePending() {
        expectedByteCount = min(pending.readableBytes, Self.softFrameByteCount)
        if pending.capacity > Self.recycledByteCount {
            pending = ByteBuffer()
        } else {
            pending.clear(minimumCapacity: 0)
        }
    }

    /// The channel, until it is closed.
    var channel: (any Channel)? { context?.channel }

    private func refreshChannelBytes() {
        guard let options = channel?.syncOptions else { return }
        // A channel that does not know is one that is closed: nothing waits in it.
        channelBytes = (try? options.getOption(.bufferedWritableBytes)) ?? 0
    }

    // MARK: Receiving

    /// The bytes of opened frames that wait to be taken.
    public var inboundBytes: Int { inbound.byteCount }

    /// Takes the plaintext of the next frame: one or more messages, whose places ``MessageRanges`` gives.
    ///
    /// - Returns: nil when no frame waits.
    public func nextFrame() -> [UInt8]? {
        guard let frame = inbound.popFirst() else { return nil }
        if isPaused, inbound.byteCount <= limits.inboundBytes / 2 {
            isPaused = false
            if isReadHeld {
                isReadHeld = false
                context?.read()
            }
        }
        tellHeldBytes()
        return frame
    }

    /// How long it took to open the frames that came in since this was last asked, in nanoseconds: for those who give each sender a share
    /// of their time.
    public func takeOpeningNanoseconds() -> UInt64 {
        defer { openingNanoseconds = 0 }
        return openingNanoseconds
    }

    /// Opens the frames that `buffer` holds whole and queues them. A frame that is none closes the link.
    ///
    /// - Returns: Whether frames were added.
    func receive(_ buffer: inout ByteBuffer) -> Bool {
        var isAdded = false
        let start = NIODeadline.now()
        defer { openingNanoseconds += UInt64(max(0, (NIODeadline.now() - start).nanoseconds)) }
        while isOpen, let lengthField = buffer.getInteger(at: buffer.readerIndex, endianness: .little, as: UInt32.self)
        {
            do throws(SealedFrameError) {
                let byteCount = try SealedFrame.byteCount(lengthField: lengthField)
                guard buffer.readableBytes >= byteCount else { break }
                let plaintext = try opening.open(buffer.readableBytesSpan.extracting(0..<byteCount))
                buffer.moveReaderIndex(forwardBy: byteCount)
                guard let messages = MessageRanges.count(in: plaintext) else {
                    close(.malformedFrame)
                    break
                }
                counters.framesIn += 1
                counters.bytesIn += UInt64(byteCount)
                counters.messagesIn += UInt64(messages)
                inbound.append(plaintext)
                isAdded = true
            } catch {
                close(error == .counterExhausted ? .keysUsedUp : .badFrame(error))
            }
        }
        if inbound.byteCount > limits.inboundBytes { isPaused = true }
        // A paused link reads on only when the other end closed; what it left in the socket is bounded too.
        if isOpen, inbound.byteCount > limits.mostInboundBytes { close(.inboundOverflow) }
        return isAdded
    }

    /// The handler keeps the part of a frame that has arrived, in so many bytes of memory.
    func keeps(partialBytes: Int) {
        self.partialBytes = partialBytes
        tellHeldBytes()
    }

    // MARK: Memory

    private var waitingBytes: Int { inbound.byteCount + partialBytes + pending.readableBytes + channelBytes }

    /// Counts ``heldBytes`` again: what has left the channel since is not told. A link that is closed counts for nothing.
    func recountHeldBytes() {
        refreshChannelBytes()
        heldBytes = isOpen ? waitingBytes : 0
    }

    /// The owner counts this link no more.
    ///
    /// - Returns: What it counted for.
    func takeHeldBytes() -> Int {
        defer { heldBytes = 0 }
        return heldBytes
    }

    private func tellHeldBytes() {
        guard isOpen else { return }
        let change = waitingBytes - heldBytes
        guard abs(change) >= Self.heldByteStep else { return }
        heldBytes += change
        owner?.heldBytesChanged(by: change)
    }

    /// Whether the socket may be read now; if not, it is read when enough frames were taken.
    func mayRead() -> Bool {
        isReadHeld = isPaused && isOpen
        return !isReadHeld
    }

    // MARK: Closing

    /// Closes the connection. What was not flushed is lost. The delegate is told in a later turn.
    public func close(_ reason: LinkCloseReason) {
        guard isOpen, let context else { return }
        isOpen = false
        closed(reason, on: context.eventLoop)
        context.close(promise: nil)
    }

    /// Closes the connection and tells the delegate before it returns: for owners, which are not inside a call to this
    /// link.
    func closeAtOnce(_ reason: LinkCloseReason) {
        guard isOpen else { return }
        isOpen = false
        owner?.linkClosed(self, reason: reason)
        context?.close(promise: nil)
    }

    /// The channel is closed, by this end or the other.
    func channelClosed(_ reason: LinkCloseReason) {
        defer { context = nil }
        guard isOpen, let context else { return }
        isOpen = false
        closed(reason, on: context.eventLoop)
    }

    private func closed(_ reason: LinkCloseReason, on eventLoop: any EventLoop) {
        // In a turn of its own: this may be inside a call of the owner, to send or flush.
        eventLoop.assumeIsolated().execute { self.owner?.linkClosed(self, reason: reason) }
    }
}

/// Frames that wait to be taken, first in, first out.
struct FrameQueue {
    /// What a frame costs beside its bytes: without it, many tiny frames would go uncounted.
    private static let frameOverhead = 64

    private var frames: [[UInt8]] = []
    private var head = 0

    /// The memory that the frames take, about.
    private(set) var byteCount = 0

    mutating func append(_ frame: [UInt8]) {
        frames.append(frame)
        byteCount += frame.count + Self.frameOverhead
    }

    mutating func popFirst() -> [UInt8]? {
        guard head < frames.count else { return nil }
        var frame: [UInt8] = []
        swap(&frame, &frames[head])
        head += 1
        byteCount -= frame.count + Self.frameOverhead
        if head == frames.count {
            frames.removeAll(keepingCapacity: frames.count <= 256)
            head = 0
        } else if head >= 256, head * 2 >= frames.count {
            frames.removeFirst(head)
            head = 0
        }
        return frame
    }
}
