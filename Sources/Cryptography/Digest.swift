internal import CSodium
import Invariants

/// A BLAKE2b-256 digest (RFC 7693): names a request, a batch or a state by its content.
public struct Digest: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The length of a digest in bytes.
    public static let byteCount = 32

    /// The digest whose bytes are all zero; stands for "nothing" where a digest is needed (the null batch, the empty tree).
    public static let zero = Digest(storage: .zero)

    var storage: Bytes32

    init(storage: Bytes32) {
        self.storage = storage
    }

    /// Takes a digest out of 32 bytes.
    ///
    /// - Returns: nil unless there are exactly 32 bytes.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.byteCount, let storage = Bytes32(bytes) else { return nil }
        self.storage = storage
    }

    /// Takes a digest out of the 32 bytes that start at `offset`.
    ///
    /// - Returns: nil when fewer than 32 bytes are there.
    public init?(_ bytes: [UInt8], at offset: Int) {
        guard let storage = Bytes32(bytes, at: offset) else { return nil }
        self.storage = storage
    }

    /// The digest of one byte string.
    public static func of(_ bytes: [UInt8]) -> Digest {
        Sodium.ready()
        var result = Digest.zero
        bytes.withSodium { pointer, count in
            result.hash(pointer, count)
        }
        return result
    }

    /// The digest of a part of a byte string, without a copy of it.
    ///
    /// - Parameters:
    ///   - bytes: The whole string.
    ///   - range: The part; it lies inside `bytes`.
    public static func of(_ bytes: [UInt8], in range: Range<Int>) -> Digest {
        Sodium.ready()
        invariant(range.lowerBound >= 0 && range.upperBound <= bytes.count, "range outside the bytes")
        var result = Digest.zero
        bytes.withSodium { pointer, _ in
            result.hash(pointer + range.lowerBound, range.count)
        }
        return result
    }

    private mutating func hash(_ pointer: UnsafePointer<UInt8>, _ count: Int) {
        storage.withMutableBytes { target in
            let status = crypto_generichash(target, Self.byteCount, pointer, UInt64(count), nil, 0)
            invariant(status == 0, "BLAKE2b refused its input")
        }
    }

    /// The 32 bytes.
    public var bytes: [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(Self.byteCount)
        append(to: &result)
        return result
    }

    /// Appends the 32 bytes to a byte string.
    public func append(to bytes: inout [UInt8]) {
        storage.append(to: &bytes)
    }

    /// The first 64 bits, for a short form in logs and for choosing among equals; never for identity.
    public var prefix: UInt64 {
        storage.words.0.bigEndian
    }

    /// The byte at `index`, from 0 to 31.
    public subscript(index: Int) -> UInt8 {
        let word =
            switch index >> 3 {
            case 0: storage.words.0
            case 1: storage.words.1
            case 2: storage.words.2
            case 3: storage.words.3
            default: invariantViolated("a digest has 32 bytes")
            }
        return UInt8(truncatingIfNeeded: word.littleEndian >> UInt64((index & 7) * 8))
    }

    /// The order of the bytes as strings.
    public static func < (left: Digest, right: Digest) -> Bool {
        left.storage < right.storage
    }

    /// The bytes in hexadecimal.
    public var description: String {
        Hexadecimal.encode(bytes)
    }
}
