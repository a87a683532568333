import Cryptography
import Disk
import Invariants
import Messages
import StateStore

/// Writes the state of a new store: the entries come in the order of their paths, so that each branch is written about once and the
/// memory does not grow with their number.
struct BulkLoad {
    private static let sliceEntries = 512
    private static let sliceBytes = 4 << 20

    private let number: UInt64
    private var forest: MerkleForest<DiskNodes>
    private var tree: MerkleTree?
    private var slice: [MerkleChange] = []
    private var bytes = 0
    private var last: Digest?
    private var counts = EntryCounts()

    /// Begins with the checkpoint that will hold the entries.
    init(of number: UInt64, into database: Database, at path: String) {
        self.number = number
        forest = MerkleForest(DiskNodes(in: database, at: path, nextPlace: 0))
        forest.nodes.begin(number)
    }

    /// Adds the next entry.
    ///
    /// - Returns: Whether its path is above that of the one before; otherwise nothing is added.
    mutating func add(_ keyspace: Keyspace, _ entry: StateEntry) throws(StoreError) -> Bool {
        let key = StoreKey(entry.key, in: keyspace)
        let place = forest.path(of: key)
        if let last, place <= last { return false }
        last = place
        slice.append(MerkleChange(path: place, key: key, value: entry.value))
        counts.change(keyspace, from: nil, to: entry.value)
        bytes += entry.value.count
        if slice.count >= Self.sliceEntries || bytes >= Self.sliceBytes { try flush() }
        return true
    }

    private mutating func flush() throws(StoreError) {
        guard !slice.isEmpty else { return }
        tree = try forest.updated(tree, with: slice[...], depth: 0)
        try forest.nodes.merged(slice[...])
        slice.removeAll(keepingCapacity: true)
        bytes = 0
    }

    /// Writes what is left, and the record of the checkpoint to a batch.
    ///
    /// - Returns: The root.
    mutating func finish(in batch: WriteBatch) throws(StoreError) -> Digest {
        try flush()
        let checkpoint = RocksStateStore.Checkpoint(
            number: number,
            tree: tree,
            nextPlace: forest.nodes.nextPlace,
            counts: counts
        )
        batch.put(checkpoint.record, at: RocksStateStore.Checkpoint.key(number), in: .header)
        return checkpoint.root
    }
}

extension DurableStore {
    /// Makes a store that begins with a state; it is there as a whole or, after a crash, not at all.
    ///
    /// - Parameters:
    ///   - path: A directory that does not exist yet, or is empty, in one that exists.
    ///   - owner: Whose store it will be.
    ///   - number: The sequence number of the state.
    ///   - load: Calls what it is given with each entry, in the order of the paths in the Merkle tree.
    /// - Returns: The Merkle root.
    /// - Throws: When something else is there, or the disk refuses.
    @discardableResult
    package static func create(
        at path: String,
        for owner: StoreOwner,
        asCheckpoint number: UInt64,
        _ load: (_ add: (Keyspace, StateEntry) throws(StoreError) -> Void) throws(StoreError) -> Void
    ) throws(StoreError) -> Digest {
        var root = Digest.zero
        try make(at: path, for: owner) { database, batch throws(StoreError) in
            var loading = BulkLoad(of: number, into: database, at: path)
            try load { keyspace, entry throws(StoreError) in
                let isNext = try loading.add(keyspace, entry)
                invariant(isNext, "entries to begin with are out of order")
            }
            root = try loading.finish(in: batch)
        }
        return root
    }
}
