import StateStore
import TestSupport
import Testing

/// Sources of a fetch that are slow, late or silent.
extension StateFetchTests {
    @Test func `a silent source is replaced, and its late answers have no effect`() throws {
        var random = SplitMix64(seed: 12)
        var remote = Twin()
        remote.fill(0..<800, &random)
        _ = remote.store.checkpoint(3)
        let local = InMemoryStateStore()
        let limits = Self.small
        let late = Transfer.honest(remote.store, delay: limits.answerTimeout + 1)
        var transfer = Transfer(
            try Self.target(remote.store, 3),
            into: local,
            [late, Transfer.honest(remote.store), Transfer.honest(remote.store)],
            limits: limits
        )
        try transfer.run()
        #expect(transfer.effects.contains(.timedOut(source: 0)))
        #expect(transfer.accused.isEmpty)
        // It is asked for the root, and then no more while the others answer.
        #expect(transfer.requested[0] == 1)
        let progress = transfer.fetch.progress
        for delivery in transfer.deliveries {
            #expect(transfer.fetch.onAnswer(encoded: delivery.bytes, from: 0, at: transfer.now).isEmpty)
        }
        #expect(transfer.fetch.progress == progress)
        #expect(transfer.install() == .begun(changes: 800))
    }

    @Test func `a fast source that falls silent holds the fetch up for less time than one of which nothing is known`()
        throws
    {
        var random = SplitMix64(seed: 13)
        var remote = Twin()
        remote.fill(0..<800, &random)
        _ = remote.store.checkpoint(3)
        let honest = Transfer.honest(remote.store, delay: 1_000)
        var asked = 0
        let mortal: Transfer.Source = { request in
            asked += 1
            return asked > 3 ? nil : honest(request)
        }
        var transfer = Transfer(
            try Self.target(remote.store, 3),
            into: InMemoryStateStore(),
            [mortal, honest],
            limits: Self.small
        )
        try transfer.run()
        #expect(transfer.effects.contains(.timedOut(source: 0)))
        #expect(transfer.install() == .begun(changes: 800))
        #expect(transfer.now < Self.small.answerTimeout / 2)
    }

    @Test func `a single source that is slower than the time-out gets more time`() throws {
        var random = SplitMix64(seed: 13)
        var remote = Twin()
        remote.fill(0..<100, &random)
        _ = remote.store.checkpoint(3)
        let local = InMemoryStateStore()
        let slow = Transfer.honest(remote.store, delay: Self.small.answerTimeout * 5)
        var transfer = Transfer(try Self.target(remote.store, 3), into: local, [slow], limits: Self.small)
        try transfer.run(steps: 2000)
        #expect(transfer.install() == .begun(changes: 100))
    }

    @Test func `a slow source does not hold up a fast one`() throws {
        var random = SplitMix64(seed: 14)
        var remote = Twin()
        remote.fill(0..<2000, &random)
        _ = remote.store.checkpoint(3)
        var transfer = Transfer(
            try Self.target(remote.store, 3),
            into: InMemoryStateStore(),
            [Transfer.honest(remote.store, delay: 1_000_000_000), Transfer.honest(remote.store, delay: 1000)],
            limits: Self.small
        )
        try transfer.run()
        #expect(transfer.requested[0] <= 4)
        #expect(transfer.requested[1] > 50)
    }
}
