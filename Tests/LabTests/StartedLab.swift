import Foundation
import TestSupport

/// A lab of its own process that a test ends at a moment of its choice.
struct StartedLab {
    let process = Process()
    /// What it says while it runs.
    let progress = Pipe()

    /// Starts the lab, and returns as soon as it has said this.
    init(_ words: [String], untilSaying moment: String) throws {
        process.executableURL = try BuiltProgram.url("aardvark-lab")
        process.arguments = words
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = progress
        try process.run()
        var text = ""
        while !text.contains(moment) {
            let bytes = progress.fileHandleForReading.availableData
            guard !bytes.isEmpty else { break }
            text += String(decoding: bytes, as: UTF8.self)
        }
    }
}
