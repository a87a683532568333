internal import CSodium
import Invariants

/// The layout of a sealed frame: a little-endian 32-bit length of the ciphertext, then the ciphertext, which ends with
/// its tag.
///
/// ChaCha20-Poly1305 (RFC 8439). The nonce is four zero bytes and the little-endian number of the frame in its
/// direction, from 0; the four length bytes are the associated data. The number is not sent, so a frame opens only in
/// its own place: a replayed, dropped or reordered one is not authentic.
public enum SealedFrame {
    /// The length of the length field, in bytes.
    public static let headerByteCount = 4

    /// The length of the tag that ends the ciphertext, in bytes.
    public static let tagByteCount = 16

    /// How much longer a frame is than its plaintext, in bytes.
    public static let overheadByteCount = headerByteCount + tagByteCount

    /// The longest plaintext, in bytes: 4 MiB.
    public static let maximumPlaintextByteCount = 4 << 20

    /// The length of the whole frame whose length field holds `lengthField`, in bytes.
    ///
    /// - Throws: ``SealedFrameError/tooShort`` when there is no room for a tag, ``SealedFrameError/tooLong`` when the
    ///   plaintext would be longer than ``maximumPlaintextByteCount``: checked before any memory is taken for the
    ///   frame.
    @inlinable
    public static func byteCount(lengthField: UInt32) throws(SealedFrameError) -> Int {
        guard lengthField >= UInt32(tagByteCount) else { throw .tooShort }
        guard lengthField <= UInt32(maximumPlaintextByteCount + tagByteCount) else { throw .tooLong }
        return headerByteCount + Int(lengthField)
    }
}

/// Why a frame could not be sealed or opened.
public enum SealedFrameError: Error, Hashable, Sendable {
    /// Shorter than its length field says, or than any frame is.
    case tooShort

    /// Longer than a frame may be, or than its length field says.
    case tooLong

    /// The tag does not fit: the frame was changed, replayed, reordered or sealed under another key.
    case notAuthentic

    /// As many frames as a key may seal were sealed with it; a new handshake gives new keys.
    case counterExhausted
}

/// The key of the direction in which this end sends. It numbers its frames itself; the key is wiped with the last
/// reference.
public final class SealingKey {
    private let key: SecretBytes
    private var counter: UInt64

    init(key: SecretBytes, counter: UInt64 = 0) {
        self.key = key
        self.counter = counter
    }

    /// Seals a plaintext and appends the whole frame to `output`.
    ///
    /// - Parameters:
    ///   - plaintext: At most ``SealedFrame/maximumPlaintextByteCount`` bytes.
    ///   - output: Grows by the plaintext's length and ``SealedFrame/overheadByteCount``, in one step.
    /// - Throws: ``SealedFrameError/tooLong``, ``SealedFrameError/counterExhausted``; then `output` is as before.
    public func seal(_ plaintext: [UInt8], appendingTo output: inout [UInt8]) throws(SealedFrameError) {
        guard plaintext.count <= SealedFrame.maximumPlaintextByteCount else { throw .tooLong }
        guard counter < .max else { throw .counterExhausted }
        let start = output.count
        output.reserveCapacity(start + plaintext.count + SealedFrame.overheadByteCount)
        output.append(contentsOf: repeatElement(0, count: SealedFrame.headerByteCount))
        output.append(contentsOf: plaintext)
        output.append(contentsOf: repeatElement(0, count: SealedFrame.tagByteCount))
        output.withUnsafeMutableBytes { buffer in
            seal(UnsafeMutableRawBufferPointer(rebasing: buffer[start...]))
        }
    }

    /// Seals a frame where it lies, without a copy.
    ///
    /// - Parameters:
    ///   - bytes: From `offset` to the end: ``SealedFrame/headerByteCount`` bytes of any value, the plaintext, and
    ///     ``SealedFrame/tagByteCount`` bytes of any value. They become the frame.
    ///   - offset: Where the frame begins.
    /// - Throws: ``SealedFrameError/tooShort``, ``SealedFrameError/tooLong``, ``SealedFrameError/counterExhausted``;
    ///   then `bytes` is as before.
    public func sealInPlace(_ bytes: inout MutableRawSpan, from offset: Int) throws(SealedFrameError) {
        guard offset >= 0, bytes.byteCount - offset >= SealedFrame.overheadByteCount else { throw .tooShort }
        guard bytes.byteCount - offset - SealedFrame.overheadByteCount <= SealedFrame.maximumPlaintextByteCount else {
            throw .tooLong
        }
        guard counter < .max else { throw .counterExhausted }
        bytes.withUnsafeMutableBytes { buffer in
            seal(UnsafeMutableRawBufferPointer(rebasing: buffer[offset...]))
        }
    }

    /// `frame` has room for a header and a tag round the plaintext, which the callers checked.
    private func seal(_ frame: UnsafeMutableRawBufferPointer) {
        let ciphertextByteCount = frame.count - SealedFrame.headerByteCount
        frame.storeBytes(of: UInt32(ciphertextByteCount).littleEndian, as: UInt32.self)
        let base = frame.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
        let plaintextByteCount = ciphertextByteCount - SealedFrame.tagByteCount
        let text = base + SealedFrame.headerByteCount
        AEAD.seal(
            text,
            count: plaintextByteCount,
            tag: text + plaintextByteCount,
            associated: UnsafeBufferPointer(start: base, count: SealedFrame.headerByteCount),
            nonce: AEAD.Nonce(counter: counter),
            key: key
        )
        counter += 1
    }
}

/// The key of the direction in which this end receives. It knows the number of the next frame; the key is wiped with
/// the last reference.
public final class OpeningKey {
    private let key: SecretBytes
    private var counter: UInt64

    init(key: SecretBytes, counter: UInt64 = 0) {
        self.key = key
        self.counter = counter
    }

    /// Opens the next frame of this direction.
    ///
    /// - Parameter frame: One whole frame, with its length field.
    /// - Returns: The plaintext, in an array of its own.
    /// - Throws: ``SealedFrameError``; then the frame had no effect, and the connection should be closed.
    public func open(_ frame: RawSpan) throws(SealedFrameError) -> [UInt8] {
        guard frame.byteCount >= SealedFrame.overheadByteCount else { throw .tooShort }
        let lengthField = UInt32(littleEndian: frame.unsafeLoadUnaligned(as: UInt32.self))
        let expected = try SealedFrame.byteCount(lengthField: lengthField)
        guard frame.byteCount >= expected else { throw .tooShort }
        guard frame.byteCount == expected else { throw .tooLong }
        guard counter < .max else { throw .counterExhausted }
        var isAuthentic = false
        let plaintext = frame.withUnsafeBytes { buffer in
            [UInt8](unsafeUninitializedCapacity: expected - SealedFrame.overheadByteCount) { target, filled in
                let base = buffer.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
                filled = target.count
                isAuthentic = AEAD.open(
                    UnsafeBufferPointer(
                        rebasing: UnsafeBufferPointer(start: base, count: expected)[SealedFrame.headerByteCount...]
                    ),
                    into: target.baseAddress,
                    associated: UnsafeBufferPointer(start: base, count: SealedFrame.headerByteCount),
                    nonce: AEAD.Nonce(counter: counter),
                    key: key
                )
                if !isAuthentic { filled = 0 }
            }
        }
        guard isAuthentic else { throw .notAuthentic }
        counter += 1
        return plaintext
    }

    /// Opens the next frame of this direction.
    ///
    /// - Parameter frame: One whole frame, with its length field.
    /// - Returns: The plaintext.
    /// - Throws: ``SealedFrameError``; then the frame had no effect, and the connection should be closed.
    public func open(_ frame: [UInt8]) throws(SealedFrameError) -> [UInt8] {
        try open(frame.span.bytes)
    }
}

/// ChaCha20-Poly1305 of RFC 8439 (libsodium's "ietf" construction), on memory that the caller vouches for.
enum AEAD {
    /// A 96-bit nonce.
    struct Nonce {
        var bytes: (UInt32, UInt32, UInt32)

        /// Four zero bytes and a little-endian counter.
        init(counter: UInt64) {
            bytes = (0, UInt32(truncatingIfNeeded: counter).littleEndian, UInt32(counter >> 32).littleEndian)
        }

        /// Takes a nonce out of 12 bytes; nil when there are not as many.
        init?(_ bytes: [UInt8]) {
            guard bytes.count == 12 else { return nil }
            self.bytes = bytes.withUnsafeBytes { $0.loadUnaligned(as: (UInt32, UInt32, UInt32).self) }
        }

        @inline(__always)
        func withBytes<Result>(_ body: (UnsafePointer<UInt8>) -> Result) -> Result {
            withUnsafeBytes(of: bytes) { raw in
                // The tuple is 12 bytes long, so its buffer has a base address.
                body(raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self))
            }
        }
    }

    /// Encrypts `count` bytes in place and writes 16 bytes of tag.
    static func seal(
        _ text: UnsafeMutablePointer<UInt8>,
        count: Int,
        tag: UnsafeMutablePointer<UInt8>,
        associated: UnsafeBufferPointer<UInt8>,
        nonce: Nonce,
        key: SecretBytes
    ) {
        nonce.withBytes { nonceBytes in
            key.withBytes { keyBytes in
                // libsodium allows input and output to be the same memory.
                let status = crypto_aead_chacha20poly1305_ietf_encrypt_detached(
                    text,
                    tag,
                    nil,
                    text,
                    UInt64(count),
                    associated.baseAddress,
                    UInt64(associated.count),
                    nil,
                    nonceBytes,
                    keyBytes
                )
                invariant(status == 0, "ChaCha20-Poly1305 refused its input")
            }
        }
    }

    /// Decrypts `ciphertext`, which is not empty and ends with its tag, into `target`, which has room for it.
    ///
    /// - Returns: Whether the tag fits; if not, `target` holds nothing of use.
    static func open(
        _ ciphertext: UnsafeBufferPointer<UInt8>,
        into target: UnsafeMutablePointer<UInt8>?,
        associated: UnsafeBufferPointer<UInt8>,
        nonce: Nonce,
        key: SecretBytes
    ) -> Bool {
        nonce.withBytes { nonceBytes in
            key.withBytes { keyBytes in
                crypto_aead_chacha20poly1305_ietf_decrypt(
                    target,
                    nil,
                    nil,
                    ciphertext.baseAddress.unsafelyUnwrapped,
                    UInt64(ciphertext.count),
                    associated.baseAddress,
                    UInt64(associated.count),
                    nonceBytes,
                    keyBytes
                ) == 0
            }
        }
    }
}
