import Aardvark
import ArgumentParser
import Foundation
import KeyValueService
import StateStore

/// `aardvark kv`.
struct KeyValueCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kv",
        abstract: "Use the replicated key-value store.",
        discussion: """
            Each operation is ordered by the cluster and executed once, alone. Keys have 1 to 1024 bytes, values up to 1 MiB.

              aardvark kv put greeting hello
              aardvark kv put picture --file picture.png
              aardvark kv get greeting
              aardvark kv cas greeting --expect hello --set goodbye
              aardvark kv incr visits --by 5
              aardvark kv scan --prefix user: --limit 20
              aardvark kv import people.csv
              aardvark kv export backup.jsonl

            The exit code is 1 when a key is absent or a comparison fails.
            """,
        subcommands: [
            PutCommand.self, GetCommand.self, DeleteCommand.self, SwapCommand.self, IncrementCommand.self,
            ScanCommand.self, CountCommand.self, ImportCommand.self, ExportCommand.self,
        ]
    )
}

extension Client {
    /// Has an operation executed.
    ///
    /// - Returns: Its result; never a refusal.
    /// - Throws: When it breaks a bound, is refused, or the cluster cannot be reached.
    func perform(_ operation: KeyValueOperation) async throws -> KeyValueResult {
        do {
            try operation.validate()
        } catch {
            throw OperatorError(.malformedData, "\(error)")
        }
        guard
            let result = KeyValueResult(encoded: try await invoke(operation.encoded, isReadOnly: operation.isReadOnly))
        else {
            throw OperatorError(.unavailable, "the replicas run another service: their answer is none of this one's")
        }
        if case .refused(let refusal) = result { throw OperatorError(.malformedData, "\(refusal)") }
        return result
    }
}

extension ClientOptions {
    /// Connects, has an operation executed, and disconnects.
    ///
    /// - Throws: When a file is wrong, the operation breaks a bound, is refused, or the cluster cannot be reached.
    func perform(_ operation: KeyValueOperation) async throws -> KeyValueResult {
        // Checked first, since a mistake in it needs no cluster to be found.
        do {
            try operation.validate()
        } catch {
            throw OperatorError(.malformedData, "\(error)")
        }
        return try await connected { try await $0.perform(operation) }
    }

    /// Connects, calls `body`, and disconnects.
    ///
    /// - Throws: What `body` throws, or why there is no connection.
    func connected<Result>(window: Int = 1, _ body: (Client) async throws -> Result) async throws -> Result {
        let client = try await connect(window: window)
        let result: Result
        do {
            result = try await body(client)
        } catch {
            await client.shutdown()
            throw error
        }
        await client.shutdown()
        return result
    }
}

/// The answer to an operation is that of another one, which f + 1 replicas would have to agree on.
private func unexpected(_ result: KeyValueResult) -> OperatorError {
    OperatorError(.unavailable, "the replicas answered another question than this one: \(result)")
}

/// Says that a key is absent, for a command that then ends with exit code 1.
private func absent(_ key: String) -> ExitCode {
    Console.note("aardvark: the key \"\(key)\" is absent")
    return .failure
}

/// `aardvark kv put`.
struct PutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "put", abstract: "Set the value of a key.")

    @Argument(help: "The key.")
    var key: String

    @Argument(help: "The value.")
    var value: String?

    @Option(
        name: .long,
        help: ArgumentHelp("Take the value from a file; - is the standard input.", valueName: "file"),
        completion: .file()
    )
    var file: String?

    @OptionGroup var client: ClientOptions

    func validate() throws {
        guard (value == nil) != (file == nil) else {
            throw ValidationError("Give the value, or --file FILE, and not both.")
        }
    }

    func run() async throws {
        let bytes: [UInt8]
        if let file {
            bytes = try FileAccess.read(
                file == "-" ? "/dev/stdin" : file,
                what: "value",
                mostBytes: KeyValueLimits.valueBytes
            )
        } else {
            bytes = Array((value ?? "").utf8)
        }
        let result = try await client.perform(.put(key: Array(key.utf8), value: bytes))
        guard case .stored = result else { throw unexpected(result) }
    }
}

/// `aardvark kv get`.
struct GetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get",
        abstract: "Print the value of a key.",
        discussion:
            "The value's own bytes are printed; a line feed follows on a terminal only. The exit code is 1 when the "
            + "key is absent."
    )

    @Argument(help: "The key.")
    var key: String

    @OptionGroup var client: ClientOptions

    func run() async throws {
        let result = try await client.perform(.get(key: Array(key.utf8)))
        guard case .value(let value) = result else { throw unexpected(result) }
        guard let value else { throw absent(key) }
        try Console.write(value)
        if Console.outputIsTerminal { try Console.writeLine("") }
    }
}

/// `aardvark kv delete`.
struct DeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Remove a key.",
        discussion: "The exit code is 1 when the key was absent."
    )

    @Argument(help: "The key.")
    var key: String

    @OptionGroup var client: ClientOptions

    func run() async throws {
        let result = try await client.perform(.delete(key: Array(key.utf8)))
        guard case .deleted(let existed) = result else { throw unexpected(result) }
        if !existed { throw absent(key) }
    }
}

/// `aardvark kv cas`.
struct SwapCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cas",
        abstract: "Change a key only if it has the value you expect (compare and swap).",
        discussion: """
            The exit code is 1 when the value is another, which is then printed on the standard error output.

              aardvark kv cas leader --expect-absent --set node-1
              aardvark kv cas leader --expect node-1 --delete
            """
    )

    @Argument(help: "The key.")
    var key: String

    @Option(
        name: .long,
        parsing: .unconditional,
        help: ArgumentHelp("The value that the key must have.", valueName: "value")
    )
    var expect: String?

    @Flag(name: .long, help: "The key must be absent.")
    var expectAbsent = false

    @Option(name: .long, parsing: .unconditional, help: ArgumentHelp("The new value.", valueName: "value"))
    var set: String?

    @Flag(name: .long, help: "Remove the key.")
    var delete = false

    @OptionGroup var client: ClientOptions

    func validate() throws {
        guard (expect != nil) != expectAbsent else {
            throw ValidationError("Give one of --expect and --expect-absent.")
        }
        guard (set != nil) != delete else { throw ValidationError("Give one of --set and --delete.") }
    }

    func run() async throws {
        let operation = KeyValueOperation.compareAndSwap(
            key: Array(key.utf8),
            expected: expect.map { Array($0.utf8) },
            replacement: set.map { Array($0.utf8) }
        )
        let result = try await client.perform(operation)
        switch result {
        case .swapped: return
        case .mismatch(let current?):
            Console.note("aardvark: nothing is changed; the value is \(Console.printable(current))")
        case .mismatch(nil):
            Console.note("aardvark: nothing is changed; the key is absent")
        default: throw unexpected(result)
        }
        throw ExitCode.failure
    }
}

/// `aardvark kv incr`.
struct IncrementCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "incr",
        abstract: "Add to the whole number that is the value of a key, and print the sum.",
        discussion: "An absent key counts as 0. The number has 64 bits with a sign."
    )

    @Argument(help: "The key.")
    var key: String

    @Option(
        name: .long,
        parsing: .unconditional,
        help: ArgumentHelp("What to add; may be negative.", valueName: "number")
    )
    var by: Int64 = 1

    @OptionGroup var client: ClientOptions

    func run() async throws {
        let result = try await client.perform(.increment(key: Array(key.utf8), by: by))
        guard case .number(let sum) = result else { throw unexpected(result) }
        try Console.writeLine("\(sum)")
    }
}

/// `aardvark kv count`.
struct CountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "count", abstract: "Print the number of keys.")

    @OptionGroup var client: ClientOptions

    func run() async throws {
        let result = try await client.perform(.count)
        guard case .count(let count) = result else { throw unexpected(result) }
        try Console.writeLine("\(count)")
    }
}

/// A part of the keys.
struct RangeOptions: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("Only keys that begin with this.", valueName: "text"))
    var prefix: String?

    @Option(name: .long, help: ArgumentHelp("Only this key and those after it.", valueName: "key"))
    var from: String?

    @Option(name: .long, help: ArgumentHelp("Only keys before this one.", valueName: "key"))
    var to: String?

    func validate() throws {
        if prefix != nil, from != nil || to != nil {
            throw ValidationError("Give --prefix, or --from and --to, and not both.")
        }
    }

    /// The keys that are asked for.
    var range: KeyRange {
        if let prefix { return KeyRange(prefix: Array(prefix.utf8)) }
        return KeyRange(from: Array((from ?? "").utf8), to: to.map { Array($0.utf8) })
    }
}

/// Reads a range in the order of its keys, one result at a time.
struct Scanner {
    private let client: Client
    private var range: KeyRange
    private var left: Int
    private var ended = false

    /// Reads at most `limit` entries of a range.
    init(_ client: Client, _ range: KeyRange, limit: Int = .max) {
        self.client = client
        self.range = range
        left = limit
    }

    /// The next entries; none at the end.
    ///
    /// - Throws: When the scan is refused, or the cluster cannot be reached.
    mutating func next() async throws -> [StateEntry] {
        while !ended, left > 0 {
            let result = try await client.perform(.scan(range, limit: UInt32(min(left, 1_000))))
            guard case .entries(let entries, let next) = result else { throw unexpected(result) }
            left -= min(left, entries.count)
            // A continuation that is not past the start would never end; correct replicas give none.
            if let next, next.lexicographicallyPrecedes(range.from) || next == range.from { throw unexpected(result) }
            if let next { range.from = next } else { ended = true }
            if !entries.isEmpty { return entries }
        }
        return []
    }
}

/// `aardvark kv scan`.
struct ScanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scan",
        abstract: "Print keys and their values in the order of the keys.",
        discussion:
            "One line each: the key, a tab, the value. Control characters and bytes that are not UTF-8 are printed as "
            + "\\xNN and a backslash as \\\\; use export for the exact bytes."
    )

    @OptionGroup var range: RangeOptions

    @Option(name: .long, help: ArgumentHelp("Print at most this many.", valueName: "number"))
    var limit = 1_000

    @OptionGroup var client: ClientOptions

    func validate() throws {
        guard limit >= 1 else { throw ValidationError("The limit is at least 1, not \(limit).") }
    }

    func run() async throws {
        try await client.connected { client in
            var scanner = Scanner(client, range.range, limit: limit)
            while true {
                let entries = try await scanner.next()
                guard !entries.isEmpty else { return }
                let lines = entries.map { "\(Console.printable($0.key))\t\(Console.printable($0.value))\n" }
                try Console.write(Array(lines.joined().utf8))
            }
        }
    }
}
