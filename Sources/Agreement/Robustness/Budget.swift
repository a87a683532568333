/// So many units at once, and so many a second for ever: a token bucket, which may be overdrawn.
struct Budget: Hashable, Sendable {
    /// What one unit takes, in nanoseconds until the budget is whole again.
    private let price: UInt64
    private let whole: UInt64
    /// When the budget will be whole again: later where more was spent of like budgets.
    private(set) var wholeAt = Instant(nanoseconds: 0)

    /// Makes a budget that is whole. Both numbers are 1 to 1000000000.
    init(units: UInt64, perSecond: UInt64) {
        price = 1_000_000_000 / perSecond + 1
        whole = units * price
    }

    /// Takes units out. Twice the budget at most is remembered, so that nobody is punished for ever.
    mutating func spend(_ units: UInt64, now: Instant) {
        let (taken, isTooMuch) = units.multipliedReportingOverflow(by: price)
        let spent = min(spent(now: now), 2 * whole) + (isTooMuch ? 2 * whole : min(taken, 2 * whole))
        wholeAt = now.advanced(byNanoseconds: min(spent, 2 * whole))
    }

    /// Puts units back, to no more than the whole.
    mutating func giveBack(_ units: UInt64) {
        let (given, isTooMuch) = units.multipliedReportingOverflow(by: price)
        wholeAt = wholeAt.before(nanoseconds: isTooMuch ? .max : given)
    }

    /// Makes it whole.
    mutating func refill(now: Instant) { wholeAt = now }

    /// What is missing, in nanoseconds until the budget is whole again.
    func spent(now: Instant) -> UInt64 { wholeAt.nanoseconds(since: now) }

    /// Whether more was taken out than there was.
    func isOverdrawn(now: Instant) -> Bool { spent(now: now) > whole }
}
