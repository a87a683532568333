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
    ///   - byzantine: For each faulty replica what `aardvark-lab byzantine` is to be told.
    func start(programs: String, isRecorded: Bool, byzantine: [Int: [String]]) throws {
        for number in file.replicas.indices {
            let process = Process()
            let common = ["--cluster", file.path, "--id", "\(number)"]
            if let words = byzantine[number] {
                process.executableURL = URL(filePath: "\(programs)/aardvark-lab")
                process.arguments = ["byzantine"] + common + words
            } else {
                process.executableURL = URL(filePath: "\(programs)/aardvark")
                process.arguments = ["replica"] + common + ["--log-level", "notice", "--lifeline"]
                if file.durability != .none { process.arguments?.append("--create") }
                if isRecorded {
                    process.arguments?.append(contentsOf: ["--record", "\(directory)/replica-\(number).recording"])
                }
            }
            let log = try FileAccess.create("\(directory)/replica-\(number).log", what: "log file", mode: 0o644)
            let lifeline = Pipe()
            process.standardInput = lifeline
            process.standardOutput = log
            process.standardError = log
            do {
                try process.run()
            } catch {
                let path = process.executableURL?.path ?? ""
                throw OperatorError(.unavailable, "\(path): replica \(number) cannot be started: \(error)")
            }
            try? log.close()
            processes.append(process)
            lifelines.append(lifeline)
        }
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

    /// Ends all processes and waits for their end.
    func stop() {
        for process in processes where process.isRunning { kill(process.processIdentifier, SIGKILL) }
        for process in processes { process.waitUntilExit() }
        processes = []
        lifelines = []
    }
}
