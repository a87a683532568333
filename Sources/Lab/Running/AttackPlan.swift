import Aardvark
import Adversary
import Foundation
import Messages
import Workloads

/// What `aardvark-lab attack` is to run.
package struct AttackPlan: Sendable {
    /// The protocols that take turns.
    package var protocols: [ProtocolVariant] = [.pbft, .aardvark]
    /// Protocols that take turns with those where nothing attacks: for what a measure costs.
    package var ablations: [ProtocolVariant] = []
    /// The profiles, each with each protocol.
    package var profiles: [Profile] = []
    /// n.
    package var replicas = 4
    /// The parts of each run.
    package var phases = Self.phases(attackSeconds: 20)
    /// The scenario file's name; nil for none.
    package var scenario: String?
    /// How many correct clients send during the attack; nil for ``clients`` throughout, or what a profile is about.
    package var load: [Scenario.LoadPart]?
    /// How often each pair of protocol and profile is run.
    package var repeats = 3
    /// Correct clients.
    package var clients = 8
    /// Faulty clients, where a profile has any.
    package var faultyClients = 1
    /// Requests that each client keeps outstanding.
    package var window = 4
    /// Operations in each request.
    package var bundle = 1
    /// What they ask for.
    package var workload = Workload.audit
    /// What the replicas' state survives.
    package var durability = ClusterFile.Durability.none
    /// The seed of all random choices.
    package var seed: UInt64 = 1
    /// Whether correct replicas record their inputs.
    package var isRecorded = false
    /// Whether each party has an emulated machine of its own.
    package var emulation = Emulation.Plan.Wish.ifPossible
    /// The directory of `aardvark` and `aardvark-lab`.
    package var programs: String
    /// Where the results go, and each run's files.
    package var output: String
    /// The command line.
    package var command: String

    /// The plan of `aardvark-lab attack` without options.
    package init(programs: String, output: String, command: String) {
        self.programs = programs
        self.output = output
        self.command = command
    }

    /// The parts of a run with an attack of some length: half as much goes before and after it, at least 2 s.
    package static func phases(attackSeconds seconds: Int) -> Scenario.Phases {
        let rest = max(2, seconds / 2)
        return Scenario.Phases(warmup: 2, faultFree: rest, attack: seconds, after: rest)
    }

    /// The protocols that take turns under a profile.
    func variants(under profile: Profile) -> [ProtocolVariant] {
        profile.name == "none" ? protocols + ablations : protocols
    }

    /// How many correct clients send during the attack of a profile.
    func load(under profile: Profile) -> [Scenario.LoadPart] {
        if let load { return load }
        if profile.demand == .spike { return Scenario.spike(seconds: phases.attack) }
        return [Scenario.LoadPart(clients: clients, seconds: phases.attack)]
    }

    /// Runs everything, one run after the other; protocols take turns, so that a machine that drifts hits all of them. When the task is
    /// cancelled, or a run cannot begin, the results are those of the runs until then, and say so.
    ///
    /// - Parameters:
    ///   - onProgress: Told once a second how it goes, in one line.
    ///   - onRun: Given the results so far after each run, so that they outlive this process. Says that not all runs took place.
    /// - Throws: Why nothing could be run; `CancellationError` when the task is cancelled before the first run is over; what `onRun` throws.
    package func run(
        onProgress: @escaping (String) -> Void,
        onRun: (AttackResults) throws -> Void = { _ in }
    ) async throws -> AttackResults {
        guard let size = ClusterSize(replicas: replicas) else {
            throw OperatorError(.usage, "a cluster has 3f + 1 replicas (4, 7, 10, ...), not \(replicas)")
        }
        let machines = try Emulation(machinePlan(size))
        defer { machines.remove() }
        if machines.record.kind == .loopback, let profile = profiles.first(where: AttackProfiles.needsMachines) {
            throw OperatorError(
                emulation == .never ? .usage : .noPermission,
                "the profile \(profile.name) cuts the network between emulated machines, which takes --emulate and root"
            )
        }
        try FileAccess.createDirectory(output, mode: 0o755)
        let startedAt = Date.now.ISO8601Format()
        let machine = Self.machine
        let commit = CheckedOutCommit.of(programs)
        let planned = profiles.reduce(0) { $0 + repeats * variants(under: $1).count }
        let results = { (runs: [AttackResults.Run], stopped: String?) in
            AttackResults(
                startedAt: startedAt,
                machine: machine,
                commit: commit,
                command: command,
                settings: settings(size, machines.record),
                profiles: profiles.map {
                    AttackResults.ProfileNote(name: $0.name, culprit: $0.culprit.rawValue, summary: $0.summary)
                },
                runs: runs,
                stopped: stopped.map { "\($0), after \(runs.count) of \(planned) runs" }
            )
        }
        var runs: [AttackResults.Run] = []
        var stopped: String?
        do {
            try await run(on: machines, onProgress) { run in
                runs.append(run)
                try onRun(results(runs, "it did not come to its end"))
            }
        } catch let error as CancellationError {
            guard !runs.isEmpty else { throw error }
            stopped = "it was interrupted"
        } catch let error as OperatorError {
            guard !runs.isEmpty else { throw error }
            stopped = error.sentence
        }
        return results(runs, stopped)
    }

    private func run(
        on machines: Emulation,
        _ onProgress: @escaping (String) -> Void,
        _ onRun: (AttackResults.Run) throws -> Void
    ) async throws {
        for profile in profiles {
            for repetition in 1...repeats {
                for variant in variants(under: profile) {
                    let run = AttackRun(
                        self,
                        on: machines,
                        variant: variant,
                        profile: profile,
                        repetition: repetition,
                        onProgress: onProgress
                    )
                    try onRun(try await run.run())
                }
            }
        }
    }

    /// The machines for all runs: a replica each, one for all correct clients, and one for each faulty client of the profile with most.
    private func machinePlan(_ size: ClusterSize) -> Emulation.Plan {
        let attackers = profiles.map { profile in
            let faults = AttackProfiles.faults(of: profile, in: size, clients: (clients, faultyClients), seed: seed)
            return AttackProfiles.faultyClients(faults).count
        }
        return Emulation.Plan(
            wish: emulation,
            replicas: replicas,
            clientMachines: 1 + (attackers.max() ?? 0),
            // The rest is for the lab itself and whatever else this machine does.
            cores: 0.9 * Double(ProcessInfo.processInfo.activeProcessorCount)
        )
    }

    private func settings(_ size: ClusterSize, _ record: AttackResults.EmulationRecord) -> AttackResults.Settings {
        AttackResults.Settings(
            replicas: size.replicas,
            faults: size.faults,
            clients: load?.map(\.clients).max() ?? clients,
            window: window,
            bundle: bundle,
            workload: workload.rawValue,
            durability: durability.rawValue,
            repeats: repeats,
            seed: seed,
            emulation: record
        )
    }

    private static var machine: AttackResults.Machine {
        let lines = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.split(separator: "\n") ?? []
        let model = lines.first { $0.hasPrefix("model name") }?.split(separator: ":").last
        #if DEBUG
            let build = "debug"
        #else
            let build = "release"
        #endif
        return AttackResults.Machine(
            processor: model.map { $0.trimmingCharacters(in: .whitespaces) },
            cores: ProcessInfo.processInfo.activeProcessorCount,
            memoryBytes: ProcessInfo.processInfo.physicalMemory,
            operatingSystem: ProcessInfo.processInfo.operatingSystemVersionString,
            build: build,
            signatureCheckMicroseconds: SignatureCheck.microseconds()
        )
    }
}
