import Cryptography

/// Computes the root of a state's Merkle tree from its entries alone, in the order of their paths, in memory that does not grow with
/// their number.
///
/// Kept are the branches on the way to the last entry, so at most ``MerkleFormat/depth`` of them. It shares no code with the trees of the
/// stores but the hashing, and so also checks them.
package struct MerkleRootBuilder {
    private struct OpenBranch {
        var bitmap: UInt16 = 0
        var children: [Digest] = []
    }

    private var hasher = MerkleHasher()
    /// The branches on the way to the last entry, from the root on; each holds what comes before that way.
    private var branches: [OpenBranch] = []
    private var last: (path: Digest, leaf: Digest)?

    package init() {}

    /// Adds the next entry.
    ///
    /// - Returns: Whether its path is above that of the entry before; otherwise nothing is added.
    package mutating func add(_ entry: StateEntry, in keyspace: Keyspace) -> Bool {
        let path = hasher.path(of: entry.key, in: keyspace)
        let leaf = hasher.leaf(key: entry.key, value: entry.value, in: keyspace)
        if let last {
            guard last.path < path else { return false }
            var common = 0
            while last.path.step(at: common) == path.step(at: common) { common += 1 }
            while branches.count <= common { branches.append(OpenBranch()) }
            attach(last.leaf, at: last.path.step(at: branches.count - 1))
            close(to: common + 1, along: last.path)
        }
        last = (path, leaf)
        return true
    }

    /// The root of all entries: zero when there are none.
    package mutating func finish() -> Digest {
        guard let last else { return .zero }
        guard !branches.isEmpty else { return last.leaf }
        attach(last.leaf, at: last.path.step(at: branches.count - 1))
        close(to: 1, along: last.path)
        return hasher.branch(bitmap: branches[0].bitmap, children: branches[0].children)
    }

    private mutating func attach(_ child: Digest, at step: UInt8) {
        branches[branches.count - 1].bitmap |= 1 << UInt16(step)
        branches[branches.count - 1].children.append(child)
    }

    /// Hashes the deepest branches, which get no further child, until `count` are left.
    private mutating func close(to count: Int, along path: Digest) {
        while branches.count > count, let closed = branches.popLast() {
            let digest = hasher.branch(bitmap: closed.bitmap, children: closed.children)
            attach(digest, at: path.step(at: branches.count - 1))
        }
    }
}
