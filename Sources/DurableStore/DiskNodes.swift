import Cryptography
import Disk
import Invariants
import Messages
import StateStore

/// The nodes of the Merkle trees in the database, under numbers that only grow.
///
/// What a checkpoint that is being computed adds is above all numbers of those before it, so that what was left of an unfinished one is
/// found and removed as a range. Nothing refers to it before the checkpoint's own record is written.
///
/// A leaf's record is its encoding in a ``StateAnswer``. A branch's: 0 (u8), bit map (u16), and for each child its digest and its name
/// (u64). The record of replaced nodes has their names (u64 each), integers little-endian but in keys, which sort by them.
struct DiskNodes: MerkleNodes {
    private let database: Database
    private let path: String
    /// The number of the next node.
    private(set) var nextPlace: UInt64
    private var checkpoint: UInt64 = 0
    /// The number of the first node of the checkpoint that is being computed.
    private var firstPlace: UInt64 = 0
    private var slices: UInt32 = 0
    private var retired: [MerkleNodeID] = []
    private let batch: WriteBatch

    init(in database: Database, at path: String, nextPlace: UInt64) {
        self.database = database
        self.path = path
        self.nextPlace = nextPlace
        batch = WriteBatch(for: database)
    }

    /// What comes now belongs to this checkpoint.
    mutating func begin(_ checkpoint: UInt64) {
        invariant(retired.isEmpty && batch.count == 0, "a checkpoint was left half written")
        self.checkpoint = checkpoint
        firstPlace = nextPlace
        slices = 0
    }

    /// Forgets what was not written, and goes on with this number.
    mutating func abandon(nextPlace: UInt64) {
        batch.removeAll()
        retired = []
        self.nextPlace = nextPlace
    }

    func leaf(_ id: MerkleNodeID) throws(StoreError) -> MerkleLeaf {
        guard case .leaf(let keyspace, let entry) = StateNode(encoded: try record(id)) else { throw notANode(id) }
        return MerkleLeaf(
            path: MerkleFormat.path(of: entry.key, in: keyspace),
            key: StoreKey(entry.key, in: keyspace),
            value: entry.value
        )
    }

    func branch(_ id: MerkleNodeID) throws(StoreError) -> MerkleBranch {
        let bytes = try record(id)
        guard let branch = try? Self.branch(encoded: bytes) else { throw notANode(id) }
        return branch
    }

    private static func branch(encoded bytes: [UInt8]) throws(MalformedMessage) -> MerkleBranch {
        var reader = ByteReader(bytes)
        guard try reader.readUInt8() == 0 else { throw .badField(.kind) }
        let bitmap = try reader.readUInt16()
        guard bitmap != 0 else { throw .badField(.state) }
        var children: [MerkleTree] = []
        children.reserveCapacity(bitmap.nonzeroBitCount)
        for _ in 0..<bitmap.nonzeroBitCount {
            let digest = try reader.readDigest()
            children.append(MerkleTree(digest: digest, root: MerkleNodeID(rawValue: try reader.readUInt64())))
        }
        try reader.finish()
        return MerkleBranch(bitmap: bitmap, children: children)
    }

    private func record(_ id: MerkleNodeID) throws(StoreError) -> [UInt8] {
        let bytes = try withDatabase(at: path) { () throws(DatabaseError) in
            try database.value(of: Self.key(id), in: .nodes)
        }
        guard let bytes else { throw .damaged(path, "it lacks the node \(id.place)") }
        return bytes
    }

    private func notANode(_ id: MerkleNodeID) -> StoreError {
        .damaged(path, "the record \(id.place) is not the node it was")
    }

    mutating func insert(_ leaf: MerkleLeaf) -> MerkleNodeID {
        let id = MerkleNodeID.leaf(at: takePlace())
        var bytes: [UInt8] = []
        bytes.reserveCapacity(7 + leaf.key.bytes.count + leaf.value.count)
        StateNode.leaf(leaf.key.keyspace, StateEntry(key: leaf.key.bytes, value: leaf.value)).append(to: &bytes)
        batch.put(bytes, at: Self.key(id), in: .nodes)
        return id
    }

    mutating func insert(_ branch: MerkleBranch) -> MerkleNodeID {
        let id = MerkleNodeID.branch(at: takePlace())
        var bytes: [UInt8] = []
        bytes.reserveCapacity(3 + branch.children.count * 40)
        bytes.append(0)
        bytes.append(littleEndian: branch.bitmap)
        for child in branch.children {
            child.digest.append(to: &bytes)
            bytes.append(littleEndian: child.root.rawValue)
        }
        batch.put(bytes, at: Self.key(id), in: .nodes)
        return id
    }

    private mutating func takePlace() -> UInt64 {
        defer { nextPlace += 1 }
        return nextPlace
    }

    mutating func retire(_ id: MerkleNodeID) {
        if id.place >= firstPlace {
            // A slice before has added it, so no other tree has it. It is no leaf: each key comes once.
            batch.delete(Self.key(id), in: .nodes)
        } else {
            retired.append(id)
        }
    }

    /// Writes a slice: its nodes, the list of those it replaced, and the values, all or nothing.
    mutating func merged(_ changes: ArraySlice<MerkleChange>) throws(StoreError) {
        for change in changes {
            let key = Self.key(of: change.key)
            if let value = change.value {
                batch.put(value, at: key, in: .values)
            } else {
                batch.delete(key, in: .values)
            }
        }
        if !retired.isEmpty {
            batch.put(Self.encoded(retired), at: Self.turnoverKey(checkpoint, slices), in: .turnover)
            slices += 1
            retired.removeAll(keepingCapacity: true)
        }
        defer { batch.removeAll() }
        try withDatabase(at: path) { () throws(DatabaseError) in try database.write(batch) }
    }

    // MARK: Keys

    static func key(_ id: MerkleNodeID) -> [UInt8] { bigEndian(id.place) }

    /// The key of an entry's value: its keyspace and its own key.
    static func key(of key: StoreKey) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(1 + key.bytes.count)
        bytes.append(key.keyspace.rawValue)
        bytes.append(contentsOf: key.bytes)
        return bytes
    }

    static func turnoverKey(_ checkpoint: UInt64, _ slice: UInt32) -> [UInt8] {
        bigEndian(checkpoint) + bigEndian(UInt64(slice))
    }

    static func bigEndian(_ number: UInt64) -> [UInt8] {
        stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> UInt64($0)) }
    }

    private static func encoded(_ names: [MerkleNodeID]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(names.count * 8)
        for name in names { bytes.append(littleEndian: name.rawValue) }
        return bytes
    }

    static func names(in bytes: [UInt8]) -> [MerkleNodeID] {
        var reader = ByteReader(bytes)
        var names: [MerkleNodeID] = []
        names.reserveCapacity(bytes.count / 8)
        while let rawValue = try? reader.readUInt64() { names.append(MerkleNodeID(rawValue: rawValue)) }
        return names
    }
}
