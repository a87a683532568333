import Cryptography

/// What replicas say to each other. The channel says which replica speaks; what is signed can be passed on, and is checked.
public enum PeerMessage: Sendable {
    static let stateRequestType: UInt8 = 0x1A
    static let stateAnswerType: UInt8 = 0x1B

    /// The primary proposes a batch.
    case prePrepare(PrePrepare)
    /// The primary proposes a batch whose requests the others have.
    case digestPrePrepare(DigestPrePrepare)
    /// A replica votes for a batch.
    case vote(Vote)
    /// A replica signed a checkpoint.
    case checkpoint(Unverified<Checkpoint>)
    /// A backup hands a client's request to the primary.
    case forward(Forward)
    /// A peer asks for what it missed.
    case catchUp(CatchUp)
    /// A replica leaves its view.
    case viewChange(Unverified<ViewChange>)
    /// The primary of a new view begins it.
    case newView(Unverified<NewView>)
    /// A peer asks for what a digest names.
    case fetch(Fetch)
    /// A batch that was asked for.
    case batch(BatchBody)
    /// Requests of a batch that were asked for.
    case requests(BatchRequests)
    /// A batch is committed, for a replica that asked for what it missed.
    case committed(Committed)
    /// The certificate of a stable checkpoint, for a replica that asked for what it missed.
    case certificate(Unverified<CheckpointCertificate>)
    /// The primary has nothing to propose.
    case idle(Idle)
    /// A round trip is measured.
    case ping(Ping)
    /// A question for parts of a checkpoint's state, as the state store encodes it. The shell's, not the engine's.
    case stateRequest([UInt8])
    /// An answer to such a question.
    case stateAnswer([UInt8])

    /// The kinds of messages that wait in queues of their own, so that none is ever behind one of another kind.
    public enum Stream: Hashable, Sendable {
        /// What agreement needs: ordering, checkpoints, view changes, and the batches and requests that are missing for it.
        case agreement
        /// Forwarded requests.
        case forwards
        /// Catch-up and state transfer.
        case bulk

        /// Where a message with this first byte waits. Bytes that begin no message wait with agreement, where they are refused.
        public init(type: UInt8) {
            switch type {
            case Forward.type, Forward.endorsedType: self = .forwards
            case CatchUp.type, stateRequestType, stateAnswerType: self = .bulk
            default: self = .agreement
            }
        }
    }

    /// Where it waits.
    public var stream: Stream {
        switch self {
        case .forward: .forwards
        case .catchUp, .stateRequest, .stateAnswer: .bulk
        default: .agreement
        }
    }

    /// Reads the message that is the whole of `range`.
    ///
    /// - Throws: ``MalformedMessage`` for bytes that no correct replica sends to another.
    public init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        guard range.lowerBound >= 0, range.upperBound <= source.count, !range.isEmpty else { throw .truncated }
        switch source[range.lowerBound] {
        case PrePrepare.type:
            self = .prePrepare(try PrePrepare(decoding: source, in: range))
        case DigestPrePrepare.type:
            self = .digestPrePrepare(try DigestPrePrepare(decoding: source, in: range))
        case BatchRequests.type:
            self = .requests(try BatchRequests(decoding: source, in: range))
        case Vote.Phase.prepare.rawValue:
            self = .vote(try Vote(.prepare, decoding: source, in: range))
        case Vote.Phase.commit.rawValue:
            self = .vote(try Vote(.commit, decoding: source, in: range))
        case Checkpoint.type:
            self = .checkpoint(Unverified(try Checkpoint(decoding: source, in: range)))
        case Forward.type, Forward.endorsedType:
            self = .forward(try Forward(decoding: source, in: range))
        case CatchUp.type:
            self = .catchUp(try CatchUp(decoding: source, in: range))
        case ViewChange.type:
            self = .viewChange(Unverified(try ViewChange(decoding: source, in: range)))
        case NewView.type:
            self = .newView(Unverified(try NewView(decoding: source, in: range)))
        case Fetch.type:
            self = .fetch(try Fetch(decoding: source, in: range))
        case BatchBody.type:
            self = .batch(try BatchBody(decoding: source, in: range))
        case Committed.type:
            self = .committed(try Committed(decoding: source, in: range))
        case CheckpointCertificate.type:
            self = .certificate(Unverified(try CheckpointCertificate(decoding: source, in: range)))
        case Idle.type:
            self = .idle(try Idle(decoding: source, in: range))
        case Ping.type:
            self = .ping(try Ping(decoding: source, in: range))
        case Self.stateRequestType:
            self = .stateRequest(try Self.body(source, range))
        case Self.stateAnswerType:
            self = .stateAnswer(try Self.body(source, range))
        case let type:
            throw .unknownType(type)
        }
    }

    /// The encoding; the same bytes go to every peer.
    public var encoded: [UInt8] {
        switch self {
        case .prePrepare(let message): message.encoded
        case .digestPrePrepare(let message): message.encoded
        case .requests(let message): message.encoded
        case .vote(let message): message.encoded
        case .checkpoint(let message): message.claim.encoded
        case .forward(let message): message.encoded
        case .catchUp(let message): message.encoded
        case .viewChange(let message): message.claim.encoded
        case .newView(let message): message.claim.encoded
        case .fetch(let message): message.encoded
        case .batch(let message): message.encoded
        case .committed(let message): message.encoded
        case .certificate(let message): message.claim.encoded
        case .idle(let message): message.encoded
        case .ping(let message): message.encoded
        case .stateRequest(let body): [Self.stateRequestType] + body
        case .stateAnswer(let body): [Self.stateAnswerType] + body
        }
    }

    private static func body(_ source: [UInt8], _ range: Range<Int>) throws(MalformedMessage) -> [UInt8] {
        guard range.count - 1 <= MessageLimits.stateBytes else { throw .overLimit(.state) }
        return Array(source[(range.lowerBound + 1)..<range.upperBound])
    }
}
