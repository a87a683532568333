import Foundation
import Messages
import Testing

@testable import Workloads

@Suite
struct BenchmarkReportTests {
    static func status(_ replica: UInt8, _ counters: [(String, UInt64)]) -> ReplicaStatus {
        ReplicaStatus(
            replica: ReplicaID(replica),
            protocolName: "aardvark",
            view: View(0),
            primary: ReplicaID(0),
            executed: .zero,
            stable: .zero,
            low: .zero,
            high: .zero,
            connectedPeers: [],
            counters: counters.map { ReplicaStatus.Counter($0.0, $0.1) }
        )
    }

    static func counters(_ operations: UInt64, _ batches: UInt64, _ cpu: UInt64) -> [(String, UInt64)] {
        [("operations_executed", operations), ("batches_executed", batches), ("cpu_microseconds", cpu)]
    }

    static func sample(from start: UInt64, latencies: Range<UInt64>, failures: [String] = []) -> LoadSample {
        var recording = LoadRecording()
        for latency in latencies {
            recording.noteSuccess(of: .null, invocations: 1, latencyMicroseconds: latency)
        }
        for kind in failures { recording.noteFailure(kind) }
        return LoadSample(start: start, end: start + second, activeClients: 2, recording: recording)
    }

    static func report(checksSignatures: Bool = true) -> BenchmarkReport {
        BenchmarkReport(
            settings: BenchmarkReport.Settings(
                plan: WorkloadPlan(.null),
                protocolName: "aardvark",
                signatureMode: "signature",
                replicas: 4,
                clients: 2,
                window: 32,
                bundle: 1,
                warmupSeconds: 1
            ),
            observed: BenchmarkReport.Observations(
                samples: [
                    sample(from: 5, latencies: 0..<1_000, failures: ["timed_out"]),
                    sample(from: 5 + second, latencies: 1_000..<2_000),
                ],
                startedAt: 1_234.5,
                rest: sample(from: 5 + 2 * second, latencies: 0..<10, failures: ["timed_out", "refused"]),
                unfinished: 0,
                statuses: [
                    (status(0, counters(100, 10, 1_000)), status(0, counters(2_100, 110, 201_000))),
                    (status(1, counters(500, 10, 1_000)), status(1, counters(2_500, 110, 101_000))),
                    (status(2, counters(500, 10, 1_000)), status(2, counters(3, 1, 10))),
                    (nil, status(3, counters(1, 1, 1))),
                ],
                clientCPUMicroseconds: 8_000,
                cores: 2,
                signatureCheckMicroseconds: 50,
                checksSignatures: checksSignatures,
                audit: AuditVerdict(
                    acknowledged: 10,
                    unanswered: 1,
                    lost: 0,
                    doubled: 0,
                    invented: 0,
                    contradictions: 0
                )
            )
        )
    }

    @Test func `histograms of several clients add up to the one of all`() {
        var random = SplitMix64(seed: 1)
        var parts = [LoadRecording](repeating: LoadRecording(), count: 4)
        var whole = LoadRecording()
        for number in 0..<10_000 {
            let latency = random.next(below: 5_000_000)
            parts[number % 4].noteSuccess(of: .read, invocations: 1, latencyMicroseconds: latency)
            whole.noteSuccess(of: .read, invocations: 1, latencyMicroseconds: latency)
        }
        parts[1].noteFailure("timed_out")
        parts[2].noteFailure("timed_out")
        var sum = LoadRecording()
        for part in parts { sum.add(part) }
        #expect(sum.latency == whole.latency)
        #expect(sum.operations == 10_000)
        #expect(sum.operationsByKind == [.read: 10_000])
        #expect(sum.failuresByKind == ["timed_out": 2])
    }

    @Test func `a latency above the longest counts as the longest`() {
        var recording = LoadRecording()
        recording.noteSuccess(of: .read, invocations: 1, latencyMicroseconds: .max)
        #expect(recording.operations == 1)
        #expect(recording.latency.max >= 120_000_000)
        #expect(LoadRecording().latency.mean == 0)
    }

    @Test func `the report adds up what was observed`() throws {
        let report = Self.report()
        #expect(report.durationSeconds == 2)
        #expect(report.operations == 2_000)
        #expect(report.throughput == 1_000)
        #expect(report.errors == 3)
        #expect(report.errorsByKind == ["timed_out": 2, "refused": 1])
        #expect(abs(Double(report.latency.p50) - 1_000) < 3)
        #expect(abs(Double(report.latency.p99) - 1_980) < 4)
        #expect(report.clientCPUMicrosecondsPerInvocation == 4)
        #expect(report.series.map(\.throughput) == [1_000, 1_000])
        #expect(report.series.map(\.startSeconds) == [0, 1])
        #expect(report.series.map(\.errors) == [1, 0])
    }

    @Test func `replicas count when they told their counters and were not started anew`() {
        let report = Self.report()
        #expect(report.replicasReachable == 3)
        #expect(report.replicaShares.map(\.replica) == [0, 1])
        #expect(report.replicaShares.map(\.cpuMicrosecondsPerOperation) == [100, 50])
        #expect(report.averageBatchOperations == 20)
    }

    @Test func `the limit is cores over replicas times one check`() throws {
        let limit = Self.report().signatureLimit
        #expect(abs(limit.operationsPerSecond - 10_000) < 1e-6)
        #expect(abs(try #require(limit.percentReached) - 10) < 1e-6)
        #expect(Self.report(checksSignatures: false).signatureLimit.percentReached == nil)
    }

    @Test func `the JSON object has its documented names`() throws {
        let object = try JSONSerialization.jsonObject(with: JSONEncoder().encode(Self.report()))
        let fields = try #require(object as? [String: Any])
        #expect(
            fields.keys.sorted() == [
                "audit", "average_batch_operations", "client_cpu_microseconds_per_invocation", "duration_seconds",
                "errors",
                "errors_by_kind", "invocations", "latency", "operations", "operations_by_kind", "replica_shares",
                "replicas_reachable", "series", "settings", "signature_limit", "started_at_unix_seconds",
                "throughput_invocations_per_second",
                "throughput_operations_per_second", "unfinished_operations",
            ]
        )
        #expect(
            try #require(fields["latency"] as? [String: Any]).keys.sorted() == [
                "max_microseconds", "mean_microseconds", "p50_microseconds", "p90_microseconds", "p99_9_microseconds",
                "p99_microseconds",
            ]
        )
        #expect(
            try #require(fields["audit"] as? [String: Any]).keys.sorted() == [
                "acknowledged", "contradictions", "doubled", "invented", "lost", "unanswered",
            ]
        )
        #expect(try #require(fields["settings"] as? [String: Any])["protocol"] as? String == "aardvark")
    }
}
