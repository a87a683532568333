import Agreement
import Invariants
import Messages
import NIOCore
import Transport

/// Where frames come from: a link.
protocol FrameSource: AnyObject {
    /// Takes the plaintext of the next frame; nil when none waits. While none is taken, the other end is held up.
    func nextFrame() -> [UInt8]?
    /// How long frames were opened since this was last asked, in nanoseconds.
    func takeOpeningNanoseconds() -> UInt64
}

extension Link: FrameSource {}

/// The frames of links in queues apart: each is cut into parts of a few messages of one kind, which wait. A link whose queue is full is
/// not emptied any more; so it stops reading its socket.
extension IsolatedQueues {
    typealias Part = FrameIntake.Part

    /// Makes queues in which nothing waits, of which the costs are measured by the clock of this machine.
    convenience init(size: ClusterSize, limits: RobustnessLimits.Scheduling, clientMessages: Int) {
        self.init(size: size, limits: limits, clientMessages: clientMessages) { .now() }
    }

    /// A peer connected, in place of an earlier connection of its.
    func open(_ source: any FrameSource, of peer: ReplicaID, as connection: ConnectionID) {
        open(FrameIntake(source, connection, isPeer: true), of: peer, as: connection)
    }

    /// A client connected.
    ///
    /// - Parameter allowance: What is left of its allowance from an earlier connection; nil for a whole one.
    /// - Returns: false when there are as many as may be.
    func open(_ source: any FrameSource, as client: ConnectionID, allowance: ClientAllowance? = nil) -> Bool {
        open(FrameIntake(source, client, isPeer: false), as: client, allowance: allowance)
    }

    /// Takes what is handled next. Its cost is then to be charged.
    func nextPart(includingClients: Bool) -> (queue: IngressQueue, part: Part)? {
        guard let (queue, content) = next(includingClients: includingClients) else { return nil }
        guard let part = content as? Part else { invariantViolated("links of a replica bring parts of frames") }
        return (queue, part)
    }
}

/// How far the frames of one connection were moved into queues.
final class FrameIntake: IngressSource {
    /// Some messages of one kind, one after another in one frame.
    final class Part: IngressContent {
        /// The connection that they came over.
        let connection: ConnectionID
        /// The frame that they are in.
        let frame: [UInt8]
        /// Its messages from the first one of the part.
        let messages: MessageRanges
        /// How many of them are the part's.
        let count: Int

        init(connection: ConnectionID, frame: [UInt8], messages: MessageRanges, count: Int) {
            self.connection = connection
            self.frame = frame
            self.messages = messages
            self.count = count
        }
    }

    /// What a part costs beside its bytes.
    private static let partOverhead = 128

    private let source: any FrameSource
    private let connection: ConnectionID
    private let isPeer: Bool
    private var frame: [UInt8] = []
    private var rest = MessageRanges([])
    /// The kinds of which there was a part in this frame, a bit each.
    private var counted: UInt8 = 0
    /// What is left, and of which kinds there was a part, when the part that was looked at last is taken.
    private var after: (rest: MessageRanges, counted: UInt8)?

    init(_ source: any FrameSource, _ connection: ConnectionID, isPeer: Bool) {
        self.source = source
        self.connection = connection
        self.isPeer = isPeer
    }

    func nextPart(most: (PeerMessage.Stream) -> Int) -> IngressPart? {
        var ranges = rest
        var range = ranges.next()
        while range == nil {
            guard let frame = source.nextFrame() else {
                self.frame = []
                rest = MessageRanges([])
                return nil
            }
            self.frame = frame
            counted = 0
            rest = MessageRanges(frame)
            ranges = rest
            range = ranges.next()
        }
        guard let first = range else { return nil }
        let stream = stream(of: first)
        var bytes = first.count + Self.partOverhead
        var count = 1
        var rest = ranges
        let most = most(stream)
        while count < most, let next = ranges.next(), self.stream(of: next) == stream {
            count += 1
            bytes += next.count
            rest = ranges
        }
        // The whole frame stays in memory with each of its parts. The first of a kind counts for it: the others are behind that one.
        if counted & stream.bit == 0 { bytes = frame.count + Self.partOverhead }
        let part = Part(connection: connection, frame: frame, messages: self.rest, count: count)
        after = (rest, counted | stream.bit)
        return IngressPart(part, stream: stream, messages: count, bytes: bytes)
    }

    func takePart() {
        guard let after = after.take() else { return }
        rest = after.rest
        counted = after.counted
    }

    func takeOpeningNanoseconds() -> UInt64 { source.takeOpeningNanoseconds() }

    /// All that a client sends is of one kind.
    private func stream(of range: Range<Int>) -> PeerMessage.Stream {
        isPeer ? PeerMessage.Stream(type: frame[range.lowerBound]) : .agreement
    }
}

extension PeerMessage.Stream {
    fileprivate var bit: UInt8 {
        switch self {
        case .agreement: 1
        case .forwards: 2
        case .bulk: 4
        }
    }
}
