import Foundation
import Testing

/// Replicas that come back without their store, or with an old one.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct RepairTests {
    @Test func `A replica whose store is damaged, lost or old comes back by the others' state`() async throws {
        try await Workspace.with { workspace in
            let cluster = try await LocalCluster.create(
                in: workspace,
                durability: "process-crash",
                tuning: ["pastBatches: 0"]
            )
            var replicas = try (0..<4).map { try cluster.startReplica($0, creates: true) }
            try await cluster.status(that: "a whole cluster") { $0.isWhole }
            let load = try workspace.startWatched(
                "bench",
                "--cluster",
                LocalCluster.file,
                "--workload",
                "kv-put",
                "--clients",
                "2",
                "--seconds",
                "600"
            )
            let store = workspace.path("cluster/data/replica-3")
            try await cluster.status(that: "a stable checkpoint") { ($0.replicas[3].stableCheckpoint ?? 0) > 0 }

            /// Stops replica 3, does something to its store, and waits until it is level again.
            func comeBack(_ arguments: [String], after change: () async throws -> Void) async throws {
                replicas[3].kill()
                _ = try await replicas[3].ending()
                try await change()
                let others = try await cluster.status(that: "progress without it") { status in
                    (status.replicas[0].stableCheckpoint ?? 0) > 0
                }
                replicas[3] = try workspace.startWatched(
                    arguments: ["replica", "--cluster", LocalCluster.file, "--id", "3"] + arguments
                )
                try await cluster.status(that: "it to be level") { status in
                    status.replicas[3].lastExecuted ?? 0 > others.replicas[0].lastExecuted ?? .max
                }
            }

            try await comeBack(["--repair"]) {
                _ = try await workspace.complain(
                    "replica",
                    "--cluster",
                    LocalCluster.file,
                    "--id",
                    "3",
                    "--repair",
                    code: 73
                )
                try FileManager.default.removeItem(atPath: "\(store)/CURRENT")
            }
            #expect(FileManager.default.fileExists(atPath: "\(store).damaged-1/durable"))
            #expect(replicas[3].errors.contains("votes for nothing"))

            try await comeBack(["--repair"]) { try FileManager.default.removeItem(atPath: store) }

            try await comeBack([]) {
                _ = try await workspace.succeed(
                    "store",
                    "backup",
                    "cluster/data/replica-3",
                    "b",
                    "--cluster",
                    LocalCluster.file
                )
                try FileManager.default.removeItem(atPath: store)
                _ = try await workspace.succeed("store", "restore", "b", "--id", "3", "--cluster", LocalCluster.file)
            }
            #expect(!replicas[3].errors.contains("Fatal error"))
            load.kill()
        }
    }
}
