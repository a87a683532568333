import Cryptography
import StateStore
import TestSupport
import Testing

/// The store and the naive model go through the same random operations and must agree after each.
struct ModelTests {
    /// A key out of few, so that overwriting and deleting are common; some share long beginnings.
    private static func key(_ random: inout SplitMix64) -> [UInt8] {
        let number = random.below(400)
        switch number % 4 {
        case 0: return [UInt8(number & 255)]
        case 1: return Array("prefix/".utf8) + [UInt8(number & 255), UInt8(number >> 8)]
        case 2: return Array(repeating: 0xFF, count: number % 7)
        default: return Array("k\(number)".utf8)
        }
    }

    private static func range(_ random: inout SplitMix64) -> KeyRange {
        switch random.below(4) {
        case 0: .all
        case 1: KeyRange(from: key(&random))
        case 2: KeyRange(from: key(&random), to: key(&random))
        default: KeyRange(prefix: Array(key(&random).prefix(2)))
        }
    }

    @Test(arguments: StoreKind.allCases, [1, 2, 3, 4, 5, 6] as [UInt64])
    func `random operations agree with the model`(kind: StoreKind, seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        try kind.withStore { store in
            var model = Model()
            var checkpoint: UInt64 = 0
            for _ in 0..<3000 {
                let keyspace: Keyspace = random.below(4) == 0 ? .system : .service
                let key = Self.key(&random)
                switch random.below(100) {
                case 0..<50:
                    let value = random.bytes(random.below(40))
                    store.put(value, at: key, in: keyspace)
                    model.set(key, to: value, in: keyspace)
                case 50..<80:
                    let wasThere = model.value(of: key, in: keyspace) != nil
                    #expect(store.delete(key, in: keyspace) == wasThere)
                    model.set(key, to: nil, in: keyspace)
                case 80..<90:
                    #expect(store.value(of: key, in: keyspace) == model.value(of: key, in: keyspace))
                case 90..<98:
                    let range = Self.range(&random)
                    #expect(store.entries(range, in: keyspace) == model.entries(range, in: keyspace))
                    #expect(store.count(in: keyspace) == model.count(in: keyspace))
                default:
                    checkpoint += 1
                    #expect(store.checkpoint(checkpoint) == model.root)
                }
            }
            #expect(store.checkpoint(checkpoint + 1) == model.root)
        }
    }

    @Test(arguments: StoreKind.allCases, [11, 12, 13] as [UInt64])
    func `rolling back restores what a copy would have kept`(kind: StoreKind, seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        try kind.withStore { store in
            var model = Model()
            var sections: [(mark: TentativeMark, before: Model)] = []
            var checkpoint: UInt64 = 0
            for _ in 0..<4000 {
                switch random.below(40) {
                case 0 where sections.count < 8:
                    sections.append((store.beginTentative(), model))
                case 1 where !sections.isEmpty:
                    store.commit(sections.removeFirst().mark)
                case 2 where !sections.isEmpty:
                    let place = random.below(sections.count)
                    store.rollBack(to: sections[place].mark)
                    model = sections[place].before
                    sections.removeSubrange(place...)
                    #expect(store.entries(in: .service) == model.entries(.all, in: .service))
                    #expect(store.entries(in: .system) == model.entries(.all, in: .system))
                case 3 where sections.isEmpty:
                    checkpoint += 1
                    #expect(store.checkpoint(checkpoint) == model.root)
                default:
                    let keyspace: Keyspace = random.below(2) == 0 ? .system : .service
                    let key = Self.key(&random)
                    let value = random.below(3) == 0 ? nil : random.bytes(3)
                    if let value {
                        store.put(value, at: key, in: keyspace)
                    } else {
                        store.delete(key, in: keyspace)
                    }
                    model.set(key, to: value, in: keyspace)
                }
            }
            #expect(checkpoint > 0)
        }
    }

    @Test func `an index of many chunks stays sorted through growth and shrinkage`() {
        var random = SplitMix64(seed: 21)
        let keys = (0..<5000).map { Array("key\($0)".utf8) }
        for order in [keys, keys.reversed(), random.shuffled(keys)] {
            let store = InMemoryStateStore()
            for key in order {
                store.put(key, at: key, in: .service)
            }
            let sorted = keys.sorted { $0.lexicographicallyPrecedes($1) }
            #expect(store.entries().map(\.key) == sorted)
            let gone = Set(random.shuffled(keys).prefix(4900))
            for key in order where gone.contains(key) {
                store.delete(key, in: .service)
            }
            #expect(store.entries().map(\.key) == sorted.filter { !gone.contains($0) })
            #expect(store.count(in: .service) == 100)
            for key in order {
                store.delete(key, in: .service)
            }
            #expect(store.entries().isEmpty)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `a scan stops where its visitor says`(kind: StoreKind) throws {
        try kind.withStore { store in
            for number in 0..<1000 {
                store.put([], at: [UInt8(number >> 8), UInt8(number & 255)], in: .service)
            }
            var visited = 0
            store.scan(KeyRange(from: [1]), in: .service) { _, _ in
                visited += 1
                return visited < 300 ? .more : .stop
            }
            #expect(visited == 300)
        }
    }
}
