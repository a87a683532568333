import Cryptography
import Invariants

/// A Merkle tree or subtree that is not empty: the place of its root in the forest, and the root's digest.
///
/// The digest stands beside the place and not in the node, so that hashing a branch reads no child. The children of a
/// branch are plain bytes to the machine: copying them counts no references, which would cost more than the hashing.
struct MerkleTree {
    enum Root {
        case leaf(Int32)
        case branch(Int32)
    }

    let digest: Digest
    let root: Root
}

/// What became of one key since the last checkpoint: its value, or nil when it was deleted.
struct MerkleChange {
    let path: Digest
    let key: StoreKey
    let value: [UInt8]?
}

/// The Merkle trees of the checkpoints, which share all subtrees that they have in common.
///
/// A node never changes. An update makes new nodes on the way to the root, and notes the nodes that it replaced; they
/// are freed when the trees from before the update are no longer needed. Trees come one after the other and go in the
/// same order, so a list for each update says exactly which nodes to free, and no references are counted. It notes the
/// new nodes too: the last trees can also be given up, newest first, and then it is those that go.
struct MerkleForest {
    private(set) var hasher = MerkleHasher()
    private var leaves = Slab<Leaf>()
    private var branches = Slab<Branch>()
    /// The nodes that updates added and replaced since they were last taken.
    private var turnover = Turnover()

    /// The nodes that came and went from one tree to the next. One that did both is in both lists.
    struct Turnover {
        var added: [MerkleTree.Root] = []
        var replaced: [MerkleTree.Root] = []
    }

    private struct Leaf {
        let path: Digest
        let key: StoreKey
        let value: [UInt8]
    }

    private struct Branch {
        /// Bit i is set when there is a child at step i.
        let bitmap: UInt16
        /// The children, in the order of their steps.
        let children: [MerkleTree]

        func child(at step: UInt8) -> MerkleTree? {
            let bit: UInt16 = 1 << UInt16(step)
            guard bitmap & bit != 0 else { return nil }
            return children[(bitmap & (bit - 1)).nonzeroBitCount]
        }
    }

    /// The number of nodes held for all trees together.
    var count: Int { leaves.count + branches.count }

    /// The path of a key's leaf.
    mutating func path(of key: StoreKey) -> Digest {
        hasher.path(of: key.bytes, in: key.keyspace)
    }

    /// The node that `path` leads to from the root of `tree`, as another replica sees it.
    func node(at path: SubtreePath, in tree: MerkleTree) -> StateNode? {
        var tree = tree
        for step in path.steps {
            guard case .branch(let place) = tree.root, let child = branches[Int(place)].child(at: step) else {
                return nil
            }
            tree = child
        }
        switch tree.root {
        case .leaf(let place):
            let leaf = leaves[Int(place)]
            return .leaf(leaf.key.keyspace, StateEntry(key: leaf.key.bytes, value: leaf.value))
        case .branch(let place):
            let branch = branches[Int(place)]
            return StateNode.Branch(bitmap: branch.bitmap, children: branch.children.map(\.digest)).map {
                .branch($0)
            }
        }
    }

    /// The value that `key` has in a tree, or nil when it has none there.
    mutating func value(of key: StoreKey, in tree: MerkleTree?) -> [UInt8]? {
        guard var tree else { return nil }
        let path = path(of: key)
        var depth = 0
        while case .branch(let place) = tree.root {
            invariant(depth < MerkleFormat.depth, "branch below the last step of a path")
            guard let child = branches[Int(place)].child(at: path.step(at: depth)) else { return nil }
            tree = child
            depth += 1
        }
        guard case .leaf(let place) = tree.root, leaves[Int(place)].path == path else { return nil }
        return leaves[Int(place)].value
    }

    /// The keys of those nodes that are leaves.
    func keys(of nodes: [MerkleTree.Root]) -> [StoreKey] {
        nodes.compactMap { node in
            guard case .leaf(let place) = node else { return nil }
            return leaves[Int(place)].key
        }
    }

    /// Takes the lists of the nodes that updates added and replaced since they were last taken.
    mutating func takeTurnover() -> Turnover {
        defer { turnover = Turnover() }
        return turnover
    }

    /// Frees all nodes of all trees.
    mutating func removeAll() {
        leaves = Slab()
        branches = Slab()
        turnover = Turnover()
    }

    /// Frees nodes that no tree still needed has.
    mutating func free(_ nodes: [MerkleTree.Root]) {
        for node in nodes {
            switch node {
            case .leaf(let place): leaves.remove(at: Int(place))
            case .branch(let place): branches.remove(at: Int(place))
            }
        }
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
    mutating func updated(_ tree: MerkleTree?, with changes: ArraySlice<MerkleChange>, depth: Int) -> MerkleTree? {
        guard let first = changes.first else { return tree }
        var branch: Branch?
        switch tree?.root {
        case nil:
            if changes.count == 1 { return leaf(for: first) }
        case .leaf(let place):
            let path = leaves[Int(place)].path
            if changes.count == 1, path == first.path {
                turnover.replaced.append(.leaf(place))
                return leaf(for: first)
            }
            invariant(depth < MerkleFormat.depth, "two keys have the same path: a collision of BLAKE2b-256")
            // As if it were the only child of a branch, until the paths part.
            branch = tree.map { Branch(bitmap: 1 << UInt16(path.step(at: depth)), children: [$0]) }
        case .branch(let place):
            branch = branches[Int(place)]
            turnover.replaced.append(.branch(place))
        }
        return updated(branch, with: changes, depth: depth)
    }

    private mutating func updated(
        _ branch: Branch?,
        with changes: ArraySlice<MerkleChange>,
        depth: Int
    ) -> MerkleTree? {
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
            if let child = updated(branch?.child(at: step), with: changes[start..<next], depth: depth + 1) {
                bitmap |= 1 << UInt16(step)
                children.append(child)
            }
        }
        invariant(next == changes.endIndex, "changes are not sorted by path")
        if children.isEmpty { return nil }
        if children.count == 1, case .leaf = children[0].root { return children[0] }
        let digest = hasher.branch(bitmap: bitmap, children: children.lazy.map(\.digest))
        let place = branches.insert(Branch(bitmap: bitmap, children: children))
        let root = MerkleTree.Root.branch(Self.short(place))
        turnover.added.append(root)
        return MerkleTree(digest: digest, root: root)
    }

    private mutating func leaf(for change: MerkleChange) -> MerkleTree? {
        guard let value = change.value else { return nil }
        let digest = hasher.leaf(key: change.key.bytes, value: value, in: change.key.keyspace)
        let place = leaves.insert(Leaf(path: change.path, key: change.key, value: value))
        let root = MerkleTree.Root.leaf(Self.short(place))
        turnover.added.append(root)
        return MerkleTree(digest: digest, root: root)
    }

    private static func short(_ place: Int) -> Int32 {
        guard let place = Int32(exactly: place) else { invariantViolated("more nodes than memory can hold") }
        return place
    }
}
