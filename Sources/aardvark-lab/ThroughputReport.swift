import Adversary
import Agreement
import ArgumentParser
import Dispatch
import Foundation
import Messages
import Simulation
import Synchronization

/// A defence that can be left out, to see what it is for.
enum Defence: String, CaseIterable {
    case signedRequests = "signed-requests"
    case regularViewChanges = "regular-view-changes"
    case isolatedQueues = "isolated-queues"
    case floodGuard = "flood-guard"

    func remove(from trial: inout ThroughputTrial) {
        switch self {
        case .signedRequests: trial.switches.requestAuthentication = .macVector
        case .regularViewChanges: trial.switches.regularViewChanges = false
        case .isolatedQueues: trial.processor.isolatedQueues = false
        case .floodGuard: trial.processor.floodGuard = false
        }
    }
}

/// Defences on the command line: names with commas between them.
struct DefenceList: ExpressibleByArgument {
    let defences: [Defence]

    init(defences: [Defence]) {
        self.defences = defences
    }

    init?(argument: String) {
        var defences: [Defence] = []
        for name in argument.split(separator: ",") {
            guard let defence = Defence(rawValue: String(name)) else { return nil }
            defences.append(defence)
        }
        self.defences = defences
    }
}

/// `aardvark-lab simulate --throughput`: what each profile costs the correct clients of replicas whose work takes time.
struct ThroughputComparison: Sendable {
    /// What correct clients must keep, in percent.
    static let floorPercent = 90.0
    /// How many clients there are if nothing else is said; a third of them is faulty where clients are.
    static let clients = 12

    let trial: ThroughputTrial
    let profiles: [Profile]
    let keys: KeyRing
    let jobs: Int
    /// Whether there is a floor: for the whole of `aardvark`, not for what is compared with it.
    let isJudged: Bool

    /// Those of one kind of faulty party: clients or replicas.
    static var standardProfiles: [Profile] {
        Profiles.all.filter { [.nobody, .client, .primary, .backup].contains($0.culprit) }
    }

    /// One profile.
    struct Line: Codable, Sendable {
        var profile: String
        var culprit: String
        var faultFree: Double
        var operationsPerSecond: Double
        var percent: Double
        /// What the client has that gets least, of what the least client has without faults.
        var percentOfLeastClient: Double
        /// Of the first fifth of the time.
        var percentAtFirst: Double
        /// The longest time in which no correct client was answered, after the first fifth of the time, in milliseconds.
        var longestPauseMilliseconds: Double
        var retransmissions: UInt64
        var view: UInt64
        var cuts: Int
        /// By replica, in percent of the time.
        var busyPercent: [Double]
        var checksPercent: [Double]
        var signingPercent: [Double]
        var receivePercent: [Double]
        var sendPercent: [Double]
        var executionPercent: [Double]
        var digest: String
        var violation: String?
        var isSafetyViolation = false
        /// Whether there is a floor, and what else goes wrong is none of the network or power.
        var isClaimed: Bool
        var isBelowFloor: Bool
    }

    private typealias Run = ThroughputTrial.Measurement

    /// Runs all, on so many threads.
    ///
    /// - Parameter progress: Told how many profiles are done.
    func run(progress: @Sendable (Int) -> Void) -> [Line] {
        var baselines: [String: Int] = [:]
        var models: [Profile] = []
        for profile in profiles where baselines[name(ofBaseline: profile)] == nil {
            baselines[name(ofBaseline: profile)] = models.count
            models.append(profile)
        }
        let count = models.count
        let results = Mutex(Array(repeating: Run?.none, count: count + profiles.count))
        let next = Tally()
        let done = Tally()
        DispatchQueue.concurrentPerform(iterations: jobs) { [models] _ in
            while case let place = next.increase() - 1, place < count + profiles.count {
                let run =
                    place < count
                    ? trial.run(models[place], keys: keys, withFaults: false)
                    : trial.run(profiles[place - count], keys: keys, withFaults: true)
                results.withLock { $0[place] = run }
                if place >= count { progress(done.increase()) }
            }
        }
        let runs = results.withLock { $0 }
        return profiles.indices.compactMap { place in
            guard let baseline = baselines[name(ofBaseline: profiles[place])], let normal = runs[baseline],
                let attacked = runs[count + place]
            else { return nil }
            return line(profiles[place], normal, attacked)
        }
    }

    /// Profiles of one name are compared with the same run.
    private func name(ofBaseline profile: Profile) -> String {
        "\(profile.demand) \(trial.countedClients(profile, keys: keys).count)"
    }

    private func line(_ profile: Profile, _ normal: Run, _ attacked: Run) -> Line {
        let percent = 100 * attacked.operationsPerSecond / max(normal.operationsPerSecond, 1)
        let nanoseconds = Double(attacked.statistics.virtualNanoseconds)
        let violation = attacked.violation ?? normal.violation
        let isClaimed = isJudged && trial.isClaimed(profile, keys: keys)
        func share(_ part: KeyPath<ProcessorUsage, UInt64>) -> [Double] {
            attacked.usage.map { 100 * Double($0[keyPath: part]) / nanoseconds }
        }
        return Line(
            profile: profile.name,
            culprit: profile.culprit.rawValue,
            faultFree: normal.operationsPerSecond,
            operationsPerSecond: attacked.operationsPerSecond,
            percent: percent,
            percentOfLeastClient: 100 * attacked.leastOfClient / max(normal.leastOfClient, 0.001),
            percentAtFirst: 100 * attacked.operationsPerSecondAtFirst / max(normal.operationsPerSecondAtFirst, 1),
            longestPauseMilliseconds: Double(attacked.longestPauseNanoseconds) / 1_000_000,
            retransmissions: attacked.retransmissions,
            view: attacked.view,
            cuts: attacked.usage.reduce(0) { $0 + $1.cuts },
            busyPercent: share(\.busyNanoseconds),
            checksPercent: share(\.checkNanoseconds),
            signingPercent: share(\.signingNanoseconds),
            receivePercent: share(\.receiveNanoseconds),
            sendPercent: share(\.sendNanoseconds),
            executionPercent: share(\.executionNanoseconds),
            digest: SeedResult.hexadecimal(attacked.digest),
            violation: violation.map { "\($0.rule.rawValue): \($0.sentence)" },
            isSafetyViolation: violation?.kind == .safety,
            isClaimed: isClaimed,
            isBelowFloor: isClaimed && percent < Self.floorPercent
        )
    }
}

/// A number that threads count up together.
private final class Tally: Sendable {
    private let count = Mutex(0)

    /// - Returns: The number after it was increased.
    func increase() -> Int {
        count.withLock { count in
            count += 1
            return count
        }
    }
}

/// All of a comparison, for people and for programs.
struct ThroughputReport: Codable, Sendable {
    var protocolName: String
    var without: [String]
    var replicas: Int
    var clients: Int
    var window: Int
    var seed: UInt64
    var processorPercent: UInt64
    var virtualSeconds: Double
    var floorPercent: Double?
    var lines: [ThroughputComparison.Line]

    /// The code to end with; nil when no oracle found anything.
    var exitCode: Int32? {
        if lines.contains(where: \.isSafetyViolation) { return ExitCodes.safety }
        if lines.contains(where: { $0.violation != nil }) { return ExitCodes.liveness }
        return nil
    }

    func print() {
        let measures = without.isEmpty ? "" : " without \(without.joined(separator: ", "))"
        Swift.print(
            """
            \(protocolName)\(measures), \(replicas) replicas, \(clients) clients with \(window) requests outstanding each, \
            \(processorPercent) % of a processor for each replica, seed \(seed), \(Int(virtualSeconds)) s of virtual time
            Operations a second of correct clients after the first fifth of the time, against the same clients without faults.

            """
        )
        Swift.print(
            Self.row(
                "profile",
                [
                    "fault-free", "under it", "kept", "least", "at first", "pause", "again", "view", "cuts", "busy",
                    "checks",
                ],
                ""
            )
        )
        for line in lines {
            let cells = [
                Self.grouped(line.faultFree), Self.grouped(line.operationsPerSecond),
                "\(Int(line.percent.rounded())) %",
                "\(Int(line.percentOfLeastClient.rounded())) %", "\(Int(line.percentAtFirst.rounded())) %",
                "\(Int(line.longestPauseMilliseconds.rounded(.up))) ms", "\(line.retransmissions)", "\(line.view)",
                "\(line.cuts)",
                Self.highest(line.busyPercent), Self.highest(line.checksPercent),
            ]
            Swift.print(Self.row(line.profile, cells, verdict(on: line)))
        }
        printVerdict()
    }

    private func verdict(on line: ThroughputComparison.Line) -> String {
        if let violation = line.violation { return "  BROKEN \(violation)" }
        if floorPercent == nil { return "" }
        if !line.isClaimed { return "  -" }
        return line.isBelowFloor ? "  BELOW" : "  ok"
    }

    private func printVerdict() {
        Swift.print(
            "\nleast: of the client that gets least; at first: in the first fifth of the time\n"
                + "pause: the longest time without an answer to a correct client, after that; again: requests that they sent again\n"
                + "busy, checks: of the busiest replica's time, all work and the checks of signatures and MACs"
        )
        guard let floorPercent else { return }
        let claimed = lines.filter(\.isClaimed)
        let below = claimed.filter(\.isBelowFloor)
        let floor = Int(floorPercent)
        if claimed.count < lines.count {
            Swift.print("-: the network or power fails as well, so that nothing is claimed")
        }
        Swift.print(
            below.isEmpty
                ? "all \(claimed.count) profiles leave correct clients at least \(floor) %"
                : "\(below.count) of \(claimed.count) profiles leave correct clients less than \(floor) %: "
                    + below.map(\.profile).joined(separator: ", ")
        )
    }

    private static func highest(_ percentages: [Double]) -> String {
        "\(Int((percentages.max() ?? 0).rounded())) %"
    }

    private static func grouped(_ number: Double) -> String {
        var digits = String(Int(number.rounded()))
        var end = digits.count - 3
        while end > 0 {
            digits.insert(",", at: digits.index(digits.startIndex, offsetBy: end))
            end -= 3
        }
        return digits
    }

    private static func row(_ name: String, _ cells: [String], _ verdict: String) -> String {
        let widths = [12, 10, 8, 8, 10, 10, 7, 6, 6, 7, 8]
        let columns = zip(cells, widths).map { String(repeating: " ", count: max($1 - $0.count, 1)) + $0 }
        return name + String(repeating: " ", count: max(24 - name.count, 1)) + columns.joined() + verdict
    }
}
