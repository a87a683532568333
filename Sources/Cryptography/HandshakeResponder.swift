/// A responder's answer to "who is this, and may it connect here now?".
public enum Admission: Sendable {
    /// It may; these are its keys.
    case admitted(KnownIdentity)

    /// Nobody with this name is known.
    case unknown

    /// It has no business at this endpoint.
    case notAllowed

    /// There are as many connections as there may be.
    case noRoom
}

/// The end of a handshake that was dialled. Without input or output: feed it the bytes that it wants, and send what it
/// says.
///
/// It does no public-key cryptography before the MAC of HELLO was found good. Once ``receive(_:)`` threw or
/// established, the handshake is over.
public struct HandshakeResponder {
    /// How many bytes ``receive(_:)`` takes next; 0 when the handshake is over.
    public private(set) var wanted = Handshake.preludeByteCount

    /// Who is at the other end, from the moment when the MAC of HELLO was found good; that HELLO may still be a
    /// replayed one.
    public private(set) var claimant: Identity?

    private let local: LocalIdentity
    private let endpoint: EndpointPurpose
    private let admission: (Identity) -> Admission
    private let makeEphemeral: () -> EphemeralSecret
    private var state = State.awaitingPrelude

    private enum State {
        case awaitingPrelude
        case awaitingHello(prelude: [UInt8])
        case awaitingFinish(transcript: Digest, shared: SecretBytes, peer: Identity, key: PublicKey)
        case over
    }

    /// Begins a handshake.
    ///
    /// - Parameters:
    ///   - local: Who this end is.
    ///   - endpoint: Which of this end's endpoints was dialled.
    ///   - ephemeral: Makes a fresh secret, used for this handshake only; called at most once.
    ///   - admission: Decides about the initiator, before its key was checked.
    public init(
        local: LocalIdentity,
        endpoint: EndpointPurpose,
        ephemeral: @escaping () -> EphemeralSecret = EphemeralSecret.random,
        admission: @escaping (Identity) -> Admission
    ) {
        self.local = local
        self.endpoint = endpoint
        self.admission = admission
        makeEphemeral = ephemeral
    }

    /// The message that tells the initiator why it was refused; nil when it is to get none.
    public func refusal(for error: HandshakeError) -> [UInt8]? {
        guard let reason = error.refusal else { return nil }
        var message = [Handshake.refusedKind, reason.rawValue]
        Handshake.append(local.protocolVersion, to: &message)
        return message
    }

    /// Takes the next bytes of the other end.
    ///
    /// - Parameter bytes: Exactly ``wanted`` bytes.
    /// - Throws: Why the connection must be closed; send ``refusal(for:)`` first.
    public mutating func receive(_ bytes: [UInt8]) throws(HandshakeError) -> HandshakeStep {
        let expected = wanted
        let current = state
        wanted = 0
        state = .over
        guard bytes.count == expected, expected > 0 else { throw .malformed }
        switch current {
        case .awaitingPrelude:
            guard bytes.starts(with: Handshake.magic) else { throw .notAardvark }
            let version = Handshake.integer16(bytes, at: Handshake.magic.count)
            guard version == local.protocolVersion else { throw .wrongVersion(version) }
            state = .awaitingHello(prelude: bytes)
            wanted = Handshake.helloByteCount - Handshake.preludeByteCount
            return .needMore
        case .awaitingHello(let prelude):
            return try accept(hello: prelude + bytes)
        case .awaitingFinish(let transcript, let shared, let peer, let key):
            guard bytes[0] == Handshake.finishKind, let signature = Signature(bytes, at: 1) else { throw .malformed }
            guard key.isValid(signature, for: Handshake.labelled(Handshake.finishLabel, transcript)) else {
                throw .badSignature(peer)
            }
            let channel = ChannelKeys(
                peer: peer,
                peerKey: key,
                shared: shared,
                transcript: transcript,
                isInitiator: false
            )
            return .established(channel, sending: [])
        case .over:
            throw .malformed
        }
    }

    private mutating func accept(hello bytes: [UInt8]) throws(HandshakeError) -> HandshakeStep {
        let hello = try HandshakeHello(bytes)
        guard hello.cluster == local.cluster else { throw .wrongCluster }
        guard hello.responderRole == local.identity.role.rawValue, hello.responderNumber == local.identity.number else {
            throw .wrongResponder
        }
        guard hello.endpoint == endpoint.wireValue else { throw .wrongEndpoint }
        let keys = try admittedKeys(of: hello.initiator)
        let authenticated = bytes[..<Handshake.authenticatedByteCount]
        guard Handshake.helloMAC(of: authenticated, under: keys.pairwiseKey) == hello.mac else {
            throw .badMAC(hello.initiator)
        }
        claimant = hello.initiator
        let ephemeral = makeEphemeral()
        guard let shared = ephemeral.agree(with: hello.ephemeral) else { throw .badEphemeralKey(hello.initiator) }
        var message = [Handshake.acceptKind]
        message.reserveCapacity(Handshake.acceptByteCount)
        ephemeral.publicKey.append(to: &message)
        let signed = Digest.of(bytes + message)
        local.key.sign(Handshake.labelled(Handshake.acceptLabel, signed)).append(to: &message)
        state = .awaitingFinish(
            transcript: Digest.of(bytes + message),
            shared: shared,
            peer: hello.initiator,
            key: keys.publicKey
        )
        wanted = Handshake.finishByteCount
        return .send(message)
    }

    /// A peer's endpoint is for that peer alone; beyond that the owner decides.
    private func admittedKeys(of initiator: Identity) throws(HandshakeError) -> KnownIdentity {
        switch endpoint {
        case .peer(let number): guard initiator == .replica(number) else { throw .notAllowed(initiator) }
        case .clients: guard initiator.role != .replica else { throw .notAllowed(initiator) }
        }
        switch admission(initiator) {
        case .admitted(let keys): return keys
        case .unknown: throw .unknownIdentity(initiator)
        case .notAllowed: throw .notAllowed(initiator)
        case .noRoom: throw .noRoom(initiator)
        }
    }
}
