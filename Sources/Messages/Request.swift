import Cryptography
import Invariants

/// REQUEST: what a client asks to be ordered (PBFT section 4.1; signed and bundled as Aardvark section 5.1).
///
/// A value keeps the one encoding that it came in or was made with, so it is never encoded twice. The authentication (a signature or
/// a vector of MACs) stands at the end of the encoding and covers the ``digest`` of all before it.
public struct Request: Sendable {
    /// What a request asks for.
    public enum Kind: UInt8, Sendable {
        /// Opens the session that it names; carries no operation, number 0.
        case openSession = 0
        /// Executes its operations in the agreed order.
        case ordered = 1
        /// Changes or lists the clients: what an administrator's operations do, each an ``AdministrationOperation``. Only an
        /// administrator's request is of this kind, and the service never sees it.
        case administration = 2

        /// What a request of this many operations of this client is.
        init(of client: ClientID, operations count: Int) {
            self = count == 0 ? .openSession : client.isAdministrator ? .administration : .ordered
        }
    }

    /// How a request is authenticated, as its encoding says.
    public enum Scheme: UInt8, Sendable {
        /// An Ed25519 signature of the client, good for every replica.
        case signature = 1
        /// One MAC for each replica, in their order (PBFT's authenticator).
        case macVector = 2
    }

    /// The first byte of the encoding.
    static let type: UInt8 = 0x01

    /// The client that asks.
    public let client: ClientID
    /// The epoch of the client's key that authenticates the request.
    public let keyEpoch: KeyEpoch
    /// The client's session.
    public let session: SessionID
    /// The request's number in the session.
    public let number: RequestNumber
    /// What it asks for.
    public let kind: Kind
    /// The replica that the client wants a long result from; the others send its digest (PBFT section 5.1.1).
    public let replier: ReplicaID
    /// How many operations it carries: 0 to open a session, otherwise 1 to ``MessageLimits/operationsPerRequest``.
    public let operationCount: Int
    /// How it is authenticated.
    public let scheme: Scheme
    /// The whole encoding.
    public let bytes: [UInt8]
    /// BLAKE2b-256 of the encoding without its authentication: the request's identity, and what is signed.
    public let digest: Digest
    /// BLAKE2b-256 of ``digest`` and the authentication: names the request together with its proof. Batches are made of these, so
    /// that two replicas that hold the same batch also hold the same signatures.
    public let envelopeDigest: Digest

    private let operationsStart: Int
    private let authenticationStart: Int

    /// The bytes of client, key epoch, session, number, kind, replier and count, with the type before them.
    private static let headerBytes = 1 + 4 + 4 + 8 + 8 + 1 + 1 + 2

    /// Makes a request and authenticates it.
    ///
    /// - Parameters:
    ///   - client: The client that asks.
    ///   - keyEpoch: The epoch of the key that the authenticator has.
    ///   - session: The client's session.
    ///   - number: ``RequestNumber/opening`` to open the session, otherwise the request's number in it.
    ///   - operations: Empty to open a session; otherwise at most ``MessageLimits/operationsPerRequest`` operations of at most
    ///     ``MessageLimits/operationBytes`` each, together with the rest at most ``MessageLimits/requestBytes``.
    ///   - replier: The replica that a long result is wanted from.
    ///   - authenticator: Signs or MACs the digest.
    public init(
        client: ClientID,
        keyEpoch: KeyEpoch = .genesis,
        session: SessionID,
        number: RequestNumber,
        operations: [[UInt8]],
        replier: ReplicaID = ReplicaID(0),
        authenticator: RequestAuthenticator
    ) {
        invariant(operations.count <= MessageLimits.operationsPerRequest, "a bundle over its bound")
        invariant(operations.isEmpty == (number == .opening), "only the opening request is empty")
        var bytes: [UInt8] = []
        bytes.reserveCapacity(
            Self.headerBytes + operations.reduce(0) { $0 + 4 + $1.count } + authenticator.encodedByteCount
        )
        bytes.append(Self.type)
        bytes.append(littleEndian: client.rawValue)
        bytes.append(littleEndian: keyEpoch.rawValue)
        bytes.append(littleEndian: session.rawValue)
        bytes.append(littleEndian: number.rawValue)
        kind = Kind(of: client, operations: operations.count)
        bytes.append(kind.rawValue)
        bytes.append(replier.rawValue)
        bytes.append(littleEndian: UInt16(operations.count))
        operationsStart = bytes.count
        for operation in operations {
            invariant(operation.count <= MessageLimits.operationBytes, "an operation over its bound")
            bytes.append(lengthPrefixed: operation)
        }
        authenticationStart = bytes.count
        digest = Digest.of(bytes)
        authenticator.appendAuthentication(of: digest, to: &bytes)
        invariant(bytes.count <= MessageLimits.requestBytes, "a request over its bound")
        self.client = client
        self.keyEpoch = keyEpoch
        self.replier = replier
        self.session = session
        self.number = number
        operationCount = operations.count
        scheme = authenticator.scheme
        envelopeDigest = Self.envelopeDigest(of: digest, bytes, authenticationStart..<bytes.count)
        self.bytes = bytes
    }

    /// Reads a request that is the whole of `range`.
    ///
    /// - Throws: ``MalformedMessage`` for anything that ``init(client:keyEpoch:session:number:operations:replier:authenticator:)`` would not have made.
    public init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        guard range.count <= MessageLimits.requestBytes else { throw .overLimit(.request) }
        guard range.lowerBound >= 0, range.upperBound <= source.count else { throw .truncated }
        let bytes = range.lowerBound == 0 && range.upperBound == source.count ? source : Array(source[range])
        var reader = ByteReader(bytes)
        let type = try reader.readUInt8()
        guard type == Self.type else { throw .unknownType(type) }
        client = ClientID(try reader.readUInt32())
        keyEpoch = KeyEpoch(try reader.readUInt32())
        session = SessionID(try reader.readUInt64())
        number = RequestNumber(try reader.readUInt64())
        guard let kind = Kind(rawValue: try reader.readUInt8()) else { throw .badField(.kind) }
        self.kind = kind
        replier = ReplicaID(try reader.readUInt8())
        operationCount = Int(try reader.readUInt16())
        guard operationCount <= MessageLimits.operationsPerRequest else { throw .overLimit(.bundle) }
        guard kind == Kind(of: client, operations: operationCount), (number == .opening) == (kind == .openSession)
        else {
            throw .badField(.kind)
        }
        operationsStart = reader.position
        for _ in 0..<operationCount {
            _ = try reader.readRange(limit: MessageLimits.operationBytes, .operation)
        }
        authenticationStart = reader.position
        guard let scheme = Scheme(rawValue: try reader.readUInt8()) else { throw .badField(.scheme) }
        self.scheme = scheme
        switch scheme {
        case .signature:
            try reader.skip(Signature.byteCount)
        case .macVector:
            guard ClusterSize(replicas: Int(try reader.readUInt8())) != nil else { throw .badField(.scheme) }
            try reader.skip(Int(bytes[authenticationStart + 1]) * MAC.byteCount)
        }
        try reader.finish()
        digest = Digest.of(bytes, in: 0..<authenticationStart)
        envelopeDigest = Self.envelopeDigest(of: digest, bytes, authenticationStart..<bytes.count)
        self.bytes = bytes
    }

    private static func envelopeDigest(of digest: Digest, _ bytes: [UInt8], _ authentication: Range<Int>) -> Digest {
        var envelope: [UInt8] = []
        envelope.reserveCapacity(Digest.byteCount + authentication.count)
        digest.append(to: &envelope)
        envelope.append(contentsOf: bytes[authentication])
        return Digest.of(envelope)
    }

    /// The operations, each copied out of the encoding, in the order in which they are executed.
    public var operations: [[UInt8]] {
        var operations: [[UInt8]] = []
        operations.reserveCapacity(operationCount)
        var start = operationsStart
        for _ in 0..<operationCount {
            let length =
                Int(bytes[start]) | Int(bytes[start + 1]) << 8 | Int(bytes[start + 2]) << 16 | Int(bytes[start + 3])
                << 24
            operations.append(Array(bytes[(start + 4)..<(start + 4 + length)]))
            start += 4 + length
        }
        return operations
    }

    /// The signature, when the request carries one.
    public var signature: Signature? {
        scheme == .signature ? Signature(bytes, at: authenticationStart + 1) : nil
    }

    /// The MAC for one replica, when the request carries a vector with an entry for it.
    public func mac(for replica: ReplicaID) -> MAC? {
        guard scheme == .macVector, replica.index < Int(bytes[authenticationStart + 1]) else { return nil }
        return MAC(bytes, at: authenticationStart + 2 + replica.index * MAC.byteCount)
    }
}

/// How a client proves that a request is its own.
public enum RequestAuthenticator: Sendable {
    /// An Ed25519 signature (`aardvark`).
    case signature(any Signer, cluster: ClusterID)
    /// One MAC for each replica, under the keys that the client shares with them, in their order (`pbft`).
    case macVector([PairwiseKey])

    /// How requests made with this are authenticated.
    public var scheme: Request.Scheme {
        switch self {
        case .signature: .signature
        case .macVector: .macVector
        }
    }

    var encodedByteCount: Int {
        switch self {
        case .signature: 1 + Signature.byteCount
        case .macVector(let keys): 2 + keys.count * MAC.byteCount
        }
    }

    func appendAuthentication(of digest: Digest, to bytes: inout [UInt8]) {
        bytes.append(scheme.rawValue)
        switch self {
        case .signature(let signer, let cluster):
            signer.sign(SignedBytes.request(digest, cluster: cluster)).append(to: &bytes)
        case .macVector(let keys):
            bytes.append(UInt8(keys.count))
            for key in keys {
                key.authenticate(digest).append(to: &bytes)
            }
        }
    }
}

/// The byte strings that identities sign, each with a name of its own before it, so that a signature is good for one purpose only.
public enum SignedBytes {
    /// What a client signs of a request.
    public static func request(_ digest: Digest, cluster: ClusterID) -> [UInt8] {
        var bytes = Array("aardvark request".utf8)
        cluster.append(to: &bytes)
        digest.append(to: &bytes)
        return bytes
    }

    /// What a replica signs of a checkpoint.
    public static func checkpoint(
        _ sequence: SequenceNumber,
        root: Digest,
        by replica: ReplicaID,
        cluster: ClusterID
    ) -> [UInt8] {
        var bytes = Array("aardvark checkpoint".utf8)
        cluster.append(to: &bytes)
        bytes.append(replica.rawValue)
        bytes.append(littleEndian: sequence.rawValue)
        root.append(to: &bytes)
        return bytes
    }
}
