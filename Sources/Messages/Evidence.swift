import Cryptography

/// Misbehaviour that a third party can check, because whoever did it has signed it (Clement et al., NSDI 2009, section 5.1).
///
/// It is for operators: no replica judges anything by it, and what it does about misbehaviour it does by what it saw itself.
///
/// Both offences turn on a key of a client. Keys change in the agreed order, and each has its epoch, which the request names; so a correct
/// party is never accused because a key has changed meanwhile. Those of the first epoch are in the cluster file; which key a later
/// epoch has, evidence takes from whoever made it: see ``Standing``.
public struct Evidence: Sendable {
    /// What was done.
    public enum Offence: Sendable {
        /// A replica forwarded, under its own signature, a request that its client has not signed.
        case badForward(Request, Forward.Endorsement)
        /// A client signed two different requests of one number in one session.
        case conflictingRequests(Request, Request)
    }

    /// Why something proves nothing against whom it accuses.
    public enum Flaw: String, Error, Hashable, Sendable, CustomStringConvertible {
        /// The accused replica is none of this cluster.
        case noMember = "the accused replica is not a member of this cluster"
        /// The accused replica has not signed this.
        case notEndorsed = "the accused replica has not signed this forward for this cluster"
        /// The forwarded request carries a MAC for each replica, which no other replica can check.
        case unsigned = "the request carries no signature"
        /// The client has signed the forwarded request: to forward it was right.
        case goodRequest = "its client has signed the forwarded request, so to forward it was right"
        /// The two requests are the same, or not of one client, key epoch, session and number.
        case noConflict = "the two requests do not contradict each other"
        /// The client has not signed both requests.
        case notSigned = "the accused client has not signed both requests for this cluster"
        /// The key is not the one that the cluster file gives to the client.
        case otherKey = "the key is not the client's in the cluster file"

        /// The flaw in words, as the end of a sentence.
        public var description: String { rawValue }
    }

    /// How far evidence without a ``Flaw`` goes.
    public enum Standing: Hashable, Sendable {
        /// The cluster file alone bears it out.
        case proven
        /// It holds if this was the client's key in that epoch: the cluster file does not say so.
        case restsOnKey(ClientID, KeyEpoch)
    }

    /// The longest encoding in bytes.
    public static let mostBytes =
        64 + magic.count + 2 * (MessageLimits.requestBytes + 4) + Forward.Endorsement.byteCount

    private static let magic = Array("AARDVEVI".utf8)
    /// The version of the encoding.
    static let version: UInt16 = 1

    /// What was done.
    public let offence: Offence
    /// The key that the client of the request or requests had in their key epoch, as whoever made this knew it.
    public let clientKey: PublicKey

    /// Joins the parts; ``flaw(in:replicaKey:isValid:)`` says whether they prove anything.
    public init(_ offence: Offence, clientKey: PublicKey) {
        self.offence = offence
        self.clientKey = clientKey
    }

    /// Whom it accuses.
    public var accused: Identity {
        switch offence {
        case .badForward(_, let endorsement): .replica(endorsement.forwarder.rawValue)
        case .conflictingRequests(let request, _): request.client.identity
        }
    }

    /// The replica that it accuses; nil when that is a client.
    public var forwarder: ReplicaID? {
        if case .badForward(_, let endorsement) = offence { endorsement.forwarder } else { nil }
    }

    /// The request, or the first of them.
    public var request: Request {
        switch offence {
        case .badForward(let request, _), .conflictingRequests(let request, _): request
        }
    }

    /// Why it proves nothing even if the key is the client's; nil when it does then.
    ///
    /// - Parameters:
    ///   - cluster: The cluster that signatures are bound to.
    ///   - replicaKey: The keys of the replicas.
    ///   - isValid: Checks a signature; anything but the default is for simulations.
    public func flaw(
        in cluster: ClusterID,
        replicaKey: (ReplicaID) -> PublicKey?,
        isValid: (PublicKey, Signature, [UInt8]) -> Bool = { $0.isValid($1, for: $2) }
    ) -> Flaw? {
        func isSigned(_ request: Request) -> Bool {
            guard let signature = request.signature else { return false }
            return isValid(clientKey, signature, SignedBytes.request(request.digest, cluster: cluster))
        }
        switch offence {
        case .badForward(let request, let word):
            guard let key = replicaKey(word.forwarder) else { return .noMember }
            guard request.scheme == .signature else { return .unsigned }
            let said = SignedBytes.forward(request, by: word.forwarder, in: word.view, cluster: cluster)
            guard isValid(key, word.signature, said) else { return .notEndorsed }
            return isSigned(request) ? .goodRequest : nil
        case .conflictingRequests(let first, let second):
            guard first.contradicts(second) else { return .noConflict }
            return isSigned(first) && isSigned(second) ? nil : .notSigned
        }
    }

    /// How far it goes, with what the cluster file says; ask for its ``flaw(in:replicaKey:isValid:)`` as well.
    ///
    /// - Parameter firstKey: The key that the cluster file gives to a client; nil for a client that it does not name.
    /// - Throws: ``Flaw/otherKey``.
    public func standing(firstKey: (ClientID) -> PublicKey?) throws(Flaw) -> Standing {
        guard request.keyEpoch == .genesis, let key = firstKey(request.client) else {
            return .restsOnKey(request.client, request.keyEpoch)
        }
        guard key == clientKey else { throw .otherKey }
        return .proven
    }

    // MARK: Encoding

    /// Reads the evidence that is all of `bytes`.
    ///
    /// - Throws: `MalformedMessage` for what ``encoded`` does not make.
    public init(decoding bytes: [UInt8]) throws(MalformedMessage) {
        guard bytes.count <= Self.mostBytes else { throw .overLimit(.request) }
        var reader = ByteReader(bytes)
        guard bytes.starts(with: Self.magic) else { throw .unknownType(bytes.first ?? 0) }
        try reader.skip(Self.magic.count)
        guard try reader.readUInt16() == Self.version else { throw .badField(.kind) }
        let kind = try reader.readUInt8()
        clientKey = try reader.readPublicKey()
        switch kind {
        case 1:
            let endorsement = try Forward.Endorsement(&reader)
            offence = .badForward(try Self.request(&reader, bytes), endorsement)
        case 2:
            let first = try Self.request(&reader, bytes)
            offence = .conflictingRequests(first, try Self.request(&reader, bytes))
        default: throw .badField(.kind)
        }
        try reader.finish()
    }

    private static func request(_ reader: inout ByteReader, _ bytes: [UInt8]) throws(MalformedMessage) -> Request {
        try Request(decoding: bytes, in: reader.readRange(limit: MessageLimits.requestBytes, .request))
    }

    /// The encoding, which is a file of its own.
    public var encoded: [UInt8] {
        var bytes = Self.magic
        bytes.append(littleEndian: Self.version)
        switch offence {
        case .badForward(let request, let endorsement):
            bytes.append(1)
            bytes.append(contentsOf: clientKey.bytes)
            endorsement.append(to: &bytes)
            bytes.append(lengthPrefixed: request.bytes)
        case .conflictingRequests(let first, let second):
            bytes.append(2)
            bytes.append(contentsOf: clientKey.bytes)
            bytes.append(lengthPrefixed: first.bytes)
            bytes.append(lengthPrefixed: second.bytes)
        }
        return bytes
    }
}

extension Request {
    /// Whether a client that signed both has used one number twice. A session is opened once too, but its opening asks for nothing.
    public func contradicts(_ other: Request) -> Bool {
        scheme == .signature && other.scheme == .signature && client == other.client && keyEpoch == other.keyEpoch
            && session == other.session && number == other.number && number != .opening && digest != other.digest
    }
}
