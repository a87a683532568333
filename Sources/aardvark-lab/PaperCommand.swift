import Aardvark
import ArgumentParser
import Lab

/// `aardvark-lab paper`: the published tables, run again.
struct PaperCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "paper",
        abstract: "Run the published experiments again, and print our figures beside the papers'.",
        discussion: """
            Each case is run with real replicas as `aardvark-lab attack` does it, with the same oracles, report and exit codes. All \
            shares are of the own peak: of the run's fault-free phase for ours, of the published peak for the papers'.

              aardvark-lab paper
              aardvark-lab paper --only peak,faulty-client --seconds 3 --repeat 1

            The cases: \(PaperCase.all.map(\.name).joined(separator: ", ")).
            """
    )

    @Option(help: "Cases, with commas between them. (default: all)")
    var only: String?

    @Option(help: "How many replicas: 4, 7, 10 or 13.")
    var replicas = 4

    @Option(help: "How long each attack is; half of it goes before and after.")
    var seconds = 10

    @Option(name: .customLong("repeat"), help: "How often each pair of protocol and case is run.")
    var repeats = 3

    @Option(help: "Correct clients.")
    var clients = 8

    @Option(help: "Requests that each client keeps outstanding.")
    var window = 16

    @Option(help: "The seed of all random choices.")
    var seed: UInt64 = 1

    @Option(help: ArgumentHelp("Where the results go.", valueName: "dir"))
    var output = "paper-results"

    @Flag(
        inversion: .prefixedNo,
        help: ArgumentHelp(
            "Give each party a machine of its own. (default: where this host permits it)",
            discussion: "A machine is a network namespace with links and a share of the processors. Root only."
        )
    )
    var emulate: Bool?

    @Flag(help: "Print results.json.")
    var json = false

    func validate() throws {
        try checkRanges([
            (replicas, 4...13, "--replicas"), (seconds, 1...3_600, "--seconds"), (repeats, 1...100, "--repeat"),
            (clients, 1...1_000, "--clients"), (window, 1...64, "--window"),
        ])
    }

    func run() async throws {
        var plan = AttackPlan(output: output)
        PaperCase.plan(try cases(), in: &plan)
        plan.replicas = replicas
        plan.phases = AttackPlan.phases(attackSeconds: seconds)
        plan.repeats = repeats
        plan.clients = clients
        plan.window = window
        plan.seed = seed
        if let emulate { plan.emulation = emulate ? .always : .never }
        try await plan.carryOut(json: json) { $0.besideThePapers }
    }

    private func cases() throws(OperatorError) -> [PaperCase] {
        guard let only else { return PaperCase.all }
        var cases: [PaperCase] = []
        for word in only.split(separator: ",") {
            guard let named = PaperCase.all.first(where: { $0.name == word }) else {
                let names = PaperCase.all.map(\.name).joined(separator: ", ")
                throw OperatorError(.usage, "--only: there is no published case \(word); there are \(names)")
            }
            cases.append(named)
        }
        guard !cases.isEmpty else { throw OperatorError(.usage, "--only: name at least one case") }
        return cases
    }
}
