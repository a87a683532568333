import Agreement
import Cryptography
import Disk
import Messages
import StateStore

/// What a replica's store survives.
public enum Durability: Hashable, Sendable {
    /// The loss of power: nothing is said before it is on the disk itself.
    case powerLoss

    /// The end of the process, however sudden, but not of the machine: nothing is said before the operating system has it.
    case processCrash
}

/// A replica's store on disk: its state and its protocol log, in one RocksDB database.
///
/// Both share the database's log of changes, so that one sync covers what was written to either, and what survives of them fits
/// together: all changes up to some point, and none after it.
public final class DurableStore {
    /// How a store is used.
    public struct Options: Sendable {
        /// What it survives.
        public var durability = Durability.powerLoss

        /// The number of finished checkpoints to keep, at least 1.
        public var checkpointsKept = 4

        /// The most memory for what was read, in bytes.
        public var cacheBytes = 256 << 20

        /// The defaults.
        public init() {}
    }

    /// The replica's state.
    public let state: RocksStateStore

    /// The replica's protocol log.
    public let log: ProtocolLog

    private var recovered: [LogRecord]
    private let database: Database
    private let writer: LogWriter

    /// Whether there is anything at `path`: a store, what is left of one, or something else.
    public static func exists(at path: String) throws(StoreError) -> Bool {
        do {
            return try !Directory.names(in: path).isEmpty
        } catch {
            if error.isMissing { return false }
            throw StoreError(error, at: path)
        }
    }

    /// Makes an empty store. It is there as a whole or, after a crash, not at all.
    ///
    /// - Parameters:
    ///   - path: A directory that does not exist yet, or is empty, in one that exists.
    ///   - owner: Whose store it will be.
    /// - Throws: When something else is there, or the disk refuses.
    public static func create(at path: String, for owner: StoreOwner) throws(StoreError) {
        try make(at: path, for: owner) { _, _ in }
    }

    /// Makes a store that has something in it, as ``create(at:for:)`` does.
    ///
    /// - Parameter fill: Writes what is to be in it: what is large to the database, and what makes it count to the last batch.
    static func make(
        at path: String,
        for owner: StoreOwner,
        _ fill: (Database, WriteBatch) throws(StoreError) -> Void
    ) throws(StoreError) {
        guard try !exists(at: path) else {
            throw StoreError(.exists, "\(path): there is something already, and it is not overwritten")
        }
        let unfinished = "\(path).new"
        let isLeft = try exists(at: unfinished)
        try withFiles(at: path) { () throws(FileError) in
            if isLeft { try Directory.remove(unfinished) }
            try Directory.create(unfinished)
        }
        do throws(StoreError) {
            try fillDatabase(at: unfinished, owner, path, fill)
            try withFiles(at: path) { () throws(FileError) in
                try Directory.rename(unfinished, to: path, in: parent(of: path))
            }
        } catch {
            try? Directory.remove(unfinished)
            throw error
        }
    }

    private static func fillDatabase(
        at unfinished: String,
        _ owner: StoreOwner,
        _ path: String,
        _ fill: (Database, WriteBatch) throws(StoreError) -> Void
    ) throws(StoreError) {
        let database = try withDatabase(at: path) { () throws(DatabaseError) in
            try Database(at: unfinished, .create, cacheBytes: 16 << 20)
        }
        defer { database.close() }
        let batch = WriteBatch(for: database)
        batch.put(StoreHeader(owner: owner).encoded, at: StoreHeader.key, in: .header)
        try fill(database, batch)
        let changes = try withDatabase(at: path) { () throws(DatabaseError) in
            try database.write(batch)
            try database.flush()
            return database.changes
        }
        _ = try DurableMark(creatingIn: unfinished, changes: changes)
    }

    static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Opens a store and takes up what is durable in it.
    ///
    /// Whose store it is, its format, and that nothing durable is missing, are checked before anything on disk is changed.
    ///
    /// - Parameters:
    ///   - path: The store's directory.
    ///   - owner: Whose store it has to be.
    ///   - options: How it is used.
    ///   - report: Called on a thread of the store's own with what ``ProtocolLog`` has to say.
    /// - Throws: Why it cannot be opened.
    public init(
        at path: String,
        for owner: StoreOwner,
        options: Options = Options(),
        report: @escaping @Sendable (ProtocolLog.Report) -> Void
    ) throws(StoreError) {
        guard try Self.exists(at: path) else { throw StoreError(.missing, "\(path): there is no store") }
        let mark = try Self.check(path, owner)
        database = try withDatabase(at: path) { () throws(DatabaseError) in
            try Database(at: path, .readWrite, cacheBytes: options.cacheBytes)
        }
        let found = try LogWriter.read(database, at: path, owner: owner)
        writer = try LogWriter(
            in: database,
            at: path,
            owner: owner,
            durability: options.durability,
            mark: mark,
            numberedFrom: (found.last?.position ?? 0) - UInt64(found.count)
        )
        recovered = found.map(\.record)
        state = try RocksStateStore(in: database, at: path, checkpointsKept: options.checkpointsKept)
        log = ProtocolLog(writer, report: report)
        // What was found may have been in the hands of the operating system alone, when the process ended and the machine did not.
        try writer.finish()
    }

    /// Looks whether the store is whole and the owner's, without changing anything.
    private static func check(_ path: String, _ owner: StoreOwner) throws(StoreError) -> sending DurableMark {
        let mark = try DurableMark(in: path, .readWrite)
        let (database, header) = try openUnchanged(path, mark, cacheBytes: 8 << 20)
        defer { database.close() }
        try header.check(owner, at: path)
        return mark
    }

    /// Opens the database of a store that is whole, to be read only.
    static func openUnchanged(
        _ path: String,
        _ mark: DurableMark,
        cacheBytes: Int
    ) throws(StoreError) -> (Database, StoreHeader) {
        // First what says whether the database has all its files.
        try mark.manifest.check(in: path)
        let (database, record) = try withDatabase(at: path) { () throws(DatabaseError) in
            let database = try Database(at: path, .readOnly, cacheBytes: cacheBytes)
            let record = try database.value(of: StoreHeader.key, in: .header)
            try database.checkLog()
            return (database, record)
        }
        let header = try StoreHeader(record, at: path)
        let changes = database.changes
        guard changes >= mark.changes else {
            throw .damaged(path, "\(mark.changes) changes were durable, but only \(changes) are left")
        }
        return (database, header)
    }

    /// The records of the protocol log that were there when the store was opened, in their order; they are handed out once.
    public func takeRecovered() -> [LogRecord] {
        defer { recovered = [] }
        return recovered
    }

    /// What is wrong with the disk, as far as the state has met it; the log reports for itself.
    public var failure: StoreError? { state.failure }

    /// Makes everything durable and closes the files. Neither the state nor the log may be used afterwards.
    public func close() throws(StoreError) {
        log.finish()
        defer { database.close() }
        try writer.finish()
    }

    /// Closes the files as the end of the process would, without making anything durable.
    func abandon() {
        log.finish()
        database.close()
    }
}
