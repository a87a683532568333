import Cryptography
import Invariants

/// REPLY: what became of a request (PBFT section 4.1). The channel authenticates it.
///
/// View and sequence number say where the request was ordered; they are not part of what f + 1 replicas must agree on. The payload is:
/// equal payloads are equal results. A long payload comes whole from the replica that the client named; the others send its digest
/// (PBFT section 5.1.1).
public struct Reply: Sendable {
    /// The longest payload, in bytes, that every replica sends whole: a digest would save nothing.
    public static let wholePayloadBytes = 64

    /// The payload, or what identifies it.
    public enum Content: Sendable, Hashable {
        /// All of it.
        case whole(Payload)
        /// The request's session and number, and BLAKE2b-256 of the payload's bytes.
        case digest(SessionID, RequestNumber, Digest)
    }

    /// What became of the request.
    public enum Outcome: UInt8, Sendable {
        /// The operations were executed; there is a result for each.
        case executed = 0
        /// The session is open; there are no results.
        case sessionOpened = 1
        /// The request takes no effect, because a later session was opened: the one result holds that session's number in 8 bytes.
        case sessionOutdated = 2
        /// The operations were executed, but their results together are longer than a reply may be.
        case resultsTooLarge = 3
        /// The request takes no effect, because the client's key is of another epoch: the one result holds that epoch in 4 bytes.
        case otherKeyEpoch = 4
    }

    static let type: UInt8 = 0x81

    /// The view in which the batch was ordered, as the sender knows it.
    public let view: View
    /// The batch's sequence number.
    public let sequence: SequenceNumber
    /// Whether the batch was executed before it was known to be committed (PBFT section 5.1.2): such a reply counts among 2f + 1 of the
    /// same view and sequence number only.
    public let isTentative: Bool
    /// What the replicas must agree on.
    public let content: Content

    /// The session of the request.
    public var session: SessionID {
        switch content {
        case .whole(let payload): payload.session
        case .digest(let session, _, _): session
        }
    }

    /// The number of the request.
    public var number: RequestNumber {
        switch content {
        case .whole(let payload): payload.number
        case .digest(_, let number, _): number
        }
    }

    /// The payload, unless only its digest is here.
    public var payload: Payload? {
        if case .whole(let payload) = content { return payload }
        return nil
    }

    /// The part of a reply that f + 1 replicas must agree on: the request's place in its session, the outcome and the results.
    public struct Payload: Sendable, Hashable {
        /// The session of the request.
        public let session: SessionID
        /// The number of the request.
        public let number: RequestNumber
        /// What became of it.
        public let outcome: Outcome
        /// The encoding of all of this.
        public let bytes: [UInt8]

        private static let headerBytes = 8 + 8 + 1 + 2

        /// Makes a payload.
        ///
        /// - Parameters:
        ///   - session: The session of the request.
        ///   - number: The number of the request.
        ///   - outcome: What became of it.
        ///   - results: What the outcome says, at most ``MessageLimits/operationsPerRequest``.
        public init(session: SessionID, number: RequestNumber, outcome: Outcome, results: [[UInt8]]) {
            invariant(results.count <= MessageLimits.operationsPerRequest, "more results than operations")
            self.session = session
            self.number = number
            self.outcome = outcome
            var bytes: [UInt8] = []
            bytes.reserveCapacity(Self.headerBytes + results.reduce(0) { $0 + 4 + $1.count })
            bytes.append(littleEndian: session.rawValue)
            bytes.append(littleEndian: number.rawValue)
            bytes.append(outcome.rawValue)
            bytes.append(littleEndian: UInt16(results.count))
            for result in results {
                bytes.append(lengthPrefixed: result)
            }
            self.bytes = bytes
        }

        /// Reads a payload that is the whole of `range`.
        public init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
            guard range.count <= MessageLimits.replyPayloadBytes else { throw .overLimit(.reply) }
            guard range.lowerBound >= 0, range.upperBound <= source.count else { throw .truncated }
            var reader = ByteReader(source, in: range)
            session = SessionID(try reader.readUInt64())
            number = RequestNumber(try reader.readUInt64())
            guard let outcome = Outcome(rawValue: try reader.readUInt8()) else { throw .badField(.outcome) }
            self.outcome = outcome
            let count = Int(try reader.readUInt16())
            guard count <= MessageLimits.operationsPerRequest else { throw .overLimit(.bundle) }
            for _ in 0..<count {
                _ = try reader.readRange(limit: MessageLimits.resultBytes, .result)
            }
            try reader.finish()
            bytes = Array(source[range])
        }

        /// The results, one for each operation of the request, in its order.
        public var results: [[UInt8]] {
            var reader = ByteReader(bytes, in: (Self.headerBytes - 2)..<bytes.count)
            var results: [[UInt8]] = []
            do throws(MalformedMessage) {
                let count = Int(try reader.readUInt16())
                results.reserveCapacity(count)
                for _ in 0..<count {
                    results.append(try reader.readBytes(limit: MessageLimits.resultBytes, .result))
                }
            } catch {
                invariantViolated("a payload was checked when it was made")
            }
            return results
        }
    }

    /// Makes a reply.
    public init(view: View, sequence: SequenceNumber, isTentative: Bool = false, content: Content) {
        self.view = view
        self.sequence = sequence
        self.isTentative = isTentative
        self.content = content
    }

    /// Makes a committed reply with the whole payload.
    public init(view: View, sequence: SequenceNumber, payload: Payload) {
        self.init(view: view, sequence: sequence, content: .whole(payload))
    }

    private static let tentativeFlag: UInt8 = 1
    private static let digestFlag: UInt8 = 2

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        let flags = try reader.readUInt8()
        guard flags & ~(Self.tentativeFlag | Self.digestFlag) == 0 else { throw .badField(.flags) }
        isTentative = flags & Self.tentativeFlag != 0
        view = View(try reader.readUInt64())
        sequence = SequenceNumber(try reader.readUInt64())
        if flags & Self.digestFlag != 0 {
            let session = SessionID(try reader.readUInt64())
            let number = RequestNumber(try reader.readUInt64())
            content = .digest(session, number, try reader.readDigest())
            try reader.finish()
        } else {
            content = .whole(try Payload(decoding: source, in: reader.position..<range.upperBound))
        }
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(18 + (payload?.bytes.count ?? 48))
        bytes.append(Self.type)
        var flags: UInt8 = isTentative ? Self.tentativeFlag : 0
        if case .digest = content { flags |= Self.digestFlag }
        bytes.append(flags)
        bytes.append(littleEndian: view.rawValue)
        bytes.append(littleEndian: sequence.rawValue)
        switch content {
        case .whole(let payload):
            bytes.append(contentsOf: payload.bytes)
        case .digest(let session, let number, let digest):
            bytes.append(littleEndian: session.rawValue)
            bytes.append(littleEndian: number.rawValue)
            digest.append(to: &bytes)
        }
        return bytes
    }
}

extension Reply.Payload {
    /// Whether replicas send only the digest of it, but for the one that the client named.
    public var isLong: Bool { bytes.count > Reply.wholePayloadBytes }

    /// What all but the named replica send of a long payload.
    public var summary: Reply.Content { .digest(session, number, Digest.of(bytes)) }
}
