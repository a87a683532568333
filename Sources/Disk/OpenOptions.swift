internal import CRocksDB
import Invariants

/// What the database is opened with.
///
/// Memory: the cache, and ``writeBufferBytes`` for what was written and is not in sorted files yet.
struct OpenOptions {
    private static let writeBufferBytes = 128 << 20
    private static let familyBufferBytes = 32 << 20
    private static let logBytes: UInt64 = 256 << 20
    private static let manifestBytes = 1 << 20
    private static let blockBytes = 8 << 10

    let base: OpaquePointer
    private let families: [OpaquePointer]

    init(creating: Bool, cacheBytes: Int) {
        guard let cache = rocksdb_cache_create_lru(cacheBytes) else {
            invariantViolated("RocksDB has no memory for its cache")
        }
        // Each options object holds the cache until the database is closed.
        defer { rocksdb_cache_destroy(cache) }
        base = Self.make(for: .header, cache)
        families = Family.allCases.map { Self.make(for: $0, cache) }
        rocksdb_options_set_create_if_missing(base, creating ? 1 : 0)
        rocksdb_options_set_create_missing_column_families(base, creating ? 1 : 0)
        rocksdb_options_set_error_if_exists(base, creating ? 1 : 0)
        // Damage stops the database, and all files that it names must be there when it is opened.
        rocksdb_options_set_paranoid_checks(base, 1)
        rocksdb_options_set_max_open_files(base, -1)
        // A torn end of the log is what losing power leaves behind, so it must not keep the store from opening; the stricter modes
        // would take it for damage. That nothing durable is missing is checked with the mark, which this mode alone could not tell.
        rocksdb_options_set_wal_recovery_mode(base, CInt(rocksdb_point_in_time_recovery))
        // All families are written to sorted files together. So what is in them is everything up to some change, and the number of
        // changes that are left tells whether the log of changes lost any.
        rocksdb_options_set_atomic_flush(base, 1)
        rocksdb_options_set_max_manifest_file_size(base, Self.manifestBytes)
        rocksdb_options_set_max_total_wal_size(base, Self.logBytes)
        rocksdb_options_set_db_write_buffer_size(base, Self.writeBufferBytes)
        rocksdb_options_set_max_background_jobs(base, 2)
        // Files go to the disk as they are written, not all at the end: a sync of the log does not wait behind them for long.
        rocksdb_options_set_bytes_per_sync(base, 1 << 20)
        rocksdb_options_set_keep_log_file_num(base, 2)
        rocksdb_options_set_max_log_file_size(base, 1 << 20)
        let warnings: CInt = 2
        rocksdb_options_set_info_log_level(base, warnings)
    }

    func family(_ family: Family) -> OpaquePointer { families[family.rawValue] }

    func destroy() {
        for options in families + [base] { rocksdb_options_destroy(options) }
    }

    private static func make(for family: Family, _ cache: OpaquePointer) -> OpaquePointer {
        guard let options = rocksdb_options_create(), let table = rocksdb_block_based_options_create() else {
            invariantViolated("RocksDB has no memory for its options")
        }
        defer { rocksdb_block_based_options_destroy(table) }
        rocksdb_block_based_options_set_block_cache(table, cache)
        rocksdb_block_based_options_set_block_size(table, blockBytes)
        rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1)
        rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1)
        rocksdb_block_based_options_set_format_version(table, 5)
        switch family {
        case .values, .nodes:
            rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(10))
        case .header, .log, .turnover:
            break
        }
        rocksdb_options_set_block_based_table_factory(options, table)
        // Nodes are digests for the most part, which no compression makes smaller.
        let compression = family == .values ? rocksdb_lz4_compression : rocksdb_no_compression
        rocksdb_options_set_compression(options, CInt(compression))
        rocksdb_options_set_write_buffer_size(options, familyBufferBytes)
        rocksdb_options_set_max_write_buffer_number(options, 4)
        rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1)
        // Rather more files to look through for a while than a writer, and agreement with it, held up.
        rocksdb_options_set_level0_slowdown_writes_trigger(options, 40)
        rocksdb_options_set_level0_stop_writes_trigger(options, 64)
        return options
    }
}
