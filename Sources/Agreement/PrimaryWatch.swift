import Messages

/// What a replica keeps for the watch over the primary beside the ``PrimaryMonitor`` itself: how far the monitor was told what happened.
struct PrimaryWatch: Sendable {
    /// A batch that was executed and that the monitor has not heard of.
    struct Executed: Sendable {
        let sequence: SequenceNumber
        let requests: Int
        let operations: Int
        let isCatchUp: Bool
    }

    private let pingNanoseconds: UInt64
    var monitor: PrimaryMonitor
    /// Whether the monitor watches the view in which this replica is active. In view 0 and after a restart it begins with the first sign
    /// of the primary or the first request: until then the primary's process may not have been started.
    private(set) var isOn = false
    /// The requests of the view's proposals were shown to the monitor up to this number.
    var shown = SequenceNumber.zero
    /// Everything up to this number is committed here, as the monitor was told.
    var committed = SequenceNumber.zero
    var executed: [Executed] = []
    /// Clients of which a request was executed while the next one waits here.
    var advanced: [ClientID] = []

    /// Where clients send to all replicas: when which client's next request is handed to the primary, unless it is proposed by then.
    private var toHandOver = FirstInFirstOut<(client: ClientID, due: Instant)>()
    private var clientsToHandOver: Set<ClientID> = []

    private var pingDue: Instant?

    init(_ configuration: ReplicaConfiguration) {
        let thresholds = configuration.limits.monitoring
        pingNanoseconds = thresholds.pingNanoseconds
        monitor = PrimaryMonitor(size: configuration.size, limits: configuration.limits, thresholds: thresholds)
    }

    /// When time is wanted; nil for never.
    var deadline: Instant? {
        var earliest = monitor.deadline
        if let due = toHandOver.first?.due { earliest = min(earliest ?? due, due) }
        if let pingDue { earliest = min(earliest ?? pingDue, pingDue) }
        return earliest
    }

    // MARK: Views

    mutating func begin(
        isPrimary: Bool,
        chosen: SequenceNumber,
        committed: SequenceNumber,
        executed: SequenceNumber,
        high: SequenceNumber,
        now: Instant
    ) {
        isOn = true
        shown = max(chosen, executed)
        self.committed = committed
        monitor.enteredView(
            isPrimary: isPrimary,
            chosen: chosen,
            committed: committed,
            executed: executed,
            high: high,
            now: now
        )
    }

    /// The view is over.
    mutating func end(now: Instant) {
        isOn = false
        advanced = []
        toHandOver = FirstInFirstOut()
        clientsToHandOver = []
        monitor.leftView(now: now)
    }

    // MARK: Requests

    /// A client's next request waits here; the primary should have it from the client as well.
    mutating func handOverLater(_ client: ClientID, patience: UInt64, now: Instant) {
        guard clientsToHandOver.insert(client).inserted else { return }
        let due = now.advanced(byNanoseconds: monitor.fairnessDelay).advanced(byNanoseconds: patience)
        toHandOver.append((client, due))
    }

    /// The next client whose request the primary should have proposed by now.
    mutating func nextToHandOver(now: Instant) -> ClientID? {
        guard let first = toHandOver.first, first.due <= now else { return nil }
        toHandOver.removeFirst()
        clientsToHandOver.remove(first.client)
        return first.client
    }

    // MARK: Round trips

    /// A peer is asked now: all of them are again after a while.
    mutating func asks(now: Instant) {
        pingDue = pingDue ?? now.advanced(byNanoseconds: pingNanoseconds)
    }

    /// Whether the peers are to be asked now.
    mutating func mayAsk(now: Instant) -> Bool {
        guard let pingDue, pingDue <= now else { return false }
        self.pingDue = nil
        return true
    }
}

extension PrimaryWatch {
    func add(to footprint: inout Footprint, _ limits: Limits) {
        footprint.add("watched requests", monitor.watchedRequests, atMost: limits.identities)
        let mostListed = FairnessWatch.mostListed(limits.identities)
        footprint.add("watched requests in lists", monitor.listedRequests, atMost: mostListed)
        footprint.add("clients with a request to hand over", toHandOver.count, atMost: limits.identities)
        footprint.add("clients whose next request waits", advanced.count, atMost: limits.identities)
        footprint.add("executed batches to tell of", executed.count, atMost: limits.logWindow)
    }
}
