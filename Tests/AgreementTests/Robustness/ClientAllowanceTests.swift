import Testing

@testable import Agreement

/// Who sends much that no answer comes to overdraws its allowance, and nobody else.
struct ClientAllowanceTests {
    private static func at(seconds: Double) -> Instant { Instant(nanoseconds: UInt64(seconds * 1e9)) }

    private var allowance = ClientAllowance(RobustnessLimits().scheduling)

    @Test mutating func `a thousand messages at once are within it, and a hundred a second for ever`() {
        allowance.sent(1_000, now: Self.at(seconds: 1))
        #expect(!allowance.isOverdrawn(now: Self.at(seconds: 1.01)))
        allowance.sent(10, now: Self.at(seconds: 1.01))
        #expect(allowance.isOverdrawn(now: Self.at(seconds: 1.01)))
        #expect(!allowance.isOverdrawn(now: Self.at(seconds: 1.2)))
        #expect(!allowance.isWhole(now: Self.at(seconds: 11)) && allowance.isWhole(now: Self.at(seconds: 12)))
        for step in 0..<100_000 {
            let now = Self.at(seconds: 20 + Double(step) / 100)
            allowance.sent(1, now: now)
            guard !allowance.isOverdrawn(now: now) else { return #expect(Bool(false), "overdrawn after \(step)") }
        }
    }

    @Test mutating func `answers give back more than the messages that they answer took`() {
        let now = Self.at(seconds: 1)
        // Each request is sent three times, and a window of them is outstanding.
        for round in 0..<1_000 {
            allowance.sent(3 * 64, now: now)
            #expect(!allowance.isOverdrawn(now: now), "round \(round)")
            for _ in 0..<64 { allowance.answered() }
        }
        allowance.sent(1_010, now: now)
        #expect(allowance.isOverdrawn(now: now), "answers do not add up to more than the whole")
    }

    @Test mutating func `whatever a client sends, it is forgiven after a while`() {
        let now = Self.at(seconds: 1)
        for _ in 0..<100 { allowance.sent(.max, now: now) }
        #expect(allowance.isOverdrawn(now: Self.at(seconds: 10)))
        #expect(!allowance.isOverdrawn(now: Self.at(seconds: 12)))
    }
}
