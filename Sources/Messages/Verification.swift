/// A message whose signature or MAC was not checked: what it says is a claim.
///
/// The claim may be read to route the message and to do the cheap checks that come before cryptography.
public struct Unverified<Message: Sendable>: Sendable {
    /// What the message says of itself.
    public let claim: Message

    /// Wraps what came from the wire.
    public init(_ claim: Message) {
        self.claim = claim
    }
}

/// A message whose signature or MAC was checked. Only a verifier makes one.
public struct Verified<Message: Sendable>: Sendable {
    /// The message.
    public let value: Message

    /// Vouches for a message; for verifiers only.
    package init(vouchingFor value: Message) {
        self.value = value
    }
}
