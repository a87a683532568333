import Cryptography

/// COMMITTED: the sender knows that a batch is committed at a number, in whatever view. COMMITs are MACed for their receivers, so nobody can
/// show them to a replica that missed them; but f + 1 replicas that say this include a correct one. Sent in answer to a CATCH-UP.
public struct Committed: Hashable, Sendable {
    static let type: UInt8 = 0x1F

    /// The place in the order.
    public let sequence: SequenceNumber
    /// The batch; `Digest.zero` for the null batch.
    public let digest: Digest

    /// Says that a batch is committed.
    public init(_ sequence: SequenceNumber, _ digest: Digest) {
        self.sequence = sequence
        self.digest = digest
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        sequence = SequenceNumber(try reader.readUInt64())
        digest = try reader.readDigest()
        try reader.finish()
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = [Self.type]
        bytes.append(littleEndian: sequence.rawValue)
        digest.append(to: &bytes)
        return bytes
    }
}
