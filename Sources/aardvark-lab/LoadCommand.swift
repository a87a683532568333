import Aardvark
import ArgumentParser
import Lab
import Workloads

/// `aardvark-lab load`: the correct clients, for `attack`.
struct LoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load",
        abstract: "Run the correct clients from SIGUSR1 on, and audit at SIGUSR2.",
        shouldDisplay: false
    )

    @Option var cluster: String
    @Option var clients: Int
    @Option var window: Int
    @Option var bundle: Int
    @Option var workload: String
    @Option var seed: UInt64
    @Option var seconds: Int

    func run() async throws {
        guard (1...1_000).contains(clients), (1...64).contains(window), (1...64).contains(bundle),
            (1...10_000).contains(seconds), let workload = Workload(rawValue: workload), !workload.hasRecords
        else { throw OperatorError(.usage, "this is not a load that attack asks for") }
        try await LoadMachine.run(
            cluster: cluster,
            orders: LoadOrders(
                clients: clients,
                window: window,
                bundle: bundle,
                workload: workload,
                seed: seed,
                seconds: seconds
            )
        )
    }
}
