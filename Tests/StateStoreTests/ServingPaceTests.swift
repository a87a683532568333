import Testing

@testable import StateStore

/// How fast peers that fetch state are served, idle and in use.
struct ServingPaceTests {
    private static let second: UInt64 = 1_000_000_000

    /// How many bytes are served between two times, in answers of 1000 bytes.
    private static func served(
        _ pace: inout ServingPace,
        of checkpoint: UInt64 = 1,
        from start: UInt64,
        to end: UInt64,
        isInUse: Bool
    ) -> Int {
        var bytes = 0
        var now = start
        while now < end {
            if isInUse { pace.used(now: now) }
            if pace.next <= now {
                pace.answered(bytes: 1000, of: checkpoint, now: now)
                bytes += 1000
            }
            now += 1_000_000
        }
        return bytes
    }

    @Test func `an idle service gives all of its rate, one in use a part that rises with each later checkpoint`() {
        var idle = ServingPace(rate: 160_000)
        #expect((158_000...162_000).contains(Self.served(&idle, from: 0, to: Self.second, isInUse: false)))
        var pace = ServingPace(rate: 160_000)
        let parts = (0..<8).map { part in
            let start = 100 * Self.second + 4 * UInt64(part) * Self.second
            let checkpoint = UInt64([7, 7, 8, 6, 9, 20, 21, 22][part])
            return Self.served(&pace, of: checkpoint, from: start, to: start + 4 * Self.second, isInUse: true) / 4
        }
        for (part, rate) in zip(parts, [5_000, 5_000, 10_000, 10_000, 20_000, 40_000, 80_000, 160_000]) {
            #expect(abs(part - rate) <= rate / 20)
        }
    }

    @Test func `the next fetch begins slowly again, and the end of use is noticed`() {
        var pace = ServingPace(rate: 160_000)
        for checkpoint in UInt64(1)...6 {
            let start = checkpoint * Self.second
            _ = Self.served(&pace, of: checkpoint, from: start, to: start + Self.second, isInUse: true)
        }
        let later = Self.served(&pace, of: 9, from: 300 * Self.second, to: 301 * Self.second, isInUse: true)
        #expect(later > 150_000, "an install in between may take a while")
        let again = Self.served(&pace, of: 10, from: 902 * Self.second, to: 903 * Self.second, isInUse: true)
        #expect((4_000...6_000).contains(again))
        let rest = Self.served(&pace, of: 10, from: 903 * Self.second, to: 904 * Self.second, isInUse: false)
        #expect(rest > 80_000, "0.2 s after the last operation, and what was owed by then")
    }

    @Test func `an answer that a late timer gives costs the next ones nothing`() {
        var pace = ServingPace(rate: 160_000)
        var now: UInt64 = Self.second
        var bytes = 0
        while now < 2 * Self.second {
            pace.answered(bytes: 1000, of: 1, now: now)
            bytes += 1000
            now = max(pace.next, now) + 2_000_000
        }
        #expect(bytes > 150_000)
    }

    @Test func `without a rate there is no waiting`() {
        var pace = ServingPace(rate: nil)
        pace.used(now: 5)
        pace.answered(bytes: .max, of: 1, now: 5)
        #expect(pace.next == 0)
    }
}
