import Adversary
import Agreement
import ArgumentParser
import Foundation
import Invariants
import Messages
import Simulation

/// `aardvark-lab simulate`: many clusters in virtual time, each with its own misfortunes, watched by oracles.
struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Run the replicas' engine in virtual time against faults drawn from seeds.",
        discussion: """
            Each seed decides one run: the network, the disks, the bounds, the clients' operations and the faults of one profile. The \
            same seed gives the same run on every machine. Oracles watch each step: one history, exactly once, only real requests, \
            equal states, no contradiction, nothing said before it is durable, and, where it is claimed, that every client is \
            answered after the faults end. The clients' histories are checked for linearizability.

            A seed that fails prints the one command that runs it again.

            Exit codes: 0 nothing found, 3 safety broken, 4 liveness broken, 5 the program stopped itself (a broken invariant), 64 usage.

            Examples:
              aardvark-lab simulate --seeds 1..1000
              aardvark-lab simulate --seeds random:100000 --seconds 60
              aardvark-lab simulate --seeds 1..200 --profiles equivocate-2-2,twin --protocol pbft --replicas 7
              aardvark-lab simulate --seeds 17 --profiles random --trace
              aardvark-lab simulate --seeds 17 --profiles random --shrink
              aardvark-lab simulate --throughput
              aardvark-lab simulate --throughput --profiles flood,client-flood --without isolated-queues
            """
    )

    @Option(
        help: ArgumentHelp(
            "The seeds to run: one, the first and the last, or random:N for N from any place on.",
            valueName: "first..last"
        )
    )
    var seeds = SeedRange(1...100)

    @Option(help: ArgumentHelp("Begin no further seed after so long.", valueName: "seconds"))
    var seconds: Int?

    @Option(
        help: ArgumentHelp(
            "Replicas: 4, 7 or 10 tolerate 1, 2 or 3 faulty ones; drawn by each seed if left out.",
            valueName: "number"
        )
    )
    var replicas: Int?

    @Option(help: ArgumentHelp("Clients, 2 to 50; drawn by each seed if left out.", valueName: "number"))
    var clients: Int?

    @Option(
        help: ArgumentHelp("Profiles in turn, by the seed: all, or names with commas between them.", valueName: "list")
    )
    var profiles = ProfileList.all

    @Option(name: .customLong("protocol"), help: ArgumentHelp("pbft or aardvark.", valueName: "name"))
    var protocolName = ProtocolName.aardvark

    @Option(
        help: ArgumentHelp(
            "How long clients send, in steps of 0.1 ms of virtual time; 20000, or 1000000 with --throughput, if left out.",
            valueName: "number"
        )
    )
    var steps: Int?

    @Option(help: ArgumentHelp("Processes that run at once; all processors if left out.", valueName: "number"))
    var jobs: Int?

    @Option(
        help: ArgumentHelp(
            "Leave only these faults of the profile, by their places from 0; `none` for none.",
            valueName: "list"
        )
    )
    var faults: FaultPlaces?

    @Flag(help: "Print each event of one seed on a line, with a legend.")
    var trace = false

    @Flag(help: "Take the faults of one failing seed away one by one and print the smallest set that still fails.")
    var shrink = false

    @Flag(help: "Print a digest of each run, to compare processes and machines.")
    var digest = false

    @Flag(
        help: """
            Give the replicas processors whose work takes time, and compare what correct clients get under each profile with what \
            they get without faults. One seed, 1 if left out.
            """
    )
    var throughput = false

    @Option(
        help: ArgumentHelp(
            "With --throughput: how much of a processor each replica has, 1 to 100.",
            valueName: "percent"
        )
    )
    var processorShare: UInt64 = 10

    @Option(
        help: ArgumentHelp(
            "With --throughput: leave these defences out: signed-requests, regular-view-changes, isolated-queues, flood-guard.",
            valueName: "list"
        )
    )
    var without: DefenceList?

    @Flag(help: "Print the report as one JSON object.")
    var json = false

    @Flag(help: .hidden)
    var worker = false

    @Option(help: .hidden)
    var stride: UInt64 = 1

    func validate() throws {
        if let replicas, ClusterSize(replicas: replicas) == nil || replicas > 22 {
            throw ValidationError("--replicas is \(replicas), but has to be 3f + 1: 4, 7, 10, 13, 16, 19 or 22")
        }
        if let clients { try Self.check(clients, "--clients", in: 2...Self.mostClients) }
        if let seconds { try Self.check(seconds, "--seconds", in: 1...1_000_000) }
        try Self.check(stepCount, "--steps", in: 100...100_000_000)
        if let jobs { try Self.check(jobs, "--jobs", in: 1...256) }
        if trace || shrink, seeds.range.count != 1 { throw ValidationError("--trace and --shrink take one seed") }
        try validateThroughput()
        if stride < 1 { throw ValidationError("--stride is at least 1") }
    }

    private static func check(_ value: Int, _ name: String, in range: ClosedRange<Int>) throws {
        guard range.contains(value) else {
            throw ValidationError("\(name) is \(value), but has to be \(range.lowerBound) to \(range.upperBound)")
        }
    }

    func run() throws {
        if throughput { return try compareThroughputs() }
        if worker { return Worker(self).run() }
        if trace || shrink { return try runOne() }
        // Whoever reads an abandoned log still knows what to run again.
        if !json { print("seeds \(seeds)") }
        let report = Swarm(self).run()
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            report.print(for: self)
        }
        if let code = report.exitCode { throw ExitCode(code) }
    }

    // MARK: One seed

    static let mostClients = 50

    /// How long clients send, in steps.
    private static let defaultSteps = 20_000

    var stepCount: Int { steps ?? Self.defaultSteps }

    /// How large the cluster of a seed is. Most are small, because they are fast; a few have every client that there may be.
    private func size(of seed: UInt64) -> (replicas: Int, clients: Int) {
        var random = RandomStream(seed: seed, stream: 5)
        let sizes = Array(repeating: 4, count: 15) + [7, 7, 7, 7, 10]
        let drawn = random.pick(sizes) ?? 4
        let most = random.pick([8, 8, 8, 20, Self.mostClients]) ?? 8
        return (replicas ?? drawn, clients ?? random.within(2...most))
    }

    /// The run of a seed.
    func scenario(_ seed: UInt64, keys: inout KeyCabinet) -> Scenario {
        let size = size(of: seed)
        let keys = keys.keys(replicas: size.replicas, clients: size.clients)
        var options = SimulationOptions(switches: protocolName.switches, steps: stepCount)
        options.keptFaults = faults?.places
        return Scenario(seed: seed, profile: profiles.profile(of: seed), keys: keys, options: options)
    }

    func makeKeys() -> KeyCabinet {
        KeyCabinet(scheme: protocolName.switches.requestAuthentication)
    }

    /// The command that runs a seed again.
    func replay(_ seed: UInt64, faults: [Int]? = nil, extra: String = "") -> String {
        var words = ["aardvark-lab simulate --seeds \(seed) --profiles \(profiles.profile(of: seed).name)"]
        if protocolName != .aardvark { words.append("--protocol \(protocolName.rawValue)") }
        if let replicas { words.append("--replicas \(replicas)") }
        if let clients { words.append("--clients \(clients)") }
        if let steps { words.append("--steps \(steps)") }
        if let places = faults ?? self.faults?.places { words.append("--faults \(FaultPlaces(places: places))") }
        if !extra.isEmpty { words.append(extra) }
        return words.joined(separator: " ")
    }

    private func runOne() throws {
        let seed = seeds.range.lowerBound
        var keys = makeKeys()
        var scenario = scenario(seed, keys: &keys)
        if shrink {
            guard let rule = scenario.run().violation?.rule else {
                print("seed \(seed) breaks no rule: there is nothing to shrink")
                return
            }
            guard
                let (places, _) = scenario.shrunk(breaking: rule, progress: { Console.note("without \($0.name) ...") })
            else {
                print("seed \(seed) breaks \(rule.rawValue) in one run and not in the other")
                throw ExitCode(ExitCodes.crash)
            }
            print("the smallest set of faults that breaks \(rule.rawValue):")
            for place in places { print("  \(place)  \(scenario.faults[place].name)") }
            if places.isEmpty { print("  none: the network's and the disks' ordinary behaviour is enough") }
            print(replay(seed, faults: places, extra: "--trace"))
            scenario = scenario.keeping(places)
        }
        if trace { describe(scenario) }
        let outcome = scenario.run(write: trace ? { print($0) } : nil)
        if digest { print("digest \(SeedResult.hexadecimal(outcome.digest))") }
        print("operations answered in each second: \(Self.perSecond(outcome.answers))")
        guard let violation = outcome.violation else {
            print("seed \(seed): no rule broken, \(outcome.statistics.operations) operations")
            return
        }
        print("seed \(seed): \(violation.kind.rawValue), \(violation.rule.rawValue): \(violation.sentence)")
        throw ExitCode(violation.kind == .safety ? ExitCodes.safety : ExitCodes.liveness)
    }

    /// How many of some moments (virtual nanoseconds) are in each second.
    private static func perSecond(_ moments: [UInt64]) -> String {
        var counts: [Int] = []
        for second in moments.map({ Int($0 / 1_000_000_000) }) {
            counts += Array(repeating: 0, count: max(second + 1 - counts.count, 0))
            counts[second] += 1
        }
        return counts.map { "\($0)" }.joined(separator: " ")
    }

    private func describe(_ scenario: Scenario) {
        let size = size(of: scenario.seed)
        print(
            "seed \(scenario.seed), profile \(scenario.profile.name), \(protocolName.rawValue), "
                + "\(size.replicas) replicas, \(size.clients) clients"
        )
        for (place, fault) in scenario.faults.enumerated() {
            let isKept = scenario.options.keptFaults?.contains(place) ?? true
            print("  fault \(place)  \(fault.name)\(isKept ? "" : " (left out)")")
        }
        print(scenario.description)
        print(Scenario.traceLegend)
        print("")
    }
}

/// The keys of clusters of all sizes, each size made once.
struct KeyCabinet {
    private let scheme: ProtocolSwitches.RequestAuthentication
    private var rings: [Int: KeyRing] = [:]

    init(scheme: ProtocolSwitches.RequestAuthentication) {
        self.scheme = scheme
    }

    mutating func keys(replicas: Int, clients: Int) -> KeyRing {
        if let ring = rings[replicas] { return ring.withClients(clients) }
        guard let size = ClusterSize(replicas: replicas) else { invariantViolated("a size that is validated") }
        let ring = KeyRing(size: size, clients: SimulateCommand.mostClients, scheme: scheme)
        rings[replicas] = ring
        return ring.withClients(clients)
    }
}

/// What the process ends with.
enum ExitCodes {
    static let safety: Int32 = 3
    static let deviation: Int32 = 3
    static let liveness: Int32 = 4
    static let crash: Int32 = 5
    /// As in sysexits.h.
    static let malformedData: Int32 = 65
    /// As in sysexits.h.
    static let noInput: Int32 = 66
    /// As in sysexits.h.
    static let inputOutput: Int32 = 74
}
