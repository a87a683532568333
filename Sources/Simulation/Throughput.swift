import Adversary
import Agreement
import Messages

/// How much correct clients get of replicas whose work takes time: a closed loop of requests at all of them, in virtual time, with and
/// without a profile's faults.
public struct ThroughputTrial: Sendable {
    /// Decides everything that is not given.
    public var seed: UInt64 = 1
    /// How long clients send, in steps of 0.1 ms of virtual time: by default 100 seconds, in which each of 4 replicas is primary once or
    /// more often.
    public var steps = 1_000_000
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

    /// What a run gave.
    public struct Measurement: Sendable, Hashable {
        /// Operations a second that those clients had answered that are correct under the profile, after the first fifth of the time.
        public let operationsPerSecond: Double
        /// The least that any one of them had answered in a second, after the first fifth of the time.
        public let leastOfClient: Double
        /// The same as the first in the first fifth: before there is anything that could be required of a primary.
        public let operationsPerSecondAtFirst: Double
        /// The longest time in which none of them was answered, in nanoseconds, after the first fifth of the time: what a change of the
        /// view costs, where nothing goes wrong.
        public let longestPauseNanoseconds: UInt64
        /// How often they sent a request again.
        public let retransmissions: UInt64
        /// The highest view that a correct replica was in.
        public let view: UInt64
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
        let clients = world.clients.filter { counted.contains($0.id) }
        let answers = clients.map(\.answers)
        let start = scenario.end / 5
        func rates(_ times: Range<UInt64>) -> [Double] {
            let seconds = Double(times.upperBound - times.lowerBound) / 1_000_000_000
            return answers.map { Double($0.count { times.contains($0) }) / seconds }
        }
        let settled = rates(start..<scenario.end)
        let moments = answers.joined().filter { $0 >= start && $0 < scenario.end }.sorted()
        let pauses = zip([start] + moments, moments + [scenario.end]).map { $1 - $0 }
        return Measurement(
            operationsPerSecond: settled.reduce(0, +),
            leastOfClient: settled.min() ?? 0,
            operationsPerSecondAtFirst: rates(0..<start).reduce(0, +),
            longestPauseNanoseconds: pauses.max() ?? 0,
            retransmissions: clients.reduce(0) { $0 + $1.engine.retransmissions },
            view: world.replicas.filter(\.isCorrect).map(\.view.rawValue).max() ?? 0,
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

    /// Whether nothing goes wrong under a profile but clients and replicas: while the network or power fails, no throughput is claimed.
    public func isClaimed(_ profile: Profile, keys: KeyRing) -> Bool {
        scenario(profile, keys, true).faults.allSatisfy { fault in
            switch fault.fault {
            case .client, .replica, .twin: true
            case .administration, .network, .powerLoss, .powerLossAtWrite, .amnesia, .lostStore: false
            }
        }
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
