import Invariants
import Messages

@testable import Agreement

/// What a primary does, and what happens to it and to the backup that watches it. Times in nanoseconds.
struct PrimaryBehaviour {
    /// How long after a batch the next one is proposed, given the time and what is required of it (in work a second).
    var gap: (UInt64, UInt64?) -> UInt64 = { _, _ in 10_000_000 }
    /// How many requests of one operation a batch has, at a time.
    var requests: (UInt64) -> Int = { _ in 10 }
    /// The numbers that it leaves out.
    var skips: Set<UInt64> = []
    /// How many batches it proposes in a view at most.
    var mostBatches = Int.max
    /// Whether it says IDLE.
    var saysIdle = true
    /// What it names in IDLE beside its last number.
    var idleAhead: UInt64 = 0
    /// Whose requests its batches have, by number of the batch; the watched client is 1.
    var clients: (UInt64) -> [UInt32] = { _ in [2] }
}

/// A backup's monitor with a primary, the network and a disk around it, in virtual time.
struct MonitoredCluster {
    static let millisecond: UInt64 = 1_000_000
    static let second: UInt64 = 1_000_000_000
    static var four: ClusterSize { size(faults: 1) }

    private static func size(faults: Int) -> ClusterSize {
        guard let size = ClusterSize(faults: faults) else { invariantViolated("no such cluster") }
        return size
    }

    var monitor: PrimaryMonitor
    /// The primary of each view is the behaviour at its number modulo their count.
    var behaviours: [PrimaryBehaviour]
    /// How long after its PRE-PREPARE a batch is committed and executed.
    var commitDelay = 2 * millisecond
    /// PRE-PREPAREs leave only when a disk write ends, which it does so often; 0 for at once.
    var diskInterval: UInt64 = 0
    /// When the primary's process is stopped, and when the backup's is.
    var primaryPauses: [Range<UInt64>] = []
    var ownPauses: [Range<UInt64>] = []

    private(set) var time: UInt64 = second
    private(set) var view: UInt64 = 0
    /// Each view that ended: how long it lasted, why it ended, and how many of its batches were executed.
    private(set) var ended: [(view: UInt64, nanoseconds: UInt64, suspicion: PrimaryMonitor.Suspicion, executed: Int)] =
        []
    /// The requests that the monitor wanted forwarded again.
    private(set) var repeats: [WatchedRequest] = []

    private let limits: Limits
    private var viewStart: UInt64 = second
    private var highest: UInt64 = 0
    private var last: UInt64 = 0
    private var executedInView = 0
    private var batchesInView = 0
    private var nextProposal: UInt64 = 0
    private var nextIdle: UInt64 = 0
    private var leaving: [(at: UInt64, number: UInt64)] = []
    private var committing: [(at: UInt64, number: UInt64)] = []

    init(
        faults: Int = 1,
        checkpointInterval: Int = 16,
        thresholds: RobustnessLimits.Monitoring = .init(),
        behaviours: [PrimaryBehaviour] = [PrimaryBehaviour()]
    ) {
        var limits = Limits()
        limits.checkpointInterval = checkpointInterval
        self.limits = limits
        self.behaviours = behaviours
        monitor = PrimaryMonitor(size: Self.size(faults: faults), limits: limits, thresholds: thresholds)
        enterView()
    }

    var now: Instant { Instant(nanoseconds: time) }

    private var behaviour: PrimaryBehaviour { behaviours[Int(view % UInt64(behaviours.count))] }

    private mutating func enterView() {
        viewStart = time
        last = highest
        executedInView = 0
        batchesInView = 0
        leaving = []
        committing = []
        nextProposal = time + Self.millisecond
        nextIdle = time + Self.millisecond
        let number = SequenceNumber(highest)
        monitor.enteredView(
            isPrimary: false,
            chosen: number,
            committed: number,
            executed: number,
            high: SequenceNumber(highest + 256),
            now: now
        )
    }

    /// A client's request was forwarded to the primary.
    mutating func forward(_ client: UInt32, number: UInt64 = 1) {
        monitor.forwarded(Self.name(client, number), now: now)
    }

    static func name(_ client: UInt32, _ number: UInt64) -> WatchedRequest {
        WatchedRequest(client: ClientID(client), session: SessionID(1), number: RequestNumber(number))
    }

    /// Goes on until a number of views ended or the time is over. A new view begins 5 ms after the last one ended.
    ///
    /// - Parameters:
    ///   - views: How many more views are to end.
    ///   - end: When the time is over; after 2000 s if nil, by when every test has seen what it waits for.
    mutating func run(views: Int = .max, until end: UInt64? = nil) {
        let end = end ?? time + 2_000 * Self.second
        let enough = ended.count + (views == .max ? Int.max - ended.count : views)
        while ended.count < enough, time < end {
            step()
            guard let suspicion = monitor.suspicion else { continue }
            ended.append((view, time - viewStart, suspicion, executedInView))
            monitor.leftView(now: now)
            view += 1
            time += 5 * Self.millisecond
            enterView()
        }
    }

    /// The next thing happens. What falls into a pause happens at its end: at the backup the timer first, then what lay in the sockets.
    private mutating func step() {
        let proposal = batchesInView < behaviour.mostBatches ? resumed(nextProposal, primaryPauses) : .max
        let idle = behaviour.saysIdle ? resumed(nextIdle, primaryPauses) : .max
        let leave = leaving.first?.at ?? .max
        let commit = committing.first?.at ?? .max
        let timer = monitor.deadline?.nanoseconds ?? .max
        let next = min(proposal, idle, leave, commit, timer)
        // A primary at the end of what it does, which owes nothing: the time passes.
        guard next < .max else {
            time += Self.second
            return
        }
        let happens = max(time, next)
        let heard = resumed(happens, ownPauses)
        if heard > happens, timer < heard {
            time = heard
            passTime()
        }
        time = max(time, happens)
        switch next {
        case timer:
            time = resumed(time, ownPauses)
            passTime()
        case proposal: propose()
        case idle:
            nextIdle = time + 20 * Self.millisecond
            hear { $0.monitor.idle(through: SequenceNumber($0.last + $0.behaviour.idleAhead), now: $0.now) }
        case leave:
            let number = leaving.removeFirst().number
            hear { $0.arrive(number) }
        default:
            let number = committing.removeFirst().number
            hear { $0.commit(number) }
        }
    }

    private func resumed(_ time: UInt64, _ pauses: [Range<UInt64>]) -> UInt64 {
        pauses.first { $0.contains(time) }?.upperBound ?? time
    }

    /// Something reaches the backup: at once, or when it wakes up. Later events see the later time; their order stays.
    private mutating func hear(_ input: (inout MonitoredCluster) -> Void) {
        time = resumed(time, ownPauses)
        input(&self)
    }

    private mutating func passTime() {
        repeats += monitor.timePassed(now: now).repeats
    }

    private mutating func propose() {
        // While the backup sleeps, the primary is made to wait too, or it would only be easier on it.
        nextProposal = max(nextProposal, time) + behaviour.gap(time, monitor.throughput.required)
        guard last - highest < UInt64(limits.pipelineDepth) else { return }
        batchesInView += 1
        last += 1
        guard !behaviour.skips.contains(last) else { return }
        let at = diskInterval == 0 ? time : (time / diskInterval + 1) * diskInterval
        leaving.append((at, last))
    }

    private mutating func arrive(_ number: UInt64) {
        let requests = behaviour.clients(number).map { Self.name($0, number) }
        monitor.proposed(SequenceNumber(number), now: now)
        monitor.ordered(requests, at: SequenceNumber(number), now: now)
        committing.append((time + commitDelay, number))
    }

    private mutating func commit(_ number: UInt64) {
        // A gap before it: it waits.
        guard number == highest + 1 else { return }
        highest = number
        executedInView += 1
        let requests = behaviour.requests(time)
        monitor.committed(through: SequenceNumber(number), now: now)
        monitor.executed(
            SequenceNumber(number),
            requests: requests,
            operations: requests,
            isCatchUp: false,
            now: now
        )
        if number % UInt64(limits.checkpointInterval) == 0 {
            monitor.stable(high: SequenceNumber(number + 256), now: now)
        }
    }
}
