import Aardvark
import ArgumentParser
import Foundation
import Lab

/// `aardvark-lab report`: results of an earlier run as a page and as tables.
struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Turn a results.json into a page, Markdown, a chart and tables.",
        discussion:
            "The tables go to the standard output. With --output, report.html, report.md and chart.svg are written too."
    )

    @Argument(help: "The results.json of `aardvark-lab attack`.")
    var results: String

    @Option(
        help: ArgumentHelp(
            "Write report.html, report.md and chart.svg into this directory, which is made if need be.",
            valueName: "directory"
        )
    )
    var output: String?

    func run() throws {
        let bytes = try FileAccess.read(results, what: "results file", mostBytes: AttackResults.mostBytes)
        let report = AttackReport(try AttackResults(json: bytes, path: results))
        print(report.terminal)
        if let output { try report.write(to: output) }
        if !report.passed { throw ExitCode(3) }
    }
}
