internal import CRocksDB
import Invariants
import Synchronization

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// The column families of a replica's database.
package enum Family: Int, CaseIterable, Sendable {
    /// Whose store it is, and its checkpoints.
    case header
    /// The protocol log.
    case log
    /// The values of the last checkpoint.
    case values
    /// The nodes of the Merkle trees of all checkpoints that are kept.
    case nodes
    /// The nodes that each checkpoint replaced.
    case turnover

    fileprivate var name: String {
        switch self {
        // RocksDB has a family of this name in each database.
        case .header: "default"
        case .log: "log"
        case .values: "values"
        case .nodes: "nodes"
        case .turnover: "turnover"
        }
    }
}

/// RocksDB behind Swift types: no pointer of the library leaves this target.
///
/// It may be used from several threads at once, as RocksDB itself may; but ``close()`` only when nothing else is under way.
package final class Database: @unchecked Sendable {
    /// How to open it.
    package enum Access: Sendable {
        /// It must not exist yet, and is made.
        case create
        /// It is replayed in memory and nothing on disk is changed.
        case readOnly
        /// For all use.
        case readWrite
    }

    private var handle: OpaquePointer?
    private var families: [OpaquePointer] = []
    private let readOptions: OpaquePointer
    private let writeOptions: OpaquePointer
    private let failure = Mutex<DatabaseError?>(nil)

    /// Opens the database in a directory.
    ///
    /// - Parameters:
    ///   - path: The directory.
    ///   - access: How.
    ///   - cacheBytes: The most memory for blocks that were read.
    package init(at path: String, _ access: Access, cacheBytes: Int) throws(DatabaseError) {
        guard let readOptions = rocksdb_readoptions_create(), let writeOptions = rocksdb_writeoptions_create() else {
            invariantViolated("RocksDB has no memory for its options")
        }
        self.readOptions = readOptions
        self.writeOptions = writeOptions
        rocksdb_readoptions_set_verify_checksums(readOptions, 1)
        // From here on `deinit` frees the options, also when this throws.
        try open(path, access, cacheBytes)
    }

    deinit {
        close()
        rocksdb_readoptions_destroy(readOptions)
        rocksdb_writeoptions_destroy(writeOptions)
    }

    /// Closes the files. Nothing but ``close()`` may be called afterwards.
    package func close() {
        guard let handle else { return }
        for family in families { rocksdb_column_family_handle_destroy(family) }
        rocksdb_close(handle)
        self.handle = nil
    }

    private func open(_ path: String, _ access: Access, _ cacheBytes: Int) throws(DatabaseError) {
        let options = OpenOptions(creating: access == .create, cacheBytes: cacheBytes)
        defer { options.destroy() }
        let names = Family.allCases.map { strdup($0.name) }
        defer { for name in names { free(name) } }
        var handles = [OpaquePointer?](repeating: nil, count: names.count)
        let constantNames = names.map { UnsafePointer<CChar>($0) }
        let familyOptions = Family.allCases.map { Optional(options.family($0)) }
        let count = CInt(names.count)
        handle = try checked { error in
            switch access {
            case .create, .readWrite:
                rocksdb_open_column_families(options.base, path, count, constantNames, familyOptions, &handles, error)
            case .readOnly:
                rocksdb_open_for_read_only_column_families(
                    options.base,
                    path,
                    count,
                    constantNames,
                    familyOptions,
                    &handles,
                    0,
                    error
                )
            }
        }
        families = handles.compactMap { $0 }
    }

    private var opened: OpaquePointer {
        guard let handle else { invariantViolated("the database is closed") }
        return handle
    }

    func family(_ family: Family) -> OpaquePointer { families[family.rawValue] }

    // MARK: Reading

    /// The value under a key, or nil.
    package func value(of key: [UInt8], in family: Family) throws(DatabaseError) -> [UInt8]? {
        let slice = try checked { error in
            key.withCharacters { pointer, count in
                rocksdb_get_pinned_cf(opened, readOptions, self.family(family), pointer, count, error)
            }
        }
        guard let slice else { return nil }
        defer { rocksdb_pinnableslice_destroy(slice) }
        var count = 0
        let start = rocksdb_pinnableslice_value(slice, &count)
        return Array(UnsafeRawBufferPointer(start: start, count: count))
    }

    /// The entries of a family from a key on, in the order of their bytes, as they are now.
    package func entries(of family: Family, from key: [UInt8] = []) -> Cursor {
        guard let iterator = rocksdb_create_iterator_cf(opened, readOptions, self.family(family)) else {
            invariantViolated("RocksDB has no memory for an iterator")
        }
        return Cursor(iterator, in: self, from: key)
    }

    // MARK: Writing

    /// Makes all changes of a batch or none. They survive the end of the process, and after ``sync()`` the end of power.
    package func write(_ batch: WriteBatch) throws(DatabaseError) {
        try written { error in rocksdb_write(opened, writeOptions, batch.handle, error) }
    }

    /// Makes everything durable that was written before the call. Writing goes on meanwhile.
    package func sync() throws(DatabaseError) {
        try written { error in rocksdb_flush_wal(opened, 1, error) }
    }

    /// How many changes were ever made to the database: it grows with each, and a database that lost some has less.
    package var changes: UInt64 { rocksdb_get_latest_sequence_number(opened) }

    /// Reads the log of changes through, and throws when one is missing between the first and the last in it.
    package func checkLog() throws(DatabaseError) {
        let iterator = try checked { error in rocksdb_get_updates_since(opened, 0, nil, error) }
        guard let iterator else { return }
        defer { rocksdb_wal_iter_destroy(iterator) }
        while rocksdb_wal_iter_valid(iterator) != 0 { rocksdb_wal_iter_next(iterator) }
        try checked { error in rocksdb_wal_iter_status(iterator, error) }
    }

    /// Writes what is in memory to sorted files, so that the log of changes is not needed.
    package func flush() throws(DatabaseError) {
        guard let options = rocksdb_flushoptions_create() else {
            invariantViolated("RocksDB has no memory for its options")
        }
        defer { rocksdb_flushoptions_destroy(options) }
        rocksdb_flushoptions_set_wait(options, 1)
        for family in families {
            try written { error in rocksdb_flush_cf(opened, options, family, error) }
        }
    }

    /// Changes the database, unless that failed before: a build of RocksDB with assertions, as Debian's, ends the process
    /// when a file is used again that could not be written.
    private func written(
        _ call: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Void
    ) throws(DatabaseError) {
        if let failure = failure.withLock({ $0 }) { throw failure }
        do {
            try checked(call)
        } catch {
            failure.withLock { $0 = $0 ?? error }
            throw error
        }
    }
}

/// Calls into the library and throws what it complains of.
@discardableResult
func checked<Result>(
    _ call: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) throws(DatabaseError) -> Result {
    var message: UnsafeMutablePointer<CChar>?
    let result = call(&message)
    guard let message else { return result }
    defer { rocksdb_free(message) }
    throw DatabaseError(String(cString: message))
}

extension [UInt8] {
    /// Calls `body` with the bytes as RocksDB wants them: a pointer that is never nil, and a length.
    @inline(__always)
    func withCharacters<Result>(_ body: (UnsafePointer<CChar>, Int) -> Result) -> Result {
        withUnsafeBytes { buffer in
            if let base = buffer.baseAddress {
                return body(base.assumingMemoryBound(to: CChar.self), buffer.count)
            }
            return withUnsafePointer(to: 0 as CChar) { body($0, 0) }
        }
    }
}
