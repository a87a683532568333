import Cryptography

/// The replicated state: an ordered map of byte strings in two keyspaces, with a Merkle root at each checkpoint.
///
/// The seam between the replica and what holds its state: ``InMemoryStateStore`` here, `RocksStateStore` on disk. A
/// store is used from one thread. What it computes depends only on the calls that changed it, so the stores of two
/// correct replicas give the same root. A service never sees a store, only a ``ServiceState`` or a ``StateView`` of it.
public protocol AuthenticatedStore: AnyObject {
    /// The value under `key`, or nil when there is none.
    func value(of key: [UInt8], in keyspace: Keyspace) -> [UInt8]?

    /// Sets the value under `key`.
    ///
    /// Key and value are within ``StateLimits``: the caller has checked them.
    func put(_ value: [UInt8], at key: [UInt8], in keyspace: Keyspace)

    /// Removes the entry of `key`.
    ///
    /// - Returns: Whether there was one.
    @discardableResult
    func delete(_ key: [UInt8], in keyspace: Keyspace) -> Bool

    /// Visits the entries of a range in the order of their keys, until the visitor stops.
    ///
    /// The visitor does not change the store.
    func scan(
        _ range: KeyRange,
        in keyspace: Keyspace,
        _ visit: (_ key: [UInt8], _ value: [UInt8]) -> ScanStep
    )

    /// The number of entries.
    func count(in keyspace: Keyspace) -> Int

    /// Opens a tentative section: from here on each write can be taken back, until the section is committed.
    ///
    /// Several may be open at once; a write belongs to the last one.
    func beginTentative() -> TentativeMark

    /// Makes the writes of the oldest open section final; it takes back nothing any more.
    ///
    /// - Parameter mark: The oldest open section. Batches commit in order, so no other one can be next.
    func commit(_ mark: TentativeMark)

    /// Restores the state of the moment when `mark` was made, and closes its section and all later ones.
    ///
    /// - Parameter mark: An open section.
    func rollBack(to mark: TentativeMark)

    /// Freezes the state as the checkpoint with this number. Hashes nothing yet; execution goes on at once.
    ///
    /// No section is open and no other checkpoint is being computed.
    ///
    /// - Parameter number: The sequence number of the last batch in the state; above that of all checkpoints before.
    func beginCheckpoint(_ number: UInt64)

    /// Computes a part of the Merkle root of the checkpoint that was begun.
    ///
    /// The whole work is proportional to the number of keys written since the checkpoint before, each counted twice:
    /// once to find its place, once to hash its leaf and branches. Called with a small budget between batches, it never
    /// holds up execution for long.
    ///
    /// - Parameter keys: The number of steps to take at most, at least 1.
    /// - Returns: The root once it is known, which ends the checkpoint; nil while work is left.
    func advanceCheckpoint(keys: Int) -> Digest?

    /// The number of steps in all of the checkpoint that was begun and is not finished; 0 when there is none.
    var checkpointSteps: Int { get }

    /// The number of the last checkpoint that was begun, finished or not; nil when none is kept.
    var lastCheckpointBegun: UInt64? { get }

    /// The number of the last checkpoint that is finished; nil when none is kept.
    var lastCheckpoint: UInt64? { get }

    /// The root of a finished checkpoint that is still kept, or nil.
    func root(ofCheckpoint number: UInt64) -> Digest?

    /// A node of the Merkle tree of a finished checkpoint that is still kept, as state transfer sends it.
    ///
    /// - Returns: nil when the checkpoint is not kept or has no node at `path`.
    func node(at path: SubtreePath, inCheckpoint number: UInt64) -> StateNode?

    /// Drops the checkpoints with smaller numbers than `number`, but for those that are held.
    func releaseCheckpoints(before number: UInt64)

    /// The numbers of checkpoints that are kept however old or many they are, since another replica fetches them. One that is not kept
    /// any more does not come back by being named here; one that was released meanwhile goes when it is taken out.
    var heldCheckpoints: Set<UInt64> { get set }

    /// Begins to replace the state by another one, all of it or nothing, that is kept as a finished checkpoint in the end.
    ///
    /// The new state is that of the checkpoint `base` with the changes made. Whatever was written since that checkpoint is gone at once:
    /// later checkpoints, one that is being computed, and open sections, whose marks are void.
    ///
    /// Until ``advanceInstall(keys:bytes:)`` has ended it, the entries are those of no state: nothing is to be read or written but nodes of
    /// checkpoints. A restart in between finds the state of `base`.
    ///
    /// - Parameters:
    ///   - changes: One for each key that differs, no key twice. Each key and value is within ``StateLimits``.
    ///   - base: The number of a finished checkpoint that is still kept, or nil for the empty state; then no checkpoint
    ///     before is kept.
    ///   - number: The number of the new checkpoint, above that of every one begun before.
    ///   - root: The new state's root. Another one breaks an invariant before the new checkpoint is there.
    func beginInstall(_ changes: [StateChange], onto base: UInt64?, asCheckpoint number: UInt64, root: Digest)

    /// Does a part of what ``beginInstall(_:onto:asCheckpoint:root:)`` began. Each change takes three steps: one to set it, and those of a
    /// checkpoint.
    ///
    /// - Parameters:
    ///   - keys: The number of steps to take at most, at least 1.
    ///   - bytes: After how many bytes of values that are hashed to end, however few steps that were.
    /// - Returns: Whether the new state is there whole. A store that has failed says so too.
    func advanceInstall(keys: Int, bytes: Int) -> Bool

    /// How many bytes of values were hashed and written so far of the state that is being installed; 0 when none is.
    var installedBytes: Int { get }

    /// Keeps a part of a state that is being fetched, so that it need not be fetched again after a restart. It is no part of the state, and a
    /// store need not keep it.
    func stage(_ part: [UInt8])

    /// Visits the parts that were staged, also before a restart, oldest first, until the visitor stops. Nothing vouches for them: they may
    /// be damaged.
    func visitStaged(_ visit: (_ part: [UInt8]) -> ScanStep)

    /// Drops what was staged.
    func discardStaged()
}

/// What becomes of one key: its new value, or nil when it is deleted.
public struct StateChange: Hashable, Sendable {
    /// Where the key lies.
    public let keyspace: Keyspace

    /// The key's bytes.
    public let key: [UInt8]

    /// The value from now on; nil for none.
    public let value: [UInt8]?

    /// Sets, or with nil removes, the value of a key.
    public init(_ key: [UInt8], in keyspace: Keyspace, to value: [UInt8]?) {
        self.keyspace = keyspace
        self.key = key
        self.value = value
    }
}

extension AuthenticatedStore {
    /// A store that does not outlive a restart keeps nothing.
    public func stage(_ part: [UInt8]) {}

    /// Visits nothing.
    public func visitStaged(_ visit: (_ part: [UInt8]) -> ScanStep) {}

    /// Has nothing to drop.
    public func discardStaged() {}

    /// Freezes the state as the checkpoint with this number and computes its root at once.
    public func checkpoint(_ number: UInt64) -> Digest {
        beginCheckpoint(number)
        while true {
            if let root = advanceCheckpoint(keys: .max) {
                return root
            }
        }
    }
}

/// Names a tentative section of a store.
public struct TentativeMark: Hashable, Sendable {
    /// Its place in the order of all sections that were ever opened.
    package let number: UInt64

    package init(number: UInt64) {
        self.number = number
    }
}
