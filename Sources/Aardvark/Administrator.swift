import Cryptography
import Logging
import Messages

/// An administrator of a cluster: says who its clients are, while the cluster runs.
///
/// What it asks for is ordered among everybody's requests and takes effect at that place in the order, at every replica.
///
/// ```swift
/// let administrator = try Administrator(cluster: cluster, number: 0, key: key, logger: logger)
/// try await administrator.start()
/// let result = try await administrator.perform(.add(nil, newKey.publicKey))
/// await administrator.shutdown()
/// ```
public final class Administrator: Sendable {
    private let client: Client

    /// Makes an administrator; nothing is connected yet.
    ///
    /// - Parameters:
    ///   - cluster: The cluster.
    ///   - number: Which of its administrators this is; only one process at a time may use its identity.
    ///   - key: The administrator's key.
    ///   - configuration: How the administrator behaves, which is like a client.
    ///   - logger: For connections that come and go.
    /// - Throws: When the cluster file does not name the administrator, or names another key.
    public init(
        cluster: ClusterFile,
        number: UInt32,
        key: SigningKey,
        configuration: Client.Configuration = .init(),
        logger: Logger
    ) throws(OperatorError) {
        try cluster.check(key, of: .administrator(number), from: "administrator \(number)")
        client = try Client(
            cluster: cluster,
            client: ClientID(administrator: number),
            key: key,
            configuration: configuration,
            logger: logger
        )
    }

    /// Connects to the replicas and opens a session.
    ///
    /// - Throws: As ``Client/start()``.
    public func start() async throws(ClientError) {
        try await client.start()
    }

    /// Has an operation carried out and waits for what became of it.
    ///
    /// - Throws: As ``Client/invoke(_:isReadOnly:)``.
    public func perform(_ operation: AdministrationOperation) async throws(ClientError) -> AdministrationResult {
        let bytes = try await client.invoke(operation.encoded)
        do throws(MalformedMessage) {
            return try AdministrationResult(decoding: bytes)
        } catch {
            throw .incomprehensible
        }
    }

    /// The clients, in the order of their numbers.
    ///
    /// Up to `MessageLimits.clientsPerList` of them are those of one moment; more are asked for in parts.
    ///
    /// - Throws: As ``perform(_:)``.
    public func clients() async throws(ClientError) -> [ClientKey] {
        var clients: [ClientKey] = []
        var next = ClientID(0)
        while true {
            guard case .clients(let part, let isComplete) = try await perform(.list(from: next)) else {
                throw .incomprehensible
            }
            clients += part
            guard !isComplete, let last = part.last, last.client.number < ClientID.mostNumber else { return clients }
            next = ClientID(last.client.number + 1)
        }
    }

    /// Fails what is outstanding with ``ClientError/closed`` and disconnects.
    public func shutdown() async {
        await client.shutdown()
    }
}
