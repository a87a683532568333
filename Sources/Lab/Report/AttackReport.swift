import Aardvark
import Foundation

/// Results for people.
package struct AttackReport {
    let results: AttackResults
    let tables: ResultTables
    let comparison: TextTable

    /// Reports results.
    package init(_ results: AttackResults) {
        self.results = results
        tables = ResultTables(results: results)
        comparison = PaperComparison(results: results).table
    }

    /// The tables for a terminal, without a line break at the end.
    package var terminal: String {
        var parts = [tables.peaks.plain, tables.throughput.plain]
        if !tables.starvation.rows.isEmpty { parts.append(tables.starvation.plain) }
        if !comparison.rows.isEmpty { parts.append(comparison.plain) }
        parts += tables.cautions.map { "Note: \($0)." }
        parts += tables.complaints.map { "FAILED: \($0)" }
        return parts.joined(separator: "\n\n")
    }

    /// The tables that hold ours against published figures, for a terminal, without a line break at the end.
    package var besideThePapers: String {
        ([tables.peaks.plain, comparison.plain] + tables.cautions.map { "Note: \($0)." }
            + tables.complaints.map { "FAILED: \($0)" }).joined(separator: "\n\n")
    }

    /// The tables in Markdown, with machine, commit and command.
    package var markdown: String {
        var parts = ["# Benchmark under attack", facts.map { "- \($0.0): \($0.1)" }.joined(separator: "\n")]
        if !tables.cautions.isEmpty { parts.append(tables.cautions.map { "> \($0)." }.joined(separator: "\n>\n")) }
        if !tables.complaints.isEmpty {
            parts += ["## What failed", tables.complaints.map { "- \($0)" }.joined(separator: "\n")]
        }
        parts += ["## Without an attack", tables.peaks.markdown, "## Under attack", tables.throughput.markdown]
        if !tables.starvation.rows.isEmpty { parts += ["## A starved client", tables.starvation.markdown] }
        if !comparison.rows.isEmpty { parts += ["## Beside published figures", comparison.markdown] }
        parts += ["## How to read this", Self.legend.map { "- \($0)" }.joined(separator: "\n")]
        return parts.joined(separator: "\n\n") + "\n"
    }

    /// Whether nothing failed: the program's exit code has to say it.
    package var passed: Bool { results.summary.passed }

    /// The shares that are left under attack as a picture.
    package var chart: String { ChartImage(self).svg }

    /// Writes `report.html`, `report.md` and `chart.svg` into a directory, which is made where it is missing. Older ones are replaced.
    ///
    /// - Throws: Where that is not possible.
    package func write(to directory: String) throws(OperatorError) {
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            try Data(html.utf8).write(to: URL(filePath: "\(directory)/report.html"), options: .atomic)
            try Data(markdown.utf8).write(to: URL(filePath: "\(directory)/report.md"), options: .atomic)
            try Data(chart.utf8).write(to: URL(filePath: "\(directory)/chart.svg"), options: .atomic)
        } catch {
            throw OperatorError(.cannotCreate, "\(directory): the report cannot be written")
        }
    }

    /// What was run, on what, and how to repeat it.
    var facts: [(String, String)] {
        let (machine, settings) = (results.machine, results.settings)
        let processor = machine.processor.map { "\($0), " } ?? ""
        let quota = settings.emulation.processorPercent.map { ", each replica with \($0) % of a processor" } ?? ""
        let links = settings.emulation.linkMegabits.map { ", links of \($0) Mbit/s" } ?? ""
        let emulation = settings.emulation.kind == .namespaces ? "a network namespace each" : "plain processes"
        return [
            ("date", results.startedAt),
            ("commit", results.commit ?? "unknown"),
            ("command", results.command),
            (
                "machine",
                "\(processor)\(machine.cores) cores, \(Figures.bytes(machine.memoryBytes)), \(machine.operatingSystem); one signature check takes "
                    + Figures.duration(microseconds: machine.signatureCheckMicroseconds)
            ),
            (
                "replicas",
                "\(settings.replicas), of which \(settings.faults) may be faulty; \(emulation)\(quota)\(links)"
            ),
            (
                "load",
                "\(settings.clients) correct clients, each with \(settings.window) requests of \(settings.bundle) operations outstanding, "
                    + "workload \(settings.workload), durability \(settings.durability)"
            ),
            (
                "repetitions",
                "\(settings.repeats); each figure is their median, in brackets the smallest and the largest"
            ),
        ]
    }

    /// What the columns mean.
    static let legend = [
        "fault-free, attack: operations of correct clients a second, before the attack and during it",
        "of own: throughput under attack as a share of the same run's fault-free phase",
        "paper: the same share as published; of Aardvark's own paper but for the load spike, which is RBFT's",
        "worst 1 s: the worst second of the attack, in operations a second",
        "p99: 99 of 100 operations during the attack took at most this long",
        "evicted: from the attack's beginning until a correct replica leads in the attacker's place, or f + 1 correct replicas shut it out",
        "back at 90 %: from the attack's beginning until throughput was at 90 % of the fault-free phase for two seconds running",
        "held: all runs came to their end, and every oracle had something to judge and found no violation",
    ]
}
