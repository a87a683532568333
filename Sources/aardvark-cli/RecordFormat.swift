import Aardvark
import ArgumentParser
import Foundation
import StateStore

/// The file formats of `kv import` and `kv export`.
///
/// - JSON Lines: one object a line, `{"key": "k", "value": "v"}`; bytes that are not UTF-8 text are in `key_base64` or
///   `value_base64` instead.
/// - CSV (RFC 4180) with a header line of `key`, `value` and perhaps `encoding`; where `encoding` is `base64`, both the key and the
///   value are in base64.
enum RecordFormat: String, CaseIterable, ExpressibleByArgument {
    case jsonl
    case csv

    /// The longest line, or row, in bytes: room for the largest value in its longest form, with six characters a byte.
    static let mostLineBytes = 8 << 20

    /// The format that a file's name ends in.
    ///
    /// - Returns: nil when the name says nothing.
    init?(path: String) {
        let name = path.lowercased()
        if name.hasSuffix(".csv") {
            self = .csv
        } else if name.hasSuffix(".jsonl") || name.hasSuffix(".ndjson") || name.hasSuffix(".json") {
            self = .jsonl
        } else {
            return nil
        }
    }
}

/// One line of JSON Lines.
private struct JSONRecord: Codable {
    enum Field: String, CodingKey, CaseIterable {
        case key
        case keyBase64 = "key_base64"
        case value
        case valueBase64 = "value_base64"
    }

    /// The names of all fields of an object, known or not.
    struct AnyField: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) {
            self.stringValue = stringValue
        }

        init?(intValue: Int) {
            nil
        }
    }

    let key: [UInt8]
    let value: [UInt8]

    init(_ entry: StateEntry) {
        key = entry.key
        value = entry.value
    }

    init(from decoder: any Decoder) throws {
        let names = try decoder.container(keyedBy: AnyField.self).allKeys.map(\.stringValue)
        if let unknown = names.first(where: { Field(rawValue: $0) == nil }) {
            throw RecordProblem("unknown field \"\(unknown.prefix(80))\"")
        }
        let fields = try decoder.container(keyedBy: Field.self)
        key = try Self.bytes(fields, .key, .keyBase64)
        value = try Self.bytes(fields, .value, .valueBase64)
    }

    private static func bytes(
        _ fields: KeyedDecodingContainer<Field>,
        _ text: Field,
        _ base64: Field
    ) throws -> [UInt8] {
        switch (fields.contains(text), fields.contains(base64)) {
        case (true, true): throw RecordProblem("both \"\(text.rawValue)\" and \"\(base64.rawValue)\" are there")
        case (false, false): throw RecordProblem("\"\(text.rawValue)\" is missing")
        case (true, false):
            guard let string = try? fields.decode(String.self, forKey: text) else {
                throw RecordProblem("\"\(text.rawValue)\" is not a string")
            }
            return Array(string.utf8)
        case (false, true):
            guard let string = try? fields.decode(String.self, forKey: base64), let data = Data(base64Encoded: string)
            else {
                throw RecordProblem("\"\(base64.rawValue)\" is not a string of base64")
            }
            return Array(data)
        }
    }

    func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Field.self)
        try Self.encode(key, to: &fields, .key, .keyBase64)
        try Self.encode(value, to: &fields, .value, .valueBase64)
    }

    private static func encode(
        _ bytes: [UInt8],
        to fields: inout KeyedEncodingContainer<Field>,
        _ text: Field,
        _ base64: Field
    ) throws {
        if let string = String(validating: bytes, as: UTF8.self) {
            try fields.encode(string, forKey: text)
        } else {
            try fields.encode(Data(bytes).base64EncodedString(), forKey: base64)
        }
    }
}

/// What is wrong with a record, without its place.
struct RecordProblem: Error {
    let sentence: String

    init(_ sentence: String) {
        self.sentence = sentence
    }
}

extension StateEntry {
    /// Reads one line of JSON Lines.
    ///
    /// - Throws: What is wrong with it.
    init(jsonLine: [UInt8]) throws(RecordProblem) {
        do {
            let record = try JSONDecoder().decode(JSONRecord.self, from: Data(jsonLine))
            self.init(key: record.key, value: record.value)
        } catch let problem as RecordProblem {
            throw problem
        } catch {
            throw RecordProblem("not a JSON object with a key and a value")
        }
    }

    /// The record as one line of JSON Lines, with its line feed.
    ///
    /// - Throws: When it cannot be encoded.
    func jsonLine() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(JSONRecord(self))) + [UInt8(ascii: "\n")]
    }
}

/// The columns of a CSV file, out of its header line.
struct CSVColumns {
    /// The header line that an export begins with, with its line feed.
    static let header = Array("key,value,encoding\n".utf8)

    private let key: Int
    private let value: Int
    private let encoding: Int?
    private let count: Int

    /// Reads a header line.
    ///
    /// - Throws: What is wrong with it.
    init(header: [[UInt8]]) throws(RecordProblem) {
        let names = header.map { String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespaces).lowercased() }
        for name in names where !["key", "value", "encoding"].contains(name) {
            throw RecordProblem(
                "unknown column \"\(name.prefix(80))\"; the header line names key, value and perhaps encoding"
            )
        }
        guard Set(names).count == names.count else { throw RecordProblem("a column occurs twice in the header line") }
        guard let key = names.firstIndex(of: "key"), let value = names.firstIndex(of: "value") else {
            throw RecordProblem("the header line must name the columns key and value")
        }
        self.key = key
        self.value = value
        encoding = names.firstIndex(of: "encoding")
        count = names.count
    }

    /// Makes a record out of a row.
    ///
    /// - Throws: What is wrong with it.
    func record(_ row: [[UInt8]]) throws(RecordProblem) -> StateEntry {
        guard row.count == count else { throw RecordProblem("expected \(count) columns, found \(row.count)") }
        let form = encoding.map { String(decoding: row[$0], as: UTF8.self) } ?? ""
        switch form {
        case "", "utf8":
            for field in [row[key], row[value]] where String(validating: field, as: UTF8.self) == nil {
                throw RecordProblem("not UTF-8 text; give such bytes in base64, and base64 in the column encoding")
            }
            return StateEntry(key: row[key], value: row[value])
        case "base64":
            guard let key = Data(base64Encoded: Data(row[key])), let value = Data(base64Encoded: Data(row[value]))
            else {
                throw RecordProblem("the key or the value is not base64")
            }
            return StateEntry(key: Array(key), value: Array(value))
        default:
            throw RecordProblem("the encoding is utf8, base64 or nothing, not \"\(form.prefix(80))\"")
        }
    }

    /// A record as one line of CSV with the columns of ``header``, with its line feed.
    static func line(_ entry: StateEntry) -> [UInt8] {
        let isText = [entry.key, entry.value].allSatisfy { String(validating: $0, as: UTF8.self) != nil }
        let fields = [entry.key, entry.value].map { isText ? $0 : Array(Data($0).base64EncodedData()) }
        let encoding = Array((isText ? "" : "base64").utf8)
        return Array((fields.map(quoted) + [encoding]).joined(separator: [UInt8(ascii: ",")])) + [UInt8(ascii: "\n")]
    }

    private static func quoted(_ field: [UInt8]) -> [UInt8] {
        let quote = UInt8(ascii: "\"")
        let special = Set(",\"\r\n ".utf8)
        // The mark of UTF-8 at the start of a file is not data, so a field that starts with it is quoted.
        guard field.contains(where: special.contains) || field.first == 0xEF else { return field }
        return [quote] + field.flatMap { $0 == quote ? [quote, quote] : [$0] } + [quote]
    }
}
