import Aardvark
import Foundation

/// A child process of a run. It ends when this process does, in whatever way.
final class LabProcess {
    private let process = Process()
    // Its standard input: it stops when nobody holds the other end any more.
    private let lifeline = Pipe()

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - words: The program's path, and its arguments.
    ///   - path: Where a new file takes what it writes to the standard error output, and to the standard output too unless that is read.
    ///   - output: What reads its standard output.
    /// - Throws: Where it does not start.
    init(_ words: [String], log path: String, output: Pipe? = nil) throws(OperatorError) {
        let log = try FileAccess.create(path, what: "log file", mode: 0o644)
        process.executableURL = URL(filePath: words[0])
        process.arguments = Array(words.dropFirst())
        process.standardInput = lifeline
        if let output { process.standardOutput = output } else { process.standardOutput = log }
        process.standardError = log
        do {
            try process.run()
            try log.close()
        } catch {
            throw OperatorError(.unavailable, "\(words[0]): this program cannot be started: \(error)")
        }
    }

    /// What it has used so far.
    var usage: ProcessUsage? { ProcessUsage(of: process.processIdentifier) }

    /// Whether it has not ended.
    var isRunning: Bool { process.isRunning }

    /// Sends it a signal, unless it has ended.
    func signal(_ signal: Int32) {
        if process.isRunning { kill(process.processIdentifier, signal) }
    }

    /// Writes a line to its standard input, unless it has ended.
    func write(_ line: String) {
        guard process.isRunning else { return }
        try? lifeline.fileHandleForWriting.write(contentsOf: Data((line + "\n").utf8))
    }

    /// Ends it, and waits for its end.
    func stop() {
        signal(SIGKILL)
        process.waitUntilExit()
    }
}
