import Invariants
import Messages

/// When the primary is to be replaced, beyond PBFT's request timer (Aardvark section 5.3).
///
/// The engine tells it what the primary proposes and says, what is committed and executed, and which requests this replica forwarded; it
/// leaves the view when there is a ``suspicion``. The rules, each a kind of ``Suspicion``:
///
/// - *Heartbeat.* A PRE-PREPARE with a higher number than any before, or an IDLE that names the last one, comes within 40 ms. It is owed
///   while fewer than `pipelineDepth` batches are uncommitted, the next number is inside the window, and what NEW-VIEW chose is executed.
/// - *Progress.* The oldest uncommitted batch is committed within 10 heartbeats. (It is watched also while a heartbeat is owed: a primary
///   that leaves a gap in its numbers would else gain `pipelineDepth` heartbeats.)
/// - *IDLE.* A primary says, each half heartbeat, that it has nothing to say beyond its last number. That is a violation when, having
///   executed through that number, this replica still holds a request that it forwarded 10 heartbeats ago, and again 5 ago.
/// - *Fairness*: ``FairnessWatch``. *Throughput*: ``RequiredThroughput``.
/// - *Fault.* It did what no correct primary does, and this replica saw it: two batches at one number, a forged request. (Aardvark leaves it
///   to the other rules; a primary that is just fast enough for them could go on for as long as it likes.)
///
/// What scales: heartbeat = (40 ms + 2 round trips) x back-off, and the time to note k after forwarding = (10 ms + 1 round trip) x back-off,
/// with ``RoundTrips/representative`` and ``MonitorBackOff/factor``.
///
/// *This replica's own sleep does not count.* When a call comes long after ``deadline``, this process did not run, and what the primary
/// said meanwhile lies unread in the sockets. So the monitor's time stood still, and the deadline moves; but not twice running, or a replica
/// that is always late would never suspect anybody. Throughput is measured in real time, since what was missed is caught up.
///
/// The primary itself uses the monitor to know when IDLE is due, and to remember its own throughput; it suspects nobody.
struct PrimaryMonitor: Sendable {
    /// Why the primary is to be replaced.
    enum Suspicion: Hashable, Sendable {
        /// No sign of life in time.
        case silent
        /// This batch was not committed in time.
        case stuck(SequenceNumber)
        /// It had nothing to order while this request waited.
        case idle(WatchedRequest)
        /// It ordered others' requests again and again before this one.
        case unfair(WatchedRequest)
        /// Its throughput, in work a second, is below what is required.
        case slow(observed: UInt64, required: UInt64)
        /// The view has lasted as long as one may: the next one's turn.
        case expired
        /// It did what no correct primary does.
        case faulty(Accusation)
    }

    /// What is due when time has passed.
    struct Due: Sendable {
        /// Requests to forward once more.
        var repeats: [WatchedRequest] = []
        /// The last number that was proposed, when the primary is to say IDLE.
        var idle: SequenceNumber?
    }

    private let limits: RobustnessLimits.Monitoring
    private let pipelineDepth: UInt64
    private let checkpointInterval: UInt64

    private(set) var backOff: MonitorBackOff
    private(set) var throughput: RequiredThroughput
    private var roundTrips: RoundTrips
    private var heartbeats: HeartbeatWatch
    private var fairness: FairnessWatch

    /// Why the primary of this view is to be replaced: the first reason found; nil while there is none.
    private(set) var suspicion: Suspicion?

    private var isActive = false
    private var isPrimary = false
    private var isSuspended = false
    /// The last number that NEW-VIEW chose.
    private var chosen = SequenceNumber.zero
    /// The highest number of this view's PRE-PREPAREs.
    private var highest = SequenceNumber.zero
    /// The highest number that an IDLE named.
    private var named = SequenceNumber.zero
    private var committed = SequenceNumber.zero
    private var executed = SequenceNumber.zero
    private var high = SequenceNumber.zero
    private var progressSince: Instant?
    private var idleDue: Instant?
    /// When something is to be judged, noted or repeated, in the monitor's time.
    private var nextDue: Instant?

    /// How much of the clock's time this replica slept: the monitor's time is the clock's less this.
    private var slept: UInt64 = 0
    private var lastCall = Instant(nanoseconds: 0)
    /// Until when nothing is judged, after a sleep; and the clock's time at which that was granted, while it may not be granted again.
    private var judgedFrom = Instant(nanoseconds: 0)
    private var forgivenAt: Instant?

    /// - Parameters:
    ///   - size: How many replicas there are.
    ///   - limits: Bounds without a problem.
    ///   - thresholds: Of limits without a ``RobustnessLimits/problem``.
    init(size: ClusterSize, limits: Limits, thresholds: RobustnessLimits.Monitoring) {
        invariant(limits.problem == nil, limits.problem ?? "")
        invariant(thresholds.problem == nil, thresholds.problem ?? "")
        self.limits = thresholds
        pipelineDepth = UInt64(limits.pipelineDepth)
        checkpointInterval = UInt64(limits.checkpointInterval)
        backOff = MonitorBackOff(limits: thresholds)
        throughput = RequiredThroughput(size: size, limits: thresholds)
        roundTrips = RoundTrips(size: size)
        heartbeats = HeartbeatWatch(limits: thresholds)
        fairness = FairnessWatch(pipelineDepth: limits.pipelineDepth)
    }

    /// How long the primary may be silent, in nanoseconds.
    var heartbeat: UInt64 {
        (limits.heartbeatNanoseconds + 2 * roundTrips.representative) * backOff.factor
    }

    /// How long after a request was forwarded k is noted, in nanoseconds.
    var fairnessDelay: UInt64 {
        (limits.forwardNanoseconds + roundTrips.representative) * backOff.factor
    }

    /// The round trip that bounds are scaled by, in nanoseconds.
    var roundTrip: UInt64 { roundTrips.representative }

    /// How many forwarded requests are watched.
    var watchedRequests: Int { fairness.count }

    /// How many requests are in the lists of those, some of them no longer watched.
    var listedRequests: Int { fairness.listed }

    // MARK: Views

    /// This replica is active in a view.
    ///
    /// - Parameters:
    ///   - isPrimary: Whether this replica is the view's primary.
    ///   - chosen: The last number that NEW-VIEW chose, or where it starts if it chose none; 0 in view 0.
    ///   - committed: The last number through which everything is committed here.
    ///   - executed: The last executed number.
    ///   - high: The high water mark.
    ///   - now: The monotonic clock.
    mutating func enteredView(
        isPrimary: Bool,
        chosen: SequenceNumber,
        committed: SequenceNumber,
        executed: SequenceNumber,
        high: SequenceNumber,
        now: Instant
    ) {
        let time = tick(now)
        isActive = true
        self.isPrimary = isPrimary
        self.chosen = chosen
        highest = max(chosen, committed)
        named = highest
        self.committed = committed
        self.executed = executed
        self.high = high
        suspicion = nil
        progressSince = nil
        fairness.clear()
        heartbeats.enteredView(now: time)
        throughput.enteredView(factor: backOff.factor, now: now)
        if isSuspended { throughput.spoil() }
        idleDue = isPrimary ? now : nil
        update(time)
    }

    /// This replica sends a VIEW-CHANGE. Called for each, whether or not the view that it leaves has begun here.
    mutating func leftView(now: Instant) {
        let time = tick(now)
        isActive = false
        isPrimary = false
        suspicion = nil
        idleDue = nil
        fairness.clear()
        backOff.leftView()
        throughput.leftView()
        update(time)
    }

    /// Whether this replica fetches state: until it has it, it judges nobody.
    mutating func setSuspended(_ isSuspended: Bool, now: Instant) {
        let time = tick(now)
        guard isSuspended != self.isSuspended else { return }
        self.isSuspended = isSuspended
        throughput.spoil()
        fairness.restart(now: time)
        progressSince = nil
        update(time)
    }

    // MARK: The primary

    /// A PRE-PREPARE of this view came (or left, at the primary), well formed and inside the window.
    mutating func proposed(_ sequence: SequenceNumber, now: Instant) {
        let time = tick(now)
        if isActive, sequence > highest {
            highest = sequence
            throughput.proposed(now: now)
            heartbeats.heard(heartbeat: heartbeat, now: time)
        }
        update(time)
    }

    /// The requests of a PRE-PREPARE of this view are known: called in the order of the numbers, or what is still to come of a lower one
    /// would look left out. Their signatures need not be checked yet, since a wrong one is a suspicion of its own. Of clients in the client
    /// table only.
    mutating func ordered(_ requests: some Sequence<WatchedRequest>, at sequence: SequenceNumber, now: Instant) {
        let time = tick(now)
        if isActive, let request = fairness.ordered(requests, at: sequence) { suspect(.unfair(request)) }
        update(time)
    }

    /// The primary says that it has nothing to say beyond this number. It also says so when it cannot go on: while its log is being
    /// written, or its pipeline is full.
    mutating func idle(through sequence: SequenceNumber, now: Instant) {
        let time = tick(now)
        // An older number than its PRE-PREPAREs named is none that a correct primary sends after them.
        guard isActive, sequence >= highest else { return }
        named = max(named, min(sequence, high))
        heartbeats.heard(heartbeat: heartbeat, now: time)
        if sequence <= executed {
            let bound = heartbeat * limits.idleHeartbeats
            let request = fairness.waiting(
                forwardedUntil: time.before(nanoseconds: bound),
                repeatedUntil: time.before(nanoseconds: repeatDelay)
            )
            if let request { suspect(.idle(request)) }
        }
        update(time)
    }

    /// The primary did what no correct one does: for that there is neither a measure nor a time when it does not count.
    mutating func misbehaved(_ accusation: Accusation) {
        if isActive, !isPrimary, suspicion == nil { suspicion = .faulty(accusation) }
    }

    // MARK: Progress

    /// Everything through this number is committed.
    mutating func committed(through sequence: SequenceNumber, now: Instant) {
        let time = tick(now)
        guard sequence > committed else { return }
        committed = sequence
        progressSince = nil
        update(time)
    }

    /// A batch was executed.
    ///
    /// - Parameters:
    ///   - sequence: Its number.
    ///   - requests: How many requests took effect.
    ///   - operations: With how many operations.
    ///   - isCatchUp: Whether it came from peers' logs rather than from the primary, or there was no backlog of requests that this replica
    ///     has verified although clients send to every replica: then the throughput shows nothing.
    ///   - now: The monotonic clock.
    mutating func executed(
        _ sequence: SequenceNumber,
        requests: Int,
        operations: Int,
        isCatchUp: Bool,
        now: Instant
    ) {
        let time = tick(now)
        executed = max(executed, sequence)
        if isActive {
            if sequence > chosen { backOff.executed() }
            if isCatchUp || isSuspended { throughput.spoil() }
            judge(throughput.executed(work: limits.work(requests: requests, operations: operations), now: now))
            if sequence.rawValue % checkpointInterval == 0 { judge(throughput.checkpoint(now: now)) }
        }
        update(time)
    }

    private mutating func judge(_ verdict: RequiredThroughput.Verdict?) {
        switch verdict {
        case .missed(let observed, let required): suspect(.slow(observed: observed, required: required))
        case .expired: suspect(.expired)
        case .met, nil: break
        }
    }

    /// The window moved on.
    mutating func stable(high: SequenceNumber, now: Instant) {
        let time = tick(now)
        self.high = high
        update(time)
    }

    /// A round trip to a peer was measured.
    mutating func roundTrip(_ nanoseconds: UInt64, to peer: ReplicaID) {
        roundTrips.add(nanoseconds, to: peer)
    }

    // MARK: Requests

    /// This replica forwarded a client's next executable request, which is in no PRE-PREPARE of this view.
    ///
    /// - Parameters:
    ///   - request: The request.
    ///   - patience: For how long a primary may let it wait for others, in nanoseconds.
    ///   - now: The time.
    mutating func forwarded(_ request: WatchedRequest, patience: UInt64 = 0, now: Instant) {
        let time = tick(now)
        guard isActive, !isPrimary else { return }
        fairness.watch(request, patience: patience, now: time)
        update(time)
    }

    /// A request was executed, or its session is over.
    mutating func ended(_ request: WatchedRequest) {
        fairness.end(request)
    }

    /// A client was removed or has another key: what it has asked takes no effect any more.
    mutating func forget(_ client: ClientID) {
        fairness.forget(client)
    }

    // MARK: Time

    /// When ``timePassed(now:)`` wants to be called; nil for never.
    var deadline: Instant? {
        let own = nextDue?.advanced(byNanoseconds: slept)
        guard let own, let idleDue else { return own ?? idleDue }
        return min(own, idleDue)
    }

    /// ``deadline`` has come.
    mutating func timePassed(now: Instant) -> Due {
        let time = tick(now)
        var due = Due()
        if let at = idleDue, at <= now {
            due.idle = highest
            idleDue = now.advanced(byNanoseconds: limits.heartbeatNanoseconds / 2)
        }
        if isJudging, time >= judgedFrom {
            fairness.note(highest, forwardedUntil: time.before(nanoseconds: fairnessDelay))
            due.repeats = fairness.takeRepeats(forwardedUntil: time.before(nanoseconds: repeatDelay), now: time)
            if let end = heartbeats.deadline(heartbeat: heartbeat), end <= time { suspect(.silent) }
            if let end = progressDeadline, end <= time { suspect(.stuck(committed.next)) }
        }
        update(time)
        return due
    }

    private var isJudging: Bool { isActive && !isPrimary && !isSuspended && suspicion == nil }

    /// How long after it was forwarded a request is forwarded again.
    private var repeatDelay: UInt64 { heartbeat * limits.idleHeartbeats / 2 }

    private var progressDeadline: Instant? {
        progressSince?.advanced(byNanoseconds: heartbeat * limits.progressHeartbeats)
    }

    private mutating func suspect(_ suspicion: Suspicion) {
        if isJudging { self.suspicion = suspicion }
    }

    /// The monitor's time, in which this replica never slept.
    private mutating func tick(_ now: Instant) -> Instant {
        var time = max(now.before(nanoseconds: slept), lastCall)
        if let due = nextDue {
            let tolerance = heartbeat / 4
            if time <= due.advanced(byNanoseconds: tolerance) {
                if let granted = forgivenAt, granted < now { forgivenAt = nil }
            } else if forgivenAt == nil {
                let stopped = max(due, lastCall)
                slept += time.nanoseconds(since: stopped)
                time = stopped
                // What came during the sleep is read before anything is judged.
                judgedFrom = time.advanced(byNanoseconds: tolerance)
                forgivenAt = now
            }
        }
        lastCall = time
        return time
    }

    /// Starts and stops what is owed, and sets when it is due.
    private mutating func update(_ time: Instant) {
        let isOwed =
            isJudging && highest.rawValue < committed.rawValue.added(pipelineDepth) && highest < high
            && executed >= chosen
        heartbeats.setOwed(isOwed, now: time)
        if isJudging, max(highest, named) > committed {
            progressSince = progressSince ?? time
        } else {
            progressSince = nil
        }
        nextDue = nil
        guard isJudging else { return }
        let toNote = fairness.nextToNote()?.advanced(byNanoseconds: fairnessDelay)
        let toRepeat = fairness.nextToRepeat()?.advanced(byNanoseconds: repeatDelay)
        for candidate in [heartbeats.deadline(heartbeat: heartbeat), progressDeadline, toNote, toRepeat] {
            guard let candidate else { continue }
            nextDue = min(nextDue ?? candidate, candidate)
        }
        nextDue = nextDue.map { max($0, judgedFrom) }
    }
}
