import Aardvark
import ArgumentParser
import Lab
import Workloads

/// `aardvark-lab load`: the correct clients, for `attack`.
struct LoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load",
        abstract: "Run the correct clients of an attack run.",
        shouldDisplay: false
    )

    @Option var cluster: String
    @Option var clients: Int
    @Option var historians: Int
    @Option var window: Int
    @Option var bundle: Int
    @Option var workload: String
    @Option var seed: UInt64

    func run() async throws {
        guard (1...1_000).contains(clients), (0...64).contains(historians), (1...64).contains(window),
            (1...64).contains(bundle),
            let workload = Workload(rawValue: workload), !workload.hasRecords
        else { throw OperatorError(.usage, "this is not a load that attack asks for") }
        try await LoadMachine.run(
            cluster: cluster,
            orders: LoadOrders(
                clients: clients,
                historians: historians,
                window: window,
                bundle: bundle,
                workload: workload,
                seed: seed
            )
        )
    }
}
