import Messages

/// What throughput the primary must reach: learnt from the views before, and raised until it misses it (Aardvark section 5.3, adaptive
/// throughput), so that every primary is replaced in the end.
///
/// Work is measured from checkpoint to checkpoint, over at least ``RobustnessLimits/Monitoring/measuringNanoseconds``: over less, one pause
/// of 100 ms would be taken for a slow primary. Such an interval is judged by the requirement at its start.
///
/// The requirement starts at 0.9 times the recent best and rises by 1 % of that with each checkpoint after the grace period. The recent
/// best is the (f + 1)-th highest mean of the last n views that have one, which no burst of f faulty primaries can raise and no f slow
/// ones can lower. (Aardvark takes the highest.) While there are not f + 1 means there is no requirement.
///
/// A new cluster, or one that forgot, has learnt nothing yet; and 1 % takes long to follow when
/// the load has grown to many times what it was, which is what Aublin, Ben Mokhtar and Quema's attack uses (ICDCS 2013, section III: a
/// load spike with a primary that lies low). So a view ends, beyond Aardvark's rules, with the first checkpoint after four grace periods,
/// whatever its primary has achieved.
///
/// The grace period is a gift to a primary that delays everything in it (Aardvark bears that: 5 s of each of its views). So, beyond
/// Aardvark's rules, a *very slow* primary is replaced early: when over half a second it achieves less than half of the recent best, or of
/// the mean of its own view so far, or over two seconds less than four fifths. A fall of the load looks the same, so at most f views in a
/// row end early, until one has lasted beyond its grace period and met what is required of it: a fall costs f view changes, and f faulty
/// primaries in a row gain nothing.
///
/// An interval is not judged, and does not count in the view's mean, when it was spoilt: by catch-up, for want of backlog, or because
/// nothing was proposed for longer than clients wait before they ask every replica (and this replica was asked nothing, or the primary
/// would be suspected for it): then nothing was offered. A load that falls without such a pause looks like a slow primary; until the
/// means have followed, up to 2f + 1 views end early, each after a longer grace period, beside the f that are taken for very slow.
struct RequiredThroughput: Sendable {
    /// What an interval shows.
    enum Verdict: Hashable, Sendable {
        /// The requirement was met.
        case met
        /// It was not. Both in work a second.
        case missed(observed: UInt64, required: UInt64)
        /// The view has lasted as long as one may.
        case expired
    }

    /// A short time, over which a very slow primary is noticed.
    private struct Glance: Sendable {
        /// How long it is at least, in nanoseconds.
        let length: UInt64
        /// Below what part of the reference the primary is very slow, in percent.
        let percent: UInt64
        var start = Instant(nanoseconds: 0)
        var work: UInt64 = 0
        var isSpoilt = false

        mutating func begin(now: Instant) {
            start = now
            work = 0
            isSpoilt = false
        }

        /// Counts work.
        ///
        /// - Returns: What was done in how long when the time is over, and something is to be seen from it; then the next one begins.
        mutating func executed(work more: UInt64, now: Instant) -> (work: UInt64, nanoseconds: UInt64)? {
            work = work.added(more)
            let elapsed = now.nanoseconds(since: start)
            guard elapsed >= length else { return nil }
            defer { begin(now: now) }
            return isSpoilt ? nil : (work, elapsed)
        }
    }

    /// So many glances at a view make a mean that its later ones are compared with.
    private static let glancesOfMean = 4

    private struct Interval: Sendable {
        let start: Instant
        let required: UInt64?
        var work: UInt64 = 0
        var isSpoilt = false
    }

    private let size: ClusterSize
    private let limits: RobustnessLimits.Monitoring

    /// The means of the last n views that have one, the latest last.
    private var means: [UInt64] = []
    /// How many times as long as usual the grace period is: doubled by each view that was too slow from the start.
    private(set) var graceFactor: UInt64 = 1

    /// The work a second in the last interval that was measured; nil before there was one.
    private(set) var observed: UInt64?

    /// How many more views may end early, and what the last one that did was compared with.
    private var earlyEnds: Int
    private var carriedReference: UInt64?

    // Of this view.
    private var brief: Glance
    private var longer: Glance
    private var glances = 0
    private var glanceWork: UInt64 = 0
    private var glanceNanoseconds: UInt64 = 0
    private var endsEarly = false
    private var graceEnd: Instant?
    private var viewEnd = Instant(nanoseconds: 0)
    private var startValue: UInt64?
    private var raises: UInt64 = 0
    private var interval: Interval?
    private var measuredWork: UInt64 = 0
    private var measuredNanoseconds: UInt64 = 0
    private var lastProposal = Instant(nanoseconds: 0)
    private var hasMet = false
    private var hasMissed = false

    init(size: ClusterSize, limits: RobustnessLimits.Monitoring) {
        self.size = size
        self.limits = limits
        earlyEnds = size.faults
        brief = Glance(length: limits.earlyNanoseconds, percent: limits.earlyPercent)
        longer = Glance(length: limits.slowNanoseconds, percent: limits.slowPercent)
    }

    /// The requirement now, in work a second; nil when there is none.
    var required: UInt64? {
        startValue.map { $0.scaled(by: raises.multiplied(limits.raisePercent).added(100), over: 100) }
    }

    /// The (f + 1)-th highest of the means.
    private var recentBest: UInt64? {
        means.count > size.faults ? means.sorted(by: >)[size.faults] : nil
    }

    /// A view begins.
    ///
    /// - Parameters:
    ///   - factor: By how much the monitor's back-off extends the grace period.
    ///   - now: The monotonic clock.
    mutating func enteredView(factor: UInt64, now: Instant) {
        leftView()
        let grace = limits.graceNanoseconds.multiplied(graceFactor).multiplied(factor)
        graceEnd = now.advanced(byNanoseconds: grace)
        viewEnd = now.advanced(byNanoseconds: grace.multiplied(limits.viewGracePeriods))
        startValue = recentBest.map { $0.scaled(by: limits.requirementPercent, over: 100) }
        lastProposal = now
        brief.begin(now: now)
        longer.begin(now: now)
    }

    /// The view is over: its mean counts from now on.
    mutating func leftView() {
        if measuredNanoseconds > 0 {
            means.append(measuredWork.scaled(by: 1_000_000_000, over: measuredNanoseconds))
            if means.count > size.replicas { means.removeFirst() }
        }
        if hasMet {
            graceFactor = 1
        } else if hasMissed {
            graceFactor = min(2 * graceFactor, limits.mostGraceFactor)
        }
        if endsEarly {
            carriedReference = glanceReference
            earlyEnds -= 1
        } else if hasMet || measuredNanoseconds > 0 && startValue == nil {
            carriedReference = nil
            earlyEnds = size.faults
        }
        endsEarly = false
        glances = 0
        glanceWork = 0
        glanceNanoseconds = 0
        graceEnd = nil
        startValue = nil
        raises = 0
        interval = nil
        measuredWork = 0
        measuredNanoseconds = 0
        hasMet = false
        hasMissed = false
    }

    /// A batch was proposed.
    mutating func proposed(now: Instant) {
        let pause = now.nanoseconds(since: lastProposal)
        if pause > limits.idleNanoseconds { spoil() }
        if pause > limits.earlyNanoseconds { spoilGlances() }
        lastProposal = now
    }

    /// The interval shows nothing about the primary.
    mutating func spoil() {
        interval?.isSpoilt = true
        spoilGlances()
    }

    private mutating func spoilGlances() {
        brief.isSpoilt = true
        longer.isSpoilt = true
    }

    /// A batch was executed.
    ///
    /// - Returns: ``Verdict/missed(observed:required:)`` when the primary is very slow.
    mutating func executed(work: UInt64, now: Instant) -> Verdict? {
        if let interval { self.interval?.work = interval.work.added(work) }
        let (seen, seenLonger) = (brief.executed(work: work, now: now), longer.executed(work: work, now: now))
        if let slow = judge(seen, brief) ?? judge(seenLonger, longer) {
            return slow
        }
        if let seen {
            glances += 1
            glanceWork = glanceWork.added(seen.work)
            glanceNanoseconds = glanceNanoseconds.added(seen.nanoseconds)
        }
        return nil
    }

    private mutating func judge(
        _ seen: (work: UInt64, nanoseconds: UInt64)?,
        _ glance: Glance
    ) -> Verdict? {
        guard let seen, earlyEnds > 0, let reference = glanceReference else { return nil }
        let observed = seen.work.scaled(by: 1_000_000_000, over: seen.nanoseconds)
        let required = reference.scaled(by: glance.percent, over: 100)
        guard observed < required else { return nil }
        self.observed = observed
        endsEarly = true
        return .missed(observed: observed, required: required)
    }

    /// What a glance at the view is compared with, in work a second; nil when nothing is known yet.
    private var glanceReference: UInt64? {
        let own = glances < Self.glancesOfMean ? nil : glanceWork.scaled(by: 1_000_000_000, over: glanceNanoseconds)
        return [recentBest, carriedReference, own].compactMap(\.self).max()
    }

    /// The last batch before a checkpoint was executed.
    mutating func checkpoint(now: Instant) -> Verdict? {
        guard let graceEnd, now >= graceEnd else { return nil }
        raises += 1
        let verdict = judgeInterval(now: now)
        if case .missed = verdict { return verdict }
        return now >= viewEnd ? .expired : verdict
    }

    private mutating func judgeInterval(now: Instant) -> Verdict? {
        guard let interval, !interval.isSpoilt else {
            self.interval = Interval(start: now, required: required)
            return nil
        }
        let elapsed = now.nanoseconds(since: interval.start)
        guard elapsed >= limits.measuringNanoseconds else { return nil }
        let observed = interval.work.scaled(by: 1_000_000_000, over: elapsed)
        self.observed = observed
        measuredWork = measuredWork.added(interval.work)
        measuredNanoseconds = measuredNanoseconds.added(elapsed)
        self.interval = Interval(start: now, required: required)
        guard let required = interval.required else { return nil }
        if observed >= required {
            hasMet = true
            return .met
        }
        hasMissed = true
        return .missed(observed: observed, required: required)
    }
}

extension UInt64 {
    /// `self` times `factor` over `divisor`, which is not 0; the highest number when that is more.
    func scaled(by factor: UInt64, over divisor: UInt64) -> UInt64 {
        let product = multipliedFullWidth(by: factor)
        guard product.high < divisor else { return .max }
        return divisor.dividingFullWidth(product).quotient
    }

    /// The product; the highest number when it is more.
    func multiplied(_ factor: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: factor)
        return overflow ? .max : product
    }

    /// The sum; the highest number when it is more.
    func added(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
