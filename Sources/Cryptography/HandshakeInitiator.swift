/// The end of a handshake that dialled. Without input or output: feed it the bytes that it wants, and send what it
/// says.
///
/// Send ``hello`` first. Once ``receive(_:)`` threw or established, the handshake is over.
public struct HandshakeInitiator {
    /// The first message, to be sent at once.
    public let hello: [UInt8]

    /// How many bytes ``receive(_:)`` takes next; 0 when the handshake is over.
    public private(set) var wanted = 1

    private let local: LocalIdentity
    private let peer: Identity
    private let keys: KnownIdentity
    private let ephemeral: EphemeralSecret
    private var state = State.awaitingKind

    private enum State {
        case awaitingKind
        case awaitingAccept
        case awaitingRefused
        case over
    }

    /// Begins a handshake.
    ///
    /// - Parameters:
    ///   - local: Who this end is.
    ///   - peer: Who should be at the other end.
    ///   - endpoint: Which of the other end's endpoints is dialled.
    ///   - keys: The other end's keys.
    ///   - ephemeral: A fresh secret, used for this handshake only.
    public init(
        local: LocalIdentity,
        peer: Identity,
        endpoint: EndpointPurpose,
        keys: KnownIdentity,
        ephemeral: EphemeralSecret = .random()
    ) {
        self.local = local
        self.peer = peer
        self.keys = keys
        self.ephemeral = ephemeral
        var message = Handshake.magic
        message.reserveCapacity(Handshake.helloByteCount)
        Handshake.append(local.protocolVersion, to: &message)
        local.cluster.append(to: &message)
        Handshake.append(local.identity, to: &message)
        Handshake.append(peer, to: &message)
        Handshake.append(endpoint.wireValue, to: &message)
        ephemeral.publicKey.append(to: &message)
        Handshake.helloMAC(of: message, under: keys.pairwiseKey).append(to: &message)
        hello = message
    }

    /// Takes the next bytes of the other end.
    ///
    /// - Parameter bytes: Exactly ``wanted`` bytes.
    /// - Throws: Why the connection must be closed.
    public mutating func receive(_ bytes: [UInt8]) throws(HandshakeError) -> HandshakeStep {
        let expected = wanted
        let current = state
        wanted = 0
        state = .over
        guard bytes.count == expected, expected > 0 else { throw .malformed }
        switch current {
        case .awaitingKind:
            switch bytes[0] {
            case Handshake.acceptKind:
                state = .awaitingAccept
                wanted = Handshake.acceptByteCount - 1
            case Handshake.refusedKind:
                state = .awaitingRefused
                wanted = Handshake.refusedByteCount - 1
            default:
                throw .notAardvark
            }
            return .needMore
        case .awaitingAccept:
            return try finish(accept: [Handshake.acceptKind] + bytes)
        case .awaitingRefused:
            let reason = HandshakeRefusal(rawValue: bytes[0]) ?? .unspecified
            throw .refused(reason, version: Handshake.integer16(bytes, at: 1))
        case .over:
            throw .malformed
        }
    }

    private func finish(accept: [UInt8]) throws(HandshakeError) -> HandshakeStep {
        let signatureOffset = Handshake.acceptByteCount - Signature.byteCount
        guard let peerEphemeral = Bytes32(accept, at: 1), let signature = Signature(accept, at: signatureOffset) else {
            throw .malformed
        }
        let signed = Digest.of(hello + accept[..<signatureOffset])
        guard keys.publicKey.isValid(signature, for: Handshake.labelled(Handshake.acceptLabel, signed)) else {
            throw .badSignature(peer)
        }
        guard let shared = ephemeral.agree(with: peerEphemeral) else { throw .badEphemeralKey(peer) }
        let transcript = Digest.of(hello + accept)
        var message = [Handshake.finishKind]
        local.key.sign(Handshake.labelled(Handshake.finishLabel, transcript)).append(to: &message)
        let channel = ChannelKeys(
            peer: peer,
            peerKey: keys.publicKey,
            shared: shared,
            transcript: transcript,
            isInitiator: true
        )
        return .established(channel, sending: message)
    }
}
