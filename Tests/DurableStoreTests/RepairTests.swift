import Agreement
import Cryptography
import Foundation
import Messages
import StateStore
import TestSupport
import Testing

@testable import DurableStore

/// Stores that are made anew for a replica that had one.
struct RepairTests {
    private let keyring: [SigningKey] = (0..<4).map { _ in SigningKey.random() }

    private func keys(cluster: UInt8 = 7) throws -> ReplicaKeys {
        let owner = try Workplace.owner(cluster: cluster)
        let size = try #require(ClusterSize(replicas: 4))
        return ReplicaKeys(cluster: owner.cluster, size: size, keys: keyring.map(\.publicKey))
    }

    private func learning(_ records: [LogRecord]) -> [Bool] {
        records.compactMap { if case .learning(let value) = $0 { value } else { nil } }
    }

    /// A backup of the state at 20, and the state.
    private func backup(in workplace: Workplace) throws -> (path: String, state: InMemoryStateStore) {
        var random = SplitMix64(seed: 31)
        let source = try Workplace()
        let pair = try Pair(source)
        pair.change(900, keys: 1200, &random)
        let root = pair.memory.checkpoint(20)
        #expect(pair.disk.state.checkpoint(20) == root)
        let cluster = try Workplace.owner().cluster
        let certificate = [UInt8(1), 2, 3].map { signer in
            Checkpoint(
                SequenceNumber(20),
                root: root,
                by: ReplicaID(signer),
                cluster: cluster,
                signer: keyring[Int(signer)]
            )
        }
        pair.disk.log.add([.stable(SequenceNumber(20), certificate: certificate)])
        try pair.disk.close()
        let path = workplace.path + "/b"
        _ = try StoreReader(at: source.store).backUp(to: path, try keys())
        return (path, pair.memory)
    }

    @Test func `a restored store has the state and the certificate, and its replica learns`() throws {
        let workplace = try Workplace()
        let (path, memory) = try backup(in: workplace)
        // The backup is of replica 1.
        let owner = try Workplace.owner(replica: 2)
        try DurableStore.restore(try Backup(at: path), to: workplace.store, for: owner, try keys())
        let reader = try StoreReader(at: workplace.store)
        #expect(try reader.verify(try keys()).certificate == .holds(20))
        #expect(try reader.summary().isLearning)
        let store = try DurableStore(at: workplace.store, for: owner) { _ in }
        for keyspace in Keyspace.allCases {
            #expect(store.state.entries(in: keyspace) == memory.entries(in: keyspace))
            #expect(store.state.count(in: keyspace) == memory.count(in: keyspace))
        }
        #expect(store.state.nodes(ofCheckpoint: 20) == memory.nodes(ofCheckpoint: 20))
        let records = store.takeRecovered()
        #expect(learning(records) == [true])
        guard case .stable(let sequence, let certificate) = records.first else {
            Issue.record("no stable checkpoint")
            return
        }
        #expect(sequence == SequenceNumber(20) && certificate.count == 3)
        // The store goes on like any other: the tree has just the nodes that it needs, and the next checkpoint has the right root.
        for other in [store.state, memory] as [any AuthenticatedStore] {
            other.put([1, 2], at: [77], in: .service)
            other.delete([3, 0], in: .service)
        }
        #expect(store.state.checkpoint(40) == memory.checkpoint(40))
        store.log.add([.learning(false)], after: 2)
        try store.close()
        let again = try DurableStore(at: workplace.store, for: owner) { _ in }
        #expect(learning(again.takeRecovered()) == [false])
        #expect(again.state.lastCheckpoint == 40)
        try again.close()
    }

    @Test func `a restored tree has no needless nodes`() throws {
        let workplace = try Workplace()
        let (path, memory) = try backup(in: workplace)
        let owner = try Workplace.owner()
        try DurableStore.restore(try Backup(at: path), to: workplace.store, for: owner, try keys())
        let store = try DurableStore(at: workplace.store, for: owner) { _ in }
        #expect(store.state.heldNodes == memory.nodes(ofCheckpoint: 20).count)
        try store.close()
    }

    @Test func `nothing is restored over something, from another cluster, or out of what was not signed`() throws {
        let workplace = try Workplace()
        let (path, _) = try backup(in: workplace)
        let owner = try Workplace.owner()
        let good = try Backup(at: path)
        let foreign = #expect(throws: StoreError.self) {
            try DurableStore.restore(
                good,
                to: workplace.store,
                for: try Workplace.owner(cluster: 8),
                try keys(cluster: 8)
            )
        }
        #expect(foreign?.kind == .foreign)
        let bytes = try Array(Data(contentsOf: URL(fileURLWithPath: path)))
        var changed = bytes
        changed[bytes.count - 1] ^= 1
        for damaged in [changed, Array(bytes.dropLast(20)), bytes + bytes.suffix(20)] {
            try Data(damaged).write(to: URL(fileURLWithPath: workplace.path + "/damaged"))
            let error = #expect(throws: StoreError.self) {
                let backup = try Backup(at: workplace.path + "/damaged")
                try DurableStore.restore(backup, to: workplace.store, for: owner, try keys())
            }
            #expect(error?.kind == .damaged)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: workplace.path).sorted() == ["b", "damaged"])
        try DurableStore.create(at: workplace.store, for: owner)
        let exists = #expect(throws: StoreError.self) {
            try DurableStore.restore(good, to: workplace.store, for: owner, try keys())
        }
        #expect(exists?.kind == .exists)
    }

    @Test func `a damaged store is set aside as it is, and an empty one takes its place`() throws {
        let workplace = try Workplace()
        let owner = try Workplace.owner()
        for round in 1...2 {
            if round == 1 { try workplace.open().close() }
            let manifest = try #require(try workplace.files.first { $0.hasPrefix("MANIFEST") })
            try workplace.write([1, 2, 3], to: manifest)
            let aside = try DurableStore.replaceDamaged(at: workplace.store, for: owner, try keys())
            let path = try #require(aside)
            #expect(path == "\(workplace.store).damaged-\(round)")
            #expect(try Array(Data(contentsOf: URL(fileURLWithPath: "\(path)/\(manifest)"))) == [1, 2, 3])
            let store = try workplace.open()
            #expect(learning(store.takeRecovered()) == [true])
            #expect(store.state.lastCheckpoint == nil)
            try store.close()
        }
    }

    @Test func `a lost store is made anew, a whole, open or foreign one is let be`() throws {
        let workplace = try Workplace()
        let owner = try Workplace.owner()
        #expect(try DurableStore.replaceDamaged(at: workplace.store, for: owner, try keys()) == nil)
        let before = try workplace.files
        let whole = #expect(throws: StoreError.self) {
            try DurableStore.replaceDamaged(at: workplace.store, for: owner, try keys())
        }
        #expect(whole?.kind == .exists)
        let foreign = #expect(throws: StoreError.self) {
            try DurableStore.replaceDamaged(at: workplace.store, for: try Workplace.owner(replica: 3), try keys())
        }
        #expect(foreign?.kind == .foreign)
        #expect(try workplace.files == before)
        #expect(try FileManager.default.contentsOfDirectory(atPath: workplace.path) == ["store"])
    }
}
