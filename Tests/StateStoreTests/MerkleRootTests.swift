import Cryptography
import TestSupport
import Testing

@testable import StateStore

/// The root computed in one pass over the sorted entries.
struct MerkleRootTests {
    @Test func `the root of a pass over the entries is that of the tree, whatever the entries`() {
        for seed in UInt64(0)..<200 {
            var random = SplitMix64(seed: seed)
            let store = InMemoryStateStore(checkpointsKept: 1)
            var entries: [(keyspace: Keyspace, entry: StateEntry)] = []
            for number in 0..<(seed < 40 ? Int(seed) : random.below(2000)) {
                let keyspace: Keyspace = random.below(4) == 0 ? .system : .service
                let entry = StateEntry(
                    key: [UInt8(number & 255), UInt8(number >> 8)],
                    value: random.bytes(random.below(9))
                )
                entries.append((keyspace, entry))
                store.put(entry.value, at: entry.key, in: keyspace)
            }
            entries.sort {
                MerkleFormat.path(of: $0.entry.key, in: $0.keyspace)
                    < MerkleFormat.path(of: $1.entry.key, in: $1.keyspace)
            }
            var builder = MerkleRootBuilder()
            for (keyspace, entry) in entries {
                let isNext = builder.add(entry, in: keyspace)
                #expect(isNext)
            }
            let root = builder.finish()
            #expect(root == store.checkpoint(1), "\(entries.count) entries")
        }
    }

    @Test func `entries out of order or twice are refused`() {
        let keys: [[UInt8]] = [[1], [2]].sorted {
            MerkleFormat.path(of: $0, in: .service) < MerkleFormat.path(of: $1, in: .service)
        }
        var builder = MerkleRootBuilder()
        let entries = [(keys[1], []), (keys[1], [1]), (keys[0], [])].map { StateEntry(key: $0, value: $1) }
        let taken = entries.map { builder.add($0, in: .service) }
        #expect(taken == [true, false, false])
        let root = builder.finish()
        #expect(root == MerkleFormat.leafDigest(of: entries[0], in: .service))
    }
}
