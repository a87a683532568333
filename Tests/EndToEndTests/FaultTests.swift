import Foundation
import Testing

/// Replicas that are killed and frozen under load: the service goes on, nothing that was acknowledged is lost, nothing is executed twice,
/// and whoever comes back draws level.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct FaultTests {
    @Test(arguments: ["pbft", "aardvark"])
    func `Four replicas survive the end and the freezing of the primary and of a backup`(
        protocolName: String
    ) async throws {
        try await Workspace.with { workspace in
            let trial = try await Trial(workspace, protocolName)
            try await trial.killed { [$0.primary] }
            try await trial.killed { [$0.backup] }
            try await trial.frozen { [$0.primary] }
            try await trial.frozen { [$0.backup] }
            try await trial.finish()
        }
    }

    @Test func `Seven replicas survive the end and the freezing of two at once, the primary among them`() async throws {
        try await Workspace.with { workspace in
            let trial = try await Trial(workspace, "pbft", replicas: 7)
            try await trial.killed { [$0.primary, $0.backup] }
            try await trial.frozen { [$0.primary, $0.backup] }
            try await trial.finish()
        }
    }
}

/// A cluster with stores under audit load, and faults one after the other.
private final class Trial {
    private static let clients = ["--clients", "2", "--window", "4"]

    private let cluster: LocalCluster
    private var replicas: [ChildProcess]
    private let load: ChildProcess

    init(_ workspace: Workspace, _ protocolName: String, replicas count: Int = 4) async throws {
        cluster = try await LocalCluster.create(
            in: workspace,
            protocolName: protocolName,
            replicas: count,
            durability: "process-crash"
        )
        // A view change is to be waited for, and this one is sooner over.
        let file = try workspace.read(LocalCluster.file)
        try workspace.write(file + "\ntuning:\n  requestTimeoutMilliseconds: 500\n", to: LocalCluster.file)
        let cluster = cluster
        replicas = try (0..<count).map { try cluster.startReplica($0, creates: true) }
        try await cluster.status(that: "a whole cluster") { $0.isWhole }
        load = try workspace.startWatched(
            arguments: ["bench", "--cluster", LocalCluster.file, "--workload", "audit", "--json", "--seconds", "600"]
                + Self.clients
        )
        try await cluster.status(that: "progress under load") { $0.mostExecuted > 50 }
    }

    /// Replicas are killed, and started again when the others have gone on without them.
    func killed(_ choose: (Status) -> [Int]) async throws {
        try await fault(choose) { victims in
            for victim in victims { replicas[victim].kill() }
            for victim in victims {
                let ending = try await replicas[victim].ending()
                #expect(ending == .signal(SIGKILL))
            }
        } healing: { victims in
            for victim in victims { replicas[victim] = try cluster.startReplica(victim) }
        }
    }

    /// Replicas are stopped in the middle of what they do, and go on when the others have gone on without them.
    func frozen(_ choose: (Status) -> [Int]) async throws {
        try await fault(choose) { victims in
            for victim in victims { replicas[victim].send(SIGSTOP) }
        } healing: { victims in
            for victim in victims { replicas[victim].send(SIGCONT) }
        }
    }

    private func fault(
        _ choose: (Status) -> [Int],
        by strike: ([Int]) async throws -> Void,
        healing heal: ([Int]) throws -> Void
    ) async throws {
        let before = try await cluster.status(that: "a view") { $0.isWhole && $0.view != nil }
        let victims = choose(before)
        try await strike(victims)
        // More than can have been under way, and more than a log that was not kept could make good.
        let others = try await cluster.status(that: "progress without \(victims)") { status in
            status.replicas.indices.allSatisfy {
                victims.contains($0) || status.executed($0) > before.mostExecuted + 50
            }
        }
        #expect(victims.allSatisfy { !others.replicas[$0].reachable })
        if victims.contains(before.primary) {
            #expect(others.replicas.contains { $0.view ?? 0 > before.view ?? 0 })
        }
        try heal(victims)
        try await cluster.status(that: "\(victims) to be level") { status in
            status.isWhole && victims.allSatisfy { status.executed($0) >= others.mostExecuted }
        }
    }

    /// Ends the load, looks at what its audit found, and at how the replicas are in the end.
    func finish() async throws {
        load.send(SIGINT)
        #expect(try await load.ending() == .exit(0), "\(load.errors)")
        let report = try Status.decoder.decode(AuditReport.self, from: Data(load.output.utf8))
        #expect(report.audit.acknowledged > 100)
        #expect(report.audit.lost == 0 && report.audit.doubled == 0)
        #expect(report.audit.invented == 0 && report.audit.contradictions == 0)
        try await cluster.status(that: "equal replicas") { status in
            status.replicas.indices.allSatisfy { status.executed($0) == status.mostExecuted }
        }
        for process in replicas {
            process.send(SIGTERM)
            #expect(try await process.ending() == .exit(0), "\(process.errors)")
        }
    }
}

extension Status {
    /// The view that a quorum is in. Who has left it alone, for a suspicion that nobody shares, is in it again with the next one.
    fileprivate var view: UInt64? {
        replicas.compactMap(\.view).first { view in replicas.count { $0.view == view } >= quorum }
    }

    fileprivate var primary: Int { Int((view ?? 0) % UInt64(replicas.count)) }

    fileprivate var backup: Int { (primary + 2) % replicas.count }

    fileprivate func executed(_ replica: Int) -> UInt64 { replicas[replica].lastExecuted ?? 0 }
}
