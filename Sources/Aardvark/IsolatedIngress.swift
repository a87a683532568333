import Agreement
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

/// What came in and waits to be handled, in queues apart, served by ``FairScheduler`` (Aardvark section 4.2: network cards and queues of
/// their own for each peer and for the clients).
///
/// Frames are taken out of links as long as their queues have room, and cut into parts of a few messages of one kind, which wait. A link
/// whose queue is full is not emptied any more; so it stops reading its socket. Forwards and bulk that find no room are dropped, since the
/// same link carries agreement.
final class IsolatedIngress {
    /// Some messages of one kind, one after another in one frame.
    struct Part: Sendable {
        /// The connection that they came over.
        let connection: ConnectionID
        /// The frame that they are in.
        let frame: [UInt8]
        /// Its messages from the first one of the part.
        let messages: MessageRanges
        /// How many of them are the part's.
        let count: Int
    }

    /// How many parts of one connection, and of all clients together, are taken in at a time.
    private static let partsOfConnection = 128
    private static let partsOfClients = 1_024

    private var scheduler: FairScheduler<Part>
    private let clock: () -> Instant
    /// How many messages of a client make a part.
    private let clientMessages: Int
    private var peers: [Intake?]
    private var readablePeers = VoteSet()
    private var clients: [ConnectionID: Intake] = [:]
    /// In the order of their turn, each at most once.
    private var readableClients: [ConnectionID] = []

    /// Messages that were dropped because their queue was full.
    private(set) var dropped: UInt64 = 0

    /// Makes queues in which nothing waits.
    ///
    /// - Parameters:
    ///   - size: How many replicas there are.
    ///   - limits: Shares and bounds.
    ///   - clientMessages: How many messages of a client are handled at a time: 1 where each costs a signature check.
    ///   - clock: A monotonic clock, by which costs are measured.
    init(
        size: ClusterSize,
        limits: RobustnessLimits.Scheduling,
        clientMessages: Int,
        clock: @escaping () -> Instant = { .now() }
    ) {
        scheduler = FairScheduler(size: size, limits: limits)
        peers = Array(repeating: nil, count: size.replicas)
        self.clientMessages = clientMessages
        self.clock = clock
    }

    /// How many parts wait.
    var count: Int { scheduler.count }

    /// The memory that they take, in bytes.
    var bytes: Int { scheduler.bytes }

    // MARK: Connections

    /// A peer connected, in place of an earlier connection of its.
    func open(_ source: any FrameSource, of peer: ReplicaID, as connection: ConnectionID) {
        peers[peer.index] = Intake(source, connection, isPeer: true)
        readablePeers.remove(peer)
    }

    /// The connection of a peer is closed. What waits of it is handled.
    func close(_ connection: ConnectionID, of peer: ReplicaID) {
        guard peers[peer.index]?.connection == connection else { return }
        peers[peer.index] = nil
        readablePeers.remove(peer)
    }

    /// A client connected.
    ///
    /// - Returns: false when there are as many as may be.
    func open(_ source: any FrameSource, as client: ConnectionID) -> Bool {
        guard scheduler.open(client) else { return false }
        clients[client] = Intake(source, client, isPeer: false)
        return true
    }

    /// A client's connection is closed, and what waits of it is gone.
    func close(_ client: ConnectionID) {
        clients[client] = nil
        scheduler.close(client)
    }

    /// Frames of a peer came in.
    func readable(_ peer: ReplicaID) {
        if peers[peer.index] != nil { readablePeers.insert(peer) }
    }

    /// Frames of a client came in.
    func readable(_ client: ConnectionID) {
        guard let intake = clients[client], !intake.isListed else { return }
        intake.isListed = true
        readableClients.append(client)
    }

    /// Sets which peers are cut off.
    func setCut(_ peers: VoteSet) {
        scheduler.setCut(peers)
    }

    // MARK: Messages

    /// Whether something can be handled.
    func hasWork(includingClients: Bool) -> Bool {
        scheduler.hasWaiting(includingClients: includingClients) || readablePeers.count > 0
            || (includingClients && !readableClients.isEmpty)
    }

    /// Moves frames into the queues, as far as there is room.
    func takeIn() {
        guard readablePeers.count > 0 || !readableClients.isEmpty else { return }
        var time = clock()
        for place in peers.indices where readablePeers.contains(ReplicaID(UInt8(place))) {
            let peer = ReplicaID(UInt8(place))
            guard let intake = peers[place] else { continue }
            if takeIn(intake, of: peer) { readablePeers.remove(peer) }
            charge(since: &time, intake.source, to: .agreement(peer))
        }
        var left = Self.partsOfClients
        var listed: [ConnectionID] = []
        swap(&listed, &readableClients)
        var taken = 0
        while taken < listed.count, left > 0 {
            let client = listed[taken]
            taken += 1
            guard let intake = clients[client] else { continue }
            intake.isListed = false
            if !takeIn(intake, &left) { readable(client) }
            charge(since: &time, intake.source, to: .client(client))
        }
        // Those that there was no time for go before those that had their turn.
        if taken < listed.count { readableClients = listed[taken...] + readableClients }
    }

    /// - Returns: Whether there is nothing more to take in, for now.
    private func takeIn(_ intake: Intake, of peer: ReplicaID) -> Bool {
        for _ in 0..<Self.partsOfConnection {
            guard let next = intake.next(most: { $0.mostMessages }) else { return true }
            let queue: IngressQueue =
                switch next.stream {
                case .agreement: .agreement(peer)
                case .forwards: .forwards(peer)
                case .bulk: .bulk(peer)
                }
            if !scheduler.enqueue(next.part, bytes: next.bytes, in: queue) {
                if next.stream == .agreement { return true }
                dropped += UInt64(next.part.count)
            }
            intake.take(next)
        }
        return false
    }

    private func takeIn(_ intake: Intake, _ left: inout Int) -> Bool {
        for _ in 0..<Self.partsOfConnection {
            guard left > 0 else { return false }
            guard let next = intake.next(most: { _ in clientMessages }),
                scheduler.enqueue(next.part, bytes: next.bytes, in: .client(intake.connection))
            else { return true }
            intake.take(next)
            left -= 1
        }
        return false
    }

    private func charge(since time: inout Instant, _ source: any FrameSource, to queue: IngressQueue) {
        let now = clock()
        scheduler.charge(now.nanoseconds(since: time) + source.takeOpeningNanoseconds(), to: queue)
        time = now
    }

    /// Takes what is handled next. Its cost is then to be charged.
    ///
    /// - Parameter includingClients: Whether there is room for what clients send.
    func next(includingClients: Bool) -> (queue: IngressQueue, part: Part)? {
        guard let taken = scheduler.next(includingClients: includingClients) else { return nil }
        if taken.hasRoomAgain {
            switch taken.queue {
            case .agreement(let peer): readable(peer)
            case .client(let client): readable(client)
            case .forwards, .bulk: break
            }
        }
        return (taken.queue, taken.element)
    }

    /// Charges a queue with what a part of it cost, in nanoseconds.
    func charge(_ nanoseconds: UInt64, to queue: IngressQueue) {
        scheduler.charge(nanoseconds, to: queue)
    }
}

/// How far the frames of one connection were moved into queues.
private final class Intake {
    /// What comes next, and where the intake is after it.
    struct Next {
        let part: IsolatedIngress.Part
        let stream: PeerMessage.Stream
        let bytes: Int
        let rest: MessageRanges
    }

    /// What a part costs beside its bytes.
    private static let partOverhead = 128

    let source: any FrameSource
    let connection: ConnectionID
    /// Whether it waits for its turn already.
    var isListed = false
    private let isPeer: Bool
    private var frame: [UInt8] = []
    private var rest = MessageRanges([])
    /// The kinds of which there was a part in this frame, a bit each.
    private var counted: UInt8 = 0

    init(_ source: any FrameSource, _ connection: ConnectionID, isPeer: Bool) {
        self.source = source
        self.connection = connection
        self.isPeer = isPeer
    }

    /// Looks at the next part. It comes again until it is taken.
    func next(most: (PeerMessage.Stream) -> Int) -> Next? {
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
        let part = IsolatedIngress.Part(connection: connection, frame: frame, messages: self.rest, count: count)
        return Next(part: part, stream: stream, bytes: bytes, rest: rest)
    }

    func take(_ next: Next) {
        rest = next.rest
        counted |= next.stream.bit
    }

    /// All that a client sends is of one kind.
    private func stream(of range: Range<Int>) -> PeerMessage.Stream {
        isPeer ? PeerMessage.Stream(type: frame[range.lowerBound]) : .agreement
    }
}

extension PeerMessage.Stream {
    /// How many messages are handled at a time: so few that no part takes much longer than a signature check or two where senders are
    /// correct.
    fileprivate var mostMessages: Int {
        switch self {
        case .agreement: 16
        case .forwards: 1
        case .bulk: 1
        }
    }

    fileprivate var bit: UInt8 {
        switch self {
        case .agreement: 1
        case .forwards: 2
        case .bulk: 4
        }
    }
}
