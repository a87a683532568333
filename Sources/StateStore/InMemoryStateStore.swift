import Cryptography
import Invariants

/// The state in memory: for tests, for the simulator, and for a cluster that trusts its number instead of its disks.
///
/// Current values lie in hash tables, their keys besides in an ordered index, and the state of each checkpoint in a
/// persistent Merkle tree. Values are shared between them, never copied.
public final class InMemoryStateStore: AuthenticatedStore {
    private var values = ValueTable()
    private var systemIndex = OrderedIndex()
    private var serviceIndex = OrderedIndex()
    private var dirty = DirtyKeys()

    private var forest = MerkleForest(MemoryNodes())
    /// The tree of the last finished checkpoint.
    private var tree: MerkleTree?
    private var pending: PendingCheckpoint?
    /// Another state that is being installed.
    private var installing: PendingInstall?
    /// The finished checkpoints that are kept, oldest first.
    private var checkpoints: [Checkpoint] = []
    private let checkpointsKept: Int
    /// Checkpoints below this one were released.
    private var released: UInt64 = 0

    private var sections = TentativeSections()

    /// Makes an empty store.
    ///
    /// - Parameter checkpointsKept: The number of finished checkpoints to keep, at least 1, those that are held not
    ///   counted; older ones are dropped. The default covers a stable checkpoint, the two that fit between the water marks above it, and the one before it
    ///   for slow readers.
    public init(checkpointsKept: Int = 4) {
        invariant(checkpointsKept >= 1, "no checkpoint would be kept")
        self.checkpointsKept = checkpointsKept
    }

    /// The number of Merkle nodes hashed since the store was made: the measure of the work that checkpoints took.
    public var hashedNodes: UInt64 { forest.hasher.nodes }

    /// The number of Merkle nodes held for all kept checkpoints together.
    public var heldNodes: Int { forest.nodes.count }

    /// A store of its own with the state of a finished checkpoint, and the same checkpoints up to that one: what a
    /// restart finds that lost everything later.
    ///
    /// The work follows the keys written since the checkpoint, not the size of the state: the two stores share what they
    /// have in common until one of them is written to.
    ///
    /// - Returns: nil when the checkpoint is not kept.
    public func copy(ofCheckpoint number: UInt64) -> InMemoryStateStore? {
        guard root(ofCheckpoint: number) != nil else { return nil }
        let copy = InMemoryStateStore(checkpointsKept: checkpointsKept)
        copy.released = released
        copy.values = values
        copy.systemIndex = systemIndex
        copy.serviceIndex = serviceIndex
        copy.dirty = dirty
        copy.forest = forest
        copy.tree = tree
        copy.pending = pending
        copy.checkpoints = checkpoints
        copy.revert(toCheckpoint: number)
        return copy
    }

    // MARK: Entries

    /// The value under `key`, or nil: one look-up in a hash table.
    public func value(of key: [UInt8], in keyspace: Keyspace) -> [UInt8]? {
        values[StoreKey(key, in: keyspace)]
    }

    /// Sets the value under `key`. A key or value beyond ``StateLimits`` breaks an invariant.
    public func put(_ value: [UInt8], at key: [UInt8], in keyspace: Keyspace) {
        invariant(key.count <= StateLimits.keyBytes, "key longer than the state takes")
        invariant(value.count <= StateLimits.valueBytes(in: keyspace), "value longer than the state takes")
        let key = StoreKey(key, in: keyspace)
        sections.record(key, before: set(key, to: value))
    }

    /// Removes the entry of `key` and tells whether there was one.
    @discardableResult
    public func delete(_ key: [UInt8], in keyspace: Keyspace) -> Bool {
        let key = StoreKey(key, in: keyspace)
        guard let before = set(key, to: nil) else { return false }
        sections.record(key, before: before)
        return true
    }

    /// Visits the entries of a range in the order of their keys: two binary searches, then one look-up an entry.
    public func scan(
        _ range: KeyRange,
        in keyspace: Keyspace,
        _ visit: (_ key: [UInt8], _ value: [UInt8]) -> ScanStep
    ) {
        let index = keyspace == .system ? systemIndex : serviceIndex
        var keys = index.keys(in: range)
        while let key = keys.next() {
            guard let value = values[key] else { invariantViolated("indexed key has no value") }
            if case .stop = visit(key.bytes, value) { return }
        }
    }

    /// The number of entries, kept and not counted.
    public func count(in keyspace: Keyspace) -> Int {
        keyspace == .system ? systemIndex.count : serviceIndex.count
    }

    /// Sets or removes a value and keeps index and dirty keys in step with it.
    ///
    /// - Returns: The value before.
    private func set(_ key: StoreKey, to value: [UInt8]?) -> [UInt8]? {
        let before = place(key, value)
        if value == nil, before == nil { return nil }
        dirty.set(key, to: value)
        return before
    }

    /// Sets or removes a value and keeps the index in step with it.
    ///
    /// - Returns: The value before.
    private func place(_ key: StoreKey, _ value: [UInt8]?) -> [UInt8]? {
        let before = values.set(key, to: value)
        if (before == nil) != (value == nil) {
            switch key.keyspace {
            case .system: value == nil ? systemIndex.remove(key) : systemIndex.insert(key)
            case .service: value == nil ? serviceIndex.remove(key) : serviceIndex.insert(key)
            }
        }
        return before
    }

    // MARK: Tentative sections

    /// Opens a tentative section; it costs one record a write, with the value before it.
    public func beginTentative() -> TentativeMark {
        sections.begin()
    }

    /// Makes the writes of the oldest open section final, by dropping its records.
    public func commit(_ mark: TentativeMark) {
        sections.commit(mark)
    }

    /// Restores the state of the moment when `mark` was made, by writing the values before each write back, last write
    /// first.
    public func rollBack(to mark: TentativeMark) {
        for write in sections.takeWrites(since: mark) {
            _ = set(write.key, to: write.before)
        }
    }

    // MARK: Checkpoints

    /// Freezes the state as the checkpoint with this number: the keys written since the last one are set aside with
    /// their values.
    public func beginCheckpoint(_ number: UInt64) {
        invariant(!sections.areOpen, "checkpoint of tentative state")
        invariant(pending == nil, "checkpoint begun before the last one was finished")
        invariant(checkpoints.last.map { $0.number < number } ?? true, "checkpoint numbers must rise")
        pending = PendingCheckpoint(number: number, entries: dirty.entries, root: tree)
        dirty = DirtyKeys()
    }

    /// The number of steps in all of the checkpoint that was begun and is not finished; 0 when there is none.
    public var checkpointSteps: Int { pending?.steps ?? 0 }

    /// Computes a part of the Merkle root; the store keeps the tree once it is finished, and drops the oldest beyond
    /// its number.
    public func advanceCheckpoint(keys: Int) -> Digest? {
        guard var work = pending.take() else { invariantViolated("no checkpoint was begun") }
        switch work.advance(keys: keys, in: &forest) {
        case .workLeft:
            pending = work
            return nil
        case .finished(let finished):
            finish(work.number, finished)
            return finished?.digest ?? .zero
        }
    }

    private func finish(_ number: UInt64, _ finished: MerkleTree?) {
        tree = finished
        checkpoints.append(Checkpoint(number: number, tree: finished, turnover: forest.nodes.takeTurnover()))
        if checkpoints.count == 1 {
            freeReplacedByOldest()
        } else {
            dropBeyondNumber()
        }
    }

    /// The number of the last checkpoint that was begun, finished or not; nil when none is kept.
    public var lastCheckpointBegun: UInt64? { installing?.number ?? pending?.number ?? lastCheckpoint }

    /// The number of the last checkpoint that is finished; nil when none is kept.
    public var lastCheckpoint: UInt64? { checkpoints.last?.number }

    /// The root of a finished checkpoint that is still kept, or nil.
    public func root(ofCheckpoint number: UInt64) -> Digest? {
        guard let checkpoint = checkpoints.last(where: { $0.number == number }) else { return nil }
        return checkpoint.tree?.digest ?? .zero
    }

    /// The node at `path` in the tree of a finished checkpoint that is still kept, or nil.
    public func node(at path: SubtreePath, inCheckpoint number: UInt64) -> StateNode? {
        guard let checkpoint = checkpoints.last(where: { $0.number == number }) else { return nil }
        return checkpoint.tree.flatMap { forest.subtree(at: path, in: $0) }.flatMap { forest.node($0.root) }
    }

    /// Drops the checkpoints with smaller numbers than `number`, but for those that are held. The last one stays as long as one is.
    public func releaseCheckpoints(before number: UInt64) {
        released = max(released, number)
        dropReleased()
    }

    /// What is kept however old or many. What comes between two kept checkpoints and is in neither takes no memory.
    public var heldCheckpoints: Set<UInt64> = [] {
        didSet { dropReleased() }
    }

    private func dropReleased() {
        var place = 0
        while place < checkpoints.count {
            let number = checkpoints[place].number
            let isLastOfSeveral = place > 0 && place == checkpoints.count - 1
            if number < released, !heldCheckpoints.contains(number), !isLastOfSeveral {
                drop(at: place)
            } else {
                place += 1
            }
        }
    }

    private func dropBeyondNumber() {
        let others = checkpoints.indices.filter { !heldCheckpoints.contains(checkpoints[$0].number) }
        if others.count > checkpointsKept, let oldest = others.first { drop(at: oldest) }
    }

    /// Drops the oldest checkpoint, or one between two others.
    private func drop(at place: Int) {
        var difference = checkpoints.remove(at: place).turnover
        if place == 0 { return freeReplacedByOldest() }
        let unneeded = difference.join(checkpoints[place].turnover)
        checkpoints[place].turnover = difference
        forest.nodes.free(unneeded)
    }

    /// Frees the nodes that the oldest kept checkpoint replaced: only checkpoints before it had them.
    private func freeReplacedByOldest() {
        guard !checkpoints.isEmpty else { return }
        forest.nodes.free(checkpoints[0].turnover.replaced)
        checkpoints[0].turnover = MemoryNodes.Turnover()
    }

    // MARK: Another state

    /// Begins to replace the state by that of `base` with the changes made. The work here follows the keys written since `base`.
    public func beginInstall(
        _ changes: [StateChange],
        onto base: UInt64?,
        asCheckpoint number: UInt64,
        root: Digest
    ) {
        invariant(lastCheckpointBegun.map { $0 < number } ?? true, "installed checkpoint is not above the last one")
        if let base {
            revert(toCheckpoint: base)
        } else {
            removeAll()
        }
        installing = PendingInstall(changes, onto: tree, number: number, root: root)
    }

    /// How many bytes of values of the state that is being installed are in its tree.
    public var installedBytes: Int { installing?.mergedBytes ?? 0 }

    /// Sets some of the changes, or computes a part of the Merkle root.
    public func advanceInstall(keys: Int, bytes: Int) -> Bool {
        guard var work = installing.take() else { invariantViolated("no state is being installed") }
        switch work.advance(keys: keys, bytes: bytes, in: &forest, set: { key, value in _ = place(key, value) }) {
        case .workLeft:
            installing = work
            return false
        case .finished(let finished):
            finish(work.number, finished)
            return true
        }
    }

    /// Restores the state of a finished checkpoint that is still kept, and drops all later ones.
    private func revert(toCheckpoint number: UInt64) {
        sections.removeAll()
        var keys = dirty.entries.map(\.key)
        keys += pending?.entries.map(\.key) ?? []
        var added = forest.nodes.takeTurnover().added
        while let last = checkpoints.last, last.number > number {
            keys += forest.nodes.keys(of: last.turnover.added)
            keys += forest.nodes.keys(of: last.turnover.replaced)
            added += last.turnover.added
            checkpoints.removeLast()
        }
        guard let last = checkpoints.last, last.number == number else {
            invariantViolated("checkpoint to restore is not kept")
        }
        tree = last.tree
        pending = nil
        released = 0
        for key in keys {
            _ = place(key, forest.value(of: key, in: tree))
        }
        dirty = DirtyKeys()
        forest.nodes.free(added)
    }

    private func removeAll() {
        values = ValueTable()
        systemIndex = OrderedIndex()
        serviceIndex = OrderedIndex()
        dirty = DirtyKeys()
        forest = MerkleForest(MemoryNodes())
        tree = nil
        pending = nil
        checkpoints = []
        released = 0
        sections.removeAll()
    }

    // MARK: Parts

    private struct Checkpoint {
        let number: UInt64
        let tree: MerkleTree?
        /// How its nodes differ from those of the checkpoint before; emptied when that one is dropped.
        var turnover: MemoryNodes.Turnover
    }
}
