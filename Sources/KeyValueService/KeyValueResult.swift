import StateStore

/// What the key-value service answers.
public enum KeyValueResult: Hashable, Sendable {
    /// To a get: the value, or nil when the key is absent.
    case value([UInt8]?)

    /// To a put: the value is stored.
    case stored

    /// To a delete: whether the key was there.
    case deleted(existed: Bool)

    /// To a compare-and-swap: the value was the expected one, and is replaced.
    case swapped

    /// To a compare-and-swap: the value was this one, or the key absent when nil; nothing is changed.
    case mismatch(current: [UInt8]?)

    /// To an increment: the sum.
    case number(Int64)

    /// To a scan: the entries in the order of their keys, and the key to go on from when there are more in the range.
    case entries([StateEntry], next: [UInt8]?)

    /// To a count: the number of keys.
    case count(UInt64)

    /// To any operation: it was refused, and nothing is changed.
    case refused(KeyValueRefusal)
}

// MARK: - Encoding

extension KeyValueResult {
    private enum Tag: UInt8 {
        case value = 1
        case stored = 2
        case deleted = 3
        case swapped = 4
        case mismatch = 5
        case number = 6
        case entries = 7
        case count = 8
        case refused = 9
    }

    /// The bytes of an encoded entry beside its key and its value.
    static let entryOverhead = 8

    /// The bytes of an encoded scan beside its entries, with the longest key to go on from.
    static let entriesOverhead = 10 + KeyValueLimits.keyBytes

    /// The one encoding of the result; see <doc:Encoding>.
    public var encoded: [UInt8] {
        var writer = ByteWriter(reserving: encodedCount)
        switch self {
        case .value(let value):
            writer.write(Tag.value.rawValue)
            writer.write(value)
        case .stored:
            writer.write(Tag.stored.rawValue)
        case .deleted(let existed):
            writer.write(Tag.deleted.rawValue)
            writer.write(existed)
        case .swapped:
            writer.write(Tag.swapped.rawValue)
        case .mismatch(let current):
            writer.write(Tag.mismatch.rawValue)
            writer.write(current)
        case .number(let number):
            writer.write(Tag.number.rawValue)
            writer.write(UInt64(bitPattern: number))
        case .entries(let entries, let next):
            writer.write(Tag.entries.rawValue)
            writer.write(UInt32(clamping: entries.count))
            for entry in entries {
                writer.write(entry.key)
                writer.write(entry.value)
            }
            writer.write(next)
        case .count(let count):
            writer.write(Tag.count.rawValue)
            writer.write(count)
        case .refused(let refusal):
            writer.write(Tag.refused.rawValue)
            writer.write(refusal.rawValue)
        }
        return writer.bytes
    }

    /// Takes a result out of its encoding.
    ///
    /// - Returns: nil when the bytes are no encoding of a result.
    public init?(encoded bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        do {
            self = try Self.read(from: &reader)
            try reader.finish()
        } catch {
            return nil
        }
    }

    private static func read(from reader: inout ByteReader) throws(MalformedEncoding) -> KeyValueResult {
        guard let tag = Tag(rawValue: try reader.readUInt8()) else { throw MalformedEncoding() }
        switch tag {
        case .value:
            return .value(try reader.readOptionalBytes())
        case .stored:
            return .stored
        case .deleted:
            return .deleted(existed: try reader.readBool())
        case .swapped:
            return .swapped
        case .mismatch:
            return .mismatch(current: try reader.readOptionalBytes())
        case .number:
            return .number(Int64(bitPattern: try reader.readUInt64()))
        case .entries:
            return try readEntries(from: &reader)
        case .count:
            return .count(try reader.readUInt64())
        case .refused:
            guard let refusal = KeyValueRefusal(rawValue: try reader.readUInt8()) else { throw MalformedEncoding() }
            return .refused(refusal)
        }
    }

    private static func readEntries(from reader: inout ByteReader) throws(MalformedEncoding) -> KeyValueResult {
        let count = Int(try reader.readUInt32())
        guard count <= KeyValueLimits.scanEntries, count <= reader.remaining / entryOverhead else {
            throw MalformedEncoding()
        }
        var entries: [StateEntry] = []
        entries.reserveCapacity(count)
        for _ in 0..<count {
            entries.append(StateEntry(key: try reader.readBytes(), value: try reader.readBytes()))
        }
        return .entries(entries, next: try reader.readOptionalBytes())
    }

    private var encodedCount: Int {
        switch self {
        case .value(let value), .mismatch(let value): 2 + (value.map { 4 + $0.count } ?? 0)
        case .stored, .swapped: 1
        case .deleted, .refused: 2
        case .number, .count: 9
        case .entries(let entries, let next):
            entries.reduce(6 + (next.map { 4 + $0.count } ?? 0)) {
                $0 + Self.entryOverhead + $1.key.count + $1.value.count
            }
        }
    }
}
