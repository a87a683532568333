import Adversary
import Agreement
import Messages

/// How much correct clients get of replicas whose work takes time: a closed loop of requests at all of them, in virtual time, with and
/// without a profile's faults.
public struct ThroughputTrial: Sendable {
    /// Decides everything that is not given.
    public var seed: UInt64 = 1
    /// How long clients send, in steps of 0.1 ms of virtual time; what the first second answers does not count.
    public var steps = 100_000
    /// How many requests a client has outstanding.
    public var window = 16
    /// The protocol.
    public var switches: ProtocolSwitches
    /// The processor of each replica.
    public var processor: ProcessorModel
    /// Changes the bounds of the replicas. For tests.
    var adjust: @Sendable (inout Limits) -> Void = { _ in }

    /// Describes a trial.
    public init(switches: ProtocolSwitches, processor: ProcessorModel) {
        self.switches = switches
        self.processor = processor
    }

    /// How long after the start answers count, in nanoseconds.
    private static let warmUpNanoseconds: UInt64 = 1_000_000_000

    /// What a run gave.
    public struct Measurement: Sendable, Hashable {
        /// Operations a second that correct clients had answered: those clients that are correct under the profile.
        public let operationsPerSecond: Double
        /// The least of them in any whole second after the first.
        public let leastPerSecond: Int
        /// By replica: what its processor did.
        public let usage: [ProcessorUsage]
        /// What happened.
        public let statistics: Statistics
        /// A number that is the same for equal runs.
        public let digest: UInt64
        /// What is wrong; nil if nothing.
        public let violation: Violation?
    }

    /// Runs a profile.
    ///
    /// - Parameters:
    ///   - profile: What goes wrong.
    ///   - keys: The cluster and its clients; at least 2 clients.
    ///   - withFaults: false for the same run in which nothing goes wrong and everybody is correct. The same clients count in both.
    public func run(_ profile: Profile, keys: KeyRing, withFaults: Bool) -> Measurement {
        let scenario = scenario(profile, keys, withFaults)
        let counted = Set(countedClients(profile, keys: keys))
        let world = World(scenario, write: nil)
        let outcome = world.run()
        let answers = world.clients.filter { counted.contains($0.id) }.flatMap(\.answers)
        let start = min(Self.warmUpNanoseconds, scenario.end / 2)
        let seconds = Double(scenario.end - start) / 1_000_000_000
        var perSecond = Array(repeating: 0, count: Int((scenario.end - start) / 1_000_000_000))
        var total = 0
        for time in answers where time >= start && time < scenario.end {
            total += 1
            let second = Int((time - start) / 1_000_000_000)
            if second < perSecond.count { perSecond[second] += 1 }
        }
        return Measurement(
            operationsPerSecond: Double(total) / seconds,
            leastPerSecond: perSecond.min() ?? 0,
            usage: world.replicas.compactMap(\.processor?.usage),
            statistics: outcome.statistics,
            digest: outcome.digest,
            violation: outcome.violation
        )
    }

    /// The clients that are correct under a profile: those of which the operations count.
    public func countedClients(_ profile: Profile, keys: KeyRing) -> [ClientID] {
        let faulty = scenario(profile, keys, true).faults.compactMap { fault in
            if case .client(let client, _) = fault.fault { client } else { nil }
        }
        return keys.clients.filter { !faulty.contains($0) }
    }

    func scenario(_ profile: Profile, _ keys: KeyRing, _ withFaults: Bool) -> Scenario {
        var options = SimulationOptions(switches: switches, steps: steps)
        options.processor = processor
        if !withFaults { options.keptFaults = [] }
        options.redraw = { [switches, window, adjust] drawn in
            drawn.switches = switches
            drawn.limits = Limits()
            adjust(&drawn.limits)
            drawn.conditions = .localNetwork
            drawn.load = Scenario.Load(
                window: window,
                bundle: 1,
                think: 1_000_000...2_000_000,
                registers: 6,
                fastReadsPerMille: 0,
                retransmission: 150_000_000,
                isSpike: drawn.load.isSpike,
                isClosedLoop: true
            )
        }
        return Scenario(seed: seed, profile: profile, keys: keys, options: options)
    }
}

extension Scenario.Conditions {
    /// A switched local network, and nothing that is kept on disks.
    fileprivate static let localNetwork = Scenario.Conditions(
        delay: DelayDistribution(range: 50_000...100_000, tailPerMille: 0, tail: 1),
        isOrdered: true,
        sync: 0...0,
        check: 0...0,
        execution: 0...0,
        turn: 0...0,
        clockSkew: 1_000_000
    )
}
