import Agreement
import Cryptography
import Disk
import Foundation
import Messages
import StateStore
import TestSupport
import Testing

@testable import DurableStore

/// What becomes of a store whose files are not what was written: an error, or the right data, never anything else.
struct DamageTests {
    /// What a store holds.
    private struct Holding: Equatable {
        var system: [StateEntry]
        var service: [StateEntry]
        var nodes: [StateNode]
        var log: [[UInt8]]
    }

    /// Reads everything, or says what stood in the way.
    private static func read(_ workplace: Workplace) throws -> Holding {
        let store = try workplace.open()
        let holding = Holding(
            system: store.state.entries(in: .system),
            service: store.state.entries(in: .service),
            nodes: store.state.keptCheckpoints.flatMap { store.state.nodes(ofCheckpoint: $0.number) },
            log: store.takeRecovered().map(\.encoded)
        )
        let failure = store.failure
        store.abandon()
        if let failure { throw failure }
        return holding
    }

    /// A store with sorted files and a log of changes that is not in them yet, as the end of the process leaves it.
    private static func filled() throws -> (workplace: Workplace, holding: Holding) {
        var random = SplitMix64(seed: 9)
        let workplace = try Workplace()
        var store = try workplace.open()
        var position = UInt64(0)
        for number in UInt64(1)...3 {
            for place in 0..<150 {
                store.state.put(random.bytes(20), at: [UInt8(place)], in: place % 4 == 0 ? .system : .service)
            }
            _ = store.state.checkpoint(number)
            position = store.log.add([Records.prePrepared(number), Records.prepared(number)], after: position)
            if number == 2 {
                try store.close()
                // Opening writes what was in the log of changes to sorted files.
                store = try workplace.open()
                position = UInt64(store.takeRecovered().count)
            }
        }
        store.abandon()
        let holding = try read(try workplace.copy())
        #expect(holding.nodes.count > 300 && holding.log.count == 6 && holding.service.count > 100)
        return (workplace, holding)
    }

    /// Which kinds of files there must be for a test of all kinds.
    private static func kind(_ name: String) -> String {
        if name.hasSuffix(".sst") { return "sst" }
        if name.hasSuffix(".log") { return "log" }
        return name.prefix { $0 != "-" }.description
    }

    /// Files that the database writes for people, or for a tool.
    private static let needless: Set<String> = ["LOG", "LOG.old.", "OPTIONS", "IDENTITY", "LOCK"]

    @Test func `a flipped bit in any file is an error or changes nothing`() throws {
        let (workplace, holding) = try Self.filled()
        var random = SplitMix64(seed: 10)
        var detected: Set<String> = []
        for name in try workplace.files where !Self.needless.contains(Self.kind(name)) {
            let bytes = try workplace.contents(name)
            for _ in 0..<8 where !bytes.isEmpty {
                let damaged = try workplace.copy()
                var changed = bytes
                changed[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
                try damaged.write(changed, to: name)
                do {
                    #expect(try Self.read(damaged) == holding, "\(name)")
                } catch let error as StoreError {
                    #expect(error.kind == .damaged, "\(name): \(error)")
                    detected.insert(Self.kind(name))
                }
            }
        }
        #expect(detected.isSuperset(of: ["sst", "log", "MANIFEST", "CURRENT"]))
    }

    @Test func `a lost or shortened file is an error or changes nothing`() throws {
        let (workplace, holding) = try Self.filled()
        var detected: Set<String> = []
        for name in try workplace.files {
            let bytes = try workplace.contents(name)
            for share in [nil, 0, bytes.count / 2, bytes.count - 1] as [Int?] {
                let damaged = try workplace.copy()
                if let share {
                    try damaged.write(Array(bytes.prefix(max(share, 0))), to: name)
                } else if name != "LOCK" {
                    try FileManager.default.removeItem(atPath: "\(damaged.store)/\(name)")
                }
                do {
                    #expect(try Self.read(damaged) == holding, "\(name)")
                } catch let error as StoreError {
                    #expect(error.kind == .damaged, "\(name): \(error)")
                    detected.insert(Self.kind(name))
                }
            }
        }
        #expect(detected == ["sst", "log", "MANIFEST", "CURRENT", "durable"])
    }

    @Test func `a torn end that nobody was told of is dropped, one that was durable is an error`() throws {
        let workplace = try Workplace()
        let store = try workplace.open()
        var expected: [(log: Int, checkpoint: UInt64?)] = [(0, nil)]
        let early = try workplace.copy()
        for number in UInt64(1)...8 {
            store.log.add([Records.prePrepared(number)], after: number - 1)
            expected.append((Int(number), number == 1 ? nil : number - 1))
            store.state.put([UInt8(number)], at: [1], in: .service)
            _ = store.state.checkpoint(number)
            expected.append((Int(number), number))
        }
        store.log.finish()
        let log = try #require(try workplace.files.last { $0.hasSuffix(".log") })
        let bytes = try workplace.contents(log)
        var random = SplitMix64(seed: 11)
        var found: Set<Int> = []
        for _ in 0..<30 {
            let length = random.below(bytes.count)
            // The mark was written when nothing was there yet, as if it had not been synced since.
            let torn = try workplace.copy(markOf: early)
            try torn.write(Array(bytes.prefix(length)), to: log)
            let left = try torn.open()
            let records = left.takeRecovered().count
            let checkpoint = left.state.lastCheckpoint
            #expect(expected.contains { $0.log == records && $0.checkpoint == checkpoint })
            #expect(left.state.value(of: [1], in: .service) == checkpoint.map { [UInt8($0)] })
            found.insert(records)
            try left.close()
            // The mark says how much was durable: all of the log, but not the last checkpoint's writes after it.
            let lost = try workplace.copy()
            try lost.write(Array(bytes.prefix(length)), to: log)
            if records < 8 {
                let error = #expect(throws: StoreError.self) { try lost.open() }
                #expect(error?.kind == .damaged)
            }
        }
        #expect(found.count > 4)
        try store.close()
    }

    @Test func `a gap between two logs of changes is seen`() throws {
        let workplace = try Workplace()
        let database = try Database(at: workplace.store, .create, cacheBytes: 1 << 20)
        func write(_ keys: ClosedRange<UInt8>) throws {
            for key in keys {
                let batch = WriteBatch(for: database)
                batch.put([key], at: [key], in: .values)
                try database.write(batch)
            }
        }
        try write(1...5)
        // As if the files in which the first changes are had not been written yet when the machine stopped.
        let stopped = try workplace.copy()
        let first = try #require(try workplace.files.last { $0.hasSuffix(".log") })
        try database.flush()
        try write(6...9)
        let second = try #require(try workplace.files.last { $0.hasSuffix(".log") })
        #expect(first != second)
        try stopped.write(try workplace.contents(second), to: second)
        database.close()
        func check() throws {
            let database = try Database(at: stopped.store, .readOnly, cacheBytes: 1 << 20)
            defer { database.close() }
            // RocksDB itself notices nothing: the last change is there.
            #expect(try database.value(of: [9], in: .values) == [9])
            try database.checkLog()
        }
        try check()
        // The last record of the first log goes as a whole. A record has its length after 4 bytes of checksum, and 7 bytes before it.
        let log = try stopped.contents(first)
        var lastRecord = 0
        var next = 0
        while next + 7 <= log.count, log[next + 4] > 0 {
            lastRecord = next
            next += 7 + Int(log[next + 4]) + Int(log[next + 5]) << 8
        }
        try stopped.write(Array(log.prefix(lastRecord)), to: first)
        let error = #expect(throws: DatabaseError.self) { try check() }
        #expect(error?.kind == .corruption)
    }

    @Test func `a store that is refused is left as it is`() throws {
        let (workplace, _) = try Self.filled()
        let log = try #require(try workplace.files.last { $0.hasSuffix(".log") })
        let bytes = try workplace.contents(log)
        try workplace.write(Array(bytes.prefix(bytes.count / 2)), to: log)
        var before: [String: [UInt8]] = [:]
        for name in try workplace.files { before[name] = try workplace.contents(name) }
        for _ in 0..<2 {
            #expect(throws: StoreError.self) { try workplace.open() }
        }
        for (name, bytes) in before where !Self.needless.contains(Self.kind(name)) {
            #expect(try workplace.contents(name) == bytes, "\(name)")
        }
    }
}
