import Messages

/// The watch over the primary in the engine (Aardvark section 5.3): what the ``PrimaryMonitor`` is told, and what follows from its verdict.
///
/// It is told of proposals and IDLEs as they come, and of what was executed and committed at the end of each turn.
extension Replica {
    // MARK: Views

    /// The monitor watches the view that this replica is active in.
    mutating func beginWatch(_ now: ClockReading) {
        guard primaryWatch != nil else { return }
        let chosen = installed.map { SequenceNumber($0.newView.start.rawValue + UInt64($0.newView.chosen.count)) }
        let isPrimary = isPrimary
        let committed = committedThrough
        primaryWatch?.begin(
            isPrimary: isPrimary,
            chosen: chosen ?? .zero,
            committed: committed,
            executed: executed,
            high: log.high,
            now: now.monotonic
        )
    }

    private mutating func beginWatchIfNeeded(_ now: ClockReading) {
        if isActive, primaryWatch?.isOn == false { beginWatch(now) }
    }

    /// The view is over for this replica.
    mutating func endWatch(_ now: ClockReading) {
        guard primaryWatch != nil else { return }
        showExecuted(now)
        primaryWatch?.end(now: now.monotonic)
    }

    private var committedThrough: SequenceNumber { log.committedThrough(after: executed) }

    // MARK: The primary

    /// The primary proposed a batch, whole or by digests.
    mutating func noteProposed(_ sequence: SequenceNumber, now: ClockReading) {
        guard isActive, primaryWatch != nil else { return }
        beginWatchIfNeeded(now)
        primaryWatch?.monitor.proposed(sequence, now: now.monotonic)
        showOrdered(now)
    }

    mutating func onIdle(_ idle: Idle, from peer: ReplicaID, now: ClockReading, into effects: inout [Effect]) {
        guard isActive, idle.view == view else { return drop(.otherView, into: &effects) }
        guard peer == primary else { return drop(.wrongRole, into: &effects) }
        // What it names and is not here is asked for like what a vote names.
        _ = isInWindow(idle.through)
        beginWatchIfNeeded(now)
        primaryWatch?.monitor.idle(through: idle.through, now: now.monotonic)
    }

    /// Shows the monitor the requests of the view's proposals, in the order of the numbers: those that take effect there.
    private mutating func showOrdered(_ now: ClockReading) {
        guard primaryWatch?.isOn == true, !isPrimary, let shown = primaryWatch?.shown else { return }
        var next = max(shown, log.low).next
        while let requests = log.proposedRequests(next) {
            let effective = requests.filter { clients.noteProposed($0) }
            primaryWatch?.monitor.ordered(
                effective.lazy.map { WatchedRequest($0) },
                at: next,
                now: now.monotonic
            )
            primaryWatch?.shown = next
            next = next.next
        }
    }

    // MARK: Requests

    /// A checked request waits at a backup: the primary is handed it. Where clients send to all replicas, and when it is long, the primary
    /// gets it from here only if it does not propose it when it should: it most likely has it, and long ones from everybody are a flood.
    mutating func handOver(_ request: Verified<Request>, now: ClockReading, into effects: inout [Effect]) {
        let patience = configuration.limits.patience(with: request.value)
        switch configuration.switches.dissemination {
        case .primary where patience == 0: forward(request, now: now, into: &effects)
        case .primary: watchLater(request.value.client, patience: patience, now: now)
        case .all: watchLater(request.value.client, patience: 0, now: now)
        }
    }

    /// A view begins at a backup: everything that waits is handed to its primary.
    mutating func handOverWaiting(now: ClockReading, into effects: inout [Effect]) {
        guard !isPrimary else { return }
        for request in clients.waiting { handOver(request, now: now, into: &effects) }
    }

    private mutating func watchLater(_ client: ClientID, patience: UInt64, now: ClockReading) {
        guard isActive, !isPrimary, clients.unproposedNext(of: client) != nil else { return }
        primaryWatch?.handOverLater(client, patience: patience, now: now.monotonic)
    }

    /// The primary was handed a request: it is watched if it is its client's next executable one and no proposal has it.
    mutating func noteForwarded(_ request: Request, now: ClockReading) {
        guard isActive, !isPrimary, primaryWatch != nil,
            let next = clients.unproposedNext(of: request.client), next.value.number == request.number,
            next.value.session == request.session
        else { return }
        beginWatchIfNeeded(now)
        let patience = configuration.limits.patience(with: request)
        primaryWatch?.monitor.forwarded(WatchedRequest(request), patience: patience, now: now.monotonic)
    }

    // MARK: Execution

    /// A batch was executed: the monitor is told at the end of the turn.
    mutating func noteExecuted(_ execution: Execution, operations: Int) {
        guard primaryWatch?.isOn == true else { return }
        let sequence = execution.sequence
        // Whether or not it was checked here when the others' COMMITs came: some backup is always the last to have done so.
        let isFromPrimary = log.contains(sequence) && log[sequence].isCommittedProposal
        let isWithoutBacklog = configuration.switches.dissemination == .all && clients.longestWaiting() == nil
        primaryWatch?.executed.append(
            PrimaryWatch.Executed(
                sequence: sequence,
                requests: execution.requests.count,
                operations: operations,
                isCatchUp: !isFromPrimary || isWithoutBacklog
            )
        )
        for request in execution.requests {
            primaryWatch?.monitor.ended(WatchedRequest(request))
            if clients.unproposedNext(of: request.client) != nil { primaryWatch?.advanced.append(request.client) }
        }
    }

    private mutating func showExecuted(_ now: ClockReading) {
        guard let batches = primaryWatch?.executed, !batches.isEmpty else { return }
        primaryWatch?.executed.removeAll(keepingCapacity: true)
        for batch in batches {
            primaryWatch?.monitor.executed(
                batch.sequence,
                requests: batch.requests,
                operations: batch.operations,
                isCatchUp: batch.isCatchUp,
                now: now.monotonic
            )
        }
    }

    /// Watches the requests that have become their clients' next executable ones: the primary has them already, or should.
    private mutating func watchAdvanced(_ now: ClockReading) {
        guard let advanced = primaryWatch?.advanced, !advanced.isEmpty else { return }
        primaryWatch?.advanced.removeAll(keepingCapacity: true)
        for client in advanced {
            switch configuration.switches.dissemination {
            case .primary:
                if let next = clients.unproposedNext(of: client) { noteForwarded(next.value, now: now) }
            case .all:
                watchLater(client, patience: 0, now: now)
            }
        }
    }

    // MARK: The verdict

    /// The end of a turn: the monitor hears of what happened in it, and a primary that it suspects is left.
    mutating func judgePrimary(now: ClockReading, into effects: inout [Effect]) {
        guard isActive, primaryWatch != nil else { return }
        if isPrimary { beginWatchIfNeeded(now) }
        guard primaryWatch?.isOn == true else { return }
        showOrdered(now)
        watchAdvanced(now)
        let committed = committedThrough
        if primaryWatch?.committed != committed {
            primaryWatch?.committed = committed
            primaryWatch?.monitor.committed(through: committed, now: now.monotonic)
        }
        primaryWatch?.monitor.setSuspended(executed < log.low, now: now.monotonic)
        primaryWatch?.monitor.stable(high: log.high, now: now.monotonic)
        showExecuted(now)
        guard let suspicion = primaryWatch?.monitor.suspicion else { return }
        suspect(suspicion.reason, now: now, into: &effects)
    }

    /// What the watch wanted time for.
    mutating func passWatchTime(now: ClockReading, into effects: inout [Effect]) {
        guard let deadline = primaryWatch?.deadline, deadline <= now.monotonic else { return }
        if primaryWatch?.mayAsk(now: now.monotonic) == true {
            for peer in configuration.size.members where peer != configuration.replica {
                ping(peer, now: now, into: &effects)
            }
        }
        while let client = primaryWatch?.nextToHandOver(now: now.monotonic) {
            if let request = clients.unproposedNext(of: client) { forward(request, now: now, into: &effects) }
        }
        guard let due = primaryWatch?.monitor.timePassed(now: now.monotonic) else { return }
        if let last = due.idle {
            effects.append(.send(.idle(Idle(view: view, through: last)), to: .others, after: .start))
        }
        for name in due.repeats {
            guard let request = clients.pending(name) else { continue }
            sendForward(request.value, into: &effects)
        }
    }
}

/// What the watch over the primary goes by at a moment, for people.
public struct PrimaryWatchStatus: Sendable, Hashable {
    /// How long the primary may be silent.
    public let heartbeatNanoseconds: UInt64
    /// The round trip that it is scaled by: the 2f-th smallest of those to peers, 0 while too few are measured.
    public let roundTripNanoseconds: UInt64
    /// What heartbeat, fairness bounds and grace period are multiplied by: doubled by each view that executed nothing.
    public let backOffFactor: UInt64
    /// What the grace period is multiplied by beside: doubled by each view that was too slow from the start.
    public let graceFactor: UInt64
    /// The requests that the primary was handed and has not proposed.
    public let watchedRequests: Int
    /// The work that is required, in nanoseconds of processor time as ``RobustnessLimits/Monitoring/requestWork`` counts them, a second;
    /// nil while there is no requirement.
    public let required: UInt64?
    /// The work that was observed when it was last judged; nil before.
    public let observed: UInt64?
}

extension Replica {
    /// Who is blacklisted here (Aardvark section 5.1): clients before replicas, each in the order of their numbers; nobody where requests
    /// are not signed.
    public var blacklist: [RequestSource] { admission?.blacklist(of: configuration.size.members) ?? [] }

    /// What the watch over the primary goes by now; nil where it is off.
    public var watchStatus: PrimaryWatchStatus? {
        guard let monitor = primaryWatch?.monitor else { return nil }
        return PrimaryWatchStatus(
            heartbeatNanoseconds: monitor.heartbeat,
            roundTripNanoseconds: monitor.roundTrip,
            backOffFactor: monitor.backOff.factor,
            graceFactor: monitor.throughput.graceFactor,
            watchedRequests: monitor.watchedRequests,
            required: monitor.throughput.required,
            observed: monitor.throughput.observed
        )
    }
}

extension PrimaryMonitor.Suspicion {
    /// The reason that a view is left for.
    var reason: ViewChangeReason {
        switch self {
        case .silent: .silent
        case .stuck: .stuck
        case .idle: .idle
        case .unfair: .unfair
        case .slow: .slow
        case .expired: .expired
        case .faulty: .faulty
        }
    }
}
