import Agreement
import Messages

extension SimulatedReplica {
    /// What a shell works at beside the engine.
    enum Work {
        case request(RequestCheck, RequestSource)
        case batch(BatchPlace, [RequestCheck])
        case checkpoint(Unverified<Checkpoint>)
        case certificate(Unverified<CheckpointCertificate>)
        case viewChange(Unverified<ViewChange>, ReplicaID)
        case newView(Unverified<NewView>, ReplicaID)
        case execution(Execution)
    }
}
