import Aardvark
import Foundation
import Messages

/// The replicas and clients of one run as child processes. They end when this process does, in whatever way.
final class LabCluster {
    let file: ClusterFile
    private let directory: String
    private let machines: Emulation
    private var replicas: [LabProcess] = []
    private var load: LoadProcess?
    private var attackers: [ClientID: LabProcess] = [:]
    /// How each correct replica is started, but for what is said of its store.
    private var commands: [Int: [String]] = [:]
    /// How often a replica was killed by ``kill(_:_:)``.
    private(set) var kills: UInt64 = 0

    /// Makes the files of a new cluster; no process is started.
    ///
    /// - Parameters:
    ///   - plan: What the cluster is like.
    ///   - machines: Where its replicas and clients are going to be.
    ///   - directory: Where its files go.
    init(_ plan: ClusterFile.Plan, on machines: Emulation, in directory: String) async throws {
        self.machines = machines
        let replicas = 0..<plan.replicas
        var plan = plan
        plan.hosts = replicas.map(machines.clientHost)
        plan.peerHosts = replicas.map { replica in
            replicas.map { $0 == replica ? plan.hosts[$0] : machines.peerHost(of: replica, for: $0) }
        }
        try FileAccess.createDirectory(directory, mode: 0o755)
        self.directory = directory
        let created = try await ClusterFile.create(plan, path: "\(directory)/cluster.yaml")
        try created.write()
        file = created.file
    }

    /// Starts every replica.
    ///
    /// - Parameters:
    ///   - programs: The directory of `aardvark` and `aardvark-lab`.
    ///   - isRecorded: Whether correct replicas record their inputs.
    ///   - orders: What attackers do.
    ///   - switched: The replicas in whose processes an attack begins and ends.
    func start(programs: String, isRecorded: Bool, orders: AttackerOrders, switched: [Int]) throws {
        for number in file.replicas.indices {
            let common = ["--cluster", file.path, "--id", "\(number)"]
            let name = "replica-\(number)"
            var words: [String]
            if switched.contains(number) {
                words = ["\(programs)/aardvark-lab", "byzantine"] + common
                words += orders.reporting(to: report(of: name)).arguments
            } else {
                words = ["\(programs)/aardvark", "replica"] + common + ["--log-level", "notice", "--lifeline"]
                commands[number] = words
                if file.durability != .none { words.append("--create") }
                if isRecorded { words += ["--record", "\(directory)/\(name).recording"] }
            }
            let prefix = machines.prefix(for: .replica(number))
            replicas.append(try LabProcess(prefix + words, log: "\(directory)/\(name).log"))
        }
    }

    /// Starts the correct clients, and waits until all of them are connected and all replicas serve.
    func startLoad(programs: String, _ orders: LoadOrders) async throws -> LoadProcess {
        var words = machines.prefix(for: .clients(0))
        words += ["\(programs)/aardvark-lab", "load", "--cluster", file.path] + orders.arguments
        let load = try LoadProcess(words, log: "\(directory)/clients.log")
        self.load = load
        while true {
            for report in try await load.reports() {
                if case .ready = report { return load }
            }
            if let ended = replicas.firstIndex(where: { !$0.isRunning }) {
                throw OperatorError(.unavailable, "replica \(ended) ended; see \(directory)/replica-\(ended).log")
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
        for (index, client) in clients.enumerated() {
            let name = "client-\(client.rawValue)"
            // The first machine is that of the correct clients.
            var words = machines.prefix(for: .clients(1 + index))
            words += ["\(programs)/aardvark-lab", "byzantine-client"]
            words += ["--cluster", file.path, "--id", "\(client.rawValue)"]
            words += ["--window", "\(load.window)", "--bundle", "\(load.bundle)"]
            words += orders.reporting(to: report(of: name)).arguments
            attackers[client] = try LabProcess(words, log: "\(directory)/\(name).log")
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

    /// What each machine has used so far.
    func usage() -> LabUsage {
        LabUsage(
            replicas: replicas.map(\.usage),
            clients: load?.usage,
            attackers: attackers.isEmpty ? nil : attackers.values.map(\.usage)
        )
    }

    /// Sends a signal to a replica.
    func signal(_ signal: Int32, to replica: Int) {
        replicas[replica].signal(signal)
    }

    /// Sends a signal to a faulty client.
    func signal(_ signal: Int32, to client: ClientID) {
        attackers[client]?.signal(signal)
    }

    /// Kills a correct replica's process, and takes its store away where that is lost.
    func kill(_ replica: Int, _ loss: Outage.Loss) {
        guard replicas[replica].isRunning, commands[replica] != nil else { return }
        replicas[replica].stop()
        kills += 1
        guard loss != .none else { return }
        let stores = ReplicaServer.Storage.defaultDirectory(clusterPath: file.path)
        try? FileManager.default.removeItem(atPath: "\(stores)/replica-\(replica)")
    }

    /// Starts a correct replica again that was killed. From now on it does not record its inputs.
    func restart(_ replica: Int, after loss: Outage.Loss) throws(OperatorError) {
        guard !replicas[replica].isRunning, let command = commands[replica] else { return }
        let store: [String] =
            switch loss {
            case .none: []
            case .store: ["--create"]
            case .storeKnowingly: ["--repair"]
            }
        let words = machines.prefix(for: .replica(replica)) + command + store
        replicas[replica] = try LabProcess(words, log: "\(directory)/replica-\(replica)-again-\(kills).log")
    }

    /// Ends all processes and waits for their end.
    func stop() {
        for process in replicas + attackers.values { process.stop() }
        load?.stop()
        replicas = []
        attackers = [:]
        load = nil
    }
}
