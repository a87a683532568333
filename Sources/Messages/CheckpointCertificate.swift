import Cryptography

/// CERTIFICATE: the words of 2f + 1 replicas for one root at one number, which make that checkpoint stable (PBFT section 4.3). Sent in
/// answer to a CATCH-UP, as one unit: whatever else its signers said, to whomever, it proves what it says.
public struct CheckpointCertificate: Hashable, Sendable {
    static let type: UInt8 = 0x1E

    /// The signed words; at least one.
    public let checkpoints: [Checkpoint]

    /// Collects signed words.
    ///
    /// - Parameter checkpoints: 2f + 1 CHECKPOINTs of different replicas for one root at one number.
    /// - Returns: nil when there are none, as for the initial state.
    public init?(_ checkpoints: [Checkpoint]) {
        guard !checkpoints.isEmpty else { return nil }
        self.checkpoints = checkpoints
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        checkpoints = try Self.readList(&reader, of: source)
        guard !checkpoints.isEmpty else { throw .badField(.certificate) }
        try reader.finish()
    }

    /// The number that the first of them is for.
    public var sequence: SequenceNumber { checkpoints[0].sequence }

    /// The root that the first of them names.
    public var root: Digest { checkpoints[0].root }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = [Self.type]
        Self.append(checkpoints, to: &bytes)
        return bytes
    }

    static func append(_ checkpoints: [Checkpoint], to bytes: inout [UInt8]) {
        bytes.append(UInt8(checkpoints.count))
        for checkpoint in checkpoints {
            bytes.append(lengthPrefixed: checkpoint.encoded)
        }
    }

    static func readList(_ reader: inout ByteReader, of source: [UInt8]) throws(MalformedMessage) -> [Checkpoint] {
        let count = Int(try reader.readUInt8())
        guard count <= 3 * ClusterSize.mostFaults + 1 else { throw .overLimit(.certificate) }
        var checkpoints: [Checkpoint] = []
        for _ in 0..<count {
            let part = try reader.readRange(limit: Checkpoint.byteCount, .certificate)
            checkpoints.append(try Checkpoint(decodingElement: source, in: part))
        }
        return checkpoints
    }

    /// Whether it has the form of a certificate: one root at one number, named by 2f + 1 different replicas of the cluster.
    package func isComplete(size: ClusterSize) -> Bool {
        let signers = Set(checkpoints.map(\.replica))
        return checkpoints.count >= size.quorum && signers.count == checkpoints.count
            && signers.allSatisfy(size.contains)
            && checkpoints.allSatisfy { $0.sequence == sequence && $0.root == root }
    }
}
