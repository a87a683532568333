import Adversary
import Agreement
import Messages
import Testing

@testable import Simulation

/// Replicas whose work takes time: throughput follows from what the work costs.
///
/// Replicas have a twentieth of a processor, so that a virtual second is a few hundred operations. What judges a primary is quicker than in
/// reality, so that a run of seconds has several views; see ``WatchedPrimaryTests``.
struct ThroughputTests {
    private static let millisecond: UInt64 = 1_000_000

    private static func trial(_ switches: ProtocolSwitches = .aardvark, steps: Int = 20_000) -> ThroughputTrial {
        var trial = ThroughputTrial(
            switches: switches,
            processor: ProcessorModel(costs: CostModel().onProcessorShare(percent: 5), isolatedQueues: true)
        )
        trial.steps = steps
        trial.window = 8
        trial.processor.limits.flooding.offenceBudget = 30
        trial.processor.limits.flooding.shortestCutNanoseconds = 10_000 * millisecond
        trial.adjust = { limits in
            limits.monitoring.graceNanoseconds = 200 * millisecond
            limits.monitoring.measuringNanoseconds = 100 * millisecond
            limits.monitoring.earlyNanoseconds = 50 * millisecond
        }
        return trial
    }

    @Test func `a trial gives the same run again, another seed another`() throws {
        let keys = try Runs.keys(clients: 6)
        let profile = try #require(Profiles.named("flood"))
        var trial = Self.trial(steps: 11_000)
        let first = trial.run(profile, keys: keys, withFaults: true)
        #expect(first == trial.run(profile, keys: keys, withFaults: true))
        #expect(first.violation == nil)
        trial.seed = 2
        #expect(first.digest != trial.run(profile, keys: keys, withFaults: true).digest)
    }

    @Test func `throughput is what the dearest work allows`() throws {
        let keys = try Runs.keys(clients: 6)
        let none = try #require(Profiles.named("none"))
        for share in [3, 5] as [UInt64] {
            var trial = Self.trial()
            trial.processor.costs = CostModel().onProcessorShare(percent: share)
            let measured = trial.run(none, keys: keys, withFaults: false)
            let most = 1e9 / Double(trial.processor.costs.signatureCheck)
            #expect((0.35 * most...most).contains(measured.operationsPerSecond), "\(share) %: \(measured)")
            // It is not more than what the checks that were made take.
            let checked = measured.usage.map { Double($0.checkNanoseconds) / Double($0.busyNanoseconds) }
            #expect(checked.allSatisfy { $0 > 0.35 }, "\(checked)")
        }
        // A MAC costs next to nothing beside a signature.
        let signed = Self.trial().run(none, keys: keys, withFaults: false)
        let pbftKeys = try Runs.keys(clients: 6, .pbft)
        let authenticated = Self.trial(.pbft, steps: 20_000).run(none, keys: pbftKeys, withFaults: false)
        #expect(authenticated.operationsPerSecond > 1.5 * signed.operationsPerSecond)
    }
}
