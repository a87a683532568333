import Foundation
import TestSupport

/// The built `aardvark-lab`, run as a process.
enum Program {
    struct Result {
        let status: Int32
        let output: String
        let errors: String
    }

    static func run(_ arguments: String) throws -> Result {
        let process = Process()
        process.executableURL = try BuiltProgram.url("aardvark-lab")
        process.arguments = arguments.split(separator: " ").map(String.init)
        let output = Pipe()
        let errors = Pipe()
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        // The error output is short, so that the pipe takes all of it while the other is read.
        let text = output.fileHandleForReading.readDataToEndOfFile()
        let complaints = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Result(
            status: process.terminationStatus,
            output: String(decoding: text, as: UTF8.self),
            errors: String(decoding: complaints, as: UTF8.self)
        )
    }
}
