import Aardvark
import ArgumentParser
import Cryptography
import Messages

/// What a new cluster should be like, as far as the command line can say it.
struct PlanOptions: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("How many replicas: 3f + 1 tolerate f faulty ones. (default: 4)"))
    var replicas: Int?

    @Option(name: .long, help: ArgumentHelp("How many clients to make keys for. (default: 8)"))
    var clients: Int?

    @Option(name: .customLong("protocol"), help: ArgumentHelp("The protocol that replicas run. (default: aardvark)"))
    var protocolName: ClusterFile.ProtocolName?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "What a replica's state survives: power-loss, process-crash, or none (in memory). (default: power-loss)"
        )
    )
    var durability: ClusterFile.Durability?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "To whom clients send requests: primary (to all after a time-out) or all at once. (default: primary)"
        )
    )
    var dissemination: ClusterFile.Dissemination?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Whether primaries are watched and replaced when they are slow, unfair or silent: on or off. "
                + "(default: on with aardvark, off with pbft)"
        )
    )
    var regularViewChanges: ClusterFile.Switch?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Whether what each peer and each client sends has a queue and a share of its own. (default: on in aardvark, off in pbft)"
        )
    )
    var isolatedQueues: ClusterFile.Switch?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Whether clients sign their requests, or make a MAC for each replica. (default: on in aardvark, off in pbft)"
        )
    )
    var signedRequests: ClusterFile.Switch?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Where to start looking for free ports: a cluster of n replicas needs n x n.",
            valueName: "port"
        )
    )
    var basePort = ClusterFile.Plan().basePort

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The address that replicas listen on; repeat it to give each replica its own, in order. (default: "
                + "\(ClusterFile.Endpoint.defaultHost))",
            valueName: "address"
        )
    )
    var host: [String] = []

    /// The plan of a new cluster.
    var plan: ClusterFile.Plan {
        var plan = ClusterFile.Plan()
        plan.replicas = replicas ?? plan.replicas
        plan.clients = clients ?? plan.clients
        plan.protocolName = protocolName ?? plan.protocolName
        plan.durability = durability ?? plan.durability
        plan.dissemination = dissemination ?? plan.dissemination
        plan.regularViewChanges = regularViewChanges
        plan.isolatedQueues = isolatedQueues
        plan.signedRequests = signedRequests
        plan.basePort = basePort
        if !host.isEmpty { plan.hosts = host }
        return plan
    }
}

/// `aardvark init`.
struct InitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Make the files of a new cluster.",
        discussion: """
            Writes DIR/cluster.yaml, which replicas and clients share, and one secret key for each identity below DIR/keys: \
            replica-N.key, client-N.key and admin-0.key, readable by you alone. Nothing is overwritten.

              aardvark init --replicas 4 --clients 8 --output cluster
              aardvark init --replicas 7 --protocol aardvark --output big
            """
    )

    @OptionGroup var plan: PlanOptions

    @Option(name: .long, help: ArgumentHelp("The directory to make.", valueName: "dir"), completion: .directory)
    var output: String

    func run() async throws {
        let path = "\(output)/\(ClusterOptions.fileName)"
        guard !FileAccess.exists(path) else {
            throw OperatorError(.cannotCreate, "\(path): the cluster file exists already and is not overwritten")
        }
        let created = try await ClusterFile.create(plan.plan, path: path)
        try created.write()
        let file = created.file
        try Console.writeLine(
            "\(path): \(file.replicas.count) replicas (tolerating \(file.size.faults) faulty), \(file.clients.count) clients, "
                + "\(file.protocolName.rawValue); keys in \(output)/keys"
        )
        try Console.writeLine("start each replica with: aardvark replica --cluster \(path) --id N")
    }
}

/// `aardvark keygen`.
struct KeygenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keygen",
        abstract: "Make one secret key.",
        discussion: """
            With --output, the secret key goes to a new file that you alone can read, and its public key is printed: the \
            line for the cluster file. Without, the whole key file is printed.

              aardvark keygen --output keys/client-8.key
            """
    )

    @Option(name: .long, help: ArgumentHelp("The key file to create.", valueName: "file"), completion: .file())
    var output: String?

    func run() async throws {
        let key = SigningKey.random()
        guard let output else {
            try Console.write(Array(KeyFile.render(key, owner: "an identity").utf8))
            return
        }
        try KeyFile.create(key, at: output, owner: "an identity")
        try Console.writeLine("publicKey: \(key.publicKey)")
    }
}
