import Cryptography
import Invariants
import Messages

/// A client of the cluster as a pure state machine: sessions, the window of outstanding requests, bundles, retransmission, and the
/// f + 1 matching replies that make a result (PBFT section 4.1).
///
/// Operations go in with ``submit(_:ticket:)``, requests come out at ``flush(now:into:)``, once a turn, so that what was submitted
/// together travels together.
public struct ClientEngine: ~Copyable {
    /// What a client is told at its start.
    public struct Configuration: Sendable {
        /// How many replicas there are.
        public let size: ClusterSize
        /// Which client this is.
        public let client: ClientID
        /// How many requests may be outstanding, 1 to 64; the replicas' own window bounds it too.
        public let window: Int
        /// How many operations one request may carry, 1 to `MessageLimits.operationsPerRequest`.
        public let bundle: Int
        /// To whom requests go at first.
        public let dissemination: ProtocolSwitches.Dissemination
        /// How long to wait for replies before a request goes to all replicas; doubles with each try, 32 times at the most.
        public let retransmissionNanoseconds: UInt64
        /// The bug that a test has planted.
        var mutations = Mutations()

        /// Collects what a client is told at its start. Numbers out of their bounds are moved to the nearest inside.
        public init(
            size: ClusterSize,
            client: ClientID,
            window: Int,
            bundle: Int,
            dissemination: ProtocolSwitches.Dissemination = .primary,
            retransmissionNanoseconds: UInt64
        ) {
            self.size = size
            self.client = client
            self.window = min(max(window, 1), 64)
            self.dissemination = dissemination
            self.bundle = min(max(bundle, 1), MessageLimits.operationsPerRequest)
            self.retransmissionNanoseconds = max(retransmissionNanoseconds, 1)
        }
    }

    /// What the client asks of its shell, in this order.
    public enum Effect: Sendable {
        /// Send a request to one replica: the one that is primary as far as this client knows, or one that could not be reached before.
        case sendToPrimary(Request, ReplicaID)
        /// Send a request to every replica.
        case sendToAll(Request)
        /// Send a read to every replica; the named one is asked for the whole result, the others for its digest.
        case sendRead(ReadRequest, whole: ReplicaID)
        /// The session is open; operations may be submitted.
        case sessionOpened(SessionID)
        /// The session was not opened: this later one is current. Open one above it.
        case sessionRefused(current: SessionID)
        /// An operation has its result.
        case completed(ticket: UInt64, result: [UInt8])
        /// An operation was executed, but its result does not fit a reply.
        case resultTooLarge(ticket: UInt64)
        /// An operation is lost to this client: somebody opened a later session under its identity, or an administrator changed its key.
        /// Whether it was executed is unknown if it was sent.
        case superseded(ticket: UInt64)
        /// The session is over: somebody opened a later one under this client's identity, or an administrator changed its key. Comes
        /// after what is lost with it.
        case sessionEnded
    }

    private struct Outstanding {
        let request: Request
        let tickets: [UInt64]
        var replies: ReplyTally
        var deadline: Instant
        var tries = 0

        init(request: Request, tickets: [UInt64], deadline: Instant, mutations: Mutations) {
            replies = ReplyTally(mutations: mutations)
            self.request = request
            self.tickets = tickets
            self.deadline = deadline
        }
    }

    private enum Phase {
        case closed
        case opening
        case open
    }

    private let configuration: Configuration
    private let authenticator: RequestAuthenticator
    private var phase = Phase.closed
    /// The epoch of this client's key, as far as it knows.
    private var keyEpoch = KeyEpoch.genesis
    private var session = SessionID(0)
    /// What replicas say of the open session now: a later one may have begun while this client was idle.
    private var openingReplies = ReplyTally()
    private var nextNumber: UInt64 = 0
    /// The lowest number without a result.
    private var lowest: UInt64 = 0
    /// Requests without a result, each at its number modulo the window's length.
    private var outstanding: [Outstanding?]
    private var waiting = FirstInFirstOut<(ticket: UInt64, operation: [UInt8])>()
    private var waitingReads = FirstInFirstOut<(ticket: UInt64, operation: [UInt8])>()
    private var reads: ClientReads
    private var repliers: Repliers
    private var views: [View]
    /// When a request is sent again next.
    private var retransmission: Instant?

    /// When ``timePassed(now:into:)`` wants to be called; nil for never.
    public var deadline: Instant? {
        guard let first = retransmission, let second = reads.deadline else { return retransmission ?? reads.deadline }
        return min(first, second)
    }

    /// How many reads had to be ordered, because replicas did not agree or answer.
    public private(set) var orderedReads: UInt64 = 0

    /// How many requests were sent again.
    public private(set) var retransmissions: UInt64 = 0

    /// Makes a client without a session.
    public init(configuration: Configuration, authenticator: RequestAuthenticator) {
        self.configuration = configuration
        self.authenticator = authenticator
        outstanding = Array(repeating: nil, count: configuration.window)
        reads = ClientReads(size: configuration.size, mutations: configuration.mutations)
        repliers = Repliers(size: configuration.size)
        views = Array(repeating: View(0), count: configuration.size.replicas)
    }

    /// How many operations have no result yet, sent or not.
    public var unanswered: Int {
        waiting.count + waitingReads.count + reads.pending.count
            + outstanding.reduce(0) { $0 + ($1?.tickets.count ?? 0) }
    }

    /// The view that the cluster is in as far as this client knows: the (f + 1)-th highest that replicas named, never one replica's word.
    public var view: View {
        views.sorted(by: >)[configuration.size.faults]
    }

    // MARK: Inputs

    /// Asks the cluster to open a session.
    ///
    /// - Parameters:
    ///   - proposal: A number over that of every earlier session, by the clock for example. If it is not, the replicas say
    ///     which one is current (``Effect/sessionRefused(current:)``).
    ///   - now: The shell's monotonic clock.
    ///   - effects: What is to be done is appended here.
    public mutating func open(_ proposal: SessionID, now: Instant, into effects: inout [Effect]) {
        invariant(phase == .closed, "a session is opened once at a time")
        phase = .opening
        session = proposal
        nextNumber = 1
        lowest = 0
        openingReplies = ReplyTally()
        send(opening, tickets: [], now: now, into: &effects)
    }

    /// The request that opens the session.
    private var opening: Request {
        Request(
            client: configuration.client,
            keyEpoch: keyEpoch,
            session: session,
            number: .opening,
            operations: [],
            authenticator: authenticator
        )
    }

    /// Takes an operation; it is sent at the next ``flush(now:into:)`` at which the window has room.
    ///
    /// - Parameters:
    ///   - operation: At most `MessageLimits.operationBytes` long.
    ///   - ticket: The caller's name for it, which comes back with the result.
    public mutating func submit(_ operation: [UInt8], ticket: UInt64) {
        invariant(operation.count <= MessageLimits.operationBytes, "an operation over its bound")
        waiting.append((ticket, operation))
    }

    /// Takes a read-only operation, which is answered outside the order if the replicas agree, and ordered otherwise. As many are under
    /// way at once as the window has requests.
    ///
    /// - Parameters:
    ///   - operation: At most `MessageLimits.operationBytes` long.
    ///   - ticket: The caller's name for it, which comes back with the result.
    public mutating func submitRead(_ operation: [UInt8], ticket: UInt64) {
        invariant(operation.count <= MessageLimits.operationBytes, "an operation over its bound")
        waitingReads.append((ticket, operation))
    }

    /// Takes an operation back that was not sent yet.
    ///
    /// - Returns: false when it was sent, or is not known.
    public mutating func withdraw(ticket: UInt64) -> Bool {
        waiting.removeAll { $0.ticket == ticket } + waitingReads.removeAll { $0.ticket == ticket } > 0
    }

    /// The end of a turn: makes requests of what waits and sends them, as far as the window allows.
    public mutating func flush(now: Instant, into effects: inout [Effect]) {
        guard phase == .open else { return }
        while reads.pending.count < configuration.window, let next = waitingReads.first {
            waitingReads.removeFirst()
            let due = now.advanced(byNanoseconds: configuration.retransmissionNanoseconds)
            let whole = repliers.next()
            let read = reads.begin(next.operation, ticket: next.ticket, whole: whole, deadline: due)
            effects.append(.sendRead(read, whole: whole))
        }
        while waiting.count > 0, nextNumber < lowest + UInt64(configuration.window) {
            var tickets: [UInt64] = []
            var operations: [[UInt8]] = []
            // The header and the longest authentication fit 4 KiB.
            var bytes = 4 << 10
            while operations.count < configuration.bundle, let next = waiting.first {
                bytes += 4 + next.operation.count
                if !operations.isEmpty, bytes > MessageLimits.requestBytes { break }
                waiting.removeFirst()
                tickets.append(next.ticket)
                operations.append(next.operation)
            }
            let request = Request(
                client: configuration.client,
                keyEpoch: keyEpoch,
                session: session,
                number: RequestNumber(nextNumber),
                operations: operations,
                replier: repliers.next(),
                authenticator: authenticator
            )
            nextNumber += 1
            send(request, tickets: tickets, now: now, into: &effects)
        }
    }

    private mutating func send(_ request: Request, tickets: [UInt64], now: Instant, into effects: inout [Effect]) {
        let due = now.advanced(byNanoseconds: configuration.retransmissionNanoseconds)
        let place = Int(request.number.rawValue % UInt64(configuration.window))
        invariant(outstanding[place] == nil, "a request outside the window")
        outstanding[place] = Outstanding(
            request: request,
            tickets: tickets,
            deadline: due,
            mutations: configuration.mutations
        )
        switch configuration.dissemination {
        case .primary: effects.append(.sendToPrimary(request, view.primary(in: configuration.size)))
        case .all: effects.append(.sendToAll(request))
        }
        retransmission = min(retransmission ?? due, due)
    }

    /// A replica's answer to a read came over its authenticated channel.
    public mutating func receive(_ reply: ReadReply, from replica: ReplicaID, into effects: inout [Effect]) {
        invariant(configuration.size.contains(replica), "a replica outside the cluster")
        if reads.isRecent(reply.tag) { repliers.heard(replica) }
        guard let (read, verdict) = reads.count(reply, from: replica) else { return }
        switch verdict {
        case .open: break
        case .result(let result):
            repliers.completed()
            effects.append(.completed(ticket: read.ticket, result: result))
        case .disagreement: order(read)
        }
    }

    /// Makes an ordinary request of a read, to be sent at the next ``flush(now:into:)``.
    private mutating func order(_ read: ClientReads.Pending) {
        orderedReads += 1
        waiting.append((read.ticket, read.operation))
    }

    /// A replica's reply came over its authenticated channel.
    public mutating func receive(_ reply: Reply, from replica: ReplicaID, into effects: inout [Effect]) {
        invariant(configuration.size.contains(replica), "a replica outside the cluster")
        views[replica.index] = max(views[replica.index], reply.view)
        if phase == .open, reply.session == session, reply.number == .opening {
            let payload = openingReplies.count(reply, from: replica, of: configuration.size)
            if let payload, payload.outcome == .sessionOutdated { supersede(payload, into: &effects) }
            return
        }
        // One that answers what is long over is catching up, and has no result yet of what is asked now.
        if reply.session == session, nextNumber - min(reply.number.rawValue, nextNumber) <= 64 {
            repliers.heard(replica)
        }
        let place = Int(reply.number.rawValue % UInt64(configuration.window))
        guard reply.session == session, outstanding[place]?.request.number == reply.number,
            let payload = outstanding[place]?.replies.count(reply, from: replica, of: configuration.size)
        else { return askAll(place, on: reply, into: &effects) }
        finish(place, payload, into: &effects)
    }

    /// A replica refuses to open the session: the others are asked at once whether they do so too.
    private mutating func askAll(_ place: Int, on reply: Reply, into effects: inout [Effect]) {
        guard phase == .opening, reply.session == session, reply.number == .opening, let item = outstanding[place],
            item.tries == 0, let outcome = reply.payload?.outcome,
            outcome == .sessionOutdated || outcome == .otherKeyEpoch
        else { return }
        outstanding[place]?.tries = 1
        effects.append(.sendToAll(item.request))
    }

    private mutating func finish(_ place: Int, _ payload: Reply.Payload, into effects: inout [Effect]) {
        guard let done = outstanding[place] else { return }
        switch payload.outcome {
        case .sessionOutdated:
            supersede(payload, into: &effects)
            return
        case .sessionOpened where done.request.kind == .openSession:
            phase = .open
            effects.append(.sessionOpened(session))
        case .otherKeyEpoch:
            changeEpoch(payload, place, into: &effects)
            return
        case .executed where payload.results.count == done.tickets.count && done.request.kind != .openSession:
            for (ticket, result) in zip(done.tickets, payload.results) {
                effects.append(.completed(ticket: ticket, result: result))
            }
        case .resultsTooLarge where done.request.kind != .openSession:
            for ticket in done.tickets {
                effects.append(.resultTooLarge(ticket: ticket))
            }
        case .sessionOpened, .executed, .resultsTooLarge:
            // f + 1 replicas agree on what no correct one says: more than f are faulty, and nothing they say can be trusted.
            return
        }
        outstanding[place] = nil
        repliers.completed()
        while lowest < nextNumber, !isOutstanding(lowest) {
            lowest += 1
        }
        if outstandingIsEmpty { retransmission = nil }
    }

    private func isOutstanding(_ number: UInt64) -> Bool {
        outstanding[Int(number % UInt64(configuration.window))]?.request.number.rawValue == number
    }

    private var outstandingIsEmpty: Bool { lowest == nextNumber }

    /// A later session exists. While opening, the shell tries the next above it; otherwise the identity is in use elsewhere, and this client ends.
    private mutating func supersede(_ payload: Reply.Payload, into effects: inout [Effect]) {
        var current = ByteReader(payload.results.first ?? [])
        if phase == .opening, let number = try? current.readUInt64(), number < .max {
            close()
            effects.append(.sessionRefused(current: SessionID(number)))
        } else {
            end(into: &effects)
        }
    }

    /// The key of this identity is of a later epoch than this client thought. While opening, that is how it comes to know; otherwise the
    /// key was changed under its session, and this client ends.
    private mutating func changeEpoch(_ payload: Reply.Payload, _ place: Int, into effects: inout [Effect]) {
        var current = ByteReader(payload.results.first ?? [])
        guard let number = try? current.readUInt32(), KeyEpoch(number) > keyEpoch, let item = outstanding[place] else {
            return
        }
        keyEpoch = KeyEpoch(number)
        guard phase == .opening else { return end(into: &effects) }
        var again = Outstanding(
            request: opening,
            tickets: [],
            deadline: item.deadline,
            mutations: configuration.mutations
        )
        again.tries = max(item.tries, 1)
        outstanding[place] = again
        effects.append(.sendToAll(again.request))
    }

    private mutating func close() {
        outstanding = Array(repeating: nil, count: configuration.window)
        retransmission = nil
        phase = .closed
    }

    /// Gives up the session and everything that waits.
    private mutating func end(into effects: inout [Effect]) {
        let lost = outstanding.compactMap { $0 }.flatMap(\.tickets)
        close()
        for ticket in lost {
            effects.append(.superseded(ticket: ticket))
        }
        for read in reads.removeAll() {
            effects.append(.superseded(ticket: read.ticket))
        }
        while let next = waiting.first {
            waiting.removeFirst()
            effects.append(.superseded(ticket: next.ticket))
        }
        while let next = waitingReads.first {
            waitingReads.removeFirst()
            effects.append(.superseded(ticket: next.ticket))
        }
        effects.append(.sessionEnded)
    }

    /// A replica can be reached, for the first time or again: what it was sent and may not have got goes to it once more. When that is
    /// nothing, it is asked whether the session is still current: another process that uses this identity may have taken the connection.
    public func connected(_ replica: ReplicaID, into effects: inout [Effect]) {
        let wasSent = replica == view.primary(in: configuration.size) || configuration.dissemination == .all
        // In the order of their numbers, in which they are executed.
        for number in lowest..<nextNumber {
            guard let item = outstanding[Int(number % UInt64(configuration.window))],
                item.request.number.rawValue == number, wasSent || item.tries > 0
            else { continue }
            effects.append(.sendToPrimary(item.request, replica))
        }
        if phase == .open, outstandingIsEmpty { effects.append(.sendToPrimary(opening, replica)) }
    }

    /// Whether ``open(_:now:into:)`` may be called.
    public var isClosed: Bool { phase == .closed }

    /// ``deadline`` has come: what waited too long goes to every replica.
    public mutating func timePassed(now: Instant, into effects: inout [Effect]) {
        for read in reads.expire(now) {
            if reads.lacksResult(read) { repliers.avoid(read.whole) }
            order(read)
        }
        flush(now: now, into: &effects)
        guard let due = retransmission, due <= now else { return }
        var earliest: Instant?
        for place in outstanding.indices {
            guard var item = outstanding[place] else { continue }
            if item.deadline <= now {
                // Enough replicas agree on a result that the one asked for it keeps back.
                if item.replies.lacksPayload(configuration.size) { repliers.avoid(item.request.replier) }
                item.tries = min(item.tries + 1, 5)
                item.deadline = now.advanced(
                    byNanoseconds: configuration.retransmissionNanoseconds << UInt64(item.tries)
                )
                retransmissions += 1
                effects.append(.sendToAll(item.request))
                outstanding[place] = item
            }
            earliest = min(earliest ?? item.deadline, item.deadline)
        }
        retransmission = earliest
    }
}
