import KeyValueService
import StateStore
import Testing

@testable import Workloads

@Suite
struct WorkloadTests {
    /// The first operations of one client, each ended before the next one is made.
    static func operations(_ plan: WorkloadPlan, client: Int = 0, count: Int) -> [WorkloadOperation] {
        var source = plan.source(client: client)
        return (0..<count).compactMap { _ in
            let operation = source.next()
            if let operation { source.end(operation, succeeded: true) }
            return operation
        }
    }

    @Test(arguments: [
        (Workload.null, [WorkloadOperation.Kind.null: 1.0]),
        (.kvPut, [.update: 1]),
        (.audit, [.insert: 0.9, .read: 0.1]),
        (.ycsbA, [.read: 0.5, .update: 0.5]),
        (.ycsbB, [.read: 0.95, .update: 0.05]),
        (.ycsbC, [.read: 1]),
        (.ycsbD, [.read: 0.95, .insert: 0.05]),
        (.ycsbE, [.scan: 0.95, .insert: 0.05]),
        (.ycsbF, [.read: 0.5, .readModifyWrite: 0.5]),
    ])
    func `a workload has YCSB's proportions`(workload: Workload, expected: [WorkloadOperation.Kind: Double]) {
        var counts: [WorkloadOperation.Kind: Int] = [:]
        for operation in Self.operations(WorkloadPlan(workload), count: 20_000) {
            counts[operation.kind, default: 0] += 1
        }
        #expect(Set(counts.keys) == Set(expected.keys))
        for (kind, proportion) in expected {
            #expect(abs(Double(counts[kind] ?? 0) / 20_000 - proportion) < 0.015, "\(kind)")
        }
    }

    @Test(arguments: Workload.allCases) func `a seed gives one stream, and each client its own`(workload: Workload) {
        var settings = WorkloadSettings()
        settings.seed = 77
        let stream = Self.operations(WorkloadPlan(workload, settings), count: 500).map(\.bytes)
        #expect(Self.operations(WorkloadPlan(workload, settings), count: 500).map(\.bytes) == stream)
        guard workload != .null else { return }
        #expect(Self.operations(WorkloadPlan(workload, settings), client: 1, count: 500).map(\.bytes) != stream)
        settings.seed = 78
        #expect(Self.operations(WorkloadPlan(workload, settings), count: 500).map(\.bytes) != stream)
    }

    @Test func `the load phase and the run phase use different values`() {
        var settings = WorkloadSettings()
        settings.records = 1
        let plan = WorkloadPlan(.kvPut, settings)
        var source = plan.loadSource(client: 0, of: 1)
        #expect(source.next()?.bytes != Self.operations(plan, count: 1)[0].bytes)
        #expect(source.next() == nil)
    }

    @Test(arguments: Workload.allCases) func `every operation keeps the service's limits`(workload: Workload) throws {
        var settings = WorkloadSettings()
        settings.valueBytes = KeyValueLimits.valueBytes
        settings.records = 1
        for operation in Self.operations(WorkloadPlan(workload, settings), count: 10) where workload != .null {
            for bytes in [operation.bytes] + (operation.continuation.map { [$0] } ?? []) {
                try #require(KeyValueOperation(encoded: bytes)).validate()
            }
        }
    }

    @Test func `inserted records are new and are read afterwards`() throws {
        let operations = Self.operations(WorkloadPlan(.ycsbD), count: 5_000)
        let inserted = operations.compactMap(\.inserted)
        #expect(inserted == Array(1_000..<(1_000 + UInt64(inserted.count))))
        let keys = Set(inserted.map { KeyValueOperation.get(key: RecordOperation.key($0)).encoded })
        let reads = operations.filter { $0.kind == .read }
        // The newest few records draw a good part of the reads.
        #expect(reads.count { keys.contains($0.bytes) } > reads.count / 4)
    }

    @Test func `scans ask for 1 to 100 records evenly`() throws {
        var lengths = [Int](repeating: 0, count: 101)
        for operation in Self.operations(WorkloadPlan(.ycsbE), count: 20_000) where operation.kind == .scan {
            guard case .scan(let range, let limit) = KeyValueOperation(encoded: operation.bytes) else {
                Issue.record("not a scan")
                return
            }
            #expect(range.to == nil)
            lengths[Int(limit)] += 1
        }
        #expect(lengths[0] == 0)
        #expect(lengths[1...].allSatisfy { (110...280).contains($0) })
    }

    @Test func `a read-modify-write writes the record that it read`() throws {
        for operation in Self.operations(WorkloadPlan(.ycsbF), count: 200) where operation.kind == .readModifyWrite {
            guard
                case .get(let read) = KeyValueOperation(encoded: operation.bytes),
                case .put(let written, let value) = KeyValueOperation(encoded: operation.continuation ?? [])
            else {
                Issue.record("not a read and a write")
                return
            }
            #expect(read == written)
            #expect(value.count == 1_000)
        }
    }

    @Test func `results are judged`() {
        let source = WorkloadPlan(.ycsbA).source(client: 0)
        let fault = { (kind: WorkloadOperation.Kind, result: KeyValueResult, isContinuation: Bool) in
            source.fault(in: result.encoded, of: WorkloadOperation(kind, []), isContinuation: isContinuation)
        }
        #expect(fault(.read, .value([1]), false) == nil)
        #expect(fault(.read, .value(nil), false) == "not_found")
        #expect(fault(.read, .stored, false) == "unexpected_result")
        #expect(fault(.update, .stored, false) == nil)
        #expect(fault(.insert, .refused(.valueTooLong), false) == "refused")
        #expect(fault(.scan, .entries([], next: nil), false) == "not_found")
        #expect(fault(.readModifyWrite, .value([]), false) == nil)
        #expect(fault(.readModifyWrite, .value([]), true) == "unexpected_result")
        #expect(fault(.readModifyWrite, .stored, true) == nil)
        #expect(source.fault(in: [99], of: WorkloadOperation(.read, []), isContinuation: false) == "unexpected_result")
    }
}
