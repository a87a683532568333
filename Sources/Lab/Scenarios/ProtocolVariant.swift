import Aardvark

/// A protocol as the lab runs it: one of the two, or one with a measure added or taken away (an ablation).
package enum ProtocolVariant: String, CaseIterable, Sendable {
    /// PBFT.
    case pbft
    /// Aardvark.
    case aardvark
    /// PBFT whose requests are signed.
    case pbftWithSignatures = "pbft-with-signatures"
    /// Aardvark whose requests carry MACs only.
    case aardvarkWithoutSignatures = "aardvark-without-signatures"
    /// Aardvark with one queue for everything that arrives.
    case aardvarkWithoutIsolation = "aardvark-without-isolation"
    /// Aardvark whose primary stays until it is silent.
    case aardvarkWithoutRegularViewChanges = "aardvark-without-regular-view-changes"

    /// Has a cluster run this protocol: the one it is made from, but for the one measure.
    package func set(in plan: inout ClusterFile.Plan) {
        switch self {
        case .pbft, .pbftWithSignatures: plan.protocolName = .pbft
        case .aardvark, .aardvarkWithoutSignatures, .aardvarkWithoutIsolation, .aardvarkWithoutRegularViewChanges:
            plan.protocolName = .aardvark
        }
        switch self {
        case .pbft, .aardvark: break
        case .pbftWithSignatures: plan.signedRequests = .on
        case .aardvarkWithoutSignatures: plan.signedRequests = .off
        case .aardvarkWithoutIsolation: plan.isolatedQueues = .off
        case .aardvarkWithoutRegularViewChanges: plan.regularViewChanges = .off
        }
    }
}
