import Agreement

extension ClusterFile {
    /// The switches that make the protocol of this file out of the engine.
    var switches: ProtocolSwitches {
        var switches = protocolName.switches
        switches.dissemination =
            switch dissemination {
            case .primary: .primary
            case .all: .all
            }
        switches.regularViewChanges = regularViewChanges == .on
        switches.requestAuthentication =
            switch signedRequests {
            case .on: .signature
            case .off: .macVector
            }
        return switches
    }
}

extension ClusterFile.ProtocolName {
    var switches: ProtocolSwitches {
        switch self {
        case .pbft: .pbft
        case .aardvark: .aardvark
        }
    }

    /// Whether the protocol watches its primaries unless the cluster file says otherwise.
    var regularViewChanges: ClusterFile.Switch { switches.regularViewChanges ? .on : .off }

    /// Whether the protocol's clients sign their requests unless the cluster file says otherwise.
    var signedRequests: ClusterFile.Switch { switches.requestAuthentication == .signature ? .on : .off }
}

extension ClusterFile.Tuning {
    /// The engine's bounds as this file sets them.
    package var limits: Limits {
        var limits = Limits()
        limits.batchBytes = batchBytes
        limits.batchRequests = batchRequests
        limits.pipelineDepth = pipelineDepth
        limits.checkpointInterval = checkpointInterval
        limits.logWindow = window
        limits.pastBatches = pastBatches
        limits.clientWindow = clientWindow
        limits.viewChangeNanoseconds = UInt64(requestTimeoutMilliseconds) * 1_000_000
        return limits
    }
}
