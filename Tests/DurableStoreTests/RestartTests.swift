import Cryptography
import StateStore
import TestSupport
import Testing

@testable import DurableStore

/// What a restart finds of the state.
struct RestartTests {
    @Test(arguments: [1, 2, 3] as [UInt64])
    func `a restart finds the last finished checkpoint, wherever the next was cut short`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let workplace = try Workplace()
        var pair = try Pair(workplace)
        var number: UInt64 = 0
        while number < 12 {
            pair.change(random.below(120), &random)
            pair.disk.state.beginCheckpoint(number + 1)
            pair.change(random.below(20), &random)
            let steps = random.below(60)
            var root: Digest?
            for _ in 0..<steps where root == nil {
                root = pair.disk.state.advanceCheckpoint(keys: 5)
                if random.below(4) == 0 { pair.disk.state.releaseCheckpoints(before: number) }
            }
            pair.disk.abandon()
            pair.disk = try workplace.open()
            if root != nil { number += 1 }
            #expect((pair.disk.state.lastCheckpoint ?? 0) == number)
            #expect(root == nil || pair.disk.state.root(ofCheckpoint: number) == root)
            // The twin starts from what is there, checked against what the tree says.
            pair.memory = try Self.twin(of: pair.disk.state)
            pair.expectAgreement()
            let nodes = pair.disk.state.keptCheckpoints.map { pair.disk.state.nodes(ofCheckpoint: $0.number) }
            #expect(pair.disk.state.heldNodes >= Set(nodes.joined()).count)
            #expect(nodes.count > 1 || pair.disk.state.heldNodes == nodes.joined().count)
        }
        try pair.disk.close()
    }

    /// A store in memory with the kept checkpoints of another store, made from their trees and not from its values.
    private static func twin(of store: RocksStateStore) throws -> InMemoryStateStore {
        let twin = InMemoryStateStore(checkpointsKept: 3)
        var before: Set<StateNode> = []
        for (number, root) in store.keptCheckpoints {
            let leaves = Set(store.nodes(ofCheckpoint: number).filter { if case .leaf = $0 { true } else { false } })
            for case .leaf(let keyspace, let entry) in before.subtracting(leaves) {
                twin.delete(entry.key, in: keyspace)
            }
            for case .leaf(let keyspace, let entry) in leaves { twin.put(entry.value, at: entry.key, in: keyspace) }
            #expect(twin.checkpoint(number) == root)
            before = leaves
        }
        return twin
    }

    @Test func `the machine may stop after any write of a checkpoint`() throws {
        var random = SplitMix64(seed: 5)
        let workplace = try Workplace()
        let pair = try Pair(workplace)
        pair.change(60, keys: 40, &random)
        #expect(pair.disk.state.checkpoint(1) == pair.memory.checkpoint(1))
        pair.change(30, keys: 40, &random)
        pair.disk.state.beginCheckpoint(2)
        var root: Digest?
        while root == nil {
            let stopped = try workplace.copy()
            var found = try Pair(stopped)
            found.memory = try #require(pair.memory.copy(ofCheckpoint: 1))
            found.expectAgreement()
            try found.disk.close()
            root = pair.disk.state.advanceCheckpoint(keys: 6)
        }
        #expect(pair.memory.checkpoint(2) == root)
        var found = try Pair(try workplace.copy())
        found.memory = pair.memory
        found.expectAgreement()
        try found.disk.close()
        try pair.disk.close()
    }

    @Test func `what was written since the last checkpoint, or is tentative, is never on disk`() throws {
        let workplace = try Workplace()
        var store = try workplace.open()
        store.state.put([1], at: [1], in: .service)
        _ = store.state.checkpoint(1)
        store.state.put([2], at: [1], in: .service)
        let mark = store.state.beginTentative()
        store.state.put([3], at: [2], in: .service)
        #expect(store.state.count(in: .service) == 2)
        try store.close()
        store = try workplace.open()
        #expect(store.state.entries(in: .service) == [StateEntry(key: [1], value: [1])])
        #expect(store.state.count(in: .service) == 1)
        _ = mark
        try store.close()
    }

    @Test func `kept checkpoints are served after a restart, and an empty state too`() throws {
        var random = SplitMix64(seed: 6)
        let workplace = try Workplace()
        var pair = try Pair(workplace)
        #expect(pair.disk.state.checkpoint(1) == .zero)
        #expect(pair.memory.checkpoint(1) == .zero)
        for number in UInt64(2)...5 {
            pair.change(50, &random)
            #expect(pair.disk.state.checkpoint(number) == pair.memory.checkpoint(number))
        }
        for _ in 0..<2 {
            try pair.disk.close()
            pair.disk = try workplace.open()
            #expect(pair.disk.state.keptCheckpoints.map(\.number) == [3, 4, 5])
            pair.expectAgreement()
        }
        pair.change(50, &random)
        #expect(pair.disk.state.checkpoint(6) == pair.memory.checkpoint(6))
        pair.expectAgreement()
        // The last checkpoint is not kept any more, but it is what a restart finds.
        pair.disk.state.releaseCheckpoints(before: 7)
        #expect(pair.disk.state.lastCheckpoint == nil)
        try pair.disk.close()
        pair.disk = try workplace.open()
        #expect(pair.disk.state.keptCheckpoints.map(\.number) == [6])
        try pair.disk.close()
    }

    @Test(arguments: [false, true])
    func `a state that was fetched takes the place of another, and outlives a restart`(isLocalEmpty: Bool) throws {
        var random = SplitMix64(seed: 7)
        let remote = try Pair(try Workplace())
        remote.change(400, &random)
        let root = remote.disk.state.checkpoint(9)
        #expect(remote.memory.checkpoint(9) == root)
        let workplace = try Workplace()
        var local = try Pair(workplace)
        if !isLocalEmpty {
            local.change(200, &random)
            #expect(local.disk.state.checkpoint(4) == local.memory.checkpoint(4))
            local.change(30, &random)
        }
        var fetch = StateFetch(
            of: StateFetch.Target(checkpoint: 9, root: root),
            into: local.disk.state,
            from: [0],
            numberedFrom: 1
        )
        var effects = fetch.advance(to: 1)
        while !effects.isEmpty {
            guard case .send(let request, to: let source) = effects.removeFirst() else { continue }
            let answer = remote.disk.state.answer(to: request)
            #expect(answer == remote.memory.answer(to: request))
            effects += fetch.onAnswer(answer, from: source, at: 2)
        }
        let before =
            isLocalEmpty ? InMemoryStateStore(checkpointsKept: 3) : try #require(local.memory.copy(ofCheckpoint: 4))
        guard case .begun = fetch.beginInstall() else {
            Issue.record("the state was not installed")
            return
        }
        var slices = 0
        repeat {
            slices += 1
            // The machine may stop here.
            var found = try Pair(try workplace.copy())
            found.memory = before
            found.expectAgreement()
            try found.disk.close()
        } while !local.disk.state.advanceInstall(keys: 60, bytes: .max)
        #expect(slices > 5)
        let found = try Pair(try workplace.copy())
        #expect(found.disk.state.root(ofCheckpoint: 9) == root)
        try found.disk.close()
        local.memory = remote.memory
        for _ in 0..<2 {
            #expect(local.disk.state.keptCheckpoints.map(\.number) == (isLocalEmpty ? [9] : [4, 9]))
            #expect(local.disk.state.root(ofCheckpoint: 9) == root)
            for keyspace in Keyspace.allCases {
                #expect(local.disk.state.entries(in: keyspace) == remote.memory.entries(in: keyspace))
                #expect(local.disk.state.count(in: keyspace) == remote.memory.count(in: keyspace))
            }
            #expect(local.disk.state.nodes(ofCheckpoint: 9) == remote.memory.nodes(ofCheckpoint: 9))
            try local.disk.close()
            local.disk = try workplace.open()
        }
        local.change(40, &random)
        #expect(local.disk.state.checkpoint(10) == local.memory.checkpoint(10))
        try local.disk.close()
        try remote.disk.close()
    }
}
