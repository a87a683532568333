import Aardvark
import ArgumentParser
import Cryptography
import Foundation
import Messages

/// `aardvark admin`.
struct AdminCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "admin",
        abstract: "Say who the clients are, and look at evidence of misbehaviour.",
        discussion: """
            What an administrator asks for is ordered among all requests and holds at every replica from that place in the \
            order on. Nothing is restarted.
            """,
        subcommands: [AdminClientCommand.self, EvidenceCommand.self]
    )
}

/// `aardvark admin client`.
struct AdminClientCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "client",
        abstract: "Say who the clients are.",
        discussion: """
            The cluster file names the clients of the start. From then on the replicas keep who is a client and with which \
            key; the cluster file is not changed.

              aardvark keygen --output alice.key > alice.pub       on the new client's machine
              aardvark admin client add --key-file alice.pub       prints the client's number, 8 for example
              aardvark kv --client 8 --key alice.key get greeting
              aardvark admin client rekey 8 --key-file new.pub     from now on only the new key is good
              aardvark admin client remove 8
              aardvark admin client list

            The exit code is 1 when nothing was changed, because the client is there already, or is not there.
            """,
        subcommands: [
            AddClientCommand.self, RekeyClientCommand.self, RemoveClientCommand.self, ListClientsCommand.self,
        ]
    )
}

/// Which administrator a command speaks as.
struct AdministratorOptions: ParsableArguments {
    @OptionGroup var clusterOptions: ClusterOptions

    @Option(
        name: .customLong("administrator"),
        help: ArgumentHelp(
            "The number of the administrator to speak as. (default: the first one in the cluster file)",
            valueName: "number"
        )
    )
    var number: UInt32?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The administrator's key file. (default: keys/admin-N.key beside the cluster file)",
            valueName: "file"
        ),
        completion: .file(extensions: ["key"])
    )
    var key: String?

    @Option(name: .long, help: ArgumentHelp("How long to wait for the replicas.", valueName: "seconds"))
    var timeout = 10

    func validate() throws {
        guard (1...3_600).contains(timeout) else {
            throw ValidationError("The time-out is from 1 to 3600 seconds, not \(timeout).")
        }
    }

    /// Connects, calls `body`, and disconnects.
    ///
    /// - Throws: What `body` throws, or why there is no connection.
    func connected<Result>(_ body: (Administrator) async throws -> Result) async throws -> Result {
        let cluster = try clusterOptions.load()
        guard let number = number ?? cluster.administrators.first?.id else {
            throw OperatorError(.configuration, "\(cluster.path): the cluster file names no administrator to speak as")
        }
        let key = try cluster.key(of: Identity(role: .administrator, number: number), at: key)
        var configuration = Client.Configuration()
        configuration.window = 1
        configuration.timeout = .seconds(timeout)
        configuration.connectTimeout = .seconds(timeout)
        let administrator = try Administrator(
            cluster: cluster,
            number: number,
            key: key,
            configuration: configuration,
            logger: LogLevel.warning.logger(label: "aardvark.administrator")
        )
        let result: Result
        do {
            try await administrator.start()
            result = try await body(administrator)
        } catch {
            await administrator.shutdown()
            throw error
        }
        await administrator.shutdown()
        return result
    }

    /// Has an operation carried out, and says what became of it.
    ///
    /// - Throws: When a file is wrong, the cluster cannot be reached, or nothing was changed.
    func perform(_ operation: AdministrationOperation) async throws {
        switch try await connected({ try await $0.perform(operation) }) {
        case .added(let client, let epoch):
            try Console.writeLine("client \(client.number) added, key epoch \(epoch.rawValue)")
        case .keyReplaced(let client, let epoch):
            try Console.writeLine("client \(client.number) has the new key, key epoch \(epoch.rawValue)")
        case .removed(let client): try Console.writeLine("client \(client.number) removed")
        case .exists(let client): throw unchanged("client \(client.number) is there already")
        case .unknown(let client): throw unchanged("there is no client \(client.number)")
        case .keyInUse(let client):
            throw unchanged("\(client.identity) has this key; each identity needs a key of its own")
        case .full: throw unchanged("there are as many clients, removed ones included, as there may be")
        case .malformed, .clients: throw ClientError.incomprehensible
        }
    }

    private func unchanged(_ sentence: String) -> ExitCode {
        Console.note("aardvark: \(sentence)")
        return .failure
    }
}

/// The public key of a client, as the command line gives it.
struct PublicKeyOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "The file with the client's public key: what \"aardvark keygen --output\" prints, or the secret key's own file.",
            valueName: "file"
        ),
        completion: .file()
    )
    var keyFile: String?

    @Option(name: .long, help: ArgumentHelp("The client's public key, in hexadecimal.", valueName: "hex"))
    var publicKey: String?

    func validate() throws {
        guard (keyFile == nil) != (publicKey == nil) else {
            throw ValidationError("Give --key-file FILE or --public-key HEX, and not both.")
        }
    }

    /// Reads the key.
    ///
    /// - Throws: When it cannot be read, or is none.
    func load() throws(OperatorError) -> PublicKey {
        if let keyFile { return try KeyFile.readPublicKey(keyFile) }
        guard let bytes = Hexadecimal.decode(publicKey ?? ""), let key = PublicKey(bytes) else {
            throw OperatorError(.usage, "a public key has \(2 * PublicKey.byteCount) hexadecimal digits")
        }
        return key
    }
}

/// The number of a client, as the command line gives it.
private func client(_ number: UInt32) throws(OperatorError) -> ClientID {
    guard number <= ClientID.mostNumber else {
        throw OperatorError(.usage, "a client's number is from 0 to \(ClientID.mostNumber), not \(number)")
    }
    return ClientID(number)
}

/// `aardvark admin client add`.
struct AddClientCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add",
        abstract: "Take in a client.",
        discussion: "Prints its number. A client that was removed can be taken in again, with any key."
    )

    @OptionGroup var publicKey: PublicKeyOptions

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The number of the client. (default: the lowest that no client has or ever had)",
            valueName: "number"
        )
    )
    var id: UInt32?

    @OptionGroup var administrator: AdministratorOptions

    func run() async throws {
        let key = try publicKey.load()
        let wanted: ClientID? = if let id { try client(id) } else { nil }
        try await administrator.perform(.add(wanted, key))
    }
}

/// `aardvark admin client rekey`.
struct RekeyClientCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rekey",
        abstract: "Give a client another key.",
        discussion:
            "What is authenticated with the key before takes no effect any more, and its connections are closed."
    )

    @Argument(help: "The number of the client.")
    var id: UInt32

    @OptionGroup var publicKey: PublicKeyOptions

    @OptionGroup var administrator: AdministratorOptions

    func run() async throws {
        let key = try publicKey.load()
        try await administrator.perform(.replaceKey(client(id), key))
    }
}

/// `aardvark admin client remove`.
struct RemoveClientCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Shut a client out.",
        discussion:
            "Its connections are closed, and what it has asked for and is not executed takes no effect any more."
    )

    @Argument(help: "The number of the client.")
    var id: UInt32

    @OptionGroup var administrator: AdministratorOptions

    func run() async throws {
        try await administrator.perform(.remove(client(id)))
    }
}

/// `aardvark admin client list`.
struct ListClientsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List the clients and their keys.",
        discussion: "The list is that of one moment, after everything that was answered before it was asked for."
    )

    @OptionGroup var administrator: AdministratorOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() async throws {
        let clients = try await administrator.connected { try await $0.clients() }
        guard json else {
            let rows = clients.map { ["\($0.client.number)", "\($0.epoch.rawValue)", "\($0.key)"] }
            return try Console.write(Array(Console.table([["client", "epoch", "public key"]] + rows).utf8))
        }
        let report = ClientReport(
            clients: clients.map {
                ClientReport.Row(client: $0.client.number, keyEpoch: $0.epoch.rawValue, publicKey: "\($0.key)")
            }
        )
        try Console.write(Array(Console.json(report).utf8))
    }
}

/// The clients of a cluster, as they are printed. The names of the JSON object's fields are those of the properties in snake case.
private struct ClientReport: Encodable {
    struct Row: Encodable {
        let client: UInt32
        let keyEpoch: UInt32
        let publicKey: String
    }

    let clients: [Row]
}
