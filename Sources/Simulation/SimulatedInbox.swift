import Agreement
import Invariants
import Messages

/// A message that has arrived at a replica and waits for its processor.
struct Arrival: Sendable {
    enum Message: Sendable {
        case peer(PeerMessage, from: ReplicaID)
        case request(Unverified<Request>, over: ConnectionID)
        case read(ReadRequest, from: ClientID)
    }

    let message: Message
    let bytes: Int

    init(_ message: Message) {
        self.message = message
        bytes =
            switch message {
            case .peer(let message, from: _): message.approximateByteCount
            case .request(let request, over: _): request.claim.bytes.count
            case .read(let read, from: _): 16 + read.operation.count
            }
    }

    var stream: PeerMessage.Stream {
        if case .peer(let message, from: _) = message { message.stream } else { .agreement }
    }
}

/// Some messages that arrived over one connection, one after another.
final class Arrivals: IngressContent {
    let messages: [Arrival]

    init(_ messages: [Arrival]) {
        self.messages = messages
    }
}

/// Counts the processor time of one replica.
final class ProcessorMeter {
    /// Of the turn under way, in nanoseconds.
    var turn: UInt64 = 0
    /// The part of it that is nobody's in particular: execution.
    var own: UInt64 = 0

    func start() {
        turn = 0
        own = 0
    }
}

/// A connection of a simulated replica: what arrived over it and was not taken in yet.
final class SimulatedLink: IngressSource {
    /// As many bytes as the two ends of a connection hold back at the most, in their programs and sockets. What comes on top is lost, as
    /// everything is that a connection carries which is closed for it.
    private static let mostBytes = 40 << 20

    /// More bytes than this are in no part but of one message alone: those of a short frame, since a part is never interrupted.
    private static let mostBytesOfPart = 16 << 10

    private let costs: CostModel
    private let meter: ProcessorMeter
    private var waiting = FirstInFirstOut<Arrival>()
    private var bytes = 0
    private var looked: IngressPart?
    private var opening: UInt64 = 0

    init(costs: CostModel, meter: ProcessorMeter) {
        self.costs = costs
        self.meter = meter
    }

    /// - Returns: Whether there was room.
    func append(_ arrival: Arrival) -> Bool {
        guard bytes + arrival.bytes <= Self.mostBytes else { return false }
        bytes += arrival.bytes
        waiting.append(arrival)
        return true
    }

    func nextPart(most: (PeerMessage.Stream) -> Int) -> IngressPart? {
        if let looked { return looked }
        guard let stream = waiting.first?.stream else { return nil }
        let most = most(stream)
        var part: [Arrival] = []
        var partBytes = 0
        while part.count < most, let next = waiting.first, next.stream == stream,
            part.isEmpty || partBytes + next.bytes <= Self.mostBytesOfPart
        {
            waiting.removeFirst()
            part.append(next)
            partBytes += next.bytes
            opening += costs.receiving(next.bytes)
        }
        bytes -= partBytes
        looked = IngressPart(Arrivals(part), stream: stream, messages: part.count, bytes: partBytes)
        return looked
    }

    func takePart() {
        looked = nil
    }

    func takeOpeningNanoseconds() -> UInt64 {
        defer { opening = 0 }
        meter.turn += opening
        return opening
    }
}

/// What has arrived at a replica and waits.
enum SimulatedInbox {
    /// In the queues of the real replica.
    case isolated(IsolatedInbox)
    /// In one queue.
    case single(SingleInbox)

    init(
        _ model: ProcessorModel,
        size: ClusterSize,
        switches: ProtocolSwitches,
        meter: ProcessorMeter,
        clock: @escaping () -> Instant
    ) {
        if model.isolatedQueues {
            self = .isolated(IsolatedInbox(model, size: size, switches: switches, meter: meter, clock: clock))
        } else {
            self = .single(SingleInbox(model.costs, meter: meter))
        }
    }

    var hasWork: Bool {
        switch self {
        case .isolated(let inbox): inbox.queues.hasWork(includingClients: true)
        case .single(let inbox): inbox.hasWork
        }
    }

    /// - Returns: false when there was no room.
    func append(_ message: Arrival.Message) -> Bool {
        switch self {
        case .isolated(let inbox): inbox.append(Arrival(message))
        case .single(let inbox): inbox.append(Arrival(message))
        }
    }
}

/// Queues apart, filled from a link to each peer and client.
final class IsolatedInbox {
    let queues: IsolatedQueues
    private let costs: CostModel
    private let meter: ProcessorMeter
    private var peers: [SimulatedLink] = []
    private var clients: [ConnectionID: SimulatedLink] = [:]

    init(
        _ model: ProcessorModel,
        size: ClusterSize,
        switches: ProtocolSwitches,
        meter: ProcessorMeter,
        clock: @escaping () -> Instant
    ) {
        costs = model.costs
        self.meter = meter
        let isSigned = switches.requestAuthentication == .signature
        // Virtual time stands still while something is taken in; the links say what it costs.
        queues = IsolatedQueues(
            size: size,
            limits: model.limits.scheduling,
            clientMessages: isSigned ? 1 : 8,
            clock: clock
        )
        for peer in size.members {
            let link = SimulatedLink(costs: costs, meter: meter)
            queues.open(link, of: peer, as: ConnectionID(UInt64(peer.rawValue)))
            peers.append(link)
        }
    }

    /// Takes what is handled next. Its cost is then to be charged.
    func next() -> (queue: IngressQueue, messages: [Arrival])? {
        guard let (queue, content) = queues.next(includingClients: true) else { return nil }
        guard let arrivals = content as? Arrivals else { invariantViolated("links of this inbox make arrivals") }
        return (queue, arrivals.messages)
    }

    func append(_ arrival: Arrival) -> Bool {
        switch arrival.message {
        case .peer(_, from: let peer):
            defer { queues.readable(peer) }
            return peers[peer.index].append(arrival)
        case .request(_, over: let connection): return append(arrival, over: connection)
        case .read(_, from: let client): return append(arrival, over: ConnectionID(of: client))
        }
    }

    private func append(_ arrival: Arrival, over connection: ConnectionID) -> Bool {
        if clients[connection] == nil {
            let link = SimulatedLink(costs: costs, meter: meter)
            guard queues.open(link, as: connection) else { return false }
            clients[connection] = link
        }
        defer { queues.readable(connection) }
        return clients[connection]?.append(arrival) ?? false
    }
}

/// One bounded queue for everything that arrives, first come, first served. What finds no room is lost.
final class SingleInbox {
    private static let mostMessages = 65_536
    private static let mostBytes = 32 << 20

    private let costs: CostModel
    private let meter: ProcessorMeter
    private var waiting = FirstInFirstOut<Arrival>()
    private var bytes = 0

    init(_ costs: CostModel, meter: ProcessorMeter) {
        self.costs = costs
        self.meter = meter
    }

    var hasWork: Bool { waiting.count > 0 }

    func append(_ arrival: Arrival) -> Bool {
        guard waiting.count < Self.mostMessages, bytes + arrival.bytes <= Self.mostBytes else { return false }
        bytes += arrival.bytes
        waiting.append(arrival)
        return true
    }

    func next() -> Arrival? {
        guard let first = waiting.first else { return nil }
        waiting.removeFirst()
        bytes -= first.bytes
        meter.turn += costs.receiving(first.bytes)
        return first
    }
}

extension ConnectionID {
    /// What requests of clients that are unknown come over. They have no connection to a real replica.
    static let ofStrangers = ConnectionID(.max)

    /// The one connection of a client.
    init(of client: ClientID) {
        self.init(UInt64(client.rawValue))
    }
}
