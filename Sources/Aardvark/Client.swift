import Agreement
import Cryptography
import Logging
import Messages
import NIOCore
import NIOPosix

/// A client of a cluster: sends operations, waits for f + 1 replicas to agree on each result.
///
/// Safe to use from any task or thread. Several operations may be under way at once, up to the window; what is submitted together
/// travels together.
///
/// ```swift
/// let client = try Client(cluster: cluster, client: ClientID(0), key: key, logger: logger)
/// try await client.start()
/// let result = try await client.invoke(operation)
/// await client.shutdown()
/// ```
public final class Client: Sendable {
    /// How a client behaves.
    public struct Configuration: Sendable {
        /// How many requests may be outstanding, 1 to 64.
        public var window = 32
        /// How many operations may travel in one request, under one signature, 1 to 64. More are gathered only when more are waiting.
        public var bundle = 1
        /// How long an operation may take, from ``Client/invoke(_:isReadOnly:)`` to its result.
        public var timeout: Duration = .seconds(10)
        /// How long ``Client/start()`` may take.
        public var connectTimeout: Duration = .seconds(10)

        /// The default behaviour.
        public init() {}
    }

    // One thread serves every client of the process: its work is small, and shared turns make shared system calls.
    private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    private let eventLoop: any EventLoop
    private let runtime: NIOLoopBoundBox<ClientRuntime>
    private let timeout: Duration

    /// Makes a client; nothing is connected yet.
    ///
    /// - Parameters:
    ///   - cluster: The cluster.
    ///   - client: Whose identity this is; only one process at a time may use it. The cluster file need not name it: administrators may
    ///     have added it, or changed its key.
    ///   - key: The identity's key.
    ///   - configuration: The client's behaviour; numbers out of their bounds are moved to the nearest inside.
    ///   - logger: For connections that come and go.
    /// - Throws: When the cluster file names a replica with a key that is not valid.
    public convenience init(
        cluster: ClusterFile,
        client: ClientID,
        key: SigningKey,
        configuration: Configuration = .init(),
        logger: Logger
    ) throws(OperatorError) {
        try self.init(
            cluster: cluster,
            client: client,
            key: key,
            configuration: configuration,
            interceptor: nil,
            logger: logger
        )
    }

    /// Makes a client with an interceptor, which is made and called on the client's event loop only.
    ///
    /// - Throws: When the cluster file names a replica with a key that is not valid.
    package init(
        cluster: ClusterFile,
        client: ClientID,
        key: SigningKey,
        configuration: Configuration,
        interceptor: (@Sendable () -> any ClientInterceptor)?,
        logger: Logger
    ) throws(OperatorError) {
        eventLoop = Self.group.next()
        timeout = configuration.timeout
        let runtime = try ClientRuntime(
            cluster: cluster,
            client: client,
            key: key,
            configuration: configuration,
            interceptor: interceptor,
            eventLoop: eventLoop,
            logger: logger
        )
        self.runtime = NIOLoopBoundBox.makeBoxSendingValue(runtime, eventLoop: eventLoop)
    }

    /// Connects to the replicas and opens a session.
    ///
    /// - Throws: ``ClientError/unreachable(connected:needed:)`` when too few replicas can be reached in time,
    ///   ``ClientError/notAdmitted(replicas:)`` when f + 1 of them say that they do not know this client or its key,
    ///   ``ClientError/timedOut`` when enough can be reached, but do not open the session.
    public func start() async throws(ClientError) {
        try await withResult { runtime, completion in
            runtime.start { completion($0) }
        }
    }

    /// Executes an operation and waits for its result.
    ///
    /// When the task is cancelled the wait ends at once; whether the operation is executed is then unknown.
    ///
    /// - Parameters:
    ///   - operation: At most `MessageLimits.operationBytes` long.
    ///   - isReadOnly: Whether the service can answer it without changing anything. Then replicas answer it outside the order, and
    ///     2f + 1 of them must agree; if they do not, it is ordered like any other. Linearizable either way.
    /// - Returns: The result that f + 1 replicas agree on, so at least one correct one gave it.
    /// - Throws: ``ClientError``.
    public func invoke(_ operation: [UInt8], isReadOnly: Bool = false) async throws(ClientError) -> [UInt8] {
        let call = PendingCall()
        let result: Result<[UInt8], ClientError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                call.begin(continuation)
                submit(operation, isReadOnly: isReadOnly) { call.finish($0) }
            }
        } onCancel: {
            call.finish(.failure(.cancelled))
        }
        return try result.get()
    }

    /// Executes an operation and hands its result to a closure.
    ///
    /// - Parameters:
    ///   - operation: At most `MessageLimits.operationBytes` long.
    ///   - isReadOnly: Whether the service can answer it without changing anything, see ``invoke(_:isReadOnly:)``.
    ///   - completion: Called once, on the client's event loop: it must not block. Submitting from it costs no change of threads.
    public func submit(
        _ operation: [UInt8],
        isReadOnly: Bool = false,
        completion: @escaping @Sendable (Result<[UInt8], ClientError>) -> Void
    ) {
        if eventLoop.inEventLoop {
            runtime.value.submit(operation, isReadOnly: isReadOnly, completion)
        } else {
            eventLoop.execute { [runtime] in runtime.value.submit(operation, isReadOnly: isReadOnly, completion) }
        }
    }

    /// Fails what is outstanding with ``ClientError/closed`` and disconnects.
    public func shutdown() async {
        _ = await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
            eventLoop.execute { [runtime] in
                runtime.value.stop()
                continuation.resume(returning: true)
            }
        }
    }

    private func withResult(
        _ body: @escaping @Sendable (ClientRuntime, @escaping @Sendable (Result<Void, ClientError>) -> Void) -> Void
    ) async throws(ClientError) {
        let result = await withCheckedContinuation { continuation in
            eventLoop.execute { [runtime] in
                body(runtime.value) { continuation.resume(returning: $0) }
            }
        }
        try result.get()
    }
}

/// Why an operation has no result.
public enum ClientError: Error, Hashable, Sendable, CustomStringConvertible {
    /// No f + 1 matching replies came in time; whether the operation is executed is unknown.
    case timedOut
    /// The task was cancelled; whether the operation is executed is unknown.
    case cancelled
    /// The client was shut down, or not started.
    case closed
    /// Another process opened a session under this client's identity, or an administrator changed its key.
    case superseded
    /// The operation is longer than a replica takes.
    case operationTooLarge(bytes: Int, limit: Int)
    /// The operation was executed, but its result is longer than a reply may be.
    case resultTooLarge
    /// Too few replicas could be reached.
    case unreachable(connected: Int, needed: Int)
    /// So many replicas refuse the connection, because the client is not known to them or its key is another.
    case notAdmitted(replicas: Int)
    /// f + 1 replicas agree on a result that has no meaning: they are of another version.
    case incomprehensible

    /// One sentence, without a full stop.
    public var description: String {
        switch self {
        case .timedOut: "no answer from enough replicas in time; whether the operation was executed is unknown"
        case .cancelled: "cancelled; whether the operation was executed is unknown"
        case .closed: "the client is not connected"
        case .superseded:
            "another process uses this client's identity, or an administrator changed its key; "
                + "give each process a client number of its own"
        case .operationTooLarge(let bytes, let limit):
            "the operation has \(bytes) bytes, but at most \(limit) are taken"
        case .resultTooLarge: "the operation was executed, but its result is longer than a reply may be"
        case .unreachable(let connected, let needed):
            "only \(connected) of the \(needed) replicas that are needed could be reached"
        case .notAdmitted(let replicas):
            "\(replicas) replicas refuse this client's key: an administrator removed the client or changed its key, "
                + "or the key is another's"
        case .incomprehensible: "the replicas' answer has no meaning here; they are of another version"
        }
    }
}
