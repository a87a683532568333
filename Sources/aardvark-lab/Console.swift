import Foundation

/// Writing for a person at a terminal.
enum Console {
    /// Whether the standard error output is a terminal.
    static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    /// The path of this very program.
    static var executablePath: String {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
            ?? Bundle.main.executablePath ?? CommandLine.arguments[0]
    }

    /// Writes a line to the standard error output.
    static func note(_ line: String) {
        // A reader that has gone away is no reason to stop.
        try? FileHandle.standardError.write(contentsOf: Array("\(line)\n".utf8))
    }
}

/// A line at the bottom of a terminal that is redrawn in place.
struct LiveLine: Sendable {
    private var isShown = false

    /// Replaces the line.
    mutating func show(_ text: String) {
        isShown = true
        // Back to the first column, the text, and the rest of the old line erased (ECMA-48 EL).
        try? FileHandle.standardError.write(contentsOf: Array("\r\(text)\u{1B}[K".utf8))
    }

    /// Removes the line, so that ordinary lines can follow.
    mutating func clear() {
        guard isShown else { return }
        isShown = false
        try? FileHandle.standardError.write(contentsOf: Array("\r\u{1B}[K".utf8))
    }
}
