/// What one call of `aardvark-lab attack` measured: the contents of `results.json`. `Lab.docc/Results.md` says what each field means.
///
/// It holds what was measured and, in ``summary``, what is computed from it, so that other tools need not compute it again.
package struct AttackResults: Codable, Hashable, Sendable {
    /// The version of the fields that this program writes and reads.
    package static let currentVersion = 1

    /// The version of the fields: ``currentVersion``.
    package let version: Int
    /// When the first run began, in UTC as ISO 8601 has it, for example `2026-11-23T03:21:42Z`.
    package let startedAt: String
    /// What it ran on.
    package let machine: Machine
    /// The commit checked out where the programs lie, with `+changes` at the end where the work tree had some; nil when it is not known.
    package let commit: String?
    /// The command line, so that it can be repeated.
    package let command: String
    /// What was asked for.
    package let settings: Settings
    /// What the profiles of the runs are about.
    package let profiles: [ProfileNote]
    /// Every run in the order in which they took place, the failed ones too.
    package let runs: [Run]
    /// Why not all runs took place that were asked for; nil when all did.
    package let stopped: String?
    /// What follows from the runs.
    package let summary: AttackSummary

    /// Collects runs and computes their summary.
    package init(
        startedAt: String,
        machine: Machine,
        commit: String?,
        command: String,
        settings: Settings,
        profiles: [ProfileNote],
        runs: [Run],
        stopped: String? = nil
    ) {
        version = Self.currentVersion
        self.startedAt = startedAt
        self.machine = machine
        self.commit = commit
        self.command = command
        self.settings = settings
        self.profiles = profiles
        self.runs = runs
        self.stopped = stopped
        summary = AttackSummary(of: runs, faults: settings.faults)
    }

    /// The machine under all emulated ones.
    package struct Machine: Codable, Hashable, Sendable {
        /// The processor's own name; nil when the system does not tell it.
        package var processor: String?
        /// Processors that the lab may use.
        package var cores: Int
        /// The main memory, in bytes.
        package var memoryBytes: UInt64
        /// The operating system with its version, for example `Linux 6.8.0`.
        package var operatingSystem: String
        /// How the program was compiled: `release` or `debug`; figures of a debug build are no measurement.
        package var build: String
        /// One signature check on one core, measured just before the first run, in microseconds.
        package var signatureCheckMicroseconds: Double
    }

    /// Reads results. The summary is computed anew, so that it always follows from the runs.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            startedAt: try fields.decode(String.self, forKey: .startedAt),
            machine: try fields.decode(Machine.self, forKey: .machine),
            commit: try fields.decodeIfPresent(String.self, forKey: .commit),
            command: try fields.decode(String.self, forKey: .command),
            settings: try fields.decode(Settings.self, forKey: .settings),
            profiles: try fields.decode([ProfileNote].self, forKey: .profiles),
            runs: try fields.decode([Run].self, forKey: .runs),
            stopped: try fields.decodeIfPresent(String.self, forKey: .stopped)
        )
    }

    /// What a profile is about.
    package struct ProfileNote: Codable, Hashable, Sendable {
        /// Its name.
        package var name: String
        /// Who misbehaves, for example `primary`.
        package var culprit: String
        /// What the culprit does, in one line.
        package var summary: String
    }

    /// What the runs have in common.
    package struct Settings: Codable, Hashable, Sendable {
        /// n.
        package var replicas: Int
        /// f: how many of them may be faulty.
        package var faults: Int
        /// Correct clients.
        package var clients: Int
        /// Requests that each of them keeps outstanding.
        package var window: Int
        /// Operations in each request.
        package var bundle: Int
        /// The workload's name, for example `null`.
        package var workload: String
        /// The replicas' durability: `power-loss`, `process-crash` or `none`.
        package var durability: String
        /// How often each pair of protocol and profile was run.
        package var repeats: Int
        /// The seed of all random choices of clients and attackers.
        package var seed: UInt64
        /// How the machines were emulated.
        package var emulation: EmulationRecord
    }

    /// How the machines of a run were emulated.
    package struct EmulationRecord: Codable, Hashable, Sendable {
        /// What stands for a machine.
        package enum Kind: String, Codable, Sendable {
            /// A process in a network namespace with links and, where the host permits it, a processor quota of its own.
            case namespaces
            /// A process beside the others on the loopback interface: an attacker's own cost is charged to its victims.
            case loopback
        }

        /// What stands for a machine.
        package var kind: Kind
        /// The share of one processor that a replica may use, in percent; nil where nothing holds it to one.
        package var processorPercent: Int?
        /// The rate of each link, in megabits a second; nil where nothing holds it to one.
        package var linkMegabits: Int?
        /// What the host did not permit, as sentences for people; empty when nothing is missing.
        package var missing: [String]
    }
}
