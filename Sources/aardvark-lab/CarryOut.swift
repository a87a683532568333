import Aardvark
import ArgumentParser
import Foundation
import Lab
import UnixSignals

extension AttackPlan {
    /// A plan of this program, as it was called.
    init(output: String) {
        self.init(
            programs: URL(filePath: Console.executablePath).deletingLastPathComponent().path,
            output: output,
            command: (["aardvark-lab"] + CommandLine.arguments.dropFirst()).joined(separator: " ")
        )
    }

    /// Runs everything, writes results and report, and prints what came of it.
    ///
    /// - Parameters:
    ///   - json: Whether `results.json` is printed, rather than a text.
    ///   - text: What is printed of the report.
    /// - Throws: Exit code 3 when something was found; why not everything was run.
    func carryOut(json: Bool, text: (AttackReport) -> String) async throws {
        let resultsPath = "\(output)/results.json"
        guard !FileAccess.exists(resultsPath) else {
            throw OperatorError(.cannotCreate, "\(resultsPath): the file exists already and is not overwritten")
        }
        // From here on, so that no signal ends this process without its runs and machines.
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        let work = Task { () async throws -> AttackResults in
            var line = LiveLine()
            defer { line.clear() }
            return try await run(
                onProgress: { if Console.errorIsTerminal { line.show($0) } else { Console.note($0) } },
                onRun: { try Self.write(try $0.json(), to: resultsPath) }
            )
        }
        let watching = Task { for await _ in signals { work.cancel() } }
        defer { watching.cancel() }
        let results: AttackResults
        do {
            results = try await work.value
        } catch is CancellationError {
            throw OperatorError(.unavailable, "stopped before the first run was over; all processes are ended")
        }
        let contents = try results.json()
        try Self.write(contents, to: resultsPath)
        let report = AttackReport(results)
        try report.write(to: output)
        print(json ? String(decoding: contents, as: UTF8.self) : text(report))
        if !report.passed { throw ExitCode(3) }
        if let stopped = results.stopped {
            throw OperatorError(.unavailable, "not all runs took place: \(stopped); \(output) has what they showed")
        }
    }

    /// The results so far replace those before them at once.
    private static func write(_ contents: [UInt8], to path: String) throws {
        do {
            try Data(contents).write(to: URL(filePath: path), options: .atomic)
        } catch {
            throw OperatorError(
                .cannotCreate,
                "\(path): the results file cannot be written: \(FileAccess.reason(of: error))"
            )
        }
    }
}

/// Checks options that are numbers; one that was not given is good.
func checkRanges(_ options: [(value: Int?, range: ClosedRange<Int>, name: String)]) throws {
    for option in options {
        guard let value = option.value, !option.range.contains(value) else { continue }
        throw ValidationError("\(option.name) is \(option.range.lowerBound) to \(option.range.upperBound)")
    }
}
