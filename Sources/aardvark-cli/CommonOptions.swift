import Aardvark
import ArgumentParser
import Cryptography
import Foundation
import Logging
import Messages

/// Which cluster a command is about.
struct ClusterOptions: ParsableArguments {
    /// Where `aardvark up` keeps its cluster unless told otherwise.
    static let defaultDirectory = ".aardvark"

    /// The cluster file's name in a cluster's directory.
    static let fileName = "cluster.yaml"

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The cluster file. (default: \(defaultDirectory)/\(fileName), if it is there)",
            valueName: "file"
        ),
        completion: .file(extensions: ["yaml", "yml"])
    )
    var cluster: String?

    /// Reads the cluster file.
    ///
    /// - Throws: When there is none, or what is wrong with it.
    func load() throws(OperatorError) -> ClusterFile {
        if let cluster { return try ClusterFile(path: cluster) }
        let usual = "\(Self.defaultDirectory)/\(Self.fileName)"
        guard FileAccess.exists(usual) else {
            throw OperatorError(
                .noInput,
                "there is no \(usual) here; give --cluster FILE, or make a cluster with \"aardvark init\" or \"aardvark up\""
            )
        }
        return try ClusterFile(path: usual)
    }
}

/// Which client of the cluster a command speaks as.
struct ClientOptions: ParsableArguments {
    @OptionGroup var clusterOptions: ClusterOptions

    @Option(
        name: .customLong("client"),
        help: ArgumentHelp(
            "The number of the client to speak as. (default: the last one in the cluster file)",
            discussion:
                "Two processes must not speak as one client at the same time: the later one ends the session of "
                + "the earlier. The benchmark takes clients from 0 on.",
            valueName: "number"
        )
    )
    var clientNumber: UInt32?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The client's key file. (default: keys/client-N.key beside the cluster file)",
            valueName: "file"
        ),
        completion: .file(extensions: ["key"])
    )
    var key: String?

    @Option(name: .long, help: ArgumentHelp("How long to wait for an operation.", valueName: "seconds"))
    var timeout = 10

    func validate() throws {
        guard (1...3_600).contains(timeout) else {
            throw ValidationError("The time-out is from 1 to 3600 seconds, not \(timeout).")
        }
    }

    /// Connects to the cluster.
    ///
    /// - Parameter window: How many operations may be outstanding at a time.
    /// - Throws: When a file is wrong, or the cluster cannot be reached.
    func connect(window: Int = 1) async throws -> Client {
        let cluster = try clusterOptions.load()
        guard let number = clientNumber ?? cluster.clients.last?.id else {
            throw OperatorError(.configuration, "\(cluster.path): the cluster file names no client to speak as")
        }
        let key = try cluster.clientKey(of: number, at: key)
        var configuration = Client.Configuration()
        configuration.window = min(window, cluster.tuning.clientWindow)
        configuration.timeout = .seconds(timeout)
        configuration.connectTimeout = .seconds(timeout)
        let client = try Client(
            cluster: cluster,
            client: ClientID(number),
            key: key,
            configuration: configuration,
            logger: LogLevel.warning.logger(label: "aardvark.client")
        )
        try await client.start()
        return client
    }
}

// The command line knows these by the names that they have in the cluster file.
extension ClusterFile.ProtocolName: ExpressibleByArgument {}
extension ClusterFile.Dissemination: ExpressibleByArgument {}
extension ClusterFile.Switch: ExpressibleByArgument {}
extension ClusterFile.Durability: ExpressibleByArgument {}

/// How much a process logs.
enum LogLevel: String, CaseIterable, ExpressibleByArgument {
    case trace
    case debug
    case info
    case notice
    case warning
    case error

    /// A logger that writes to the standard error output from this level on.
    func logger(label: String) -> Logger {
        var logger = Logger(label: label) { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = Logger.Level(rawValue: rawValue) ?? .info
        return logger
    }
}

extension ClusterFile {
    /// An identity of this cluster whose key is at hand and may ask replicas for their status: the first administrator, or
    /// else the last client.
    ///
    /// - Parameter keyPath: The key file of any client or administrator; nil to look beside the cluster file.
    /// - Throws: When there is none, or its key cannot be used.
    func statusIdentity(keyPath: String?) throws(OperatorError) -> (identity: Identity, key: SigningKey) {
        let known =
            administrators.map { (Identity(role: .administrator, number: $0.id), $0.publicKey) }
            + clients.map { (Identity(role: .client, number: $0.id), $0.publicKey) }
        if let keyPath {
            let key = try KeyFile.read(keyPath)
            guard let owner = known.first(where: { $0.1 == key.publicKey }) else {
                throw OperatorError(
                    .configuration,
                    "\(keyPath): the key does not match the cluster file: \(path) has no administrator or client with it"
                )
            }
            return (owner.0, key)
        }
        let candidates = [administrators.isEmpty ? nil : known.first?.0, clients.isEmpty ? nil : known.last?.0]
        let present = candidates.compactMap(\.self).first {
            FileAccess.exists(KeyFile.defaultPath(for: $0, clusterPath: path))
        }
        guard let identity = present ?? candidates.compactMap(\.self).first else {
            throw OperatorError(.configuration, "\(path): the cluster file names no administrator or client to ask as")
        }
        return (identity, try key(of: identity))
    }
}
