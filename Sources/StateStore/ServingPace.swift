/// How fast peers that fetch state are served.
///
/// While the service is in use, what they are served takes time from it, so the rate is a thirty-second, however long a fetch lasts: its
/// target stands still and is kept for it, so it ends. What is left to fetch then is what the service has changed meanwhile, and that
/// becomes less from fetch to fetch as long as the state is fetched faster than it changes. So the rate doubles with each later
/// checkpoint that is asked for, until the sixth is served at the whole rate: no service that changes its state slower than that keeps
/// a replica out.
struct ServingPace {
    /// For how long nothing may have been executed while the service counts as in use, in nanoseconds.
    private static let useNanoseconds: UInt64 = 200_000_000
    /// After how long without an answer the next one is the first of another spell: a replica that asks for a later checkpoint has
    /// installed one before, which takes a while.
    private static let spellNanoseconds: UInt64 = 600_000_000_000
    private static let mostDoublings: UInt64 = 5
    /// How late an answer may be and still be counted as given in time: a timer is never quite punctual.
    private static let lateNanoseconds: UInt64 = 10_000_000

    /// In bytes per second; nil for as fast as they ask.
    private let rate: UInt64?
    /// When the next answer may be given.
    private(set) var next: UInt64 = 0
    private var lastUse: UInt64?
    /// The latest checkpoint that was asked for in this spell, and how often it has become a later one.
    private var latest: UInt64?
    private var doublings: UInt64 = 0

    init(rate: UInt64?) {
        self.rate = rate
    }

    /// The service executed something.
    mutating func used(now: UInt64) {
        lastUse = now
    }

    /// Whether the service has executed something just now.
    func isInUse(now: UInt64) -> Bool {
        lastUse.map { now < Self.sum($0, Self.useNanoseconds) } ?? false
    }

    /// An answer of this size is given, to a question about this checkpoint; nil when it is not kept.
    mutating func answered(bytes: Int, of checkpoint: UInt64?, now: UInt64) {
        guard let rate else { return }
        if now > Self.sum(next, Self.spellNanoseconds) {
            latest = nil
            doublings = 0
        }
        if let checkpoint {
            if let latest, latest < checkpoint { doublings = min(doublings + 1, Self.mostDoublings) }
            latest = max(latest ?? checkpoint, checkpoint)
        }
        let current = isInUse(now: now) ? max(1, rate >> (Self.mostDoublings - doublings)) : rate
        let begun = max(next, now - min(now, Self.lateNanoseconds))
        next = Self.sum(begun, UInt64(bytes) * 1_000_000_000 / current)
    }

    /// How long so many bytes take at a quarter of the rate.
    func installNanoseconds(bytes: UInt64) -> UInt64 {
        guard let rate else { return 0 }
        let (scaled, isTooLong) = bytes.multipliedReportingOverflow(by: 4 * 1_000_000_000)
        return isTooLong ? .max : scaled / rate
    }

    private static func sum(_ first: UInt64, _ second: UInt64) -> UInt64 {
        let (sum, overflow) = first.addingReportingOverflow(second)
        return overflow ? .max : sum
    }
}
