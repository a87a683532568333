import Messages

/// What may still be sent in answer to questions. Answers are longer than questions, so that a peer that asks all the time would otherwise
/// fill its link and this replica's memory.
struct AnswerAllowance: Sendable {
    private var sent = 0
    private var renewal = Instant(nanoseconds: 0)

    /// Takes from what is left.
    ///
    /// - Returns: false when the answer does not fit any more; the first one always does.
    mutating func take(_ bytes: Int, now: Instant, limits: Limits) -> Bool {
        if renewal <= now {
            sent = 0
            renewal = now.advanced(byNanoseconds: limits.catchUpNanoseconds)
        }
        guard sent == 0 || sent + bytes <= limits.answerBytes else { return false }
        sent += bytes
        return true
    }
}

extension PeerMessage {
    /// About how many bytes the message takes, here and on the wire; never less than what a peer decided about it.
    var byteCount: Int {
        switch self {
        case .prePrepare(let message): 64 + message.batch.encodedByteCount
        case .digestPrePrepare(let message): 64 + message.encodedByteCount
        case .requests(let message): message.requests.reduce(64) { $0 + $1.bytes.count }
        case .batch(let message): 64 + message.batch.encodedByteCount
        case .forward(let message): 192 + message.request.claim.bytes.count
        case .viewChange(let message): message.claim.byteCount
        case .newView(let message): message.claim.byteCount
        case .certificate(let message): 64 + 128 * message.claim.checkpoints.count
        case .stateRequest(let body), .stateAnswer(let body): 64 + body.count
        case .fetch(let message):
            if case .requests(_, _, let places) = message.subject { 64 + 2 * places.count } else { 64 }
        case .vote, .checkpoint, .catchUp, .committed, .idle, .ping: 128
        }
    }
}

extension ViewChange {
    /// About how many bytes it takes.
    var byteCount: Int { 128 + 128 * certificate.count + 48 * (prepared.count + prePrepared.count) }
}

extension NewView {
    /// About how many bytes it takes.
    var byteCount: Int { 128 + 48 * members.count + 32 * chosen.count }
}
