import Foundation
import Testing

/// The program as a user has it: four processes, and commands that use them.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct ClusterTests {
    @Test(arguments: ["pbft", "aardvark"])
    func `A cluster serves, loses a backup, and takes it back`(protocolName: String) async throws {
        try await Workspace.with { workspace in
            let cluster = try await LocalCluster.create(in: workspace, protocolName: protocolName)
            let replicas = try (0..<4).map { try cluster.startReplica($0) }
            let status = try await cluster.status(that: "a whole cluster") { $0.isWhole }
            expectFresh(status, protocolName)

            try await useKeys(workspace)
            try await changeClients(workspace)
            if protocolName == "pbft" {
                try await useLargeValues(workspace)
                try await importAndExport(workspace)
                try await startTwice(workspace)
            }
            try await loseBackup(cluster, replicas[3])
            let again = try cluster.startReplica(3)
            try await cluster.status(that: "the backup's return") { $0.isWhole }
            #expect(try await workspace.succeed("kv", "get", "after", "--cluster", LocalCluster.file) == "loss")

            // All but the one that was killed stop when they are asked to.
            for process in replicas[..<3] + [again] { process.send(SIGTERM) }
            for process in replicas[..<3] + [again] {
                #expect(try await process.ending() == .exit(0), "\(process.errors)")
            }
            for process in replicas { #expect(!process.errors.contains("Fatal error")) }
        }
    }

    private func expectFresh(_ status: Status, _ protocolName: String) {
        #expect(status.protocol == protocolName)
        #expect(status.faultsTolerated == 1)
        #expect(status.quorum == 3)
        for (number, replica) in status.replicas.enumerated() {
            #expect(replica.replica == number)
            #expect(replica.protocol == protocolName)
            #expect(replica.view == 0)
            #expect(replica.primary == 0)
            #expect(replica.lastExecuted == 0)
            #expect(replica.stableCheckpoint == 0)
            #expect(replica.lowWaterMark == 0)
            #expect(replica.highWaterMark == 256)
            #expect(replica.connectedPeers == [0, 1, 2, 3].filter { $0 != number })
            #expect(replica.counters?["operations_executed"] == 0)
        }
    }

    private func useKeys(_ workspace: Workspace) async throws {
        let option = ["--cluster", LocalCluster.file]
        func kv(_ arguments: String...) async throws -> Outcome {
            try await workspace.run(arguments: ["kv"] + arguments + option)
        }
        try await expect(kv("put", "greeting", "hello"), .exit(0), "")
        try await expect(kv("get", "greeting"), .exit(0), "hello")
        try await expect(kv("cas", "greeting", "--expect", "hello", "--set", "goodbye"), .exit(0), "")
        let mismatch = "aardvark: nothing is changed; the value is goodbye\n"
        try await expect(kv("cas", "greeting", "--expect", "hello", "--set", "again"), .exit(1), "", mismatch)
        try await expect(kv("incr", "visits", "--by", "5"), .exit(0), "5\n")
        try await expect(kv("incr", "visits", "--by", "-7"), .exit(0), "-2\n")
        let notANumber = "aardvark: error: the value is not a whole number of 64 bits\n"
        try await expect(kv("incr", "greeting"), .exit(65), "", notANumber)
        try await expect(kv("scan"), .exit(0), "greeting\tgoodbye\nvisits\t-2\n")
        try await expect(kv("scan", "--prefix", "vis"), .exit(0), "visits\t-2\n")
        try await expect(kv("delete", "greeting"), .exit(0), "")
        let absent = "aardvark: the key \"greeting\" is absent\n"
        try await expect(kv("delete", "greeting"), .exit(1), "", absent)
        try await expect(kv("get", "greeting"), .exit(1), "", absent)
        try await expect(kv("count"), .exit(0), "1\n")
    }

    private func changeClients(_ workspace: Workspace) async throws {
        let option = ["--cluster", LocalCluster.file]
        func admin(_ arguments: String...) async throws -> Outcome {
            try await workspace.run(arguments: ["admin", "client"] + arguments + option)
        }
        for name in ["alice", "bob"] {
            let line = try await workspace.succeed("keygen", "--output", "\(name).key")
            try workspace.write(line, to: "\(name).pub")
        }
        try await expect(admin("add", "--key-file", "alice.pub"), .exit(0), "client 8 added, key epoch 0\n")
        let asAlice = ["--client", "8", "--key", "alice.key"] + option
        let put = try await workspace.run(arguments: ["kv", "put", "from", "alice"] + asAlice)
        expect(put, .exit(0), "")
        let again = "aardvark: client 8 is there already\n"
        try await expect(admin("add", "--key-file", "bob.pub", "--id", "8"), .exit(1), "", again)
        let rekeyed = "client 8 has the new key, key epoch 1\n"
        try await expect(admin("rekey", "8", "--key-file", "bob.key"), .exit(0), rekeyed)
        let refusal = try await workspace.complain(
            arguments: ["kv", "get", "from", "--timeout", "2"] + asAlice,
            code: 69
        )
        #expect(refusal.contains("replicas refuse this client's key"))
        let asBob = ["--client", "8", "--key", "bob.key"] + option
        try await expect(workspace.run(arguments: ["kv", "get", "from"] + asBob), .exit(0), "alice")
        let table = try await workspace.succeed("admin", "client", "list", "--cluster", LocalCluster.file)
        #expect(table.split(separator: "\n").count == 10 && table.hasPrefix("client  epoch  public key\n"))
        let json = try await workspace.succeed("admin", "client", "list", "--json", "--cluster", LocalCluster.file)
        let report = try Status.decoder.decode(ClientList.self, from: Data(json.utf8))
        #expect(report.clients.map(\.client) == Array(0...8) && report.clients[8].keyEpoch == 1)
        #expect(try workspace.read("bob.pub") == "publicKey: \(report.clients[8].publicKey)\n")
        try await expect(admin("remove", "8"), .exit(0), "client 8 removed\n")
        try await expect(admin("remove", "8"), .exit(1), "", "aardvark: there is no client 8\n")
        _ = try await workspace.succeed("kv", "delete", "from", "--cluster", LocalCluster.file)
    }

    private func expect(
        _ outcome: Outcome,
        _ ending: ChildProcess.Ending,
        _ output: String,
        _ errors: String = "",
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(outcome.ending == ending, sourceLocation: sourceLocation)
        #expect(outcome.output == output, sourceLocation: sourceLocation)
        #expect(outcome.errors == errors, sourceLocation: sourceLocation)
    }

    private func useLargeValues(_ workspace: Workspace) async throws {
        let value = String(repeating: "0123456789abcdef", count: 1 << 16)
        try workspace.write(value, to: "value")
        let cluster = LocalCluster.file
        _ = try await workspace.succeed("kv", "put", "large", "--file", "value", "--cluster", cluster)
        #expect(try await workspace.succeed("kv", "get", "large", "--cluster", cluster) == value)
        try workspace.write(value + "!", to: "value")
        let refusal = try await workspace.complain(
            "kv",
            "put",
            "large",
            "--file",
            "value",
            "--cluster",
            cluster,
            code: 65
        )
        #expect(refusal.contains("1048576"))
        #expect(try await workspace.succeed("kv", "get", "large", "--cluster", cluster) == value)
        _ = try await workspace.succeed("kv", "delete", "large", "--cluster", cluster)
    }

    private func importAndExport(_ workspace: Workspace) async throws {
        let cluster = LocalCluster.file
        let records = """
            {"key":"p:ada","value":"countess, \\"of\\" Lovelace"}
            {"key":"p:blaise","value":"ligne 1\\nligne 2 é"}
            {"key":"p:bytes","value_base64":"AP8Q"}

            """
        try workspace.write(records, to: "people.jsonl")
        _ = try await workspace.succeed("kv", "import", "people.jsonl", "--cluster", cluster)
        _ = try await workspace.succeed("kv", "export", "first.jsonl", "--prefix", "p:", "--cluster", cluster)
        #expect(try workspace.read("first.jsonl") == records)
        _ = try await workspace.succeed("kv", "export", "people.csv", "--prefix", "p:", "--cluster", cluster)
        for key in ["p:ada", "p:blaise", "p:bytes"] {
            _ = try await workspace.succeed("kv", "delete", key, "--cluster", cluster)
        }
        _ = try await workspace.succeed("kv", "import", "people.csv", "--cluster", cluster)
        let again = try await workspace.succeed(
            "kv",
            "export",
            "-",
            "--format",
            "jsonl",
            "--prefix",
            "p:",
            "--cluster",
            cluster
        )
        #expect(again == records)
        let refusal = try await workspace.complain(
            "kv",
            "export",
            "people.csv",
            "--prefix",
            "p:",
            "--cluster",
            cluster,
            code: 73
        )
        #expect(refusal == "people.csv: the file to export to exists already and is not overwritten")
    }

    private func startTwice(_ workspace: Workspace) async throws {
        let sentence = try await workspace.complain("replica", "--cluster", LocalCluster.file, "--id", "0", code: 69)
        #expect(sentence.contains("is already in use"))
    }

    /// Kills a backup while the benchmark runs.
    private func loseBackup(_ cluster: LocalCluster, _ backup: ChildProcess) async throws {
        let workspace = cluster.workspace
        let before = try await cluster.status().replicas[0].counters?["operations_executed"] ?? 0
        let bench = try workspace.start(
            "bench",
            "--cluster",
            LocalCluster.file,
            "--json",
            "--workload",
            "kv-put",
            "--clients",
            "2",
            "--window",
            "8",
            "--records",
            "100",
            "--warmup",
            "0.5",
            "--seconds",
            "2"
        )
        // More than its load phase.
        try await cluster.status(that: "the benchmark's operations") { status in
            status.replicas[0].counters?["operations_executed"] ?? 0 > before + 200
        }
        backup.kill()
        #expect(try await backup.ending() == .signal(SIGKILL))
        _ = try await workspace.succeed("kv", "put", "after", "loss", "--cluster", LocalCluster.file)
        #expect(try await bench.ending() == .exit(0), "\(bench.errors)")
        let report = try Report.decoder.decode(Report.self, from: Data(bench.output.utf8))
        #expect(report.settings.workload == "kv-put")
        #expect(report.settings.clients == 2)
        #expect(report.settings.replicas == 4)
        #expect(report.operations > 0)
        #expect(report.errors == 0)
        #expect(report.unfinishedOperations == 0)
        #expect(report.throughputOperationsPerSecond > 0)
        #expect(report.latency.p50Microseconds > 0)
        #expect(report.latency.p50Microseconds <= report.latency.p99Microseconds)
        #expect(report.latency.p99Microseconds <= report.latency.maxMicroseconds)
        let status = try await cluster.status(that: "the backup's absence") { !$0.replicas[3].reachable }
        #expect(status.quorumReachable)
    }
}

/// The part of `aardvark bench --json` that tests look at.
private struct Report: Decodable {
    struct Settings: Decodable {
        let workload: String
        let clients: Int
        let replicas: Int
    }

    struct Latency: Decodable {
        let p50Microseconds: UInt64
        let p99Microseconds: UInt64
        let maxMicroseconds: UInt64
    }

    let settings: Settings
    let operations: UInt64
    let errors: UInt64
    let unfinishedOperations: Int
    let throughputOperationsPerSecond: Double
    let latency: Latency

    static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }
}
