import Messages

/// A bug that a test can plant in the engine, one at a time, to show that the simulator finds it. Each breaks one rule, where the rule is.
///
/// The names say what the mutated engine does.
enum Mutation: Sendable, CaseIterable {
    // Quorums.
    case preparesWithFewer, commitsWithFewer, believesFewer, stabilisesWithFewer, stabilisesAlone, beginsViewsWithFewer
    case countsPrimaryTwice
    // The normal case.
    case acceptsSecondProposal, acceptsProposalOfBackup, acceptsForgedBatch, acceptsUnvouchedBatch, trustsKnownNumber
    case countsVotesOfOtherViews, ignoresWaterMarks
    // Durable before it is said.
    case proposesTooEarly, preparesTooEarly, commitsTooEarly, leavesTooEarly, entersTooEarly, repliesTooEarly
    case saysCommittedTooEarly, readsTooEarly
    // View changes.
    case votesAfterLeaving, leavesPrePreparedOut, changesItsViewChange
    case acceptsAnyChoice, takesPreparedOfOtherNumbers
    case ignoresVouchers, countsClaimsAsMembers, countsMembersTwice
    case ignoresConflicts, nullOtherwise, takesAnyBody
    // Restarts.
    case restartForgetsPrepared, restartForgetsPrePrepared, restartForgetsViewChange, restartForgetsFence
    case restartForgetsClients, votesWithoutStore
    // Execution and the replicated tables.
    case executesGaps, executesAgain, ignoresSessions, timeGoesBack, usesOwnTime, keepsTentativeState
    case leavesRepliesOut, leavesProgressOut, checkpointsTooEarly
    // Reads and clients.
    case readsWithoutFence, readsFromFewer, takesOneReply, takesFewerTentativeReplies
}

/// The bug that is planted, if any. Only tests can plant one (`@testable import`), and only in debug builds: in release builds there is no
/// room for it, and every question for one is a constant.
struct Mutations: Sendable {
    #if DEBUG
        /// The bug; nil in every engine but those that tests make.
        var planted: Mutation?
    #endif

    /// Whether this bug is planted.
    @inline(__always)
    func contains(_ mutation: Mutation) -> Bool {
        #if DEBUG
            planted == mutation
        #else
            false
        #endif
    }

    /// 2f + 1; one less where this bug is planted.
    @inline(__always)
    func quorum(of size: ClusterSize, unless mutation: Mutation) -> Int {
        contains(mutation) ? size.quorum - 1 : size.quorum
    }
}

extension Replica {
    /// Whether this bug is planted.
    @inline(__always)
    func isMutated(_ mutation: Mutation) -> Bool { configuration.mutations.contains(mutation) }

    /// 2f + 1; one less where this bug is planted.
    @inline(__always)
    func quorum(unless mutation: Mutation) -> Int {
        configuration.mutations.quorum(of: configuration.size, unless: mutation)
    }

    /// What a message rests on; nothing where this bug is planted.
    @inline(__always)
    func foundation(_ position: LogPosition, unless mutation: Mutation) -> LogPosition {
        isMutated(mutation) ? .start : position
    }
}
