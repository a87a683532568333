import Aardvark
import Cryptography
import Foundation
import KeyValueService
import Logging
import Messages
import ServiceLifecycle
import Synchronization
import Testing

/// Makes clusters on ports of their own, so that those of tests that run at once do not meet.
enum TestPorts {
    // Below the ports that operating systems give to outgoing connections, and different for each run.
    private static let next = Mutex(Int.random(in: 100...180) * 100)

    /// A new cluster of four replicas, eight clients and an administrator.
    static func cluster(_ plan: ClusterFile.Plan? = nil) async throws -> ClusterFile.Created {
        var plan = plan ?? ClusterFile.Plan(durability: .none)
        plan.basePort = next.withLock { next in
            // 16 ports, and some more for those that others have.
            defer { next += 40 }
            return next
        }
        return try await ClusterFile.create(plan, path: "cluster.yaml")
    }
}

extension Logger {
    /// A logger that drops everything.
    static var silent: Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }
}

/// How often to try to listen on a port that was free just now.
///
/// A process that another test starts at this moment holds copies of this process's sockets until it becomes another
/// program.
enum Patience {
    static let attempts = 50
    static let pause = Duration.milliseconds(50)
}

/// A replica that tries again when a port is taken for a moment.
private struct PersistentReplica: Service {
    /// Makes it anew for each try: the store is there after the first.
    let makeServer: @Sendable () throws -> ReplicaServer

    func run() async throws {
        for _ in 1..<Patience.attempts {
            do {
                return try await makeServer().run()
            } catch let error as OperatorError where error.kind == .unavailable {
                try await Task.sleep(for: Patience.pause)
            }
        }
        try await makeServer().run()
    }
}

/// Four replicas in this process, each on a thread of its own, and the clients that tests make of them.
final class RunningCluster: Sendable {
    private struct Running: Sendable {
        let group: ServiceGroup
        let task: Task<Void, any Error>
    }

    let created: ClusterFile.Created
    private let stores: URL
    private let service: any ReplicatedService
    private let recordDirectory: String?
    private let signatureThreads: Int
    private let running = Mutex<[Int: Running]>([:])
    private let clients = Mutex<[Client]>([])

    var file: ClusterFile { created.file }

    private init(
        _ plan: ClusterFile.Plan,
        service: any ReplicatedService,
        recordDirectory: String?,
        signatureThreads: Int
    ) async throws {
        created = try await TestPorts.cluster(plan)
        stores = FileManager.default.temporaryDirectory.appending(path: "aardvark-stores-\(UUID())")
        try FileManager.default.createDirectory(at: stores, withIntermediateDirectories: false)
        self.service = service
        self.recordDirectory = recordDirectory
        self.signatureThreads = signatureThreads
    }

    /// Runs a cluster, calls `body`, and stops whatever runs then.
    ///
    /// - Parameters:
    ///   - requestTimeoutMilliseconds: So long that no primary is suspected because the machine is slow, unless that is wanted.
    ///   - recordDirectory: Where each replica records its inputs, as `replica-N`.
    static func with(
        _ protocolName: ClusterFile.ProtocolName = .pbft,
        service: some ReplicatedService = KeyValueService(),
        tuning: ClusterFile.Tuning = .init(),
        isolatedQueues: ClusterFile.Switch? = nil,
        signedRequests: ClusterFile.Switch? = nil,
        durability: ClusterFile.Durability = .none,
        replicas: Range<Int> = 0..<4,
        requestTimeoutMilliseconds: Int = 600_000,
        recordDirectory: String? = nil,
        signatureThreads: Int = 0,
        _ body: (RunningCluster) async throws -> Void
    ) async throws {
        var plan = ClusterFile.Plan()
        plan.protocolName = protocolName
        // The first one asks for the status.
        plan.administrators = 2
        plan.tuning = tuning
        plan.isolatedQueues = isolatedQueues
        plan.signedRequests = signedRequests
        plan.durability = durability
        // No primary is suspected because the machine is slow.
        plan.tuning.requestTimeoutMilliseconds = requestTimeoutMilliseconds
        let cluster = try await RunningCluster(
            plan,
            service: service,
            recordDirectory: recordDirectory,
            signatureThreads: signatureThreads
        )
        do {
            for replica in replicas { try cluster.startReplica(replica) }
            try await body(cluster)
        } catch {
            await cluster.stop()
            throw error
        }
        await cluster.stop()
    }

    func key(of identity: Identity) throws -> SigningKey {
        try #require(created.key(of: identity))
    }

    // MARK: Replicas

    /// Where a replica's store is; it is made when there is none.
    private func storage(_ number: Int) -> ReplicaServer.Storage? {
        guard file.durability != .none else { return nil }
        let path = "\(stores.path)/replica-\(number)"
        let isThere = FileManager.default.fileExists(atPath: path)
        return ReplicaServer.Storage(path: path, start: isThere ? .existing : .new)
    }

    /// Where a replica keeps evidence that others misbehave.
    func evidenceDirectory(of number: Int) -> String { "\(stores.path)/evidence-\(number)" }

    private func makeServer(_ number: Int, _ recording: InputRecording?) throws -> ReplicaServer {
        try ReplicaServer(
            cluster: file,
            replica: ReplicaID(UInt8(number)),
            key: key(of: .replica(UInt8(number))),
            service: service,
            storage: storage(number),
            evidence: evidenceDirectory(of: number),
            recording: recording,
            signatureThreads: signatureThreads,
            logger: .silent
        )
    }

    func startReplica(_ number: Int) throws {
        let recording = try recordDirectory.map {
            try InputRecording(path: "\($0)/replica-\(number)", logger: .silent)
        }
        let replica = PersistentReplica { [self] in try makeServer(number, recording) }
        let group = ServiceGroup(services: [replica], logger: .silent)
        running.withLock { $0[number] = Running(group: group, task: Task { try await group.run() }) }
    }

    /// Stops a replica in the graceful way, and waits until it is gone.
    func stopReplica(_ number: Int) async throws {
        guard let replica = running.withLock({ $0.removeValue(forKey: number) }) else { return }
        await replica.group.triggerGracefulShutdown()
        try await replica.task.value
    }

    deinit {
        try? FileManager.default.removeItem(at: stores)
    }

    private func stop() async {
        for client in clients.withLock({ $0 }) { await client.shutdown() }
        for number in file.replicas.indices {
            do {
                try await stopReplica(number)
            } catch {
                Issue.record("replica \(number) ended with \(error)")
            }
        }
    }

    // MARK: Clients

    /// A client that is not started yet.
    func makeClient(_ number: UInt32 = 0, _ configure: (inout Client.Configuration) -> Void = { _ in }) throws -> Client
    {
        var configuration = Client.Configuration()
        // Tests of something else should not fail because the machine is slow.
        configuration.timeout = .seconds(50)
        configuration.connectTimeout = .seconds(50)
        configure(&configuration)
        return try makeClient(number, key: key(of: .client(number)), configuration)
    }

    /// A client with any key, which is not started yet.
    func makeClient(_ number: UInt32, key: SigningKey, _ configuration: Client.Configuration) throws -> Client {
        let client = try Client(
            cluster: file,
            client: ClientID(number),
            key: key,
            configuration: configuration,
            logger: .silent
        )
        clients.withLock { $0.append(client) }
        return client
    }

    /// A client with a session.
    func client(
        _ number: UInt32 = 0,
        _ configure: (inout Client.Configuration) -> Void = { _ in }
    ) async throws -> Client {
        let client = try makeClient(number, configure)
        try await client.start()
        return client
    }

    /// How many replicas say that this is not a client's key; 0 when the client is let in.
    func refusals(of number: UInt32, _ key: SigningKey) async throws -> Int {
        var configuration = Client.Configuration()
        configuration.connectTimeout = .milliseconds(300)
        while true {
            let client = try makeClient(number, key: key, configuration)
            do {
                try await client.start()
                return 0
            } catch ClientError.notAdmitted(let replicas) {
                return replicas
            } catch ClientError.unreachable, ClientError.timedOut {
                // The machine is slow.
                continue
            }
        }
    }

    // MARK: Status

    /// What the replicas say of themselves, as soon as `condition` holds of it.
    @discardableResult
    func statuses(until condition: ([ReplicaStatus?]) -> Bool) async throws -> [ReplicaStatus?] {
        let key = try key(of: .administrator(0))
        while true {
            let answers = await StatusProbe.query(
                cluster: file,
                identity: .administrator(0),
                key: key,
                timeout: .seconds(5)
            )
            if condition(answers) { return answers }
            // Replicas bound how often one identity may connect.
            try await Task.sleep(for: .milliseconds(150))
        }
    }

    /// What one replica says of itself, as soon as `condition` holds of it.
    @discardableResult
    func status(of replica: Int, until condition: (ReplicaStatus) -> Bool) async throws -> ReplicaStatus {
        let answers = try await statuses { $0[replica].map(condition) ?? false }
        return try #require(answers[replica])
    }
}

extension ReplicaStatus {
    /// The value of a counter, which there must be.
    subscript(name: String) -> UInt64 {
        guard let counter = counters.first(where: { $0.name == name }) else {
            Issue.record("replica \(replica) has no counter \(name)")
            return 0
        }
        return counter.value
    }
}

// MARK: - The key-value service

extension Client {
    /// Has an operation of the key-value service executed.
    func perform(_ operation: KeyValueOperation) async throws -> KeyValueResult {
        try #require(KeyValueResult(encoded: try await invoke(operation.encoded)))
    }

    /// Adds 1 to the number under a key, and gives the sum.
    func increment(_ key: String) async throws -> Int64 {
        guard case .number(let sum) = try await perform(.increment(key: Array(key.utf8), by: 1)) else {
            Issue.record("an increment has no sum")
            return -1
        }
        return sum
    }
}
