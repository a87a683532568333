import Cryptography

/// FORWARD: a backup hands a client's request to the primary.
///
/// Where requests are signed, the forwarder puts its own signature to it. A correct replica forwards only what it has checked, so a
/// forward of a badly signed request can be shown to others: it is ``Evidence`` against the forwarder. Where requests carry MACs, nobody
/// can tell whether another finds a request good, and a forward is the request alone (PBFT section 4.4).
public struct Forward: Sendable {
    /// The forwarder's word that it has checked a request.
    public struct Endorsement: Hashable, Sendable {
        /// The length of an encoding in bytes.
        static let byteCount = 1 + 8 + Signature.byteCount

        /// Who forwards.
        public let forwarder: ReplicaID
        /// The view that it is in.
        public let view: View
        /// Its signature of ``SignedBytes/forward(_:by:in:cluster:)``.
        public let signature: Signature

        /// Signs for a request.
        ///
        /// - Parameters:
        ///   - request: A request that the forwarder has checked.
        ///   - forwarder: Who forwards.
        ///   - view: The view that it is in.
        ///   - cluster: The cluster that the signature is bound to.
        ///   - signer: Signs for the forwarder.
        public init(of request: Request, by forwarder: ReplicaID, in view: View, cluster: ClusterID, signer: any Signer)
        {
            self.forwarder = forwarder
            self.view = view
            signature = signer.sign(SignedBytes.forward(request, by: forwarder, in: view, cluster: cluster))
        }

        init(_ reader: inout ByteReader) throws(MalformedMessage) {
            forwarder = try reader.readReplica()
            view = View(try reader.readUInt64())
            signature = try reader.readSignature()
        }

        func append(to bytes: inout [UInt8]) {
            bytes.append(forwarder.rawValue)
            bytes.append(littleEndian: view.rawValue)
            signature.append(to: &bytes)
        }
    }

    /// The first byte of a forward that is not endorsed.
    static let type: UInt8 = 0x14
    /// The first byte of an endorsed one.
    static let endorsedType: UInt8 = 0x22

    /// The request.
    public let request: Unverified<Request>
    /// The forwarder's word; nil where requests carry MACs.
    public let endorsement: Endorsement?

    /// Forwards a request.
    ///
    /// - Parameters:
    ///   - request: The request.
    ///   - endorsement: The forwarder's word for this very request; nil where requests carry MACs.
    public init(_ request: Request, endorsement: Endorsement? = nil) {
        self.request = Unverified(request)
        self.endorsement = endorsement
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        let type = try reader.readUInt8()
        guard type == Self.type || type == Self.endorsedType else { throw .unknownType(type) }
        endorsement = type == Self.endorsedType ? try Endorsement(&reader) : nil
        request = Unverified(try Request(decoding: source, in: reader.position..<range.upperBound))
    }

    var encoded: [UInt8] {
        guard let endorsement else { return [Self.type] + request.claim.bytes }
        var bytes = [Self.endorsedType]
        endorsement.append(to: &bytes)
        return bytes + request.claim.bytes
    }
}

extension SignedBytes {
    /// What a replica signs of a request that it forwards: the request by all that names it, and with its client's signature.
    public static func forward(
        _ request: Request,
        by forwarder: ReplicaID,
        in view: View,
        cluster: ClusterID
    ) -> [UInt8] {
        var bytes = Array("aardvark forward".utf8)
        cluster.append(to: &bytes)
        bytes.append(forwarder.rawValue)
        bytes.append(littleEndian: view.rawValue)
        bytes.append(littleEndian: request.client.rawValue)
        bytes.append(littleEndian: request.session.rawValue)
        bytes.append(littleEndian: request.keyEpoch.rawValue)
        bytes.append(littleEndian: request.number.rawValue)
        request.envelopeDigest.append(to: &bytes)
        return bytes
    }
}
