import Agreement
import Cryptography
import Disk
import Dispatch
import Invariants
import Messages
import Synchronization

/// The protocol log on disk, with group commit: what is appended while one sync is under way is made durable together by the next.
///
/// It writes and syncs on a thread of its own, so that neither holds up agreement, and reports there. ``append(_:at:)`` and
/// ``commit()`` may be called from any thread; records are numbered in the order of the calls.
///
/// Kept are the records about sequence numbers above the stable checkpoint, and of VIEW-CHANGEs, NEW-VIEWs, stable checkpoints and
/// whether the replica votes at all the last: each later one makes those before it needless. The key of a record is 1, its sequence
/// number and its position (u64 each, highest byte first), or 2, 3, 4 and 5 for those four. The value is a checksum, the first 16 bytes of the BLAKE2b-256 of owner, key and
/// what follows it; the position (u64); and the record's encoding.
public final class ProtocolLog: Sendable {
    /// What is reported.
    public enum Report: Sendable {
        /// The log is durable up to this position.
        case durable(LogPosition)
        /// The checkpoint with this number is durable, as ``coverCheckpoint(_:)`` asked.
        case checkpointDurable(UInt64)
        /// The disk failed: nothing that was not reported yet is durable, and nothing ever will be.
        case failed(StoreError)
    }

    private struct State {
        var records: [(LogRecord, LogPosition)] = []
        var checkpoints: [UInt64] = []
        var isBusy = false
        var hasFailed = false
    }

    private let state = Mutex(State())
    private let writer: LogWriter
    private let queue = DispatchQueue(label: "protocol log", qos: .userInitiated)
    private let report: @Sendable (Report) -> Void

    init(_ writer: LogWriter, report: @escaping @Sendable (Report) -> Void) {
        self.writer = writer
        self.report = report
    }

    /// Adds a record, to be written at the next ``commit()``.
    public func append(_ record: LogRecord, at position: LogPosition) {
        state.withLock { $0.records.append((record, position)) }
    }

    /// Has the next commit say when the checkpoint is durable that the state store has just finished.
    public func coverCheckpoint(_ number: UInt64) {
        state.withLock { $0.checkpoints.append(number) }
    }

    /// Starts making durable what was added, unless that is under way: then it goes on with the rest by itself.
    public func commit() {
        let starts = state.withLock { state in
            guard !state.isBusy, !state.hasFailed, !(state.records.isEmpty && state.checkpoints.isEmpty) else {
                return false
            }
            state.isBusy = true
            return true
        }
        if starts { queue.async { [self] in commitAll() } }
    }

    /// Waits until everything that was added is durable, or the disk has failed.
    func finish() {
        commit()
        queue.sync {}
    }

    private func commitAll() {
        while true {
            let (records, checkpoints) = state.withLock { state in
                defer {
                    state.records = []
                    state.checkpoints = []
                }
                if state.records.isEmpty, state.checkpoints.isEmpty { state.isBusy = false }
                return (state.records, state.checkpoints)
            }
            if records.isEmpty, checkpoints.isEmpty { return }
            do {
                try writer.write(records)
            } catch {
                state.withLock { state in
                    state.hasFailed = true
                    state.isBusy = false
                }
                return report(.failed(error))
            }
            if let last = records.last?.1 { report(.durable(last)) }
            for checkpoint in checkpoints { report(.checkpointDurable(checkpoint)) }
        }
    }
}

/// Writes the protocol log, and makes it durable with everything that was written to the database before.
final class LogWriter: Sendable {
    private static let checksumBytes = 16

    private enum Tag {
        static let slot: UInt8 = 1
        static let viewChange: UInt8 = 2
        static let newView: UInt8 = 3
        static let stable: UInt8 = 4
        static let learning: UInt8 = 5
    }

    private let database: Database
    private let path: String
    private let owner: StoreOwner
    private let durability: Durability
    private let durable: Mutex<(mark: DurableMark, manifest: Manifest.Watch)>
    /// What is added to the engine's positions, which begin anew at each start, so that those on disk grow for ever.
    private let offset: UInt64

    init(
        in database: Database,
        at path: String,
        owner: StoreOwner,
        durability: Durability,
        mark: consuming sending DurableMark,
        numberedFrom offset: UInt64
    ) throws(StoreError) {
        self.database = database
        self.path = path
        self.owner = owner
        self.durability = durability
        self.offset = offset
        durable = Mutex((mark, try Manifest.Watch(in: path)))
    }

    /// Writes records and makes them durable.
    func write(_ records: [(LogRecord, LogPosition)]) throws(StoreError) {
        let batch = WriteBatch(for: database)
        for (record, position) in records { Self.add(record, at: position.rawValue + offset, of: owner, to: batch) }
        let changes = try withDatabase(at: path) { () throws(DatabaseError) in
            if batch.count > 0 { try database.write(batch) }
            let changes = database.changes
            if durability == .powerLoss { try database.sync() }
            return changes
        }
        try advanceMark(to: changes)
    }

    private func advanceMark(to changes: UInt64) throws(StoreError) {
        try durable.withLock { (durable) throws(StoreError) in
            try durable.manifest.refresh()
            try durable.mark.advance(to: changes, durable.manifest.durable)
        }
    }

    /// Makes everything durable, the mark as well, whatever the durability.
    func finish() throws(StoreError) {
        let changes = database.changes
        try withDatabase(at: path) { () throws(DatabaseError) in try database.sync() }
        try advanceMark(to: changes)
        try durable.withLock { (durable) throws(StoreError) in try durable.mark.sync() }
    }

    /// Writes a record at its position on disk to a batch.
    static func add(_ record: LogRecord, at position: UInt64, of owner: StoreOwner, to batch: WriteBatch) {
        let key: [UInt8]
        switch record {
        case .prePrepared(let prePrepare): key = slotKey(prePrepare.sequence.rawValue, position)
        case .prepared(_, let sequence, _): key = slotKey(sequence.rawValue, position)
        case .viewChange: key = [Tag.viewChange]
        case .newView: key = [Tag.newView]
        case .learning: key = [Tag.learning]
        case .stable(let sequence, certificate: _):
            key = [Tag.stable]
            batch.delete(from: [Tag.slot], to: slotKey(sequence.rawValue, .max), in: .log)
        }
        var body: [UInt8] = []
        body.append(littleEndian: position)
        body.append(contentsOf: record.encoded)
        batch.put(checksum(key, body, owner) + body, at: key, in: .log)
    }

    private static func slotKey(_ sequence: UInt64, _ position: UInt64) -> [UInt8] {
        [Tag.slot] + DiskNodes.bigEndian(sequence) + DiskNodes.bigEndian(position)
    }

    private static func checksum(_ key: [UInt8], _ body: [UInt8], _ owner: StoreOwner) -> ArraySlice<UInt8> {
        Digest.of(Array("aardvark log".utf8) + owner.bytes + key + body).bytes.prefix(checksumBytes)
    }

    /// The records in a database with their positions there, in their order.
    static func read(
        _ database: Database,
        at path: String,
        owner: StoreOwner
    ) throws(StoreError) -> [(position: UInt64, record: LogRecord)] {
        var found: [(position: UInt64, record: LogRecord)] = []
        let entries = database.entries(of: .log)
        while let (key, value) = try withDatabase(at: path, { () throws(DatabaseError) in try entries.next() }) {
            let body = Array(value.dropFirst(checksumBytes))
            guard value.prefix(checksumBytes) == checksum(key, body, owner) else {
                throw .damaged(path, "a record of the protocol log is not what was written")
            }
            do {
                var reader = ByteReader(body)
                let position = try reader.readUInt64()
                found.append((position, try LogRecord(decoding: Array(body.dropFirst(8)))))
            } catch {
                throw .damaged(path, "a record of the protocol log cannot be read: \(error)")
            }
        }
        found.sort { $0.position < $1.position }
        return found
    }
}
