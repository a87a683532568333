/// Thirty-two bytes held in four machine words: cheap to copy, compare and hash, no allocation.
///
/// The storage of digests, public keys and MAC keys. It has no meaning of its own, so it stays behind their types.
struct Bytes32: Hashable, Sendable {
    /// The bytes in memory order: word 0 holds bytes 0 to 7 as this machine reads them.
    var words: (UInt64, UInt64, UInt64, UInt64)

    static let zero = Bytes32()

    init() {
        words = (0, 0, 0, 0)
    }

    /// Takes 32 bytes out of `bytes`, from `offset`.
    ///
    /// - Returns: nil when fewer than 32 bytes are there.
    init?(_ bytes: [UInt8], at offset: Int = 0) {
        guard offset >= 0, bytes.count >= 32, offset <= bytes.count - 32 else { return nil }
        self.init()
        withMutableBytes { target in
            bytes.withUnsafeBytes { source in
                UnsafeMutableRawPointer(target).copyMemory(
                    from: source.baseAddress.unsafelyUnwrapped + offset,
                    byteCount: 32
                )
            }
        }
    }

    @inline(__always)
    func withBytes<Result>(_ body: (UnsafePointer<UInt8>) -> Result) -> Result {
        withUnsafeBytes(of: words) { raw in
            // The tuple is 32 bytes long, so its buffer has a base address.
            body(raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self))
        }
    }

    @inline(__always)
    mutating func withMutableBytes<Result>(_ body: (UnsafeMutablePointer<UInt8>) -> Result) -> Result {
        withUnsafeMutableBytes(of: &words) { raw in
            body(raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self))
        }
    }

    @inline(__always)
    func append(to bytes: inout [UInt8]) {
        withUnsafeBytes(of: words) { bytes.append(contentsOf: $0) }
    }

    static func == (left: Bytes32, right: Bytes32) -> Bool {
        left.words.0 == right.words.0 && left.words.1 == right.words.1
            && left.words.2 == right.words.2 && left.words.3 == right.words.3
    }

    func hash(into hasher: inout Hasher) {
        // The bytes are digests or keys: 128 bits of them leave nothing for an attacker to collide, and the hasher is seeded.
        hasher.combine(words.0)
        hasher.combine(words.1)
    }

    /// The order of the bytes as a string, the same on every machine.
    static func < (left: Bytes32, right: Bytes32) -> Bool {
        if left.words.0 != right.words.0 { return left.words.0.bigEndian < right.words.0.bigEndian }
        if left.words.1 != right.words.1 { return left.words.1.bigEndian < right.words.1.bigEndian }
        if left.words.2 != right.words.2 { return left.words.2.bigEndian < right.words.2.bigEndian }
        return left.words.3.bigEndian < right.words.3.bigEndian
    }
}
