import Foundation
import Testing

/// `aardvark store` on the stores of replicas that have served.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct StoreCommandTests {
    private struct Report: Decodable {
        struct Checkpoint: Decodable {
            let number: UInt64
            let root: String
            let isStable: Bool
            let serviceEntries: UInt64
        }

        let isBackup: Bool
        let replica: Int?
        let stableCheckpoint: UInt64?
        let checkpoints: [Checkpoint]
    }

    private struct Verification: Decodable {
        let isIntact: Bool
        let entries: UInt64
        let certifiedCheckpoint: UInt64?
    }

    private static func decode<Value: Decodable>(_ text: String) throws -> Value {
        try Status.decoder.decode(Value.self, from: Data(text.utf8))
    }

    @Test func `A store is looked at, checked and backed up while the others serve on`() async throws {
        try await Workspace.with { workspace in
            let cluster = try await LocalCluster.create(in: workspace, durability: "process-crash")
            let replicas = try (0..<4).map { try cluster.startReplica($0, creates: true) }
            try await cluster.status(that: "a whole cluster") { $0.isWhole }
            let store = "cluster/data/replica-3"
            let option = ["--cluster", LocalCluster.file]
            let open = try await workspace.complain("store", "inspect", store, code: 69)
            #expect(open == "\(store): another process has the store open; stop the replica first")

            _ = try await workspace.succeed("kv", "put", "greeting", "hello", "--cluster", LocalCluster.file)
            let load = try workspace.start(
                "bench",
                "--workload",
                "kv-put",
                "--clients",
                "2",
                "--seconds",
                "60",
                "--cluster",
                LocalCluster.file
            )
            try await cluster.status(that: "a stable checkpoint") { ($0.replicas[3].stableCheckpoint ?? 0) > 0 }
            load.kill()
            replicas[3].send(SIGTERM)
            #expect(try await replicas[3].ending() == .exit(0), "\(replicas[3].errors)")

            let before: Report = try Self.decode(await workspace.succeed("store", "inspect", store, "--json"))
            #expect(before.replica == 3 && !before.isBackup)
            let stable = try #require(before.checkpoints.last { $0.isStable })
            #expect(before.stableCheckpoint == stable.number && stable.serviceEntries > 1)
            let text = try await workspace.succeed("store", "inspect", store)
            #expect(text.contains(stable.root) && text.contains("signed by replicas"))
            let verified: Verification = try Self.decode(
                await workspace.succeed("store", "verify", store, "--cluster", LocalCluster.file, "--json")
            )
            #expect(verified.isIntact && verified.certifiedCheckpoint == stable.number)

            _ = try await workspace.succeed("store", "backup", store, "b", "--cluster", LocalCluster.file)
            let twice = try await workspace.complain(arguments: ["store", "backup", store, "b"] + option, code: 73)
            #expect(twice == "b: the file exists already and is not overwritten")
            let backup: Report = try Self.decode(await workspace.succeed("store", "inspect", "b", "--json"))
            #expect(backup.isBackup && backup.checkpoints.map(\.root) == [stable.root])
            // The cluster file is all that is needed.
            try FileManager.default.removeItem(atPath: workspace.path(store))
            let intact = try await workspace.succeed("store", "verify", "b", "--cluster", LocalCluster.file)
            #expect(intact.contains("the state at \(stable.number) is the one that 2f + 1 replicas signed"))
        }
    }

    @Test func `What is no store, damaged, or another cluster's is one sentence and an exit code`() async throws {
        try await Workspace.with { workspace in
            let cluster = try await LocalCluster.create(in: workspace, durability: "process-crash")
            let replica = try cluster.startReplica(0, creates: true)
            try await cluster.status(that: "a replica") { $0.replicas[0].reachable }
            replica.send(SIGTERM)
            #expect(try await replica.ending() == .exit(0), "\(replica.errors)")
            let store = "cluster/data/replica-0"
            let option = ["--cluster", LocalCluster.file]
            let nothing = try await workspace.complain(arguments: ["store", "verify", "nowhere"] + option, code: 66)
            #expect(nothing == "nowhere: there is no such file or directory")
            let notBackup = try await workspace.complain("store", "inspect", LocalCluster.file, code: 65)
            #expect(notBackup == "\(LocalCluster.file): this is no backup")
            let early = try await workspace.complain(arguments: ["store", "backup", store, "b"] + option, code: 69)
            #expect(early.hasPrefix("\(store): there is no stable checkpoint yet"))
            _ = try await workspace.succeed("init", "--output", "other", "--base-port", Workspace.basePort())
            let foreign = try await workspace.complain(
                "store",
                "verify",
                store,
                "--cluster",
                "other/cluster.yaml",
                code: 78
            )
            #expect(foreign.hasPrefix("\(store): the store belongs to another cluster"))
            try FileManager.default.removeItem(atPath: workspace.path("\(store)/CURRENT"))
            let damaged = try await workspace.complain(arguments: ["store", "verify", store] + option, code: 65)
            #expect(damaged == "\(store): the store is damaged: it lacks the file CURRENT")
        }
    }
}
