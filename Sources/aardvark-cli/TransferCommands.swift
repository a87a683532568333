import Aardvark
import ArgumentParser
import Foundation
import KeyValueService
import StateStore

/// `aardvark kv import`.
struct ImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Put every record of a file.",
        discussion: """
            JSON Lines: {"key": "k", "value": "v"} on each line; bytes that are not UTF-8 text are given in base64 as \
            "key_base64" or "value_base64". CSV: a header line that names the columns key and value, and perhaps encoding, \
            which is empty or base64 for each row.

            Import stops at the first bad line and names it; the records before it are in the store. Importing a file again \
            does no harm. A key that occurs several times ends with its last value.

              aardvark kv import people.csv
              zcat backup.jsonl.gz | aardvark kv import - --format jsonl
            """
    )

    @Argument(
        help: "The file; - is the standard input.",
        completion: .file(extensions: ["jsonl", "ndjson", "json", "csv"])
    )
    var file: String

    @Option(name: .long, help: "The file's format. (default: what its name ends in)")
    var format: RecordFormat?

    @Option(name: .long, help: ArgumentHelp("How many records are under way at a time.", valueName: "number"))
    var window = 32

    @OptionGroup var client: ClientOptions

    func validate() throws {
        guard (1...64).contains(window) else { throw ValidationError("The window is from 1 to 64, not \(window).") }
    }

    func run() async throws {
        let format = try RecordFormat.chosen(format, for: file)
        let isInput = file == "-"
        let name = isInput ? "standard input" : file
        let handle = isInput ? FileHandle.standardInput : try FileAccess.open(file, what: "file to import")
        defer { try? handle.close() }
        let size = isInput ? nil : FileAccess.size(file)
        var reader = RecordReader(format: format, name: name) { () throws(OperatorError) in
            do {
                return try handle.read(upToCount: 64 << 10).map(Array.init) ?? []
            } catch {
                throw OperatorError(.inputOutput, "\(name) cannot be read: \(FileAccess.reason(of: error))")
            }
        }
        try await client.connected(window: window) { client in
            var progress = TransferProgress(verb: "imported", total: size)
            do {
                try await transfer(&reader, to: client, &progress)
            } catch {
                progress.finish()
                throw error
            }
            progress.finish()
        }
    }

    /// Puts the records in the order of the file, several at a time.
    private func transfer(_ reader: inout RecordReader, to client: Client, _ progress: inout TransferProgress)
        async throws
    {
        let name = file == "-" ? "standard input" : file
        let (answers, input) = AsyncStream.makeStream(of: Answer.self)
        var iterator = answers.makeAsyncIterator()
        var outstanding = 0
        var failure: (any Error)?
        while failure == nil {
            do {
                guard let (entry, line) = try reader.next() else { break }
                let operation = KeyValueOperation.put(key: entry.key, value: entry.value)
                do {
                    try operation.validate()
                } catch {
                    throw OperatorError(.malformedData, "\(name), line \(line): \(error)")
                }
                if outstanding >= window, let answer = await iterator.next() {
                    outstanding -= 1
                    try answer.check(name)
                    progress.count()
                }
                outstanding += 1
                client.submit(operation.encoded) { input.yield(Answer(line: line, result: $0)) }
                progress.show(done: reader.offset)
            } catch {
                failure = error
            }
        }
        // What is under way is waited for even after a bad line: the records before it are to be in the store.
        while outstanding > 0, let answer = await iterator.next() {
            outstanding -= 1
            do {
                try answer.check(name)
                progress.count()
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    /// The cluster's answer to the record of one line.
    private struct Answer: Sendable {
        let line: Int
        let result: Result<[UInt8], ClientError>

        /// Makes sure that the record is stored.
        ///
        /// - Throws: When it is not, or may not be.
        func check(_ name: String) throws {
            let bytes: [UInt8]
            switch result {
            case .success(let success): bytes = success
            case .failure(let error): throw OperatorError(.unavailable, "\(name), line \(line): \(error)")
            }
            guard case .stored? = KeyValueResult(encoded: bytes) else {
                throw OperatorError(.unavailable, "\(name), line \(line): the record was not stored")
            }
        }
    }
}

/// `aardvark kv export`.
struct ExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write every key and its value to a file.",
        discussion: """
            The formats are those of import. The keys are read in order, some at a time: what other clients change meanwhile \
            may or may not be in the file. A file that exists is not overwritten.

              aardvark kv export backup.jsonl
              aardvark kv export - --format csv --prefix user: | sort
            """
    )

    @Argument(help: "The file to create; - is the standard output.", completion: .file())
    var file: String

    @Option(name: .long, help: "The file's format. (default: what its name ends in)")
    var format: RecordFormat?

    @OptionGroup var range: RangeOptions

    @OptionGroup var client: ClientOptions

    func run() async throws {
        let format = try RecordFormat.chosen(format, for: file)
        try await client.connected { client in
            // Only a whole store has a size that is known beforehand.
            var total: UInt64?
            if range.range == .all, case .count(let count) = try await client.perform(.count) { total = count }
            let handle =
                file == "-"
                ? FileHandle.standardOutput : try FileAccess.create(file, what: "file to export to", mode: 0o600)
            var progress = TransferProgress(verb: "exported", total: total)
            do {
                try await transfer(from: client, format, to: handle, &progress)
                if file != "-" {
                    try handle.synchronize()
                    try handle.close()
                }
            } catch let error as CocoaError {
                progress.finish()
                throw OperatorError(
                    .inputOutput,
                    "\(file): the file cannot be written: \(FileAccess.reason(of: error))"
                )
            } catch {
                progress.finish()
                throw error
            }
            progress.finish()
        }
    }

    private func transfer(
        from client: Client,
        _ format: RecordFormat,
        to handle: FileHandle,
        _ progress: inout TransferProgress
    ) async throws {
        var scanner = Scanner(client, range.range)
        if format == .csv { try handle.write(contentsOf: CSVColumns.header) }
        while true {
            let entries = try await scanner.next()
            guard !entries.isEmpty else { return }
            for entry in entries {
                try handle.write(contentsOf: format == .csv ? CSVColumns.line(entry) : entry.jsonLine())
                progress.count()
            }
            progress.show(done: progress.records)
        }
    }
}

extension RecordFormat {
    /// The format that was asked for, or the one that the file's name ends in.
    ///
    /// - Throws: When neither says.
    static func chosen(_ format: RecordFormat?, for file: String) throws(OperatorError) -> RecordFormat {
        if let format = format ?? RecordFormat(path: file) { return format }
        throw OperatorError(
            .usage,
            "the name \(file) does not say which format the file has; give --format jsonl or --format csv"
        )
    }
}

/// A progress bar on the standard error output when that is a terminal, and one line at the end in any case.
struct TransferProgress {
    private static let interval = Duration.milliseconds(100)
    private static let barWidth = 24

    private let verb: String
    private let total: UInt64?
    private let started = ContinuousClock.now
    private let isLive = Console.errorIsTerminal
    private var shown: ContinuousClock.Instant?
    private var line = LiveLine.onError()

    /// The number of records done.
    private(set) var records: UInt64 = 0

    /// Starts.
    ///
    /// - Parameters:
    ///   - verb: What happens to records, in the past tense.
    ///   - total: How much there is to do, in the unit of ``show(done:)``; nil when that is not known.
    init(verb: String, total: UInt64?) {
        self.verb = verb
        self.total = total
    }

    /// Notes that one more record is done.
    mutating func count() {
        records += 1
    }

    /// Notes how many records are done, the total being one of records too.
    mutating func advance(to records: UInt64) {
        self.records = records
        show(done: records)
    }

    /// Removes the bar: the work ends with an error, which says more.
    mutating func abandon() {
        line.clear()
    }

    /// Redraws the bar, a few times a second at most.
    mutating func show(done: UInt64) {
        let now = ContinuousClock.now
        guard isLive, shown.map({ now - $0 >= Self.interval }) ?? true else { return }
        shown = now
        var text = "\(Console.grouped(records)) records \(verb), \(rate(now)) a second"
        if let total, total > 0 {
            let part = min(1, Double(done) / Double(total))
            let filled = Int(part * Double(Self.barWidth))
            let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: Self.barWidth - filled)
            text = "[\(bar)] \(Int(part * 100)) %  " + text
            let elapsed = (now - started) / .seconds(1)
            if part > 0, elapsed > 1 {
                text += ", \(Console.duration(seconds: UInt64(elapsed * (1 - part) / part))) left"
            }
        }
        line.show(text)
    }

    /// Replaces the bar by a line that stays.
    mutating func finish() {
        line.clear()
        let now = ContinuousClock.now
        let seconds = UInt64((now - started) / .seconds(1))
        Console.note(
            "\(Console.grouped(records)) record\(records == 1 ? "" : "s") \(verb) in \(Console.duration(seconds: seconds)), \(rate(now)) a second"
        )
    }

    private func rate(_ now: ContinuousClock.Instant) -> String {
        let elapsed = (now - started) / .seconds(1)
        return elapsed > 0 ? Console.grouped(UInt64(Double(records) / elapsed)) : "0"
    }
}
