import Adversary
import Agreement
import Messages
import Testing

@testable import Simulation

/// Replicas whose work takes time: throughput follows from what the work costs.
struct ThroughputTests {
    private static func trial(_ switches: ProtocolSwitches, isolatedQueues: Bool) -> ThroughputTrial {
        var trial = ThroughputTrial(switches: switches, processor: ProcessorModel(isolatedQueues: isolatedQueues))
        trial.steps = 20_000
        return trial
    }

    @Test func `a trial gives the same run again, another seed another`() throws {
        let keys = try Runs.keys(clients: 6)
        let profile = try #require(Profiles.named("flood"))
        var trial = Self.trial(.aardvark, isolatedQueues: true)
        trial.steps = 11_000
        trial.processor.costs = CostModel().onProcessorShare(percent: 5)
        let first = trial.run(profile, keys: keys, withFaults: true)
        #expect(first == trial.run(profile, keys: keys, withFaults: true))
        #expect(first.violation == nil)
        trial.seed = 2
        #expect(first.digest != trial.run(profile, keys: keys, withFaults: true).digest)
    }
}
