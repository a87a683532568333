import Cryptography
import Messages

/// The one encoding of a log record, on disk and in recordings.
///
/// A kind (u8), then: 1: a PRE-PREPARE as on the wire. 2: the view and number (u64 each) of a pre-prepared null batch. 3: view,
/// number (u64 each) and digest of a prepared batch. 4: a VIEW-CHANGE as on the wire. 5: a NEW-VIEW as on the wire with its length
/// (u32) before it, and the same for each of its members, up to the end. 6: the stable sequence number (u64), and the CHECKPOINTs
/// of its certificate, each with its length, up to the end. 7: a u8 that is 1 if the replica votes for nothing from here on, and 0 if
/// it votes again.
extension LogRecord {
    /// The most bytes a record has: the largest of all is a NEW-VIEW with one VIEW-CHANGE of each replica.
    public static let mostBytes = 256 << 20

    private enum Kind {
        static let prePrepared: UInt8 = 1
        static let prePreparedNull: UInt8 = 2
        static let prepared: UInt8 = 3
        static let viewChange: UInt8 = 4
        static let newView: UInt8 = 5
        static let stable: UInt8 = 6
        static let learning: UInt8 = 7
    }

    /// The sequence number that the record is about, up to which a stable checkpoint makes it needless; nil for one about views.
    public var sequence: SequenceNumber? {
        switch self {
        case .prePrepared(let prePrepare): prePrepare.sequence
        case .prepared(_, let sequence, _): sequence
        case .stable(let sequence, certificate: _): sequence
        case .viewChange, .newView, .learning: nil
        }
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        switch self {
        case .prePrepared(let prePrepare) where prePrepare.batch.requests.isEmpty:
            bytes.append(Kind.prePreparedNull)
            bytes.append(littleEndian: prePrepare.view.rawValue)
            bytes.append(littleEndian: prePrepare.sequence.rawValue)
        case .prePrepared(let prePrepare):
            bytes.reserveCapacity(32 + prePrepare.batch.encodedByteCount)
            bytes.append(Kind.prePrepared)
            bytes.append(contentsOf: prePrepare.encoded)
        case .prepared(let view, let sequence, let digest):
            bytes.append(Kind.prepared)
            bytes.append(littleEndian: view.rawValue)
            bytes.append(littleEndian: sequence.rawValue)
            digest.append(to: &bytes)
        case .viewChange(let own):
            bytes.append(Kind.viewChange)
            bytes.append(contentsOf: own.encoded)
        case .newView(let newView, let members):
            bytes.append(Kind.newView)
            bytes.append(lengthPrefixed: newView.encoded)
            for member in members {
                bytes.append(lengthPrefixed: member.encoded)
            }
        case .stable(let sequence, let certificate):
            bytes.append(Kind.stable)
            bytes.append(littleEndian: sequence.rawValue)
            for checkpoint in certificate {
                bytes.append(lengthPrefixed: checkpoint.encoded)
            }
        case .learning(let isLearning):
            bytes.append(Kind.learning)
            bytes.append(isLearning ? 1 : 0)
        }
        return bytes
    }

    /// Reads a record that is all of `bytes`.
    ///
    /// What it holds is believed, signatures included: the bytes come from this replica's own disk, whose checks found no damage.
    ///
    /// - Throws: `MalformedMessage` when the bytes are not the encoding of a record.
    public init(decoding bytes: [UInt8]) throws(MalformedMessage) {
        guard bytes.count <= Self.mostBytes else { throw .overLimit(.state) }
        var reader = ByteReader(bytes)
        switch try reader.readUInt8() {
        case Kind.prePrepared:
            guard case .prePrepare(let prePrepare) = try PeerMessage(decoding: bytes, in: 1..<bytes.count) else {
                throw .badField(.kind)
            }
            self = .prePrepared(prePrepare)
            return
        case Kind.prePreparedNull:
            let view = View(try reader.readUInt64())
            let sequence = SequenceNumber(try reader.readUInt64())
            self = .prePrepared(PrePrepare(view: view, sequence: sequence, batch: .null))
        case Kind.prepared:
            let view = View(try reader.readUInt64())
            let sequence = SequenceNumber(try reader.readUInt64())
            self = .prepared(view, sequence, try reader.readDigest())
        case Kind.viewChange:
            self = .viewChange(try Self.viewChange(bytes, 1..<bytes.count))
            return
        case Kind.newView:
            let part = try reader.readRange(limit: Self.mostBytes, .claims)
            guard case .newView(let newView) = try PeerMessage(decoding: bytes, in: part) else {
                throw .badField(.kind)
            }
            var members: [ViewChange] = []
            while reader.remaining > 0 {
                members.append(try Self.viewChange(bytes, try reader.readRange(limit: Self.mostBytes, .claims)))
            }
            self = .newView(newView.claim, members: members)
        case Kind.stable:
            let sequence = SequenceNumber(try reader.readUInt64())
            var certificate: [Checkpoint] = []
            while reader.remaining > 0 {
                let part = try reader.readRange(limit: Self.mostBytes, .certificate)
                guard case .checkpoint(let checkpoint) = try PeerMessage(decoding: bytes, in: part) else {
                    throw .badField(.kind)
                }
                certificate.append(checkpoint.claim)
            }
            self = .stable(sequence, certificate: certificate)
        case Kind.learning:
            self = .learning(try reader.readFlag())
        default:
            throw .badField(.kind)
        }
        try reader.finish()
    }

    private static func viewChange(_ bytes: [UInt8], _ range: Range<Int>) throws(MalformedMessage) -> ViewChange {
        guard case .viewChange(let viewChange) = try PeerMessage(decoding: bytes, in: range) else {
            throw .badField(.kind)
        }
        return viewChange.claim
    }
}
