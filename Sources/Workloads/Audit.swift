import KeyValueService
import StateStore
import Synchronization

/// The books of one run of the audit workload: which writes each client sent, and which of them were acknowledged. In the end
/// ``audit(_:)`` holds them against what the service has.
///
/// Each write increments a key of its own by one, so every acknowledged write must have left exactly a one behind, whatever
/// happened to the replicas: no one means that it was lost, a two that it was executed twice.
public final class AuditLedger: Sendable {
    /// How many entries one page of the audit asks for: together they are far below the longest result.
    static let pageEntries: UInt32 = 5_000

    /// What all keys of the run begin with.
    public let prefix: String

    private struct Books {
        var accounts: [UInt32: Account] = [:]
        var contradictions: UInt64 = 0
    }

    private let books = Mutex(Books())

    /// Opens empty books.
    ///
    /// - Parameter run: Tells the run's keys from those of other runs against the same service.
    public init(run: UInt64) {
        prefix = "audit/\(AuditKey.padded(String(run, radix: 16), to: 16))/"
    }

    /// Enters a write that a client is about to send.
    ///
    /// - Returns: The write's number, from 0 for each client.
    func begin(_ client: UInt32) -> UInt64 {
        books.withLock { $0.accounts[client, default: Account()].begin() }
    }

    /// Enters that a write was answered as it should be.
    func acknowledge(_ number: UInt64, of client: UInt32) {
        books.withLock { $0.accounts[client]?.acknowledge(number) }
    }

    /// The last write of a client that was acknowledged; nil before there is one.
    func newestAcknowledged(of client: UInt32) -> UInt64? {
        books.withLock { $0.accounts[client]?.newest }
    }

    /// Enters an answer that no correct service gives to what was asked.
    func noteContradiction() {
        books.withLock { $0.contradictions += 1 }
    }

    /// The key that one write increments.
    func key(client: UInt32, number: UInt64) -> [UInt8] {
        AuditKey(client: client, number: number).bytes(after: prefix)
    }

    /// Reads all that the run has left in the service and compares it with the books. To be called when the load has ended: what
    /// is still outstanding counts as unanswered.
    ///
    /// - Parameter invoke: Executes an encoded read-only operation and returns the service's result.
    /// - Throws: What `invoke` throws.
    public nonisolated(nonsending) func audit(
        _ invoke: (_ operation: [UInt8]) async throws -> [UInt8]
    ) async throws -> AuditVerdict {
        var comparison = AuditComparison(prefix: prefix, accounts: books.withLock { $0.accounts })
        var range = KeyRange(prefix: Array(prefix.utf8))
        var isOver = false
        while !isOver {
            let result = try await invoke(KeyValueOperation.scan(range, limit: Self.pageEntries).encoded)
            guard case .entries(let entries, let next) = KeyValueResult(encoded: result) else {
                noteContradiction()
                break
            }
            for entry in entries { comparison.take(entry) }
            guard let next else { break }
            // A page that leads back would never end.
            isOver = next.lexicographicallyPrecedes(range.from) || next == range.from
            if isOver { noteContradiction() }
            range.from = next
        }
        return comparison.verdict(contradictions: books.withLock { $0.contradictions })
    }

    /// What one client has sent.
    struct Account: Sendable {
        /// How many writes: their numbers are those below.
        private(set) var sent: UInt64 = 0
        /// Those without a good answer: outstanding, or failed. Few, since most are acknowledged soon.
        private(set) var unacknowledged: Set<UInt64> = []
        private(set) var newest: UInt64?

        mutating func begin() -> UInt64 {
            defer { sent += 1 }
            unacknowledged.insert(sent)
            return sent
        }

        mutating func acknowledge(_ number: UInt64) {
            unacknowledged.remove(number)
            newest = max(newest ?? number, number)
        }

        var acknowledged: UInt64 { sent - UInt64(unacknowledged.count) }
    }
}

/// What an audit found. All of it but ``acknowledged`` and ``unanswered`` must be 0.
public struct AuditVerdict: Codable, Hashable, Sendable {
    /// Writes with a good answer.
    public var acknowledged: UInt64
    /// Writes without one: the client gave up on them. They may be there or not.
    public var unanswered: UInt64
    /// Acknowledged writes that are not there.
    public var lost: UInt64
    /// Writes that were executed more than once.
    public var doubled: UInt64
    /// Entries that nobody asked for.
    public var invented: UInt64
    /// Answers that contradict the books: to a write that it was not the first of its key, or to a read of an acknowledged write
    /// that it is not there.
    public var contradictions: UInt64

    /// Whether the service kept its promises.
    public var isClean: Bool { lost == 0 && doubled == 0 && invented == 0 && contradictions == 0 }
}

/// Takes the service's entries in the order of their keys, each once, and counts what does not agree with the books.
struct AuditComparison {
    private let prefix: String
    private let accounts: [UInt32: AuditLedger.Account]
    private var last: [UInt8] = []
    private var found: UInt64 = 0
    private var doubled: UInt64 = 0
    private var invented: UInt64 = 0

    init(prefix: String, accounts: [UInt32: AuditLedger.Account]) {
        self.prefix = prefix
        self.accounts = accounts
    }

    mutating func take(_ entry: StateEntry) {
        // An entry that comes again is one too many.
        guard last.lexicographicallyPrecedes(entry.key),
            let key = AuditKey(entry.key, after: prefix), let account = accounts[key.client],
            key.number < account.sent, let value = Int64(String(decoding: entry.value, as: UTF8.self)), value >= 1
        else {
            invented += 1
            return
        }
        last = entry.key
        if value > 1 { doubled += 1 }
        if !account.unacknowledged.contains(key.number) { found += 1 }
    }

    func verdict(contradictions: UInt64) -> AuditVerdict {
        let acknowledged = accounts.values.reduce(0) { $0 + $1.acknowledged }
        return AuditVerdict(
            acknowledged: acknowledged,
            unanswered: accounts.values.reduce(0) { $0 + UInt64($1.unacknowledged.count) },
            lost: acknowledged - found,
            doubled: doubled,
            invented: invented,
            contradictions: contradictions
        )
    }
}

/// The place of one write among the keys of a run, in digits of fixed width so that keys are in the order of their numbers.
struct AuditKey: Hashable {
    private static let clientDigits = 10
    private static let numberDigits = 20

    let client: UInt32
    let number: UInt64

    init(client: UInt32, number: UInt64) {
        self.client = client
        self.number = number
    }

    /// Takes a key apart.
    ///
    /// - Returns: nil when it is none of this run.
    init?(_ key: [UInt8], after prefix: String) {
        guard let text = String(validating: key, as: UTF8.self), text.hasPrefix(prefix) else { return nil }
        let parts = text.dropFirst(prefix.count).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let client = UInt32(parts[0]), let number = UInt64(parts[1]) else { return nil }
        self.init(client: client, number: number)
        // Numbers can be written in several ways, keys in one.
        guard bytes(after: prefix) == key else { return nil }
    }

    func bytes(after prefix: String) -> [UInt8] {
        let client = Self.padded(String(client), to: Self.clientDigits)
        return Array("\(prefix)\(client)/\(Self.padded(String(number), to: Self.numberDigits))".utf8)
    }

    static func padded(_ digits: String, to count: Int) -> String {
        String(repeating: "0", count: max(0, count - digits.count)) + digits
    }
}

/// The audit workload of one client: writes that are entered in the books, and reads of what was acknowledged.
struct AuditSource: OperationSource {
    let mix: OperationMix
    let client: UInt32
    let ledger: AuditLedger
    var random: SplitMix64

    mutating func next() -> WorkloadOperation? {
        if mix.next(using: &random) == .read, let newest = ledger.newestAcknowledged(of: client) {
            return WorkloadOperation(
                .read,
                KeyValueOperation.get(key: ledger.key(client: client, number: newest)).encoded
            )
        }
        let number = ledger.begin(client)
        let write = KeyValueOperation.increment(key: ledger.key(client: client, number: number), by: 1)
        return WorkloadOperation(.insert, write.encoded, inserted: number)
    }

    func fault(in result: [UInt8], of operation: WorkloadOperation, isContinuation: Bool) -> String? {
        switch (operation.kind, KeyValueResult(encoded: result)) {
        case (.insert, .number(1)), (.read, .value([UInt8(ascii: "1")])): return nil
        case (_, .refused): return RecordOperation.refused
        default:
            ledger.noteContradiction()
            return RecordOperation.unexpectedResult
        }
    }

    mutating func end(_ operation: WorkloadOperation, succeeded: Bool) {
        if succeeded, let number = operation.inserted { ledger.acknowledge(number, of: client) }
    }
}
