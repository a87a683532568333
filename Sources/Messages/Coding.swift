import Cryptography

/// Why bytes are not a message. Always the sender's fault, never ours.
public enum MalformedMessage: Error, Hashable, Sendable {
    /// The bytes end before the message does.
    case truncated
    /// Bytes are left after the message.
    case trailingBytes
    /// The first byte names no message that may arrive here.
    case unknownType(UInt8)
    /// A field has a value that it may not have; the text names the field.
    case badField(StaticField)
    /// A length or a count is over its bound; the text names the field.
    case overLimit(StaticField)

    /// The fields that a decoder checks, named for counters and logs.
    public enum StaticField: String, Hashable, Sendable {
        case batch
        case bundle
        case certificate
        case claims
        case client
        case clients
        case counters
        case flag
        case flags
        case kind
        case operation
        case outcome
        case peers
        case replica
        case reply
        case request
        case result
        case scheme
        case state
        case text
    }
}

/// Reads a message out of a byte string, front to back, never past `end`.
///
/// Integers are little-endian and of fixed width. Each read throws ``MalformedMessage/truncated`` rather than leave the bounds.
public struct ByteReader: Sendable {
    private let bytes: [UInt8]
    private let end: Int

    /// Where the next read starts, as an index of the whole byte string.
    public private(set) var position: Int

    /// Reads the part of `bytes` in `range`, which is clamped to the bytes that are there.
    public init(_ bytes: [UInt8], in range: Range<Int>) {
        self.bytes = bytes
        position = min(max(range.lowerBound, 0), bytes.count)
        end = max(position, min(range.upperBound, bytes.count))
    }

    /// Reads all of `bytes`.
    public init(_ bytes: [UInt8]) {
        self.init(bytes, in: 0..<bytes.count)
    }

    /// How many bytes are left.
    public var remaining: Int { end - position }

    /// Reads one byte.
    public mutating func readUInt8() throws(MalformedMessage) -> UInt8 {
        guard remaining >= 1 else { throw .truncated }
        defer { position += 1 }
        return bytes[position]
    }

    /// Reads two bytes, the low one first.
    public mutating func readUInt16() throws(MalformedMessage) -> UInt16 {
        guard remaining >= 2 else { throw .truncated }
        defer { position += 2 }
        return UInt16(bytes[position]) | UInt16(bytes[position + 1]) << 8
    }

    /// Reads four bytes, the lowest first.
    public mutating func readUInt32() throws(MalformedMessage) -> UInt32 {
        guard remaining >= 4 else { throw .truncated }
        defer { position += 4 }
        return UInt32(bytes[position]) | UInt32(bytes[position + 1]) << 8
            | UInt32(bytes[position + 2]) << 16 | UInt32(bytes[position + 3]) << 24
    }

    /// Reads eight bytes, the lowest first.
    public mutating func readUInt64() throws(MalformedMessage) -> UInt64 {
        let low = try readUInt32()
        let high = try readUInt32()
        return UInt64(low) | UInt64(high) << 32
    }

    /// Reads a replica's number, which is at most that of the largest cluster's last replica.
    public mutating func readReplica() throws(MalformedMessage) -> ReplicaID {
        let replica = ReplicaID(try readUInt8())
        guard replica.index < 3 * ClusterSize.mostFaults + 1 else { throw .badField(.replica) }
        return replica
    }

    /// Reads a byte that is 0 for false or 1 for true.
    public mutating func readFlag() throws(MalformedMessage) -> Bool {
        switch try readUInt8() {
        case 0: return false
        case 1: return true
        default: throw .badField(.flag)
        }
    }

    /// Reads a 32-byte digest.
    public mutating func readDigest() throws(MalformedMessage) -> Digest {
        guard remaining >= Digest.byteCount, let digest = Digest(bytes, at: position) else { throw .truncated }
        position += Digest.byteCount
        return digest
    }

    /// Reads a 32-byte public key; any bytes are one.
    public mutating func readPublicKey() throws(MalformedMessage) -> PublicKey {
        guard remaining >= PublicKey.byteCount,
            let key = PublicKey(Array(bytes[position..<position + PublicKey.byteCount]))
        else { throw .truncated }
        position += PublicKey.byteCount
        return key
    }

    /// Reads a 64-byte signature.
    public mutating func readSignature() throws(MalformedMessage) -> Signature {
        guard remaining >= Signature.byteCount, let signature = Signature(bytes, at: position) else { throw .truncated }
        position += Signature.byteCount
        return signature
    }

    /// Reads a byte string with its 32-bit length before it and returns where its bytes are.
    ///
    /// - Parameters:
    ///   - limit: The most bytes it may have.
    ///   - field: The name of the field, for the error.
    public mutating func readRange(
        limit: Int,
        _ field: MalformedMessage.StaticField
    ) throws(MalformedMessage) -> Range<Int> {
        let length = Int(try readUInt32())
        guard length <= limit else { throw .overLimit(field) }
        guard length <= remaining else { throw .truncated }
        defer { position += length }
        return position..<(position + length)
    }

    /// Reads a byte string with its 32-bit length before it.
    ///
    /// - Parameters:
    ///   - limit: The most bytes it may have; no memory is taken before that is checked.
    ///   - field: The name of the field, for the error.
    public mutating func readBytes(
        limit: Int,
        _ field: MalformedMessage.StaticField
    ) throws(MalformedMessage) -> [UInt8] {
        Array(bytes[try readRange(limit: limit, field)])
    }

    /// Steps over bytes.
    public mutating func skip(_ count: Int) throws(MalformedMessage) {
        guard count >= 0, count <= remaining else { throw .truncated }
        position += count
    }

    /// Throws ``MalformedMessage/trailingBytes`` unless everything was read: one value has one encoding.
    public func finish() throws(MalformedMessage) {
        guard remaining == 0 else { throw .trailingBytes }
    }
}

extension [UInt8] {
    /// Appends two bytes, the low one first.
    @inline(__always)
    public mutating func append(littleEndian value: UInt16) {
        append(UInt8(truncatingIfNeeded: value))
        append(UInt8(truncatingIfNeeded: value >> 8))
    }

    /// Appends four bytes, the lowest first.
    @inline(__always)
    public mutating func append(littleEndian value: UInt32) {
        append(UInt8(truncatingIfNeeded: value))
        append(UInt8(truncatingIfNeeded: value >> 8))
        append(UInt8(truncatingIfNeeded: value >> 16))
        append(UInt8(truncatingIfNeeded: value >> 24))
    }

    /// Appends eight bytes, the lowest first.
    @inline(__always)
    public mutating func append(littleEndian value: UInt64) {
        append(littleEndian: UInt32(truncatingIfNeeded: value))
        append(littleEndian: UInt32(truncatingIfNeeded: value >> 32))
    }

    /// Appends a byte string with its 32-bit length before it.
    public mutating func append(lengthPrefixed bytes: [UInt8]) {
        append(littleEndian: UInt32(bytes.count))
        append(contentsOf: bytes)
    }
}
