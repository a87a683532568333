import Foundation
import Synchronization
import TestSupport
import Testing

/// Why a test cannot go on.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// A directory for one test, and the processes that it started: whatever happens, they end and it is removed.
final class Workspace: Sendable {
    let directory: URL
    private let program: URL
    private let processes = Mutex<[ChildProcess]>([])

    /// How long a process may take for what it is asked to do.
    static let patience = Duration.seconds(60)

    // Below the ports that operating systems give to outgoing connections, and different for each run.
    private static let nextPort = Mutex(Int.random(in: 200...280) * 100)

    private init() throws {
        program = try BuiltProgram.url("aardvark")
        directory = FileManager.default.temporaryDirectory.appending(path: "aardvark-tests-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    static func with(_ body: (Workspace) async throws -> Void) async throws {
        let workspace = try Workspace()
        do {
            try await body(workspace)
        } catch {
            await workspace.end()
            throw error
        }
        await workspace.end()
    }

    private func end() async {
        let processes = processes.withLock { $0 }
        for process in processes { process.kill() }
        for process in processes { _ = try? await process.ending() }
        try? FileManager.default.removeItem(at: directory)
    }

    /// Where to look for the free ports of another cluster.
    static func basePort() -> String {
        String(
            nextPort.withLock { next in
                // 16 ports, and some more for those that others have.
                defer { next += 40 }
                return next
            }
        )
    }

    // MARK: Processes

    /// Starts the program.
    func start(_ arguments: String...) throws -> ChildProcess {
        try start(arguments)
    }

    /// Starts the program so that it ends when this process is gone, in whatever way.
    func startWatched(_ arguments: String...) throws -> ChildProcess {
        try startWatched(arguments: arguments)
    }

    /// Starts the program so that it ends when this process is gone, in whatever way.
    func startWatched(arguments: [String]) throws -> ChildProcess {
        let process = try start(arguments)
        let script = "read -r line; kill -9 \(process.identifier)"
        // The standard input of the watchdog closes when this process is gone; in good order it is killed before.
        let watchdog = try ChildProcess(URL(filePath: "/bin/sh"), ["-c", script], in: directory)
        processes.withLock { $0.append(watchdog) }
        return process
    }

    /// Runs `aardvark-lab` to its end.
    func runLab(_ arguments: String...) async throws -> Outcome {
        let process = try start(arguments, program: BuiltProgram.url("aardvark-lab"))
        let ending = try await process.ending()
        return Outcome(ending: ending, output: process.output, errors: process.errors)
    }

    private func start(_ arguments: [String], program: URL? = nil) throws -> ChildProcess {
        let process = try ChildProcess(program ?? self.program, arguments, in: directory)
        processes.withLock { $0.append(process) }
        return process
    }

    /// Runs the program to its end.
    func run(_ arguments: String...) async throws -> Outcome {
        try await run(arguments: arguments)
    }

    /// Runs the program to its end.
    func run(arguments: [String]) async throws -> Outcome {
        let process = try start(arguments)
        let ending = try await process.ending()
        return Outcome(ending: ending, output: process.output, errors: process.errors)
    }

    /// Runs the program to its end, which should be a good one, and gives what it printed.
    func succeed(_ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation) async throws -> String {
        let process = try start(arguments)
        let ending = try await process.ending()
        let errors = process.errors
        #expect(ending == .exit(0), "\(arguments): \(errors)", sourceLocation: sourceLocation)
        return process.output
    }

    /// Runs the program, which should fail with this exit code and one sentence, and gives the sentence.
    func complain(
        _ arguments: String...,
        code: Int32,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> String {
        try await complain(arguments: arguments, code: code, sourceLocation: sourceLocation)
    }

    /// Runs the program, which should fail with this exit code and one sentence, and gives the sentence.
    func complain(
        arguments: [String],
        code: Int32,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> String {
        let process = try start(arguments)
        #expect(try await process.ending() == .exit(code), "\(arguments)", sourceLocation: sourceLocation)
        let errors = process.errors
        let lines = errors.split(separator: "\n", omittingEmptySubsequences: false)
        let mark = "aardvark: error: "
        #expect(
            lines.count == 2 && lines[1].isEmpty && lines[0].hasPrefix(mark) && !lines[0].contains("Fatal error"),
            "\(arguments): \(errors)",
            sourceLocation: sourceLocation
        )
        return String(lines[0].dropFirst(mark.count))
    }

    // MARK: Files

    func path(_ name: String) -> String { directory.appending(path: name).path }

    func write(_ text: String, to name: String) throws {
        try Data(text.utf8).write(to: directory.appending(path: name))
    }

    func read(_ name: String) throws -> String {
        String(decoding: try Data(contentsOf: directory.appending(path: name)), as: UTF8.self)
    }
}

/// How a command ended and what it said.
struct Outcome {
    let ending: ChildProcess.Ending
    let output: String
    let errors: String
}

/// Returns as soon as `condition` holds; asks again and again until then.
///
/// - Throws: When it does not hold for very long.
func wait(for what: String, until condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + Workspace.patience
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw Failure("waited in vain for \(what)") }
        try await Task.sleep(for: .milliseconds(100))
    }
}
