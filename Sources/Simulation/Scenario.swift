import Adversary
import Agreement
import Cryptography
import Invariants
import Messages
import StateStore

/// What to simulate, apart from the seed.
public struct SimulationOptions: Sendable {
    /// What the engine has by now: liveness is claimed for what rests on these only.
    public static let currentMechanisms: Mechanisms = [.viewChange, .stateTransfer, .recovery]

    /// The protocol.
    public var switches: ProtocolSwitches
    /// How long clients send, in steps of 0.1 ms of virtual time.
    public var steps: Int
    /// What the engine has.
    public var mechanisms = Self.currentMechanisms
    /// Leaves only these faults of the profile, by their places; nil for all.
    public var keptFaults: [Int]?
    /// Changes what every replica is told at its start: tests plant bugs in the engine here.
    var configure: @Sendable (inout ReplicaConfiguration) -> Void = { _ in }
    /// Changes what every client is told at its start.
    var configureClient: @Sendable (inout ClientEngine.Configuration) -> Void = { _ in }
    /// How states are fetched.
    var transferLimits = StateFetch.Limits()
    /// Changes what the shells of correct replicas are asked to do, to show that the oracles notice. For tests.
    var sabotage: (@Sendable (Effect, ReplicaID) -> [Effect])?

    /// What the replicas' work costs; nil when all of it takes no time, or what the seed draws.
    public var processor: ProcessorModel?

    /// Puts other conditions in place of those that the seed drew. For tests.
    var redraw: (@Sendable (inout Scenario.Drawn) -> Void)?

    /// Sets the protocol and the length.
    public init(switches: ProtocolSwitches, steps: Int) {
        self.switches = switches
        self.steps = steps
    }
}

/// One run: everything that its seed decides before it starts.
public struct Scenario: Sendable {
    /// The virtual time of one step, in nanoseconds.
    public static let stepNanoseconds: UInt64 = 100_000
    /// How long after the end of all faults everything has to be well again, in virtual nanoseconds.
    public static let settlingNanoseconds: UInt64 = 60_000_000_000

    /// What the network, the disks and the processors are like.
    struct Conditions: Sendable {
        var delay: DelayDistribution
        /// Whether a link keeps the order of its messages, as TCP does.
        var isOrdered: Bool
        /// How long a sync takes; 0 when everything is durable at once.
        var sync: ClosedRange<UInt64>
        /// How long a check of signatures takes.
        var check: ClosedRange<UInt64>
        /// How long the execution of a batch takes.
        var execution: ClosedRange<UInt64>
        /// How long after a message a turn ends.
        var turn: ClosedRange<UInt64>
        /// How far wall clocks are apart at the most.
        var clockSkew: UInt64
    }

    /// What the correct clients do.
    struct Load: Sendable {
        var window: Int
        var bundle: Int
        var think: ClosedRange<UInt64>
        var registers: Int
        /// How many of a thousand reads go outside the order.
        var fastReadsPerMille: Int
        var retransmission: UInt64
        /// Whether few clients ask at first and at last, and all in the middle.
        var isSpike = false
        /// Whether a client asks for the next thing as soon as it has a result.
        var isClosedLoop = false
    }

    /// Everything that the seed decides apart from the faults.
    struct Drawn: Sendable {
        var switches: ProtocolSwitches
        var limits: Limits
        var conditions: Conditions
        var load: Load
    }

    /// The seed that decided everything.
    public let seed: UInt64
    /// The profile.
    public let profile: Profile
    /// The options.
    public let options: SimulationOptions
    /// The faults, before ``SimulationOptions/keptFaults``.
    public let faults: [NamedFault]
    /// Whether every correct client has to be answered in the end, and all correct replicas to be level.
    public let claimsLiveness: Bool

    let keys: KeyRing
    /// The protocol's, with the dissemination that the seed drew.
    let switches: ProtocolSwitches
    let limits: Limits
    let conditions: Conditions
    let load: Load

    /// Draws a run.
    ///
    /// - Parameters:
    ///   - seed: Decides everything that is not given.
    ///   - profile: What goes wrong.
    ///   - keys: The cluster and its clients; at least 2 clients.
    ///   - options: The protocol and the length.
    public init(seed: UInt64, profile: Profile, keys: KeyRing, options: SimulationOptions) {
        invariant(keys.clients.count >= 2, "a run has at least two clients")
        self.seed = seed
        self.profile = profile
        self.keys = keys
        self.options = options
        var random = RandomStream(seed: seed, stream: 1)
        let end = UInt64(max(options.steps, 100)) * Self.stepNanoseconds
        var setting = Setting(
            size: keys.size,
            clients: keys.clients,
            start: end / 20,
            end: end,
            random: RandomStream(seed: seed, stream: 2)
        )
        faults = profile.faults(in: &setting)
        let conditions = Self.conditions(&random)
        let load = Self.load(&random, profile.demand)
        let limits = Self.limits(&random)
        var drawn = Drawn(switches: options.switches, limits: limits, conditions: conditions, load: load)
        if random.chance(perMille: 250) { drawn.switches.dissemination = .all }
        options.redraw?(&drawn)
        switches = drawn.switches
        self.limits = drawn.limits
        self.conditions = drawn.conditions
        self.load = drawn.load
        // With short logs, whoever falls behind them needs the others' state.
        var needs = profile.needs
        if limits.checkpointInterval < 128 { needs.insert(.stateTransfer) } else { needs.remove(.stateTransfer) }
        let isSigned = keys.scheme == .signature
        claimsLiveness =
            !profile.isOutOfModel && options.mechanisms.isSuperset(of: needs) && (isSigned || !profile.needsSignatures)
    }

    /// When faults and load end, in virtual nanoseconds.
    var end: UInt64 { UInt64(max(options.steps, 100)) * Self.stepNanoseconds }

    /// The faults that take place.
    var keptFaults: [NamedFault] {
        guard let kept = options.keptFaults else { return faults }
        return faults.indices.filter { kept.contains($0) }.map { faults[$0] }
    }

    /// The clients that the cluster does not know from the start: an administrator takes them in.
    var newcomers: Set<ClientID> {
        var first: [ClientID: AdministrationStep] = [:]
        for fault in keptFaults {
            guard case .administration(let step) = fault.fault, step.change != .list else { continue }
            if let earlier = first[step.client], earlier.time <= step.time { continue }
            first[step.client] = step
        }
        return Set(first.values.filter { $0.change == .add }.map(\.client))
    }

    /// What the faulty clients authenticate with from the start, which they share with faulty replicas.
    var accomplices: [Accomplice] {
        var clients: Set<ClientID> = []
        for fault in keptFaults {
            if case .client(let client, _) = fault.fault { clients.insert(client) }
        }
        return clients.sorted().map { Accomplice(client: $0, authenticator: keys.authenticator(of: $0)) }
    }

    private static func conditions(_ random: inout RandomStream) -> Conditions {
        let microsecond: UInt64 = 1_000
        let millisecond: UInt64 = 1_000_000
        let least = random.within(20...500) * microsecond
        let most = least + random.within(50...3_000) * microsecond
        let syncs: [ClosedRange<UInt64>] = [
            0...0, 50 * microsecond...300 * microsecond, 500 * microsecond...3 * millisecond,
            millisecond...20 * millisecond,
        ]
        let checks: [ClosedRange<UInt64>] = [0...0, 0...0, 50 * microsecond...60 * microsecond, 0...2 * millisecond]
        let turns: [ClosedRange<UInt64>] = [0...0, 0...50 * microsecond, 0...500 * microsecond]
        return Conditions(
            delay: DelayDistribution(
                range: least...most,
                tailPerMille: random.pick([0, 1, 20]) ?? 0,
                tail: random.within(1...100) * millisecond
            ),
            isOrdered: random.chance(perMille: 700),
            sync: random.pick(syncs) ?? 0...0,
            check: random.pick(checks) ?? 0...0,
            execution: random.pick(checks) ?? 0...0,
            turn: random.pick(turns) ?? 0...0,
            clockSkew: random.pick([0, millisecond, 100 * millisecond]) ?? 0
        )
    }

    private static func load(_ random: inout RandomStream, _ demand: Profile.Demand) -> Load {
        let most: UInt64 = random.within(5...250) * 1_000_000
        var load = Load(
            window: random.pick([1, 1, 2, 8]) ?? 1,
            bundle: random.pick([1, 1, 4]) ?? 1,
            think: 100_000...most,
            registers: random.within(1...6),
            fastReadsPerMille: random.pick([0, 500, 1_000]) ?? 0,
            retransmission: random.within(20...200) * 1_000_000
        )
        switch demand {
        case .drawn: break
        case .contended:
            load.think = 100_000...2_000_000
            load.registers = 1
            load.fastReadsPerMille = 500
        case .spike: load.isSpike = true
        }
        return load
    }

    private static func limits(_ random: inout RandomStream) -> Limits {
        var limits = Limits()
        limits.checkpointInterval = random.pick([2, 4, 16, 128, 128]) ?? 128
        limits.logWindow = limits.checkpointInterval * random.within(2...4)
        limits.pipelineDepth = min(random.pick([1, 2, 8, 64]) ?? 8, limits.logWindow)
        limits.batchRequests = random.pick([1, 3, 64, 1024]) ?? 64
        limits.clientWindow = random.pick([1, 4, 64]) ?? 64
        limits.catchUpBatches = random.pick([4, 64]) ?? 64
        limits.pastBatches = random.pick([0, limits.checkpointInterval, 131_072]) ?? 131_072
        limits.pastBytes = random.pick([4 << 10, 64 << 20]) ?? 64 << 20
        limits.pastBatchesPerAnswer = random.pick([3, 4_096]) ?? 4_096
        limits.viewChangeNanoseconds = UInt64(random.within(100...1_000)) * 1_000_000
        limits.digestsPerNumber = random.pick([1, 2, 4]) ?? 4
        limits.stallNanoseconds = UInt64(random.within(30...300)) * 1_000_000
        limits.answerBytes = random.pick([1 << 10, 64 << 10, 8 << 20]) ?? 8 << 20
        limits.earlyMessages = random.pick([4, 64, 1_024]) ?? 1_024
        limits.earlyBytes = random.pick([MessageLimits.batchBytes + 64, 8 << 20]) ?? 8 << 20
        limits.clientPendingBytes = random.pick([MessageLimits.requestBytes, 8 << 20]) ?? 8 << 20
        limits.waitingReads = random.pick([1, 16, 4_096]) ?? 4_096
        limits.waitingReadBytes = random.pick([1 << 10, 16 << 20]) ?? 16 << 20
        return limits
    }
}

extension Scenario: CustomStringConvertible {
    /// The conditions that the seed drew, for people.
    public var description: String {
        """
          network  \(range(conditions.delay.range)), \(conditions.isOrdered ? "in order" : "unordered")\
        \(conditions.delay.tailPerMille > 0 ? ", \(conditions.delay.tailPerMille) of 1000 up to \(conditions.delay.tail / 1_000_000) ms more" : "")
          disk     sync \(range(conditions.sync)); check \(range(conditions.check)); execution \(range(conditions.execution)); \
        turn \(range(conditions.turn))
          engine   K \(limits.checkpointInterval), L \(limits.logWindow), pipeline \(limits.pipelineDepth), \
        batch \(limits.batchRequests), client window \(limits.clientWindow), T \(limits.viewChangeNanoseconds / 1_000_000) ms
          requests to \(switches.dissemination == .all ? "all" : "the primary")
          clients  window \(load.window), bundle \(load.bundle), \(load.registers) registers, \
        \(load.fastReadsPerMille) of 1000 reads unordered, retransmission \
        \(load.retransmission / 1_000_000) ms
          liveness \(claimsLiveness ? "claimed" : "not claimed")
        """
    }

    private func range(_ range: ClosedRange<UInt64>) -> String {
        range.upperBound == 0
            ? "0 ms" : "\(Self.milliseconds(range.lowerBound))-\(Self.milliseconds(range.upperBound)) ms"
    }

    private static func milliseconds(_ nanoseconds: UInt64) -> String {
        let micros = nanoseconds / 1_000
        let fraction = String(micros % 1_000)
        return "\(micros / 1_000).\(String(repeating: "0", count: 3 - fraction.count))\(fraction)"
    }
}
