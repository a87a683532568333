import Cryptography
import NIOCore

/// Bounds how often each identity may have the costly part of a handshake: one that connects again and again would
/// otherwise take the processor from the others. A token bucket for each identity, kept as the time at which the bucket
/// is full again.
struct HandshakeBudget {
    /// How many handshakes an identity may have at once after a rest.
    static let burst: Int64 = 20

    /// How long a rest pays for one more handshake.
    static let interval = TimeAmount.milliseconds(100)

    // Bounded by the number of identities whose keys are known: only their handshakes are answered.
    private var fullAt: [Identity: NIODeadline] = [:]

    /// Whether this identity may have another handshake at `now`.
    func allows(_ identity: Identity, at now: NIODeadline) -> Bool {
        guard let time = fullAt[identity] else { return true }
        return time + Self.interval <= now + TimeAmount.nanoseconds(Self.interval.nanoseconds * Self.burst)
    }

    /// Counts a handshake.
    mutating func charge(_ identity: Identity, at now: NIODeadline) {
        fullAt[identity] = max(fullAt[identity] ?? now, now) + Self.interval
    }
}
