import Agreement
import Cryptography
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
    private let cluster: ClusterFile
    private let replica: ReplicaID
    private let key: SigningKey
    private let limits: Limits
    private let service: any ReplicatedService
    private let logger: Logger

    /// Makes a replica; nothing is opened yet.
    ///
    /// - Parameters:
    ///   - cluster: The cluster.
    ///   - replica: Which of its replicas this is.
    ///   - key: The replica's key.
    ///   - service: What is replicated; the same at every replica.
    ///   - logger: For what operators should know.
    /// - Throws: When the cluster file does not name the replica, names another key, or sets bounds that do not fit each other.
    public init(
        cluster: ClusterFile,
        replica: ReplicaID,
        key: SigningKey,
        service: some ReplicatedService,
        logger: Logger
    ) throws(OperatorError) {
        try cluster.check(key, of: .replica(replica.rawValue), from: "replica \(replica.rawValue)")
        let limits = cluster.tuning.limits
        if let problem = limits.problem {
            throw OperatorError(.configuration, "\(cluster.path): tuning: \(problem)")
        }
        self.cluster = cluster
        self.replica = replica
        self.key = key
        self.limits = limits
        self.service = service
        var logger = logger
        logger[metadataKey: "replica"] = "\(replica)"
        self.logger = logger
    }

    /// Serves until graceful shutdown or cancellation.
    ///
    /// - Throws: An ``OperatorError`` when an endpoint cannot be bound.
    public func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let eventLoop = group.next()
        let box = try await eventLoop.submit { NIOLoopBound(self.makeNode(on: eventLoop), eventLoop: eventLoop) }.get()
        do {
            try await eventLoop.flatSubmit { box.value.start() }.get()
            logger.info(
                "replica serves",
                metadata: [
                    "protocol": "\(cluster.protocolName.rawValue)", "n": "\(cluster.size.replicas)",
                    "f": "\(cluster.size.faults)",
                ]
            )
            // Returns when shutdown begins; a cancelled task ends in the same way.
            try? await gracefulShutdown()
        } catch {
            try? await eventLoop.flatSubmit { box.value.stop() }.get()
            try? await group.shutdownGracefully()
            throw Self.operatorError(error)
        }
        logger.info("replica stops")
        try? await eventLoop.flatSubmit { box.value.stop() }.get()
        try? await group.shutdownGracefully()
    }

    private func makeNode(on eventLoop: any EventLoop) -> ReplicaNode {
        ReplicaNode(
            cluster: cluster,
            replica: replica,
            key: key,
            limits: limits,
            service: service,
            eventLoop: eventLoop,
            logger: logger
        )
    }

    private static func operatorError(_ error: any Error) -> any Error {
        guard let bind = error as? ListenerError else { return error }
        return OperatorError(.unavailable, "\(bind)")
    }
}

/// A replica's runtime with its listeners and dialers, on its event loop.
private final class ReplicaNode {
    private let runtime: ReplicaRuntime
    private let eventLoop: any EventLoop
    private var listeners: [Listener] = []
    private var dialers: [Dialer] = []

    init(
        cluster: ClusterFile,
        replica: ReplicaID,
        key: SigningKey,
        limits: Limits,
        service: any ReplicatedService,
        eventLoop: any EventLoop,
        logger: Logger
    ) {
        self.eventLoop = eventLoop
        runtime = ReplicaRuntime(
            cluster: cluster,
            replica: replica,
            key: key,
            limits: limits,
            service: service,
            eventLoop: eventLoop,
            logger: logger
        )
        guard let own = cluster.replica(replica) else { invariantViolated("a replica outside its cluster") }
        let keys = ClusterKeys(cluster: cluster, identity: .replica(replica.rawValue), key: key)
        listeners.append(
            keys.listener(at: own.clientEndpoint, purpose: .clients, eventLoop: eventLoop, delegate: runtime)
        )
        for peer in cluster.replicas where peer.id != replica {
            guard let listening = own.endpoint(for: peer.id), let dialled = peer.endpoint(for: replica) else {
                invariantViolated("a cluster file has an endpoint for each pair of replicas")
            }
            let incoming = EndpointPurpose.peer(peer.id.rawValue)
            listeners.append(keys.listener(at: listening, purpose: incoming, eventLoop: eventLoop, delegate: runtime))
            let outgoing = keys.dialer(
                to: peer.id,
                at: dialled,
                purpose: .peer(replica.rawValue),
                eventLoop: eventLoop,
                delegate: runtime
            )
            // A peer without a valid key can do nothing here, and counts among the f.
            if let outgoing { dialers.append(outgoing) }
        }
    }

    func start() -> EventLoopFuture<Void> {
        let bound = EventLoopFuture.andAllSucceed(listeners.map { $0.start() }, on: eventLoop)
        return bound.assumeIsolated().map {
            for dialer in self.dialers { dialer.start() }
        }.nonisolated()
    }

    func stop() -> EventLoopFuture<Void> {
        runtime.stop()
        for dialer in dialers { dialer.stop() }
        return EventLoopFuture.andAllComplete(listeners.map { $0.stop() }, on: eventLoop)
    }
}
