import Cryptography
import Invariants

/// Another state that takes the place of a store's, in steps: first each change is set, then the tree is computed as for a checkpoint.
package struct PendingInstall {
    package let number: UInt64
    /// What the new state's root has to be.
    package let root: Digest
    /// The state that the changes are made to; nil for the empty one.
    private let base: MerkleTree?
    private let changes: [StateChange]
    private var entries: [DirtyKeys.Entry] = []
    private var tree: PendingCheckpoint?

    /// How many bytes of values are in the new state's tree so far.
    package var mergedBytes: Int { tree?.mergedBytes ?? 0 }

    package init(_ changes: [StateChange], onto base: MerkleTree?, number: UInt64, root: Digest) {
        self.number = number
        self.root = root
        self.base = base
        self.changes = changes
        entries.reserveCapacity(changes.count)
    }

    /// Takes at most `keys` steps, at least one.
    ///
    /// - Parameters:
    ///   - keys: How many steps.
    ///   - bytes: After how many bytes of values that are hashed to end.
    ///   - forest: Where the new tree's nodes go.
    ///   - set: Called once for each change, before any is in the tree.
    package mutating func advance<Nodes: MerkleNodes>(
        keys: Int,
        bytes: Int,
        in forest: inout MerkleForest<Nodes>,
        set: (StoreKey, [UInt8]?) throws(Nodes.Failure) -> Void
    ) throws(Nodes.Failure) -> PendingCheckpoint.Progress {
        var left = max(keys, 1)
        while entries.count < changes.count {
            guard left > 0 else { return .workLeft }
            let change = changes[entries.count]
            let key = StoreKey(change.key, in: change.keyspace)
            try set(key, change.value)
            entries.append(DirtyKeys.Entry(key: key, value: change.value))
            left -= 1
        }
        var work = tree.take() ?? PendingCheckpoint(number: number, entries: entries, root: base)
        guard left > 0 else {
            tree = work
            return .workLeft
        }
        let progress = try work.advance(keys: left, bytes: bytes, in: &forest)
        switch progress {
        case .workLeft: tree = work
        case .finished(let tree):
            invariant((tree?.digest ?? .zero) == root, "installed state has another root than the certified one")
        }
        return progress
    }
}
