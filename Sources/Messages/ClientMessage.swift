import Cryptography
import Invariants

/// What clients and administrators say to a replica.
public enum ClientMessage: Sendable {
    static let statusQueryType: UInt8 = 0x02

    /// A request to be ordered.
    case request(Unverified<Request>)
    /// A read-only operation, answered outside the order.
    case read(ReadRequest)
    /// A question for the replica's own view of things; the number comes back with the answer.
    case statusQuery(UInt64)

    /// Reads the message that is the whole of `range`.
    ///
    /// - Throws: ``MalformedMessage`` for bytes that no correct client sends.
    public init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        guard range.lowerBound >= 0, range.upperBound <= source.count, !range.isEmpty else { throw .truncated }
        switch source[range.lowerBound] {
        case Request.type:
            self = .request(Unverified(try Request(decoding: source, in: range)))
        case ReadRequest.type:
            self = .read(try ReadRequest(decoding: source, in: range))
        case Self.statusQueryType:
            var reader = ByteReader(source, in: range)
            try reader.skip(1)
            self = .statusQuery(try reader.readUInt64())
            try reader.finish()
        case let type:
            throw .unknownType(type)
        }
    }

    /// The encoding.
    public var encoded: [UInt8] {
        switch self {
        case .request(let request):
            return request.claim.bytes
        case .read(let read):
            return read.encoded
        case .statusQuery(let tag):
            var bytes = [Self.statusQueryType]
            bytes.append(littleEndian: tag)
            return bytes
        }
    }
}

/// What a replica says to a client or an administrator.
public enum ReplicaAnswer: Sendable {
    static let statusType: UInt8 = 0x82

    /// What became of a request.
    case reply(Reply)
    /// The answer to a read.
    case readReply(ReadReply)
    /// The replica's own view of things, with the number of the question.
    case status(UInt64, ReplicaStatus)

    /// Reads the message that is the whole of `range`.
    ///
    /// - Throws: ``MalformedMessage`` for bytes that no correct replica sends.
    public init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        guard range.lowerBound >= 0, range.upperBound <= source.count, !range.isEmpty else { throw .truncated }
        switch source[range.lowerBound] {
        case Reply.type:
            self = .reply(try Reply(decoding: source, in: range))
        case ReadReply.type:
            self = .readReply(try ReadReply(decoding: source, in: range))
        case Self.statusType:
            var reader = ByteReader(source, in: range)
            try reader.skip(1)
            let tag = try reader.readUInt64()
            self = .status(tag, try ReplicaStatus(decoding: &reader))
            try reader.finish()
        case let type:
            throw .unknownType(type)
        }
    }

    /// The encoding.
    public var encoded: [UInt8] {
        switch self {
        case .reply(let reply):
            return reply.encoded
        case .readReply(let reply):
            return reply.encoded
        case .status(let tag, let status):
            var bytes = [Self.statusType]
            bytes.append(littleEndian: tag)
            status.append(to: &bytes)
            return bytes
        }
    }
}

/// What a replica says of itself to operators: one replica's word, for people to look at and never for the protocol.
public struct ReplicaStatus: Sendable, Hashable {
    /// A number with a name, for example `operations_executed`.
    public struct Counter: Sendable, Hashable {
        /// Lower-case words with underscores between them, the unit last; at most 255 bytes of UTF-8.
        public let name: String
        /// The value.
        public let value: UInt64
        /// How it changes.
        public let kind: Kind

        /// How a number changes.
        public enum Kind: UInt8, Sendable {
            /// It only grows while the replica runs, and starts at 0.
            case counter = 0
            /// It is what something is now.
            case gauge = 1
        }

        /// Names a value.
        public init(_ name: String, _ value: UInt64, _ kind: Kind = .counter) {
            self.name = name
            self.value = value
            self.kind = kind
        }
    }

    /// Whose word it is.
    public var replica: ReplicaID
    /// The protocol by name: `pbft` or `aardvark`.
    public var protocolName: String
    /// The view that the replica is in.
    public var view: View
    /// The primary of that view.
    public var primary: ReplicaID
    /// The last batch executed.
    public var executed: SequenceNumber
    /// The last stable checkpoint.
    public var stable: SequenceNumber
    /// The low water mark: batches up to it are no longer voted on.
    public var low: SequenceNumber
    /// The high water mark: batches after it are not yet voted on.
    public var high: SequenceNumber
    /// The peers that are connected to this replica.
    public var connectedPeers: [ReplicaID]
    /// Everything else, by name; at most ``MessageLimits/countersPerStatus``.
    public var counters: [Counter]

    /// Makes a report.
    public init(
        replica: ReplicaID,
        protocolName: String,
        view: View,
        primary: ReplicaID,
        executed: SequenceNumber,
        stable: SequenceNumber,
        low: SequenceNumber,
        high: SequenceNumber,
        connectedPeers: [ReplicaID],
        counters: [Counter]
    ) {
        self.replica = replica
        self.protocolName = protocolName
        self.view = view
        self.primary = primary
        self.executed = executed
        self.stable = stable
        self.low = low
        self.high = high
        self.connectedPeers = connectedPeers
        self.counters = counters
    }

    init(decoding reader: inout ByteReader) throws(MalformedMessage) {
        replica = ReplicaID(try reader.readUInt8())
        protocolName = try Self.readText(&reader)
        view = View(try reader.readUInt64())
        primary = ReplicaID(try reader.readUInt8())
        executed = SequenceNumber(try reader.readUInt64())
        stable = SequenceNumber(try reader.readUInt64())
        low = SequenceNumber(try reader.readUInt64())
        high = SequenceNumber(try reader.readUInt64())
        let peers = Int(try reader.readUInt8())
        guard peers <= 3 * ClusterSize.mostFaults + 1 else { throw .overLimit(.peers) }
        connectedPeers = []
        for _ in 0..<peers {
            connectedPeers.append(ReplicaID(try reader.readUInt8()))
        }
        let count = Int(try reader.readUInt16())
        guard count <= MessageLimits.countersPerStatus else { throw .overLimit(.counters) }
        counters = []
        for _ in 0..<count {
            let name = try Self.readText(&reader)
            let value = try reader.readUInt64()
            guard let kind = Counter.Kind(rawValue: try reader.readUInt8()) else { throw .badField(.counters) }
            counters.append(Counter(name, value, kind))
        }
    }

    func append(to bytes: inout [UInt8]) {
        invariant(connectedPeers.count <= 3 * ClusterSize.mostFaults + 1, "a report with more peers than replicas")
        invariant(counters.count <= MessageLimits.countersPerStatus, "a report with too many counters")
        bytes.append(replica.rawValue)
        Self.append(protocolName, to: &bytes)
        bytes.append(littleEndian: view.rawValue)
        bytes.append(primary.rawValue)
        for mark in [executed, stable, low, high] {
            bytes.append(littleEndian: mark.rawValue)
        }
        bytes.append(UInt8(connectedPeers.count))
        bytes.append(contentsOf: connectedPeers.map(\.rawValue))
        bytes.append(littleEndian: UInt16(counters.count))
        for counter in counters {
            Self.append(counter.name, to: &bytes)
            bytes.append(littleEndian: counter.value)
            bytes.append(counter.kind.rawValue)
        }
    }

    private static func readText(_ reader: inout ByteReader) throws(MalformedMessage) -> String {
        let count = Int(try reader.readUInt8())
        var bytes: [UInt8] = []
        for _ in 0..<count {
            bytes.append(try reader.readUInt8())
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw .badField(.text) }
        return text
    }

    private static func append(_ text: String, to bytes: inout [UInt8]) {
        var utf8 = Array(text.utf8.prefix(255))
        // A cut in the middle of a character would leave bytes that no decoder takes.
        while String(validating: utf8, as: UTF8.self) == nil {
            utf8.removeLast()
        }
        bytes.append(UInt8(utf8.count))
        bytes.append(contentsOf: utf8)
    }
}
