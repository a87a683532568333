import Adversary
import Agreement
import Messages
import Testing

@testable import Simulation

/// What the watch over the primary is worth: how many operations correct clients get done in a virtual time under a primary of a profile,
/// with regular view changes and without (Aardvark section 5.3 and table 2).
///
/// Times are a tenth of the real ones, so that some tens of views pass in a run: heartbeats of 4 ms, and a delay of 10 ms for the paper's
/// 100 ms; what throughput is judged by a fiftieth: grace periods of 0.1 s, intervals of 40 ms. So a slow primary is replaced sooner
/// beside the heartbeat than in real time, and the shares are no measurement. Messages take 1 ms.
struct WatchedPrimaryTests {
    private static let millisecond: UInt64 = 1_000_000

    private static var monitoring: RobustnessLimits.Monitoring {
        var thresholds = RobustnessLimits.Monitoring()
        thresholds.heartbeatNanoseconds /= 10
        thresholds.pauseNanoseconds /= 10
        thresholds.pauseIntervalNanoseconds /= 10
        thresholds.forwardNanoseconds /= 10
        thresholds.pingNanoseconds /= 10
        thresholds.graceNanoseconds /= 50
        thresholds.measuringNanoseconds /= 50
        thresholds.earlyNanoseconds /= 50
        thresholds.idleNanoseconds /= 10
        return thresholds
    }

    /// A run of 1.5 virtual seconds.
    private static func scenario(
        _ faults: [any ReplicaBehaviour],
        isWatched: Bool
    ) throws -> Scenario {
        var switches = ProtocolSwitches.aardvark
        switches.regularViewChanges = isWatched
        let profile = Profile("test", .primary, "a faulty first primary") { _ in
            faults.map { NamedFault("r0", .replica(ReplicaID(0), $0)) }
        }
        var options = SimulationOptions(switches: switches, steps: 15_000)
        options.redraw = { drawn in
            drawn.switches.dissemination = .primary
            drawn.conditions = Scenario.Conditions(
                delay: DelayDistribution(range: 1_000_000...1_010_000, tailPerMille: 0, tail: 1),
                isOrdered: true,
                sync: 0...0,
                check: 0...0,
                execution: 0...0,
                turn: 0...0,
                clockSkew: 0
            )
            drawn.load = Scenario.Load(
                window: 2,
                bundle: 1,
                think: 100_000...200_000,
                registers: 4,
                fastReadsPerMille: 0,
                retransmission: 100 * millisecond
            )
            drawn.limits = Limits()
            drawn.limits.checkpointInterval = 16
            drawn.limits.logWindow = 32
            drawn.limits.pipelineDepth = 2
            drawn.limits.viewChangeNanoseconds = 200 * millisecond
            drawn.limits.monitoring = monitoring
        }
        return Scenario(seed: 1, profile: profile, keys: try Runs.keys(), options: options)
    }

    /// Operations of the clients that are answered, and views that correct replicas entered.
    private static func run(_ faults: [any ReplicaBehaviour], isWatched: Bool) throws -> Statistics {
        let outcome = try scenario(faults, isWatched: isWatched).run()
        #expect(outcome.violation == nil)
        return outcome.statistics
    }

    @Test func `regular view changes cost little, and no primary stays for ever`() throws {
        let watched = try Self.run([], isWatched: true)
        let unwatched = try Self.run([], isWatched: false)
        #expect(watched.operations * 100 >= unwatched.operations * 85)
        // Each of four replicas enters at least three views.
        #expect(watched.views >= 4 * 3 && unwatched.views == 0)
    }

    /// A faulty primary, how much of the fault-free throughput it leaves where nobody watches it (at most), and where it is watched (at
    /// least), in percent.
    struct Case: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let behaviour: @Sendable () -> any ReplicaBehaviour
        let unwatched: Int
        let watched: Int
    }

    private static let cases = [
        Case(testDescription: "silent", behaviour: { SilentPrimary() }, unwatched: 95, watched: 80),
        Case(testDescription: "empty-heartbeats", behaviour: { EmptyHeartbeats() }, unwatched: 95, watched: 60),
        Case(
            testDescription: "delay of 100 ms",
            behaviour: { DelayingPrimary(nanoseconds: 10_000_000) },
            unwatched: 40,
            watched: 60
        ),
        Case(testDescription: "small-batches", behaviour: { SmallBatches() }, unwatched: 60, watched: 65),
        Case(testDescription: "smart", behaviour: { SmartPrimary(Self.monitoring) }, unwatched: 20, watched: 55),
    ]

    @Test(arguments: cases)
    func `what a faulty primary costs, unwatched and watched`(example: Case) throws {
        let best = try Self.run([], isWatched: true)
        let unwatched = try Self.run([example.behaviour()], isWatched: false)
        let watched = try Self.run([example.behaviour()], isWatched: true)
        let figures: Comment =
            "\(best.operations) without, \(unwatched.operations) unwatched, \(watched.operations) watched in \(watched.views) views"
        #expect(unwatched.operations * 100 <= best.operations * example.unwatched, figures)
        #expect(watched.operations * 100 >= best.operations * example.watched, figures)
    }
}
