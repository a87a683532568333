import Cryptography
import Yams

/// A value of a configuration file together with where it stands, so that each complaint names the file, the line and the field.
package struct ConfigurationField {
    private let node: Node
    private let line: Int?
    private let file: String

    /// The value's place in the file, for example `replicas[2].publicKey`; empty for the whole file.
    package let path: String

    private init(_ node: Node, path: String, file: String, parentLine: Int?) {
        self.node = node
        self.path = path
        self.file = file
        line = node.mark?.line ?? parentLine
    }

    /// Parses YAML text.
    ///
    /// - Throws: Where the text is not YAML, or is empty.
    package static func root(of text: String, file: String) throws(OperatorError) -> ConfigurationField {
        let node: Node?
        do {
            node = try Yams.compose(yaml: text)
        } catch {
            throw OperatorError(.configuration, sentence(for: error, file: file))
        }
        guard let node else { throw OperatorError(.configuration, "\(file): the file is empty") }
        return ConfigurationField(node, path: "", file: file, parentLine: nil)
    }

    private static func sentence(for error: any Error, file: String) -> String {
        switch error as? YamlError {
        case .scanner(let context, let problem, let mark, _)?,
            .parser(let context, let problem, let mark, _)?,
            .composer(let context, let problem, let mark, _)?:
            let details = context.map { " (\($0.text))" } ?? ""
            return "\(file), line \(mark.line): not valid YAML: \(problem)\(details)"
        case .reader(let problem, _, _, _)?:
            return "\(file): not valid YAML: \(problem)"
        case .duplicatedKeysInMapping(let duplicates, let context)?:
            let names = duplicates.map { "\"\($0)\"" }.joined(separator: ", ")
            return "\(file), line \(context.mark.line): the field \(names) occurs twice"
        default:
            return "\(file): not valid YAML"
        }
    }

    /// A complaint about this value.
    ///
    /// - Parameter complaint: What is wrong with it, without the place.
    package func failure(_ complaint: String) -> OperatorError {
        let place = line.map { "\(file), line \($0)" } ?? file
        return OperatorError(
            .configuration,
            path.isEmpty ? "\(place): \(complaint)" : "\(place): \(path): \(complaint)"
        )
    }

    /// What the file has here, cut short, for complaints.
    package var quoted: String {
        switch node {
        case .scalar(let scalar):
            let start = scalar.string.prefix(80)
            return "\"\(start)\"" + (start.count < scalar.string.count ? "..." : "")
        case .mapping: return "a group of fields"
        case .sequence: return "a list"
        case .alias: return "an alias"
        }
    }

    /// The text of a plain value.
    package func string() throws(OperatorError) -> String {
        guard case .scalar(let scalar) = node else { throw failure("expected a single value, found \(quoted)") }
        return scalar.string
    }

    /// A whole number in decimal.
    package func integer(in range: ClosedRange<Int>) throws(OperatorError) -> Int {
        guard let value = Self.decimal(try string()[...]), range.contains(value) else {
            let expected = range.upperBound == Int.max ? "" : " from \(range.lowerBound) to \(range.upperBound)"
            throw failure("expected a whole number\(expected), found \(quoted)")
        }
        return value
    }

    /// Reads ASCII digits.
    ///
    /// - Returns: nil when there are none, others, or too many.
    static func decimal(_ text: Substring) -> Int? {
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        return !text.isEmpty && text.utf8.allSatisfy(digits.contains) ? Int(text) : nil
    }

    /// Bytes in hexadecimal.
    func hexadecimal(bytes count: Int) throws(OperatorError) -> [UInt8] {
        guard let bytes = Hexadecimal.decode(try string()), bytes.count == count else {
            throw failure("expected \(2 * count) hexadecimal digits, found \(quoted)")
        }
        return bytes
    }

    /// One of a few words.
    package func choice<Choice>(of type: Choice.Type) throws(OperatorError) -> Choice
    where Choice: CaseIterable & RawRepresentable, Choice.RawValue == String {
        guard let value = Choice(rawValue: try string()) else {
            throw failure("expected \(Self.words(of: type)), found \(quoted)")
        }
        return value
    }

    /// The choices for people: "a, b or c".
    static func words<Choice>(of type: Choice.Type) -> String
    where Choice: CaseIterable & RawRepresentable, Choice.RawValue == String {
        let words = type.allCases.map(\.rawValue)
        guard let last = words.last, words.count > 1 else { return words.joined() }
        return "\(words.dropLast().joined(separator: ", ")) or \(last)"
    }

    /// The elements of a list.
    package func elements(most: Int) throws(OperatorError) -> [ConfigurationField] {
        guard case .sequence(let sequence) = node else { throw failure("expected a list, found \(quoted)") }
        guard sequence.count <= most else {
            throw failure("expected at most \(most) elements, found \(sequence.count)")
        }
        return sequence.enumerated().map { index, element in
            ConfigurationField(element, path: "\(path)[\(index)]", file: file, parentLine: line)
        }
    }

    /// The fields of a group.
    ///
    /// - Parameters:
    ///   - required: The names that must be there.
    ///   - optional: The names that may be there; any other is refused, since it is most likely a slip of the pen.
    package func fields(required: [String], optional: [String]) throws(OperatorError) -> Group {
        guard case .mapping(let mapping) = node else { throw failure("expected a group of fields, found \(quoted)") }
        let known = required + optional
        var members: [String: ConfigurationField] = [:]
        for (key, value) in mapping {
            guard case .scalar(let name) = key, known.contains(name.string) else {
                let unknown = ConfigurationField(key, path: path, file: file, parentLine: line)
                throw unknown.failure("unknown field \(unknown.quoted); expected \(known.joined(separator: ", "))")
            }
            let place = path.isEmpty ? name.string : "\(path).\(name.string)"
            members[name.string] = ConfigurationField(
                value,
                path: place,
                file: file,
                parentLine: key.mark?.line ?? line
            )
        }
        if let missing = required.first(where: { members[$0] == nil }) {
            throw failure("the field \"\(missing)\" is missing")
        }
        return Group(owner: self, members: members)
    }

    /// The fields of a group, by name.
    package struct Group {
        fileprivate let owner: ConfigurationField
        fileprivate let members: [String: ConfigurationField]

        /// A field that must be there.
        package func field(_ name: String) throws(OperatorError) -> ConfigurationField {
            guard let field = members[name] else { throw owner.failure("the field \"\(name)\" is missing") }
            return field
        }

        /// A field that may be there.
        package func optional(_ name: String) -> ConfigurationField? { members[name] }
    }
}
