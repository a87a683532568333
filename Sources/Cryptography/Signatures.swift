internal import CSodium
import Invariants

/// An Ed25519 public key (RFC 8032): the identity of a replica, a client or an administrator.
public struct PublicKey: Hashable, Sendable, CustomStringConvertible {
    /// The length of a public key in bytes.
    public static let byteCount = 32

    var storage: Bytes32

    /// Takes a public key out of 32 bytes. Whether they are a point of the curve shows when a signature is checked.
    ///
    /// - Returns: nil unless there are exactly 32 bytes.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.byteCount, let storage = Bytes32(bytes) else { return nil }
        self.storage = storage
    }

    init(storage: Bytes32) {
        self.storage = storage
    }

    /// The 32 bytes.
    public var bytes: [UInt8] {
        var result: [UInt8] = []
        storage.append(to: &result)
        return result
    }

    /// The bytes in hexadecimal, as the cluster file holds them.
    public var description: String {
        Hexadecimal.encode(bytes)
    }

    /// Whether `signature` is this key's signature of `message`: about 50 microseconds.
    ///
    /// Signatures are never checked in batches: the verdict of a batch can differ from that of single checks, and replicas must
    /// agree on it.
    public func isValid(_ signature: Signature, for message: [UInt8]) -> Bool {
        Sodium.ready()
        return storage.withBytes { key in
            message.withSodium { pointer, count in
                signature.withBytes { signatureBytes in
                    crypto_sign_verify_detached(signatureBytes, pointer, UInt64(count), key) == 0
                }
            }
        }
    }
}

/// An Ed25519 signature (RFC 8032), 64 bytes.
public struct Signature: Hashable, Sendable {
    /// The length of a signature in bytes.
    public static let byteCount = 64

    private var upper: Bytes32
    private var lower: Bytes32

    /// Takes a signature out of the 64 bytes that start at `offset`.
    ///
    /// - Returns: nil when fewer than 64 bytes are there.
    public init?(_ bytes: [UInt8], at offset: Int = 0) {
        guard let upper = Bytes32(bytes, at: offset), let lower = Bytes32(bytes, at: offset + 32) else { return nil }
        self.upper = upper
        self.lower = lower
    }

    /// The 64 bytes.
    public var bytes: [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(Self.byteCount)
        append(to: &result)
        return result
    }

    /// Appends the 64 bytes to a byte string.
    public func append(to bytes: inout [UInt8]) {
        upper.append(to: &bytes)
        lower.append(to: &bytes)
    }

    @inline(__always)
    func withBytes<Result>(_ body: (UnsafePointer<UInt8>) -> Result) -> Result {
        withUnsafeBytes(of: (upper.words, lower.words)) { raw in
            // The tuple is 64 bytes long, so its buffer has a base address.
            body(raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self))
        }
    }
}

/// Something that signs as one identity. The replica's engine signs through this, so that a simulator can use a cheaper scheme.
public protocol Signer: Sendable {
    /// Signs a message; the same message gives the same signature (RFC 8032 signatures are deterministic).
    func sign(_ message: [UInt8]) -> Signature
}

/// An Ed25519 secret key. Its memory is wiped when the last reference goes.
public final class SigningKey: Signer {
    /// The length of the seed that a key is made from and stored as, in bytes.
    public static let seedByteCount = 32

    /// The identity that belongs to this key.
    public let publicKey: PublicKey

    /// The seed followed by the public key, as libsodium keeps it.
    let secret: SecretBytes

    /// Makes the key that belongs to a seed.
    ///
    /// - Parameter seed: 32 bytes, kept secret.
    /// - Returns: nil unless there are exactly 32 bytes.
    public init?(seed: [UInt8]) {
        guard seed.count == Self.seedByteCount else { return nil }
        Sodium.ready()
        var publicBytes = Bytes32.zero
        secret = SecretBytes(count: Int(crypto_sign_SECRETKEYBYTES)) { target in
            publicBytes.withMutableBytes { publicTarget in
                seed.withSodium { seedPointer, _ in
                    let status = crypto_sign_seed_keypair(
                        publicTarget,
                        target,
                        seedPointer
                    )
                    invariant(status == 0, "no key pair from a seed")
                }
            }
        }
        publicKey = PublicKey(storage: publicBytes)
    }

    /// Makes a new key from the operating system's random bytes.
    public static func random() -> SigningKey {
        guard let key = SigningKey(seed: randomBytes(seedByteCount)) else {
            invariantViolated("a seed of the right length was refused")
        }
        return key
    }

    /// The 32 bytes that the key is stored as. Handle with care: whoever has them is this identity.
    public var seed: [UInt8] {
        secret.withBytes { pointer in
            Array(UnsafeBufferPointer(start: pointer, count: Self.seedByteCount))
        }
    }

    /// Signs a message: about 20 microseconds.
    public func sign(_ message: [UInt8]) -> Signature {
        let bytes = [UInt8](unsafeUninitializedCapacity: Signature.byteCount) { buffer, filled in
            guard let base = buffer.baseAddress else { return }
            message.withSodium { pointer, count in
                secret.withBytes { key in
                    let status = crypto_sign_detached(base, nil, pointer, UInt64(count), key)
                    invariant(status == 0, "a message could not be signed")
                }
            }
            filled = Signature.byteCount
        }
        guard let signature = Signature(bytes) else { invariantViolated("a signature has 64 bytes") }
        return signature
    }
}

/// Secret bytes that are wiped when the last reference goes. Immutable after they were made.
///
/// Ordinary memory, not guarded pages: there is one key a client, and a process may have only so many mappings.
final class SecretBytes: @unchecked Sendable {
    // Unchecked: the memory is written once, before the reference is shared, and only read afterwards.
    private let memory: UnsafeMutablePointer<UInt8>
    let count: Int

    init(count: Int, fill: (UnsafeMutablePointer<UInt8>) -> Void) {
        Sodium.ready()
        self.count = count
        memory = .allocate(capacity: count)
        memory.initialize(repeating: 0, count: count)
        fill(memory)
    }

    @inline(__always)
    func withBytes<Result>(_ body: (UnsafePointer<UInt8>) -> Result) -> Result {
        body(UnsafePointer(memory))
    }

    deinit {
        sodium_memzero(memory, count)
        memory.deallocate()
    }
}
