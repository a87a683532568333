import Aardvark
import Adversary
import ArgumentParser
import Foundation
import Invariants
import Lab
import Messages
import Workloads

/// `aardvark-lab attack`: real replicas under attack.
struct AttackCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attack",
        abstract: "Run clusters of real processes under attack, and compare.",
        discussion: """
            Each run starts a new cluster on this machine: correct replicas as `aardvark replica`, faulty ones as the same with a \
            profile's behaviour between the engine and its links. Correct clients send all the time: without an attack, during it, \
            and after it. Then correct replicas' checkpoints are compared, and with the audit workload every acknowledged write \
            is read back. The exit code is 3 when something was found, and the files of that run are kept.

            Faulty clients are processes too; before and after the attack they send like correct ones, but are not counted. A run \
            whose attackers never did anything counts as failed. `aardvark-lab profiles` says which profiles run with real \
            processes. Where a profile kills replicas, they have stores even with --durability none: process-crash then. \
            Profiles that cut the network between machines take emulated ones, as root.

            As root, each replica, each faulty client and the correct clients together have an emulated machine: a network \
            namespace with links and a share of the processors of its own, so that an attacker spends its own time and not its \
            victims'. Otherwise all are plain processes, and the report says so. What was made is removed again, however this ends. \
            Ctrl-C ends the lab, and the runs until then are kept.

            A scenario file (there are some in Config/scenarios) says all this at once, and how the number of clients changes during \
            the attack. Options beside it go before what it says.

              aardvark-lab attack --profiles none,silent,delay-100ms --seconds 10 --repeat 1
              aardvark-lab attack --scenario Config/scenarios/short.yaml
            """
    )

    @Option(
        help: ArgumentHelp("What to run, as a file.", valueName: "file"),
        completion: .file(extensions: ["yaml"])
    )
    var scenario: String?

    @Option(
        name: .customLong("protocols"),
        help: ArgumentHelp(
            "Protocols, with commas between them: \(ProtocolVariant.allCases.map(\.rawValue).joined(separator: ", ")). "
                + "(default: pbft,aardvark)"
        )
    )
    var protocolNames: String?

    @Option(help: "Profiles, with commas between them, or all. (default: none,silent,delay-100ms)")
    var profiles: String?

    @Option(help: "How many replicas: 4, 7, 10 or 13. (default: 4)")
    var replicas: Int?

    @Option(help: "How long an attack is; half of it goes before and after. Not with a scenario. (default: 20)")
    var seconds: Int?

    @Option(name: .customLong("repeat"), help: "How often each pair of protocol and profile is run. (default: 3)")
    var repeats: Int?

    @Option(help: "Correct clients. Not with a scenario. (default: 8)")
    var clients: Int?

    @Option(help: "Faulty clients, where a profile has any. (default: 1)")
    var faultyClients: Int?

    @Option(help: "Requests that each client keeps outstanding. (default: 4)")
    var window: Int?

    @Option(help: "Operations in each request. (default: 1)")
    var bundle: Int?

    @Option(help: "What clients ask for: audit or null. (default: audit)")
    var workload: String?

    @Option(help: "What the replicas' state survives: power-loss, process-crash or none. (default: none)")
    var durability: String?

    @Option(help: "The seed of all random choices. (default: 1)")
    var seed: UInt64?

    @Option(help: ArgumentHelp("Where the results go.", valueName: "dir"))
    var output = "attack-results"

    @Flag(
        inversion: .prefixedNo,
        help: ArgumentHelp(
            "Give each party a machine of its own. (default: where this host permits it)",
            discussion: "A machine is a network namespace with links and a share of the processors. Root only."
        )
    )
    var emulate: Bool?

    @Flag(
        help: ArgumentHelp(
            "Have correct replicas record their inputs, for aardvark-lab replay.",
            discussion: "Kept with the logs of runs in which something was found. What it costs is in the figures."
        )
    )
    var record = false

    @Flag(help: "Print results.json.")
    var json = false

    func validate() throws {
        try checkRanges([
            (replicas, 4...13, "--replicas"), (seconds, 1...3_600, "--seconds"), (repeats, 1...100, "--repeat"),
            (clients, 1...1_000, "--clients"), (faultyClients, 1...99, "--faulty-clients"),
            (window, 1...64, "--window"), (bundle, 1...64, "--bundle"),
        ])
        if scenario != nil, seconds != nil || clients != nil {
            throw ValidationError("A scenario says itself how long an attack is, and how many clients there are.")
        }
    }

    func run() async throws {
        try await makePlan().carryOut(json: json) { $0.terminal }
    }

    private func makePlan() throws -> AttackPlan {
        var plan = AttackPlan(output: output)
        if let scenario { try take(scenario, into: &plan) }
        if let protocolNames {
            plan.protocols = try protocolNames.split(separator: ",").map { try Self.variant(String($0)) }
        }
        if scenario == nil || profiles != nil {
            let words = profiles ?? "none,silent,delay-100ms"
            plan.profiles = try words == "all" ? allProfiles : Self.profiles(words)
        }
        guard !plan.protocols.isEmpty, !plan.profiles.isEmpty else {
            throw OperatorError(.usage, "give at least one protocol and one profile")
        }
        if let workload { plan.workload = try Self.workload(workload) }
        if let durability {
            guard let value = ClusterFile.Durability(rawValue: durability) else {
                throw OperatorError(.usage, "--durability is power-loss, process-crash or none, not \(durability)")
            }
            plan.durability = value
        }
        if let replicas { plan.replicas = replicas }
        if let seconds { plan.phases = AttackPlan.phases(attackSeconds: seconds) }
        if let repeats { plan.repeats = repeats }
        if let clients { plan.clients = clients }
        if let faultyClients { plan.faultyClients = faultyClients }
        if let window { plan.window = window }
        if let bundle { plan.bundle = bundle }
        if let seed { plan.seed = seed }
        if let emulate { plan.emulation = emulate ? .always : .never }
        plan.isRecorded = record
        return plan
    }

    /// Does as a scenario file says.
    private func take(_ path: String, into plan: inout AttackPlan) throws {
        let runnable = (AttackProfiles.all + Profiles.beyondTheModel).map(\.name)
        let scenario = try Scenario(path: path, profiles: Set(runnable))
        plan.scenario = scenario.name
        plan.protocols = scenario.protocols
        plan.profiles = try scenario.profiles.map { try Self.profiles($0.joined(separator: ",")) } ?? allProfiles
        plan.replicas = scenario.replicas
        plan.repeats = scenario.repeats
        plan.seed = scenario.seed
        plan.clients = scenario.mostClients
        plan.load = scenario.load
        plan.window = scenario.window
        plan.bundle = scenario.bundle
        plan.workload = try Self.workload(scenario.workload)
        guard let durability = ClusterFile.Durability(rawValue: scenario.durability) else {
            invariantViolated("the scenario's durability was checked when it was read")
        }
        plan.durability = durability
        plan.phases = scenario.phases
        guard plan.window <= 64, plan.bundle <= 64 else {
            throw OperatorError(.configuration, "\(path): window and bundle are 1 to 64")
        }
    }

    /// All profiles that can be run, given whether there are going to be emulated machines.
    private var allProfiles: [Profile] {
        emulate ?? (geteuid() == 0)
            ? AttackProfiles.all : AttackProfiles.all.filter { !AttackProfiles.needsMachines($0) }
    }

    private static func variant(_ word: String) throws(OperatorError) -> ProtocolVariant {
        guard let variant = ProtocolVariant(rawValue: word) else {
            let names = ProtocolVariant.allCases.map(\.rawValue).joined(separator: ", ")
            throw OperatorError(.usage, "--protocols: \(word) cannot be run; there are \(names)")
        }
        return variant
    }

    private static func profiles(_ words: String) throws -> [Profile] {
        try words.split(separator: ",").map { word in
            if let profile = AttackProfiles.named(String(word)) { return profile }
            let reason = Profiles.named(String(word)).flatMap(AttackProfiles.reasonForSimulatorOnly)
            throw OperatorError(
                .usage,
                reason.map { "--profiles: \(word) runs in the simulator only: it \($0)" }
                    ?? "--profiles: there is no profile \(word); aardvark-lab profiles lists them"
            )
        }
    }

    private static func workload(_ word: String) throws(OperatorError) -> Workload {
        guard let workload = Workload(rawValue: word), !workload.hasRecords else {
            throw OperatorError(.usage, "the workload is audit or null, not \(word)")
        }
        return workload
    }
}

/// `aardvark-lab byzantine`: one faulty replica, for `attack`.
struct ByzantineCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "byzantine",
        abstract: "Run one replica that attacks from SIGUSR1 to SIGUSR2.",
        shouldDisplay: false
    )

    @Option var id: UInt8
    @OptionGroup var orders: OrdersOptions

    func run() async throws {
        try await ByzantineReplica.run(
            cluster: ClusterFile(path: orders.cluster),
            replica: ReplicaID(id),
            orders: orders.value()
        )
    }
}

/// `aardvark-lab byzantine-client`: one faulty client, for `attack`.
struct ByzantineClientCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "byzantine-client",
        abstract: "Run one client that attacks from SIGUSR1 to SIGUSR2.",
        shouldDisplay: false
    )

    @Option var id: UInt32
    @Option var window: Int
    @Option var bundle: Int
    @OptionGroup var orders: OrdersOptions

    func run() async throws {
        guard (1...64).contains(window), (1...64).contains(bundle) else {
            throw OperatorError(.usage, "1 to 64 requests of 1 to 64 operations")
        }
        try await ByzantineClient.run(
            cluster: ClusterFile(path: orders.cluster),
            client: ClientID(id),
            orders: orders.value(),
            load: (window, bundle)
        )
    }
}

/// What `attack` tells an attacker.
struct OrdersOptions: ParsableArguments {
    @Option var cluster: String
    @Option var profile: String
    @Option var seed: UInt64
    @Option var correctClients: Int
    @Option var faultyClients: Int
    @Option var report: String

    func value() throws(OperatorError) -> AttackerOrders {
        guard let profile = AttackProfiles.named(profile) else {
            throw OperatorError(.usage, "there is no profile \(self.profile)")
        }
        guard (1...1_000).contains(correctClients), (1...1_000).contains(faultyClients) else {
            throw OperatorError(.usage, "1 to 1000 clients are correct, and as many faulty")
        }
        return AttackerOrders(
            profile: profile,
            seed: seed,
            correctClients: correctClients,
            faultyClients: faultyClients,
            report: report
        )
    }
}
