import Agreement
import ArgumentParser
import Foundation
import Messages
import Simulation
import Synchronization

extension SimulateCommand {
    /// What of this command's options makes no sense for a comparison of throughputs.
    func validateThroughput() throws {
        guard throughput else {
            if without != nil { throw ValidationError("--without goes with --throughput") }
            return
        }
        if seeds.range.count != 1, seeds.description != SeedRange(1...100).description {
            throw ValidationError("--throughput takes one seed")
        }
        if !(1...100).contains(processorShare) {
            throw ValidationError("--processor-share is \(processorShare), but has to be 1 to 100")
        }
        if trace || shrink || faults != nil || seconds != nil {
            throw ValidationError("--throughput goes with none of --trace, --shrink, --faults and --seconds")
        }
        if let steps, steps < Self.leastThroughputSteps {
            throw ValidationError(
                "--steps is \(steps), but with --throughput has to be \(Self.leastThroughputSteps) or more"
            )
        }
    }

    /// Two seconds.
    private static let leastThroughputSteps = 20_000

    /// Compares what correct clients get with and without each profile.
    func compareThroughputs() throws {
        let comparison = makeComparison()
        let line = Mutex(LiveLine())
        let count = comparison.profiles.count
        let isTerminal = Console.errorIsTerminal
        let lines = comparison.run { done in
            if isTerminal { line.withLock { $0.show("\(done) of \(count) profiles") } }
        }
        line.withLock { $0.clear() }
        let report = ThroughputReport(
            protocolName: protocolName.rawValue,
            without: (without?.defences ?? []).map(\.rawValue),
            replicas: comparison.keys.size.replicas,
            clients: comparison.keys.clients.count,
            window: comparison.trial.window,
            seed: comparison.trial.seed,
            processorPercent: processorShare,
            virtualSeconds: Double(comparison.trial.steps) * Double(Scenario.stepNanoseconds) / 1e9,
            floorPercent: comparison.isJudged ? ThroughputComparison.floorPercent : nil,
            lines: lines
        )
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            report.print()
        }
        if let code = report.exitCode { throw ExitCode(code) }
    }

    private func makeComparison() -> ThroughputComparison {
        var trial = ThroughputTrial(
            switches: protocolName.switches,
            processor: ProcessorModel(
                costs: CostModel().onProcessorShare(percent: processorShare),
                isolatedQueues: protocolName == .aardvark
            )
        )
        trial.seed = seeds.range.lowerBound
        if let steps { trial.steps = steps }
        for defence in without?.defences ?? [] { defence.remove(from: &trial) }
        var keys = KeyCabinet(scheme: trial.switches.requestAuthentication)
        let ring = keys.keys(replicas: replicas ?? 4, clients: clients ?? ThroughputComparison.clients)
        let isAll = profiles.description == ProfileList.all.description
        return ThroughputComparison(
            trial: trial,
            profiles: isAll
                ? ThroughputComparison.standardProfiles.filter { trial.isClaimed($0, keys: ring) } : profiles.profiles,
            keys: ring,
            jobs: jobs ?? ProcessInfo.processInfo.activeProcessorCount,
            isJudged: protocolName == .aardvark && without == nil
        )
    }
}
