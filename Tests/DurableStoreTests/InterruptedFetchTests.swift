import StateStore
import TestSupport
import Testing

@testable import DurableStore

/// What a replica that is killed while it fetches a state has of it afterwards.
struct InterruptedFetchTests {
    /// The state to fetch: an eighth of it changes between the two fetches.
    private struct Remote {
        let store = InMemoryStateStore(checkpointsKept: 1)
        private var random = SplitMix64(seed: 21)

        init() {
            write(0..<1600)
        }

        mutating func write(_ keys: Range<Int>) {
            for key in keys {
                store.put(
                    random.bytes(200),
                    at: [UInt8(truncatingIfNeeded: key), UInt8(truncatingIfNeeded: key >> 8)],
                    in: key % 16 == 0 ? .system : .service
                )
            }
        }
    }

    private static func transfer(into store: any AuthenticatedStore) -> StateTransfer {
        var limits = StateFetch.Limits()
        limits.answerBudget = 4096
        return StateTransfer(store: store, peers: [0], limits: limits)
    }

    /// Fetches until so many bytes have come or nothing more comes, and installs what is complete.
    private static func fetch(
        _ checkpoint: UInt64,
        of remote: InMemoryStateStore,
        by transfer: StateTransfer,
        upTo bytes: UInt64 = .max
    ) throws {
        let root = try #require(remote.root(ofCheckpoint: checkpoint))
        var steps = transfer.begin(checkpoint, root: root, now: 1, numberedFrom: checkpoint << 32)
        while transfer.bytesFetched < bytes, !steps.isEmpty {
            if case .ask(let question, _) = steps.removeFirst() {
                let request = try #require(StateRequest(encoded: question))
                steps += transfer.onAnswer(remote.answer(to: request).encoded, from: 0, now: 1)
            }
        }
        if transfer.isComplete { _ = transfer.install(keys: .max, bytes: .max, now: 1) }
    }

    @Test(arguments: ["whole", "torn", "flipped"])
    func `what was fetched and verified before is not fetched again, but for what is damaged`(_ staged: String) throws {
        var remote = Remote()
        _ = remote.store.checkpoint(1)
        let whole = Self.transfer(into: InMemoryStateStore(checkpointsKept: 1))
        try Self.fetch(1, of: remote.store, by: whole)

        let workplace = try Workplace()
        var local = try workplace.open()
        let first = Self.transfer(into: local.state)
        try Self.fetch(1, of: remote.store, by: first, upTo: whole.bytesFetched / 4 * 3)
        #expect(local.state.lastCheckpoint == nil && !first.isComplete)
        local.abandon()

        var bytes = try workplace.contents(StagedParts.fileName)
        switch staged {
        case "torn": bytes.removeLast(5000)
        case "flipped": for place in stride(from: 3000, to: bytes.count, by: 60_000) { bytes[place] ^= 4 }
        default: break
        }
        try workplace.write(bytes, to: StagedParts.fileName)

        // The others have gone on meanwhile.
        remote.write(0..<200)
        let root = remote.store.checkpoint(2)
        local = try workplace.open()
        let second = Self.transfer(into: local.state)
        try Self.fetch(2, of: remote.store, by: second)
        #expect(second.bytesFetched < whole.bytesFetched / 3 * 2)
        #expect(local.state.root(ofCheckpoint: 2) == root)
        for keyspace in Keyspace.allCases {
            #expect(local.state.entries(in: keyspace) == remote.store.entries(in: keyspace))
        }
        #expect(try !workplace.files.contains(StagedParts.fileName), "it is of no use any more")
        try local.close()
    }

    @Test func `what is staged is bounded`() throws {
        let remote = Remote()
        _ = remote.store.checkpoint(1)
        let workplace = try Workplace()
        let local = try workplace.open()
        var limits = StateFetch.Limits()
        limits.answerBudget = 4096
        limits.retainedBytes = 50_000
        let transfer = StateTransfer(store: local.state, peers: [0], limits: limits)
        try Self.fetch(1, of: remote.store, by: transfer, upTo: 150_000)
        let bytes = try workplace.contents(StagedParts.fileName).count
        #expect(bytes >= 50_000 && bytes < 60_000)
        local.abandon()
    }
}
