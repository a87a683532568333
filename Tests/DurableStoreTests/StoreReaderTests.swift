import Agreement
import Cryptography
import Disk
import Foundation
import Messages
import StateStore
import TestSupport
import Testing

@testable import DurableStore

/// Stores that are only read, and the files that are made out of them.
struct StoreReaderTests {
    private let keyring: [SigningKey] = (0..<4).map { _ in SigningKey.random() }

    private func keys(cluster: UInt8 = 7) throws -> ReplicaKeys {
        let owner = try Workplace.owner(cluster: cluster)
        let size = try #require(ClusterSize(replicas: 4))
        return ReplicaKeys(cluster: owner.cluster, size: size, keys: keyring.map(\.publicKey))
    }

    private func certificate(_ number: UInt64, _ root: Digest, by signers: [UInt8] = [0, 2, 3]) throws -> LogRecord {
        let cluster = try Workplace.owner().cluster
        return .stable(
            SequenceNumber(number),
            certificate: signers.map { signer in
                Checkpoint(
                    SequenceNumber(number),
                    root: root,
                    by: ReplicaID(signer),
                    cluster: cluster,
                    signer: keyring[Int(signer)]
                )
            }
        )
    }

    /// A store with three checkpoints, of which the second is stable, and part of a fourth.
    private func filled() throws -> (workplace: Workplace, roots: [Digest]) {
        var random = SplitMix64(seed: 21)
        let workplace = try Workplace()
        let store = try workplace.open(checkpointsKept: 4)
        var roots: [Digest] = []
        func change(_ count: Int) {
            for _ in 0..<count {
                let place = random.below(2000)
                let key = [UInt8(place & 255), UInt8(place >> 8)]
                let keyspace: Keyspace = place % 5 == 0 ? .system : .service
                if random.below(4) == 0 {
                    store.state.delete(key, in: keyspace)
                } else {
                    store.state.put(random.bytes(random.below(40)), at: key, in: keyspace)
                }
            }
        }
        var position: UInt64 = 0
        for number in UInt64(1)...3 {
            change(300)
            roots.append(store.state.checkpoint(number * 10))
            position = store.log.add([Records.prePrepared(number * 10 + 5)], after: position)
        }
        position = store.log.add([try certificate(20, roots[1]), try Records.viewChange(6)], after: position)
        change(1500)
        store.state.beginCheckpoint(40)
        #expect(store.state.advanceCheckpoint(keys: 1500) == nil)
        store.log.finish()
        store.abandon()
        return (workplace, roots)
    }

    private func contents(_ workplace: Workplace) throws -> [String: [UInt8]] {
        var contents: [String: [UInt8]] = [:]
        for name in try workplace.files { contents[name] = try workplace.contents(name) }
        return contents
    }

    @Test func `a store says what it holds and is whole, and reading changes nothing`() throws {
        let (workplace, roots) = try filled()
        let before = try contents(workplace)
        let reader = try StoreReader(at: workplace.store)
        let summary = try reader.summary()
        #expect(summary.owner == (try Workplace.owner()))
        #expect(summary.checkpoints.map(\.number) == [10, 20, 30])
        #expect(summary.checkpoints.map(\.root) == roots)
        #expect(summary.stable?.number == 20 && summary.stable?.root == roots[1])
        #expect(summary.stable?.signers == [0, 2, 3].map { ReplicaID($0) })
        #expect(summary.view == View(6) && !summary.isActive)
        #expect(summary.logged == 25...35 && summary.logRecords == 4)
        let findings = try reader.verify(try keys())
        #expect(findings.checkpoints == [30, 20, 10].reversed())
        #expect(findings.certificate == .holds(20))
        #expect(try contents(workplace) == before)
        // The part of the fourth checkpoint is there, and would have made the values differ.
        #expect(try reader.unfinishedKeys().count > 100)
    }

    @Test func `an empty store has nothing to hold a certificate against`() throws {
        let workplace = try Workplace()
        try workplace.open().close()
        let reader = try StoreReader(at: workplace.store)
        #expect(try reader.verify(try keys()) == StoreFindings(entries: 0, checkpoints: [], certificate: .none))
        let error = #expect(throws: StoreError.self) { try reader.backUp(to: workplace.path + "/b", try keys()) }
        #expect(error?.kind == .notReady)
    }

    @Test func `a certificate that is not one is found out`() throws {
        let (workplace, roots) = try filled()
        let forged = try Workplace.owner().cluster
        let wrongSignature = Checkpoint(
            SequenceNumber(20),
            root: roots[1],
            by: ReplicaID(3),
            cluster: forged,
            signer: keyring[0]
        )
        let good = try certificate(20, roots[1], by: [0, 2])
        guard case .stable(_, let two) = good else { return }
        let cases: [(LogRecord, String)] = [
            (good, "has the signatures of 2 replicas, and needs 3"),
            (try certificate(20, roots[1], by: [0, 0, 2]), "has the signatures of 2 replicas"),
            (.stable(SequenceNumber(20), certificate: two + [wrongSignature]), "has a wrong signature"),
            (try certificate(20, roots[0]), "2f + 1 replicas signed \(roots[0])"),
        ]
        for (record, words) in cases {
            let store = try workplace.open(checkpointsKept: 4)
            let position = UInt64(store.takeRecovered().count)
            store.log.add([record], after: position)
            try store.close()
            let reader = try StoreReader(at: workplace.store)
            let error = #expect(throws: StoreError.self) { try reader.verify(try keys()) }
            #expect(
                error?.kind == .damaged && error?.sentence.contains(words) == true,
                "\(words): \(String(describing: error))"
            )
            #expect(throws: StoreError.self) { try reader.backUp(to: workplace.path + "/b", try keys()) }
        }
        let reader = try StoreReader(at: workplace.store)
        let foreign = #expect(throws: StoreError.self) { try reader.verify(try keys(cluster: 8)) }
        #expect(foreign?.kind == .foreign)
    }

    @Test func `wrong values, lost entries and wrong nodes are found out though every checksum is right`() throws {
        func spoil(_ change: (Database, StoreReader, WriteBatch) throws -> Void) throws {
            let (workplace, _) = try filled()
            try workplace.open(checkpointsKept: 4).close()
            let reader = try StoreReader(at: workplace.store)
            let database = try Database(at: workplace.store, .readWrite, cacheBytes: 1 << 20)
            let batch = WriteBatch(for: database)
            try change(database, reader, batch)
            try database.write(batch)
            database.close()
            let spoilt = try StoreReader(at: workplace.store)
            let error = #expect(throws: StoreError.self) { try spoilt.verify(try keys()) }
            #expect(error?.kind == .damaged)
        }
        func first(_ database: Database, _ family: Family, where isIt: ([UInt8]) -> Bool) throws -> (
            key: [UInt8], value: [UInt8]
        ) {
            let entries = database.entries(of: family)
            while let entry = try entries.next() { if isIt(entry.value) { return entry } }
            throw StoreError(.missing, "no such record")
        }
        try spoil { database, _, batch in
            let (key, value) = try first(database, .values) { _ in true }
            batch.put(value + [1], at: key, in: .values)
        }
        try spoil { database, _, batch in
            batch.delete(try first(database, .values) { _ in true }.key, in: .values)
        }
        try spoil { _, _, batch in batch.put([1], at: [1, 9, 9, 9], in: .values) }
        try spoil { database, _, batch in
            // A leaf of a tree that is not the last one's as well.
            var (key, value) = try first(database, .nodes) { $0.first != 0 && $0.count > 12 }
            value[value.count - 1] ^= 1
            batch.put(value, at: key, in: .nodes)
        }
        try spoil { database, reader, batch in
            let last = try #require(reader.checkpoints.last?.tree?.root)
            var value = try #require(try database.value(of: DiskNodes.key(last), in: .nodes))
            value[5] ^= 1
            batch.put(value, at: DiskNodes.key(last), in: .nodes)
        }
    }

    @Test func `a backup holds the stable state and is checked with the keys alone`() throws {
        let (workplace, roots) = try filled()
        let path = workplace.path + "/monday.backup"
        let reader = try StoreReader(at: workplace.store)
        let backup = try reader.backUp(to: path, try keys())
        #expect(backup.sequence == SequenceNumber(20) && backup.root == roots[1])
        let counts = try #require(reader.checkpoints.first { $0.number == 20 }?.counts)
        #expect(backup.systemEntries == UInt64(counts.system) && backup.serviceEntries == UInt64(counts.service))
        try FileManager.default.removeItem(atPath: workplace.store)
        let findings = try Backup(at: path).verify(try keys())
        #expect(findings.certificate == .holds(20) && findings.entries == UInt64(counts.system + counts.service))
        let foreign = #expect(throws: StoreError.self) { try backup.verify(try keys(cluster: 8)) }
        #expect(foreign?.kind == .foreign)
        let strangers = StoreReaderTests()
        let unknown = #expect(throws: StoreError.self) { try backup.verify(try strangers.keys()) }
        #expect(unknown?.kind == .damaged)
        let files = try FileManager.default.contentsOfDirectory(atPath: workplace.path)
        #expect(files == ["monday.backup"])
    }

    @Test func `nothing is written over, and what was left half written is`() throws {
        let (workplace, _) = try filled()
        let path = workplace.path + "/b"
        try Data([1, 2]).write(to: URL(fileURLWithPath: path + ".new"))
        let reader = try StoreReader(at: workplace.store)
        _ = try reader.backUp(to: path, try keys())
        #expect(!FileManager.default.fileExists(atPath: path + ".new"))
        let error = #expect(throws: StoreError.self) { try reader.backUp(to: path, try keys()) }
        #expect(error?.kind == .exists)
        let nowhere = #expect(throws: StoreError.self) { try reader.backUp(to: workplace.path + "/no/b", try keys()) }
        #expect(nowhere?.kind == .missing)
    }

    @Test func `any change to a backup is found out`() throws {
        let (workplace, _) = try filled()
        let path = workplace.path + "/b"
        _ = try StoreReader(at: workplace.store).backUp(to: path, try keys())
        let bytes = try Array(Data(contentsOf: URL(fileURLWithPath: path)))
        var random = SplitMix64(seed: 22)
        let damaged = workplace.path + "/damaged"
        func expectRefusal(_ changed: [UInt8], _ what: String) throws {
            try Data(changed).write(to: URL(fileURLWithPath: damaged))
            let error = #expect(throws: StoreError.self, "\(what)") { try Backup(at: damaged).verify(try keys()) }
            #expect(error.map { [.damaged, .foreign, .otherFormat].contains($0.kind) } == true, "\(what)")
        }
        let places = Array(0..<120) + (0..<150).map { _ in random.below(bytes.count) }
        for place in places {
            var changed = bytes
            changed[place] ^= 1 << UInt8(random.below(8))
            try expectRefusal(changed, "bit flipped in byte \(place)")
        }
        for count in [0, 10, 200, bytes.count - 1] { try expectRefusal(Array(bytes.prefix(count)), "cut to \(count)") }
        try expectRefusal(bytes + [0], "longer by one")
    }
}
