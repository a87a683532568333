import Foundation
import Testing

/// Replicas with stores that are killed at random moments under load, again and again.
///
/// CI kills five. `AARDVARK_KILLS=100 swift test --filter KillLoopTests` kills a hundred, and prints what it saw.
@Suite(.serialized, .timeLimit(.minutes(60)))
struct KillLoopTests {
    /// How many processes are killed in all.
    private static let kills = ProcessInfo.processInfo.environment["AARDVARK_KILLS"].flatMap { Int($0) } ?? 5

    @Test func `Kills at random moments lose nothing, double nothing, and damage no store`() async throws {
        try await Workspace.with { workspace in
            let cluster = try await LocalCluster.create(in: workspace, durability: "power-loss")
            // A view change is to be waited for, and this one is sooner over.
            let file = try workspace.read(LocalCluster.file)
            try workspace.write(file + "\ntuning:\n  requestTimeoutMilliseconds: 500\n", to: LocalCluster.file)
            var replicas = try (0..<4).map { try cluster.startReplica($0, creates: true) }
            try await cluster.status(that: "a whole cluster") { $0.isWhole }
            let load = try workspace.startWatched(
                arguments: [
                    "bench", "--cluster", LocalCluster.file, "--workload", "audit", "--json", "--seconds", "36000",
                    "--clients", "2", "--window", "4",
                ]
            )
            var slowest = Duration.zero
            for _ in 0..<Self.kills {
                let before = try await cluster.status(that: "a whole cluster") { $0.isWhole }
                let moment = before.mostExecuted + .random(in: 1...100)
                try await cluster.status(that: "progress") { $0.mostExecuted >= moment }
                let victim = Int.random(in: 0..<4)
                replicas[victim].kill()
                #expect(try await replicas[victim].ending() == .signal(SIGKILL), "\(replicas[victim].errors)")
                // At once, or when the others have gone far enough for it to fetch their state.
                let gap: UInt64 = Bool.random() ? 0 : .random(in: 1...400)
                let others = try await cluster.status(that: "progress without \(victim)") {
                    gap == 0 || $0.mostExecuted >= moment + gap
                }
                let started = ContinuousClock.now
                replicas[victim] = try cluster.startReplica(victim)
                try await cluster.status(that: "\(victim) to be level") { status in
                    status.isWhole && status.replicas[victim].lastExecuted ?? 0 >= others.mostExecuted
                }
                slowest = max(slowest, ContinuousClock.now - started)
            }
            load.send(SIGINT)
            #expect(try await load.ending() == .exit(0), "\(load.errors)")
            let audit = try Status.decoder.decode(AuditReport.self, from: Data(load.output.utf8)).audit
            #expect(audit.acknowledged > 100)
            #expect(audit.lost == 0 && audit.doubled == 0 && audit.invented == 0 && audit.contradictions == 0)
            for (number, process) in replicas.enumerated() {
                process.send(SIGTERM)
                #expect(try await process.ending() == .exit(0), "\(process.errors)")
                let store = "cluster/data/replica-\(number)"
                _ = try await workspace.succeed("store", "verify", store, "--cluster", LocalCluster.file)
            }
            print(
                "\(Self.kills) kills, \(audit.acknowledged) operations acknowledged, \(audit.lost) lost, \(audit.doubled)",
                "doubled; level again after \(slowest) at the most"
            )
        }
    }
}
