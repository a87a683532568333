import Cryptography
import Foundation
import Invariants
import Messages
import StateStore
import Synchronization
import TestSupport
import Testing

@testable import Agreement
@testable import DurableStore

/// A directory of a test's own, which is gone when the last reference to it is.
final class Workplace {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("durable-\(UUID())").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// Where the store is.
    var store: String { path + "/store" }

    static func owner(cluster: UInt8 = 7, replica: UInt8 = 1) throws -> StoreOwner {
        let cluster = try #require(ClusterID(Array(repeating: cluster, count: 32)))
        return StoreOwner(cluster: cluster, replica: ReplicaID(replica))
    }

    /// Opens the store, which is made when there is none.
    func open(
        replica: UInt8 = 1,
        durability: Durability = .powerLoss,
        checkpointsKept: Int = 3,
        report: @escaping @Sendable (ProtocolLog.Report) -> Void = { _ in }
    ) throws -> DurableStore {
        let owner = try Self.owner(replica: replica)
        if try !DurableStore.exists(at: store) { try DurableStore.create(at: store, for: owner) }
        var options = DurableStore.Options()
        options.durability = durability
        options.checkpointsKept = checkpointsKept
        options.cacheBytes = 4 << 20
        return try DurableStore(at: store, for: owner, options: options, report: report)
    }

    /// What a machine that stopped now would find: the files as they are, in a workplace of its own.
    ///
    /// - Parameter mark: The mark of this workplace instead.
    func copy(markOf other: Workplace? = nil) throws -> Workplace {
        let copy = try Workplace()
        try FileManager.default.createDirectory(atPath: copy.store, withIntermediateDirectories: false)
        // The mark first, so that what it says is there.
        let names = try files.filter { $0 != "LOCK" }
        for name in names.filter({ $0 == "durable" }) + names.filter({ $0 != "durable" }) {
            let source = (name == "durable" ? other ?? self : self).store
            try FileManager.default.copyItem(atPath: "\(source)/\(name)", toPath: "\(copy.store)/\(name)")
        }
        return copy
    }

    /// The names of the store's files.
    var files: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: store).sorted() }
    }

    func contents(_ name: String) throws -> [UInt8] {
        try Array(Data(contentsOf: URL(fileURLWithPath: "\(store)/\(name)")))
    }

    func write(_ bytes: [UInt8], to name: String) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: "\(store)/\(name)"))
    }
}

/// The store on disk and the one in memory, changed alike.
struct Pair {
    var disk: DurableStore
    var memory = InMemoryStateStore(checkpointsKept: 3)

    private let workplace: Workplace

    init(_ workplace: Workplace) throws {
        self.workplace = workplace
        disk = try workplace.open()
    }

    /// Writes and deletes out of `keys` keys of both keyspaces.
    func change(_ count: Int, keys: Int = 300, _ random: inout SplitMix64) {
        for _ in 0..<count {
            let number = random.below(keys)
            let key = [UInt8(truncatingIfNeeded: number), UInt8(truncatingIfNeeded: number >> 8)]
            let keyspace: Keyspace = number % 5 == 0 ? .system : .service
            let value = random.below(3) == 0 ? nil : random.bytes(random.below(30))
            for store in [disk.state, memory] as [any AuthenticatedStore] {
                if let value {
                    store.put(value, at: key, in: keyspace)
                } else {
                    store.delete(key, in: keyspace)
                }
            }
        }
    }

    /// Both have the same entries, and the same checkpoints with the same trees.
    func expectAgreement() {
        #expect(disk.failure == nil)
        for keyspace in Keyspace.allCases {
            #expect(disk.state.entries(in: keyspace) == memory.entries(in: keyspace))
            #expect(disk.state.count(in: keyspace) == memory.count(in: keyspace))
        }
        #expect(disk.state.lastCheckpoint == memory.lastCheckpoint)
        for (number, root) in disk.state.keptCheckpoints {
            #expect(memory.root(ofCheckpoint: number) == root)
            #expect(disk.state.nodes(ofCheckpoint: number) == memory.nodes(ofCheckpoint: number))
        }
    }
}

extension AuthenticatedStore {
    func entries(_ range: KeyRange = .all, in keyspace: Keyspace) -> [StateEntry] {
        var entries: [StateEntry] = []
        scan(range, in: keyspace) { key, value in
            entries.append(StateEntry(key: key, value: value))
            return .more
        }
        return entries
    }

    /// Every node of a checkpoint's tree, from the root on; the rest is left out where a node is missing.
    func nodes(ofCheckpoint number: UInt64) -> [StateNode] {
        var nodes: [StateNode] = []
        var open: [[UInt8]] = [[]]
        while let steps = open.popLast() {
            guard let path = SubtreePath(steps), let node = node(at: path, inCheckpoint: number) else { continue }
            nodes.append(node)
            if case .branch(let branch) = node {
                open += (UInt8(0)..<16).filter { branch.child(at: $0) != nil }.map { steps + [$0] }
            }
        }
        return nodes
    }
}

/// What a protocol log reported, in the order of the reports.
final class Reports: Sendable {
    private let reports = Mutex<[ProtocolLog.Report]>([])

    func add(_ report: ProtocolLog.Report) {
        reports.withLock { $0.append(report) }
    }

    var durable: [UInt64] {
        reports.withLock { $0.compactMap { if case .durable(let position) = $0 { position.rawValue } else { nil } } }
    }

    var checkpoints: [UInt64] {
        reports.withLock { $0.compactMap { if case .checkpointDurable(let number) = $0 { number } else { nil } } }
    }

    var failures: [StoreError] {
        reports.withLock { $0.compactMap { if case .failed(let error) = $0 { error } else { nil } } }
    }
}

/// Signs nothing, at no cost.
private struct NoSigner: Signer {
    func sign(_ message: [UInt8]) -> Signature {
        guard let signature = Signature(Array(repeating: 0, count: 64)) else {
            invariantViolated("a signature has 64 bytes")
        }
        return signature
    }
}

/// Log records about nothing in particular.
enum Records {
    static func prePrepared(_ sequence: UInt64, view: UInt64 = 0) -> LogRecord {
        .prePrepared(PrePrepare(view: View(view), sequence: SequenceNumber(sequence), batch: .null))
    }

    static func prepared(_ sequence: UInt64, view: UInt64 = 0) -> LogRecord {
        .prepared(View(view), SequenceNumber(sequence), Digest.of([UInt8(truncatingIfNeeded: sequence)]))
    }

    static func viewChange(_ view: UInt64) throws -> LogRecord { .viewChange(try change(view, by: 1)) }

    static func newView(_ view: UInt64) throws -> LogRecord {
        let members = try [1, 2, 3].map { try change(view, by: $0) }
        let newView = NewView(
            view: View(view),
            members: members.map { NewView.Member($0.replica, $0.digest) },
            start: .zero,
            chosen: [.zero],
            cluster: try Workplace.owner().cluster,
            signer: NoSigner()
        )
        return .newView(newView, members: members)
    }

    static func stable(_ sequence: UInt64) throws -> LogRecord {
        let cluster = try Workplace.owner().cluster
        let number = SequenceNumber(sequence)
        let certificate = (UInt8(0)..<3).map { replica in
            Checkpoint(number, root: .zero, by: ReplicaID(replica), cluster: cluster, signer: NoSigner())
        }
        return .stable(number, certificate: certificate)
    }

    private static func change(_ view: UInt64, by replica: UInt8) throws -> ViewChange {
        ViewChange(
            view: View(view),
            replica: ReplicaID(replica),
            stable: .zero,
            certificate: [],
            prepared: [],
            prePrepared: [BatchClaim(SequenceNumber(1), .zero, View(0))],
            cluster: try Workplace.owner().cluster,
            signer: NoSigner()
        )
    }
}

extension ProtocolLog {
    /// Adds records at the positions after `position`, and makes them durable.
    ///
    /// - Returns: The last position.
    @discardableResult
    func add(_ records: [LogRecord], after position: UInt64 = 0) -> UInt64 {
        var position = position
        for record in records {
            position += 1
            append(record, at: LogPosition(rawValue: position))
        }
        finish()
        return position
    }
}
