import Cryptography
import StateStore
import TestSupport
import Testing

struct CheckpointTests {
    private static func key(_ number: Int) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
    }

    private static func store(entries: Int) -> InMemoryStateStore {
        let store = InMemoryStateStore()
        fill(store, entries: entries)
        return store
    }

    private static func fill(_ store: any AuthenticatedStore, entries: Int) {
        for number in 0..<entries {
            store.put([1, 2, 3], at: key(number), in: .service)
        }
        _ = store.checkpoint(1)
    }

    // The expected values come from an implementation of the documented format in another language.
    @Test func `digests are the documented ones`() {
        let entry = StateEntry(key: Array("a".utf8), value: Array("2".utf8))
        #expect(
            MerkleFormat.path(of: entry.key, in: .service).description
                == "362154ce969cdad97d1b7fc1f3fc3a203d0bc5c01188825583167508d1de2b3f"
        )
        #expect(
            MerkleFormat.leafDigest(of: entry, in: .service).description
                == "90e84839b1ca1086d3710b195348f9c768e1ca01916cab198a2c6123c81eb5e2"
        )
        let store = InMemoryStateStore()
        #expect(store.checkpoint(1) == .zero)
        store.put(Array("1".utf8), at: Array("a".utf8), in: .system)
        store.put(Array("2".utf8), at: Array("a".utf8), in: .service)
        store.put([], at: Array("b".utf8), in: .service)
        #expect(
            store.checkpoint(2).description == "faa5dfb0a779024585c88016095d54e4f752c5b0d9b3a83af0eea262cdea107a"
        )
        let larger = InMemoryStateStore()
        for number in 0..<100 {
            larger.put(Array(repeating: UInt8(ascii: "v"), count: number), at: Self.key(number), in: .service)
        }
        #expect(
            larger.checkpoint(1).description == "c5bd1416786c4c00d78240d8a96c26c330627eea5b5e5ca76d88018dc51cec1a"
        )
    }

    @Test func `the root depends on the entries and not on how they came about`() {
        var random = SplitMix64(seed: 31)
        let entries = (0..<500).map { (key: Self.key($0), value: random.bytes(8)) }
        var roots: Set<Digest> = []
        for round in 0..<6 {
            let store = InMemoryStateStore()
            var number: UInt64 = 0
            for (key, value) in random.shuffled(entries) {
                store.put([9], at: key + [round & 1 == 0 ? 1 : 2], in: .service)
                store.put([7], at: key, in: .service)
                if random.below(50) == 0 {
                    number += 1
                    _ = store.checkpoint(number)
                }
                store.put(value, at: key, in: .service)
            }
            for (key, _) in random.shuffled(entries) {
                store.delete(key + [round & 1 == 0 ? 1 : 2], in: .service)
            }
            roots.insert(store.checkpoint(number + 1))
        }
        #expect(roots.count == 1)
    }

    @Test func `inserting and deleting gives the root of before`() {
        let store = Self.store(entries: 200)
        let before = store.root(ofCheckpoint: 1)
        for number in 1000..<1200 {
            store.put([4], at: Self.key(number), in: .system)
        }
        #expect(store.checkpoint(2) != before)
        for number in 1000..<1200 {
            store.delete(Self.key(number), in: .system)
        }
        #expect(store.checkpoint(3) == before)
        for number in 0..<200 {
            store.delete(Self.key(number), in: .service)
        }
        #expect(store.checkpoint(4) == .zero)
    }

    @Test func `keyspace, key and value all reach the root`() {
        var roots: Set<Digest> = []
        let entries: [(Keyspace, [UInt8], [UInt8])] = [
            (.service, [1], [2]), (.system, [1], [2]), (.service, [1, 2], []), (.service, [], [1, 2]),
            (.service, [2], [1]),
        ]
        for (keyspace, key, value) in entries {
            let store = InMemoryStateStore()
            store.put(value, at: key, in: keyspace)
            roots.insert(store.checkpoint(1))
        }
        #expect(roots.count == entries.count)
    }

    @Test(arguments: StoreKind.allCases)
    func `a kept checkpoint is untouched by later writes and can be walked`(kind: StoreKind) throws {
        var random = SplitMix64(seed: 41)
        try kind.withStore { store in
            var model = Model()
            var models: [UInt64: Model] = [:]
            for number in UInt64(1)...10 {
                for _ in 0..<100 {
                    let key = Self.key(random.below(300))
                    let keyspace: Keyspace = random.below(2) == 0 ? .system : .service
                    let value = random.below(4) == 0 ? nil : random.bytes(5)
                    if let value {
                        store.put(value, at: key, in: keyspace)
                    } else {
                        store.delete(key, in: keyspace)
                    }
                    model.set(key, to: value, in: keyspace)
                }
                #expect(store.checkpoint(number) == model.root)
                models[number] = model
            }
            for number in UInt64(1)...6 {
                #expect(store.root(ofCheckpoint: number) == nil)
                #expect(store.node(at: .root, inCheckpoint: number) == nil)
            }
            for number in UInt64(7)...10 {
                let walk = store.walk(checkpoint: number)
                #expect(walk.isSound)
                #expect(walk.entries == models[number]?.walked)
            }
            store.releaseCheckpoints(before: 9)
            #expect(store.root(ofCheckpoint: 8) == nil)
            #expect(store.walk(checkpoint: 9).entries == models[9]?.walked)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `writes while a checkpoint is being computed belong to the next one`(kind: StoreKind) throws {
        try kind.withStore { store in
            Self.fill(store, entries: 300)
            var model = Model()
            for number in 0..<300 {
                model.set(Self.key(number), to: [1, 2, 3], in: .service)
            }
            for number in 0..<200 {
                store.put([5], at: Self.key(number), in: .service)
                model.set(Self.key(number), to: [5], in: .service)
            }
            let frozen = model
            store.beginCheckpoint(2)
            var steps = 0
            var root: Digest?
            while root == nil {
                let key = Self.key(steps % 400)
                store.put([6], at: key, in: .service)
                model.set(key, to: [6], in: .service)
                let gone = Self.key((steps * 7) % 400)
                store.delete(gone, in: .service)
                model.set(gone, to: nil, in: .service)
                root = store.advanceCheckpoint(keys: 3)
                steps += 1
            }
            #expect(root == frozen.root)
            #expect(store.walk(checkpoint: 2).entries == frozen.walked)
            #expect(store.checkpoint(3) == model.root)
            // 200 keys, each placed and merged, three steps a call.
            #expect(steps >= 400 / 3 && steps <= 400 / 3 + 2)
        }
    }

    @Test func `the root does not depend on the size of the steps`() {
        var roots: Set<Digest> = []
        for budget in [1, 7, 100, 5000] {
            let store = InMemoryStateStore()
            for number in 0..<2000 {
                store.put(Self.key(number), at: Self.key(number), in: .service)
            }
            store.beginCheckpoint(1)
            var root: Digest?
            while root == nil {
                root = store.advanceCheckpoint(keys: budget)
            }
            if let root { roots.insert(root) }
        }
        #expect(roots.count == 1)
    }

    @Test(arguments: StoreKind.allCases)
    func `the work of a checkpoint follows the keys written and not the size of the state`(kind: StoreKind) throws {
        var hashed: [UInt64] = []
        for size in [1000, 64_000] {
            try kind.withStore { store in
                Self.fill(store, entries: size)
                let before = store.hashedNodes
                for number in 0..<20 {
                    store.put([7], at: Self.key(number * (size / 20)), in: .service)
                }
                _ = store.checkpoint(2)
                hashed.append(store.hashedNodes - before)
                let idle = store.hashedNodes
                _ = store.checkpoint(3)
                #expect(store.hashedNodes == idle)
            }
        }
        // A leaf and, on its way to the root, at most a branch for each factor of 16 in the size, and a few by chance.
        #expect(hashed[0] >= 20 && hashed[0] <= 20 * 5)
        #expect(hashed[1] >= 20 && hashed[1] <= 20 * 7)
    }

    @Test(arguments: StoreKind.allCases)
    func `a key written many times is hashed once`(kind: StoreKind) throws {
        try kind.withStore { store in
            Self.fill(store, entries: 1000)
            let before = store.hashedNodes
            for number in 0..<1000 {
                store.put(Self.key(number), at: Self.key(5), in: .service)
            }
            _ = store.checkpoint(2)
            #expect(store.hashedNodes - before <= 7)
        }
    }

    @Test(arguments: StoreKind.allCases, [1, 2, 4])
    func `no more nodes are held than the kept checkpoints have`(kind: StoreKind, kept: Int) throws {
        var random = SplitMix64(seed: 51)
        try kind.withStore(checkpointsKept: kept) { store in
            for number in UInt64(1)...30 {
                for _ in 0..<random.below(400) {
                    let key = Self.key(random.below(1000))
                    if random.below(3) == 0 {
                        store.delete(key, in: .service)
                    } else {
                        store.put(random.bytes(2), at: key, in: .service)
                    }
                }
                store.beginCheckpoint(number)
                if number % 5 == 0 {
                    store.releaseCheckpoints(before: number)
                }
                while store.advanceCheckpoint(keys: 50) == nil {}
                if number % 7 == 0 {
                    store.releaseCheckpoints(before: number)
                    let walk = store.walk(checkpoint: number)
                    #expect(walk.isSound)
                    #expect(store.heldNodes == walk.nodes)
                }
            }
            for entry in store.entries() {
                store.delete(entry.key, in: .service)
            }
            #expect(store.checkpoint(31) == .zero)
            store.releaseCheckpoints(before: 31)
            #expect(store.heldNodes == 0)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `held checkpoints stay whole, beyond the number kept too, and what lies between takes no memory`(
        kind: StoreKind
    ) throws {
        var random = SplitMix64(seed: 53)
        try kind.withStore(checkpointsKept: 2) { store in
            var walks: [UInt64: Set<WalkedEntry>] = [:]
            for number in UInt64(1)...30 {
                for _ in 0..<100 {
                    let key = Self.key(random.below(300))
                    if random.below(4) == 0 {
                        store.delete(key, in: .service)
                    } else {
                        store.put(random.bytes(12), at: key, in: .service)
                    }
                }
                _ = store.checkpoint(number)
                if number == 3 || number == 11 {
                    store.heldCheckpoints.insert(number)
                    walks[number] = store.walk(checkpoint: number).entries
                }
                if number > 11 { store.releaseCheckpoints(before: number - 1) }
                for held in store.heldCheckpoints {
                    let walk = store.walk(checkpoint: held)
                    #expect(walk.isSound && walk.entries == walks[held])
                }
                if number == 20 {
                    store.heldCheckpoints = [11]
                    #expect(store.root(ofCheckpoint: 3) == nil)
                }
            }
            #expect(store.root(ofCheckpoint: 12) == nil && store.root(ofCheckpoint: 29) != nil)
            if kind == .memory {
                let kept = [11, 29, 30].map { store.walk(checkpoint: $0).nodes }
                #expect(store.heldNodes <= kept.reduce(0, +))
            }
            store.releaseCheckpoints(before: 30)
            store.heldCheckpoints = []
            #expect(store.root(ofCheckpoint: 11) == nil)
            let walk = store.walk(checkpoint: 30)
            #expect(walk.isSound && store.heldNodes == walk.nodes)
        }
    }

    @Test func `a store goes back to a held checkpoint though those between are gone`() {
        var random = SplitMix64(seed: 54)
        var twin = Twin(checkpointsKept: 1)
        twin.fill(0..<200, &random)
        let root = twin.store.checkpoint(1)
        let entries = twin.store.entries()
        twin.store.heldCheckpoints = [1]
        for number in UInt64(2)...9 {
            twin.change(80, keys: 300, &random)
            _ = twin.store.checkpoint(number)
        }
        #expect(twin.store.root(ofCheckpoint: 5) == nil)
        twin.store.beginInstall([], onto: 1, asCheckpoint: 10, root: root)
        #expect(twin.store.advanceInstall(keys: 1, bytes: .max))
        #expect(twin.store.entries() == entries)
        #expect(twin.store.walk(checkpoint: 10).isSound)
    }

    @Test func `bytes that are no path or no branch are refused`() {
        #expect(SubtreePath([0, 15, 3]) != nil)
        #expect(SubtreePath([16]) == nil)
        #expect(SubtreePath(Array(repeating: 1, count: 64)) != nil)
        #expect(SubtreePath(Array(repeating: 1, count: 65)) == nil)
        #expect(StateNode.Branch(bitmap: 0, children: []) == nil)
        #expect(StateNode.Branch(bitmap: 3, children: [.zero]) == nil)
        #expect(StateNode.Branch(bitmap: 2, children: [.zero])?.child(at: 1) == .zero)
        #expect(StateNode.Branch(bitmap: 2, children: [.zero])?.child(at: 0) == nil)
        #expect(StateNode.Branch(bitmap: 2, children: [.zero])?.child(at: 200) == nil)
        let store = Self.store(entries: 100)
        let tooDeep = SubtreePath(Array(repeating: 0, count: 64))
        #expect(tooDeep.flatMap { store.node(at: $0, inCheckpoint: 1) } == nil)
    }

    @Test func `misuse stops the process`() async {
        await #expect(processExitsWith: .failure) {
            let store = InMemoryStateStore()
            _ = store.beginTentative()
            store.beginCheckpoint(1)
        }
        await #expect(processExitsWith: .failure) {
            let store = InMemoryStateStore()
            _ = store.beginTentative()
            store.commit(store.beginTentative())
        }
        await #expect(processExitsWith: .failure) {
            let store = InMemoryStateStore()
            store.beginCheckpoint(1)
            store.beginCheckpoint(2)
        }
    }
}
