internal import CSodium
import Invariants

/// A SipHash-2-4 MAC with 128 bits of output.
public struct MAC: Hashable, Sendable {
    /// The length of a MAC in bytes.
    public static let byteCount = 16

    private var words: (UInt64, UInt64)

    /// Takes a MAC out of the 16 bytes that start at `offset`.
    ///
    /// - Returns: nil when fewer than 16 bytes are there.
    public init?(_ bytes: [UInt8], at offset: Int = 0) {
        guard offset >= 0, bytes.count >= 16, offset <= bytes.count - 16 else { return nil }
        words = (0, 0)
        withUnsafeMutableBytes(of: &words) { target in
            bytes.withUnsafeBytes { source in
                target.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[offset..<(offset + 16)]))
            }
        }
    }

    fileprivate init(fill: (UnsafeMutablePointer<UInt8>) -> Void) {
        words = (0, 0)
        withUnsafeMutableBytes(of: &words) { target in
            fill(target.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self))
        }
    }

    /// Appends the 16 bytes to a byte string.
    public func append(to bytes: inout [UInt8]) {
        withUnsafeBytes(of: words) { bytes.append(contentsOf: $0) }
    }

    /// Compares in time that does not depend on where two MACs differ.
    public static func == (left: MAC, right: MAC) -> Bool {
        (left.words.0 ^ right.words.0) | (left.words.1 ^ right.words.1) == 0
    }

    /// Hashes the bytes.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
    }
}

/// A secret that two identities share, derived from their identity keys: the Diffie-Hellman value of the two keys in their X25519
/// form, hashed with both public keys and the cluster. It needs no exchange of messages and outlives connections and restarts.
///
/// Authenticators of PBFT clients and the first message of a handshake are MACed with it.
public struct PairwiseKey: Sendable {
    let secret: SecretBytes

    /// Derives the key that `own` and `peer` share: two scalar multiplications, about 100 microseconds. Keep the result.
    ///
    /// - Returns: nil when `peer` is not a point of the curve, or one of small order.
    public init?(own: SigningKey, peer: PublicKey, cluster: ClusterID) {
        Sodium.ready()
        var peerPoint = Bytes32.zero
        let converted = peerPoint.withMutableBytes { target in
            peer.storage.withBytes { key in
                crypto_sign_ed25519_pk_to_curve25519(
                    target,
                    key
                )
            }
        }
        guard converted == 0 else { return nil }
        let scalar = SecretBytes(count: 32) { target in
            own.secret.withBytes { key in
                let status = crypto_sign_ed25519_sk_to_curve25519(target, key)
                invariant(status == 0, "a signing key has an X25519 form")
            }
        }
        var agreed = true
        let shared = SecretBytes(count: 32) { target in
            scalar.withBytes { scalarPointer in
                peerPoint.withBytes { point in
                    agreed = crypto_scalarmult(target, scalarPointer, point) == 0
                }
            }
        }
        guard agreed else { return nil }
        // Both ends hash the two public keys in the same order, the smaller first.
        let ordered =
            own.publicKey.storage < peer.storage
            ? (own.publicKey.storage, peer.storage) : (peer.storage, own.publicKey.storage)
        var context = Array("aardvark pairwise key".utf8)
        cluster.append(to: &context)
        ordered.0.append(to: &context)
        ordered.1.append(to: &context)
        secret = shared.derive(context: context)
    }

    /// Takes a secret of at least 16 bytes, of which the first 16 are the key of SipHash.
    init(secret: SecretBytes) {
        self.secret = secret
    }

    /// The MAC of a digest under this key: SipHash-2-4-128, well under 0.1 microseconds.
    public func authenticate(_ digest: Digest) -> MAC {
        MAC { target in
            digest.storage.withBytes { input in
                secret.withBytes { key in
                    let status = crypto_shorthash_siphashx24(target, input, 32, key)
                    invariant(status == 0, "SipHash refused its input")
                }
            }
        }
    }
}

extension SecretBytes {
    /// A new 32-byte secret: BLAKE2b-256 of `context`, keyed with this secret.
    func derive(context: [UInt8]) -> SecretBytes {
        SecretBytes(count: 32) { target in
            withBytes { key in
                context.withSodium { input, length in
                    let status = crypto_generichash(target, 32, input, UInt64(length), key, count)
                    invariant(status == 0, "BLAKE2b refused its key")
                }
            }
        }
    }
}
