import Aardvark
import Foundation

/// `results.json`.
extension AttackResults {
    /// The largest file that is read, in bytes.
    package static let mostBytes = 256 << 20

    /// The contents of `results.json`: one object, its fields in the order of their names, so that two files can be compared.
    package func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return Array(try encoder.encode(self)) + [UInt8(ascii: "\n")]
    }

    /// Reads the contents of `results.json`.
    ///
    /// - Parameters:
    ///   - json: The bytes.
    ///   - path: Where they come from, for messages.
    /// - Throws: Where they are no results, or of another version.
    package init(json: [UInt8], path: String) throws(OperatorError) {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let data = Data(json)
        guard let mark = try? decoder.decode(VersionMark.self, from: data) else {
            throw OperatorError(.malformedData, "\(path): these are no results of aardvark-lab attack")
        }
        guard mark.version == Self.currentVersion else {
            throw OperatorError(
                .malformedData,
                "\(path): expected results of version \(Self.currentVersion), found version \(mark.version)"
            )
        }
        do {
            self = try decoder.decode(Self.self, from: data)
        } catch DecodingError.keyNotFound(let key, let context) {
            throw OperatorError(.malformedData, "\(path): \(Self.place(context.codingPath + [key])) is missing")
        } catch DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
            DecodingError.dataCorrupted(let context)
        {
            let place = Self.place(context.codingPath)
            throw OperatorError(.malformedData, "\(path): \(place) has a value that does not belong there")
        } catch {
            throw OperatorError(.malformedData, "\(path): the results cannot be read")
        }
    }

    private struct VersionMark: Decodable {
        let version: Int
    }

    /// A place in the file for people, for example `runs[2].client_shares`.
    private static func place(_ path: [any CodingKey]) -> String {
        path.reduce(into: "") { text, key in
            if let index = key.intValue {
                text += "[\(index)]"
            } else {
                let name = key.stringValue.reduce(into: "") { $0 += $1.isUppercase ? "_\($1.lowercased())" : "\($1)" }
                text += text.isEmpty ? name : ".\(name)"
            }
        }
    }
}
