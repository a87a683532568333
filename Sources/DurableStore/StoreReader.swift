import Agreement
import Cryptography
import Disk
import Messages
import StateStore

/// What a store says of itself.
public struct StoreSummary: Sendable {
    /// A checkpoint of the replica's own that the store keeps.
    public struct KeptCheckpoint: Sendable {
        /// The last batch in it.
        public let number: UInt64
        /// The Merkle root of its state.
        public let root: Digest
        /// The number of the engine's own entries.
        public let systemEntries: Int
        /// The number of the service's entries.
        public let serviceEntries: Int
    }

    /// The last checkpoint that 2f + 1 replicas signed, as far as this replica knows.
    public struct StableCheckpoint: Sendable {
        /// The last batch in it.
        public let number: UInt64
        /// The Merkle root that was signed.
        public let root: Digest
        /// Who signed.
        public let signers: [ReplicaID]
    }

    /// Whose store it is.
    public let owner: StoreOwner
    /// The version of its format.
    public let format: UInt32
    /// The view that the replica was in, or that it had left its last one for.
    public let view: View
    /// Whether it was in that view.
    public let isActive: Bool
    /// Whether it votes for nothing until all that it may have voted, before it lost its store, is past.
    public let isLearning: Bool
    /// The checkpoints, oldest first.
    public let checkpoints: [KeptCheckpoint]
    /// The stable one; nil when there is none yet.
    public let stable: StableCheckpoint?
    /// The number of records in the protocol log.
    public let logRecords: Int
    /// The sequence numbers that have records there.
    public let logged: ClosedRange<UInt64>?
    /// The number of changes that were ever made to the store.
    public let changes: UInt64
    /// The bytes of its files.
    public let byteCount: UInt64
}

/// A store that is read and not changed in any way, whoever's it is.
public final class StoreReader {
    /// Where it is.
    public let path: String

    /// Whose it is.
    public let owner: StoreOwner

    let database: Database
    let checkpoints: [RocksStateStore.Checkpoint]
    let nodes: DiskNodes
    private let log: [LogRecord]

    /// Opens a store that no other process has open.
    ///
    /// - Parameters:
    ///   - path: The store's directory.
    ///   - cacheBytes: The most memory for what was read, in bytes.
    /// - Throws: Why it cannot be read, and what of it is not what was written, as far as that shows at once.
    public init(at path: String, cacheBytes: Int = 64 << 20) throws(StoreError) {
        guard try DurableStore.exists(at: path) else { throw StoreError(.missing, "\(path): there is no store") }
        try Self.checkIsFree(path)
        let header: StoreHeader
        do throws(StoreError) {
            let mark = try DurableMark(in: path, .readOnly)
            (database, header) = try DurableStore.openUnchanged(path, mark, cacheBytes: cacheBytes)
        } catch {
            // A replica that was started meanwhile explains much.
            try Self.checkIsFree(path)
            throw error
        }
        self.path = path
        owner = header.owner
        checkpoints = try RocksStateStore.checkpoints(in: database, at: path)
        nodes = DiskNodes(in: database, at: path, nextPlace: checkpoints.last?.nextPlace ?? 0)
        log = try LogWriter.read(database, at: path, owner: owner).map(\.record)
    }

    private static func checkIsFree(_ path: String) throws(StoreError) {
        let isLocked = try withFiles(at: path) { () throws(FileError) in
            try Files.isLockedByAnother("\(path)/LOCK")
        }
        guard !isLocked else {
            throw StoreError(.inUse, "\(path): another process has the store open; stop the replica first")
        }
    }

    /// The certificate of the last stable checkpoint; nil when there is none yet.
    var certified: (sequence: SequenceNumber, certificate: [Checkpoint])? {
        for case .stable(let sequence, let certificate) in log.reversed() { return (sequence, certificate) }
        return nil
    }

    /// What the store says of itself.
    public func summary() throws(StoreError) -> StoreSummary {
        var view = View(0)
        var isActive = true
        var isLearning = false
        for record in log {
            switch record {
            case .viewChange(let own): (view, isActive) = (own.view, false)
            case .newView(let newView, members: _): (view, isActive) = (newView.view, true)
            case .learning(let value): (isLearning, isActive) = (value, !value)
            case .prePrepared, .prepared, .stable: break
            }
        }
        let logged = log.compactMap { record -> UInt64? in
            if case .stable = record { return nil }
            return record.sequence?.rawValue
        }
        return StoreSummary(
            owner: owner,
            format: StoreHeader.format,
            view: view,
            isActive: isActive,
            isLearning: isLearning,
            checkpoints: checkpoints.map { checkpoint in
                StoreSummary.KeptCheckpoint(
                    number: checkpoint.number,
                    root: checkpoint.root,
                    systemEntries: checkpoint.counts.system,
                    serviceEntries: checkpoint.counts.service
                )
            },
            stable: certified.flatMap { sequence, certificate in
                certificate.first.map { first in
                    StoreSummary.StableCheckpoint(
                        number: sequence.rawValue,
                        root: first.root,
                        signers: certificate.map(\.replica).sorted()
                    )
                }
            },
            logRecords: log.count,
            logged: logged.min().flatMap { first in logged.max().map { first...$0 } },
            changes: database.changes,
            byteCount: try withFiles(at: path) { [path] () throws(FileError) in try Files.byteCount(in: path) }
        )
    }
}

extension RocksStateStore.Checkpoint {
    /// The Merkle root of its state.
    var root: Digest { tree?.digest ?? .zero }
}
