import Agreement
import DurableStore
import Invariants
import Logging
import Messages
import StateStore

extension ReplicaServer {
    /// Where a replica keeps its state and its protocol log, unless the cluster file says `durability: none`.
    public struct Storage: Hashable, Sendable {
        /// What to expect at the place.
        public enum Start: Hashable, Sendable {
            /// The replica's store, from which it goes on.
            case existing
            /// Nothing: the replica begins with an empty state, as in a cluster that is new.
            case new
            /// A damaged store, which is set aside, or none: the replica fetches the state from its peers, and votes for nothing until what
            /// it may have voted before is past.
            case lost
        }

        /// The store's directory.
        public let path: String

        /// What to expect there.
        public let start: Start

        /// Names a place.
        ///
        /// - Parameters:
        ///   - path: The store's directory.
        ///   - start: What to expect there. A replica that has lost its store has forgotten what it voted: it must not begin as new.
        public init(path: String, start: Start) {
            self.path = path
            self.start = start
        }

        /// The directory that replicas' stores are in by default: `data` beside the cluster file.
        public static func defaultDirectory(clusterPath: String) -> String {
            let parts = clusterPath.split(separator: "/", omittingEmptySubsequences: false).dropLast()
            return (parts.map(String.init) + ["data"]).joined(separator: "/")
        }
    }
}

/// A replica's storage in use.
struct OpenStorage {
    let state: any AuthenticatedStore
    /// The store on disk; nil when everything is in memory.
    let disk: DurableStore?

    /// Storage in memory, which is lost with the process.
    static func memory(_ limits: Limits) -> OpenStorage {
        OpenStorage(state: InMemoryStateStore(checkpointsKept: checkpointsKept(limits)), disk: nil)
    }

    /// Those that may become stable, the stable one, and the one before it, which a peer may still be fetching.
    private static func checkpointsKept(_ limits: Limits) -> Int {
        limits.logWindow / limits.checkpointInterval + 2
    }

    /// Opens a store on disk, or makes it.
    ///
    /// - Parameters:
    ///   - storage: Where it is, and what to expect there.
    ///   - owner: Whose it has to be.
    ///   - keys: The keys of the cluster's replicas.
    ///   - durability: What it survives.
    ///   - limits: The replica's bounds.
    ///   - logger: Told when a damaged store was set aside.
    ///   - report: Called on a thread of the store's own.
    /// - Throws: Why it cannot be used.
    static func open(
        _ storage: ReplicaServer.Storage,
        of owner: StoreOwner,
        _ keys: ReplicaKeys,
        durability: Durability,
        limits: Limits,
        logger: Logger,
        report: @escaping @Sendable (ProtocolLog.Report) -> Void
    ) throws(OperatorError) -> OpenStorage {
        do throws(StoreError) {
            switch storage.start {
            case .existing: break
            case .new: try DurableStore.create(at: storage.path, for: owner)
            case .lost:
                let aside = try DurableStore.replaceDamaged(at: storage.path, for: owner, keys)
                logger.warning(
                    "begins with an empty store, and fetches the state from its peers",
                    metadata: ["damaged store": "\(aside ?? "none")"]
                )
            }
            var options = DurableStore.Options()
            options.durability = durability
            options.checkpointsKept = checkpointsKept(limits)
            let disk = try DurableStore(at: storage.path, for: owner, options: options, report: report)
            return OpenStorage(state: disk.state, disk: disk)
        } catch {
            throw OperatorError(error)
        }
    }

    /// Takes what the replica goes on from, once; nil when it begins.
    func takeRecovery() -> Recovery? {
        guard let disk else { return nil }
        let log = disk.takeRecovered()
        let kept = disk.state.keptCheckpoints.map { (SequenceNumber($0.number), $0.root) }
        guard !log.isEmpty || !kept.isEmpty else { return nil }
        return Recovery(
            executed: kept.last?.0 ?? .zero,
            records: systemRecords,
            log: log,
            checkpoints: kept.map { Recovery.OwnCheckpoint(sequence: $0.0, root: $0.1) }
        )
    }

    /// The engine's own entries of the state.
    var systemRecords: [SystemRecord] {
        var records: [SystemRecord] = []
        state.scan(.all, in: .system) { key, value in
            records.append(SystemRecord(key: key, value: value))
            return .more
        }
        return records
    }
}

extension ClusterFile {
    /// The keys of its replicas, which certificates are held against.
    public var replicaKeys: ReplicaKeys {
        ReplicaKeys(cluster: clusterID, size: size, keys: replicas.map(\.publicKey))
    }
}

extension OperatorError {
    /// What a store cannot be used for, with its exit code.
    public init(_ error: StoreError) {
        let kind: Kind =
            switch error.kind {
            case .missing: .noInput
            case .exists: .cannotCreate
            case .foreign: .configuration
            case .otherFormat, .damaged: .malformedData
            case .inUse, .notReady: .unavailable
            case .full, .inputOutput: .inputOutput
            case .forbidden: .noPermission
            }
        self.init(kind, error.sentence)
    }
}
