import Cryptography
import Invariants

/// DIGEST PRE-PREPARE: a PRE-PREPARE that names its requests instead of carrying them, where clients send theirs to every replica
/// (PBFT section 5.1.5).
public struct DigestPrePrepare: Sendable {
    static let type: UInt8 = 0x1C

    /// Names a request together with its authentication.
    public struct Reference: Hashable, Sendable {
        static let byteCount = 4 + 8 + 8 + Digest.byteCount

        /// The client.
        public let client: ClientID
        /// Its session.
        public let session: SessionID
        /// The request's number.
        public let number: RequestNumber
        /// ``Request/envelopeDigest``.
        public let envelope: Digest

        /// Names a request.
        public init(_ request: Request) {
            client = request.client
            session = request.session
            number = request.number
            envelope = request.envelopeDigest
        }

        init(decoding reader: inout ByteReader) throws(MalformedMessage) {
            client = ClientID(try reader.readUInt32())
            session = SessionID(try reader.readUInt64())
            number = RequestNumber(try reader.readUInt64())
            envelope = try reader.readDigest()
        }

        func append(to bytes: inout [UInt8]) {
            bytes.append(littleEndian: client.rawValue)
            bytes.append(littleEndian: session.rawValue)
            bytes.append(littleEndian: number.rawValue)
            envelope.append(to: &bytes)
        }
    }

    /// The view in which it is proposed.
    public let view: View
    /// The place in the order.
    public let sequence: SequenceNumber
    /// The batch's time.
    public let time: Timestamp
    /// The batch's requests, in their order.
    public let references: [Reference]
    /// The batch's digest.
    public let digest: Digest

    /// Names the requests of a proposal.
    ///
    /// - Parameter prePrepare: A proposal of at least one request.
    public init(_ prePrepare: PrePrepare) {
        invariant(!prePrepare.batch.requests.isEmpty, "nobody proposes the null batch")
        view = prePrepare.view
        sequence = prePrepare.sequence
        time = prePrepare.batch.time
        references = prePrepare.batch.requests.map(Reference.init)
        digest = prePrepare.batch.digest
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        view = View(try reader.readUInt64())
        sequence = SequenceNumber(try reader.readUInt64())
        time = Timestamp(nanoseconds: try reader.readUInt64())
        let count = Int(try reader.readUInt16())
        guard (1...MessageLimits.requestsPerBatch).contains(count) else { throw .overLimit(.batch) }
        var references: [Reference] = []
        references.reserveCapacity(min(count, reader.remaining / Reference.byteCount))
        for _ in 0..<count {
            references.append(try Reference(decoding: &reader))
        }
        try reader.finish()
        self.references = references
        digest = Batch.digest(time: time, envelopes: references.lazy.map(\.envelope))
    }

    /// The length of the encoding in bytes.
    public var encodedByteCount: Int { 27 + references.count * Reference.byteCount }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(encodedByteCount)
        bytes.append(Self.type)
        bytes.append(littleEndian: view.rawValue)
        bytes.append(littleEndian: sequence.rawValue)
        bytes.append(littleEndian: time.nanoseconds)
        bytes.append(littleEndian: UInt16(references.count))
        for reference in references { reference.append(to: &bytes) }
        return bytes
    }
}

/// REQUESTS: some requests of a batch, in answer to a FETCH. Anybody may send them: the envelope digests say what they are.
public struct BatchRequests: Sendable {
    static let type: UInt8 = 0x1D

    /// The place in the order that they were asked for.
    public let sequence: SequenceNumber
    /// The batch that they belong to.
    public let digest: Digest
    /// The requests.
    public let requests: [Request]

    /// Makes an answer.
    ///
    /// - Parameters:
    ///   - sequence: The place in the order.
    ///   - digest: The batch.
    ///   - requests: 1 to ``MessageLimits/requestsPerBatch`` of its requests.
    public init(sequence: SequenceNumber, digest: Digest, requests: [Request]) {
        invariant((1...MessageLimits.requestsPerBatch).contains(requests.count), "a part of a batch out of bounds")
        self.sequence = sequence
        self.digest = digest
        self.requests = requests
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        guard range.count <= MessageLimits.batchBytes else { throw .overLimit(.batch) }
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        sequence = SequenceNumber(try reader.readUInt64())
        digest = try reader.readDigest()
        let count = Int(try reader.readUInt16())
        guard (1...MessageLimits.requestsPerBatch).contains(count) else { throw .overLimit(.batch) }
        var requests: [Request] = []
        requests.reserveCapacity(min(count, reader.remaining / 32))
        for _ in 0..<count {
            let part = try reader.readRange(limit: MessageLimits.requestBytes, .request)
            requests.append(try Request(decoding: source, in: part))
        }
        try reader.finish()
        self.requests = requests
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(43 + requests.reduce(0) { $0 + 4 + $1.bytes.count })
        bytes.append(Self.type)
        bytes.append(littleEndian: sequence.rawValue)
        digest.append(to: &bytes)
        bytes.append(littleEndian: UInt16(requests.count))
        for request in requests { bytes.append(lengthPrefixed: request.bytes) }
        return bytes
    }
}
