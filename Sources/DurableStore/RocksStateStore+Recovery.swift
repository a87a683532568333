import Cryptography
import Disk
import Invariants
import Messages
import StateStore

/// The number of entries of each keyspace.
struct EntryCounts {
    var system = 0
    var service = 0

    subscript(keyspace: Keyspace) -> Int { keyspace == .system ? system : service }

    /// Counts a change of an entry.
    mutating func change(_ keyspace: Keyspace, from before: [UInt8]?, to after: [UInt8]?) {
        let difference = (after == nil ? 0 : 1) - (before == nil ? 0 : 1)
        switch keyspace {
        case .system: system += difference
        case .service: service += difference
        }
    }
}

extension RocksStateStore.Checkpoint {
    private static let prefix = Array("checkpoint/".utf8)

    static func key(_ number: UInt64) -> [UInt8] { prefix + DiskNodes.bigEndian(number) }

    /// The record's value: 1 and the root's digest and name (u64), or 0 for the empty state; then the number of the next node, and of
    /// the entries of the system and of the service (u64 each).
    var record: [UInt8] {
        var bytes: [UInt8] = [tree == nil ? 0 : 1]
        if let tree {
            tree.digest.append(to: &bytes)
            bytes.append(littleEndian: tree.root.rawValue)
        }
        bytes.append(littleEndian: nextPlace)
        bytes.append(littleEndian: UInt64(counts.system))
        bytes.append(littleEndian: UInt64(counts.service))
        return bytes
    }

    /// Reads a record; nil for the key of another one.
    init?(key: [UInt8], record: [UInt8]) throws(MalformedMessage) {
        guard key.starts(with: Self.prefix) else { return nil }
        number = key.dropFirst(Self.prefix.count).reduce(0) { $0 << 8 | UInt64($1) }
        var reader = ByteReader(record)
        if try reader.readFlag() {
            let digest = try reader.readDigest()
            tree = MerkleTree(digest: digest, root: MerkleNodeID(rawValue: try reader.readUInt64()))
        } else {
            tree = nil
        }
        nextPlace = try reader.readUInt64()
        let system = Int(exactly: try reader.readUInt64())
        let service = Int(exactly: try reader.readUInt64())
        guard let system, let service else { throw .overLimit(.state) }
        counts = EntryCounts(system: system, service: service)
        try reader.finish()
    }
}

/// What a crash leaves behind, and how the store goes back to a whole checkpoint.
extension RocksStateStore {
    private static let keysPerBatch = 1024

    /// The finished checkpoints on disk, oldest first.
    static func checkpoints(in database: Database, at path: String) throws(StoreError) -> [Checkpoint] {
        var found: [Checkpoint] = []
        let records = database.entries(of: .header)
        while let (key, record) = try withDatabase(at: path, { () throws(DatabaseError) in try records.next() }) {
            do {
                if let checkpoint = try Checkpoint(key: key, record: record) { found.append(checkpoint) }
            } catch {
                throw .damaged(path, "the record of a checkpoint is not what was written")
            }
        }
        return found
    }

    /// Removes what belongs to no finished checkpoint: first the values go back to the last one's, then nodes and lists go. It can be
    /// cut short at any point and done again.
    func removeUnfinished() throws(StoreError) {
        let last = checkpoints.last
        let unfinished = Unfinished(after: last)
        var keys: [StoreKey] = []
        let isAnythingThere = try unfinished.visitKeys(in: database, forest.nodes, at: path) { key throws(StoreError) in
            keys.append(key)
            if keys.count >= Self.keysPerBatch { try restore(&keys, last?.tree) }
        }
        try restore(&keys, last?.tree)
        guard isAnythingThere else { return }
        let batch = WriteBatch(for: database)
        let end = [UInt8](repeating: 0xFF, count: 17)
        batch.delete(from: unfinished.firstNode, to: end, in: .nodes)
        batch.delete(from: unfinished.firstList, to: end, in: .turnover)
        try write(batch)
    }

    private func restore(_ keys: inout [StoreKey], _ tree: MerkleTree?) throws(StoreError) {
        guard !keys.isEmpty else { return }
        let batch = WriteBatch(for: database)
        for key in keys {
            if let value = try forest.value(of: key, in: tree) {
                batch.put(value, at: DiskNodes.key(of: key), in: .values)
            } else {
                batch.delete(DiskNodes.key(of: key), in: .values)
            }
        }
        try write(batch)
        keys.removeAll(keepingCapacity: true)
    }
}

/// What was written of a checkpoint that was not finished.
struct Unfinished {
    /// The key of its first node.
    let firstNode: [UInt8]
    /// The key of its first list of replaced nodes.
    let firstList: [UInt8]

    /// What comes after the last finished checkpoint, or after nothing.
    init(after last: RocksStateStore.Checkpoint?) {
        firstNode = DiskNodes.bigEndian(last?.nextPlace ?? 0)
        firstList = DiskNodes.turnoverKey((last?.number).map { $0 + 1 } ?? 0, 0)
    }

    /// Visits the keys whose values may be its, some more than once.
    ///
    /// - Returns: Whether anything was written of it.
    func visitKeys(
        in database: Database,
        _ nodes: DiskNodes,
        at path: String,
        _ visit: (StoreKey) throws(StoreError) -> Void
    ) throws(StoreError) -> Bool {
        var isAnythingThere = false
        let added = database.entries(of: .nodes, from: firstNode)
        while let (_, record) = try withDatabase(at: path, { () throws(DatabaseError) in try added.next() }) {
            isAnythingThere = true
            guard record.first != 0 else { continue }
            guard case .leaf(let keyspace, let entry) = StateNode(encoded: record) else {
                throw .damaged(path, "a record is not the node it was")
            }
            try visit(StoreKey(entry.key, in: keyspace))
        }
        let lists = database.entries(of: .turnover, from: firstList)
        while let (_, names) = try withDatabase(at: path, { () throws(DatabaseError) in try lists.next() }) {
            isAnythingThere = true
            for name in DiskNodes.names(in: names) where name.isLeaf { try visit(try nodes.leaf(name).key) }
        }
        return isAnythingThere
    }
}

/// Remembers the branches on the way to a node, since the next one asked for is most often close to it.
struct NodeTrail {
    private let tree: MerkleTree
    private var steps: [UInt8] = []
    /// The branches from the root on, one at each of ``steps`` and one more.
    private var branches: [MerkleBranch] = []

    init(from tree: MerkleTree) {
        self.tree = tree
    }

    /// The same when it begins at this root.
    func take(from tree: MerkleTree) -> NodeTrail? { tree == self.tree ? self : nil }

    /// The subtree that `path` leads to, or nil.
    mutating func subtree(at path: SubtreePath, in nodes: DiskNodes) throws(StoreError) -> MerkleTree? {
        let wanted = path.steps
        var common = 0
        while common < min(steps.count, wanted.count), steps[common] == wanted[common] { common += 1 }
        steps.removeSubrange(common...)
        branches.removeSubrange(min(common + 1, branches.count)...)
        var reached = tree
        if common > 0 {
            guard let child = branches[common - 1].child(at: wanted[common - 1]) else { return nil }
            reached = child
        }
        while true {
            if steps.count == wanted.count { return reached }
            guard !reached.root.isLeaf else { return nil }
            if branches.count == steps.count { branches.append(try nodes.branch(reached.root)) }
            let step = wanted[steps.count]
            guard let child = branches[steps.count].child(at: step) else { return nil }
            reached = child
            steps.append(step)
        }
    }
}

/// The entries of a range as they are on disk.
struct DiskEntries {
    private let cursor: Cursor
    private let keyspace: UInt8
    private let end: [UInt8]?
    private let path: String

    init(in database: Database, _ range: KeyRange, of keyspace: Keyspace, at path: String) {
        cursor = database.entries(of: .values, from: [keyspace.rawValue] + range.from)
        self.keyspace = keyspace.rawValue
        end = range.to
        self.path = path
    }

    mutating func next() throws(StoreError) -> (key: [UInt8], value: [UInt8])? {
        let entry = try withDatabase(at: path) { () throws(DatabaseError) in try cursor.next() }
        guard let (key, value) = entry, key.first == keyspace else { return nil }
        let own = Array(key.dropFirst())
        if let end, !precedes(own, end) { return nil }
        return (own, value)
    }
}

/// The entries of a range as they were written in memory.
struct WrittenEntries {
    private let overlay: Overlay
    private var keys: OrderedIndex.Keys
    /// The next key, or nil at the end.
    private(set) var first: StoreKey?

    init(_ overlay: Overlay, _ range: KeyRange, of keyspace: Keyspace) {
        self.overlay = overlay
        keys = overlay.keys(in: range, of: keyspace)
        first = keys.next()
    }

    /// Takes what was written to `key` for its value, if that is the next key, and goes on.
    mutating func take(_ key: [UInt8], to value: inout [UInt8]?) {
        guard let written = first, written.bytes == key else { return }
        value = overlay[written]?.value
        first = keys.next()
    }
}
