import Aardvark
import Cryptography
import Foundation
import Messages

/// The replicas of one run as child processes. They end when this process does, in whatever way.
final class LabCluster {
    let file: ClusterFile
    private let directory: String
    private let probe: (identity: Identity, key: SigningKey)
    private var processes: [Process] = []
    private var attackers: [ClientID: Process] = [:]
    // Each child's standard input: it stops when nobody holds the other end any more.
    private var lifelines: [Pipe] = []

    /// Makes the files of a new cluster; no process is started.
    init(_ plan: ClusterFile.Plan, in directory: String) async throws {
        try FileAccess.createDirectory(directory, mode: 0o755)
        self.directory = directory
        let created = try await ClusterFile.create(plan, path: "\(directory)/cluster.yaml")
        try created.write()
        file = created.file
        let identity = Identity(role: .administrator, number: 0)
        probe = (identity, try created.file.key(of: identity))
    }

    /// Starts every replica.
    ///
    /// - Parameters:
    ///   - programs: The directory of `aardvark` and `aardvark-lab`.
    ///   - isRecorded: Whether correct replicas record their inputs.
    ///   - orders: What faulty replicas do.
    ///   - faulty: Which replicas these are.
    func start(programs: String, isRecorded: Bool, orders: AttackerOrders, faulty: [Int]) throws {
        for number in file.replicas.indices {
            let common = ["--cluster", file.path, "--id", "\(number)"]
            let name = "replica-\(number)"
            if faulty.contains(number) {
                let words = orders.reporting(to: report(of: name)).arguments
                processes.append(try launch("\(programs)/aardvark-lab", ["byzantine"] + common + words, name))
            } else {
                var words = ["replica"] + common + ["--log-level", "notice", "--lifeline"]
                if file.durability != .none { words.append("--create") }
                if isRecorded { words.append(contentsOf: ["--record", "\(directory)/\(name).recording"]) }
                processes.append(try launch("\(programs)/aardvark", words, name))
            }
        }
    }

    /// Starts faulty clients, and waits until they are ready to attack.
    ///
    /// - Parameters:
    ///   - programs: The directory of `aardvark-lab`.
    ///   - orders: What they do.
    ///   - load: How many requests each keeps outstanding, and how many operations it puts into each.
    ///   - clients: Which clients these are.
    func startClients(
        programs: String,
        orders: AttackerOrders,
        load: (window: Int, bundle: Int),
        clients: [ClientID]
    ) async throws {
        for client in clients {
            let name = "client-\(client.rawValue)"
            var words = ["byzantine-client", "--cluster", file.path, "--id", "\(client.rawValue)"]
            words += ["--window", "\(load.window)", "--bundle", "\(load.bundle)"]
            words += orders.reporting(to: report(of: name)).arguments
            attackers[client] = try launch("\(programs)/aardvark-lab", words, name)
        }
        let deadline = ContinuousClock.now + .seconds(30)
        for (client, process) in attackers {
            let name = "client-\(client.rawValue)"
            while actions(of: name) == nil {
                guard process.isRunning, ContinuousClock.now < deadline else {
                    throw OperatorError(.unavailable, "faulty \(name) is not ready; see \(directory)/\(name).log")
                }
                // It says that it is ready with a file.
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    /// Where an attacker reports to.
    private func report(of name: String) -> String { "\(directory)/\(name).actions" }

    /// How often an attacker, for example `replica-0`, did something, as far as it said.
    func actions(of name: String) -> UInt64? { AttackSwitch.actions(reportedTo: report(of: name)) }

    private func launch(_ program: String, _ words: [String], _ name: String) throws -> Process {
        let process = Process()
        process.executableURL = URL(filePath: program)
        process.arguments = words
        let log = try FileAccess.create("\(directory)/\(name).log", what: "log file", mode: 0o644)
        let lifeline = Pipe()
        process.standardInput = lifeline
        process.standardOutput = log
        process.standardError = log
        do {
            try process.run()
        } catch {
            throw OperatorError(.unavailable, "\(program): \(name) cannot be started: \(error)")
        }
        try? log.close()
        lifelines.append(lifeline)
        return process
    }

    /// What each replica says of itself; nil where none is said in time.
    func statuses() async -> [ReplicaStatus?] {
        await StatusProbe.query(cluster: file, identity: probe.identity, key: probe.key, timeout: .milliseconds(900))
    }

    /// Waits until all replicas answer.
    func waitUntilServing() async throws {
        let deadline = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < deadline {
            if await statuses().allSatisfy({ $0 != nil }) { return }
            if let ended = processes.firstIndex(where: { !$0.isRunning }) {
                throw OperatorError(.unavailable, "replica \(ended) ended; see \(directory)/replica-\(ended).log")
            }
            // A replica says nothing when it begins to serve, so it is asked again.
            try await Task.sleep(for: .milliseconds(100))
        }
        throw OperatorError(.unavailable, "not all replicas serve after 30 s; their logs are in \(directory)")
    }

    /// Sends a signal to a replica.
    func signal(_ signal: Int32, to replica: Int) {
        if processes[replica].isRunning { kill(processes[replica].processIdentifier, signal) }
    }

    /// Sends a signal to a faulty client.
    func signal(_ signal: Int32, to client: ClientID) {
        if let process = attackers[client], process.isRunning { kill(process.processIdentifier, signal) }
    }

    /// Ends all processes and waits for their end.
    func stop() {
        let all = processes + attackers.values
        for process in all where process.isRunning { kill(process.processIdentifier, SIGKILL) }
        for process in all { process.waitUntilExit() }
        processes = []
        attackers = [:]
        lifelines = []
    }
}
