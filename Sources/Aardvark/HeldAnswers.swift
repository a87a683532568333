import Agreement
import Messages

/// Answers to reads that wait until what they show is durable, bounded in bytes: a disk that hangs must not fill the memory with them.
struct HeldAnswers: Sendable {
    struct Answer: Sendable {
        let reply: ReadReply
        let client: ClientID

        var bytes: Int {
            if case .result(let result) = reply.outcome { 64 + result.count } else { 64 }
        }
    }

    private var held: Held<Answer>
    private var bytes = 0
    private let most: Int

    /// - Parameters:
    ///   - durable: Up to where the log is durable.
    ///   - most: The most bytes that may wait; the last answer may overshoot it.
    init(durable: LogPosition = .start, most: Int) {
        held = Held(durable: durable)
        self.most = most
    }

    /// Whether an answer that rests on this position has to wait.
    func mustHold(until position: LogPosition) -> Bool { position > held.durable }

    /// Keeps an answer that has to wait.
    ///
    /// - Parameters:
    ///   - answer: The answer and to whom it goes.
    ///   - position: On what it rests.
    /// - Returns: false when there is no room for it.
    mutating func hold(_ answer: Answer, until position: LogPosition) -> Bool {
        guard bytes < most else { return false }
        bytes += answer.bytes
        return held.hold(answer, until: position)
    }

    /// The log is durable up to here: the answers that need not wait any more, in their order.
    mutating func release(upTo position: LogPosition) -> [Answer] {
        let released = held.release(upTo: position)
        for answer in released { bytes -= answer.bytes }
        return released
    }
}
