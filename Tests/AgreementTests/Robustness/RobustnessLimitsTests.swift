import Testing

@testable import Agreement

/// Thresholds that do not fit each other are refused.
struct RobustnessLimitsTests {
    @Test func `the default thresholds fit each other`() {
        #expect(RobustnessLimits().problem == nil)
    }

    @Test func `every threshold that can be wrong is checked`() {
        let changes: [(inout RobustnessLimits) -> Void] = [
            { $0.scheduling.agreementPercent = 76 },
            { ($0.scheduling.bulkPercent, $0.scheduling.requestPercent) = (0, 25) },
            { $0.scheduling.cutPercent = 0 },
            { $0.scheduling.roundNanoseconds = 1_000 },
            { $0.scheduling.clientTurnNanoseconds = 0 },
            { $0.scheduling.messageNanoseconds = 0 },
            { $0.scheduling.mostDebtNanoseconds = .max },
            { $0.scheduling.clientMessages = 0 },
            { $0.scheduling.bulkBytes = -1 },
            { $0.flooding.offenceBudget = 0 },
            { $0.flooding.offencesPerSecond = 2_000_000_000 },
            { $0.flooding.comparedOffences = 0 },
            { $0.flooding.worstFactor = 1 },
            { $0.flooding.comparisonNanoseconds = 0 },
            { $0.flooding.shortestCutNanoseconds = 700_000_000_000 },
            { $0.flooding.longestCutNanoseconds = .max },
            { $0.resending.shortestSlotNanoseconds = 0 },
            { $0.resending.longestSlotNanoseconds = 1 },
            { $0.monitoring.heartbeatNanoseconds = 0 },
            { $0.monitoring.pauseNanoseconds = 600_000_000 },
            { $0.monitoring.pauseIntervalNanoseconds = .max },
            { $0.monitoring.progressHeartbeats = 0 },
            { $0.monitoring.idleHeartbeats = 1 },
            { $0.monitoring.forwardNanoseconds = .max },
            { $0.monitoring.mostDoublings = 64 },
            { $0.monitoring.batchesPerHalving = 0 },
            { $0.monitoring.graceNanoseconds = 0 },
            { $0.monitoring.mostGraceFactor = 0 },
            { $0.monitoring.viewGracePeriods = 1 },
            { $0.monitoring.measuringNanoseconds = 0 },
            { $0.monitoring.idleNanoseconds = 0 },
            { $0.monitoring.requirementPercent = 101 },
            { $0.monitoring.raisePercent = 0 },
            { $0.monitoring.requestWork = 0 },
            { $0.monitoring.operationWork = .max },
        ]
        for (index, change) in changes.enumerated() {
            var limits = RobustnessLimits()
            change(&limits)
            #expect(limits.problem != nil, "change \(index) is not noticed")
        }
    }
}
