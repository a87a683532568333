import Cryptography
import Invariants

/// PRE-PREPARE: the primary's proposal to execute a batch at a sequence number (PBFT section 4.2).
public struct PrePrepare: Sendable {
    static let type: UInt8 = 0x10

    /// The view in which it is proposed.
    public let view: View
    /// The place in the order.
    public let sequence: SequenceNumber
    /// What is to be executed.
    public let batch: Batch

    /// Makes a proposal.
    public init(view: View, sequence: SequenceNumber, batch: Batch) {
        self.view = view
        self.sequence = sequence
        self.batch = batch
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        view = View(try reader.readUInt64())
        sequence = SequenceNumber(try reader.readUInt64())
        batch = try Batch(decoding: source, in: reader.position..<range.upperBound)
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(17 + batch.encodedByteCount)
        bytes.append(Self.type)
        bytes.append(littleEndian: view.rawValue)
        bytes.append(littleEndian: sequence.rawValue)
        batch.append(to: &bytes)
        return bytes
    }
}

/// Requests that are executed together, and the time that they all see.
public struct Batch: Sendable {
    /// The primary's clock when it made the batch; execution uses the later of this and the previous batch's time.
    public let time: Timestamp
    /// The requests in the order of execution; who checks them is up to the holder.
    public let requests: [Request]
    /// BLAKE2b-256 of the time and the requests' envelope digests: what replicas vote on.
    public let digest: Digest

    /// Makes a batch.
    ///
    /// - Parameters:
    ///   - time: The primary's clock.
    ///   - requests: 1 to ``MessageLimits/requestsPerBatch`` requests, together at most ``MessageLimits/batchBytes`` long.
    public init(time: Timestamp, requests: [Request]) {
        invariant((1...MessageLimits.requestsPerBatch).contains(requests.count), "a batch out of bounds")
        self.time = time
        self.requests = requests
        digest = Self.digest(time: time, requests: requests)
    }

    /// The null batch, which a NEW-VIEW puts where nothing can have committed (PBFT section 4.4): no requests, and the digest of zeros.
    public static let null = Batch()

    private init() {
        time = .zero
        requests = []
        digest = .zero
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        guard range.count <= MessageLimits.batchBytes else { throw .overLimit(.batch) }
        var reader = ByteReader(source, in: range)
        time = Timestamp(nanoseconds: try reader.readUInt64())
        let count = Int(try reader.readUInt16())
        guard (1...MessageLimits.requestsPerBatch).contains(count) else { throw .overLimit(.batch) }
        var requests: [Request] = []
        // A request is longer than 32 bytes: a count that the bytes cannot hold takes no memory.
        requests.reserveCapacity(min(count, reader.remaining / 32))
        for _ in 0..<count {
            let part = try reader.readRange(limit: MessageLimits.requestBytes, .request)
            requests.append(try Request(decoding: source, in: part))
        }
        try reader.finish()
        self.requests = requests
        digest = Self.digest(time: time, requests: requests)
    }

    private static func digest(time: Timestamp, requests: [Request]) -> Digest {
        digest(time: time, envelopes: requests.lazy.map(\.envelopeDigest))
    }

    static func digest(time: Timestamp, envelopes: some Collection<Digest>) -> Digest {
        var bytes = Array("aardvark batch".utf8)
        bytes.reserveCapacity(bytes.count + 10 + envelopes.count * Digest.byteCount)
        bytes.append(littleEndian: time.nanoseconds)
        bytes.append(littleEndian: UInt16(envelopes.count))
        for envelope in envelopes {
            envelope.append(to: &bytes)
        }
        return Digest.of(bytes)
    }

    /// The length of the encoding in bytes.
    public var encodedByteCount: Int {
        10 + requests.reduce(0) { $0 + 4 + $1.bytes.count }
    }

    func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: time.nanoseconds)
        bytes.append(littleEndian: UInt16(requests.count))
        for request in requests {
            bytes.append(lengthPrefixed: request.bytes)
        }
    }
}

/// PREPARE or COMMIT: a replica's vote for a batch at a sequence number in a view (PBFT section 4.2). The channel says whose it is.
public struct Vote: Hashable, Sendable {
    /// The phase that a vote belongs to.
    public enum Phase: UInt8, Sendable {
        /// A backup accepted the PRE-PREPARE.
        case prepare = 0x11
        /// The batch is prepared at the sender.
        case commit = 0x12
    }

    /// The phase.
    public let phase: Phase
    /// The view of the PRE-PREPARE.
    public let view: View
    /// The place in the order.
    public let sequence: SequenceNumber
    /// The batch.
    public let digest: Digest

    /// Makes a vote.
    public init(_ phase: Phase, view: View, sequence: SequenceNumber, digest: Digest) {
        self.phase = phase
        self.view = view
        self.sequence = sequence
        self.digest = digest
    }

    init(_ phase: Phase, decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        self.phase = phase
        view = View(try reader.readUInt64())
        sequence = SequenceNumber(try reader.readUInt64())
        digest = try reader.readDigest()
        try reader.finish()
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(49)
        bytes.append(phase.rawValue)
        bytes.append(littleEndian: view.rawValue)
        bytes.append(littleEndian: sequence.rawValue)
        digest.append(to: &bytes)
        return bytes
    }
}

/// BATCH: a batch by itself, in answer to a FETCH. Anybody may send it: its digest says what it is.
public struct BatchBody: Sendable {
    static let type: UInt8 = 0x19

    /// The place in the order that the batch was asked for.
    public let sequence: SequenceNumber
    /// The batch.
    public let batch: Batch

    /// Makes an answer.
    public init(sequence: SequenceNumber, batch: Batch) {
        self.sequence = sequence
        self.batch = batch
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        sequence = SequenceNumber(try reader.readUInt64())
        batch = try Batch(decoding: source, in: reader.position..<range.upperBound)
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(9 + batch.encodedByteCount)
        bytes.append(Self.type)
        bytes.append(littleEndian: sequence.rawValue)
        batch.append(to: &bytes)
        return bytes
    }
}

/// FETCH: asks a peer for something that a digest names (PBFT, TOCS 2002 section 5.3).
public struct Fetch: Hashable, Sendable {
    static let type: UInt8 = 0x18

    /// What is asked for.
    public enum Subject: Hashable, Sendable {
        /// The batch with this digest, pre-prepared at this number.
        case batch(SequenceNumber, Digest)
        /// The VIEW-CHANGE of a replica for a view, which a NEW-VIEW names by this digest.
        case viewChange(View, ReplicaID, Digest)
        /// These requests, by their places, of the batch with this digest, pre-prepared at this number: at least one, the places growing.
        case requests(SequenceNumber, Digest, [UInt16])
    }

    /// What is asked for.
    public let subject: Subject

    /// Makes a question.
    public init(_ subject: Subject) {
        self.subject = subject
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        switch try reader.readUInt8() {
        case 0:
            let sequence = SequenceNumber(try reader.readUInt64())
            subject = .batch(sequence, try reader.readDigest())
        case 1:
            let view = View(try reader.readUInt64())
            let replica = try reader.readReplica()
            subject = .viewChange(view, replica, try reader.readDigest())
        case 2:
            let sequence = SequenceNumber(try reader.readUInt64())
            let digest = try reader.readDigest()
            let count = Int(try reader.readUInt16())
            guard (1...MessageLimits.requestsPerBatch).contains(count) else { throw .overLimit(.batch) }
            var places: [UInt16] = []
            places.reserveCapacity(min(count, reader.remaining / 2))
            for _ in 0..<count {
                let place = try reader.readUInt16()
                guard places.last.map({ $0 < place }) ?? true else { throw .badField(.batch) }
                places.append(place)
            }
            subject = .requests(sequence, digest, places)
        default:
            throw .badField(.kind)
        }
        try reader.finish()
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = [Self.type]
        switch subject {
        case .batch(let sequence, let digest):
            bytes.append(0)
            bytes.append(littleEndian: sequence.rawValue)
            digest.append(to: &bytes)
        case .viewChange(let view, let replica, let digest):
            bytes.append(1)
            bytes.append(littleEndian: view.rawValue)
            bytes.append(replica.rawValue)
            digest.append(to: &bytes)
        case .requests(let sequence, let digest, let places):
            bytes.append(2)
            bytes.append(littleEndian: sequence.rawValue)
            digest.append(to: &bytes)
            bytes.append(littleEndian: UInt16(places.count))
            for place in places { bytes.append(littleEndian: place) }
        }
        return bytes
    }
}

/// CHECKPOINT: a replica's signed word that its state after a batch has this root (PBFT section 4.3). 2f + 1 of them are a certificate
/// that anybody can check.
public struct Checkpoint: Hashable, Sendable {
    static let type: UInt8 = 0x13
    static let byteCount = 1 + 1 + 8 + Digest.byteCount + Signature.byteCount

    /// Whose word it is.
    public let replica: ReplicaID
    /// The last batch that the state contains.
    public let sequence: SequenceNumber
    /// The Merkle root of the state.
    public let root: Digest
    /// The replica's signature of ``SignedBytes/checkpoint(_:root:by:cluster:)``.
    public let signature: Signature

    /// Makes and signs a checkpoint message.
    public init(_ sequence: SequenceNumber, root: Digest, by replica: ReplicaID, cluster: ClusterID, signer: any Signer)
    {
        self.replica = replica
        self.sequence = sequence
        self.root = root
        signature = signer.sign(SignedBytes.checkpoint(sequence, root: root, by: replica, cluster: cluster))
    }

    /// Reads a checkpoint that is part of another message, type and all.
    init(decodingElement source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        guard !range.isEmpty, source[range.lowerBound] == Self.type else { throw .badField(.certificate) }
        try self.init(decoding: source, in: range)
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        replica = try reader.readReplica()
        sequence = SequenceNumber(try reader.readUInt64())
        root = try reader.readDigest()
        signature = try reader.readSignature()
        try reader.finish()
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(Self.type)
        bytes.append(replica.rawValue)
        bytes.append(littleEndian: sequence.rawValue)
        root.append(to: &bytes)
        signature.append(to: &bytes)
        return bytes
    }
}

/// CATCH-UP: asks a peer to send again what it said of every sequence number after the sender's last executed one. Sent when a link
/// comes up and when nothing moves (PBFT's status messages, TOCS 2002 section 5.2, driven by the receiver).
public struct CatchUp: Hashable, Sendable {
    static let type: UInt8 = 0x15

    /// What a replica does in its view.
    public enum Standing: UInt8, Sendable {
        /// It has left its last view and waits for this one to begin.
        case waiting = 0
        /// It votes in it.
        case active = 1
        /// It lost its store, only follows, and asks its peers for their own CATCH-UPs.
        case learning = 2
    }

    /// The view that the sender is in, or has left its last one for.
    public let view: View
    /// What the sender does in that view.
    public let standing: Standing
    /// The sender's last executed batch.
    public let executed: SequenceNumber
    /// The sender's last stable checkpoint.
    public let stable: SequenceNumber
    /// The highest number that ever prepared at the sender, restarts included; at least ``stable``.
    public let prepared: SequenceNumber

    /// Makes a request to catch up from `executed`.
    public init(
        view: View,
        standing: Standing,
        executed: SequenceNumber,
        stable: SequenceNumber,
        prepared: SequenceNumber
    ) {
        self.view = view
        self.standing = standing
        self.executed = executed
        self.stable = stable
        self.prepared = prepared
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        view = View(try reader.readUInt64())
        guard let known = Standing(rawValue: try reader.readUInt8()) else { throw .badField(.flag) }
        standing = known
        executed = SequenceNumber(try reader.readUInt64())
        stable = SequenceNumber(try reader.readUInt64())
        prepared = SequenceNumber(try reader.readUInt64())
        try reader.finish()
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = [Self.type]
        bytes.append(littleEndian: view.rawValue)
        bytes.append(standing.rawValue)
        for number in [executed, stable, prepared] {
            bytes.append(littleEndian: number.rawValue)
        }
        return bytes
    }
}
