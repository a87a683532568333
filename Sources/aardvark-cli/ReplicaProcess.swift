import Aardvark
import Foundation

/// A replica in a child process, which ends when this process does.
final class ReplicaProcess {
    /// The replica's number.
    let number: Int

    /// The file that the process logs to.
    let logPath: String

    private let process = Process()

    // The child holds the other end as its standard input: it stops when this process ends in whatever way.
    private let lifeline = Pipe()

    /// Starts the process.
    ///
    /// - Parameters:
    ///   - number: The replica's number.
    ///   - clusterPath: The cluster file.
    ///   - logPath: The file to log to; an earlier one is kept beside it.
    ///   - logLevel: How much it logs.
    ///   - recordPath: The file to record its engine's inputs in; nil for none.
    ///   - onExit: Called once, on some thread, when the process has ended.
    /// - Throws: When the log file or the process cannot be made.
    init(
        number: Int,
        clusterPath: String,
        logPath: String,
        logLevel: LogLevel,
        createsStore: Bool,
        recordPath: String?,
        onExit: @escaping @Sendable (Ending) -> Void
    ) throws(OperatorError) {
        self.number = number
        self.logPath = logPath
        let previous = "\(logPath).previous"
        if FileAccess.exists(logPath) {
            do {
                if FileAccess.exists(previous) { try FileManager.default.removeItem(atPath: previous) }
                try FileManager.default.moveItem(atPath: logPath, toPath: previous)
            } catch {
                throw OperatorError(
                    .cannotCreate,
                    "\(logPath): the log file cannot be put aside: \(FileAccess.reason(of: error))"
                )
            }
        }
        let log = try FileAccess.create(logPath, what: "log file", mode: 0o644)
        defer { try? log.close() }
        guard let program = Bundle.main.executableURL else {
            throw OperatorError(.unavailable, "the path of this program cannot be found to start replicas with")
        }
        process.executableURL = program
        process.arguments = [
            "replica", "--cluster", clusterPath, "--id", "\(number)", "--log-level", logLevel.rawValue, "--lifeline",
        ]
        if createsStore { process.arguments?.append("--create") }
        if let recordPath { process.arguments?.append(contentsOf: ["--record", recordPath]) }
        process.standardInput = lifeline
        process.standardOutput = log
        process.standardError = log
        process.terminationHandler = { process in
            onExit(
                process.terminationReason == .exit
                    ? .exited(code: process.terminationStatus) : .killed(signal: process.terminationStatus)
            )
        }
        do {
            try process.run()
        } catch {
            throw OperatorError(
                .unavailable,
                "\(program.path): replica \(number) cannot be started: \(FileAccess.reason(of: error))"
            )
        }
    }

    /// How a process ended.
    enum Ending: Sendable, CustomStringConvertible {
        /// By itself.
        case exited(code: Int32)

        /// By a signal.
        case killed(signal: Int32)

        /// For a sentence.
        var description: String {
            switch self {
            case .exited(let code): "exited with code \(code)"
            case .killed(let signal): "was killed by signal \(signal)"
            }
        }
    }

    /// Asks the process to stop.
    func stop() {
        if process.isRunning { process.terminate() }
    }

    /// Ends the process at once.
    func kill() {
        if process.isRunning { Foundation.kill(process.processIdentifier, SIGKILL) }
    }

    /// The sentence of the error that the process ended with, out of the end of its log.
    var lastError: String? {
        guard let log = try? FileAccess.open(logPath, what: "log file"), let end = try? log.seekToEnd() else {
            return nil
        }
        let most: UInt64 = 16 << 10
        try? log.seek(toOffset: end > most ? end - most : 0)
        guard let bytes = try? log.readToEnd() else { return nil }
        let mark = "aardvark: error: "
        let line = String(decoding: bytes, as: UTF8.self).split(separator: "\n").last { $0.hasPrefix(mark) }
        return line.map { String($0.dropFirst(mark.count)) }
    }
}
