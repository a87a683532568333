import Cryptography
import Invariants

/// How the Merkle tree of the state places and hashes its nodes, byte for byte; see <doc:StateStore>.
public enum MerkleFormat {
    /// The number of 4-bit steps in a path: the deepest a node can lie.
    public static let depth = Digest.byteCount * 2

    /// The path of an entry's leaf: BLAKE2b-256 of 0x02, the keyspace (u8) and the key.
    public static func path(of key: [UInt8], in keyspace: Keyspace) -> Digest {
        var hasher = MerkleHasher()
        return hasher.path(of: key, in: keyspace)
    }

    /// The digest of a leaf: BLAKE2b-256 of 0x00, the keyspace (u8), the key's length (u32), the key and the value.
    public static func leafDigest(of entry: StateEntry, in keyspace: Keyspace) -> Digest {
        var hasher = MerkleHasher()
        return hasher.leaf(key: entry.key, value: entry.value, in: keyspace)
    }

    /// The digest of a branch: BLAKE2b-256 of 0x01, the bit map of its children (u16) and their digests in the order of
    /// the steps.
    public static func branchDigest(of branch: StateNode.Branch) -> Digest {
        var hasher = MerkleHasher()
        return hasher.branch(bitmap: branch.bitmap, children: branch.children)
    }
}

/// Computes digests of nodes in one buffer that is used again and again, and counts them.
package struct MerkleHasher {
    private static let pathTag: UInt8 = 2
    private static let leafTag: UInt8 = 0
    private static let branchTag: UInt8 = 1
    private static let keptCapacity = 1 << 16

    private var buffer: [UInt8] = []
    /// The number of leaves and branches hashed so far.
    package private(set) var nodes: UInt64 = 0

    package init() {}

    package mutating func path(of key: [UInt8], in keyspace: Keyspace) -> Digest {
        start(Self.pathTag)
        buffer.append(keyspace.rawValue)
        buffer.append(contentsOf: key)
        return Digest.of(buffer)
    }

    package mutating func leaf(key: [UInt8], value: [UInt8], in keyspace: Keyspace) -> Digest {
        nodes += 1
        start(Self.leafTag)
        buffer.append(keyspace.rawValue)
        let length = UInt32(truncatingIfNeeded: key.count)
        for shift in stride(from: UInt32(0), to: 32, by: 8) {
            buffer.append(UInt8(truncatingIfNeeded: length >> shift))
        }
        buffer.append(contentsOf: key)
        buffer.append(contentsOf: value)
        let digest = Digest.of(buffer)
        if buffer.capacity > Self.keptCapacity {
            buffer = []
        }
        return digest
    }

    package mutating func branch(bitmap: UInt16, children: some Sequence<Digest>) -> Digest {
        nodes += 1
        start(Self.branchTag)
        buffer.append(UInt8(truncatingIfNeeded: bitmap))
        buffer.append(UInt8(truncatingIfNeeded: bitmap >> 8))
        for digest in children {
            digest.append(to: &buffer)
        }
        return Digest.of(buffer)
    }

    mutating func digest(of node: StateNode) -> Digest {
        switch node {
        case .leaf(let keyspace, let entry): leaf(key: entry.key, value: entry.value, in: keyspace)
        case .branch(let branch): self.branch(bitmap: branch.bitmap, children: branch.children)
        }
    }

    private mutating func start(_ tag: UInt8) {
        buffer.removeAll(keepingCapacity: true)
        buffer.append(tag)
    }
}

/// A node of the state's Merkle tree as another replica sees it.
public enum StateNode: Hashable, Sendable {
    /// An entry.
    case leaf(Keyspace, StateEntry)

    /// The node above two or more entries.
    case branch(Branch)

    /// The children of a branch, by their digests.
    public struct Branch: Hashable, Sendable {
        /// Bit i is set when there is a child at step i.
        public let bitmap: UInt16

        /// The digests of the children, in the order of their steps.
        public let children: [Digest]

        /// Takes the children of a branch.
        ///
        /// - Returns: nil unless there is at least one child and exactly one for each bit of `bitmap`.
        public init?(bitmap: UInt16, children: [Digest]) {
            guard !children.isEmpty, children.count == bitmap.nonzeroBitCount else { return nil }
            self.bitmap = bitmap
            self.children = children
        }

        /// The digest of the child at `step`, or nil when there is none.
        public func child(at step: UInt8) -> Digest? {
            guard step < 16, bitmap >> UInt16(step) & 1 == 1 else { return nil }
            return children[(bitmap & ((1 << UInt16(step)) - 1)).nonzeroBitCount]
        }
    }

    /// The node's own digest, computed from its contents.
    public var digest: Digest {
        switch self {
        case .leaf(let keyspace, let entry): MerkleFormat.leafDigest(of: entry, in: keyspace)
        case .branch(let branch): MerkleFormat.branchDigest(of: branch)
        }
    }
}

/// The way from the root of the Merkle tree to a node: one step of 4 bits a level.
public struct SubtreePath: Hashable, Sendable {
    /// The way to the root itself.
    public static let root = SubtreePath()

    /// The steps from the root, each 0 to 15.
    public let steps: [UInt8]

    private init() {
        steps = []
    }

    /// The way of these steps.
    ///
    /// - Returns: nil when there are more than ``MerkleFormat/depth`` of them or one is above 15.
    public init?(_ steps: [UInt8]) {
        guard steps.count <= MerkleFormat.depth, steps.allSatisfy({ $0 < 16 }) else { return nil }
        self.steps = steps
    }

    /// The way one step further.
    ///
    /// The node that this way leads to is a branch, so it is shorter than ``MerkleFormat/depth``.
    func appending(_ step: UInt8) -> SubtreePath {
        guard let path = SubtreePath(steps + CollectionOfOne(step)) else {
            invariantViolated("a branch lies below the last step of a path")
        }
        return path
    }
}

extension Digest {
    /// The step that a path takes at `depth`: the high half of each byte comes before its low half.
    package func step(at depth: Int) -> UInt8 {
        let byte = self[depth >> 1]
        return depth & 1 == 0 ? byte >> 4 : byte & 15
    }
}
