import Agreement
import Cryptography
import DurableStore
import Invariants
import Logging
import Messages
import NIOCore
import NIOPosix
import ServiceLifecycle
import Transport

/// A replica as a running thing: listens for its peers and for clients, dials its peers, and serves until it is told to stop.
///
/// ```swift
/// let server = try ReplicaServer(cluster: cluster, replica: ReplicaID(0), key: key, service: MyService(), logger: logger)
/// let group = ServiceGroup(services: [server], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
/// try await group.run()
/// ```
public final class ReplicaServer: Service {
    /// The most threads that may check signatures.
    public static let mostSignatureThreads = 64

    private let cluster: ClusterFile
    private let replica: ReplicaID
    private let key: SigningKey
    private let limits: Limits
    private let service: any ReplicatedService
    private let storage: Storage?
    private let evidenceDirectory: String?
    private let recording: InputRecording?
    private let signatureThreads: Int
    private let stateTransferRate: UInt64
    private let logger: Logger
    private let interceptor: (@Sendable () -> any ReplicaInterceptor)?

    /// Makes a replica; nothing is opened yet.
    ///
    /// - Parameters:
    ///   - cluster: The cluster.
    ///   - replica: Which of its replicas this is.
    ///   - key: The replica's key.
    ///   - service: What is replicated; the same at every replica.
    ///   - storage: Where the replica keeps its store; needed unless the cluster file says `durability: none`.
    ///   - evidence: The directory for evidence that others misbehave, made when it is needed; nil for no more than a line in the log.
    ///   - recording: Where to record all inputs of the protocol engine, for one run; nil not to.
    ///   - signatureThreads: How many threads check the signatures of requests beside the one that does all else, 0 to 64; 0 to check
    ///     them on that one; nil for what suits the machine's processors and the replicas on the same host.
    ///   - stateTransferRate: How fast all peers that fetch state are served at most, in bytes per second; at least 1 MB.
    ///   - logger: For what operators should know.
    /// - Throws: When the cluster file does not name the replica, names another key, or sets bounds that do not fit each other.
    public convenience init(
        cluster: ClusterFile,
        replica: ReplicaID,
        key: SigningKey,
        service: some ReplicatedService,
        storage: Storage? = nil,
        evidence: String? = nil,
        recording: InputRecording? = nil,
        signatureThreads: Int? = nil,
        stateTransferRate: UInt64 = ReplicaServer.defaultStateTransferRate,
        logger: Logger
    ) throws(OperatorError) {
        try self.init(
            cluster: cluster,
            replica: replica,
            key: key,
            service: service,
            storage: storage,
            evidence: evidence,
            recording: recording,
            signatureThreads: signatureThreads,
            stateTransferRate: stateTransferRate,
            interceptor: nil,
            logger: logger
        )
    }

    /// Makes a replica with an interceptor, which is called on the replica's event loop only.
    package init(
        cluster: ClusterFile,
        replica: ReplicaID,
        key: SigningKey,
        service: some ReplicatedService,
        storage: Storage?,
        evidence: String? = nil,
        recording: InputRecording?,
        signatureThreads: Int?,
        stateTransferRate: UInt64 = ReplicaServer.defaultStateTransferRate,
        interceptor: (@Sendable () -> any ReplicaInterceptor)?,
        logger: Logger
    ) throws(OperatorError) {
        try cluster.check(key, of: .replica(replica.rawValue), from: "replica \(replica.rawValue)")
        let limits = cluster.tuning.limits
        if let problem = limits.problem {
            throw OperatorError(.configuration, "\(cluster.path): tuning: \(problem)")
        }
        guard storage != nil || cluster.durability == .none else {
            throw OperatorError(
                .usage,
                "\(cluster.path): durability is \(cluster.durability.rawValue), but the replica is given no storage"
            )
        }
        let identities = cluster.clients.count + cluster.administrators.count
        guard identities <= limits.identities else {
            throw OperatorError(
                .configuration,
                "\(cluster.path): there may be \(limits.identities) clients and administrators, not \(identities)"
            )
        }
        self.cluster = cluster
        self.replica = replica
        self.key = key
        self.limits = limits
        self.service = service
        self.storage = storage
        evidenceDirectory = evidence
        self.recording = recording
        self.interceptor = interceptor
        self.stateTransferRate = max(stateTransferRate, Self.leastStateTransferRate)
        self.signatureThreads = Self.signatureThreads(signatureThreads, of: cluster, at: replica)
        var logger = logger
        logger[metadataKey: "replica"] = "\(replica)"
        self.logger = logger
    }

    /// How fast peers that fetch state are served unless told otherwise, in bytes per second.
    public static let defaultStateTransferRate: UInt64 = 100_000_000

    /// The slowest that peers that fetch state are served: slower, the largest answer would come after its time.
    public static let leastStateTransferRate: UInt64 = 1_000_000

    /// How many threads check signatures: none where requests have none.
    private static func signatureThreads(_ asked: Int?, of cluster: ClusterFile, at replica: ReplicaID) -> Int {
        guard cluster.switches.requestAuthentication == .signature else { return 0 }
        if let asked { return min(max(asked, 0), mostSignatureThreads) }
        let host = cluster.replica(replica)?.clientEndpoint.host
        return SignatureWorkers.recommended(
            processors: System.coreCount,
            replicasOnMachine: cluster.replicas.count { $0.clientEndpoint.host == host }
        )
    }

    /// Serves until graceful shutdown or cancellation.
    ///
    /// - Throws: An ``OperatorError`` when the store cannot be used, or not any more, or an endpoint cannot be bound.
    public func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let eventLoop = group.next()
        let (failures, failed) = AsyncStream.makeStream(of: OperatorError.self)
        let box: NIOLoopBound<ReplicaNode>
        do {
            box = try await eventLoop.submit {
                NIOLoopBound(try self.makeNode(on: eventLoop) { failed.yield($0) }, eventLoop: eventLoop)
            }.get()
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        do {
            try await eventLoop.flatSubmit { box.value.start() }.get()
            logger.info(
                "replica serves",
                metadata: [
                    "protocol": "\(cluster.protocolName.rawValue)", "n": "\(cluster.size.replicas)",
                    "f": "\(cluster.size.faults)",
                ]
            )
        } catch {
            try? await stop(box, eventLoop, group)
            throw Self.operatorError(error)
        }
        // Ends when shutdown begins or the task is cancelled, or with why the replica cannot go on.
        let failure = await cancelWhenGracefulShutdown { await failures.first { _ in true } }
        logger.info("replica stops")
        try await stop(box, eventLoop, group)
        if let failure { throw failure }
    }

    private func stop(
        _ box: NIOLoopBound<ReplicaNode>,
        _ eventLoop: any EventLoop,
        _ group: MultiThreadedEventLoopGroup
    ) async throws {
        try? await eventLoop.flatSubmit { box.value.stop() }.get()
        if let workers = try? await eventLoop.submit({ box.value.workers }).get() { await workers.stop() }
        let closing = try? await eventLoop.submit { box.value.closeStorage() }.get()
        try? await group.shutdownGracefully()
        try closing?.get()
    }

    private func makeNode(
        on eventLoop: any EventLoop,
        onFailure: @escaping @Sendable (OperatorError) -> Void
    ) throws -> ReplicaNode {
        let runtime = NIOLoopBoundBox<ReplicaRuntime?>(nil, eventLoop: eventLoop)
        let storage = try openStorage { report in
            eventLoop.execute { runtime.value?.logReported(report) }
        }
        let workers =
            signatureThreads == 0
            ? nil
            : SignatureWorkers(threads: signatureThreads, cluster: cluster.clusterID) {
                eventLoop.execute { runtime.value?.signaturesChecked() }
            }
        let node = ReplicaNode(
            cluster: cluster,
            replica: replica,
            key: key,
            limits: limits,
            service: service,
            storage: storage,
            evidenceDirectory: evidenceDirectory,
            recording: recording,
            workers: workers,
            stateTransferRate: stateTransferRate,
            interceptor: interceptor?(),
            eventLoop: eventLoop,
            logger: logger,
            onFailure: onFailure
        )
        runtime.value = node.runtime
        return node
    }

    private func openStorage(
        report: @escaping @Sendable (ProtocolLog.Report) -> Void
    ) throws(OperatorError) -> OpenStorage {
        let durability: Durability
        switch cluster.durability {
        case .none: return .memory(limits)
        case .processCrash: durability = .processCrash
        case .powerLoss: durability = .powerLoss
        }
        guard let storage else { invariantViolated("a durable replica without storage") }
        let owner = StoreOwner(cluster: cluster.clusterID, replica: replica)
        return try .open(
            storage,
            of: owner,
            cluster.replicaKeys,
            durability: durability,
            limits: limits,
            logger: logger,
            report: report
        )
    }

    private static func operatorError(_ error: any Error) -> any Error {
        guard let bind = error as? ListenerError else { return error }
        return OperatorError(.unavailable, "\(bind)")
    }
}

/// A replica's runtime with its listeners and dialers, on its event loop.
private final class ReplicaNode {
    let runtime: ReplicaRuntime
    let workers: SignatureWorkers?
    private let storage: OpenStorage
    private let eventLoop: any EventLoop
    /// How often metrics are published.
    private static let metricsInterval = TimeAmount.seconds(1)

    private var metrics: ReplicaMetrics
    private var publishing: Scheduled<Void>?
    private var listeners: [Listener] = []
    private var dialers: [Dialer?] = []

    init(
        cluster: ClusterFile,
        replica: ReplicaID,
        key: SigningKey,
        limits: Limits,
        service: any ReplicatedService,
        storage: OpenStorage,
        evidenceDirectory: String?,
        recording: InputRecording?,
        workers: SignatureWorkers?,
        stateTransferRate: UInt64,
        interceptor: (any ReplicaInterceptor)?,
        eventLoop: any EventLoop,
        logger: Logger,
        onFailure: @escaping (OperatorError) -> Void
    ) {
        self.eventLoop = eventLoop
        self.storage = storage
        self.workers = workers
        metrics = ReplicaMetrics(of: replica)
        runtime = ReplicaRuntime(
            cluster: cluster,
            replica: replica,
            key: key,
            limits: limits,
            service: service,
            storage: storage,
            evidenceDirectory: evidenceDirectory,
            recording: recording,
            workers: workers,
            stateTransferRate: stateTransferRate,
            interceptor: interceptor,
            eventLoop: eventLoop,
            logger: logger,
            onFailure: onFailure
        )
        guard let own = cluster.replica(replica) else { invariantViolated("a replica outside its cluster") }
        let keys = runtime.keys
        listeners.append(
            keys.listener(at: own.clientEndpoint, purpose: .clients, eventLoop: eventLoop, delegate: runtime)
        )
        dialers = Array(repeating: nil, count: cluster.size.replicas)
        for peer in cluster.replicas where peer.id != replica {
            guard let listening = own.endpoint(for: peer.id), let dialled = peer.endpoint(for: replica) else {
                invariantViolated("a cluster file has an endpoint for each pair of replicas")
            }
            let incoming = EndpointPurpose.peer(peer.id.rawValue)
            listeners.append(keys.listener(at: listening, purpose: incoming, eventLoop: eventLoop, delegate: runtime))
            // A peer without a valid key can do nothing here, and counts among the f.
            dialers[peer.id.index] = keys.dialer(
                to: peer.id,
                at: dialled,
                purpose: .peer(replica.rawValue),
                eventLoop: eventLoop,
                delegate: runtime
            )
        }
    }

    func start() -> EventLoopFuture<Void> {
        let bound = EventLoopFuture.andAllSucceed(listeners.map { $0.start() }, on: eventLoop)
        return bound.assumeIsolated().map {
            self.runtime.dial(self.dialers)
            self.publishAgain()
        }.nonisolated()
    }

    private func publishAgain() {
        publishing = eventLoop.assumeIsolated().scheduleTask(in: Self.metricsInterval) {
            self.publish()
            self.publishAgain()
        }
    }

    private func publish() {
        if let status = runtime.status() { metrics.publish(status) }
    }

    /// Makes durable what is not yet, and closes the store. Nothing may come in any more.
    func closeStorage() -> Result<Void, any Error> {
        guard let disk = storage.disk else { return .success(()) }
        do throws(StoreError) {
            return .success(try disk.close())
        } catch {
            return .failure(OperatorError(error))
        }
    }

    func stop() -> EventLoopFuture<Void> {
        publishing?.cancel()
        publish()
        runtime.stop()
        return EventLoopFuture.andAllComplete(listeners.map { $0.stop() }, on: eventLoop)
    }
}
