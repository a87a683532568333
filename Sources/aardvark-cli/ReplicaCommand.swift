import Aardvark
import ArgumentParser
import CoreMetrics
import Cryptography
import Foundation
import KeyValueService
import Logging
import Messages
import ServiceLifecycle
import UnixSignals

/// `aardvark replica`.
struct ReplicaCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replica",
        abstract: "Run one replica until it is told to stop.",
        discussion: """
            Listens on the endpoints that the cluster file gives it, and serves until SIGTERM or Ctrl-C. It logs to the \
            standard error output.

            Unless the cluster file says durability: none, its state is in a store on disk. A replica of a new cluster makes \
            it with --create, once. A replica whose store is gone or damaged has forgotten what it voted, and must not begin \
            as new: with --repair it sets a damaged store aside, fetches the state from the others, and votes for nothing \
            until what it may have voted before is past (it needs a view change for that). Until then it counts among the f.

              aardvark replica --cluster cluster/cluster.yaml --id 0 --create
              aardvark replica --cluster cluster/cluster.yaml --id 0
              aardvark replica --cluster cluster/cluster.yaml --id 0 --repair

            With --record FILE it also writes down every input of its protocol engine, so that `aardvark-lab replay FILE` can \
            step through the same run later. The file holds what clients asked for, and no keys; it grows with all that arrives.

            With --metrics it serves all that it counts to Prometheus, as of the last second:

              aardvark replica --cluster cluster/cluster.yaml --id 0 --metrics 9400
              curl http://127.0.0.1:9400/metrics
            """
    )

    @OptionGroup var clusterOptions: ClusterOptions

    @Option(name: .long, help: ArgumentHelp("The replica's number, from 0.", valueName: "number"))
    var id: UInt8

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The replica's key file. (default: keys/replica-N.key beside the cluster file)",
            valueName: "file"
        ),
        completion: .file(extensions: ["key"])
    )
    var key: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The directory of the replica's store. (default: data/replica-N beside the cluster file)",
            valueName: "directory"
        ),
        completion: .directory
    )
    var data: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The directory for evidence that others misbehave. (default: evidence/replica-N beside the cluster file)",
            valueName: "directory"
        ),
        completion: .directory
    )
    var evidence: String?

    @Flag(help: "Make the store: for a replica of a new cluster.")
    var create = false

    @Flag(help: "Set a damaged store aside, or do without a lost one, and come back with the help of the others.")
    var repair = false

    @Option(name: .long, help: "How much to log.")
    var logLevel = LogLevel.info

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Threads that check the signatures of requests beside the one that does all else; 0 for none. (default: the "
                + "processors that are left when each replica on this host has one)",
            valueName: "number"
        )
    )
    var signatureThreads: Int?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "How fast replicas that fetch the state are served at most, all together, in MB/s.",
            valueName: "megabytes"
        )
    )
    var stateTransferRate = Int(ReplicaServer.defaultStateTransferRate / 1_000_000)

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Serve metrics for Prometheus at http://ADDRESS/metrics; without a host on this machine only.",
            valueName: "[host:]port"
        )
    )
    var metrics: MetricsAddress?

    @Option(
        name: .long,
        help: ArgumentHelp("Record the protocol engine's inputs in a new file.", valueName: "file"),
        completion: .file()
    )
    var record: String?

    @Flag(
        help: ArgumentHelp(
            "Stop when the standard input closes, and not at Ctrl-C: for a parent process that runs replicas.",
            visibility: .private
        )
    )
    var lifeline = false

    func validate() throws {
        let most = ReplicaServer.mostSignatureThreads
        if let signatureThreads, !(0...most).contains(signatureThreads) {
            throw ValidationError("--signature-threads is 0 to \(most)")
        }
        guard (1...100_000).contains(stateTransferRate) else {
            throw ValidationError("--state-transfer-rate is 1 to 100000")
        }
        guard !(create && repair) else { throw ValidationError("A replica cannot both be new and be repaired.") }
    }

    func run() async throws {
        let cluster = try clusterOptions.load()
        let key = try cluster.key(of: Identity(role: .replica, number: UInt32(id)), at: key)
        let logger = logLevel.logger(label: "aardvark.replica")
        let recording = try record.map { path throws(OperatorError) in
            try InputRecording(path: path, logger: logger)
        }
        let server = try ReplicaServer(
            cluster: cluster,
            replica: ReplicaID(id),
            key: key,
            service: KeyValueService(),
            storage: storage(cluster),
            evidence: evidence
                ?? ReplicaServer.defaultEvidenceDirectory(clusterPath: cluster.path, replica: id),
            recording: recording,
            signatureThreads: signatureThreads,
            stateTransferRate: UInt64(stateTransferRate) * 1_000_000,
            logger: logger
        )
        var services = [ServiceGroupConfiguration.ServiceConfiguration(service: server)]
        if let metrics {
            let page = MetricsPage()
            MetricsSystem.bootstrap(page)
            services.append(.init(service: MetricsEndpoint(page: page, address: metrics, logger: logger)))
        }
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: services,
                gracefulShutdownSignals: lifeline ? [.sigterm] : [.sigterm, .sigint],
                logger: logger
            )
        )
        guard lifeline else { return try await group.run() }
        // A Ctrl-C at the terminal reaches the parent too, which then stops its replicas in order.
        let ignored = await UnixSignalsSequence(trapping: .sigint, .sighup)
        let ignoring = Task { for await _ in ignored {} }
        defer { ignoring.cancel() }
        Self.onEndOfInput {
            logger.notice("the parent process is gone; stopping")
            Task {
                await group.triggerGracefulShutdown()
                // The graceful way may wait for a peer; nobody is left to wait for this process.
                try? await Task.sleep(for: .seconds(5))
                Foundation.exit(0)
            }
        }
        try await group.run()
    }

    private func storage(_ cluster: ClusterFile) throws(OperatorError) -> ReplicaServer.Storage? {
        guard cluster.durability != .none else {
            if create || repair || data != nil {
                throw OperatorError(
                    .usage,
                    "\(cluster.path): durability is none, so there is no store to name, make or repair"
                )
            }
            return nil
        }
        let path = try cluster.storePath(of: id, data, creatingParent: create || repair)
        return ReplicaServer.Storage(path: path, start: create ? .new : repair ? .lost : .existing)
    }

    /// Calls `body` once, when nobody holds the other end of the standard input any more.
    private static func onEndOfInput(_ body: @escaping @Sendable () -> Void) {
        // A thread that waits in read(2): a dispatch source on a pipe that is hung up crashes libdispatch on Linux.
        Thread.detachNewThread {
            while let bytes = try? FileHandle.standardInput.read(upToCount: 4_096), !bytes.isEmpty {}
            body()
        }
    }
}
