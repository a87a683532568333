import Adversary
import Testing

@testable import Simulation

/// The check of histories, on histories known good and bad (Herlihy and Wing, 1990; the examples are of the usual kind).
struct LinearizabilityTests {
    private static func read(_ value: UInt64, _ called: UInt64, _ returned: UInt64?) -> HistoryEntry {
        HistoryEntry(RegisterOperation(.read, register: 0), called: called, returned: returned, result: value)
    }

    private static func swap(_ new: UInt64, _ old: UInt64, _ called: UInt64, _ returned: UInt64?) -> HistoryEntry {
        let operation = RegisterOperation(.swap, register: 0, argument: new)
        return HistoryEntry(operation, called: called, returned: returned, result: old)
    }

    @Test func `a read of an overlapping write may see the old value or the new one`() {
        let write = Self.swap(7, 0, 10, 30)
        #expect(Linearizability.check([write, Self.read(0, 15, 20)]) == .linearizable)
        #expect(Linearizability.check([write, Self.read(7, 15, 20)]) == .linearizable)
        #expect(Linearizability.check([write, Self.read(8, 15, 20)]) == .violated(register: 0))
    }

    @Test func `a read after a write returned sees it`() {
        let write = Self.swap(7, 0, 10, 20)
        #expect(Linearizability.check([write, Self.read(7, 21, 30)]) == .linearizable)
        #expect(Linearizability.check([write, Self.read(0, 21, 30)]) == .violated(register: 0))
    }

    @Test func `once a read saw the new value no later read sees the old one`() {
        let write = Self.swap(7, 0, 10, 100)
        let good = [write, Self.read(0, 20, 30), Self.read(7, 40, 50)]
        let bad = [write, Self.read(7, 20, 30), Self.read(0, 40, 50)]
        #expect(Linearizability.check(good) == .linearizable)
        #expect(Linearizability.check(bad) == .violated(register: 0))
    }

    @Test func `an operation without an answer may have taken effect late, or never`() {
        let lost = Self.swap(7, 0, 10, nil)
        #expect(Linearizability.check([lost, Self.read(0, 20, 30), Self.read(0, 40, 50)]) == .linearizable)
        #expect(Linearizability.check([lost, Self.read(0, 20, 30), Self.read(7, 40, 50)]) == .linearizable)
        #expect(Linearizability.check([lost, Self.read(7, 20, 30), Self.read(0, 40, 50)]) == .violated(register: 0))
        #expect(Linearizability.check([lost, Self.read(7, 1, 5)]) == .violated(register: 0))
    }

    @Test func `two swaps cannot see the same old value`() {
        #expect(Linearizability.check([Self.swap(1, 0, 1, 9), Self.swap(2, 0, 1, 9)]) == .violated(register: 0))
        #expect(Linearizability.check([Self.swap(1, 2, 1, 9), Self.swap(2, 0, 1, 9)]) == .linearizable)
    }

    @Test func `registers are independent, and a violation names its register`() {
        let other = RegisterOperation(.read, register: 3)
        let bad = HistoryEntry(other, called: 5, returned: 6, result: 9)
        #expect(Linearizability.check([Self.swap(7, 0, 1, 2), bad]) == .violated(register: 3))
    }

    @Test func `hints are a proof only if they explain the history`() {
        func hinted(_ entry: HistoryEntry, _ hint: UInt64) -> HistoryEntry {
            HistoryEntry(
                entry.operation,
                called: entry.called,
                returned: entry.returned,
                result: entry.result,
                hint: hint
            )
        }
        let first = Self.swap(1, 0, 1, 9)
        let second = Self.swap(2, 1, 1, 9)
        // Wrong hints send the check to the search, which finds the right order.
        #expect(Linearizability.check([hinted(first, 1), hinted(second, 0)]) == .linearizable)
        let late = Self.swap(2, 1, 1, 2)
        let early = Self.swap(1, 0, 5, 9)
        #expect(Linearizability.check([hinted(early, 0), hinted(late, 1)]) == .violated(register: 0))
    }

    /// Histories made from an order, and the same with one result changed. The search without hints, and the hints, must both decide
    /// right.
    @Test(arguments: 1...40)
    func `random histories are decided right`(seed: Int) {
        var random = RandomStream(seed: UInt64(seed), stream: 0)
        var values: [UInt64] = [0, 0]
        var entries: [HistoryEntry] = []
        let isHinted = random.chance(perMille: 500)
        for place in 0..<random.within(5...30) {
            let kind = random.pick(RegisterOperation.Kind.allCases) ?? .read
            let register = random.below(2)
            let expected = random.chance(perMille: 500) ? values[register] : 99
            let operation = RegisterOperation(
                kind,
                register: UInt8(register),
                argument: UInt64(place + 1),
                expected: expected
            )
            let (value, result) = operation.apply(to: values[register])
            values[register] = value
            // The moment of effect is 100 x place; call and return lie around it.
            let moment = UInt64(1_000 + 100 * place)
            let isRead = kind == .read && random.chance(perMille: 500)
            entries.append(
                HistoryEntry(
                    operation,
                    called: moment - random.within(0...300),
                    returned: moment + random.within(0...300),
                    result: result,
                    hint: isHinted && !isRead ? UInt64(place) : nil
                )
            )
        }
        random.shuffle(&entries)
        #expect(Linearizability.check(entries) == .linearizable)
        // A value that nothing ever wrote cannot be explained.
        let victim = random.below(entries.count)
        let entry = entries[victim]
        entries[victim] = HistoryEntry(
            entry.operation,
            called: entry.called,
            returned: entry.returned,
            result: entry.result &+ 1_000_000,
            hint: entry.hint
        )
        #expect(Linearizability.check(entries) == .violated(register: entry.operation.register))
    }
}
