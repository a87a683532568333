import StateStore

/// What a client can ask the key-value service to do. Each runs alone: nothing happens between its reading and its
/// writing.
public enum KeyValueOperation: Hashable, Sendable {
    /// Reads the value of a key.
    case get(key: [UInt8])

    /// Sets the value of a key.
    case put(key: [UInt8], value: [UInt8])

    /// Removes a key with its value.
    case delete(key: [UInt8])

    /// Sets a key to `replacement`, or removes it when that is nil, if its value is `expected`, or if it is absent when
    /// that is nil.
    ///
    /// Both values together must fit into one operation.
    case compareAndSwap(key: [UInt8], expected: [UInt8]?, replacement: [UInt8]?)

    /// Adds to the decimal number that is the value of a key; an absent key counts as 0.
    case increment(key: [UInt8], by: Int64)

    /// Reads the entries of a range in the order of their keys: at most `limit`, and no more than fit into one result.
    case scan(KeyRange, limit: UInt32)

    /// Reads the number of keys.
    case count

    /// Whether the operation leaves the state as it is, so that it may be answered without being ordered.
    public var isReadOnly: Bool {
        switch self {
        case .get, .scan, .count: true
        case .put, .delete, .compareAndSwap, .increment: false
        }
    }

    /// Checks the operation against ``KeyValueLimits``, as the replicas will.
    ///
    /// - Throws: The bound that the operation breaks.
    public func validate() throws(KeyValueLimitError) {
        switch self {
        case .get(let key), .delete(let key), .increment(let key, _):
            try Self.check(key: key)
        case .put(let key, let value):
            try Self.check(key: key)
            try Self.check(value: value)
        case .compareAndSwap(let key, let expected, let replacement):
            try Self.check(key: key)
            try Self.check(value: expected ?? [])
            try Self.check(value: replacement ?? [])
        case .scan(let range, let limit):
            let longest = max(range.from.count, range.to?.count ?? 0)
            guard longest <= KeyValueLimits.keyBytes else { throw .keyTooLong(bytes: longest) }
            guard limit >= 1, limit <= KeyValueLimits.scanEntries else { throw .scanLimit(entries: limit) }
        case .count:
            break
        }
        guard encodedCount <= KeyValueLimits.operationBytes else { throw .operationTooLong(bytes: encodedCount) }
    }

    private static func check(key: [UInt8]) throws(KeyValueLimitError) {
        guard !key.isEmpty else { throw .keyEmpty }
        guard key.count <= KeyValueLimits.keyBytes else { throw .keyTooLong(bytes: key.count) }
    }

    private static func check(value: [UInt8]) throws(KeyValueLimitError) {
        guard value.count <= KeyValueLimits.valueBytes else { throw .valueTooLong(bytes: value.count) }
    }
}

// MARK: - Encoding

extension KeyValueOperation {
    private enum Tag: UInt8 {
        case get = 1
        case put = 2
        case delete = 3
        case compareAndSwap = 4
        case increment = 5
        case scan = 6
        case count = 7
    }

    /// The one encoding of the operation; see <doc:Encoding>.
    public var encoded: [UInt8] {
        var writer = ByteWriter(reserving: encodedCount)
        switch self {
        case .get(let key):
            writer.write(Tag.get.rawValue)
            writer.write(key)
        case .put(let key, let value):
            writer.write(Tag.put.rawValue)
            writer.write(key)
            writer.write(value)
        case .delete(let key):
            writer.write(Tag.delete.rawValue)
            writer.write(key)
        case .compareAndSwap(let key, let expected, let replacement):
            writer.write(Tag.compareAndSwap.rawValue)
            writer.write(key)
            writer.write(expected)
            writer.write(replacement)
        case .increment(let key, let amount):
            writer.write(Tag.increment.rawValue)
            writer.write(key)
            writer.write(UInt64(bitPattern: amount))
        case .scan(let range, let limit):
            writer.write(Tag.scan.rawValue)
            writer.write(range.from)
            writer.write(range.to)
            writer.write(limit)
        case .count:
            writer.write(Tag.count.rawValue)
        }
        return writer.bytes
    }

    /// Takes an operation out of its encoding. It may still break a limit: see ``validate()``.
    ///
    /// - Returns: nil when the bytes are no encoding of an operation.
    public init?(encoded bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        do {
            self = try Self.read(from: &reader)
            try reader.finish()
        } catch {
            return nil
        }
    }

    private static func read(from reader: inout ByteReader) throws(MalformedEncoding) -> KeyValueOperation {
        guard let tag = Tag(rawValue: try reader.readUInt8()) else { throw MalformedEncoding() }
        switch tag {
        case .get:
            return .get(key: try reader.readBytes())
        case .put:
            return .put(key: try reader.readBytes(), value: try reader.readBytes())
        case .delete:
            return .delete(key: try reader.readBytes())
        case .compareAndSwap:
            return .compareAndSwap(
                key: try reader.readBytes(),
                expected: try reader.readOptionalBytes(),
                replacement: try reader.readOptionalBytes()
            )
        case .increment:
            return .increment(key: try reader.readBytes(), by: Int64(bitPattern: try reader.readUInt64()))
        case .scan:
            let range = KeyRange(from: try reader.readBytes(), to: try reader.readOptionalBytes())
            return .scan(range, limit: try reader.readUInt32())
        case .count:
            return .count
        }
    }

    /// The length of the encoding in bytes.
    var encodedCount: Int {
        switch self {
        case .get(let key), .delete(let key): 5 + key.count
        case .put(let key, let value): 9 + key.count + value.count
        case .compareAndSwap(let key, let expected, let replacement):
            7 + key.count + (expected.map { 4 + $0.count } ?? 0) + (replacement.map { 4 + $0.count } ?? 0)
        case .increment(let key, _): 13 + key.count
        case .scan(let range, _): 10 + range.from.count + (range.to.map { 4 + $0.count } ?? 0)
        case .count: 1
        }
    }
}
