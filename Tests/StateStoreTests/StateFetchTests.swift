import Cryptography
import StateStore
import TestSupport
import Testing

struct StateFetchTests {
    static func target(_ store: InMemoryStateStore, _ number: UInt64) throws -> StateFetch.Target {
        StateFetch.Target(checkpoint: number, root: try #require(store.root(ofCheckpoint: number)))
    }

    /// Limits that make many small answers.
    static var small: StateFetch.Limits {
        var limits = StateFetch.Limits()
        limits.answerBudget = 600
        limits.pathsPerRequest = 7
        limits.requestsInFlight = 5
        limits.requestsPerSource = 3
        return limits
    }

    enum Pair: CaseIterable {
        case equal
        case fewDifferences
        case manyDifferences
        case disjoint
        case emptyToBig
        case emptyToOne
        case bigToEmpty
        case bigToOne
        case deletions
        case noCheckpoint

        func states(_ random: inout SplitMix64) -> (local: Twin, remote: Twin) {
            var local = Twin()
            var remote = Twin()
            let seed = random.next()
            for twin in [0, 1] {
                var same = SplitMix64(seed: seed)
                var other = SplitMix64(seed: seed &+ 1)
                var state = twin == 0 ? local : remote
                switch (self, twin) {
                case (.equal, _): state.fill(0..<300, &same)
                case (.fewDifferences, _):
                    state.fill(0..<400, &same)
                    if twin == 1 { state.change(12, keys: 450, &other) }
                case (.manyDifferences, _):
                    state.fill(0..<400, &same)
                    if twin == 1 { state.change(800, keys: 500, &other) }
                case (.disjoint, _): state.fill(twin * 300..<(twin * 300 + 200 + twin * 150), &same)
                case (.emptyToBig, 1), (.bigToEmpty, 0), (.bigToOne, 0): state.fill(0..<400, &same)
                case (.emptyToBig, _), (.bigToEmpty, _), (.emptyToOne, 0): break
                case (.emptyToOne, _), (.bigToOne, _): state.fill(7..<8, &same)
                case (.deletions, _): state.fill(0..<(twin == 0 ? 400 : 90), &same)
                case (.noCheckpoint, 0): state.fill(0..<100, &other)
                case (.noCheckpoint, _): state.fill(0..<100, &same)
                }
                if twin == 0 { local = state } else { remote = state }
            }
            if self != .noCheckpoint { _ = local.store.checkpoint(10) }
            _ = remote.store.checkpoint(50)
            return (local, remote)
        }
    }

    @Test(arguments: Pair.allCases, [1, 2, 3, 4] as [UInt64])
    func `the state of the sources is installed whatever the local one is`(pair: Pair, seed: UInt64) throws {
        var random = SplitMix64(seed: seed &* 77)
        var (local, remote) = pair.states(&random)
        // What is written after the checkpoint goes, be it tentative, final or in a checkpoint that is not finished.
        if seed > 1 { local.change(30, keys: 500, &random) }
        if seed == 3 {
            local.store.beginCheckpoint(20)
            _ = local.store.advanceCheckpoint(keys: 25)
            local.change(20, keys: 500, &random)
        }
        if seed > 2 {
            _ = local.store.beginTentative()
            local.change(10, keys: 500, &random)
        }
        let before = local.model
        let target = try Self.target(remote.store, 50)
        let source = Transfer.honest(remote.store)
        var transfer = Transfer(
            target,
            into: local.store,
            [source, source, source],
            limits: seed % 2 == 0 ? Self.small : StateFetch.Limits()
        )
        try transfer.run()
        #expect(transfer.effects.last == .complete)
        #expect(local.store.entries() == before.entries(.all, in: .service))
        guard case .begun = transfer.install() else {
            Issue.record("not installed")
            return
        }
        local.model = remote.model
        local.expectAgreement(atCheckpoint: 50)
        #expect(transfer.accused.isEmpty)
        #expect(transfer.install() == .overtaken)
        local.expectSoundness(after: 50, &random)
    }

    @Test func `only nodes that differ are fetched`() throws {
        var random = SplitMix64(seed: 5)
        for changes in [0, 1, 5, 40, 300] {
            var local = Twin()
            var remote = Twin()
            for number in 0..<2000 {
                local.set(Twin.key(number), to: [1])
                remote.set(Twin.key(number), to: [1])
            }
            _ = local.store.checkpoint(1)
            for _ in 0..<changes {
                remote.set(Twin.key(random.below(2000)), to: random.bytes(4))
            }
            _ = remote.store.checkpoint(2)
            let differing = remote.store.digests(ofCheckpoint: 2)
                .subtracting(local.store.digests(ofCheckpoint: 1))
            var transfer = Transfer(
                try Self.target(remote.store, 2),
                into: local.store,
                [Transfer.honest(remote.store)]
            )
            try transfer.run()
            // No entry came or went, so the trees have the same shape and not one node is sent in vain.
            #expect(transfer.fetch.progress.nodes == UInt64(differing.count))
            #expect(differing.isEmpty == (changes == 0))
        }
    }

    @Test func `an entry that is there already is not a change, wherever it lies`() throws {
        for numbers in [0..<2, 0..<20, 0..<400] {
            var random = SplitMix64(seed: 7)
            var local = Twin()
            var remote = Twin()
            remote.fill(numbers, &random)
            let entry = try #require(remote.store.entries().first)
            local.set(entry.key, to: entry.value)
            _ = local.store.checkpoint(1)
            _ = remote.store.checkpoint(2)
            let source = Transfer.honest(remote.store)
            var transfer = Transfer(try Self.target(remote.store, 2), into: local.store, [source], limits: Self.small)
            try transfer.run()
            #expect(transfer.install() == .begun(changes: numbers.count - 1))
            local.model = remote.model
            local.expectAgreement(atCheckpoint: 2)
        }
    }

    @Test func `hardly more than what differs is fetched when entries come and go`() throws {
        var random = SplitMix64(seed: 6)
        var local = Twin()
        var remote = Twin()
        for number in 0..<3000 {
            local.set(Twin.key(number), to: [1])
            remote.set(Twin.key(number), to: [1])
        }
        _ = local.store.checkpoint(1)
        for _ in 0..<100 {
            remote.set(Twin.key(random.below(3000)), to: nil)
            remote.set(Twin.key(3000 + random.below(3000)), to: [2])
        }
        _ = remote.store.checkpoint(2)
        let differing = remote.store.digests(ofCheckpoint: 2).subtracting(local.store.digests(ofCheckpoint: 1)).count
        var transfer = Transfer(
            try Self.target(remote.store, 2),
            into: local.store,
            [Transfer.honest(remote.store)]
        )
        try transfer.run()
        let fetched = Int(transfer.fetch.progress.nodes)
        // A leaf that moved up or down by a step is sent again, at most one for each entry that came or went.
        #expect(fetched >= differing && fetched <= differing + 200)
    }

    @Test func `a whole state comes in few answers`() throws {
        var remote = Twin()
        for number in 0..<5000 {
            remote.set(Twin.key(number), to: Array(repeating: UInt8(number & 255), count: 1000))
        }
        _ = remote.store.checkpoint(2)
        let local = InMemoryStateStore()
        var transfer = Transfer(try Self.target(remote.store, 2), into: local, [Transfer.honest(remote.store)])
        try transfer.run()
        _ = transfer.install()
        #expect(local.entries() == remote.model.entries(.all, in: .service))
        // 5 MB, 128 KiB an answer, and shares of the last part.
        #expect(transfer.fetch.progress.requests < 80)
    }

    @Test func `the largest entries fit into an answer each`() throws {
        var remote = Twin()
        let key = [UInt8](repeating: 3, count: StateLimits.keyBytes)
        for number in UInt8(0)..<3 {
            let system = [UInt8](repeating: number, count: StateLimits.systemValueBytes)
            remote.set([number] + key.dropFirst(), to: system, in: .system)
            remote.set([number] + key.dropFirst(), to: system.suffix(StateLimits.serviceValueBytes), in: .service)
        }
        for number in 0..<2000 {
            remote.set(Twin.key(number), to: Array(repeating: 1, count: 400))
        }
        _ = remote.store.checkpoint(9)
        let local = InMemoryStateStore()
        var transfer = Transfer(try Self.target(remote.store, 9), into: local, [Transfer.honest(remote.store)])
        try transfer.run()
        _ = transfer.install()
        #expect(local.entries(in: .system) == remote.model.entries(.all, in: .system))
        #expect(local.entries() == remote.model.entries(.all, in: .service))
    }

    // MARK: Faulty sources

    /// Answers in which the node at `place`, counted over all answers, is replaced, left out or doubled.
    private static func liar(
        _ store: InMemoryStateStore,
        at place: Int,
        _ counter: Counter,
        _ mutate: @escaping (StateNode) -> [StateNode]
    ) -> Transfer.Source {
        { request in
            guard case .nodes(var nodes) = store.answer(to: request).content else { return nil }
            let index = place - counter.value
            counter.value += nodes.count
            if nodes.indices.contains(index) {
                nodes.replaceSubrange(index...index, with: mutate(nodes[index]))
            }
            return (TransferBytes.answer(request.number, nodes), 500)
        }
    }

    final class Counter {
        var value = 0
    }

    private static let mutations: [@Sendable (StateNode) -> [StateNode]] = [
        { node in
            switch node {
            case .leaf(let keyspace, let entry):
                return [.leaf(keyspace, StateEntry(key: entry.key, value: entry.value + [0]))]
            case .branch(let branch):
                var children = branch.children
                children[children.count - 1] = .zero
                return StateNode.Branch(bitmap: branch.bitmap, children: children).map { [.branch($0)] } ?? []
            }
        },
        { node in
            switch node {
            case .leaf(let keyspace, let entry):
                return [.leaf(keyspace == .system ? .service : .system, entry)]
            case .branch(let branch):
                return StateNode.Branch(bitmap: ~(~branch.bitmap << 1), children: branch.children)
                    .map { [.branch($0)] } ?? []
            }
        },
        { _ in [] },
        { [$0, $0] },
    ]

    @Test(arguments: 0..<4)
    func `a lie about any node is found and its source dropped`(mutation: Int) throws {
        var random = SplitMix64(seed: 8)
        var remote = Twin()
        remote.fill(0..<60, &random)
        _ = remote.store.checkpoint(3)
        let target = try Self.target(remote.store, 3)
        let nodes = remote.store.walk(checkpoint: 3).nodes
        for place in 0..<nodes {
            let local = InMemoryStateStore()
            let counter = Counter()
            let liar = Self.liar(remote.store, at: place, counter, Self.mutations[mutation])
            var transfer = Transfer(target, into: local, [liar, Transfer.honest(remote.store, delay: 9000)])
            try transfer.run()
            // The honest source is slower, so the liar is asked for nearly everything, unless it is found out early.
            #expect(transfer.accused == (counter.value > place ? [0] : []))
            #expect(transfer.accused == [0] || place >= nodes / 2)
            #expect(transfer.install() == .begun(changes: 60))
            #expect(local.entries() == remote.model.entries(.all, in: .service))
        }
    }

    @Test func `one honest source is enough, wherever it stands`() throws {
        var random = SplitMix64(seed: 9)
        var remote = Twin()
        remote.fill(0..<500, &random)
        _ = remote.store.checkpoint(3)
        let lie: Transfer.Source = { request in
            let nodes: [StateNode] = [.leaf(.service, StateEntry(key: [1], value: [2]))]
            return (TransferBytes.answer(request.number, nodes), 10)
        }
        let noise: Transfer.Source = { _ in ([1, 2, 3], 10) }
        let nothing: Transfer.Source = { (TransferBytes.answer($0.number, []), 10) }
        for place in 0..<5 {
            let local = InMemoryStateStore()
            var sources = [lie, noise, nothing, Transfer.silent]
            sources.insert(Transfer.honest(remote.store), at: place)
            var transfer = Transfer(
                try Self.target(remote.store, 3),
                into: local,
                sources,
                limits: Self.small
            )
            try transfer.run()
            #expect(transfer.accused.isSubset(of: Set(0..<5).subtracting([place])))
            #expect(transfer.install() == .begun(changes: 500))
            #expect(local.root(ofCheckpoint: 3) == remote.model.root)
        }
    }

    @Test func `with liars alone the fetch stalls and changes nothing, and a new source ends it`() throws {
        var random = SplitMix64(seed: 10)
        var remote = Twin()
        remote.fill(0..<300, &random)
        _ = remote.store.checkpoint(3)
        var local = Twin()
        local.fill(100..<200, &random)
        _ = local.store.checkpoint(1)
        let noise: Transfer.Source = { _ in ([9], 10) }
        var transfer = Transfer(
            try Self.target(remote.store, 3),
            into: local.store,
            [noise, noise, Transfer.silent, Transfer.silent],
            limits: Self.small
        )
        transfer.sources[2] = noise
        transfer.sources[3] = noise
        try transfer.run()
        #expect(transfer.effects.last == .stalled)
        #expect(transfer.accused == [0, 1, 2, 3])
        #expect(transfer.install() == .incomplete)
        local.expectAgreement(atCheckpoint: 1)
        // One that lied is not trusted again.
        try transfer.take(transfer.fetch.addSource(0, at: transfer.now))
        #expect(transfer.fetch.deadline == nil)
        transfer.sources.append(Transfer.honest(remote.store))
        try transfer.take(transfer.fetch.addSource(4, at: transfer.now))
        try transfer.run()
        #expect(transfer.effects.last == .complete)
        _ = transfer.install()
        local.model = remote.model
        local.expectAgreement(atCheckpoint: 3)
    }

    @Test func `answers drop by drop are refused`() throws {
        var random = SplitMix64(seed: 11)
        var remote = Twin()
        remote.fill(0..<300, &random)
        let store = remote.store
        _ = store.checkpoint(3)
        let drops: Transfer.Source = { request in
            guard case .nodes(let nodes) = store.answer(to: request).content else { return nil }
            return (TransferBytes.answer(request.number, Array(nodes.prefix(1))), 10)
        }
        var transfer = Transfer(
            try Self.target(store, 3),
            into: InMemoryStateStore(),
            [drops, Transfer.honest(store)]
        )
        try transfer.run()
        #expect(transfer.effects.contains(.accuse(source: 0, .tooShort)))
        #expect(transfer.effects.last == .complete)
    }

    @Test func `the work is spread over sources that are equally fast`() throws {
        var random = SplitMix64(seed: 15)
        var remote = Twin()
        remote.fill(0..<2000, &random)
        _ = remote.store.checkpoint(3)
        let source = Transfer.honest(remote.store, delay: 100_000)
        var transfer = Transfer(
            try Self.target(remote.store, 3),
            into: InMemoryStateStore(),
            [source, source, source],
            limits: Self.small
        )
        try transfer.run()
        let requests = transfer.requested.reduce(0, +)
        for place in 0..<3 {
            #expect(transfer.requested[place] > requests / 6)
        }
    }

    @Test func `a source whose link is gone is asked no more until it is back`() throws {
        var random = SplitMix64(seed: 16)
        var remote = Twin()
        remote.fill(0..<300, &random)
        _ = remote.store.checkpoint(3)
        let source = Transfer.honest(remote.store)
        var transfer = Transfer(
            try Self.target(remote.store, 3),
            into: InMemoryStateStore(),
            [source],
            limits: Self.small
        )
        try transfer.run(steps: 5)
        transfer.lose()
        try transfer.take(transfer.fetch.removeSource(0, at: transfer.now))
        #expect(transfer.effects.last == .stalled)
        #expect(transfer.fetch.deadline == nil)
        try transfer.take(transfer.fetch.addSource(0, at: transfer.now))
        try transfer.run()
        #expect(transfer.install() == .begun(changes: 300))
    }

    // MARK: Changing targets

    @Test func `a source without the checkpoint is passed over, and a newer target resumes`() throws {
        var random = SplitMix64(seed: 17)
        var remote = Twin()
        remote.fill(0..<1500, &random)
        let first = remote.store.checkpoint(3)
        let digests = remote.store.digests(ofCheckpoint: 3)
        let target = StateFetch.Target(checkpoint: 3, root: first)
        let store = remote.store
        let lacking = Transfer.honest(InMemoryStateStore())
        let local = InMemoryStateStore()
        var limits = Self.small
        limits.answerBudget = 3000
        var transfer = Transfer(target, into: local, [lacking, Transfer.honest(store)], limits: limits)
        try transfer.run(steps: 14)
        #expect(transfer.effects.contains(.gone(source: 0)))
        let fetched = transfer.fetch.progress.nodes
        #expect(fetched > 300 && fetched < UInt64(digests.count))

        remote.change(30, keys: 1500, &random)
        _ = store.checkpoint(6)
        let differing = store.digests(ofCheckpoint: 6).subtracting(digests).count
        store.releaseCheckpoints(before: 6)
        try transfer.run()
        #expect(transfer.effects.last == .stalled)
        transfer.lose()
        try transfer.take(transfer.fetch.retarget(to: Self.target(store, 6), at: transfer.now))
        try transfer.run()
        #expect(transfer.effects.last == .complete)
        let progress = transfer.fetch.progress
        #expect(progress.reusedNodes >= fetched - UInt64(differing))
        // What was verified for the first target is not sent again, but for leaves that moved.
        #expect(progress.nodes <= UInt64(digests.count + differing))
        _ = transfer.install()
        #expect(local.root(ofCheckpoint: 6) == remote.model.root)
        #expect(local.entries() == remote.model.entries(.all, in: .service))
    }

    @Test(arguments: [0, 3000, 1_000_000])
    func `nodes of earlier targets are kept within their limit`(bytes: Int) throws {
        var random = SplitMix64(seed: 18)
        var remote = Twin()
        remote.fill(0..<500, &random)
        _ = remote.store.checkpoint(3)
        var limits = Self.small
        limits.retainedBytes = bytes
        let local = InMemoryStateStore()
        var transfer = Transfer(
            try Self.target(remote.store, 3),
            into: local,
            [Transfer.honest(remote.store)],
            limits: limits
        )
        try transfer.run(steps: 30)
        let fetched = transfer.fetch.progress.nodes
        let nowhere = StateFetch.Target(checkpoint: 4, root: Digest.of([1]))
        for _ in 0..<2 {
            _ = transfer.fetch.retarget(to: nowhere, at: transfer.now)
        }
        transfer.lose()
        try transfer.take(transfer.fetch.retarget(to: Self.target(remote.store, 3), at: transfer.now))
        try transfer.run()
        #expect(transfer.fetch.progress.bytes > 8000)
        let reused = transfer.fetch.progress.reusedNodes
        switch bytes {
        case 0: #expect(reused == 0)
        // A leaf has 18 bytes here.
        case 3000: #expect(reused <= 3000 / 18)
        default: #expect(reused == fetched)
        }
        #expect(transfer.install() == .begun(changes: 500))
    }

    @Test func `the local state may go on while the fetch runs`() throws {
        var random = SplitMix64(seed: 19)
        var remote = Twin()
        remote.fill(0..<600, &random)
        _ = remote.store.checkpoint(90)
        var local = Twin(checkpointsKept: 1)
        local.fill(200..<500, &random)
        _ = local.store.checkpoint(1)
        var transfer = Transfer(
            try Self.target(remote.store, 90),
            into: local.store,
            [Transfer.honest(remote.store)],
            limits: Self.small
        )
        for number in UInt64(2)...6 {
            try transfer.run(steps: 14)
            local.change(40, keys: 600, &random)
            _ = local.store.checkpoint(number)
            transfer.lose()
            try transfer.take(transfer.fetch.advance(to: transfer.now))
        }
        try transfer.run()
        #expect(transfer.fetch.progress.reusedNodes > 0)
        local.change(10, keys: 600, &random)
        guard case .begun = transfer.install() else {
            Issue.record("not installed")
            return
        }
        local.model = remote.model
        local.expectAgreement(atCheckpoint: 90)
        local.expectSoundness(after: 90, &random)
    }

    @Test func `a state that came as far by itself is left alone`() throws {
        var random = SplitMix64(seed: 20)
        var remote = Twin()
        remote.fill(0..<50, &random)
        _ = remote.store.checkpoint(5)
        for number in [5, 6] as [UInt64] {
            var local = Twin()
            local.fill(0..<20, &random)
            _ = local.store.checkpoint(4)
            var transfer = Transfer(
                try Self.target(remote.store, 5),
                into: local.store,
                [Transfer.honest(remote.store)]
            )
            try transfer.run()
            local.store.beginCheckpoint(number)
            #expect(transfer.install() == .overtaken)
            #expect(local.store.advanceCheckpoint(keys: .max) == local.model.root)
        }
    }

    @Test func `another root than the certified one stops the process`() async {
        await #expect(processExitsWith: .failure) {
            let store = InMemoryStateStore()
            store.beginInstall([StateChange([1], in: .service, to: [2])], onto: nil, asCheckpoint: 1, root: .zero)
            _ = store.advanceInstall(keys: .max, bytes: .max)
        }
        await #expect(processExitsWith: .failure) {
            var limits = StateFetch.Limits()
            limits.requestsInFlight = 0
            let target = StateFetch.Target(checkpoint: 1, root: .zero)
            _ = StateFetch(of: target, into: InMemoryStateStore(), from: [], numberedFrom: 0, limits: limits)
        }
    }
}
