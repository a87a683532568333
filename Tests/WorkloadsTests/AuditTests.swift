import KeyValueService
import StateStore
import Synchronization
import Testing

@testable import Workloads

@Suite
struct AuditTests {
    let time = VirtualTime()
    let plan: WorkloadPlan

    init() {
        var settings = WorkloadSettings()
        settings.run = 0xABC
        plan = WorkloadPlan(.audit, settings)
    }

    /// What becomes of an operation that gets no answer.
    enum Loss {
        case request
        case answer
    }

    /// Runs two clients against a service and audits what they did.
    func audit(
        _ service: LyingService,
        losing loss: @escaping @Sendable (Int) -> Loss? = { _ in nil }
    ) async throws -> AuditVerdict {
        let clients = (0..<2).map { _ in
            SimulatedClient(time, latency: millisecond) { number, operation in
                let loss = loss(number)
                let result = loss == .request ? [] : service.execute(operation)
                return loss == nil ? .result(result) : .failure(kind: "timed_out")
            }
        }
        let generator = LoadGenerator(
            clients: clients.enumerated().map { (submitter: $1, source: plan.source(client: $0)) },
            slots: 4,
            clock: time.clock
        )
        generator.setActiveClients(2)
        try await generator.hold(forNanoseconds: second)
        _ = try await generator.stop(waitingNanoseconds: second)
        return try await #require(plan.ledger).audit { service.execute($0) }
    }

    @Test func `a correct service has everything once, over several pages`() async throws {
        let service = LyingService()
        let verdict = try await audit(service)
        #expect(verdict.isClean)
        #expect(verdict.acknowledged == UInt64(service.count))
        #expect(verdict.acknowledged > UInt64(AuditLedger.pageEntries))
        #expect(verdict.unanswered == 0)
    }

    @Test func `a write without an answer may be there or not`() async throws {
        let service = LyingService()
        let verdict = try await audit(service) { [7: .request, 8: .answer][$0 % 100] }
        #expect(verdict.isClean)
        #expect(verdict.unanswered > 10)
        #expect((verdict.acknowledged + 1..<verdict.acknowledged + verdict.unanswered).contains(UInt64(service.count)))
    }

    @Test(arguments: [
        LyingService.Lie.forgets, .repeats, .invents, .miscounts, .answersNonsense,
    ])
    func `one lie is found`(lie: LyingService.Lie) async throws {
        let verdict = try await audit(LyingService { $0 == 500 ? lie : nil })
        #expect(!verdict.isClean)
        switch lie {
        case .forgets: #expect(verdict.lost == 1)
        case .repeats: #expect(verdict.doubled == 1)
        case .invents: #expect(verdict.invented == 1)
        case .miscounts, .answersNonsense, .readsNothing: #expect(verdict.contradictions == 1)
        }
        #expect(verdict.acknowledged > 1_000)
    }

    @Test func `a read that misses an acknowledged write is found`() async throws {
        let verdict = try await audit(LyingService { _ in .readsNothing })
        #expect(verdict.contradictions > 50)
        #expect(verdict.lost == 0)
    }

    @Test func `pages that go round in a circle end the audit`() async throws {
        let ledger = AuditLedger(run: 1)
        var pages = 0
        let verdict = try await ledger.audit { operation in
            pages += 1
            guard case .scan(let range, _) = KeyValueOperation(encoded: operation) else { return [] }
            return KeyValueResult.entries([], next: range.from).encoded
        }
        #expect(pages == 1)
        #expect(verdict.contradictions == 1)
        let nonsense = try await ledger.audit { _ in KeyValueResult.stored.encoded }
        #expect(nonsense.contradictions == 2)
    }

    @Test func `entries that are none of the run's, or come twice, are invented`() {
        var account = AuditLedger.Account()
        for _ in 0..<3 { account.acknowledge(account.begin()) }
        let ledger = AuditLedger(run: 1)
        let entry = { (client: UInt32, number: UInt64, value: String) in
            StateEntry(key: ledger.key(client: client, number: number), value: Array(value.utf8))
        }
        for (entries, invented, lost) in [
            ([entry(7, 0, "1"), entry(7, 1, "1"), entry(7, 2, "1")], 0, 0),
            ([entry(7, 0, "1"), entry(7, 0, "1"), entry(7, 2, "1")], 1, 1),
            ([entry(7, 1, "1"), entry(7, 0, "1"), entry(7, 2, "1")], 1, 1),
            ([entry(7, 0, "1"), entry(7, 1, "1"), entry(7, 2, "1"), entry(7, 3, "1")], 1, 0),
            ([entry(7, 0, "1"), entry(7, 1, "1"), entry(7, 2, "1"), entry(8, 0, "1")], 1, 0),
            ([entry(7, 0, "1"), entry(7, 1, "0"), entry(7, 2, "x")], 2, 2),
            ([StateEntry(key: Array("audit/x".utf8), value: [])], 1, 3),
            ([StateEntry(key: entry(7, 0, "").key + [0], value: Array("1".utf8))], 1, 3),
        ] {
            var comparison = AuditComparison(prefix: ledger.prefix, accounts: [7: account])
            for entry in entries { comparison.take(entry) }
            let verdict = comparison.verdict(contradictions: 0)
            #expect(verdict.invented == UInt64(invented))
            #expect(verdict.lost == UInt64(lost))
        }
    }

    @Test func `keys are in the order of clients and numbers`() {
        let numbers: [(UInt32, UInt64)] = [(0, 0), (0, 9), (0, 10), (0, .max), (9, 3), (10, 0), (.max, 7)]
        let keys = numbers.map { AuditKey(client: $0, number: $1).bytes(after: "audit/a/") }
        for (former, latter) in zip(keys, keys.dropFirst()) { #expect(former.lexicographicallyPrecedes(latter)) }
        #expect(keys.map { AuditKey($0, after: "audit/a/") } == numbers.map { AuditKey(client: $0, number: $1) })
        #expect(AuditKey(keys[0], after: "audit/b/") == nil)
    }
}

/// A key-value service that lies now and then.
final class LyingService: Sendable {
    enum Lie {
        /// Says that it stored what it did not.
        case forgets
        /// Executes again what it executed before.
        case repeats
        /// Stores what nobody asked for.
        case invents
        /// Gives another sum.
        case miscounts
        /// Gives the result of another operation.
        case answersNonsense
        /// Finds nothing when it is asked for a key.
        case readsNothing
    }

    private struct State {
        var values: [[UInt8]: Int64] = [:]
        var writes = 0
    }

    private let lie: @Sendable (_ write: Int) -> Lie?
    private let state = Mutex(State())

    /// - Parameter lie: What goes wrong with the write of this number and the reads after it.
    init(_ lie: @escaping @Sendable (_ write: Int) -> Lie? = { _ in nil }) {
        self.lie = lie
    }

    var count: Int { state.withLock { $0.values.count } }

    func execute(_ bytes: [UInt8]) -> [UInt8] {
        state.withLock { state -> KeyValueResult in
            switch KeyValueOperation(encoded: bytes) {
            case .increment(let key, let amount):
                state.writes += 1
                return write(key, amount, &state)
            case .get(let key):
                if lie(state.writes) == .readsNothing { return .value(nil) }
                return .value(state.values[key].map { Array("\($0)".utf8) })
            case .scan(let range, let limit):
                return scan(range, Int(limit), state.values)
            default:
                return .refused(.malformed)
            }
        }.encoded
    }

    private func write(_ key: [UInt8], _ amount: Int64, _ state: inout State) -> KeyValueResult {
        let sum = state.values[key, default: 0] + amount
        let lie = lie(state.writes)
        if lie != .forgets { state.values[key] = sum }
        switch lie {
        case .repeats: state.values[key] = sum + amount
        case .invents: state.values[key.dropLast() + [UInt8(ascii: "x")]] = 1
        case .miscounts: return .number(sum + 1)
        case .answersNonsense: return .stored
        case .forgets, .readsNothing, nil: break
        }
        return .number(sum)
    }

    private func scan(_ range: KeyRange, _ limit: Int, _ values: [[UInt8]: Int64]) -> KeyValueResult {
        let keys = values.keys.filter { key in
            !key.lexicographicallyPrecedes(range.from) && range.to.map { key.lexicographicallyPrecedes($0) } ?? true
        }.sorted { $0.lexicographicallyPrecedes($1) }
        let entries = keys.prefix(limit).map { StateEntry(key: $0, value: Array("\(values[$0] ?? 0)".utf8)) }
        return .entries(entries, next: keys.dropFirst(limit).first)
    }
}
