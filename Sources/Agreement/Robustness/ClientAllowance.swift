import Messages

/// How much a client may send that no answer comes to, so that one that floods is not read at the others' cost (Aardvark section 5.1 has
/// the blacklist for wrong signatures; this bounds what costs no signature as well).
///
/// Every message of a client takes from its allowance, which grows with time; every answer to it gives back what several messages take. A
/// correct client gets an answer to each request from each replica, and sends a request again a few times at the most before that, so
/// it never comes near the end; one whose messages are of no use does, whatever is wrong with them.
package struct ClientAllowance: Hashable, Sendable {
    /// What an answer gives back, in messages.
    private static let messagesOfAnswer: UInt64 = 4

    /// What one message takes, in nanoseconds until the allowance is whole again.
    private let price: UInt64
    private let whole: UInt64
    /// When the allowance will be whole again.
    private var wholeAt = Instant(nanoseconds: 0)

    /// Makes an allowance that is whole.
    package init(_ limits: RobustnessLimits.Scheduling) {
        price = 1_000_000_000 / limits.unansweredPerSecond + 1
        whole = limits.unansweredMessages * price
    }

    /// The client has sent messages.
    package mutating func sent(_ messages: Int, now: Instant) {
        // Twice the allowance at most is remembered: who floods no more is not punished for ever.
        let taken = UInt64(clamping: messages).multipliedReportingOverflow(by: price)
        let spent = wholeAt.nanoseconds(since: now).addingReportingOverflow(
            taken.overflow ? 2 * whole : taken.partialValue
        )
        wholeAt = now.advanced(byNanoseconds: spent.overflow ? 2 * whole : min(spent.partialValue, 2 * whole))
    }

    /// The client was sent an answer.
    package mutating func answered() {
        wholeAt = wholeAt.before(nanoseconds: Self.messagesOfAnswer * price)
    }

    /// Whether the client has sent more than it may.
    package func isOverdrawn(now: Instant) -> Bool { wholeAt.nanoseconds(since: now) > whole }

    /// Whether there is nothing to remember.
    package func isWhole(now: Instant) -> Bool { wholeAt <= now }
}
