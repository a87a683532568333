/// Something that must not happen, and did.
public struct Violation: Hashable, Sendable {
    /// How bad it is.
    public enum Kind: String, Hashable, Sendable {
        /// A promise that holds whatever the network and f faulty replicas do.
        case safety
        /// A promise that holds once the network is well.
        case liveness
    }

    /// The rules that are watched.
    public enum Rule: String, Hashable, Sendable, CaseIterable {
        /// Two correct replicas executed different batches at one number.
        case oneHistory = "one-history"
        /// A request took effect twice, or out of its client's order.
        case exactlyOnce = "exactly-once"
        /// A request took effect that its correct client never made, or that is not well signed.
        case onlyRealRequests = "only-real-requests"
        /// Two correct replicas computed different results or roots from one history.
        case sameState = "same-state"
        /// A client took a result that no correct replica computed.
        case rightResults = "right-results"
        /// The clients' history is not linearizable.
        case linearizable
        /// A view, a water mark or the last executed number went back.
        case monotone
        /// A correct replica said two things of which a correct one says one.
        case noContradiction = "no-contradiction"
        /// A correct replica accused another correct one.
        case rightBlame = "right-blame"
        /// A replica said what it had not yet made durable.
        case durableFirst = "durable-first"
        /// A stable checkpoint, a COMMIT, an execution or a new view without the quorum that it needs.
        case certificates
        /// Something grew beyond its bound.
        case bounded
        /// A message is not what its encoding says.
        case encoding
        /// A correct client was not answered in time after the faults ended.
        case answered
        /// Correct replicas were not level in time after the faults ended.
        case level
    }

    /// How bad it is.
    public let kind: Kind
    /// The rule that was broken.
    public let rule: Rule
    /// One sentence.
    public let sentence: String
    /// When, in virtual nanoseconds.
    public let time: UInt64

    /// Reports a broken promise; the time is put in by whoever takes the report.
    init(_ rule: Rule, _ sentence: String, time: UInt64 = 0) {
        kind = rule == .answered || rule == .level ? .liveness : .safety
        self.rule = rule
        self.sentence = sentence
        self.time = time
    }

    func at(_ time: UInt64) -> Violation { Violation(rule, sentence, time: time) }
}
