import Cryptography
import Disk
import Messages
import StateStore

/// What the verification of a store or a backup came to, when nothing is wrong.
public struct StoreFindings: Hashable, Sendable {
    /// What the certificate of the last stable checkpoint says about the state.
    public enum Certificate: Hashable, Sendable {
        /// There is none: fewer than 2f + 1 replicas have signed any checkpoint yet, as far as this one knows.
        case none
        /// 2f + 1 replicas signed the very root of the state at this number.
        case holds(UInt64)
        /// 2f + 1 replicas signed a state at this number, which the replica did not have yet.
        case ofStateNotHere(UInt64)
    }

    /// The number of entries that were read.
    public let entries: UInt64
    /// The numbers of the checkpoints whose roots were computed again.
    public let checkpoints: [UInt64]
    /// What the certificate says.
    public let certificate: Certificate
}

extension StoreReader {
    /// Reads everything in the store and computes every root again from the entries up.
    ///
    /// Each root is held against the stored tree node by node, the values against the last checkpoint's tree, and the state of the stable
    /// checkpoint against its certificate. A checkpoint that was not finished is none: the next start removes it.
    ///
    /// - Parameters:
    ///   - keys: The keys of the cluster's replicas.
    ///   - progress: Called now and then with the number of entries read so far.
    /// - Throws: The first thing that is not what was written, or that the store is of another cluster.
    public func verify(
        _ keys: ReplicaKeys,
        progress: (UInt64) -> Void = { _ in }
    ) throws(StoreError) -> StoreFindings {
        try checkCluster(keys)
        var audit = TreeAudit(of: nodes, at: path)
        if let last = checkpoints.last {
            try verifyValues(of: last, &audit, progress)
        } else if try withDatabase(at: path, { () throws(DatabaseError) in try database.entries(of: .values).next() })
            != nil, try unfinishedKeys().isEmpty
        {
            throw .damaged(path, "there are values, but no checkpoint")
        }
        var newer = checkpoints.last?.tree
        for checkpoint in checkpoints.dropLast().reversed() {
            if let tree = checkpoint.tree { try audit.check(tree, besides: newer) { _ in } }
            newer = checkpoint.tree
        }
        let lists = database.entries(of: .turnover)
        while try withDatabase(at: path, { () throws(DatabaseError) in try lists.next() }) != nil {}
        return StoreFindings(
            entries: audit.leaves,
            checkpoints: checkpoints.map(\.number),
            certificate: try verifyCertificate(keys)
        )
    }

    func checkCluster(_ keys: ReplicaKeys) throws(StoreError) {
        guard owner.cluster == keys.cluster else {
            throw StoreError(.foreign, "\(path): the store belongs to another cluster (\(owner.cluster))")
        }
    }

    /// Holds the certificate against the replicas' keys and against the state.
    func verifyCertificate(_ keys: ReplicaKeys) throws(StoreError) -> StoreFindings.Certificate {
        guard let (sequence, certificate) = certified, let root = certificate.first?.root else { return .none }
        if let problem = keys.problem(with: certificate, for: root, at: sequence) {
            throw .damaged(path, "the certificate of its stable checkpoint \(sequence.rawValue) \(problem)")
        }
        guard let checkpoint = checkpoints.last(where: { $0.number == sequence.rawValue }) else {
            return .ofStateNotHere(sequence.rawValue)
        }
        guard checkpoint.root == root else {
            throw .damaged(
                path,
                "its state at \(sequence.rawValue) has the root \(checkpoint.root), but 2f + 1 replicas signed \(root)"
            )
        }
        return .holds(sequence.rawValue)
    }

    /// Holds the values against the leaves of the last checkpoint's tree, both ways.
    private func verifyValues(
        of last: RocksStateStore.Checkpoint,
        _ audit: inout TreeAudit,
        _ progress: (UInt64) -> Void
    ) throws(StoreError) {
        // Their values may be those of the checkpoint that was not finished.
        let skipped = try unfinishedKeys()
        var counts = EntryCounts()
        var held = 0
        if let tree = last.tree {
            var done: UInt64 = 0
            try audit.check(tree, besides: nil) { leaf throws(StoreError) in
                counts.change(leaf.key.keyspace, from: nil, to: leaf.value)
                done += 1
                if done.isMultiple(of: 1024) { progress(done) }
                guard !skipped.contains(leaf.key) else { return }
                held += 1
                let value = try withDatabase(at: path) { () throws(DatabaseError) in
                    try database.value(of: DiskNodes.key(of: leaf.key), in: .values)
                }
                guard value == leaf.value else { throw .damaged(path, "a value is not the one that was hashed") }
            }
        }
        guard counts.system == last.counts.system, counts.service == last.counts.service else {
            throw .damaged(path, "the checkpoint \(last.number) has not as many entries as it had")
        }
        let values = database.entries(of: .values)
        while let (key, _) = try withDatabase(at: path, { () throws(DatabaseError) in try values.next() }) {
            guard let keyspace = key.first.flatMap(Keyspace.init) else {
                throw .damaged(path, "there is a value of no keyspace")
            }
            if !skipped.contains(StoreKey(Array(key.dropFirst()), in: keyspace)) { held -= 1 }
        }
        guard held == 0 else { throw .damaged(path, "there are values that were never hashed") }
    }

    /// The keys whose values may be those of a checkpoint that was not finished.
    func unfinishedKeys() throws(StoreError) -> Set<StoreKey> {
        var keys: Set<StoreKey> = []
        _ = try Unfinished(after: checkpoints.last).visitKeys(in: database, nodes, at: path) { keys.insert($0) }
        return keys
    }
}

/// Hashes the nodes of trees again.
struct TreeAudit {
    private let nodes: DiskNodes
    private let path: String
    private var hasher = MerkleHasher()
    /// The number of leaves hashed so far.
    private(set) var leaves: UInt64 = 0

    init(of nodes: DiskNodes, at path: String) {
        self.nodes = nodes
        self.path = path
    }

    /// Hashes a tree, in the order of the paths, and visits its leaves.
    ///
    /// - Parameters:
    ///   - tree: The tree.
    ///   - known: One that was hashed before: the subtrees that it has at the same places are passed over.
    ///   - visit: Called with each leaf that was hashed.
    /// - Throws: When a node is not the one that its parent names, or not in its place, and what `visit` throws.
    mutating func check(
        _ tree: MerkleTree,
        besides known: MerkleTree?,
        _ visit: (MerkleLeaf) throws(StoreError) -> Void
    ) throws(StoreError) {
        var steps: [UInt8] = []
        try check(tree, at: &steps, besides: known, visit)
    }

    private mutating func check(
        _ tree: MerkleTree,
        at steps: inout [UInt8],
        besides known: MerkleTree?,
        _ visit: (MerkleLeaf) throws(StoreError) -> Void
    ) throws(StoreError) {
        guard tree != known else { return }
        if tree.root.isLeaf {
            let leaf = try nodes.leaf(tree.root)
            let digest = hasher.leaf(key: leaf.key.bytes, value: leaf.value, in: leaf.key.keyspace)
            guard digest == tree.digest, steps.indices.allSatisfy({ leaf.path.step(at: $0) == steps[$0] }) else {
                throw wrongNode
            }
            leaves += 1
            return try visit(leaf)
        }
        let branch = try nodes.branch(tree.root)
        let digest = hasher.branch(bitmap: branch.bitmap, children: branch.children.lazy.map(\.digest))
        // One that has a single leaf below it would be that leaf.
        let isNeeded = branch.children.count > 1 || branch.children.first?.root.isLeaf == false
        guard digest == tree.digest, isNeeded, steps.count < MerkleFormat.depth else { throw wrongNode }
        let knownBranch: MerkleBranch?
        if let known, !known.root.isLeaf { knownBranch = try nodes.branch(known.root) } else { knownBranch = nil }
        for step in UInt8(0)..<16 {
            guard let child = branch.child(at: step) else { continue }
            steps.append(step)
            try check(child, at: &steps, besides: knownBranch?.child(at: step), visit)
            steps.removeLast()
        }
    }

    private var wrongNode: StoreError {
        .damaged(path, "a node of a Merkle tree has another digest or place than it had")
    }
}
