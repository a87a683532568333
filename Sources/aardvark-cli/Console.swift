import Aardvark
import Foundation

/// Writing for a person at a terminal.
enum Console {
    /// Whether the standard output is a terminal.
    static var outputIsTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    /// Whether the standard error output is a terminal.
    static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    /// Writes a line to the standard error output.
    static func note(_ line: String) {
        // A reader that has gone away is no reason to stop.
        try? FileHandle.standardError.write(contentsOf: Array("\(line)\n".utf8))
    }

    /// Writes bytes to the standard output.
    ///
    /// - Throws: When they cannot be written.
    static func write(_ bytes: [UInt8]) throws(OperatorError) {
        do {
            try FileHandle.standardOutput.write(contentsOf: bytes)
        } catch {
            throw OperatorError(
                .inputOutput,
                "the standard output cannot be written: \(FileAccess.reason(of: error))"
            )
        }
    }

    /// Writes a line to the standard output at once, even into a pipe.
    ///
    /// - Throws: When it cannot be written.
    static func writeLine(_ line: String) throws(OperatorError) {
        try write(Array("\(line)\n".utf8))
    }

    /// Ends the process with an error's sentence and exit code.
    static func fail(_ error: OperatorError) -> Never {
        note("aardvark: error: \(error.sentence)")
        exit(error.exitCode)
    }

    /// A value as one JSON object and a line feed, the fields' names in snake case.
    ///
    /// - Throws: When it cannot be encoded.
    static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
    }

    /// Rows of cells in columns, a line each; the first row is the heads.
    static func table(_ rows: [[String]]) -> String {
        var widths = Array(repeating: 0, count: rows.first?.count ?? 0)
        for row in rows {
            for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.count) }
        }
        return rows.map { row in
            let cells = row.enumerated().map { column, cell in
                cell + String(repeating: " ", count: widths[column] - cell.count)
            }
            return cells.joined(separator: "  ").trimmingCharacters(in: .whitespaces) + "\n"
        }.joined()
    }

    /// A whole number with its thousands set apart, for example `12,345`.
    static func grouped(_ number: UInt64) -> String {
        let digits = String(number)
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index).isMultiple(of: 3) { text.append(",") }
            text.append(digit)
        }
        return text
    }

    /// A length of time in the two largest units, for example `3m 20s`.
    static func duration(seconds: UInt64) -> String {
        switch seconds {
        case 0..<60: "\(seconds)s"
        case 60..<3_600: "\(seconds / 60)m \(seconds % 60)s"
        case 3_600..<86_400: "\(seconds / 3_600)h \(seconds % 3_600 / 60)m"
        default: "\(seconds / 86_400)d \(seconds % 86_400 / 3_600)h"
        }
    }

    /// Text for a terminal out of any bytes: what cannot be shown is written as `\xNN`.
    static func printable(_ bytes: [UInt8]) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            return bytes.map { (0x20..<0x7F).contains($0) && $0 != 0x5C ? String(UnicodeScalar($0)) : escape($0) }
                .joined()
        }
        var result = ""
        for scalar in text.unicodeScalars {
            if scalar == "\\" {
                result += "\\\\"
            } else if scalar.properties.generalCategory == .control {
                result += scalar.utf8.map(escape).joined()
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func escape(_ byte: UInt8) -> String {
        "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
}

/// A line at the bottom of a terminal that is redrawn in place.
struct LiveLine {
    private let handle: FileHandle
    private var shown = false

    /// Draws on the standard output.
    static func onOutput() -> LiveLine { LiveLine(handle: .standardOutput) }

    /// Draws on the standard error output.
    static func onError() -> LiveLine { LiveLine(handle: .standardError) }

    private init(handle: FileHandle) {
        self.handle = handle
    }

    /// Replaces the line.
    mutating func show(_ text: String) {
        shown = true
        // Back to the first column, the text, and the rest of the old line erased (ECMA-48 EL).
        try? handle.write(contentsOf: Array("\r\(text)\u{1B}[K".utf8))
    }

    /// Removes the line, so that ordinary lines can follow.
    mutating func clear() {
        guard shown else { return }
        shown = false
        try? handle.write(contentsOf: Array("\r\u{1B}[K".utf8))
    }
}
