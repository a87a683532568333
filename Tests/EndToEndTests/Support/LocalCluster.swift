import Foundation
import Testing

/// A cluster whose files are in `cluster/` of a workspace, and whose replicas are processes of the test.
struct LocalCluster {
    static let file = "cluster/cluster.yaml"

    let workspace: Workspace

    /// Makes the files.
    static func create(
        in workspace: Workspace,
        protocolName: String = "pbft",
        replicas: Int = 4,
        durability: String = "none",
        tuning: [String] = []
    ) async throws -> LocalCluster {
        let output = try await workspace.succeed(
            "init",
            "--output",
            "cluster",
            "--replicas",
            "\(replicas)",
            "--protocol",
            protocolName,
            "--durability",
            durability,
            "--base-port",
            Workspace.basePort()
        )
        let size = "\(replicas) replicas (tolerating \((replicas - 1) / 3) faulty)"
        #expect(output.contains("\(size), 8 clients, \(protocolName); keys in cluster/keys"))
        if !tuning.isEmpty {
            let path = workspace.path(file)
            let settings = "\ntuning:\n" + tuning.map { "  \($0)\n" }.joined()
            let text = try String(contentsOfFile: path, encoding: .utf8)
            #expect(text.contains("\n# tuning:\n"))
            try text.replacing("\n# tuning:\n", with: settings).write(toFile: path, atomically: false, encoding: .utf8)
        }
        return LocalCluster(workspace: workspace)
    }

    /// Starts a replica that also ends when this process is gone.
    ///
    /// - Parameter creates: Whether it makes its store.
    func startReplica(_ number: Int, creates: Bool = false) throws -> ChildProcess {
        creates
            ? try workspace.start("replica", "--cluster", Self.file, "--id", "\(number)", "--lifeline", "--create")
            : try workspace.start("replica", "--cluster", Self.file, "--id", "\(number)", "--lifeline")
    }

    /// What `aardvark status --json` says.
    func status() async throws -> Status {
        let outcome = try await workspace.run("status", "--cluster", Self.file, "--json")
        let status = try Status.decoder.decode(Status.self, from: Data(outcome.output.utf8))
        #expect(outcome.ending == .exit(status.quorumReachable ? 0 : 1))
        return status
    }

    /// What `aardvark status --json` says, as soon as `condition` holds of it.
    @discardableResult
    func status(that what: String, until condition: (Status) -> Bool) async throws -> Status {
        var last: Status?
        try await wait(for: what) {
            let status = try await status()
            last = status
            return condition(status)
        }
        return try #require(last)
    }

    /// The processes of replicas of this cluster that run, by whatever parent.
    static func replicaProcesses(clusterPath: String) throws -> [String] {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["ps", "-A", "-o", "pid=,args="]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        return text.split(separator: "\n").filter { $0.contains(" replica ") && $0.contains(clusterPath) }.map(
            String.init
        )
    }
}

/// The part of `aardvark status --json` that tests look at.
struct Status: Decodable {
    struct Replica: Decodable {
        let replica: Int
        let reachable: Bool
        let `protocol`: String?
        let view: UInt64?
        let primary: Int?
        let lastExecuted: UInt64?
        let stableCheckpoint: UInt64?
        let lowWaterMark: UInt64?
        let highWaterMark: UInt64?
        let connectedPeers: [Int]?
        let counters: [String: UInt64]?
        let gauges: [String: UInt64]?
    }

    let `protocol`: String
    let faultsTolerated: Int
    let quorum: Int
    let quorumReachable: Bool
    let replicas: [Replica]

    static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }

    /// Whether all replicas answer and are connected to each other.
    var isWhole: Bool { replicas.allSatisfy { $0.reachable && $0.connectedPeers?.count == replicas.count - 1 } }

    /// What the replica that is furthest has executed.
    var mostExecuted: UInt64 { replicas.compactMap(\.lastExecuted).max() ?? 0 }
}

/// What `aardvark admin client list --json` says.
struct ClientList: Decodable {
    struct Client: Decodable {
        let client: UInt32
        let keyEpoch: UInt32
        let publicKey: String
    }

    let clients: [Client]
}
