import Messages

/// A point of a clock that never goes back, in nanoseconds since some start that is the same for as long as the process runs.
public struct Instant: Hashable, Comparable, Sendable {
    /// Nanoseconds since the clock's start.
    public let nanoseconds: UInt64

    /// Names a point of time.
    public init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    /// The order of time.
    public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

    /// The point `nanoseconds` later; the end of time when that cannot be said.
    public func advanced(byNanoseconds nanoseconds: UInt64) -> Instant {
        let (sum, overflow) = self.nanoseconds.addingReportingOverflow(nanoseconds)
        return Instant(nanoseconds: overflow ? .max : sum)
    }

    /// The point `nanoseconds` earlier, or the clock's start when that is later.
    func before(nanoseconds: UInt64) -> Instant {
        Instant(nanoseconds: self.nanoseconds - min(nanoseconds, self.nanoseconds))
    }

    /// How many nanoseconds this point is after `earlier`; 0 when it is not after it.
    public func nanoseconds(since earlier: Instant) -> UInt64 {
        self > earlier ? nanoseconds - earlier.nanoseconds : 0
    }
}

/// What the shell's clocks say when it hands the engine an input. The engine reads no clock of its own.
public struct ClockReading: Sendable {
    /// For time-outs.
    public let monotonic: Instant
    /// For the agreed time of batches.
    public let wall: Timestamp

    /// Takes a reading.
    public init(monotonic: Instant, wall: Timestamp) {
        self.monotonic = monotonic
        self.wall = wall
    }
}
