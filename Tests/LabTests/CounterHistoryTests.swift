import Simulation
import Testing

@testable import Lab

/// Histories of counters that are known to be right or wrong.
struct CounterHistoryTests {
    private typealias Asked = (isRead: Bool, called: UInt64, answer: (UInt64, UInt64)?)

    private static func verdict(_ entries: [Asked]) -> Linearizability.Verdict {
        var history = CounterHistory()
        for entry in entries {
            let answer = entry.answer.map { (returned: $0.0, value: $0.1) }
            history.add(.init(counter: 1, isRead: entry.isRead, called: entry.called, answer: answer))
        }
        return history.verdict
    }

    @Test func `where nothing was seen there is nothing to judge`() {
        #expect(HistoryClients([]).verdict.held == nil)
    }

    @Test func `increments one after the other and reads between them are right`() {
        #expect(Self.verdict([]) == .linearizable)
        #expect(
            Self.verdict([
                (true, 0, (1, 0)), (false, 2, (3, 1)), (true, 4, (5, 1)), (false, 6, (9, 2)), (true, 7, (8, 1)),
                (true, 7, (8, 2)),
            ]) == .linearizable
        )
    }

    @Test func `a read of what is over is wrong`() {
        #expect(Self.verdict([(false, 0, (1, 1)), (true, 2, (3, 0))]) == .violated(register: 1))
        #expect(
            Self.verdict([(false, 0, (9, 1)), (true, 1, (2, 1)), (true, 3, (4, 0))]) == .violated(register: 1),
            "a read that goes back"
        )
    }

    @Test func `a sum that two increments got, that nobody can have got, or that comes too early is wrong`() {
        #expect(Self.verdict([(false, 0, (1, 1)), (false, 2, (3, 1))]) == .violated(register: 1))
        #expect(Self.verdict([(false, 0, (1, 2))]) == .violated(register: 1))
        #expect(Self.verdict([(false, 0, (1, .max))]) == .violated(register: 1))
        #expect(Self.verdict([(false, 0, (1, 2)), (false, 2, (3, 1))]) == .violated(register: 1))
    }

    @Test func `an increment without a result took effect, or did not`() {
        #expect(Self.verdict([(false, 0, nil), (true, 5, (6, 0)), (true, 7, (8, 0))]) == .linearizable)
        #expect(Self.verdict([(false, 0, nil), (true, 5, (6, 0)), (true, 7, (8, 1))]) == .linearizable)
        #expect(Self.verdict([(false, 0, nil), (false, 5, (6, 2)), (true, 7, (8, 2))]) == .linearizable)
        #expect(Self.verdict([(false, 0, nil), (true, 5, (6, 1)), (true, 7, (8, 0))]) == .violated(register: 1))
        #expect(Self.verdict([(false, 3, nil), (true, 1, (2, 1))]) == .violated(register: 1), "before it was asked")
        #expect(Self.verdict([(false, 0, nil), (false, 1, nil), (false, 5, (6, 4))]) == .violated(register: 1))
    }

    @Test func `long histories with unknown results are decided without a search`() {
        var history = CounterHistory()
        var sum: UInt64 = 0
        for step: UInt64 in 0..<2_000 {
            let isUnknown = step % 7 == 3
            if !isUnknown || step % 2 == 0 { sum += 1 }
            let answer = isUnknown ? nil : (returned: step * 10 + 15, value: sum)
            history.add(.init(counter: 0, isRead: false, called: step * 10, answer: answer))
            history.add(.init(counter: 0, isRead: true, called: step * 10 + 16, answer: (step * 10 + 18, sum)))
        }
        #expect(history.verdict == .linearizable)
    }
}
