import Agreement
import ArgumentParser
import Foundation
import Messages
import Simulation

/// `aardvark-lab replay`: the run of one real replica once more, input by input.
struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Step through the recorded run of a real replica.",
        discussion: """
            Gives the inputs that `aardvark replica --record FILE` wrote down to the same protocol engine, checks that it does \
            the same at every input, and prints what was worth noting; with --trace, every input and all that it brought forth. \
            It needs no key and no network, and changes nothing.

            Exit codes: 0 the same run, 3 the run deviates from the recording, 5 the program stopped itself (a broken invariant), \
            64 usage, 65 not a recording, damaged, or of another version, 66 no such file, 74 reading failed.

            Examples:
              aardvark-lab replay replica-0.recording
              aardvark-lab replay replica-0.recording --trace --from 1000 --to 1200
            """
    )

    @Argument(help: ArgumentHelp("The recording.", valueName: "file"), completion: .file())
    var file: String

    @Option(
        help: ArgumentHelp(
            "The first input to print, from 1; those before are replayed all the same.",
            valueName: "number"
        )
    )
    var from: UInt64 = 1

    @Option(help: ArgumentHelp("The last input to replay.", valueName: "number"))
    var to: UInt64?

    @Flag(help: "Print every input and all that it brought forth.")
    var trace = false

    @Flag(help: "Print the report as one JSON object.")
    var json = false

    func validate() throws {
        if from < 1 { throw ValidationError("--from is at least 1") }
        if let to, to < from { throw ValidationError("--to is \(to), but --from is \(from)") }
        if json, trace { throw ValidationError("--json prints the report only; leave --trace out") }
    }

    func run() throws {
        let source = try RecordingSource(path: file)
        guard let start = try source.header() else {
            throw source.failure("the recording ends within its header")
        }
        if !json { describe(start) }
        var replay = Replay(of: start)
        var trace = ReplayTrace(showsAll: trace, write: json ? { _ in } : { print($0) })
        var report = ReplayReport(of: start.configuration)
        var damage: RecordingError?
        while to.map({ report.inputs < $0 }) ?? true {
            let recorded: RecordedInput?
            do {
                recorded = try source.next()
            } catch let error as RecordingError {
                damage = error
                break
            }
            guard let recorded else { break }
            let (effects, deviation) = replay.step(recorded)
            report.inputs += 1
            report.effects += UInt64(effects.count)
            trace.add(report.inputs, recorded, effects: effects, deviation: deviation, isShown: report.inputs >= from)
            if let deviation {
                report.deviation = ReplayReport.Deviation(input: report.inputs, reason: "\(deviation)")
                break
            }
        }
        if to == nil, report.deviation == nil, damage == nil { report.unreadBytes = source.unread }
        report.damage = damage?.description
        report.note(replay.replica)
        try finish(report, damage.map { source.failure("\($0)") })
    }

    private func describe(_ start: RecordedStart) {
        let configuration = start.configuration
        let name = ReplayReport.protocolName(configuration.switches)
        print(
            "replica \(configuration.replica) of \(configuration.size.replicas), \(name), \(configuration.clients.count) clients"
        )
        print("cluster \(configuration.cluster)")
        if let recovery = start.recovery {
            print("it went on from its store: executed up to \(recovery.executed), \(recovery.log.count) log records")
        }
        print(ReplayTrace.legend)
        print("")
    }

    private func finish(_ report: ReplayReport, _ damage: LabError?) throws {
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            encoder.keyEncodingStrategy = .convertToSnakeCase
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            report.print()
        }
        if let damage { throw damage }
        if report.deviation != nil { throw ExitCode(ExitCodes.deviation) }
    }
}

/// What came of a replay.
struct ReplayReport: Encodable {
    struct Deviation: Encodable {
        let input: UInt64
        let reason: String
    }

    let replica: Int
    let replicas: Int
    let `protocol`: String
    let cluster: String
    var inputs: UInt64 = 0
    var effects: UInt64 = 0
    var view: UInt64 = 0
    var executed: UInt64 = 0
    var stable: UInt64 = 0
    var deviation: Deviation?
    var damage: String?
    /// The bytes of a last input that was not written to its end.
    var unreadBytes = 0

    init(of configuration: ReplicaConfiguration) {
        replica = configuration.replica.index
        replicas = configuration.size.replicas
        `protocol` = Self.protocolName(configuration.switches)
        cluster = "\(configuration.cluster)"
    }

    /// How the protocol of a recording is called: by the one switch that always tells the two apart.
    static func protocolName(_ switches: ProtocolSwitches) -> String {
        (switches.tentativeExecution ? ProtocolName.pbft : .aardvark).rawValue
    }

    mutating func note(_ replica: borrowing Replica) {
        view = replica.view.rawValue
        executed = replica.executed.rawValue
        stable = replica.stable.rawValue
    }

    func print() {
        Swift.print(
            "\(inputs) inputs, \(effects) effects; in view \(view), executed up to \(executed), stable up to \(stable)"
        )
        if unreadBytes > 0 {
            Swift.print(
                "the last input was not written to its end (\(unreadBytes) bytes), as after a crash; it is left out"
            )
        }
        if let deviation {
            Swift.print("the run deviates from the recording at input \(deviation.input): \(deviation.reason)")
        } else if damage == nil {
            Swift.print("the same run: every input had the effects that were recorded")
        }
    }
}

/// An error of the operator: one sentence and an exit code.
struct LabError: Error {
    let sentence: String
    let exitCode: Int32
}

/// A recording on the disk, read piece by piece.
private final class RecordingSource {
    private static let pieceBytes = 1 << 20

    private let path: String
    private let handle: FileHandle
    private var reader = RecordingReader()

    init(path: String) throws(LabError) {
        self.path = path
        guard let handle = FileHandle(forReadingAtPath: path) else {
            throw LabError(sentence: "\(path): the recording cannot be opened", exitCode: ExitCodes.noInput)
        }
        self.handle = handle
    }

    var unread: Int { reader.unread }

    func failure(_ reason: String) -> LabError {
        LabError(sentence: "\(path): \(reason)", exitCode: ExitCodes.malformedData)
    }

    func header() throws -> RecordedStart? {
        do {
            while true {
                if let found = try reader.readHeader() { return found }
                guard try feed() else { return nil }
            }
        } catch let error as RecordingError {
            throw failure("\(error)")
        }
    }

    func next() throws -> RecordedInput? {
        while true {
            if let found = try reader.next() { return found }
            guard try feed() else { return nil }
        }
    }

    /// Reads on.
    ///
    /// - Returns: false at the end of the file.
    private func feed() throws(LabError) -> Bool {
        do {
            guard let piece = try handle.read(upToCount: Self.pieceBytes), !piece.isEmpty else { return false }
            reader.feed(piece)
            return true
        } catch {
            throw LabError(sentence: "\(path): the recording cannot be read", exitCode: ExitCodes.inputOutput)
        }
    }
}
