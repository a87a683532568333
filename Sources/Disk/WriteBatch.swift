internal import CRocksDB
import Invariants

/// Changes to a database that are made together.
package final class WriteBatch {
    let handle: OpaquePointer
    private let database: Database

    /// Makes an empty batch for a database.
    package init(for database: Database) {
        guard let handle = rocksdb_writebatch_create() else {
            invariantViolated("RocksDB has no memory for a batch")
        }
        self.handle = handle
        self.database = database
    }

    deinit {
        rocksdb_writebatch_destroy(handle)
    }

    /// The number of changes.
    package var count: Int { Int(rocksdb_writebatch_count(handle)) }

    /// Forgets all changes.
    package func removeAll() {
        rocksdb_writebatch_clear(handle)
    }

    /// Sets the value under a key.
    package func put(_ value: [UInt8], at key: [UInt8], in family: Family) {
        key.withCharacters { key, keyCount in
            value.withCharacters { value, valueCount in
                rocksdb_writebatch_put_cf(handle, database.family(family), key, keyCount, value, valueCount)
            }
        }
    }

    /// Removes the entry of a key, if there is one.
    package func delete(_ key: [UInt8], in family: Family) {
        key.withCharacters { key, count in
            rocksdb_writebatch_delete_cf(handle, database.family(family), key, count)
        }
    }

    /// Removes all entries from a key up to but not including another.
    package func delete(from start: [UInt8], to end: [UInt8], in family: Family) {
        start.withCharacters { start, startCount in
            end.withCharacters { end, endCount in
                rocksdb_writebatch_delete_range_cf(handle, database.family(family), start, startCount, end, endCount)
            }
        }
    }
}

/// Goes through the entries of a family as they were when it was made.
package final class Cursor {
    private let iterator: OpaquePointer
    /// Kept, since the iterator works on it.
    private let database: Database
    private var isStarted = false

    init(_ iterator: OpaquePointer, in database: Database, from key: [UInt8]) {
        self.iterator = iterator
        self.database = database
        key.withCharacters { key, count in rocksdb_iter_seek(iterator, key, count) }
    }

    deinit {
        rocksdb_iter_destroy(iterator)
    }

    /// The next entry, or nil at the end.
    package func next() throws(DatabaseError) -> (key: [UInt8], value: [UInt8])? {
        if isStarted { rocksdb_iter_next(iterator) }
        isStarted = true
        guard rocksdb_iter_valid(iterator) != 0 else {
            isStarted = false
            try checked { error in rocksdb_iter_get_error(iterator, error) }
            return nil
        }
        var count = 0
        let key = rocksdb_iter_key(iterator, &count)
        let keyBytes = Array(UnsafeRawBufferPointer(start: key, count: count))
        let value = rocksdb_iter_value(iterator, &count)
        return (keyBytes, Array(UnsafeRawBufferPointer(start: value, count: count)))
    }
}
