import Messages
import StateStore

/// A deterministic service that the cluster replicates.
///
/// A service holds no data of its own: everything it knows is in the state that it is handed. Checkpoints, the Merkle root,
/// durability, state transfer and rollback come with that state. Every replica executes the same operations in the same order, so an
/// operation may depend on nothing but its own bytes, the client, the agreed time and the state: no clock, no random number, no
/// global, and no iteration over a `Set` or `Dictionary` whose order could reach the state or the reply.
public protocol ReplicatedService: Sendable {
    /// Executes one ordered operation and returns its result.
    ///
    /// Whatever bytes a client sends arrive here; an operation that the service cannot understand gets a result that says so.
    ///
    /// - Parameters:
    ///   - operation: The operation, as the client wrote it.
    ///   - context: The client, the agreed time and the state to read and change.
    /// - Returns: The result for the client, at most `MessageLimits.resultBytes` long.
    func execute(_ operation: [UInt8], in context: inout ExecutionContext) -> [UInt8]

    /// Answers a read-only operation from the state, without ordering it.
    ///
    /// - Parameters:
    ///   - operation: The operation, as the client wrote it.
    ///   - state: The state, which cannot be changed here.
    /// - Returns: The result for the client, or nil when the operation is not read-only.
    func query(_ operation: [UInt8], in state: borrowing StateView) -> [UInt8]?
}

/// What an operation may depend on, and the state it may change.
public struct ExecutionContext: ~Copyable {
    /// The client whose operation this is; its signature or MAC was checked.
    public let client: ClientID

    /// The time the replicas agreed on for this batch; never goes back.
    public let time: Timestamp

    /// The service's own part of the authenticated state.
    public var state: ServiceState

    /// Hands `state` to an operation of `client` at `time`.
    public init(client: ClientID, time: Timestamp, state: consuming ServiceState) {
        self.client = client
        self.time = time
        self.state = state
    }
}
