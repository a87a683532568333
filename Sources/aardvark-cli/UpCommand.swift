import Aardvark
import ArgumentParser
import Cryptography
import Foundation
import Messages
import UnixSignals

/// `aardvark up`.
struct UpCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Run a whole cluster on this machine, each replica in a process of its own.",
        discussion: """
            Makes the cluster if the directory has none yet, and takes up the one that is there otherwise. Waits until all \
            replicas serve, then shows what the cluster does until Ctrl-C, which stops them all. Each replica logs to \
            DIR/logs/replica-N.log; the log of the run before is kept as replica-N.log.previous.

              aardvark up
              aardvark up --directory big --replicas 7 --protocol aardvark

            With --record DIR each replica writes down every input of its protocol engine in DIR/replica-N.recording, for \
            `aardvark-lab replay`.
            """
    )

    @Option(
        name: .long,
        help: ArgumentHelp("The cluster's directory.", valueName: "dir"),
        completion: .directory
    )
    var directory = ClusterOptions.defaultDirectory

    @OptionGroup var plan: PlanOptions

    @Option(name: .long, help: "How much the replicas log.")
    var logLevel = LogLevel.info

    @Option(
        name: .long,
        help: ArgumentHelp("Record the inputs of each replica's protocol engine in this directory.", valueName: "dir"),
        completion: .directory
    )
    var record: String?

    func run() async throws {
        let cluster = try await cluster()
        // Before any process is started: what a replica would stop for at once is said here.
        for replica in cluster.replicas {
            _ = try cluster.key(of: Identity(role: .replica, number: UInt32(replica.id.rawValue)))
        }
        try await cluster.checkEndpointsAreFree()
        // A cluster that was never started has no directory of stores; later, one that is missing is for the operator to explain.
        let data = ReplicaServer.Storage.defaultDirectory(clusterPath: cluster.path)
        let createsStores = cluster.durability != .none && !FileAccess.exists(data)
        try prepareRecording(of: cluster)
        let probe = try cluster.statusIdentity(keyPath: nil)
        try await LocalCluster(
            cluster: cluster,
            logDirectory: "\(directory)/logs",
            logLevel: logLevel,
            createsStores: createsStores,
            recordDirectory: record,
            probe: StatusSource(cluster: cluster, identity: probe.identity, key: probe.key),
            hints: hints(for: cluster)
        ).run()
    }

    private func prepareRecording(of cluster: ClusterFile) throws(OperatorError) {
        guard let record else { return }
        try FileAccess.createDirectory(record, mode: 0o700)
        for number in cluster.replicas.indices {
            let path = LocalCluster.recordPath(of: number, in: record)
            guard !FileAccess.exists(path) else {
                throw OperatorError(.cannotCreate, "\(path): the recording exists already and is not overwritten")
            }
        }
    }

    /// The cluster in the directory, made now if need be.
    private func cluster() async throws -> ClusterFile {
        let path = "\(directory)/\(ClusterOptions.fileName)"
        guard FileAccess.exists(path) else {
            let created = try await ClusterFile.create(plan.plan, path: path)
            try created.write()
            try Console.writeLine("made a cluster of \(created.file.replicas.count) replicas in \(directory)")
            return created.file
        }
        let file = try ClusterFile(path: path)
        let differences = [
            plan.replicas.flatMap { $0 == file.replicas.count ? nil : "\(file.replicas.count) replicas, not \($0)" },
            plan.clients.flatMap { $0 == file.clients.count ? nil : "\(file.clients.count) clients, not \($0)" },
            plan.protocolName.flatMap { option in
                option == file.protocolName
                    ? nil : "protocol \(file.protocolName.rawValue), not \(option.rawValue)"
            },
            plan.durability.flatMap { option in
                option == file.durability
                    ? nil : "durability \(file.durability.rawValue), not \(option.rawValue)"
            },
            plan.dissemination.flatMap { option in
                option == file.dissemination
                    ? nil : "dissemination \(file.dissemination.rawValue), not \(option.rawValue)"
            },
            plan.regularViewChanges.flatMap { option in
                option == file.regularViewChanges
                    ? nil : "regular view changes \(file.regularViewChanges.rawValue), not \(option.rawValue)"
            },
            plan.isolatedQueues.flatMap { option in
                option == file.isolatedQueues
                    ? nil : "isolated-queues \(file.isolatedQueues.rawValue), not \(option.rawValue)"
            },
            plan.signedRequests.flatMap { option in
                option == file.signedRequests
                    ? nil : "signed-requests \(file.signedRequests.rawValue), not \(option.rawValue)"
            },
        ]
        if let difference = differences.compactMap(\.self).first {
            throw OperatorError(.usage, "\(path): this cluster has \(difference); choose another --directory")
        }
        try Console.writeLine("taking up the cluster in \(directory)")
        return file
    }

    /// What to try next, as commands that work when they are pasted.
    private func hints(for cluster: ClusterFile) -> [String] {
        let program = CommandLine.arguments.first ?? "aardvark"
        let option = directory == ClusterOptions.defaultDirectory ? "" : " --cluster \(cluster.path)"
        return [
            "\(program) kv put greeting hello\(option)",
            "\(program) kv get greeting\(option)",
            "\(program) status\(option)",
            "\(program) bench --workload null --clients \(min(8, max(1, cluster.clients.count - 1))) --seconds 10\(option)",
        ]
    }
}

/// Where the status of a cluster's replicas comes from.
struct StatusSource: Sendable {
    let cluster: ClusterFile
    let identity: Identity
    let key: SigningKey

    /// Asks every replica: one answer each, nil from those that gave none in time.
    func query(timeout: Duration) async -> [ReplicaStatus?] {
        await StatusProbe.query(cluster: cluster, identity: identity, key: key, timeout: timeout)
    }
}
