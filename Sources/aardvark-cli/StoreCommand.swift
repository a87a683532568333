import Aardvark
import ArgumentParser
import Cryptography
import DurableStore
import Messages

/// `aardvark store`.
struct StoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store",
        abstract: "Look at, check, back up and restore the store of a replica that is stopped.",
        discussion: """
            None of these commands changes a store that is there. A store that a running replica has open is refused (69).

              aardvark store inspect .aardvark/data/replica-0
              aardvark store verify .aardvark/data/replica-0
              aardvark store backup .aardvark/data/replica-0 monday.backup
              aardvark store verify monday.backup --cluster .aardvark/cluster.yaml
              aardvark store restore monday.backup --id 0
            """,
        subcommands: [
            InspectStoreCommand.self, VerifyStoreCommand.self, BackupStoreCommand.self, RestoreStoreCommand.self,
        ]
    )
}

/// `aardvark store inspect`.
struct InspectStoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Say what a store or a backup holds.",
        discussion: """
            Whose it is, its format, the view, the protocol log, the checkpoints with their roots and numbers of entries, and \
            which of them is stable. Nothing but that is read; `aardvark store verify` reads it all.

              aardvark store inspect .aardvark/data/replica-0
              aardvark store inspect monday.backup --json
            """
    )

    @Argument(help: "The store's directory, or a backup.", completion: .file())
    var path: String

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let report = try StoreReport(path)
        try Console.write(Array((json ? Console.json(report) : report.text).utf8))
    }
}

/// `aardvark store verify`.
struct VerifyStoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Read a whole store or backup and check that it is what was written.",
        discussion: """
            Computes the Merkle root of each checkpoint again from its keys and values, holds it against the stored tree, and \
            holds the state of the stable checkpoint against its certificate: the signatures of 2f + 1 replicas, whose keys \
            are in the cluster file. Reads the protocol log too. Nothing is changed. What is damaged is named, with exit code \
            65; a store or backup of another cluster has 78.

              aardvark store verify .aardvark/data/replica-0
              aardvark store verify monday.backup --cluster cluster/cluster.yaml --json
            """
    )

    @Argument(help: "The store's directory, or a backup.", completion: .file())
    var path: String

    @OptionGroup var clusterOptions: ClusterOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let keys = try clusterOptions.load().replicaKeys
        let report = try StoreReport(path)
        var progress = TransferProgress(verb: "verified", total: report.entries)
        let result: VerificationReport
        do {
            let findings = try operatorError { () throws(StoreError) in
                report.isBackup
                    ? try Backup(at: path).verify(keys) { progress.advance(to: $0) }
                    : try StoreReader(at: path).verify(keys) { progress.advance(to: $0) }
            }
            progress.advance(to: findings.entries)
            result = VerificationReport(path: path, findings)
        } catch {
            progress.abandon()
            throw error
        }
        progress.finish()
        try Console.write(Array((json ? Console.json(result) : result.text).utf8))
    }
}

/// `aardvark store backup`.
struct BackupStoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Write the state of a stopped replica's stable checkpoint to a file.",
        discussion: """
            The file holds every key with its value and the signatures of 2f + 1 replicas for their Merkle root, so that anybody \
            with the cluster file can check it later, offline. What is written is checked on the way. Operations after the \
            stable checkpoint are not in it. The other replicas serve on while one is stopped.

              aardvark store backup .aardvark/data/replica-0 monday.backup
            """
    )

    @Argument(help: "The store's directory.", completion: .directory)
    var path: String

    @Argument(help: "The file to create.", completion: .file(extensions: ["backup"]))
    var file: String

    @OptionGroup var clusterOptions: ClusterOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let keys = try clusterOptions.load().replicaKeys
        let reader = try operatorError { () throws(StoreError) in try StoreReader(at: path) }
        let total = try operatorError { () throws(StoreError) in try reader.summary() }.stableEntries
        var progress = TransferProgress(verb: "backed up", total: total)
        do {
            let backup = try operatorError { () throws(StoreError) in
                try reader.backUp(to: file, keys) { progress.advance(to: $0) }
            }
            progress.advance(to: backup.systemEntries + backup.serviceEntries)
        } catch {
            progress.abandon()
            throw error
        }
        progress.finish()
        let report = try StoreReport(file)
        try Console.write(Array((json ? Console.json(report) : report.text).utf8))
    }
}

/// `aardvark store restore`.
struct RestoreStoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Make the store of a replica that lost it out of a backup.",
        discussion: """
            The backup may be of any replica of the cluster. It is checked on the way; a store that is there is not overwritten. \
            Start the replica afterwards as always: it fetches what changed since the backup from the others. What it voted \
            after the backup it has forgotten, so that it votes for nothing until that is past, and counts among the f until \
            then. So restore at most f replicas at a time. Without a backup a replica comes back with \
            `aardvark replica --repair` too; it only has more to fetch.

              aardvark store restore monday.backup --id 0
              aardvark store restore monday.backup --id 0 --cluster cluster.yaml --data /var/lib/aardvark
            """
    )

    @Argument(help: "The backup.", completion: .file(extensions: ["backup"]))
    var backup: String

    @Option(name: .long, help: ArgumentHelp("The replica's number, from 0.", valueName: "number"))
    var id: UInt8

    @OptionGroup var clusterOptions: ClusterOptions

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The directory of the store to make. (default: data/replica-N beside the cluster file)",
            valueName: "directory"
        ),
        completion: .directory
    )
    var data: String?

    func run() throws {
        let cluster = try clusterOptions.load()
        guard cluster.durability != .none else {
            throw OperatorError(.usage, "\(cluster.path): durability is none, so there is no store to restore")
        }
        guard cluster.replica(ReplicaID(id)) != nil else {
            throw OperatorError(.usage, "\(cluster.path): there is no replica \(id) in this cluster")
        }
        let backup = try operatorError { () throws(StoreError) in try Backup(at: self.backup) }
        let path = try cluster.storePath(of: id, data, creatingParent: true)
        let owner = StoreOwner(cluster: cluster.clusterID, replica: ReplicaID(id))
        let keys = cluster.replicaKeys
        var progress = TransferProgress(verb: "restored", total: backup.systemEntries + backup.serviceEntries)
        do {
            try operatorError { () throws(StoreError) in
                try DurableStore.restore(backup, to: path, for: owner, keys) { progress.advance(to: $0) }
            }
            progress.advance(to: backup.systemEntries + backup.serviceEntries)
        } catch {
            progress.abandon()
            throw error
        }
        progress.finish()
        try Console.writeLine("\(path) has the state of batch \(backup.sequence.rawValue); start the replica as always")
    }
}

/// Does something with a store, and says what stood in the way as every command does.
func operatorError<Result>(_ body: () throws(StoreError) -> Result) throws(OperatorError) -> Result {
    do {
        return try body()
    } catch {
        throw OperatorError(error)
    }
}

extension ClusterFile {
    /// The directory of a replica's store.
    ///
    /// - Parameters:
    ///   - id: The replica's number.
    ///   - data: What the operator said it is; nil for the usual one beside the cluster file.
    ///   - creatingParent: Whether the directory that the usual one is in is made.
    func storePath(of id: UInt8, _ data: String?, creatingParent: Bool) throws(OperatorError) -> String {
        if let data { return data }
        let parent = ReplicaServer.Storage.defaultDirectory(clusterPath: path)
        if creatingParent { try FileAccess.createDirectory(parent, mode: 0o700) }
        return "\(parent)/replica-\(id)"
    }
}
