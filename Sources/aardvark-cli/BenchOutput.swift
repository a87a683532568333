import Foundation
import Workloads

/// The live line of a benchmark, on standard error and only when that is a terminal.
struct BenchProgress: Sendable {
    private let workload: String
    private let isTerminal = Console.errorIsTerminal

    init(workload: String) {
        self.workload = workload
    }

    /// Shows what is going on, instead of what was shown before.
    func show(_ text: String) {
        write("\r\u{1B}[K\(workload): \(text)")
    }

    /// Shows what happened in the last second.
    ///
    /// - Parameters:
    ///   - sample: The last second.
    ///   - elapsed: How much of the run is over, in seconds.
    ///   - duration: How long the run is, in seconds.
    func show(_ sample: LoadSample, elapsed: Double, of duration: Double) {
        let latency = sample.recording.latency
        show(
            "\(Console.grouped(UInt64(sample.throughput))) operations/s   p50 \(milliseconds(latency.p50))   "
                + "p99 \(milliseconds(latency.p99))   errors \(Console.grouped(sample.recording.failures))"
                + "   \(fixed(elapsed, 0)) of \(fixed(duration, 0)) s"
        )
    }

    /// Takes the line away.
    func clear() {
        write("\r\u{1B}[K")
    }

    private func write(_ text: String) {
        guard isTerminal else { return }
        // A terminal that has gone away is no reason to stop.
        try? FileHandle.standardError.write(contentsOf: Array(text.utf8))
    }
}

/// The report of a benchmark as a table for people.
struct BenchTable {
    private let report: BenchmarkReport

    init(_ report: BenchmarkReport) {
        self.report = report
    }

    /// The table, without a line break at its end.
    var text: String {
        var rows = [
            ("workload", workload),
            ("cluster", cluster),
            ("clients", clients),
            ("", ""),
            ("throughput", throughput),
            ("latency", latency),
            ("operations", operations),
            ("errors", errors),
        ]
        if let audit = report.audit { rows.append(("audit", text(audit))) }
        if let batch = report.averageBatchOperations {
            rows.append(("batches", "\(fixed(batch, 1)) operations on the average"))
        }
        rows.append(("CPU", cpu))
        rows.append(("limit", limit))
        return rows.map { name, value in
            name.isEmpty ? "" : name.padding(toLength: 12, withPad: " ", startingAt: 0) + value
        }.joined(separator: "\n")
    }

    private var workload: String {
        let settings = report.settings
        let records =
            settings.records > 0
            ? ", \(Console.grouped(settings.records)) records of \(Console.grouped(UInt64(settings.valueBytes))) bytes"
            : ""
        return "\(settings.workload)\(records), seed \(settings.seed)"
    }

    private var cluster: String {
        let settings = report.settings
        let reachable =
            report.replicasReachable.map { "\($0) told their status" } ?? "status unknown (no key at hand to ask with)"
        return [
            settings.protocolName, "requests with \(settings.signatureMode)", "\(settings.replicas) replicas",
            reachable,
        ].joined(separator: ", ")
    }

    private var clients: String {
        let settings = report.settings
        return "\(settings.clients), each \(settings.window) requests of \(settings.bundle) operations outstanding"
    }

    private var throughput: String {
        let sent =
            report.invocations == report.operations
            ? "" : " (\(Console.grouped(UInt64(report.invocationThroughput))) of the service)"
        return "\(Console.grouped(UInt64(report.throughput))) operations/s\(sent)"
    }

    private var latency: String {
        let latency = report.latency
        let mean = UInt64(latency.mean.rounded())
        return [
            ("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("p99.9", latency.p999),
            ("max", latency.max),
            ("mean", mean),
        ].map { "\($0) \(milliseconds($1))" }.joined(separator: "   ")
    }

    private var operations: String {
        "\(Console.grouped(report.operations)) in \(fixed(report.durationSeconds, 1)) s: "
            + listed(report.operationsByKind)
    }

    private var errors: String {
        let unfinished = report.unfinished > 0 ? "; \(report.unfinished) operations never ended" : ""
        return (report.errors == 0 ? "none" : "\(Console.grouped(report.errors)): \(listed(report.errorsByKind))")
            + unfinished
    }

    private func text(_ audit: AuditVerdict) -> String {
        let wrong = [
            ("lost", audit.lost), ("doubled", audit.doubled), ("invented", audit.invented),
            ("contradictions", audit.contradictions),
        ].map { "\(Console.grouped($1)) \($0)" }.joined(separator: ", ")
        let unanswered = audit.unanswered > 0 ? "; \(Console.grouped(audit.unanswered)) more without an answer" : ""
        return "\(Console.grouped(audit.acknowledged)) acknowledged, \(wrong)\(unanswered)"
    }

    private var cpu: String {
        var parts = report.replicaShares.map { share in
            let cost = share.cpuMicrosecondsPerOperation.map { "\(fixed($0, 1)) us" } ?? "idle"
            return "replica \(share.replica) \(cost)"
        }
        parts.append("clients " + (report.clientCPUMicrosecondsPerInvocation.map { "\(fixed($0, 1)) us" } ?? "unknown"))
        return parts.joined(separator: ", ") + " an operation"
    }

    private var limit: String {
        let limit = report.signatureLimit
        let bundle = report.settings.bundle > 1 ? " x \(report.settings.bundle) operations" : ""
        let reached =
            limit.percentReached.map { "; \(fixed($0, 1)) % of it reached" }
            ?? "; \(report.settings.protocolName) checks none and is not bound by it"
        let check = "\(report.settings.replicas) replicas x \(fixed(limit.checkMicroseconds, 1)) us a signature check"
        let bound = "\(Console.grouped(UInt64(limit.operationsPerSecond))) operations/s"
        return "\(bound) = \(limit.cores) cores / (\(check))\(bundle)\(reached)"
    }
}

/// A number with this many digits after the point.
private func fixed(_ number: Double, _ digits: Int) -> String {
    number.formatted(
        .number.precision(.fractionLength(digits)).grouping(.never).locale(Locale(identifier: "en_US_POSIX"))
    )
}

/// Microseconds as milliseconds, for example `7.90 ms`.
private func milliseconds(_ microseconds: UInt64) -> String {
    "\(fixed(Double(microseconds) / 1_000, microseconds < 100_000 ? 2 : 0)) ms"
}

/// Counts by name, the largest first.
func listed(_ counts: [String: UInt64]) -> String {
    counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { "\($0.key) \(Console.grouped($0.value))" }
        .joined(separator: ", ")
}
