import Cryptography
import DurableStore
import Foundation
import Messages
import StateStore
import Testing

/// The plainest possible store: two dictionaries, sorted and hashed anew whenever something is asked.
struct Model: Equatable {
    var tables: [Keyspace: [[UInt8]: [UInt8]]] = [.system: [:], .service: [:]]

    func value(of key: [UInt8], in keyspace: Keyspace) -> [UInt8]? {
        tables[keyspace]?[key]
    }

    mutating func set(_ key: [UInt8], to value: [UInt8]?, in keyspace: Keyspace) {
        tables[keyspace]?[key] = value
    }

    func count(in keyspace: Keyspace) -> Int {
        tables[keyspace]?.count ?? 0
    }

    func entries(_ range: KeyRange, in keyspace: Keyspace) -> [StateEntry] {
        (tables[keyspace] ?? [:])
            .filter { entry in
                !entry.key.lexicographicallyPrecedes(range.from)
                    && (range.to.map { entry.key.lexicographicallyPrecedes($0) } ?? true)
            }
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }
            .map { StateEntry(key: $0.key, value: $0.value) }
    }

    /// The Merkle root, by the definition in the documentation and with none of the code under test.
    var root: Digest {
        var leaves: [(path: [UInt8], digest: Digest)] = []
        for keyspace in Keyspace.allCases {
            for (key, value) in tables[keyspace] ?? [:] {
                let length = UInt32(key.count)
                let lengthBytes = (0..<4).map { UInt8(truncatingIfNeeded: length >> UInt32(8 * $0)) }
                let path = Digest.of([2, keyspace.rawValue] + key).bytes.flatMap { [$0 >> 4, $0 & 15] }
                leaves.append((path, Digest.of([0, keyspace.rawValue] + lengthBytes + key + value)))
            }
        }
        return Self.root(of: leaves, depth: 0)
    }

    private static func root(of leaves: [(path: [UInt8], digest: Digest)], depth: Int) -> Digest {
        guard let first = leaves.first else { return .zero }
        if leaves.count == 1 { return first.digest }
        var bitmap = 0
        var digests: [UInt8] = []
        for step in 0..<16 {
            let below = leaves.filter { $0.path[depth] == step }
            if below.isEmpty { continue }
            bitmap |= 1 << step
            digests += root(of: below, depth: depth + 1).bytes
        }
        return Digest.of([1, UInt8(bitmap & 255), UInt8(bitmap >> 8)] + digests)
    }
}

/// A store that says how much it hashed and holds.
protocol MeasuredStore: AuthenticatedStore {
    var hashedNodes: UInt64 { get }
    var heldNodes: Int { get }
}

extension InMemoryStateStore: MeasuredStore {}
extension RocksStateStore: MeasuredStore {}

/// The stores that must behave the same.
enum StoreKind: CaseIterable {
    case memory
    case rocks

    /// Calls `body` with an empty store, which is gone afterwards.
    func withStore(checkpointsKept: Int = 4, _ body: (any MeasuredStore) throws -> Void) throws {
        switch self {
        case .memory:
            try body(InMemoryStateStore(checkpointsKept: checkpointsKept))
        case .rocks:
            let path = FileManager.default.temporaryDirectory.appendingPathComponent("store-\(UUID())").path
            defer { try? FileManager.default.removeItem(atPath: path) }
            let cluster = try #require(ClusterID(Array(repeating: 7, count: 32)))
            let owner = StoreOwner(cluster: cluster, replica: ReplicaID(1))
            try DurableStore.create(at: path, for: owner)
            var options = DurableStore.Options()
            options.checkpointsKept = checkpointsKept
            let store = try DurableStore(at: path, for: owner, options: options) { _ in }
            try body(store.state)
            #expect(store.failure == nil)
            try store.close()
        }
    }
}

extension AuthenticatedStore {
    func entries(_ range: KeyRange = .all, in keyspace: Keyspace = .service) -> [StateEntry] {
        var entries: [StateEntry] = []
        scan(range, in: keyspace) { key, value in
            entries.append(StateEntry(key: key, value: value))
            return .more
        }
        return entries
    }

    /// Every entry of a checkpoint, by walking its tree from the root; checks each node's digest against its parent.
    func walk(checkpoint: UInt64) -> (entries: Set<WalkedEntry>, nodes: Int, isSound: Bool) {
        guard let root = root(ofCheckpoint: checkpoint) else { return ([], 0, false) }
        if root == .zero { return ([], 0, node(at: .root, inCheckpoint: checkpoint) == nil) }
        var entries: Set<WalkedEntry> = []
        var nodes = 0
        var isSound = true
        var open: [(steps: [UInt8], digest: Digest)] = [([], root)]
        while let (steps, digest) = open.popLast() {
            guard let path = SubtreePath(steps), let node = node(at: path, inCheckpoint: checkpoint),
                node.digest == digest
            else {
                isSound = false
                continue
            }
            nodes += 1
            switch node {
            case .leaf(let keyspace, let entry):
                entries.insert(WalkedEntry(keyspace: keyspace, entry: entry))
            case .branch(let branch):
                for step in UInt8(0)..<16 {
                    if let child = branch.child(at: step) {
                        open.append((steps + [step], child))
                    }
                }
            }
        }
        return (entries, nodes, isSound)
    }
}

struct WalkedEntry: Hashable {
    let keyspace: Keyspace
    let entry: StateEntry
}

extension Model {
    var walked: Set<WalkedEntry> {
        var entries: Set<WalkedEntry> = []
        for keyspace in Keyspace.allCases {
            for entry in self.entries(.all, in: keyspace) {
                entries.insert(WalkedEntry(keyspace: keyspace, entry: entry))
            }
        }
        return entries
    }
}
