import Aardvark
import StateStore

/// Reads records out of a stream of bytes, piece by piece, with no more than one record in memory.
struct RecordReader {
    private var bytes: ByteSource
    private let format: RecordFormat
    private let name: String
    private var columns: CSVColumns?

    /// Reads from a stream.
    ///
    /// - Parameters:
    ///   - format: The stream's format.
    ///   - name: The stream's name in errors.
    ///   - read: Gives the next piece of the stream, and an empty one at its end.
    init(format: RecordFormat, name: String, read: @escaping () throws(OperatorError) -> [UInt8]) {
        self.format = format
        self.name = name
        bytes = ByteSource(read: read)
    }

    /// How many bytes were read so far.
    var offset: UInt64 { bytes.offset }

    /// The next record and the line that it starts in.
    ///
    /// - Returns: nil at the end.
    /// - Throws: What is wrong with the stream, with the line.
    mutating func next() throws(OperatorError) -> (entry: StateEntry, line: Int)? {
        if bytes.offset == 0 { try bytes.skipByteOrderMark() }
        switch format {
        case .jsonl: return try nextLine()
        case .csv: return try nextRow()
        }
    }

    private func failure(_ line: Int, _ problem: RecordProblem) -> OperatorError {
        OperatorError(.malformedData, "\(name), line \(line): \(problem.sentence)")
    }

    private mutating func nextLine() throws(OperatorError) -> (entry: StateEntry, line: Int)? {
        while true {
            let number = bytes.line
            var line: [UInt8] = []
            var ended = false
            while !ended {
                guard let byte = try bytes.next() else {
                    if line.isEmpty { return nil }
                    break
                }
                ended = byte == UInt8(ascii: "\n")
                if !ended { line.append(byte) }
                guard line.count <= RecordFormat.mostLineBytes else { throw failure(number, Self.tooLong) }
            }
            let blank = line.allSatisfy {
                $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r")
            }
            if blank { continue }
            do {
                return (try StateEntry(jsonLine: line), number)
            } catch {
                throw failure(number, error)
            }
        }
    }

    private mutating func nextRow() throws(OperatorError) -> (entry: StateEntry, line: Int)? {
        if columns == nil {
            guard let (header, number) = try row() else { return nil }
            do {
                columns = try CSVColumns(header: header)
            } catch {
                throw failure(number, error)
            }
        }
        guard let (fields, number) = try row(), let columns else { return nil }
        do {
            return (try columns.record(fields), number)
        } catch {
            throw failure(number, error)
        }
    }

    private static let tooLong = RecordProblem("longer than \(RecordFormat.mostLineBytes) bytes")

    /// The fields of the next row that is not empty, and the line that it starts in.
    private mutating func row() throws(OperatorError) -> (fields: [[UInt8]], line: Int)? {
        while true {
            let number = bytes.line
            var parser = CSVRowParser()
            while true {
                guard let byte = try bytes.next() else {
                    guard !parser.isEmpty else { return nil }
                    guard !parser.isInsideQuotes else {
                        throw failure(number, RecordProblem("a quoted field does not end"))
                    }
                    return (parser.finish(), number)
                }
                do {
                    if try parser.take(byte) { break }
                } catch {
                    throw failure(number, error)
                }
                guard parser.count <= RecordFormat.mostLineBytes else { throw failure(number, Self.tooLong) }
            }
            if !parser.isEmpty { return (parser.finish(), number) }
        }
    }
}

/// Takes the bytes of one CSV row (RFC 4180), one at a time.
private struct CSVRowParser {
    private enum State {
        /// Before the first byte of a field.
        case start

        /// Inside a field without quotes.
        case plain

        /// Inside a field with quotes.
        case quoted

        /// After a quote inside a field with quotes: the end of the field, or the first of two quotes that stand for one.
        case quote
    }

    private var state = State.start
    private var fields: [[UInt8]] = []
    private var field: [UInt8] = []

    /// The number of bytes of the row so far.
    private(set) var count = 0

    /// Whether the row has no byte but its end.
    var isEmpty: Bool { count == 0 }

    /// Whether a field with quotes has not ended.
    var isInsideQuotes: Bool { state == .quoted }

    /// Takes a byte.
    ///
    /// - Returns: Whether it ends the row.
    /// - Throws: When it cannot stand here.
    mutating func take(_ byte: UInt8) throws(RecordProblem) -> Bool {
        let isQuote = byte == UInt8(ascii: "\"")
        if state == .quoted {
            count += 1
            if isQuote { state = .quote } else { field.append(byte) }
            return false
        }
        switch byte {
        case UInt8(ascii: "\n"):
            // A line may end in a carriage return and a line feed.
            if field.last == UInt8(ascii: "\r"), state == .plain {
                field.removeLast()
                count -= 1
            }
            return true
        case UInt8(ascii: "\r") where state == .quote:
            return false
        case UInt8(ascii: ","):
            fields.append(field)
            field = []
            state = .start
        case _ where isQuote && state == .start:
            state = .quoted
        case _ where isQuote && state == .quote:
            field.append(byte)
            state = .quoted
        case _ where isQuote:
            throw RecordProblem("a quote inside a field that does not start with one")
        case _ where state == .quote:
            throw RecordProblem("text after the closing quote of a field")
        default:
            field.append(byte)
            state = .plain
        }
        count += 1
        return false
    }

    /// The fields, after the last byte of the row.
    func finish() -> [[UInt8]] {
        fields + [field]
    }
}

/// A stream of bytes that knows its line.
private struct ByteSource {
    private let read: () throws(OperatorError) -> [UInt8]
    private var piece: [UInt8] = []
    private var index = 0

    /// The number of bytes taken.
    private(set) var offset: UInt64 = 0

    /// The line of the next byte, from 1.
    private(set) var line = 1

    init(read: @escaping () throws(OperatorError) -> [UInt8]) {
        self.read = read
    }

    /// Takes a byte.
    ///
    /// - Returns: nil at the end.
    mutating func next() throws(OperatorError) -> UInt8? {
        if index == piece.count {
            piece = try read()
            index = 0
            guard !piece.isEmpty else { return nil }
        }
        let byte = piece[index]
        index += 1
        offset += 1
        if byte == UInt8(ascii: "\n") { line += 1 }
        return byte
    }

    /// Skips the mark that some programs put before UTF-8 text. Called before anything else is taken.
    mutating func skipByteOrderMark() throws(OperatorError) {
        let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
        while piece.count < mark.count {
            let more = try read()
            if more.isEmpty { break }
            piece += more
        }
        if piece.starts(with: mark) {
            index = mark.count
            offset = UInt64(mark.count)
        }
    }
}
