import Cryptography
import Invariants

/// Names a node in the storage that holds it.
package struct MerkleNodeID: Hashable, Sendable {
    private static let leafBit: UInt64 = 1 << 63

    /// The place with the kind of the node in the highest bit: set for a leaf.
    package let rawValue: UInt64

    /// The name that ``rawValue`` stands for.
    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// The leaf at a place below 2^63.
    package static func leaf(at place: UInt64) -> MerkleNodeID { MerkleNodeID(rawValue: place | leafBit) }

    /// The branch at a place below 2^63.
    package static func branch(at place: UInt64) -> MerkleNodeID { MerkleNodeID(rawValue: place) }

    /// Whether it is a leaf; a branch otherwise.
    package var isLeaf: Bool { rawValue & Self.leafBit != 0 }

    /// Where the node is; a leaf and a branch may have the same place.
    package var place: UInt64 { rawValue & ~Self.leafBit }
}

/// A Merkle tree or subtree that is not empty: the name of its root node, and that node's digest.
///
/// The digest stands beside the name and not in the node, so that hashing a branch reads no child. The children of a
/// branch are plain bytes to the machine: copying them counts no references, which would cost more than the hashing.
package struct MerkleTree: Hashable, Sendable {
    package let digest: Digest
    package let root: MerkleNodeID

    package init(digest: Digest, root: MerkleNodeID) {
        self.digest = digest
        self.root = root
    }
}

/// An entry in the tree.
package struct MerkleLeaf {
    package let path: Digest
    package let key: StoreKey
    package let value: [UInt8]

    package init(path: Digest, key: StoreKey, value: [UInt8]) {
        self.path = path
        self.key = key
        self.value = value
    }
}

/// A node above two or more entries.
package struct MerkleBranch {
    /// Bit i is set when there is a child at step i.
    package let bitmap: UInt16
    /// The children, in the order of their steps.
    package let children: [MerkleTree]

    package init(bitmap: UInt16, children: [MerkleTree]) {
        self.bitmap = bitmap
        self.children = children
    }

    /// The child at `step`, or nil.
    package func child(at step: UInt8) -> MerkleTree? {
        let bit: UInt16 = 1 << UInt16(step)
        guard bitmap & bit != 0 else { return nil }
        return children[(bitmap & (bit - 1)).nonzeroBitCount]
    }
}

/// What became of one key since the last checkpoint: its value, or nil when it was deleted.
package struct MerkleChange {
    package let path: Digest
    package let key: StoreKey
    package let value: [UInt8]?

    package init(path: Digest, key: StoreKey, value: [UInt8]?) {
        self.path = path
        self.key = key
        self.value = value
    }
}

/// Where the nodes of the trees are: in memory, or on disk.
package protocol MerkleNodes {
    /// Why a node cannot be read or written; `Never` in memory.
    associatedtype Failure: Error

    /// A leaf that some tree still needed has.
    func leaf(_ id: MerkleNodeID) throws(Failure) -> MerkleLeaf

    /// A branch that some tree still needed has.
    func branch(_ id: MerkleNodeID) throws(Failure) -> MerkleBranch

    /// Adds a node, which never changes.
    mutating func insert(_ leaf: MerkleLeaf) throws(Failure) -> MerkleNodeID

    /// Adds a node, which never changes.
    mutating func insert(_ branch: MerkleBranch) throws(Failure) -> MerkleNodeID

    /// Notes that the tree that is being made has a node no more; trees before it do.
    mutating func retire(_ id: MerkleNodeID)

    /// A slice of changes was made to the tree that is being made.
    mutating func merged(_ changes: ArraySlice<MerkleChange>) throws(Failure)
}

/// The Merkle trees of the checkpoints, which share all subtrees that they have in common.
///
/// A node never changes. An update makes new nodes on the way to the root, and notes the nodes that it replaced; they
/// are freed when the trees from before the update are no longer needed. Trees come one after the other and go in the
/// same order, so a list for each update says exactly which nodes to free, and no references are counted.
package struct MerkleForest<Nodes: MerkleNodes> {
    package private(set) var hasher = MerkleHasher()
    package var nodes: Nodes

    package init(_ nodes: Nodes) {
        self.nodes = nodes
    }

    /// The path of a key's leaf.
    package mutating func path(of key: StoreKey) -> Digest {
        hasher.path(of: key.bytes, in: key.keyspace)
    }

    /// The node that `path` leads to from the root of `tree`, or nil.
    package func subtree(at path: SubtreePath, in tree: MerkleTree) throws(Nodes.Failure) -> MerkleTree? {
        var tree = tree
        for step in path.steps {
            guard !tree.root.isLeaf, let child = try nodes.branch(tree.root).child(at: step) else { return nil }
            tree = child
        }
        return tree
    }

    /// A node as another replica sees it.
    package func node(_ id: MerkleNodeID) throws(Nodes.Failure) -> StateNode? {
        if id.isLeaf {
            let leaf = try nodes.leaf(id)
            return .leaf(leaf.key.keyspace, StateEntry(key: leaf.key.bytes, value: leaf.value))
        }
        let branch = try nodes.branch(id)
        return StateNode.Branch(bitmap: branch.bitmap, children: branch.children.map(\.digest)).map { .branch($0) }
    }

    /// The value that `key` has in a tree, or nil when it has none there.
    package mutating func value(of key: StoreKey, in tree: MerkleTree?) throws(Nodes.Failure) -> [UInt8]? {
        guard var tree else { return nil }
        let path = path(of: key)
        var depth = 0
        while !tree.root.isLeaf {
            invariant(depth < MerkleFormat.depth, "branch below the last step of a path")
            guard let child = try nodes.branch(tree.root).child(at: path.step(at: depth)) else { return nil }
            tree = child
            depth += 1
        }
        let leaf = try nodes.leaf(tree.root)
        return leaf.path == path ? leaf.value : nil
    }

    /// The tree with `changes` made to it; nil when nothing is left. The old tree stays as it is.
    ///
    /// A subtree with no entry is nothing, one with a single entry is its leaf, any other a branch. That rule, applied
    /// here at each level, makes the shape depend on the entries alone and not on the order in which they came.
    ///
    /// - Parameters:
    ///   - tree: The subtree before.
    ///   - changes: Changes to keys below it, sorted by path, at most one a path.
    ///   - depth: The number of steps from the root of the whole tree to this one's.
    package mutating func updated(
        _ tree: MerkleTree?,
        with changes: ArraySlice<MerkleChange>,
        depth: Int
    ) throws(Nodes.Failure) -> MerkleTree? {
        guard let first = changes.first else { return tree }
        guard let tree else {
            if changes.count == 1 { return try leaf(for: first) }
            return try updated(branch: nil, with: changes, depth: depth)
        }
        if !tree.root.isLeaf {
            let branch = try nodes.branch(tree.root)
            nodes.retire(tree.root)
            return try updated(branch: branch, with: changes, depth: depth)
        }
        let path = try nodes.leaf(tree.root).path
        if changes.count == 1, path == first.path {
            nodes.retire(tree.root)
            return try leaf(for: first)
        }
        invariant(depth < MerkleFormat.depth, "two keys have the same path: a collision of BLAKE2b-256")
        // As if it were the only child of a branch, until the paths part.
        let branch = MerkleBranch(bitmap: 1 << UInt16(path.step(at: depth)), children: [tree])
        return try updated(branch: branch, with: changes, depth: depth)
    }

    private mutating func updated(
        branch: MerkleBranch?,
        with changes: ArraySlice<MerkleChange>,
        depth: Int
    ) throws(Nodes.Failure) -> MerkleTree? {
        invariant(depth < MerkleFormat.depth, "branch below the last step of a path")
        var bitmap: UInt16 = 0
        var children: [MerkleTree] = []
        children.reserveCapacity(min(16, (branch?.children.count ?? 0) + changes.count))
        var next = changes.startIndex
        for step in UInt8(0)..<16 {
            let start = next
            while next < changes.endIndex, changes[next].path.step(at: depth) == step {
                next += 1
            }
            if let child = try updated(branch?.child(at: step), with: changes[start..<next], depth: depth + 1) {
                bitmap |= 1 << UInt16(step)
                children.append(child)
            }
        }
        invariant(next == changes.endIndex, "changes are not sorted by path")
        if children.isEmpty { return nil }
        if children.count == 1, children[0].root.isLeaf { return children[0] }
        let digest = hasher.branch(bitmap: bitmap, children: children.lazy.map(\.digest))
        let root = try nodes.insert(MerkleBranch(bitmap: bitmap, children: children))
        return MerkleTree(digest: digest, root: root)
    }

    private mutating func leaf(for change: MerkleChange) throws(Nodes.Failure) -> MerkleTree? {
        guard let value = change.value else { return nil }
        let digest = hasher.leaf(key: change.key.bytes, value: value, in: change.key.keyspace)
        let root = try nodes.insert(MerkleLeaf(path: change.path, key: change.key, value: value))
        return MerkleTree(digest: digest, root: root)
    }
}

/// The nodes of the trees in memory.
struct MemoryNodes: MerkleNodes {
    private var leaves = Slab<MerkleLeaf>()
    private var branches = Slab<MerkleBranch>()
    /// The nodes that updates added and replaced since they were last taken.
    private var turnover = Turnover()

    /// The nodes that came and went from one tree to the next. One that did both is in both lists. When the trees before
    /// go, it is those that went that are freed; when the last trees are given up, newest first, it is those that came.
    struct Turnover {
        private var fresh: [MerkleNodeID] = []
        private(set) var replaced: [MerkleNodeID] = []
        /// What ``fresh`` was, from the first tree on that was left out: it grows with each, and is never gone through again.
        private var joined: Set<MerkleNodeID>?

        var added: [MerkleNodeID] { joined.map(Array.init) ?? fresh }

        mutating func add(_ node: MerkleNodeID) {
            fresh.append(node)
        }

        mutating func replace(_ node: MerkleNodeID) {
            replaced.append(node)
        }

        /// Leaves out the tree between this step and the next. The work follows the size of the next step only, but for the first time:
        /// a tree that is kept for long has many such steps behind it.
        ///
        /// - Returns: The nodes that came in either step and went in either: they are in no tree any more.
        mutating func join(_ next: Turnover) -> [MerkleNodeID] {
            var unneeded: [MerkleNodeID] = []
            var nodes: Set<MerkleNodeID>
            if let known = joined.take() {
                nodes = known
            } else {
                nodes = Set(fresh)
                fresh = []
                replaced.removeAll { node in
                    guard nodes.remove(node) != nil else { return false }
                    unneeded.append(node)
                    return true
                }
            }
            nodes.formUnion(next.joined ?? Set(next.fresh))
            for node in next.replaced {
                if nodes.remove(node) != nil { unneeded.append(node) } else { replaced.append(node) }
            }
            joined = nodes
            return unneeded
        }
    }

    /// The number of nodes held for all trees together.
    var count: Int { leaves.count + branches.count }

    func leaf(_ id: MerkleNodeID) -> MerkleLeaf { leaves[Int(id.place)] }

    func branch(_ id: MerkleNodeID) -> MerkleBranch { branches[Int(id.place)] }

    mutating func insert(_ leaf: MerkleLeaf) -> MerkleNodeID {
        let id = MerkleNodeID.leaf(at: UInt64(leaves.insert(leaf)))
        turnover.add(id)
        return id
    }

    mutating func insert(_ branch: MerkleBranch) -> MerkleNodeID {
        let id = MerkleNodeID.branch(at: UInt64(branches.insert(branch)))
        turnover.add(id)
        return id
    }

    mutating func retire(_ id: MerkleNodeID) {
        turnover.replace(id)
    }

    func merged(_ changes: ArraySlice<MerkleChange>) {}

    /// The keys of those nodes that are leaves.
    func keys(of nodes: [MerkleNodeID]) -> [StoreKey] {
        nodes.compactMap { $0.isLeaf ? leaf($0).key : nil }
    }

    /// Takes the lists of the nodes that updates added and replaced since they were last taken.
    mutating func takeTurnover() -> Turnover {
        defer { turnover = Turnover() }
        return turnover
    }

    /// Frees nodes that no tree still needed has.
    mutating func free(_ nodes: [MerkleNodeID]) {
        for node in nodes {
            if node.isLeaf {
                leaves.remove(at: Int(node.place))
            } else {
                branches.remove(at: Int(node.place))
            }
        }
    }
}
