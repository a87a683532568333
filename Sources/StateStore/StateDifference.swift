import Cryptography
import Invariants

/// Walks the Merkle tree of a wanted state beside that of a local checkpoint, and gathers how they differ.
///
/// It holds nodes that were verified and nothing else: each one's digest is named by its parent, and the root's by the
/// certificate. So it never holds more than the part in which the wanted state differs from the local one, whatever the
/// sources send.
struct StateDifference {
    /// A subtree of the wanted state that is not known yet.
    struct Part {
        let path: SubtreePath
        /// The digest of its root, which its verified parent gives.
        let digest: Digest
        let local: Local
        /// Whether it is best sent as a whole, since all of it is needed, but for one entry at most.
        var isWhole: Bool

        init(_ path: SubtreePath, _ digest: Digest, local: Local) {
            self.path = path
            self.digest = digest
            self.local = local
            if case .branch = local { isWhole = false } else { isWhole = true }
        }
    }

    /// A node of the wanted state that was taken in.
    struct Verified {
        let digest: Digest
        let node: StateNode
        /// Where it is; nil for a leaf, whose key says it.
        let branchPath: SubtreePath?

        init(_ node: StateNode, digest: Digest, branchPath: SubtreePath?) {
            self.digest = digest
            self.node = node
            self.branchPath = branchPath
        }

        /// The root node of a part.
        init(_ node: StateNode, of part: Part) {
            digest = part.digest
            self.node = node
            if case .branch = node { branchPath = part.path } else { branchPath = nil }
        }
    }

    /// What the local checkpoint has where a part lies.
    enum Local {
        case nothing
        /// A single entry, here or higher up on the way to here.
        case leaf(Keyspace, key: [UInt8], digest: Digest)
        case branch
        /// The very same.
        case same
    }

    /// The local checkpoint; nil stands for the empty state.
    let base: UInt64?
    /// The nodes of the wanted state that were taken in.
    private(set) var verified: [Verified] = []

    private let store: any AuthenticatedStore
    /// Local subtrees that the wanted state has not, but for the one key that is kept, if any.
    private var lostSubtrees: [(path: SubtreePath, kept: StateNode?)] = []
    private var lostKeys: [StateChange] = []

    /// Compares with the store's last finished checkpoint, or with the empty state when it has none.
    init(from store: any AuthenticatedStore) {
        self.store = store
        base = store.lastCheckpoint
    }

    /// The store did not have a node that the local checkpoint has: its disk has failed.
    private var isBaseUnreadable = false

    /// Whether the local checkpoint is still there to compare with.
    var hasBase: Bool {
        !isBaseUnreadable && base.map { store.root(ofCheckpoint: $0) != nil } ?? true
    }

    /// Begins at the root of the wanted state; nil when nothing has to be fetched.
    mutating func start(at root: Digest) -> Part? {
        let localRoot = base.flatMap { store.root(ofCheckpoint: $0) } ?? .zero
        if localRoot == root { return nil }
        if root == .zero {
            lostSubtrees.append((.root, kept: nil))
            return nil
        }
        return Part(.root, root, local: localRoot == .zero ? .nothing : local(at: .root, localRoot))
    }

    /// Takes in the root node of a part, whose digest is the right one.
    ///
    /// - Returns: The parts below it, by rising steps: all of them, but beside a local branch only those that differ.
    mutating func take(_ node: StateNode, for part: Part) -> [Part] {
        if case .same = part.local { return [] }
        verified.append(Verified(node, of: part))
        switch (node, part.local) {
        case (.leaf(let keyspace, let entry), .leaf(let localKeyspace, let localKey, _)):
            if localKeyspace != keyspace || localKey != entry.key {
                lostKeys.append(StateChange(localKey, in: localKeyspace, to: nil))
            }
            return []
        case (.leaf, .branch):
            lostSubtrees.append((part.path, kept: node))
            return []
        case (.leaf, _):
            return []
        case (.branch(let branch), .leaf(let keyspace, let key, let digest)):
            return parts(of: branch, at: part.path, besideLeaf: StateChange(key, in: keyspace, to: nil), digest)
        case (.branch(let branch), .branch):
            return parts(of: branch, besideBranchAt: part.path)
        case (.branch(let branch), _):
            return branch.steps.compactMap { step in
                branch.child(at: step).map { Part(part.path.appending(step), $0, local: .nothing) }
            }
        }
    }

    /// The parts below a branch where the local state has one entry, whose deletion is given.
    private mutating func parts(
        of branch: StateNode.Branch,
        at path: SubtreePath,
        besideLeaf deletion: StateChange,
        _ digest: Digest
    ) -> [Part] {
        invariant(path.steps.count < MerkleFormat.depth, "a branch lies below the last step of a path")
        let localPath = MerkleFormat.path(of: deletion.key, in: deletion.keyspace)
        let localStep = localPath.step(at: path.steps.count)
        if branch.child(at: localStep) == nil {
            lostKeys.append(deletion)
        }
        return branch.steps.compactMap { step in
            branch.child(at: step).map { child in
                var local = Local.nothing
                if step == localStep {
                    local = child == digest ? .same : .leaf(deletion.keyspace, key: deletion.key, digest: digest)
                }
                return Part(path.appending(step), child, local: local)
            }
        }
    }

    /// The parts below a branch where the local state has a branch too.
    private mutating func parts(of branch: StateNode.Branch, besideBranchAt path: SubtreePath) -> [Part] {
        guard let base, case .branch(let localBranch) = store.node(at: path, inCheckpoint: base) else {
            isBaseUnreadable = true
            return []
        }
        var parts: [Part] = []
        for step in UInt8(0)..<16 {
            let below = path.appending(step)
            switch (branch.child(at: step), localBranch.child(at: step)) {
            case (nil, nil):
                continue
            case (nil, .some):
                lostSubtrees.append((below, kept: nil))
            case (let child?, nil):
                parts.append(Part(below, child, local: .nothing))
            case (let child?, let localChild?):
                if child != localChild {
                    parts.append(Part(below, child, local: local(at: below, localChild)))
                }
            }
        }
        return parts
    }

    private mutating func local(at path: SubtreePath, _ digest: Digest) -> Local {
        guard let base, let node = store.node(at: path, inCheckpoint: base) else {
            isBaseUnreadable = true
            return .nothing
        }
        switch node {
        case .leaf(let keyspace, let entry): return .leaf(keyspace, key: entry.key, digest: digest)
        case .branch: return .branch
        }
    }

    /// The changes that make the wanted state out of the local one, once all parts were taken in: no key twice. They are
    /// right only if there still is a base afterwards.
    mutating func changes() -> [StateChange] {
        var changes = lostKeys
        for (path, kept) in lostSubtrees {
            appendDeletions(below: path, but: kept, to: &changes)
        }
        for verified in verified {
            if case .leaf(let keyspace, let entry) = verified.node {
                changes.append(StateChange(entry.key, in: keyspace, to: entry.value))
            }
        }
        return changes
    }

    private mutating func appendDeletions(
        below path: SubtreePath,
        but kept: StateNode?,
        to changes: inout [StateChange]
    ) {
        var open = [path]
        while let path = open.popLast() {
            guard let base, let node = store.node(at: path, inCheckpoint: base) else {
                isBaseUnreadable = true
                return
            }
            switch node {
            case .branch(let branch):
                open.append(contentsOf: branch.steps.map { path.appending($0) })
            case .leaf(let keyspace, let entry):
                if case .leaf(keyspace, let keptEntry) = kept, keptEntry.key == entry.key { continue }
                changes.append(StateChange(entry.key, in: keyspace, to: nil))
            }
        }
    }
}
