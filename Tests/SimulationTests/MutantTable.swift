#if DEBUG
    @testable import Agreement

    @testable import Simulation

    // Bugs of the literature that are none in this engine:
    // - B without h < n. The start is the highest stable checkpoint among the members, so h < n holds of each of them.
    // - The lowest view, or any, instead of the highest. A batch that is committed in a view conflicts with all others in the claims of
    //   f + 1 correct replicas, so that A1 leaves none but it; of batches that are not committed any will do.
    // - A second VIEW-CHANGE of one sender counted by the primary. They are kept by sender, so there is only one.
    // - P of the last view only would be one (a batch that committed in a view, and whose next view ends before it prepares there again), but
    //   no seed has led there yet.
    // - Q of the last view only. What a NEW-VIEW chose is pre-prepared again in its view. The mutant below sends no Q.
    extension MutantTests {
        static let mutants: [Mutant] = quorums + normalCase + durability + viewChanges + restarts + execution + clients

        private static let quorums = [
            Mutant(
                mutation: .preparesWithFewer,
                summary: "prepared with 2f - 1 PREPAREs",
                profile: "none",
                steps: 500,
                seed: 1,
                rule: .certificates
            ),
            Mutant(
                mutation: .commitsWithFewer,
                summary: "committed with 2f COMMITs",
                profile: "none",
                steps: 500,
                seed: 1,
                rule: .certificates
            ),
            Mutant(
                mutation: .believesFewer,
                summary: "f replicas are believed that a batch is committed",
                profile: "wrong-votes",
                steps: 500,
                seed: 1,
                rule: .certificates
            ),
            Mutant(
                mutation: .stabilisesWithFewer,
                summary: "a checkpoint is stable with f + 1 signatures",
                profile: "none",
                steps: 500,
                seed: 5,
                rule: .certificates
            ),
            Mutant(
                mutation: .stabilisesAlone,
                summary: "the log is truncated before the checkpoint is stable",
                profile: "none",
                steps: 500,
                seed: 5,
                rule: .certificates
            ),
            Mutant(
                mutation: .beginsViewsWithFewer,
                summary: "a view begins with 2f VIEW-CHANGEs",
                profile: "silent",
                steps: 1_000,
                seed: 1,
                rule: .certificates
            ),
            Mutant(
                mutation: .countsPrimaryTwice,
                summary: "the primary's PREPARE counts beside its PRE-PREPARE",
                profile: "equivocate-2-2",
                steps: 500,
                seed: 1,
                rule: .certificates
            ),
        ]

        private static let normalCase = [
            Mutant(
                mutation: .acceptsSecondProposal,
                summary: "a second PRE-PREPARE is accepted in a view",
                profile: "twin",
                steps: 500,
                seed: 14,
                rule: .noContradiction
            ),
            Mutant(
                mutation: .acceptsProposalOfBackup,
                summary: "a PRE-PREPARE of a backup is accepted",
                profile: "usurper",
                steps: 500,
                seed: 1,
                rule: .certificates
            ),
            Mutant(
                mutation: .acceptsForgedBatch,
                summary: "the verdict on a batch's signatures is ignored",
                profile: "forge-request",
                steps: 500,
                seed: 1,
                rule: .onlyRealRequests
            ),
            Mutant(
                mutation: .acceptsUnvouchedBatch,
                summary: "a batch that fails its MACs needs no other backup's word",
                profile: "forge-request",
                switches: .pbft,
                steps: 500,
                seed: 1,
                rule: .onlyRealRequests
            ),
            Mutant(
                mutation: .trustsKnownNumber,
                summary: "a request counts as checked when another one with its number was",
                profile: "corrupt-request",
                // Where the primary is watched, it is left as soon as one batch of it is refused.
                switches: unwatched,
                steps: 1_000,
                seed: 1,
                rule: .onlyRealRequests
            ),
            Mutant(
                mutation: .countsVotesOfOtherViews,
                summary: "votes of earlier views count",
                profile: "two-faced",
                steps: 8_000,
                seed: 3,
                rule: .certificates
            ),
            Mutant(
                mutation: .ignoresWaterMarks,
                summary: "numbers are accepted beyond the high water mark",
                profile: "none",
                steps: 500,
                seed: 1,
                rule: .bounded
            ),
        ]

        private static var unwatched: ProtocolSwitches {
            var switches = ProtocolSwitches.aardvark
            switches.regularViewChanges = false
            return switches
        }

        private static let durability = [
            Mutant(
                mutation: .proposesTooEarly,
                summary: "PRE-PREPARE leaves before Q is durable",
                profile: "none",
                steps: 500,
                seed: 1,
                rule: .durableFirst
            ),
            Mutant(
                mutation: .preparesTooEarly,
                summary: "PREPARE leaves before Q is durable",
                profile: "none",
                steps: 500,
                seed: 1,
                rule: .durableFirst
            ),
            Mutant(
                mutation: .commitsTooEarly,
                summary: "COMMIT leaves before P is durable",
                profile: "none",
                steps: 500,
                seed: 1,
                rule: .durableFirst
            ),
            Mutant(
                mutation: .readsTooEarly,
                summary: "a read is answered before what it shows is durable",
                profile: "none",
                steps: 500,
                seed: 1,
                rule: .durableFirst
            ),
            Mutant(
                mutation: .repliesTooEarly,
                summary: "a tentative reply leaves before P is durable",
                profile: "none",
                switches: .pbft,
                steps: 500,
                seed: 1,
                rule: .durableFirst
            ),
            Mutant(
                mutation: .saysCommittedTooEarly,
                summary: "COMMITTED leaves before P is durable",
                profile: "partition",
                steps: 2_000,
                seed: 109,
                rule: .certificates
            ),
            Mutant(
                mutation: .leavesTooEarly,
                summary: "VIEW-CHANGE leaves before it is durable",
                profile: "silent",
                steps: 500,
                seed: 1,
                rule: .durableFirst
            ),
            Mutant(
                mutation: .entersTooEarly,
                summary: "NEW-VIEW leaves before it is durable",
                profile: "silent",
                steps: 500,
                seed: 1,
                rule: .durableFirst
            ),
        ]

        private static let viewChanges = [
            Mutant(
                mutation: .votesAfterLeaving,
                summary: "votes are cast in a view that was left",
                profile: "restart-in-view-change",
                steps: 8_000,
                seed: 30,
                rule: .noContradiction
            ),
            Mutant(
                mutation: .leavesPrePreparedOut,
                summary: "Q is not kept",
                profile: "equivocate-2-2",
                steps: 500,
                seed: 2,
                rule: .answered
            ),
            Mutant(
                mutation: .changesItsViewChange,
                summary: "a VIEW-CHANGE that is sent again has a later h",
                profile: "restart-in-view-change",
                steps: 8_000,
                seed: 35,
                rule: .noContradiction
            ),
            Mutant(
                mutation: .acceptsAnyChoice,
                summary: "a NEW-VIEW's choice is not verified",
                profile: "new-view-lie",
                steps: 4_000,
                seed: 1,
                rule: .sameState
            ),
            Mutant(
                mutation: .takesPreparedOfOtherNumbers,
                summary: "P is not filtered by the number",
                profile: "isolate-primary",
                steps: 4_000,
                seed: 1,
                rule: .sameState
            ),
            Mutant(
                mutation: .ignoresConflicts,
                summary: "A1 is ignored",
                profile: "equivocate-and-lie",
                steps: 500,
                seed: 80,
                rule: .sameState
            ),
            Mutant(
                mutation: .nullOtherwise,
                summary: "the null batch is chosen by falling through",
                profile: "equivocate-and-lie",
                steps: 500,
                seed: 37,
                rule: .sameState
            ),
            Mutant(
                mutation: .takesAnyBody,
                summary: "a fetched batch is not compared with its digest",
                profile: "bad-fetch",
                steps: 1_000,
                seed: 1,
                rule: .certificates
            ),
            Mutant(
                mutation: .ignoresVouchers,
                summary: "A2 is ignored",
                profile: "view-change-forgery",
                steps: 4000,
                seed: 1,
                rule: .onlyRealRequests
            ),
            Mutant(
                mutation: .countsClaimsAsMembers,
                summary: "several entries of one member in Q count as several members",
                profile: "view-change-forgery",
                steps: 4000,
                seed: 1,
                rule: .onlyRealRequests
            ),
            Mutant(
                mutation: .countsMembersTwice,
                summary: "a NEW-VIEW may name one VIEW-CHANGE several times",
                profile: "new-view-stuffing",
                steps: 4000,
                seed: 1,
                rule: .certificates
            ),
        ]

        private static let restarts = [
            Mutant(
                mutation: .restartForgetsPrepared,
                summary: "P is lost in a restart",
                profile: "restart-in-view-change",
                steps: 1_000,
                seed: 26,
                rule: .oneHistory
            ),
            Mutant(
                mutation: .restartForgetsPrePrepared,
                summary: "Q is lost in a restart",
                profile: "restart-in-view-change",
                steps: 500,
                seed: 2,
                rule: .noContradiction
            ),
            Mutant(
                mutation: .restartForgetsViewChange,
                summary: "the VIEW-CHANGE is lost in a restart",
                profile: "restart-in-view-change",
                steps: 8_000,
                seed: 1,
                rule: .noContradiction
            ),
            Mutant(
                mutation: .restartForgetsFence,
                summary: "the fence of reads is lost in a restart",
                profile: "unheard",
                steps: 1_000,
                seed: 87,
                rule: .linearizable
            ),
            Mutant(
                mutation: .restartForgetsClients,
                summary: "sessions and replies are lost in a restart",
                profile: "power-loss",
                steps: 1_000,
                seed: 7,
                rule: .oneHistory
            ),
            Mutant(
                mutation: .votesWithoutStore,
                summary: "a replica that lost its store votes at once",
                profile: "twin-and-lost-store",
                replicas: 7,
                steps: 4000,
                seed: 2,
                rule: .noContradiction
            ),
        ]

        private static let execution = [
            Mutant(
                mutation: .executesGaps,
                summary: "a client's order is not enforced",
                profile: "duplicate-order",
                steps: 500,
                seed: 9,
                rule: .exactlyOnce
            ),
            Mutant(
                mutation: .executesAgain,
                summary: "a request is executed as often as it is ordered",
                profile: "duplicate-order",
                steps: 500,
                seed: 1,
                rule: .exactlyOnce
            ),
            Mutant(
                mutation: .ignoresSessions,
                summary: "requests of void sessions are executed",
                profile: "session-churn",
                steps: 500,
                seed: 15,
                rule: .exactlyOnce
            ),
            Mutant(
                mutation: .timeGoesBack,
                summary: "the agreed time goes back",
                profile: "bad-time",
                steps: 500,
                seed: 1,
                rule: .monotone
            ),
            Mutant(
                mutation: .usesOwnTime,
                summary: "a replica's own clock gets into the agreed time",
                profile: "none",
                steps: 500,
                seed: 1,
                rule: .oneHistory
            ),
            Mutant(
                mutation: .keepsTentativeState,
                summary: "a tentative execution outlives its view",
                profile: "two-faced",
                switches: .pbft,
                steps: 12_000,
                seed: 4,
                rule: .oneHistory
            ),
            Mutant(
                mutation: .leavesRepliesOut,
                summary: "the reply cache is not part of the state",
                profile: "unheard",
                steps: 500,
                seed: 10,
                rule: .answered
            ),
            Mutant(
                mutation: .leavesProgressOut,
                summary: "the clients' sessions and numbers are not part of the state",
                profile: "power-loss",
                steps: 500,
                seed: 5,
                rule: .oneHistory
            ),
            Mutant(
                mutation: .checkpointsTooEarly,
                summary: "a checkpoint is taken before its batch is in the tables",
                profile: "power-loss",
                steps: 500,
                seed: 6,
                rule: .oneHistory
            ),
        ]

        private static let clients = [
            Mutant(
                mutation: .readsWithoutFence,
                summary: "a read does not wait for what was prepared",
                profile: "power-loss",
                steps: 2_000,
                seed: 92,
                rule: .linearizable
            ),
            Mutant(
                mutation: .takesOneReply,
                summary: "a client takes one reply",
                profile: "wrong-replies",
                steps: 500,
                seed: 1,
                rule: .rightResults
            ),
            Mutant(
                mutation: .takesFewerTentativeReplies,
                summary: "a client takes f + 1 tentative replies",
                profile: "two-faced",
                switches: .pbft,
                steps: 8_000,
                seed: 22,
                rule: .rightResults
            ),
            Mutant(
                mutation: .readsFromFewer,
                summary: "a client takes f + 1 equal answers to a read",
                profile: "stale-reads",
                steps: 4000,
                seed: 5,
                rule: .linearizable
            ),
        ]
    }
#endif
