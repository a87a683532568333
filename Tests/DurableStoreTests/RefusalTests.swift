import Agreement
import Disk
import Foundation
import StateStore
import Testing

@testable import DurableStore

/// Stores that cannot be opened, and disks that refuse.
struct RefusalTests {
    @Test func `a store is for one replica of one cluster`() throws {
        let workplace = try Workplace()
        try workplace.open().close()
        for owner in [try Workplace.owner(cluster: 8), try Workplace.owner(replica: 2)] {
            let error = #expect(throws: StoreError.self) {
                try DurableStore(at: workplace.store, for: owner) { _ in }
            }
            #expect(error?.kind == .foreign)
        }
        try workplace.open().close()
    }

    @Test(arguments: [0, 2] as [UInt8])
    func `an older or newer format is refused and not touched`(format: UInt8) throws {
        let workplace = try Workplace()
        let owner = try Workplace.owner()
        try DurableStore.create(at: workplace.store, for: owner)
        let database = try Database(at: workplace.store, .readWrite, cacheBytes: 1 << 20)
        var header = try #require(try database.value(of: StoreHeader.key, in: .header))
        header[Array("aardvark store".utf8).count] = format
        let batch = WriteBatch(for: database)
        batch.put(header, at: StoreHeader.key, in: .header)
        try database.write(batch)
        database.close()
        let error = #expect(throws: StoreError.self) { try workplace.open() }
        #expect(error?.kind == .otherFormat)
        #expect(
            error?.sentence.hasSuffix("the store has format \(format); this version of the program reads format 1")
                == true
        )
        let reader = #expect(throws: StoreError.self) { try StoreReader(at: workplace.store) }
        #expect(reader == error)
        let left = try Database(at: workplace.store, .readOnly, cacheBytes: 1 << 20)
        defer { left.close() }
        #expect(try left.value(of: StoreHeader.key, in: .header) == header)
    }

    @Test func `nothing is made over something, nor opened where nothing is`() throws {
        let workplace = try Workplace()
        let owner = try Workplace.owner()
        let missing = #expect(throws: StoreError.self) { try DurableStore(at: workplace.store, for: owner) { _ in } }
        #expect(missing?.kind == .missing)
        try workplace.open().close()
        let exists = #expect(throws: StoreError.self) { try DurableStore.create(at: workplace.store, for: owner) }
        #expect(exists?.kind == .exists)
        // Files, but not a store's.
        let other = try Workplace()
        try FileManager.default.createDirectory(atPath: other.store, withIntermediateDirectories: false)
        try other.write([1], to: "note")
        let strange = #expect(throws: StoreError.self) { try other.open() }
        #expect(strange?.kind == .damaged)
        #expect(try other.contents("note") == [1])
    }

    @Test func `a store that was left half made is made anew`() throws {
        let workplace = try Workplace()
        let owner = try Workplace.owner()
        try DurableStore.create(at: workplace.store, for: owner)
        try FileManager.default.moveItem(atPath: workplace.store, toPath: workplace.store + ".new")
        try FileManager.default.removeItem(atPath: workplace.store + ".new/durable")
        try workplace.open().close()
        #expect(!FileManager.default.fileExists(atPath: workplace.store + ".new"))
    }

    @Test func `an open store is not opened again`() throws {
        let workplace = try Workplace()
        let store = try workplace.open()
        let error = #expect(throws: StoreError.self) { try workplace.open() }
        #expect(error?.kind == .inUse)
        try store.close()
    }

    @Test func `a place that cannot be written is refused`() throws {
        let owner = try Workplace.owner()
        let error = #expect(throws: StoreError.self) { try DurableStore.create(at: "/proc/store", for: owner) }
        #expect(error.map { [.forbidden, .missing, .inputOutput].contains($0.kind) } == true)
    }

    @Test func `files of others are refused`() async {
        await #expect(processExitsWith: .success) {
            let workplace = try Workplace()
            try workplace.open().close()
            for (name, permissions) in [("/durable", 0o400), ("/durable", 0), ("", 0)] {
                let attributes = [FileAttributeKey.posixPermissions: permissions]
                try FileManager.default.setAttributes(attributes, ofItemAtPath: workplace.store + name)
                // Root may use everything, and nobody else.
                if getuid() == 0 { try #require(seteuid(65_534) == 0) }
                let error = #expect(throws: StoreError.self) { try workplace.open() }
                let owner = try Workplace.owner()
                let other = #expect(throws: StoreError.self) {
                    try DurableStore.create(at: (getuid() == 0 ? workplace.path : "/") + "/other", for: owner)
                }
                if getuid() == 0 { try #require(seteuid(0) == 0) }
                try #require(error?.kind == .forbidden && other?.kind == .forbidden)
            }
            try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: workplace.store)
        }
    }

    @Test func `a full disk stops the store, which says so and keeps what was durable`() async {
        await #expect(processExitsWith: .success) {
            let workplace = try Workplace()
            let reports = Reports()
            let store = try workplace.open { reports.add($0) }
            store.state.put([1], at: [1], in: .service)
            let root = store.state.checkpoint(1)
            store.log.add([Records.prePrepared(1)])
            // No file may grow beyond this.
            signal(SIGXFSZ, SIG_IGN)
            limitFiles(to: 100_000)
            for number in 0..<200 {
                store.state.put([UInt8](repeating: 7, count: 1000), at: [2, UInt8(number)], in: .service)
            }
            _ = store.state.checkpoint(2)
            store.log.add([Records.prePrepared(2)], after: 1)
            try #require(store.failure?.kind == .full)
            try #require(reports.failures.map(\.kind) == [.full])
            try #require(reports.durable == [1])
            try #require(store.state.lastCheckpoint == nil)
            let closing = #expect(throws: StoreError.self) { try store.close() }
            try #require(closing?.kind == .full)
            limitFiles(to: .max)
            let again = try workplace.open()
            try #require(again.state.keptCheckpoints.map(\.number) == [1])
            try #require(again.state.root(ofCheckpoint: 1) == root)
            try #require(again.state.entries(in: .service) == [StateEntry(key: [1], value: [1])])
            try #require(again.takeRecovered().count == 1)
            try again.close()
        }
    }
}

/// Sets the size that no file of this process may grow beyond, in bytes.
private func limitFiles(to bytes: rlim_t) {
    var limit = rlimit(rlim_cur: bytes, rlim_max: .max)
    #if canImport(Glibc)
        let result = unsafe setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
    #else
        let result = unsafe setrlimit(RLIMIT_FSIZE, &limit)
    #endif
    #expect(result == 0)
}
