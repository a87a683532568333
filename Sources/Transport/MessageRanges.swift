/// The messages of a frame's plaintext, as ranges of it: each message is a little-endian 32-bit length and as many
/// bytes.
///
/// Iterating never traps; it ends early when the rest of the plaintext is no message. The plaintexts that a ``Link``
/// hands out were checked, so there it ends at the end.
public struct MessageRanges: Sequence, IteratorProtocol, Sendable {
    /// The length of the length before each message, in bytes.
    static let prefixByteCount = 4

    private let frame: [UInt8]
    private var offset = 0

    /// Splits this plaintext.
    public init(_ frame: [UInt8]) {
        self.frame = frame
    }

    /// Where the next message lies; nil at the end. A message has at least one byte.
    public mutating func next() -> Range<Int>? {
        guard offset <= frame.count - Self.prefixByteCount else { return nil }
        let length =
            UInt32(frame[offset]) | UInt32(frame[offset + 1]) << 8 | UInt32(frame[offset + 2]) << 16
            | UInt32(frame[offset + 3]) << 24
        let start = offset + Self.prefixByteCount
        guard length > 0, Int(length) <= frame.count - start else { return nil }
        offset = start + Int(length)
        return start..<offset
    }

    /// The number of messages in a plaintext; nil when it has none, or is not made of whole messages only.
    static func count(in frame: [UInt8]) -> Int? {
        var ranges = MessageRanges(frame)
        var count = 0
        while ranges.next() != nil { count += 1 }
        return count > 0 && ranges.offset == frame.count ? count : nil
    }
}
