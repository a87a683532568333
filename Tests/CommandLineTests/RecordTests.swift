import Aardvark
import StateStore
import Testing

@testable import aardvark_cli

/// Reads all records of a text that comes in pieces of `size` bytes.
private func records(
    _ bytes: [UInt8],
    _ format: RecordFormat,
    pieces size: Int = 3
) throws -> [(entry: StateEntry, line: Int)] {
    var rest = bytes[...]
    var reader = RecordReader(format: format, name: "file") { () throws(OperatorError) in
        let piece = rest.prefix(size)
        rest = rest.dropFirst(size)
        return Array(piece)
    }
    var result: [(entry: StateEntry, line: Int)] = []
    while let record = try reader.next() { result.append(record) }
    #expect(reader.offset == UInt64(bytes.count))
    return result
}

private func records(_ text: String, _ format: RecordFormat) throws -> [(entry: StateEntry, line: Int)] {
    try records(Array(text.utf8), format)
}

/// The sentence with which a text is refused.
private func complaint(_ text: String, _ format: RecordFormat) throws -> String {
    let error = #expect(throws: OperatorError.self) { try records(text, format) }
    return try #require(error).sentence
}

private func entry(_ key: String, _ value: String) -> StateEntry {
    StateEntry(key: Array(key.utf8), value: Array(value.utf8))
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
private struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

@Suite struct Records {
    @Test(arguments: RecordFormat.allCases)
    func `any bytes come back from an export as they were`(format: RecordFormat) throws {
        var generator = Generator(state: 7)
        var entries = [
            entry("plain", "text"), entry("", ""), entry("a,b", "say \"hi\""), entry("new\nline", "\r\n"),
            entry(" space ", "tab\t"), entry("é😀", "\u{FEFF}mark"), entry("\\", "\u{0}\u{1F}"),
            StateEntry(key: [0xFF, 0xFE], value: [0xEF, 0xBB, 0xBF]), StateEntry(key: [0xEF, 0xBB, 0xBF], value: []),
        ]
        for _ in 0..<300 {
            let counts = (Int.random(in: 0..<20, using: &generator), Int.random(in: 0..<40, using: &generator))
            let alphabet = Array(",\"\n\r a\\é".utf8) + [0xFF]
            let bytes = { (count: Int) in (0..<count).compactMap { _ in alphabet.randomElement(using: &generator) } }
            entries.append(StateEntry(key: bytes(counts.0), value: bytes(counts.1)))
        }
        var file = format == .csv ? CSVColumns.header : []
        for entry in entries { file += format == .csv ? CSVColumns.line(entry) : try entry.jsonLine() }
        for size in [1, 7, 65_536] {
            #expect(try records(file, format, pieces: size).map(\.entry) == entries)
        }
    }

    @Test func `JSON Lines may have blank lines, carriage returns and no last line feed`() throws {
        let text = "\u{FEFF}{\"key\":\"a\",\"value\":\"1\"}\r\n\n  \n{\"value_base64\":\"/w==\",\"key\":\"b\"}"
        let found = try records(text, .jsonl)
        #expect(found.map(\.entry) == [entry("a", "1"), StateEntry(key: Array("b".utf8), value: [0xFF])])
        #expect(found.map(\.line) == [1, 4])
        #expect(try records("", .jsonl).isEmpty)
    }

    @Test func `CSV may order its columns, quote fields and leave the encoding out`() throws {
        let found = try records("value,key\r\n1,a\r\n\r\n\"2\n\"\"3\"\"\",b\r\n,c", .csv)
        #expect(found.map(\.entry) == [entry("a", "1"), entry("b", "2\n\"3\""), entry("c", "")])
        #expect(found.map(\.line) == [2, 4, 6])
        let encoded = try records("key,value,encoding\nYQ==,/w==,base64\na,b,utf8\n", .csv)
        #expect(encoded.map(\.entry) == [StateEntry(key: Array("a".utf8), value: [0xFF]), entry("a", "b")])
        #expect(try records("", .csv).isEmpty)
    }

    @Test(
        arguments: [
            ("{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"a\"", 2, "not a JSON object"),
            ("[1]", 1, "not a JSON object"),
            ("\n{\"key\":\"a\"}", 2, "\"value\" is missing"),
            ("{\"key\":\"a\",\"value\":1}", 1, "\"value\" is not a string"),
            ("{\"key\":\"a\",\"value\":\"1\",\"ttl\":1}", 1, "unknown field \"ttl\""),
            ("{\"key\":\"a\",\"value\":\"1\",\"value_base64\":\"\"}", 1, "both \"value\" and \"value_base64\""),
            ("{\"key\":\"a\",\"value_base64\":\"*\"}", 1, "not a string of base64"),
        ]
    )
    func `a bad line of JSON is refused with its number`(text: String, line: Int, expected: String) throws {
        let sentence = try complaint(text, .jsonl)
        #expect(sentence.hasPrefix("file, line \(line): "))
        #expect(sentence.contains(expected))
    }

    @Test(
        arguments: [
            ("key\n", 1, "must name the columns key and value"),
            ("key,value,ttl\n", 1, "unknown column \"ttl\""),
            ("key,key,value\n", 1, "a column occurs twice"),
            ("key,value\na,b\nc\n", 3, "expected 2 columns, found 1"),
            ("key,value\n\"a\nb\",c\nd,e,f\n", 4, "expected 2 columns, found 3"),
            ("key,value\na,\"b\n\n", 2, "a quoted field does not end"),
            ("key,value\na,b\"c\n", 2, "a quote inside a field"),
            ("key,value\na,\"b\"c\n", 2, "text after the closing quote"),
            ("key,value,encoding\na,b,rot13\n", 2, "the encoding is utf8, base64 or nothing"),
            ("key,value,encoding\n*,b,base64\n", 2, "not base64"),
        ]
    )
    func `a bad row of CSV is refused with its line`(text: String, line: Int, expected: String) throws {
        let sentence = try complaint(text, .csv)
        #expect(sentence.hasPrefix("file, line \(line): "))
        #expect(sentence.contains(expected))
    }

    @Test func `bytes that are not UTF-8 are refused in plain CSV`() throws {
        let error = #expect(throws: OperatorError.self) {
            try records(Array("key,value\na,".utf8) + [0xFF, 0x0A], .csv)
        }
        #expect(error?.sentence.contains("not UTF-8 text") == true)
    }

    @Test(arguments: RecordFormat.allCases)
    func `a line without an end is refused before it fills the memory`(format: RecordFormat) throws {
        var given = 0
        var reader = RecordReader(format: format, name: "file") { () throws(OperatorError) in
            given += 1
            return Array(repeating: UInt8(ascii: "x"), count: 1 << 20)
        }
        let error = #expect(throws: OperatorError.self) { _ = try reader.next() }
        #expect(error?.sentence.contains("longer than") == true)
        #expect(given <= 10)
    }

    @Test func `the largest value comes through in its longest form`() throws {
        let value = Array(repeating: UInt8(1), count: 1 << 20)
        let line = try StateEntry(key: [1], value: value).jsonLine()
        #expect(line.count > 6 << 20)
        #expect(try records(line, .jsonl, pieces: 65_536).first?.entry.value == value)
    }

    @Test func `a file's name says its format`() {
        #expect(RecordFormat(path: "a.CSV") == .csv)
        #expect(RecordFormat(path: "dir/a.jsonl") == .jsonl)
        #expect(RecordFormat(path: "a.ndjson") == .jsonl)
        #expect(RecordFormat(path: "csv") == nil)
    }
}

@Suite struct `Console text` {
    @Test func `numbers are grouped by thousands`() {
        #expect(Console.grouped(0) == "0")
        #expect(Console.grouped(999) == "999")
        #expect(Console.grouped(1_000) == "1,000")
        #expect(Console.grouped(.max) == "18,446,744,073,709,551,615")
    }

    @Test func `durations have their two largest units`() {
        #expect(Console.duration(seconds: 59) == "59s")
        #expect(Console.duration(seconds: 61) == "1m 1s")
        #expect(Console.duration(seconds: 7_260) == "2h 1m")
        #expect(Console.duration(seconds: 90_000) == "1d 1h")
    }

    @Test func `control characters and bytes that are not text cannot reach a terminal`() {
        #expect(Console.printable(Array("é\u{1B}[2J\\\n".utf8)) == "é\\x1b[2J\\\\\\x0a")
        #expect(Console.printable(Array("\u{9B}".utf8)) == "\\xc2\\x9b")
        #expect(Console.printable([0x41, 0xFF, 0x5C]) == "A\\xff\\x5c")
    }
}
