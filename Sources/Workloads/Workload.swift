import Invariants
import KeyValueService

/// A named workload: what the clients of a benchmark ask for.
public enum Workload: String, CaseIterable, Hashable, Sendable {
    /// Empty operations: the protocol alone.
    case null

    /// Writes that can be audited: each increments a key of its own, and a tenth of the operations read an acknowledged write back
    /// (``AuditLedger``).
    case audit

    /// Puts of records that are picked uniformly.
    case kvPut = "kv-put"

    /// YCSB's workload A, update heavy: half reads, half updates, zipfian.
    case ycsbA = "ycsb-a"

    /// YCSB's workload B, read mostly: 95 % reads, 5 % updates, zipfian.
    case ycsbB = "ycsb-b"

    /// YCSB's workload C, read only, zipfian.
    case ycsbC = "ycsb-c"

    /// YCSB's workload D, read latest: 95 % reads of mostly new records, 5 % inserts.
    case ycsbD = "ycsb-d"

    /// YCSB's workload E, short ranges: 95 % scans of 1 to 100 records from a zipfian start, 5 % inserts.
    case ycsbE = "ycsb-e"

    /// YCSB's workload F, read-modify-write: half reads, half read-modify-writes, zipfian.
    case ycsbF = "ycsb-f"

    /// How its operations are mixed.
    public var mix: OperationMix {
        switch self {
        case .null: OperationMix([(.null, 1)])
        case .audit: OperationMix([(.insert, 0.9), (.read, 0.1)])
        case .kvPut: OperationMix([(.update, 1)])
        case .ycsbA: OperationMix([(.read, 0.5), (.update, 0.5)])
        case .ycsbB: OperationMix([(.read, 0.95), (.update, 0.05)])
        case .ycsbC: OperationMix([(.read, 1)])
        case .ycsbD: OperationMix([(.read, 0.95), (.insert, 0.05)])
        case .ycsbE: OperationMix([(.scan, 0.95), (.insert, 0.05)])
        case .ycsbF: OperationMix([(.read, 0.5), (.readModifyWrite, 0.5)])
        }
    }

    /// Whether the records must be there before it starts, so that a load phase has to put them.
    public var needsRecords: Bool { hasRecords && self != .kvPut }

    /// Whether it works on records, so that their number and size matter.
    public var hasRecords: Bool { self != .null && self != .audit }
}

/// The proportions of the kinds of operations in a workload.
public struct OperationMix: Sendable {
    /// Each kind with its proportion; they add up to 1.
    public let proportions: [(kind: WorkloadOperation.Kind, proportion: Double)]

    /// Describes a mix.
    ///
    /// - Parameter proportions: At least one; they add up to 1.
    public init(_ proportions: [(kind: WorkloadOperation.Kind, proportion: Double)]) {
        invariant(
            abs(proportions.reduce(0) { $0 + $1.proportion } - 1) < 1e-9,
            "the proportions of a mix add up to 1"
        )
        self.proportions = proportions
    }

    /// The proportion of a kind, 0 when it does not occur.
    public func proportion(of kind: WorkloadOperation.Kind) -> Double {
        proportions.reduce(0) { $1.kind == kind ? $0 + $1.proportion : $0 }
    }

    /// Draws a kind.
    public func next(using random: inout SplitMix64) -> WorkloadOperation.Kind {
        var rest = random.nextUnit()
        for (kind, proportion) in proportions.dropLast() {
            if rest < proportion { return kind }
            rest -= proportion
        }
        // What rounding leaves over falls to the last kind.
        guard let last = proportions.last else { invariantViolated("a mix has at least one kind") }
        return last.kind
    }
}

/// The sizes of a workload, and the seed of all its choices.
public struct WorkloadSettings: Hashable, Sendable {
    /// The most records that a workload may have.
    public static let mostRecords: UInt64 = 100_000_000

    /// How many records the load phase puts, 1 to ``mostRecords``. YCSB's default is 1,000.
    public var records: UInt64 = 1_000

    /// The length of a record's value in bytes, 0 to 1 MiB. YCSB's default is 10 fields of 100 bytes.
    public var valueBytes = 1_000

    /// The seed of all choices.
    public var seed: UInt64 = 1

    /// About how many operations the run will do: the zipfian choice of a workload that inserts is made over the
    /// records that are expected at its end (YCSB's `operationcount`).
    public var expectedOperations: UInt64 = 1_000

    /// Tells the keys of the audit workload from those of other runs. Two runs against one service need two numbers.
    public var run: UInt64 = 0

    /// YCSB's defaults.
    public init() {}
}

/// A workload with its sizes: makes what the clients of a load generator do in its load phase and in its run phase.
public final class WorkloadPlan: Sendable {
    /// Zipfian choices are made over at most this many times the records beside the records themselves.
    private static let mostGrowth: UInt64 = 9

    /// The workload.
    public let workload: Workload

    /// Its sizes.
    public let settings: WorkloadSettings

    /// The books of the audit workload; nil for every other one.
    public let ledger: AuditLedger?

    private let chooser: KeyChooser
    private let inserts: InsertSequence

    /// Prepares a workload. For zipfian choices by age this takes time in proportion to the records.
    public init(_ workload: Workload, _ settings: WorkloadSettings = WorkloadSettings()) {
        invariant(
            (1...WorkloadSettings.mostRecords).contains(settings.records),
            "a workload has 1 to \(WorkloadSettings.mostRecords) records"
        )
        invariant(
            (0...KeyValueLimits.valueBytes).contains(settings.valueBytes),
            "a record's value has 0 to \(KeyValueLimits.valueBytes) bytes"
        )
        self.workload = workload
        self.settings = settings
        ledger = workload == .audit ? AuditLedger(run: settings.run) : nil
        inserts = InsertSequence(records: settings.records)
        switch workload {
        case .null, .kvPut, .audit: chooser = .uniform(count: settings.records)
        case .ycsbD: chooser = .latest(ZipfianChooser(count: settings.records))
        case .ycsbA, .ycsbB, .ycsbC, .ycsbE, .ycsbF:
            // YCSB's key space: the records, twice the inserts to be expected, and one more. It is bounded here,
            // because each draw of a record that is not there yet is a draw wasted.
            let expected = Double(settings.expectedOperations) * workload.mix.proportion(of: .insert) * 2
            let bounded = UInt64(min(expected, Double(Self.mostGrowth * settings.records)))
            chooser = .scrambledZipfian(ScrambledZipfianChooser(count: settings.records + bounded + 1))
        }
    }

    /// What one client does in the run phase, without end.
    ///
    /// A client's stream depends on the seed and the client alone; where the workload inserts, also on which insertions
    /// of all clients have ended by then.
    ///
    /// - Parameter client: The client's number among those of this run.
    public func source(client: Int) -> any OperationSource {
        guard workload != .null else { return NullSource() }
        // Even streams are the run phase, odd ones the load phase.
        let random = SplitMix64(seed: settings.seed, stream: 2 * UInt64(client))
        if let ledger {
            return AuditSource(mix: workload.mix, client: UInt32(client), ledger: ledger, random: random)
        }
        return RecordSource(
            mix: workload.mix,
            chooser: chooser,
            inserts: inserts,
            valueBytes: settings.valueBytes,
            random: random
        )
    }

    /// What one client does in the load phase: it puts its share of the records, then ends.
    ///
    /// - Parameters:
    ///   - client: The client's number among those that load, from 0.
    ///   - clients: How many clients load, at most 2^32.
    public func loadSource(client: Int, of clients: Int) -> any OperationSource {
        invariant((0..<clients).contains(client) && clients <= 1 << 32, "a client outside the run")
        let share = { (number: Int) in self.settings.records * UInt64(number) / UInt64(clients) }
        return LoadingSource(
            records: share(client)..<share(client + 1),
            valueBytes: settings.valueBytes,
            random: SplitMix64(seed: settings.seed, stream: 2 * UInt64(client) + 1)
        )
    }
}
