import Messages

/// The round trips to peers, as measured: what the watch over the primary is scaled to in a wide area network.
struct RoundTrips: Sendable {
    private let faults: Int
    private var measured: [UInt64?]

    init(size: ClusterSize) {
        faults = size.faults
        measured = Array(repeating: nil, count: size.replicas)
    }

    /// A round trip to a peer was measured. Averages over about eight, so that a single slow one does little.
    mutating func add(_ nanoseconds: UInt64, to peer: ReplicaID) {
        let sample = min(nanoseconds, RobustnessLimits.longestNanoseconds)
        measured[peer.index] = measured[peer.index].map { ($0 * 7 + sample) / 8 } ?? sample
        let sorted = measured.compactMap { $0 }.sorted()
        representative = sorted.count > faults ? sorted[sorted.count - faults - 1] : 0
    }

    /// The 2f-th smallest of the 3f round trips, so that f liars cannot inflate it. While only m of them are measured, the (m - f)-th
    /// smallest; 0 while they may all be liars'. Asked for with every input, so it is kept.
    private(set) var representative: UInt64 = 0
}

/// The one back-off of the watch over the primary: it scales heartbeat, IDLE and fairness bounds and the grace period, so that no chain of
/// views ends before anything commits.
struct MonitorBackOff: Sendable {
    private let limits: RobustnessLimits.Monitoring
    private var doublings = 0
    private var executedInView = 0
    private var executedSinceHalving = 0

    init(limits: RobustnessLimits.Monitoring) {
        self.limits = limits
    }

    /// What the bounds are multiplied by.
    var factor: UInt64 { 1 << UInt64(doublings) }

    /// A batch that was proposed in this view was executed: each 16 of them take back one doubling.
    mutating func executed() {
        executedInView += 1
        executedSinceHalving += 1
        if executedSinceHalving >= limits.batchesPerHalving {
            executedSinceHalving = 0
            doublings = max(0, doublings - 1)
        }
    }

    /// A view is over. One that executed nothing that was proposed in it doubles all bounds.
    mutating func leftView() {
        if executedInView == 0 {
            doublings = min(doublings + 1, limits.mostDoublings)
            executedSinceHalving = 0
        }
        executedInView = 0
    }
}

/// When the primary has been silent for too long: no PRE-PREPARE and no IDLE for a heartbeat, and the allowance for pauses used up.
///
/// Aardvark's heartbeat knows no allowance. But a correct primary whose process is stopped for 100 ms now and then, by a garbage collector
/// or its host, costs less than replacing it, and as the allowance fills up slowly, a faulty one gains little by using it.
struct HeartbeatWatch: Sendable {
    private let limits: RobustnessLimits.Monitoring
    /// Since when the primary owes a sign of life; nil while it owes none.
    private(set) var owedSince: Instant?
    private var allowance: UInt64
    private var allowanceAt = Instant(nanoseconds: 0)

    init(limits: RobustnessLimits.Monitoring) {
        self.limits = limits
        allowance = limits.pauseNanoseconds
    }

    /// A view begins: its primary has the whole allowance, and owes nothing yet.
    mutating func enteredView(now: Instant) {
        self = HeartbeatWatch(limits: limits)
        allowanceAt = now
    }

    /// When the primary is too late.
    func deadline(heartbeat: UInt64) -> Instant? {
        owedSince?.advanced(byNanoseconds: heartbeat).advanced(byNanoseconds: allowance)
    }

    /// The primary gave a sign of life.
    mutating func heard(heartbeat: UInt64, now: Instant) {
        if let owedSince {
            let late = now.nanoseconds(since: owedSince.advanced(byNanoseconds: heartbeat))
            allowance -= min(allowance, late)
        }
        grow(now)
        if owedSince != nil { owedSince = now }
    }

    /// Whether a sign of life is owed may have changed.
    mutating func setOwed(_ isOwed: Bool, now: Instant) {
        guard isOwed != (owedSince != nil) else { return }
        grow(now)
        owedSince = isOwed ? now : nil
    }

    private mutating func grow(_ now: Instant) {
        let elapsed = min(now.nanoseconds(since: allowanceAt), limits.pauseIntervalNanoseconds)
        let gain = elapsed.scaled(by: limits.pauseNanoseconds, over: limits.pauseIntervalNanoseconds)
        allowance = min(limits.pauseNanoseconds, allowance + gain)
        allowanceAt = now
    }
}
