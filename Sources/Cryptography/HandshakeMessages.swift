/// The mutual handshake that opens every connection, before any sealed frame.
///
/// Three messages of fixed size; integers are little-endian.
///
/// 1. The initiator sends HELLO: magic "aardvark", version (2 bytes), cluster (32), its own role (1) and number (4),
///    the responder's role (1) and number (4), the endpoint (2: 0 for clients, 1 + n for replica n), its ephemeral
///    X25519 key (32), and a MAC (16) of BLAKE2b-256("aardvark handshake hello" and all before it) under the pairwise
///    key of the two identities. A stranger is refused for the price of one hash.
/// 2. The responder sends ACCEPT: the byte 1, its ephemeral key (32), and its signature (64) of "aardvark handshake
///    accept" and BLAKE2b-256(HELLO and ACCEPT so far). Or it sends REFUSED: the byte 2, a reason (1), its version (2);
///    nothing authenticates that, so it is only a hint for the log.
/// 3. The initiator sends FINISH: the byte 3 and its signature (64) of "aardvark handshake finish" and the transcript,
///    BLAKE2b-256(HELLO and ACCEPT).
///
/// The key of a direction is BLAKE2b-256, keyed with the Diffie-Hellman value of the ephemeral keys, of "aardvark
/// initiator to responder" or "aardvark responder to initiator" and the transcript.
public enum Handshake {
    /// The version of the protocol that this code speaks.
    public static let protocolVersion: UInt16 = 2

    static let magic = Array("aardvark".utf8)
    static let helloLabel = Array("aardvark handshake hello".utf8)
    static let acceptLabel = Array("aardvark handshake accept".utf8)
    static let finishLabel = Array("aardvark handshake finish".utf8)
    static let initiatorLabel = Array("aardvark initiator to responder".utf8)
    static let responderLabel = Array("aardvark responder to initiator".utf8)

    /// The magic and the version: the same in every version of the protocol, so that a responder can name a mismatch.
    static let preludeByteCount = 10
    static let helloByteCount = authenticatedByteCount + MAC.byteCount
    static let acceptByteCount = 1 + 32 + Signature.byteCount
    static let refusedByteCount = 4
    static let finishByteCount = 1 + Signature.byteCount

    /// What of HELLO comes before its MAC.
    static let authenticatedByteCount = 86

    static let acceptKind: UInt8 = 1
    static let refusedKind: UInt8 = 2
    static let finishKind: UInt8 = 3

    /// A label and a digest, to be signed or hashed: the label keeps one use of a key apart from another.
    static func labelled(_ label: [UInt8], _ digest: Digest) -> [UInt8] {
        var bytes = label
        digest.append(to: &bytes)
        return bytes
    }

    /// The MAC that ends HELLO.
    static func helloMAC(of authenticated: some Collection<UInt8>, under key: PairwiseKey) -> MAC {
        key.authenticate(Digest.of(helloLabel + authenticated))
    }

    static func integer16(_ bytes: [UInt8], at offset: Int) -> UInt16 {
        UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8
    }

    static func integer32(_ bytes: [UInt8], at offset: Int) -> UInt32 {
        UInt32(integer16(bytes, at: offset)) | UInt32(integer16(bytes, at: offset + 2)) << 16
    }

    static func append(_ value: UInt16, to bytes: inout [UInt8]) {
        bytes.append(UInt8(truncatingIfNeeded: value))
        bytes.append(UInt8(truncatingIfNeeded: value >> 8))
    }

    static func append(_ identity: Identity, to bytes: inout [UInt8]) {
        bytes.append(identity.role.rawValue)
        append(UInt16(truncatingIfNeeded: identity.number), to: &bytes)
        append(UInt16(truncatingIfNeeded: identity.number >> 16), to: &bytes)
    }
}

/// HELLO without its magic, version and MAC.
struct HandshakeHello {
    static let clusterOffset = Handshake.preludeByteCount
    static let initiatorOffset = clusterOffset + ClusterID.byteCount
    static let responderOffset = initiatorOffset + 5
    static let endpointOffset = responderOffset + 5
    static let ephemeralOffset = endpointOffset + 2

    let initiator: Identity
    let cluster: ClusterID
    let responderRole: UInt8
    let responderNumber: UInt32
    let endpoint: UInt16
    let ephemeral: Bytes32
    let mac: MAC

    /// Reads a HELLO of the right length whose prelude was checked.
    init(_ bytes: [UInt8]) throws(HandshakeError) {
        guard bytes.count == Handshake.helloByteCount,
            let cluster = ClusterID(Array(bytes[Self.clusterOffset..<Self.initiatorOffset])),
            let role = Role(rawValue: bytes[Self.initiatorOffset]),
            let ephemeral = Bytes32(bytes, at: Self.ephemeralOffset),
            let mac = MAC(bytes, at: Handshake.authenticatedByteCount)
        else { throw .malformed }
        self.cluster = cluster
        initiator = Identity(role: role, number: Handshake.integer32(bytes, at: Self.initiatorOffset + 1))
        responderRole = bytes[Self.responderOffset]
        responderNumber = Handshake.integer32(bytes, at: Self.responderOffset + 1)
        endpoint = Handshake.integer16(bytes, at: Self.endpointOffset)
        self.ephemeral = ephemeral
        self.mac = mac
    }
}

/// What to do after a handshake took bytes in.
public enum HandshakeStep {
    /// Nothing yet: feed the next `wanted` bytes.
    case needMore

    /// Send these bytes, then feed the next `wanted` bytes.
    case send([UInt8])

    /// The other end is who it says. Send these bytes, if any; whatever arrives after the handshake's bytes is sealed
    /// frames.
    case established(ChannelKeys, sending: [UInt8])
}

/// The reason that a responder gives for not accepting a HELLO. The raw value is its form on the wire.
public enum HandshakeRefusal: UInt8, Hashable, Sendable {
    /// A reason that this version does not know.
    case unspecified = 0

    /// The responder speaks another protocol version.
    case version = 1

    /// The responder belongs to another cluster.
    case cluster = 2

    /// The responder is not the one that the initiator asked for.
    case responder = 3

    /// The responder's endpoint is not the one that the initiator asked for.
    case endpoint = 4

    /// The responder does not know the initiator.
    case unknownIdentity = 5

    /// The initiator has no business at this endpoint.
    case notAllowed = 6

    /// The responder serves as many connections as it may.
    case noRoom = 7

    /// The initiator's key or the responder's is not the one that the other end holds.
    case key = 8
}

/// Why a handshake failed.
public enum HandshakeError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What came is no message of this protocol.
    case notAardvark

    /// The initiator speaks this protocol version.
    case wrongVersion(UInt16)

    /// The initiator belongs to another cluster.
    case wrongCluster

    /// The initiator wanted another replica than the one it reached.
    case wrongResponder

    /// The initiator wanted another endpoint than the one it reached.
    case wrongEndpoint

    /// A field has a value that it cannot have, or a message a length that it cannot have.
    case malformed

    /// Nobody with this name is known.
    case unknownIdentity(Identity)

    /// This identity may not use this endpoint.
    case notAllowed(Identity)

    /// There are as many connections as there may be.
    case noRoom(Identity)

    /// The MAC of HELLO does not fit: the sender does not hold this identity's key.
    case badMAC(Identity)

    /// An ephemeral key of small order.
    case badEphemeralKey(Identity)

    /// The signature does not fit: the other end does not hold this identity's key.
    case badSignature(Identity)

    /// The responder refused, for this reason, and speaks this protocol version. A hint only: nothing authenticates it.
    case refused(HandshakeRefusal, version: UInt16)

    /// The reason to send to the initiator; nil when it gets none.
    var refusal: HandshakeRefusal? {
        switch self {
        case .wrongVersion: .version
        case .wrongCluster: .cluster
        case .wrongResponder: .responder
        case .wrongEndpoint: .endpoint
        case .unknownIdentity: .unknownIdentity
        case .notAllowed: .notAllowed
        case .noRoom: .noRoom
        case .badMAC: .key
        case .notAardvark, .malformed, .badEphemeralKey, .badSignature, .refused: nil
        }
    }

    /// A sentence for the log.
    public var description: String {
        switch self {
        case .notAardvark: "the other end does not speak this protocol"
        case .wrongVersion(let version): "the other end speaks protocol version \(version)"
        case .wrongCluster: "the other end belongs to another cluster"
        case .wrongResponder: "the other end looks for another replica"
        case .wrongEndpoint: "the other end looks for another endpoint of this replica"
        case .malformed: "a handshake message is malformed"
        case .unknownIdentity(let identity): "\(identity) is not known"
        case .notAllowed(let identity): "\(identity) may not use this endpoint"
        case .noRoom(let identity): "no room for a connection of \(identity)"
        case .badMAC(let identity): "the sender does not hold the key of \(identity)"
        case .badEphemeralKey(let identity): "\(identity) sent an ephemeral key of small order"
        case .badSignature(let identity): "the signature is not that of \(identity)"
        case .refused(let reason, let version): Self.sentence(for: reason, version: version)
        }
    }

    private static func sentence(for refusal: HandshakeRefusal, version: UInt16) -> String {
        switch refusal {
        case .unspecified: "refused for a reason that this version does not know"
        case .version: "refused: the other end speaks protocol version \(version)"
        case .cluster: "refused: the other end belongs to another cluster"
        case .responder: "refused: another replica listens there"
        case .endpoint: "refused: the endpoint there is for somebody else"
        case .unknownIdentity: "refused: the other end does not know this identity"
        case .notAllowed: "refused: this identity may not use that endpoint"
        case .noRoom: "refused: the other end has no room for another connection"
        case .key: "refused: the two ends do not agree on each other's keys"
        }
    }
}
