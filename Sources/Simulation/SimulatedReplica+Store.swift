import Adversary
import Agreement
import Messages
import StateStore

/// What a replica's state lies in, and what fetches it.
extension SimulatedReplica {
    /// A store that keeps the stable checkpoint, all that fit between the water marks above it, and one before it.
    static func emptyStore(_ limits: Limits) -> InMemoryStateStore {
        InMemoryStateStore(checkpointsKept: limits.logWindow / limits.checkpointInterval + 2)
    }

    static func transfer(
        of replica: ReplicaID,
        into store: InMemoryStateStore,
        in scenario: Scenario
    ) -> StateTransfer {
        let peers = scenario.keys.size.members.filter { $0 != replica }.map(\.index)
        return StateTransfer(store: store, peers: peers, limits: scenario.options.transferLimits)
    }
}
