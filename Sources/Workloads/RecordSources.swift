import KeyValueService
import StateStore

/// Empty operations without end.
struct NullSource: OperationSource {
    mutating func next() -> WorkloadOperation? { WorkloadOperation(.null, []) }

    func fault(in result: [UInt8], of operation: WorkloadOperation, isContinuation: Bool) -> String? {
        result.isEmpty ? nil : RecordOperation.unexpectedResult
    }

    mutating func end(_ operation: WorkloadOperation, succeeded: Bool) {}
}

/// Puts a range of records, each once.
struct LoadingSource: OperationSource {
    var records: Range<UInt64>
    let valueBytes: Int
    var random: SplitMix64

    mutating func next() -> WorkloadOperation? {
        guard let record = records.popFirst() else { return nil }
        return WorkloadOperation(.insert, RecordOperation.put(record, valueBytes, &random), inserted: record)
    }

    func fault(in result: [UInt8], of operation: WorkloadOperation, isContinuation: Bool) -> String? {
        RecordOperation.fault(in: result, of: operation, isContinuation: isContinuation)
    }

    mutating func end(_ operation: WorkloadOperation, succeeded: Bool) {}
}

/// The run phase of YCSB's core workload and of `kv-put`.
struct RecordSource: OperationSource {
    /// Scans ask for 1 to this many records (YCSB's `maxscanlength` of workload E).
    static let longestScan: UInt64 = 100

    let mix: OperationMix
    var chooser: KeyChooser
    let inserts: InsertSequence
    let valueBytes: Int
    var random: SplitMix64

    mutating func next() -> WorkloadOperation? {
        let kind = mix.next(using: &random)
        switch kind {
        case .null:
            return WorkloadOperation(.null, [])
        case .read:
            return WorkloadOperation(.read, RecordOperation.get(choose()))
        case .update:
            return WorkloadOperation(.update, RecordOperation.put(choose(), valueBytes, &random))
        case .insert:
            let record = inserts.next()
            return WorkloadOperation(.insert, RecordOperation.put(record, valueBytes, &random), inserted: record)
        case .scan:
            let record = choose()
            let length = 1 + random.next(below: Self.longestScan)
            return WorkloadOperation(.scan, RecordOperation.scan(from: record, limit: UInt32(length)))
        case .readModifyWrite:
            let record = choose()
            let write = RecordOperation.put(record, valueBytes, &random)
            return WorkloadOperation(.readModifyWrite, RecordOperation.get(record), continuation: write)
        }
    }

    func fault(in result: [UInt8], of operation: WorkloadOperation, isContinuation: Bool) -> String? {
        RecordOperation.fault(in: result, of: operation, isContinuation: isContinuation)
    }

    mutating func end(_ operation: WorkloadOperation, succeeded: Bool) {
        if let record = operation.inserted { inserts.acknowledge(record) }
    }

    private mutating func choose() -> UInt64 {
        chooser.next(newest: inserts.newest, using: &random)
    }
}

/// A record as an operation of the key-value service: one key with one value, which stands for all fields of YCSB's
/// record.
enum RecordOperation {
    /// The service refused the operation.
    static let refused = "refused"

    /// The record that should have been there was not.
    static let notFound = "not_found"

    /// The result is none that the service gives to this operation.
    static let unexpectedResult = "unexpected_result"

    /// The key of a record: `user` and the hash of its number (YCSB's `insertorder=hashed`).
    static func key(_ record: UInt64) -> [UInt8] {
        Array("user\(fnv64(record))".utf8)
    }

    static func get(_ record: UInt64) -> [UInt8] {
        KeyValueOperation.get(key: key(record)).encoded
    }

    static func put(_ record: UInt64, _ valueBytes: Int, _ random: inout SplitMix64) -> [UInt8] {
        KeyValueOperation.put(key: key(record), value: value(valueBytes, &random)).encoded
    }

    static func scan(from record: UInt64, limit: UInt32) -> [UInt8] {
        KeyValueOperation.scan(KeyRange(from: key(record), to: nil), limit: limit).encoded
    }

    /// Random printable ASCII characters.
    private static func value(_ count: Int, _ random: inout SplitMix64) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            // Eight characters a word: six random bits each, from the space upward.
            var word = (random.next() & 0x3F3F_3F3F_3F3F_3F3F) + 0x2020_2020_2020_2020
            for _ in 0..<min(8, count - bytes.count) {
                bytes.append(UInt8(truncatingIfNeeded: word))
                word >>= 8
            }
        }
        return bytes
    }

    static func fault(in result: [UInt8], of operation: WorkloadOperation, isContinuation: Bool) -> String? {
        guard let result = KeyValueResult(encoded: result) else { return unexpectedResult }
        switch (operation.kind, result) {
        case (_, .refused): return refused
        case (.read, .value(let value)): return value == nil ? notFound : nil
        case (.readModifyWrite, .value(let value)) where !isContinuation: return value == nil ? notFound : nil
        case (.readModifyWrite, .stored) where isContinuation: return nil
        case (.update, .stored), (.insert, .stored): return nil
        // A scan may end early: at the last record, or at the largest result.
        case (.scan, .entries(let entries, _)): return entries.isEmpty ? notFound : nil
        default: return unexpectedResult
        }
    }
}
