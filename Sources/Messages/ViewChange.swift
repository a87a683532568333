import Cryptography
import Invariants

/// A batch that was prepared or pre-prepared at a replica: an element of P or Q (PBFT, TOCS 2002 section 4.4).
public struct BatchClaim: Hashable, Sendable {
    /// The place in the order.
    public let sequence: SequenceNumber
    /// The batch's digest; `Digest.zero` for the null batch.
    public let digest: Digest
    /// The highest view in which it was prepared (P) or pre-prepared (Q) there.
    public let view: View

    /// Makes a claim.
    public init(_ sequence: SequenceNumber, _ digest: Digest, _ view: View) {
        self.sequence = sequence
        self.digest = digest
        self.view = view
    }

    static let byteCount = 8 + Digest.byteCount + 8

    init(decoding reader: inout ByteReader) throws(MalformedMessage) {
        sequence = SequenceNumber(try reader.readUInt64())
        digest = try reader.readDigest()
        view = View(try reader.readUInt64())
    }

    func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: sequence.rawValue)
        digest.append(to: &bytes)
        bytes.append(littleEndian: view.rawValue)
    }

    static func readList(
        _ reader: inout ByteReader,
        limit: Int,
        _ field: MalformedMessage.StaticField
    ) throws(MalformedMessage) -> [BatchClaim] {
        let count = Int(try reader.readUInt32())
        guard count <= limit else { throw .overLimit(field) }
        guard count * byteCount <= reader.remaining else { throw .truncated }
        var claims: [BatchClaim] = []
        claims.reserveCapacity(count)
        for _ in 0..<count {
            claims.append(try BatchClaim(decoding: &reader))
        }
        return claims
    }
}

/// VIEW-CHANGE: a replica leaves its view and says what it holds (PBFT, TOCS 2002 section 4.4). Signed, so that it can be shown to
/// others; what it claims of P and Q is its word alone, and the choice of the new view is made so that f wrong words do no harm.
public struct ViewChange: Hashable, Sendable {
    static let type: UInt8 = 0x16

    /// The view that the replica wants to enter.
    public let view: View
    /// Whose word it is.
    public let replica: ReplicaID
    /// h: its last stable checkpoint.
    public let stable: SequenceNumber
    /// 2f + 1 signatures of one root at h; empty when h is 0.
    public let certificate: [Checkpoint]
    /// P: for each number over h, the batch that prepared here in the highest view; in the order of the numbers, one each.
    public let prepared: [BatchClaim]
    /// Q: for each number over h and each digest, the highest view in which it was pre-prepared here; in the order of numbers, then
    /// digests.
    public let prePrepared: [BatchClaim]
    /// The replica's signature of ``signedBytes(cluster:)``.
    public let signature: Signature

    /// Makes and signs a VIEW-CHANGE. The lists are in their order already.
    public init(
        view: View,
        replica: ReplicaID,
        stable: SequenceNumber,
        certificate: [Checkpoint],
        prepared: [BatchClaim],
        prePrepared: [BatchClaim],
        cluster: ClusterID,
        signer: any Signer
    ) {
        self.view = view
        self.replica = replica
        self.stable = stable
        self.certificate = certificate
        self.prepared = prepared
        self.prePrepared = prePrepared
        let body = Self.body(view, replica, stable, certificate, prepared, prePrepared)
        signature = signer.sign(Self.signedBytes(body: body, cluster: cluster))
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        view = View(try reader.readUInt64())
        replica = try reader.readReplica()
        stable = SequenceNumber(try reader.readUInt64())
        certificate = try CheckpointCertificate.readList(&reader, of: source)
        prepared = try BatchClaim.readList(&reader, limit: MessageLimits.preparedClaims, .claims)
        prePrepared = try BatchClaim.readList(&reader, limit: MessageLimits.prePreparedClaims, .claims)
        signature = try reader.readSignature()
        try reader.finish()
    }

    private static func body(
        _ view: View,
        _ replica: ReplicaID,
        _ stable: SequenceNumber,
        _ certificate: [Checkpoint],
        _ prepared: [BatchClaim],
        _ prePrepared: [BatchClaim]
    ) -> [UInt8] {
        var bytes: [UInt8] = [type]
        bytes.append(littleEndian: view.rawValue)
        bytes.append(replica.rawValue)
        bytes.append(littleEndian: stable.rawValue)
        CheckpointCertificate.append(certificate, to: &bytes)
        for claims in [prepared, prePrepared] {
            bytes.append(littleEndian: UInt32(claims.count))
            for claim in claims {
                claim.append(to: &bytes)
            }
        }
        return bytes
    }

    private static func signedBytes(body: [UInt8], cluster: ClusterID) -> [UInt8] {
        var bytes = Array("aardvark view-change".utf8)
        cluster.append(to: &bytes)
        Digest.of(body).append(to: &bytes)
        return bytes
    }

    /// What the replica signs.
    public func signedBytes(cluster: ClusterID) -> [UInt8] {
        Self.signedBytes(
            body: Self.body(view, replica, stable, certificate, prepared, prePrepared),
            cluster: cluster
        )
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes = Self.body(view, replica, stable, certificate, prepared, prePrepared)
        signature.append(to: &bytes)
        return bytes
    }

    /// BLAKE2b-256 of the encoding: how NEW-VIEW names it.
    public var digest: Digest { Digest.of(encoded) }
}

/// NEW-VIEW: the new primary names the VIEW-CHANGEs that it took and what follows from them (PBFT, TOCS 2002 section 4.4). Every backup
/// works the choice out again from the same VIEW-CHANGEs and refuses another.
public struct NewView: Hashable, Sendable {
    static let type: UInt8 = 0x17

    /// A VIEW-CHANGE by its sender and digest.
    public struct Member: Hashable, Sendable {
        /// The sender.
        public let replica: ReplicaID
        /// ``ViewChange/digest``.
        public let digest: Digest

        /// Names a VIEW-CHANGE.
        public init(_ replica: ReplicaID, _ digest: Digest) {
            self.replica = replica
            self.digest = digest
        }
    }

    /// The view that begins.
    public let view: View
    /// S: the VIEW-CHANGEs that the choice was made from, of different senders, in the order of their numbers.
    public let members: [Member]
    /// The highest stable checkpoint in S: the batches chosen follow it.
    public let start: SequenceNumber
    /// The batches of the numbers after ``start``, without gaps; `Digest.zero` for the null batch.
    public let chosen: [Digest]
    /// The new primary's signature.
    public let signature: Signature

    /// Makes and signs a NEW-VIEW.
    public init(
        view: View,
        members: [Member],
        start: SequenceNumber,
        chosen: [Digest],
        cluster: ClusterID,
        signer: any Signer
    ) {
        self.view = view
        self.members = members
        self.start = start
        self.chosen = chosen
        let body = Self.body(view, members, start, chosen)
        signature = signer.sign(Self.signedBytes(body: body, cluster: cluster))
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        view = View(try reader.readUInt64())
        let count = Int(try reader.readUInt8())
        guard count <= 3 * ClusterSize.mostFaults + 1 else { throw .overLimit(.certificate) }
        var members: [Member] = []
        for _ in 0..<count {
            let replica = try reader.readReplica()
            members.append(Member(replica, try reader.readDigest()))
        }
        self.members = members
        start = SequenceNumber(try reader.readUInt64())
        let batches = Int(try reader.readUInt32())
        guard batches <= MessageLimits.preparedClaims else { throw .overLimit(.claims) }
        guard batches * Digest.byteCount <= reader.remaining else { throw .truncated }
        var chosen: [Digest] = []
        chosen.reserveCapacity(batches)
        for _ in 0..<batches {
            chosen.append(try reader.readDigest())
        }
        self.chosen = chosen
        signature = try reader.readSignature()
        try reader.finish()
    }

    private static func body(_ view: View, _ members: [Member], _ start: SequenceNumber, _ chosen: [Digest]) -> [UInt8]
    {
        var bytes: [UInt8] = [type]
        bytes.append(littleEndian: view.rawValue)
        bytes.append(UInt8(members.count))
        for member in members {
            bytes.append(member.replica.rawValue)
            member.digest.append(to: &bytes)
        }
        bytes.append(littleEndian: start.rawValue)
        bytes.append(littleEndian: UInt32(chosen.count))
        for digest in chosen {
            digest.append(to: &bytes)
        }
        return bytes
    }

    private static func signedBytes(body: [UInt8], cluster: ClusterID) -> [UInt8] {
        var bytes = Array("aardvark new-view".utf8)
        cluster.append(to: &bytes)
        Digest.of(body).append(to: &bytes)
        return bytes
    }

    /// What the new primary signs.
    public func signedBytes(cluster: ClusterID) -> [UInt8] {
        Self.signedBytes(body: Self.body(view, members, start, chosen), cluster: cluster)
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes = Self.body(view, members, start, chosen)
        signature.append(to: &bytes)
        return bytes
    }
}
