internal import CSodium
import Invariants

/// A fresh X25519 secret (RFC 7748) for one handshake. It is wiped when the handshake is over, so that keys found later
/// do not open what was sent before.
public final class EphemeralSecret: Sendable {
    private let scalar: SecretBytes

    /// The public key that belongs to the secret.
    let publicKey: Bytes32

    /// Makes the secret from 32 bytes, which nobody else knows and which are used once.
    ///
    /// - Returns: nil unless there are exactly 32 bytes.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        scalar = SecretBytes(count: 32) { target in
            for (index, byte) in bytes.enumerated() { target[index] = byte }
        }
        publicKey = Self.publicKey(of: scalar)
    }

    private init() {
        Sodium.ready()
        scalar = SecretBytes(count: 32) { randombytes_buf($0, 32) }
        publicKey = Self.publicKey(of: scalar)
    }

    /// Makes a new secret from the operating system's random bytes.
    public static func random() -> EphemeralSecret { EphemeralSecret() }

    private static func publicKey(of scalar: SecretBytes) -> Bytes32 {
        var key = Bytes32.zero
        key.withMutableBytes { target in
            scalar.withBytes { scalarPointer in
                let status = crypto_scalarmult_base(target, scalarPointer)
                invariant(status == 0, "X25519 refused a scalar")
            }
        }
        return key
    }

    /// The Diffie-Hellman value of this secret and the other end's public key.
    ///
    /// - Returns: nil when the key is of small order, which an honest end's is not.
    func agree(with peer: Bytes32) -> SecretBytes? {
        var agreed = true
        let shared = SecretBytes(count: 32) { target in
            scalar.withBytes { scalarPointer in
                peer.withBytes { point in
                    agreed = crypto_scalarmult(target, scalarPointer, point) == 0
                }
            }
        }
        return agreed ? shared : nil
    }
}

/// What a handshake yields: who is at the other end, and a key for each direction.
public struct ChannelKeys {
    /// The other end; its identity key signed this handshake.
    public let peer: Identity

    /// That key.
    public let peerKey: PublicKey

    /// For what this end sends.
    public let sealing: SealingKey

    /// For what this end receives.
    public let opening: OpeningKey

    /// Derives both directions' keys: BLAKE2b-256 keyed with the Diffie-Hellman value, over the direction's label and
    /// the transcript.
    init(peer: Identity, peerKey: PublicKey, shared: SecretBytes, transcript: Digest, isInitiator: Bool) {
        let fromInitiator = shared.derive(context: Handshake.labelled(Handshake.initiatorLabel, transcript))
        let fromResponder = shared.derive(context: Handshake.labelled(Handshake.responderLabel, transcript))
        self.peer = peer
        self.peerKey = peerKey
        sealing = SealingKey(key: isInitiator ? fromInitiator : fromResponder)
        opening = OpeningKey(key: isInitiator ? fromResponder : fromInitiator)
    }
}
