import Cryptography

/// READ: a read-only operation, answered outside the order (PBFT section 5.1.3). The channel authenticates it; it is never forwarded, so
/// it needs no signature.
public struct ReadRequest: Sendable, Hashable {
    static let type: UInt8 = 0x03

    /// The client's name for it, which comes back with the answer; unique among the client's reads that are under way.
    public let tag: UInt64
    /// Whether this replica is to send the whole result, or only the digest of one that is longer than that: one replica is asked for the
    /// whole.
    public let wantsResult: Bool
    /// The operation, at most ``MessageLimits/operationBytes`` long.
    public let operation: [UInt8]

    /// Makes a question.
    public init(tag: UInt64, wantsResult: Bool, operation: [UInt8]) {
        self.tag = tag
        self.wantsResult = wantsResult
        self.operation = operation
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        try reader.skip(1)
        tag = try reader.readUInt64()
        wantsResult = try reader.readFlag()
        operation = try reader.readBytes(limit: MessageLimits.operationBytes, .operation)
        try reader.finish()
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(14 + operation.count)
        bytes.append(Self.type)
        bytes.append(littleEndian: tag)
        bytes.append(wantsResult ? 1 : 0)
        bytes.append(lengthPrefixed: operation)
        return bytes
    }
}

/// The answer to a READ. A client takes a result when 2f + 1 replicas agree on its digest.
public struct ReadReply: Sendable, Hashable {
    static let type: UInt8 = 0x83

    /// What a replica says of the operation.
    public enum Outcome: Sendable, Hashable {
        /// Its whole result.
        case result([UInt8])
        /// The BLAKE2b-256 digest of its result.
        case digest(Digest)
        /// It cannot be answered outside the order: it is not read-only, or its result is too long.
        case refused
    }

    /// The client's name for the read.
    public let tag: UInt64
    /// What this replica says.
    public let outcome: Outcome

    /// Makes an answer.
    public init(tag: UInt64, outcome: Outcome) {
        self.tag = tag
        self.outcome = outcome
    }

    /// Answers a read with its result: whole when this replica was asked for that, or when the digest would be no shorter, so that
    /// no short result waits for one replica that is late.
    public init(to read: ReadRequest, result: [UInt8]) {
        let isWhole = read.wantsResult || result.count <= Digest.byteCount
        self.init(tag: read.tag, outcome: isWhole ? .result(result) : .digest(Digest.of(result)))
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        try reader.skip(1)
        tag = try reader.readUInt64()
        switch try reader.readUInt8() {
        case 0: outcome = .result(try reader.readBytes(limit: MessageLimits.resultBytes, .result))
        case 1: outcome = .digest(try reader.readDigest())
        case 2: outcome = .refused
        default: throw .badField(.outcome)
        }
        try reader.finish()
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = [Self.type]
        bytes.append(littleEndian: tag)
        switch outcome {
        case .result(let result):
            bytes.append(0)
            bytes.append(lengthPrefixed: result)
        case .digest(let digest):
            bytes.append(1)
            digest.append(to: &bytes)
        case .refused:
            bytes.append(2)
        }
        return bytes
    }
}
