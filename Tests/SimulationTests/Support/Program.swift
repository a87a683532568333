import Foundation

/// The built `aardvark-lab`, run as a process.
enum Program {
    struct Result {
        let status: Int32
        let output: String
        let errors: String
    }

    struct Missing: Error {}

    /// Next to the test bundle, wherever that is.
    private static func url() throws -> URL {
        let starts = CommandLine.arguments.filter { $0.contains("/") } + [Bundle.main.executablePath].compactMap(\.self)
        for start in starts {
            var directory = URL(filePath: start).deletingLastPathComponent()
            while directory.path.count > 1 {
                let candidate = directory.appending(path: "aardvark-lab")
                if FileManager.default.isExecutableFile(atPath: candidate.path), !isDirectory(candidate) {
                    return candidate
                }
                directory.deleteLastPathComponent()
            }
        }
        throw Missing()
    }

    private static func isDirectory(_ url: URL) -> Bool {
        (try? url.resourceValues(forKeys: [.isDirectoryKey]).isDirectory) ?? false
    }

    static func run(_ arguments: String) throws -> Result {
        let process = Process()
        process.executableURL = try url()
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
