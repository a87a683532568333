/// Appends fields to an encoding: integers little-endian, byte strings after their length.
struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    init(reserving count: Int) {
        bytes.reserveCapacity(count)
    }

    mutating func write(_ value: UInt8) {
        bytes.append(value)
    }

    mutating func write(_ value: Bool) {
        bytes.append(value ? 1 : 0)
    }

    mutating func write(_ value: UInt32) {
        for shift in stride(from: UInt32(0), to: 32, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func write(_ value: UInt64) {
        for shift in stride(from: UInt64(0), to: 64, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func write(_ value: [UInt8]) {
        // What is too long for its length field is far above every limit, and so refused by its length in any case.
        write(UInt32(clamping: value.count))
        bytes.append(contentsOf: value)
    }

    /// Writes 0 for nil, or 1 and the byte string.
    mutating func write(_ value: [UInt8]?) {
        write(value != nil)
        if let value {
            write(value)
        }
    }
}

/// The bytes are no encoding of the value that was asked for.
struct MalformedEncoding: Error {}

/// Takes fields out of an encoding. Nothing is copied before the bytes are known to be there.
struct ByteReader {
    private let bytes: [UInt8]
    private var offset = 0

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// The number of bytes not read yet.
    var remaining: Int { bytes.count - offset }

    mutating func readUInt8() throws(MalformedEncoding) -> UInt8 {
        guard remaining >= 1 else { throw MalformedEncoding() }
        defer { offset += 1 }
        return bytes[offset]
    }

    mutating func readBool() throws(MalformedEncoding) -> Bool {
        switch try readUInt8() {
        case 0: return false
        case 1: return true
        default: throw MalformedEncoding()
        }
    }

    mutating func readUInt32() throws(MalformedEncoding) -> UInt32 {
        guard remaining >= 4 else { throw MalformedEncoding() }
        var value: UInt32 = 0
        for place in (0..<4).reversed() {
            value = value << 8 | UInt32(bytes[offset + place])
        }
        offset += 4
        return value
    }

    mutating func readUInt64() throws(MalformedEncoding) -> UInt64 {
        let low = UInt64(try readUInt32())
        let high = UInt64(try readUInt32())
        return high << 32 | low
    }

    mutating func readBytes() throws(MalformedEncoding) -> [UInt8] {
        let count = Int(try readUInt32())
        guard count <= remaining else { throw MalformedEncoding() }
        defer { offset += count }
        return Array(bytes[offset..<offset + count])
    }

    mutating func readOptionalBytes() throws(MalformedEncoding) -> [UInt8]? {
        try readBool() ? try readBytes() : nil
    }

    /// Makes sure that nothing is left over: one value has one encoding.
    func finish() throws(MalformedEncoding) {
        guard remaining == 0 else { throw MalformedEncoding() }
    }
}
