/// How fast peers that fetch state are served.
///
/// While the service is in use, what they are served takes time from it, so the rate is a sixteenth at first. It doubles with each few
/// seconds that a fetch lasts: were it low for ever, the state could change faster than it is fetched.
struct ServingPace {
    /// For how long nothing may have been executed while the service counts as in use, in nanoseconds.
    private static let useNanoseconds: UInt64 = 200_000_000
    /// After how long without an answer the next one is the first of another fetch, and how long it takes until the rate is doubled.
    private static let spellNanoseconds: UInt64 = 2_000_000_000
    private static let doublingNanoseconds: UInt64 = 4_000_000_000
    private static let reduction: UInt64 = 16
    /// How late an answer may be and still be counted as given in time: a timer is never quite punctual.
    private static let lateNanoseconds: UInt64 = 10_000_000

    /// In bytes per second; nil for as fast as they ask.
    private let rate: UInt64?
    /// When the next answer may be given.
    private(set) var next: UInt64 = 0
    private var lastUse: UInt64?
    private var spellBegan: UInt64 = 0

    init(rate: UInt64?) {
        self.rate = rate
    }

    /// The service executed something.
    mutating func used(now: UInt64) {
        lastUse = now
    }

    /// An answer of this size is given.
    mutating func answered(bytes: Int, now: UInt64) {
        guard let rate else { return }
        if now > Self.sum(next, Self.spellNanoseconds) || next == 0 { spellBegan = now }
        var current = rate
        if let lastUse, now < Self.sum(lastUse, Self.useNanoseconds) {
            let doublings = min((now - min(spellBegan, now)) / Self.doublingNanoseconds, 4)
            current = max(1, rate / (Self.reduction >> doublings))
        }
        let begun = max(next, now - min(now, Self.lateNanoseconds))
        next = Self.sum(begun, UInt64(bytes) * 1_000_000_000 / current)
    }

    private static func sum(_ first: UInt64, _ second: UInt64) -> UInt64 {
        let (sum, overflow) = first.addingReportingOverflow(second)
        return overflow ? .max : sum
    }
}
