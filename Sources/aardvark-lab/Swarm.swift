import Adversary
import Dispatch
import Foundation
import Simulation
import Synchronization

/// What became of one seed, as a worker tells it.
struct SeedResult: Codable, Sendable {
    var seed: UInt64
    var profile: String
    var digest: String
    /// `safety`, `liveness` or `crash`; absent when nothing was found.
    var kind: String?
    var rule: String?
    var sentence: String?
    var virtualMilliseconds: UInt64?
    var events = 0
    var messages = 0
    var operations = 0
    var batches = 0
    var checkpoints = 0
    var views = 0
    var stateTransfers = 0
    var undecidedHistories = 0
    var nanoseconds: UInt64 = 0

    init(seed: UInt64, profile: String, outcome: Outcome) {
        self.seed = seed
        self.profile = profile
        digest = Self.hexadecimal(outcome.digest)
        kind = outcome.violation?.kind.rawValue
        rule = outcome.violation?.rule.rawValue
        sentence = outcome.violation?.sentence
        virtualMilliseconds = outcome.violation.map { $0.time / 1_000_000 }
        events = outcome.statistics.events
        messages = outcome.statistics.messages
        operations = outcome.statistics.operations
        batches = outcome.statistics.batches
        checkpoints = outcome.statistics.checkpoints
        views = outcome.statistics.views
        stateTransfers = outcome.statistics.stateTransfers
        undecidedHistories = outcome.statistics.undecidedHistories
        nanoseconds = outcome.statistics.virtualNanoseconds
    }

    init(crashOf seed: UInt64, profile: String, message: String) {
        self.seed = seed
        self.profile = profile
        digest = ""
        kind = "crash"
        rule = "invariant"
        sentence = message
    }

    static func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// Runs seeds one after the other and tells of each on the standard output: the inside of a worker process.
struct Worker {
    private let command: SimulateCommand

    init(_ command: SimulateCommand) {
        self.command = command
    }

    func run() {
        var keys = command.makeKeys()
        let started = DispatchTime.now()
        let encoder = JSONEncoder()
        for seed in Swift.stride(
            from: command.seeds.range.lowerBound,
            through: command.seeds.range.upperBound,
            by: Int(command.stride)
        ) {
            if let seconds = command.seconds, DispatchTime.now() > started + .seconds(seconds) { return }
            // So that whoever reads knows which seed stopped the process.
            tell("\(seed)")
            let scenario = command.scenario(seed, keys: &keys)
            let result = SeedResult(seed: seed, profile: scenario.profile.name, outcome: scenario.run())
            guard let line = try? encoder.encode(result) else { continue }
            tell(String(decoding: line, as: UTF8.self))
        }
    }

    private func tell(_ line: String) {
        // A reader that has gone away wants no further seeds.
        do { try FileHandle.standardOutput.write(contentsOf: Array("\(line)\n".utf8)) } catch { exit(0) }
    }
}

/// Shares seeds out among worker processes, so that one that stops itself costs one seed and not the run.
struct Swarm: Sendable {
    private struct State {
        var report: SwarmReport
        var line = LiveLine()
    }

    private let command: SimulateCommand
    private let started = DispatchTime.now()

    init(_ command: SimulateCommand) {
        self.command = command
    }

    func run() -> SwarmReport {
        let range = command.seeds.range
        let jobs = min(command.jobs ?? ProcessInfo.processInfo.activeProcessorCount, range.count)
        let state = Mutex(State(report: SwarmReport(seeds: command.seeds.description)))
        DispatchQueue.concurrentPerform(iterations: jobs) { job in
            var next: UInt64? = range.lowerBound + UInt64(job)
            while let first = next, first <= range.upperBound {
                next = work(from: first, stride: UInt64(jobs)) { add($0, to: state) }
            }
        }
        return state.withLock { state in
            state.line.clear()
            state.report.finish(seconds: seconds)
            return state.report
        }
    }

    private var seconds: Double {
        Double(DispatchTime.now().uptimeNanoseconds - started.uptimeNanoseconds) / 1e9
    }

    private func add(_ result: SeedResult, to state: borrowing Mutex<State>) {
        state.withLock { state in
            state.report.add(result)
            if result.kind != nil || command.digest { state.line.clear() }
            if command.digest, !command.json { print("\(result.seed)  \(result.digest)  \(result.profile)") }
            if result.kind != nil, !command.json { state.report.print(result, command) }
            guard Console.errorIsTerminal else { return }
            let done = state.report.runs
            let rate = Int(Double(done) / max(seconds, 0.001))
            state.line.show(
                "\(done) of \(command.seeds.range.count) seeds, \(rate)/s, \(state.report.failures.count) failed, now \(result.profile)"
            )
        }
    }

    /// Runs a worker from a seed on.
    ///
    /// - Returns: The seed to go on with when the worker stopped itself; nil when it did all.
    private func work(from first: UInt64, stride: UInt64, _ add: (SeedResult) -> Void) -> UInt64? {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Console.executablePath)
        process.arguments = arguments(from: first, stride: stride)
        let output = Pipe()
        let errors = Pipe()
        process.standardOutput = output
        process.standardError = errors
        do {
            try process.run()
        } catch {
            Console.note("aardvark-lab: error: cannot start \(Console.executablePath): \(error)")
            return nil
        }
        var current: UInt64?
        var buffer: [UInt8] = []
        while case let data = output.fileHandleForReading.availableData, !data.isEmpty {
            buffer.append(contentsOf: data)
            while let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = Array(buffer[..<end])
                buffer.removeSubrange(...end)
                if let seed = UInt64(String(decoding: line, as: UTF8.self)) {
                    current = seed
                } else if let result = try? JSONDecoder().decode(SeedResult.self, from: Data(line)) {
                    current = nil
                    add(result)
                }
            }
        }
        process.waitUntilExit()
        guard let seed = current else { return nil }
        let message = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let line = message.split(separator: "\n").first { $0.contains("invariant") || $0.contains("Fatal error") }
        add(
            SeedResult(
                crashOf: seed,
                profile: command.profiles.profile(of: seed).name,
                message: line.map(String.init) ?? "the process ended with code \(process.terminationStatus)"
            )
        )
        return seed + stride
    }

    private func arguments(from first: UInt64, stride: UInt64) -> [String] {
        var arguments = [
            "simulate", "--worker", "--seeds", "\(first)..\(command.seeds.range.upperBound)", "--stride", "\(stride)",
        ]
        arguments += ["--steps", "\(command.stepCount)"]
        if let replicas = command.replicas { arguments += ["--replicas", "\(replicas)"] }
        if let clients = command.clients { arguments += ["--clients", "\(clients)"] }
        if let limit = command.seconds { arguments += ["--seconds", "\(max(limit - Int(seconds), 1))"] }
        arguments += ["--protocol", command.protocolName.rawValue, "--profiles", command.profiles.description]
        if let faults = command.faults { arguments += ["--faults", faults.description] }
        return arguments
    }
}

/// What a swarm found.
struct SwarmReport: Codable, Sendable {
    /// The numbers of one profile.
    struct Line: Codable, Sendable {
        var profile: String
        var runs = 0
        var operations = 0
        var batches = 0
        var checkpoints = 0
        var views = 0
        var stateTransfers = 0
        var failures = 0
    }

    var seeds: String
    var runs = 0
    var failures: [SeedResult] = []
    var profiles: [Line] = []
    var events = 0
    var messages = 0
    var operations = 0
    var undecidedHistories = 0
    var virtualSeconds = 0.0
    var wallSeconds = 0.0
    var timesFasterThanRealTime = 0.0
    var seedsPerHour = 0.0

    init(seeds: String) {
        self.seeds = seeds
    }

    mutating func add(_ result: SeedResult) {
        runs += 1
        events += result.events
        messages += result.messages
        operations += result.operations
        undecidedHistories += result.undecidedHistories
        virtualSeconds += Double(result.nanoseconds) / 1e9
        if result.kind != nil { failures.append(result) }
        let place = profiles.firstIndex { $0.profile == result.profile } ?? profiles.count
        if place == profiles.count { profiles.append(Line(profile: result.profile)) }
        profiles[place].runs += 1
        profiles[place].operations += result.operations
        profiles[place].batches += result.batches
        profiles[place].checkpoints += result.checkpoints
        profiles[place].views += result.views
        profiles[place].stateTransfers += result.stateTransfers
        profiles[place].failures += result.kind == nil ? 0 : 1
    }

    mutating func finish(seconds: Double) {
        wallSeconds = seconds
        timesFasterThanRealTime = virtualSeconds / max(seconds, 0.001)
        seedsPerHour = Double(runs) * 3_600 / max(seconds, 0.001)
        failures.sort { $0.seed < $1.seed }
        profiles.sort { $0.profile < $1.profile }
    }

    /// The code to end with; nil when nothing was found.
    var exitCode: Int32? {
        if failures.contains(where: { $0.kind == "safety" }) { return ExitCodes.safety }
        if failures.contains(where: { $0.kind == "crash" }) { return ExitCodes.crash }
        return failures.isEmpty ? nil : ExitCodes.liveness
    }

    func print(_ result: SeedResult, _ command: SimulateCommand) {
        let when = result.virtualMilliseconds.map { " at \($0) ms" } ?? ""
        Swift.print(
            "seed \(result.seed) \(result.profile): \(result.kind ?? ""), \(result.rule ?? "")\(when): \(result.sentence ?? "")"
        )
        Swift.print("  \(command.replay(result.seed))")
    }

    func print(for command: SimulateCommand) {
        Swift.print(
            Self.row("profile", ["seeds", "operations", "batches", "checkpoints", "views", "transfers", "failed"])
        )
        for line in profiles {
            let numbers = [
                line.runs, line.operations, line.batches, line.checkpoints, line.views, line.stateTransfers,
                line.failures,
            ]
            Swift.print(Self.row(line.profile, numbers.map { "\($0)" }))
        }
        let times = Int(timesFasterThanRealTime)
        Swift.print(
            "\(runs) seeds, \(operations) operations, \(events) events in \(Self.short(wallSeconds)) s; "
                + "virtual time \(times) times faster than real time, \(Int(seedsPerHour)) seeds an hour; "
                + "\(failures.count) failed"
        )
        if undecidedHistories > 0 { Swift.print("\(undecidedHistories) histories were too long to decide") }
    }

    private static func row(_ name: String, _ numbers: [String]) -> String {
        let fill = String(repeating: " ", count: max(26 - name.count, 1))
        return name + fill + numbers.map { String(repeating: " ", count: max(11 - $0.count, 1)) + $0 }.joined()
    }

    private static func short(_ seconds: Double) -> String { "\(Double(Int(seconds * 10)) / 10)" }
}
