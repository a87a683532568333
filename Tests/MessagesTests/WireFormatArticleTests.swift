import Cryptography
import Foundation
import Messages
import Testing

/// Keeps the article about the wire format true: each of its examples is a part of a golden.
///
/// An example is a fenced block whose first line is `golden.part:`. In each further line the bytes come first, in hexadecimal and
/// apart; after two spaces there may be an explanation.
struct WireFormatArticleTests {
    private struct Example {
        let golden: String
        let part: String
        var lines: [Line]

        struct Line {
            var bytes: [UInt8]
            let explanation: Substring

            init?(_ text: Substring) {
                let end = text.firstRange(of: "  ")?.lowerBound ?? text.endIndex
                explanation = text[end...]
                bytes = []
                for digits in text[..<end].split(separator: " ") {
                    guard digits.utf8.count == 2, let byte = Hexadecimal.decode(digits) else { return nil }
                    bytes += byte
                }
            }

            var text: String {
                bytes.map { Hexadecimal.encode([$0]) }.joined(separator: " ") + explanation
            }
        }

        var bytes: [UInt8] { lines.flatMap(\.bytes) }

        /// The same lines with other bytes; lines without explanations when the length is not the same.
        mutating func fill(with bytes: [UInt8]) throws {
            if bytes.count == self.bytes.count {
                var rest = bytes[...]
                for index in lines.indices {
                    let count = lines[index].bytes.count
                    lines[index].bytes = Array(rest.prefix(count))
                    rest = rest.dropFirst(count)
                }
            } else {
                lines = try stride(from: 0, to: bytes.count, by: 16).map { start in
                    let digits = bytes[start..<min(start + 16, bytes.count)].map { Hexadecimal.encode([$0]) }
                    return try #require(Line(digits.joined(separator: " ")[...]))
                }
            }
        }
    }

    private enum Piece {
        case text(Substring)
        case example(Example)
    }

    /// The article's lines, with its examples apart.
    private func pieces() throws -> [Piece] {
        var pieces: [Piece] = []
        var open: Example?
        let text = try String(contentsOf: Golden.article, encoding: .utf8)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            if index > 0, lines[index - 1] == "```text", line.hasSuffix(":") {
                let names = line.dropLast().split(separator: ".")
                try #require(names.count == 2, "\(line) does not name a part of a golden")
                open = Example(golden: String(names[0]), part: String(names[1]), lines: [])
            } else if let example = open, line == "```" {
                pieces += [.example(example), .text(line)]
                open = nil
            } else if open != nil {
                open?.lines.append(try #require(Example.Line(line), "not a line of bytes: \(line)"))
            } else {
                pieces.append(.text(line))
            }
        }
        #expect(open == nil)
        return pieces
    }

    private func examples() throws -> [Example] {
        try pieces().compactMap { piece in
            if case .example(let example) = piece { example } else { nil }
        }
    }

    private func rewrite() throws {
        var lines: [String] = []
        for piece in try pieces() {
            switch piece {
            case .text(let line):
                lines.append(String(line))
            case .example(var example):
                try example.fill(with: Golden.named(example.golden).part(example.part))
                lines.append("\(example.golden).\(example.part):")
                lines += example.lines.map(\.text)
            }
        }
        try lines.joined(separator: "\n").write(to: Golden.article, atomically: true, encoding: .utf8)
    }

    @Test func `Every example is what the code makes`() throws {
        if Golden.isRewriting { try rewrite() }
        for example in try examples() {
            let expected = try Golden.named(example.golden).part(example.part)
            #expect(example.bytes == expected, "\(example.golden).\(example.part) is out of date")
        }
    }

    @Test func `Every golden byte string is an example, once`() throws {
        let shown = try examples().map { "\($0.golden).\($0.part)" }
        let made = Golden.all.flatMap { golden in golden.parts.map { "\(golden.name).\($0.name)" } }
        #expect(shown.sorted() == made.sorted())
    }

    @Test func `The limits are those of the code`() throws {
        let article = try String(contentsOf: Golden.article, encoding: .utf8)
        let limits = [
            ("operation, in bytes", MessageLimits.operationBytes),
            ("operations in a request", MessageLimits.operationsPerRequest),
            ("request, in bytes", MessageLimits.requestBytes),
            ("result, in bytes", MessageLimits.resultBytes),
            ("payload of a reply, in bytes", MessageLimits.replyPayloadBytes),
            ("requests in a batch", MessageLimits.requestsPerBatch),
            ("batch, in bytes", MessageLimits.batchBytes),
            ("elements of P, batches in a NEW-VIEW", MessageLimits.preparedClaims),
            ("elements of Q", MessageLimits.prePreparedClaims),
            ("body of a state transfer, in bytes", MessageLimits.stateBytes),
            ("clients in one list", MessageLimits.clientsPerList),
            ("counters in a status report", MessageLimits.countersPerStatus),
            ("plaintext of a frame, in bytes", SealedFrame.maximumPlaintextByteCount),
            ("replicas", 3 * ClusterSize.mostFaults + 1),
        ]
        for (name, value) in limits {
            #expect(article.contains("| \(name) | \(value) |"), "the limit of \(name) is \(value)")
        }
        #expect(article.contains("protocol version \(Handshake.protocolVersion)"))
    }
}
