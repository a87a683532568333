import Cryptography

/// What replicas say to each other. The channel says which replica speaks; only a checkpoint's signature needs a check beyond that.
public enum PeerMessage: Sendable {
    static let forwardType: UInt8 = 0x14

    /// The primary proposes a batch.
    case prePrepare(PrePrepare)
    /// A replica votes for a batch.
    case vote(Vote)
    /// A replica signed a checkpoint.
    case checkpoint(Unverified<Checkpoint>)
    /// A backup hands a client's request to the primary.
    case forward(Unverified<Request>)
    /// A peer asks for what it missed.
    case catchUp(CatchUp)

    /// Reads the message that is the whole of `range`.
    ///
    /// - Throws: ``MalformedMessage`` for bytes that no correct replica sends to another.
    public init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        guard range.lowerBound >= 0, range.upperBound <= source.count, !range.isEmpty else { throw .truncated }
        switch source[range.lowerBound] {
        case PrePrepare.type:
            self = .prePrepare(try PrePrepare(decoding: source, in: range))
        case Vote.Phase.prepare.rawValue:
            self = .vote(try Vote(.prepare, decoding: source, in: range))
        case Vote.Phase.commit.rawValue:
            self = .vote(try Vote(.commit, decoding: source, in: range))
        case Checkpoint.type:
            self = .checkpoint(Unverified(try Checkpoint(decoding: source, in: range)))
        case Self.forwardType:
            self = .forward(Unverified(try Request(decoding: source, in: (range.lowerBound + 1)..<range.upperBound)))
        case CatchUp.type:
            self = .catchUp(try CatchUp(decoding: source, in: range))
        case let type:
            throw .unknownType(type)
        }
    }

    /// The encoding; the same bytes go to every peer.
    public var encoded: [UInt8] {
        switch self {
        case .prePrepare(let message): message.encoded
        case .vote(let message): message.encoded
        case .checkpoint(let message): message.claim.encoded
        case .forward(let request): [Self.forwardType] + request.claim.bytes
        case .catchUp(let message): message.encoded
        }
    }
}
