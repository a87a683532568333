import Cryptography
import Disk
import Invariants
import StateStore

/// The state on disk, in a RocksDB database; it may be larger than memory.
///
/// On disk is the state of the last finished checkpoint, and the Merkle trees of all kept ones; in memory is what was written since,
/// which a restart loses and the protocol executes again. So execution writes nothing to disk, a checkpoint writes each key once
/// however often it was set, tentative writes never get there, and a restart finds the state of one sequence number exactly.
///
/// A checkpoint is written in slices, each of them all or nothing: the new nodes, the names of those they replace, and the values. Its
/// own record comes last. Without that, opening the store takes the values back, by the keys in the nodes.
///
/// When the disk fails, ``failure`` says so, and from then on the store answers anything and writes nothing: its user looks there before
/// it lets out what rests on an answer.
public final class RocksStateStore: AuthenticatedStore {
    /// A checkpoint that is finished and kept.
    struct Checkpoint {
        let number: UInt64
        let tree: MerkleTree?
        /// The number of the first node that a later one may have added.
        let nextPlace: UInt64
        let counts: EntryCounts
    }

    let database: Database
    let path: String
    private let checkpointsKept: Int
    var forest: MerkleForest<DiskNodes>
    /// Oldest first.
    var checkpoints: [Checkpoint] = []
    /// The number of entries, those in memory counted.
    private var counts = EntryCounts()
    /// What was written since the last checkpoint was begun.
    private var overlay = Overlay()
    /// What the checkpoint has that is being computed.
    private var frozen: Overlay?
    private var frozenCounts = EntryCounts()
    private var pending: PendingCheckpoint?
    /// Another state that is being installed.
    private var installing: PendingInstall?
    private var sections = TentativeSections()
    private var trail: NodeTrail?
    /// Whether there may be lists of replaced nodes that no kept checkpoint has, from a key on.
    private var hasGarbage = true
    private var garbageStart: [UInt8] = []
    /// Checkpoints below this one are not kept, though the last one stays on disk until the next is whole.
    private var released: UInt64 = 0
    private var staged: StagedParts

    /// What is wrong with the disk; nil as long as nothing is.
    public private(set) var failure: StoreError?

    /// Takes up the state of the last finished checkpoint.
    init(in database: Database, at path: String, checkpointsKept: Int) throws(StoreError) {
        invariant(checkpointsKept >= 1, "no checkpoint would be kept")
        self.database = database
        self.path = path
        self.checkpointsKept = checkpointsKept
        staged = StagedParts(in: path)
        forest = MerkleForest(DiskNodes(in: database, at: path, nextPlace: 0))
        checkpoints = try Self.checkpoints(in: database, at: path)
        try removeUnfinished()
        takeUpLastCheckpoint()
    }

    /// The finished checkpoints that are kept, oldest first, with their roots.
    public var keptCheckpoints: [(number: UInt64, root: Digest)] {
        failure == nil ? checkpoints.filter(isKept).map { ($0.number, $0.tree?.digest ?? .zero) } : []
    }

    private func isKept(_ checkpoint: Checkpoint) -> Bool {
        checkpoint.number >= released || heldCheckpoints.contains(checkpoint.number)
    }

    private func kept(_ number: UInt64) -> Checkpoint? {
        checkpoints.last { $0.number == number }.flatMap { isKept($0) ? $0 : nil }
    }

    /// The number of Merkle nodes hashed since the store was opened: the measure of the work that checkpoints took.
    public var hashedNodes: UInt64 { forest.hasher.nodes }

    /// Does something on disk, unless that has failed already.
    private func attempt<Result>(or fallback: Result, _ work: () throws(StoreError) -> Result) -> Result {
        guard failure == nil else { return fallback }
        do {
            return try work()
        } catch {
            failure = error
            return fallback
        }
    }

    // MARK: Entries

    /// The value under `key`, or nil: a look-up in memory, then one on disk.
    public func value(of key: [UInt8], in keyspace: Keyspace) -> [UInt8]? {
        let key = StoreKey(key, in: keyspace)
        return attempt(or: nil) { () throws(StoreError) in try current(key) }
    }

    /// Sets the value under `key`. A key or value beyond `StateLimits` breaks an invariant.
    public func put(_ value: [UInt8], at key: [UInt8], in keyspace: Keyspace) {
        invariant(key.count <= StateLimits.keyBytes, "key longer than the state takes")
        invariant(value.count <= StateLimits.valueBytes(in: keyspace), "value longer than the state takes")
        let key = StoreKey(key, in: keyspace)
        attempt(or: ()) { () throws(StoreError) in
            let before = try current(key)
            set(key, to: value, before: before)
            sections.record(key, before: before)
        }
    }

    /// Removes the entry of `key` and tells whether there was one.
    @discardableResult
    public func delete(_ key: [UInt8], in keyspace: Keyspace) -> Bool {
        let key = StoreKey(key, in: keyspace)
        return attempt(or: false) { () throws(StoreError) in
            guard let before = try current(key) else { return false }
            set(key, to: nil, before: before)
            sections.record(key, before: before)
            return true
        }
    }

    private func current(_ key: StoreKey) throws(StoreError) -> [UInt8]? {
        if let entry = overlay[key] ?? frozen?[key] { return entry.value }
        return try read(DiskNodes.key(of: key), in: .values)
    }

    private func set(_ key: StoreKey, to value: [UInt8]?, before: [UInt8]?) {
        overlay.set(key, to: value)
        counts.change(key.keyspace, from: before, to: value)
    }

    /// The number of entries, kept and not counted.
    public func count(in keyspace: Keyspace) -> Int { counts[keyspace] }

    /// Visits the entries of a range in the order of their keys: those in memory and those on disk, merged.
    public func scan(
        _ range: KeyRange,
        in keyspace: Keyspace,
        _ visit: (_ key: [UInt8], _ value: [UInt8]) -> ScanStep
    ) {
        attempt(or: ()) { () throws(StoreError) in
            var disk = DiskEntries(in: database, range, of: keyspace, at: path)
            var newer = WrittenEntries(overlay, range, of: keyspace)
            var older = frozen.map { WrittenEntries($0, range, of: keyspace) }
            var onDisk = try disk.next()
            while true {
                var smallest = newer.first?.bytes
                for key in [older?.first?.bytes, onDisk?.key] {
                    if let key, smallest.map({ precedes(key, $0) }) ?? true { smallest = key }
                }
                guard let key = smallest else { return }
                var value: [UInt8]?
                if onDisk?.key == key {
                    value = onDisk?.value
                    onDisk = try disk.next()
                }
                older?.take(key, to: &value)
                newer.take(key, to: &value)
                if let value, case .stop = visit(key, value) { return }
            }
        }
    }

    // MARK: Tentative sections

    /// Opens a tentative section; it costs one record a write, with the value before it.
    public func beginTentative() -> TentativeMark { sections.begin() }

    /// Makes the writes of the oldest open section final, by dropping its records.
    public func commit(_ mark: TentativeMark) { sections.commit(mark) }

    /// Restores the state of the moment when `mark` was made, by writing the values before each write back, last write first.
    public func rollBack(to mark: TentativeMark) {
        for write in sections.takeWrites(since: mark) {
            attempt(or: ()) { () throws(StoreError) in
                set(write.key, to: write.before, before: try current(write.key))
            }
        }
    }

    // MARK: Checkpoints

    /// Freezes the state as the checkpoint with this number: what was written since the last one is set aside.
    public func beginCheckpoint(_ number: UInt64) {
        invariant(!sections.areOpen, "checkpoint of tentative state")
        invariant(pending == nil || failure != nil, "checkpoint begun before the last one was finished")
        invariant(checkpoints.last.map { $0.number < number } ?? true, "checkpoint numbers must rise")
        pending = PendingCheckpoint(number: number, entries: overlay.keys.entries, root: checkpoints.last?.tree)
        frozen = overlay
        frozenCounts = counts
        overlay = Overlay()
        forest.nodes.begin(number)
    }

    /// The number of steps in all of the checkpoint that was begun and is not finished; 0 when there is none.
    public var checkpointSteps: Int { pending?.steps ?? 0 }

    /// Computes and writes a part of the Merkle tree, and frees some nodes that no kept checkpoint has. A store that has failed gives
    /// the root zero.
    public func advanceCheckpoint(keys: Int) -> Digest? {
        attempt(or: .zero) { () throws(StoreError) -> Digest? in
            guard var work = pending.take() else { invariantViolated("no checkpoint was begun") }
            switch try work.advance(keys: keys, in: &forest) {
            case .workLeft:
                pending = work
                try collectGarbage(nodes: keys.multipliedReportingOverflow(by: 8).overflow ? .max : keys * 8)
                return nil
            case .finished(let tree):
                try finish(work.number, tree)
                return tree?.digest ?? .zero
            }
        }
    }

    /// Writes the record that makes the checkpoint whole, and drops the oldest beyond the number kept.
    private func finish(_ number: UInt64, _ tree: MerkleTree?) throws(StoreError) {
        let checkpoint = Checkpoint(
            number: number,
            tree: tree,
            nextPlace: forest.nodes.nextPlace,
            counts: frozenCounts
        )
        let batch = WriteBatch(for: database)
        batch.put(checkpoint.record, at: Checkpoint.key(number), in: .header)
        let others = checkpoints.filter { !heldCheckpoints.contains($0.number) }
        let tooOld = others.prefix { $0.number < released }.count
        let dropped = others.prefix(max(tooOld, others.count + 1 - checkpointsKept))
        for checkpoint in dropped { batch.delete(Checkpoint.key(checkpoint.number), in: .header) }
        try write(batch)
        checkpoints.append(checkpoint)
        frozen = nil
        forget(dropped)
    }

    private func forget(_ dropped: ArraySlice<Checkpoint>) {
        let numbers = Set(dropped.map(\.number))
        checkpoints.removeAll { numbers.contains($0.number) }
        hasGarbage = true
        trail = nil
    }

    /// The number of the last checkpoint that was begun, finished or not; nil when none is kept.
    public var lastCheckpointBegun: UInt64? { installing?.number ?? pending?.number ?? lastCheckpoint }

    /// The number of the last checkpoint that is finished; nil when none is kept, and when the store has failed.
    public var lastCheckpoint: UInt64? {
        guard failure == nil, let last = checkpoints.last, isKept(last) else { return nil }
        return last.number
    }

    /// The root of a finished checkpoint that is still kept, or nil.
    public func root(ofCheckpoint number: UInt64) -> Digest? {
        guard failure == nil, let checkpoint = kept(number) else { return nil }
        return checkpoint.tree?.digest ?? .zero
    }

    /// The node at `path` in the tree of a finished checkpoint that is still kept, or nil: about one read on disk when it is close to
    /// the one that was asked for before.
    public func node(at path: SubtreePath, inCheckpoint number: UInt64) -> StateNode? {
        guard let tree = kept(number)?.tree else { return nil }
        return attempt(or: nil) { () throws(StoreError) -> StateNode? in
            var trail = self.trail?.take(from: tree) ?? NodeTrail(from: tree)
            let found = try trail.subtree(at: path, in: forest.nodes)
            self.trail = trail
            return try found.flatMap { (found) throws(StoreError) in try forest.node(found.root) }
        }
    }

    /// What is kept however old or many. As long as one is, none of the nodes that were replaced since is freed.
    public var heldCheckpoints: Set<UInt64> = [] {
        didSet { releaseCheckpoints(before: released) }
    }

    /// Drops the checkpoints with smaller numbers than `number`, but for those that are held. Their nodes are freed as later checkpoints
    /// advance.
    public func releaseCheckpoints(before number: UInt64) {
        released = max(released, number)
        let dropped = checkpoints.dropLast().filter { $0.number < released && !heldCheckpoints.contains($0.number) }
        guard !dropped.isEmpty else { return }
        attempt(or: ()) { () throws(StoreError) in
            let batch = WriteBatch(for: database)
            for checkpoint in dropped { batch.delete(Checkpoint.key(checkpoint.number), in: .header) }
            try write(batch)
            forget(dropped[...])
        }
    }

    /// Frees nodes that the oldest kept checkpoint, or one before it, replaced: at least so many, if there are so many.
    private func collectGarbage(nodes wanted: Int) throws(StoreError) {
        guard hasGarbage, let oldest = checkpoints.first else { return }
        let end = DiskNodes.turnoverKey(oldest.number + 1, 0)
        let lists = database.entries(of: .turnover, from: garbageStart)
        let batch = WriteBatch(for: database)
        var freed = 0
        while freed < wanted {
            guard let (key, names) = try entry(lists), precedes(key, end) else {
                hasGarbage = false
                break
            }
            for name in DiskNodes.names(in: names) { batch.delete(DiskNodes.key(name), in: .nodes) }
            freed += names.count / 8
            batch.delete(key, in: .turnover)
            garbageStart = key
        }
        if batch.count > 0 { try write(batch) }
    }

    /// The number of Merkle nodes on disk, once those are freed that no kept checkpoint has. It reads them all.
    package var heldNodes: Int {
        attempt(or: 0) { () throws(StoreError) in
            hasGarbage = true
            try collectGarbage(nodes: .max)
            let nodes = database.entries(of: .nodes)
            var count = 0
            while try entry(nodes) != nil { count += 1 }
            return count
        }
    }

    // MARK: Another state

    /// Keeps a part of a state that is being fetched, in a file of its own.
    public func stage(_ part: [UInt8]) { staged.append(part) }

    /// Visits what was staged, also by an earlier process, oldest first. It may be damaged.
    public func visitStaged(_ visit: (_ part: [UInt8]) -> ScanStep) { staged.visit(visit) }

    /// Removes what was staged.
    public func discardStaged() { staged.discard() }

    /// Begins to replace the state by that of `base` with the changes made. The work here follows the keys written since `base`.
    public func beginInstall(
        _ changes: [StateChange],
        onto base: UInt64?,
        asCheckpoint number: UInt64,
        root: Digest
    ) {
        invariant(lastCheckpointBegun.map { $0 < number } ?? true, "installed checkpoint is not above the last one")
        attempt(or: ()) { () throws(StoreError) in
            try revert(to: base)
            forest.nodes.begin(number)
            installing = PendingInstall(changes, onto: checkpoints.last?.tree, number: number, root: root)
        }
    }

    /// How many bytes of values of the state that is being installed are in its tree.
    public var installedBytes: Int { installing?.mergedBytes ?? 0 }

    /// Counts some of the changes, or computes and writes a part of the Merkle tree, with the values in it.
    public func advanceInstall(keys: Int, bytes: Int) -> Bool {
        attempt(or: true) { () throws(StoreError) -> Bool in
            guard var work = installing.take() else { invariantViolated("no state is being installed") }
            let progress = try work.advance(keys: keys, bytes: bytes, in: &forest) { (key, value) throws(StoreError) in
                counts.change(key.keyspace, from: try current(key), to: value)
            }
            switch progress {
            case .workLeft:
                installing = work
                return false
            case .finished(let tree):
                frozenCounts = counts
                try finish(work.number, tree)
                return true
            }
        }
    }

    /// Restores the state of a finished checkpoint that is still kept, and drops all later ones; or the empty state, and drops all.
    private func revert(to number: UInt64?) throws(StoreError) {
        let batch = WriteBatch(for: database)
        for checkpoint in checkpoints where number.map({ checkpoint.number > $0 }) ?? true {
            batch.delete(Checkpoint.key(checkpoint.number), in: .header)
        }
        if number == nil {
            let end = [UInt8](repeating: 0xFF, count: 9)
            for family in [Family.values, .nodes, .turnover] { batch.delete(from: [], to: end, in: family) }
        }
        try write(batch)
        checkpoints.removeAll { checkpoint in number.map { checkpoint.number > $0 } ?? true }
        invariant(checkpoints.last?.number == number, "checkpoint to restore is not kept")
        trail = nil
        forest.nodes.abandon(nextPlace: checkpoints.last?.nextPlace ?? 0)
        try removeUnfinished()
        takeUpLastCheckpoint()
    }

    /// The state is that of the last checkpoint from now on.
    private func takeUpLastCheckpoint() {
        overlay = Overlay()
        frozen = nil
        pending = nil
        installing = nil
        sections.removeAll()
        counts = checkpoints.last?.counts ?? EntryCounts()
        hasGarbage = true
        released = 0
        forest.nodes.abandon(nextPlace: checkpoints.last?.nextPlace ?? 0)
    }

    // MARK: Disk

    func read(_ key: [UInt8], in family: Family) throws(StoreError) -> [UInt8]? {
        try withDatabase(at: path) { () throws(DatabaseError) in try database.value(of: key, in: family) }
    }

    func entry(_ cursor: Cursor) throws(StoreError) -> (key: [UInt8], value: [UInt8])? {
        try withDatabase(at: path) { () throws(DatabaseError) in try cursor.next() }
    }

    func write(_ batch: WriteBatch) throws(StoreError) {
        try withDatabase(at: path) { () throws(DatabaseError) in try database.write(batch) }
    }
}
