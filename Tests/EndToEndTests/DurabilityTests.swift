import Foundation
import Testing

/// Stores on disk as an operator meets them.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct DurabilityTests {
    @Test(arguments: ["pbft", "aardvark"])
    func `What was acknowledged outlives the sudden end of all four replicas`(protocolName: String) async throws {
        try await Workspace.with { workspace in
            let cluster = try await LocalCluster.create(
                in: workspace,
                protocolName: protocolName,
                durability: "power-loss"
            )
            var replicas = try (0..<4).map { try cluster.startReplica($0, creates: true) }
            try await cluster.status(that: "a whole cluster") { $0.isWhole }
            let option = ["--cluster", LocalCluster.file]
            for round in 1...3 {
                let sum = try await workspace.run(arguments: ["kv", "incr", "rounds"] + option)
                #expect(sum.output == "\(round)\n")
                let load = try workspace.start(
                    "bench",
                    "--cluster",
                    LocalCluster.file,
                    "--workload",
                    "kv-put",
                    "--clients",
                    "2",
                    "--seconds",
                    "60"
                )
                let before = try await cluster.status(that: "a status") { $0.isWhole }.mostExecuted
                try await cluster.status(that: "progress under load") { $0.mostExecuted > before + 200 }
                for process in replicas { process.kill() }
                for process in replicas { _ = try await process.ending() }
                load.kill()
                replicas = try (0..<4).map { try cluster.startReplica($0) }
                let after = try await cluster.status(that: "a whole cluster again") { $0.isWhole }
                #expect(after.replicas.allSatisfy { $0.reachable })
                let kept = try await workspace.run(arguments: ["kv", "get", "rounds"] + option)
                #expect(kept.output == "\(round)", "\(kept.errors)")
            }
            for process in replicas { #expect(!process.errors.contains("Fatal error")) }
        }
    }

    @Test func `Stores that cannot be used are refused with one sentence, and not touched`() async throws {
        try await Workspace.with { workspace in
            _ = try await LocalCluster.create(in: workspace, durability: "power-loss")
            func replica(_ number: Int, _ arguments: String...) -> [String] {
                ["replica", "--cluster", LocalCluster.file, "--id", "\(number)"] + arguments
            }
            let missing = try await workspace.complain(arguments: replica(0), code: 66)
            #expect(missing == "cluster/data/replica-0: there is no store")

            let first = try workspace.start("replica", "--cluster", LocalCluster.file, "--id", "0", "--create")
            let store = workspace.path("cluster/data/replica-0")
            try await wait(for: "the store") { FileManager.default.fileExists(atPath: store) }
            let open = try await workspace.complain(arguments: replica(0), code: 69)
            #expect(open == "cluster/data/replica-0: another process has the store open")
            first.send(SIGTERM)
            #expect(try await first.ending() == .exit(0), "\(first.errors)")

            let twice = try await workspace.complain(arguments: replica(0, "--create"), code: 73)
            #expect(twice == "cluster/data/replica-0: there is something already, and it is not overwritten")
            let foreign = try await workspace.complain(
                arguments: replica(1, "--data", "cluster/data/replica-0"),
                code: 78
            )
            #expect(foreign == "cluster/data/replica-0: the store belongs to replica 0, not to replica 1")

            let mark = workspace.path("cluster/data/replica-0/CURRENT")
            try FileManager.default.removeItem(atPath: mark)
            let damaged = try await workspace.complain(arguments: replica(0), code: 65)
            #expect(damaged.hasPrefix("cluster/data/replica-0: the store is damaged"))
            #expect(!FileManager.default.fileExists(atPath: mark))
        }
    }
}
