import Foundation
import Testing

/// A replica that fetches the state while replicas are killed, itself among them.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct StateTransferTests {
    /// 12 MiB, which three replicas that serve 1 MB/s each take seconds for.
    private static let records = 192
    private static let stateBytes = UInt64(records * 65536)

    @Test func `A fetch of the state goes on after the end of who fetches, and of who is asked`() async throws {
        try await Workspace.with { workspace in
            let cluster = try await LocalCluster.create(
                in: workspace,
                durability: "process-crash",
                tuning: ["pastBatches: 0"]
            )
            var replicas = try (0..<4).map { try Self.start($0, of: cluster, "--create") }
            try await cluster.status(that: "a whole cluster") { $0.isWhole }
            let target = try await Self.fill(cluster)

            replicas[3].kill()
            _ = try await replicas[3].ending()
            try FileManager.default.removeItem(atPath: workspace.path("cluster/data/replica-3"))
            replicas[3] = try Self.start(3, of: cluster, "--repair")
            _ = try await Self.statusInTheMiddle(of: cluster)

            replicas[3].kill()
            #expect(try await replicas[3].ending() == .signal(SIGKILL))
            replicas[3] = try Self.start(3, of: cluster)
            let second = try await Self.statusInTheMiddle(of: cluster)

            // A backup, so that no view change is waited for besides.
            let source = second.counter("state_bytes_served", 1) > second.counter("state_bytes_served", 2) ? 1 : 2
            #expect(second.counter("state_bytes_served", source) > 0)
            replicas[source].kill()
            #expect(try await replicas[source].ending() == .signal(SIGKILL))
            try await cluster.status(that: "the state at replica 3") { ($0.replicas[3].lastExecuted ?? 0) >= target }

            replicas[source] = try Self.start(source, of: cluster)
            try await Self.settle(cluster, seconds: 1)
            let last = try await cluster.status(that: "equal states") { status in
                let checkpoints = Set(status.replicas.map { $0.gauges?["checkpoint_sequence"] ?? 0 })
                return status.isWhole && checkpoints.count == 1 && checkpoints.allSatisfy { $0 > target }
            }
            #expect(Set(last.replicas.map { $0.gauges?["checkpoint_root_prefix"] }).count == 1)
            #expect(last.replicas.indices.allSatisfy { last.counter("checkpoints_diverged", $0) == 0 })
            for process in replicas {
                process.send(SIGTERM)
                #expect(try await process.ending() == .exit(0), "\(process.errors)")
            }
            let store = "cluster/data/replica-3"
            let text = try await workspace.succeed("store", "verify", store, "--cluster", LocalCluster.file)
            #expect(text.contains("is the one that 2f + 1 replicas signed"), "\(text)")
        }
    }

    private static func start(_ number: Int, of cluster: LocalCluster, _ more: String...) throws -> ChildProcess {
        try cluster.workspace.startWatched(
            arguments: ["replica", "--cluster", LocalCluster.file, "--id", "\(number)", "--state-transfer-rate", "1"]
                + more
        )
    }

    /// Fills the state, and gives a checkpoint with all of it that all replicas have.
    private static func fill(_ cluster: LocalCluster) async throws -> UInt64 {
        _ = try await cluster.workspace.succeed(
            "bench",
            "--cluster",
            LocalCluster.file,
            "--workload",
            "ycsb-c",
            "--records",
            "\(records)",
            "--size",
            "65536",
            "--clients",
            "4",
            "--window",
            "4",
            "--seconds",
            "1"
        )
        let filled = try await cluster.status().mostExecuted
        try await settle(cluster, seconds: 1)
        let status = try await cluster.status(that: "a stable checkpoint of it all") { status in
            status.replicas.allSatisfy { $0.stableCheckpoint ?? 0 >= filled }
        }
        return status.replicas.compactMap(\.stableCheckpoint).min() ?? .max
    }

    /// Has the replicas take checkpoints.
    private static func settle(_ cluster: LocalCluster, seconds: Int) async throws {
        _ = try await cluster.workspace.succeed(
            "bench",
            "--cluster",
            LocalCluster.file,
            "--workload",
            "null",
            "--clients",
            "1",
            "--window",
            "1",
            "--seconds",
            "\(seconds)"
        )
    }

    /// When replica 3 has fetched some of the state, and not all.
    private static func statusInTheMiddle(of cluster: LocalCluster) async throws -> Status {
        let status = try await cluster.status(that: "a fetch") { $0.counter("state_bytes_fetched", 3) > stateBytes / 8 }
        #expect(status.counter("state_bytes_fetched", 3) < stateBytes * 7 / 8)
        #expect(status.replicas[3].lastExecuted == 0)
        return status
    }
}

extension Status {
    fileprivate func counter(_ name: String, _ replica: Int) -> UInt64 { replicas[replica].counters?[name] ?? 0 }
}
