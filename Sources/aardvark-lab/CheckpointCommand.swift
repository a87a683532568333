import ArgumentParser
import Cryptography
import Dispatch
import DurableStore
import Foundation
import Messages
import StateStore

/// `aardvark-lab checkpoint`: what a checkpoint of a large state costs.
struct CheckpointCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "checkpoint",
        abstract: "Measure checkpoints of a store on disk: how long they take, and how long each stops execution.",
        discussion: """
            Makes a store with so many keys in a new directory, writes some of them, takes a checkpoint in slices as a replica \
            does, and waits until it is durable; again and again. A replica executes between the slices, so the longest slice is \
            the longest stop. The directory is removed in the end.

              aardvark-lab checkpoint --keys 10000
              aardvark-lab checkpoint --keys 10000000 --writes 8192 --json
            """
    )

    @Option(help: "The number of keys in the store.")
    var keys = 10_000

    @Option(help: "The number of keys written before each checkpoint, at random.")
    var writes = 8_192

    @Option(help: "The bytes of each value.")
    var valueBytes = 100

    @Option(help: "The number of steps of a slice: a key placed, or a key hashed.")
    var slice = 32

    @Option(help: "The number of checkpoints.")
    var checkpoints = 10

    @Option(help: ArgumentHelp("The directory to make the store in.", valueName: "dir"))
    var directory = FileManager.default.temporaryDirectory.path

    @Flag(help: "Print one JSON object.")
    var json = false

    func validate() throws {
        guard keys >= 1, writes >= 1, slice >= 1, checkpoints >= 1,
            (0...StateLimits.serviceValueBytes).contains(valueBytes)
        else { throw ValidationError("The numbers of keys, writes, steps and checkpoints are 1 at least.") }
    }

    func run() throws {
        let path = "\(directory)/aardvark-checkpoint-\(UUID())"
        defer { try? FileManager.default.removeItem(atPath: path) }
        do {
            let report = try measure(path)
            if json {
                let encoder = JSONEncoder()
                encoder.keyEncodingStrategy = .convertToSnakeCase
                encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
                print(String(decoding: try encoder.encode(report), as: UTF8.self))
            } else {
                print(report.text)
            }
        } catch let error as StoreError {
            throw LabError(sentence: error.sentence, exitCode: ExitCodes.inputOutput)
        }
    }

    private func measure(_ path: String) throws -> CheckpointReport {
        guard let cluster = ClusterID([UInt8](repeating: 1, count: ClusterID.byteCount)) else {
            throw LabError(sentence: "a cluster has another kind of identifier", exitCode: ExitCodes.inputOutput)
        }
        let owner = StoreOwner(cluster: cluster, replica: ReplicaID(0))
        try fill(path, owner)
        var options = DurableStore.Options()
        options.checkpointsKept = 4
        let durable = DispatchSemaphore(value: 0)
        let store = try DurableStore(at: path, for: owner, options: options) { report in
            if case .durable = report { return }
            durable.signal()
        }
        var report = CheckpointReport(keys: keys, writes: writes, valueBytes: valueBytes, slice: slice, checkpoints: [])
        var random = SystemRandomNumberGenerator()
        for number in 2..<UInt64(checkpoints + 2) {
            for _ in 0..<writes {
                store.state.put(
                    Self.value(valueBytes, number),
                    at: Self.key(Int.random(in: 0..<keys, using: &random)),
                    in: .service
                )
            }
            var slices: [Duration] = []
            let before = store.state.hashedNodes
            let clock = ContinuousClock()
            let started = clock.now
            store.state.beginCheckpoint(number)
            let begun = clock.now - started
            while true {
                let sliceStarted = clock.now
                let root = store.state.advanceCheckpoint(keys: slice)
                slices.append(clock.now - sliceStarted)
                if root != nil { break }
            }
            let computed = clock.now - started
            let count = slices.count
            store.log.coverCheckpoint(number)
            store.log.commit()
            durable.wait()
            if let failure = store.failure { throw failure }
            // The last one also finishes the checkpoint and frees what it had.
            let last = slices.removeLast()
            if slices.isEmpty { slices.append(last) }
            slices.sort()
            report.checkpoints.append(
                CheckpointReport.Checkpoint(
                    beginMicroseconds: begun / .microseconds(1),
                    slices: count,
                    medianSliceMilliseconds: slices[slices.count / 2] / .milliseconds(1),
                    p99SliceMilliseconds: slices[slices.count * 99 / 100] / .milliseconds(1),
                    longestSliceMilliseconds: slices[slices.count - 1] / .milliseconds(1),
                    lastSliceMilliseconds: last / .milliseconds(1),
                    milliseconds: computed / .milliseconds(1),
                    durableMilliseconds: (clock.now - started) / .milliseconds(1),
                    hashedNodes: store.state.hashedNodes - before
                )
            )
        }
        try store.close()
        return report
    }

    private func fill(_ path: String, _ owner: StoreOwner) throws(StoreError) {
        Console.note("making a store of \(keys) keys")
        let order = (0..<keys).map { (path: MerkleFormat.path(of: Self.key($0), in: .service), number: $0) }
            .sorted { $0.path < $1.path }
        try DurableStore.create(at: path, for: owner, asCheckpoint: 1) { add throws(StoreError) in
            for (_, number) in order {
                try add(.service, StateEntry(key: Self.key(number), value: Self.value(valueBytes, UInt64(number))))
            }
        }
    }

    private static func key(_ number: Int) -> [UInt8] { Array("user\(number)".utf8) }

    private static func value(_ count: Int, _ number: UInt64) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: number &* 31 &+ UInt64($0)) }
    }
}

/// What the checkpoints took. The names of the JSON object's fields are those of the properties in snake case.
private struct CheckpointReport: Encodable {
    struct Checkpoint: Encodable {
        let beginMicroseconds: Double
        let slices: Int
        let medianSliceMilliseconds: Double
        let p99SliceMilliseconds: Double
        /// Of all but the last.
        let longestSliceMilliseconds: Double
        let lastSliceMilliseconds: Double
        /// Until the root was known.
        let milliseconds: Double
        /// Until it could be signed.
        let durableMilliseconds: Double
        let hashedNodes: UInt64
    }

    let keys: Int
    let writes: Int
    let valueBytes: Int
    let slice: Int
    var checkpoints: [Checkpoint]

    var text: String {
        func format(_ number: Double) -> String { String(format: "%10.2f", number) }
        let heads = "  begin us    slices  median ms     p99 ms longest ms    last ms    root ms durable ms     hashed"
        let rows = checkpoints.map { checkpoint in
            let slices = String(format: "%9d", checkpoint.slices)
            let hashed = String(format: "%10d", Int(checkpoint.hashedNodes))
            return [
                format(checkpoint.beginMicroseconds), slices, format(checkpoint.medianSliceMilliseconds),
                format(checkpoint.p99SliceMilliseconds), format(checkpoint.longestSliceMilliseconds),
                format(checkpoint.lastSliceMilliseconds), format(checkpoint.milliseconds),
                format(checkpoint.durableMilliseconds), hashed,
            ].joined(separator: " ")
        }
        let what =
            "\(keys) keys, \(writes) writes before each checkpoint, values of \(valueBytes) bytes, slices of \(slice)"
        return ([what, heads] + rows).joined(separator: "\n")
    }
}
