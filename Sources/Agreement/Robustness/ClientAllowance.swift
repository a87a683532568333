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

    private var messages: Budget

    /// Makes an allowance that is whole.
    package init(_ limits: RobustnessLimits.Scheduling) {
        messages = Budget(units: limits.unansweredMessages, perSecond: limits.unansweredPerSecond)
    }

    /// The client has sent messages.
    package mutating func sent(_ count: Int, now: Instant) {
        messages.spend(UInt64(clamping: count), now: now)
    }

    /// The client was sent an answer.
    package mutating func answered() {
        messages.giveBack(Self.messagesOfAnswer)
    }

    /// Whether the client has sent more than it may.
    package func isOverdrawn(now: Instant) -> Bool { messages.isOverdrawn(now: now) }

    /// Whether there is nothing to remember.
    package func isWhole(now: Instant) -> Bool { messages.spent(now: now) == 0 }
}
