import Foundation
import Synchronization

/// A process whose output goes to files.
final class ChildProcess: Sendable {
    /// How a process ended.
    enum Ending: Hashable, Sendable {
        case exit(Int32)
        case signal(Int32)
    }

    private let process: Mutex<Process>
    private let outputURL: URL
    private let errorsURL: URL
    private let end: AsyncStream<Ending>
    private let known = Mutex<Ending?>(nil)
    // The other end is the standard input of the process, which closes when this process is gone.
    private let lifeline = Pipe()

    let identifier: Int32

    init(_ program: URL, _ arguments: [String], in directory: URL) throws {
        let name = UUID().uuidString
        outputURL = directory.appending(path: "\(name).out")
        errorsURL = directory.appending(path: "\(name).err")
        for url in [outputURL, errorsURL] {
            guard FileManager.default.createFile(atPath: url.path, contents: nil) else {
                throw Failure("\(url.path) cannot be created")
            }
        }
        let (end, input) = AsyncStream.makeStream(of: Ending.self)
        self.end = end
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        process.currentDirectoryURL = directory
        process.standardInput = lifeline
        process.standardOutput = try FileHandle(forWritingTo: outputURL)
        process.standardError = try FileHandle(forWritingTo: errorsURL)
        process.terminationHandler = { process in
            let status = process.terminationStatus
            input.yield(process.terminationReason == .exit ? .exit(status) : .signal(status))
            input.finish()
        }
        try process.run()
        identifier = process.processIdentifier
        self.process = Mutex(process)
    }

    /// Sends a signal, unless the process has ended.
    func send(_ signal: Int32) {
        process.withLock { process in
            if process.isRunning { _ = Foundation.kill(identifier, signal) }
        }
    }

    /// Ends the process at once.
    func kill() {
        send(SIGKILL)
    }

    /// Waits for the end of the process, for a while.
    ///
    /// - Throws: When it goes on and on; then it is killed.
    func ending() async throws -> Ending {
        if let ending = known.withLock({ $0 }) { return ending }
        let watchdog = Task {
            try await Task.sleep(for: Workspace.patience)
            kill()
        }
        defer { watchdog.cancel() }
        for await ending in end {
            known.withLock { $0 = ending }
            return ending
        }
        throw Failure("the end of a process was waited for twice at once")
    }

    /// What it wrote to its standard output so far.
    var output: String { Self.text(outputURL) }

    /// What it wrote to its standard error output so far.
    var errors: String { Self.text(errorsURL) }

    private static func text(_ url: URL) -> String {
        do {
            return String(decoding: try Data(contentsOf: url), as: UTF8.self)
        } catch {
            return "\(error)"
        }
    }
}
