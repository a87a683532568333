import Cryptography

/// What the owner of listeners and dialers is told. All of it on the event loop that they were given.
public protocol TransportDelegate: AnyObject {
    /// A connection was authenticated. It can be sent on at once.
    func linkOpened(_ link: Link)

    /// New frames wait in the link. Called once for all that one read of the socket brought.
    func linkReadable(_ link: Link)

    /// An opened link is closed. Called once for each, never from inside a call to that link. Frames that came before
    /// can still be taken out of it.
    func linkClosed(_ link: Link, reason: LinkCloseReason)

    /// A connection ended before it became a link.
    ///
    /// - Parameters:
    ///   - place: Where.
    ///   - remoteAddress: The other end's address as text, or an empty text.
    ///   - reason: Why; to be counted. An attacker can cause this at a high rate, so logs of it need a limit.
    func connectionRefused(at place: ConnectionPlace, remoteAddress: String, reason: ConnectionRefusal)
}

/// What a connection belongs to.
public enum ConnectionPlace: Hashable, Sendable, CustomStringConvertible {
    /// A listener for this endpoint accepted it.
    case listener(EndpointPurpose)

    /// A dialer to this identity opened it.
    case dialer(Identity)

    /// For example `endpoint for replica 2`.
    public var description: String {
        switch self {
        case .listener(let purpose): purpose.description
        case .dialer(let peer): "connection to \(peer)"
        }
    }
}

/// Why a connection did not become a link.
public enum ConnectionRefusal: Hashable, Sendable, CustomStringConvertible {
    /// The handshake failed.
    case handshake(HandshakeError)

    /// The handshake took too long.
    case timedOut

    /// The other end closed the connection before the handshake was over.
    case closedEarly

    /// There were as many handshakes under way as the listener allows.
    case tooManyHandshakes

    /// The other end could not be reached, for this reason.
    case unreachable(String)

    /// The listener or dialer was stopped.
    case stopped

    /// A clause for the log.
    public var description: String {
        switch self {
        case .handshake(let error): error.description
        case .timedOut: "the handshake took too long"
        case .closedEarly: "the other end closed the connection during the handshake"
        case .tooManyHandshakes: "too many handshakes at once"
        case .unreachable(let reason): reason
        case .stopped: "stopped"
        }
    }
}

/// Why a link was closed.
public enum LinkCloseReason: Hashable, Sendable, CustomStringConvertible {
    /// This end's owner wanted it, for this reason.
    case local(String)

    /// Its listener or dialer was stopped.
    case stopped

    /// The same identity connected again; the newer connection stays.
    case replaced

    /// The other end closed it.
    case remote

    /// The connection broke.
    case broken(String)

    /// The other end takes less than it is sent, and the bound on what waits for it was reached.
    case outboundOverflow

    /// The other end sent, and then closed, more than the bound on what waits here allows.
    case inboundOverflow

    /// More waits in all links of an endpoint together than may, and most of it in this one.
    case largestOfTooMuch

    /// A frame was not authentic, or too long or too short.
    case badFrame(SealedFrameError)

    /// A frame was authentic but not made of whole messages.
    case malformedFrame

    /// The keys of the link were used up.
    case keysUsedUp

    /// A clause for the log.
    public var description: String {
        switch self {
        case .local(let reason): reason
        case .stopped: "stopped"
        case .replaced: "replaced by a newer connection"
        case .remote: "closed by the other end"
        case .broken(let reason): reason
        case .outboundOverflow: "the other end reads too slowly"
        case .inboundOverflow: "the other end closed with too much unread"
        case .largestOfTooMuch: "more waits in the links of the endpoint than may, and most of it in this one"
        case .badFrame(let error): "bad frame: \(error)"
        case .malformedFrame: "a frame is not made of whole messages"
        case .keysUsedUp: "the keys are used up"
        }
    }
}

/// The bounds on one connection's memory and time.
public struct TransportLimits: Sendable {
    /// The limits that suit links between replicas.
    public static let standard = TransportLimits()

    /// How many bytes of opened frames may wait in a link; above it the link stops reading its socket until half of
    /// them were taken. One read of the socket may overshoot it.
    public let inboundBytes: Int

    /// How many bytes of messages may wait to be written; above it the link is closed.
    public let outboundBytes: Int

    /// How long a handshake may take.
    public let handshakeTimeout: Duration

    /// How long a dialled connection may take until the other end's operating system has answered.
    ///
    /// One second: a first packet that was lost is sent again by a new attempt (see also ``Dialer/Configuration/repeatPause``), since the
    /// operating system repeats it in ever longer pauses.
    public let connectTimeout: Duration

    /// How long the other end's operating system may leave unacknowledged what it was sent, or refuse to take more, before
    /// the link is closed. A link without traffic is probed after as long. In whole seconds, at least 1.
    ///
    /// Without it a link that a partition has cut stays open, and TCP sends again in pauses that double (RFC 6298 section 5.5):
    /// after a partition of a minute the next attempt may be a minute away.
    public let silenceTimeout: Duration

    /// Sets the bounds.
    ///
    /// - Parameters:
    ///   - inboundBytes: See ``inboundBytes``; at least 1.
    ///   - outboundBytes: See ``outboundBytes``; raised to the length of the longest frame if it is less.
    ///   - handshakeTimeout: See ``handshakeTimeout``; more than zero.
    ///   - connectTimeout: See ``connectTimeout``; more than zero.
    ///   - silenceTimeout: See ``silenceTimeout``; rounded up to whole seconds, 1 to 3600.
    public init(
        inboundBytes: Int = 8 << 20,
        outboundBytes: Int = 32 << 20,
        handshakeTimeout: Duration = .seconds(5),
        connectTimeout: Duration = .seconds(1),
        silenceTimeout: Duration = .seconds(3)
    ) {
        self.inboundBytes = max(1, inboundBytes)
        self.outboundBytes = max(
            outboundBytes,
            SealedFrame.maximumPlaintextByteCount + SealedFrame.overheadByteCount
        )
        self.handshakeTimeout = handshakeTimeout
        self.connectTimeout = connectTimeout
        let (seconds, rest) = silenceTimeout.components
        self.silenceTimeout = .seconds(min(max(rest > 0 ? seconds + 1 : seconds, 1), 3_600))
    }

    /// The bound on what waits in a link even when its socket is read to the end because the other end closed it.
    var mostInboundBytes: Int {
        let (doubled, overflow) = inboundBytes.multipliedReportingOverflow(by: 2)
        let (sum, sumOverflow) = doubled.addingReportingOverflow(2 * SealedFrame.maximumPlaintextByteCount)
        return overflow || sumOverflow ? .max : sum
    }
}

/// What passed through a link.
public struct LinkCounters: Hashable, Sendable {
    /// Frames received and opened.
    public internal(set) var framesIn: UInt64 = 0

    /// Messages in those frames.
    public internal(set) var messagesIn: UInt64 = 0

    /// Bytes of those frames, sealed.
    public internal(set) var bytesIn: UInt64 = 0

    /// Frames sealed.
    public internal(set) var framesOut: UInt64 = 0

    /// Messages in those frames and in the one that is being filled.
    public internal(set) var messagesOut: UInt64 = 0

    /// Bytes of sealed frames that were handed to the socket.
    public internal(set) var bytesOut: UInt64 = 0
}
