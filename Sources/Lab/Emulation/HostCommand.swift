import Aardvark
import Foundation

/// Commands of the operating system.
enum HostCommand {
    /// Runs a command to its end.
    ///
    /// - Parameters:
    ///   - words: The program, which is looked for in the usual places, and its arguments.
    ///   - input: Lines for its standard input.
    /// - Returns: What it writes to its standard output; it has to be short.
    /// - Throws: Where it cannot be started or fails, with the first line that it complains.
    @discardableResult
    static func run(_ words: [String], input: [String]) throws(OperatorError) -> String {
        let process = Process()
        let standardError = Pipe()
        let standardOutput = Pipe()
        process.executableURL = URL(filePath: "/bin/sh")
        // The shell feeds the lines: a command that ends early must not end this process with a broken pipe.
        process.arguments =
            ["-c", "lines=$1; shift; printf '%s\\n' \"$lines\" | \"$@\"", "sh"]
            + [input.joined(separator: "\n")] + words
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = standardOutput
        process.standardError = standardError
        let complaint: String
        let output: String
        do {
            try process.run()
            output = String(decoding: try standardOutput.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
            complaint = String(decoding: try standardError.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
            process.waitUntilExit()
        } catch {
            throw OperatorError(.unavailable, "\(words[0]) cannot be started")
        }
        guard process.terminationStatus == 0 else {
            let line = complaint.split(separator: "\n").first.map { ": \($0)" } ?? ""
            throw OperatorError(.unavailable, "\(words.joined(separator: " ")) failed\(line)")
        }
        return output
    }
}
