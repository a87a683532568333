import Cryptography
import Invariants

/// The keys written since the last checkpoint, each once, with their latest values.
package struct DirtyKeys {
    package struct Entry {
        package let key: StoreKey
        package fileprivate(set) var value: [UInt8]?

        package init(key: StoreKey, value: [UInt8]?) {
            self.key = key
            self.value = value
        }
    }

    package private(set) var entries: [Entry] = []
    private var places: [StoreKey: Int] = [:]

    package init() {}

    /// What was noted of `key`, or nil when nothing was.
    package subscript(key: StoreKey) -> Entry? { places[key].map { entries[$0] } }

    /// Notes that `key` has `value` now, or is deleted.
    package mutating func set(_ key: StoreKey, to value: [UInt8]?) {
        if let place = places[key] {
            entries[place].value = value
        } else {
            places[key] = entries.count
            entries.append(Entry(key: key, value: value))
        }
    }
}

/// A checkpoint whose root is being computed, in steps, beside execution.
///
/// First each changed key gets its path and falls into one of 256 buckets, by the path's first byte. Then the buckets
/// are taken in order, sorted and merged into the tree a slice at a time: neighbours in the tree share the hashes above
/// them. No step sorts or hashes more than a bucket or a slice, so none takes long however many keys changed.
package struct PendingCheckpoint {
    private static let sliceKeys = 512
    private static let bucketCount = 256

    package let number: UInt64
    private var root: MerkleTree?
    /// The keys written since the checkpoint before.
    package let entries: [DirtyKeys.Entry]
    private var nextEntry = 0
    private var buckets: [[MerkleChange]] = Array(repeating: [], count: bucketCount)
    private var nextBucket = 0
    /// Changes of buckets already taken, sorted; those before `nextChange` are in the tree.
    private var sorted: [MerkleChange] = []
    private var nextChange = 0
    /// How many bytes of values are in the tree so far.
    package private(set) var mergedBytes = 0

    package init(number: UInt64, entries: [DirtyKeys.Entry], root: MerkleTree?) {
        self.number = number
        self.entries = entries
        self.root = root
    }

    /// The number of steps in all: each key is placed, and merged.
    package var steps: Int { entries.count * 2 }

    /// What one call to ``advance(keys:bytes:in:)`` came to.
    package enum Progress {
        case workLeft
        /// The new tree; nil when it is empty.
        case finished(MerkleTree?)
    }

    /// Takes at most `keys` steps, a step being one key placed or one key merged, and ends once values of `bytes` in all are merged.
    package mutating func advance<Nodes: MerkleNodes>(
        keys: Int,
        bytes: Int = .max,
        in forest: inout MerkleForest<Nodes>
    ) throws(Nodes.Failure) -> Progress {
        var left = max(keys, 1)
        var bytesLeft = max(bytes, 1)
        while nextEntry < entries.count {
            guard left > 0 else { return .workLeft }
            let entry = entries[nextEntry]
            let path = forest.path(of: entry.key)
            buckets[Int(path[0])].append(MerkleChange(path: path, key: entry.key, value: entry.value))
            nextEntry += 1
            left -= 1
        }
        while true {
            takeBuckets()
            guard nextChange < sorted.count else { return .finished(root) }
            guard left > 0, bytesLeft > 0 else { return .workLeft }
            let most = nextChange + min(Self.sliceKeys, left, sorted.count - nextChange)
            var end = nextChange
            while end < most, bytesLeft > 0 {
                let size = sorted[end].value?.count ?? 0
                bytesLeft -= min(size, bytesLeft)
                mergedBytes += size
                end += 1
            }
            root = try forest.updated(root, with: sorted[nextChange..<end], depth: 0)
            try forest.nodes.merged(sorted[nextChange..<end])
            left -= end - nextChange
            nextChange = end
        }
    }

    /// Sorts further buckets once all taken changes are in the tree, until they make a slice.
    private mutating func takeBuckets() {
        guard nextChange == sorted.count else { return }
        sorted.removeAll(keepingCapacity: true)
        nextChange = 0
        while nextBucket < Self.bucketCount, sorted.count < Self.sliceKeys {
            buckets[nextBucket].sort { $0.path < $1.path }
            sorted.append(contentsOf: buckets[nextBucket])
            buckets[nextBucket] = []
            nextBucket += 1
        }
    }
}
