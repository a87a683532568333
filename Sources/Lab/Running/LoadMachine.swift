import Aardvark
import Cryptography
import Foundation
import Logging
import Messages
import Synchronization
import UnixSignals
import Workloads

/// The correct clients of a run as a process of their own, which also asks the replicas how they are: it is where clients are, and the
/// lab itself need not be.
///
/// It connects, says so, and waits. SIGUSR1 begins the load, SIGUSR2 after it the audit, after which it ends. It ends too when its
/// standard input closes.
package enum LoadMachine {
    /// Runs until the audit is over.
    ///
    /// - Parameters:
    ///   - path: The cluster file.
    ///   - orders: The load.
    /// - Throws: `CancellationError` when the task is cancelled.
    package static func run(cluster path: String, orders: LoadOrders) async throws {
        var signals = await AttackSwitch.signals.makeAsyncIterator()
        AttackSwitch.endWithParent()
        do {
            let machine = try Loading(cluster: ClusterFile(path: path), orders: orders)
            try await machine.connect()
            LoadReporter.write(.ready)
            while let signal = await signals.next(), signal != .sigusr1 {}
            try await machine.load()
            LoadReporter.write(.stopped)
            let asking = Task { try await machine.askOnAndOn() }
            while let signal = await signals.next(), signal != .sigusr2 {}
            asking.cancel()
            LoadReporter.write(.audited(try await machine.audit()))
            await machine.shutdown()
        } catch let error as OperatorError {
            LoadReporter.write(.failed(error.sentence))
        }
    }
}

/// Writes reports to the standard output, each in one piece.
private enum LoadReporter {
    private static let lock = Mutex(())

    static func write(_ report: LoadReport) {
        guard let line = try? JSONEncoder().encode(report) else { return }
        // Nobody reads it once the lab is gone, and then this process ends by itself.
        lock.withLock { _ in try? FileHandle.standardOutput.write(contentsOf: line + [UInt8(ascii: "\n")]) }
    }
}

/// What the clients did, second by second, until all of them have told it.
private final class SecondsLedger: Sendable {
    private struct Books {
        var samples: [[LoadSample?]]
        /// How many samples of each client were entered.
        var counts: [Int]
    }

    private let books: Mutex<Books>

    init(seconds: Int, clients: Int) {
        let second = [LoadSample?](repeating: nil, count: clients)
        let samples = Array(repeating: second, count: seconds)
        books = Mutex(Books(samples: samples, counts: Array(repeating: 0, count: clients)))
    }

    /// Enters a client's next second, and reports it when it is the last client's.
    func enter(_ sample: LoadSample, of client: Int) {
        let whole = books.withLock { books -> LoadSecond? in
            let second = books.counts[client]
            guard second < books.samples.count else { return nil }
            books.counts[client] += 1
            books.samples[second][client] = sample
            return books.counts.min() == second + 1 ? LoadSecond(books.samples[second]) : nil
        }
        if let whole { LoadReporter.write(.second(whole)) }
    }
}

/// The clients at work.
private final class Loading: Sendable {
    /// How long the replicas of a new cluster may take to answer.
    private static let patience = Duration.seconds(30)

    private let cluster: ClusterFile
    private let orders: LoadOrders
    private let probe: (identity: Identity, key: SigningKey)
    private let workload: WorkloadPlan
    private let clients: [Client]
    private let generators: [LoadGenerator]

    init(cluster: ClusterFile, orders: LoadOrders) throws(OperatorError) {
        self.cluster = cluster
        self.orders = orders
        let identity = Identity(role: .administrator, number: 0)
        probe = (identity, try cluster.key(of: identity))
        var settings = WorkloadSettings()
        settings.seed = orders.seed
        settings.run = .random(in: .min ... .max)
        workload = WorkloadPlan(orders.workload, settings)
        var configuration = Client.Configuration()
        configuration.window = orders.window
        configuration.bundle = orders.bundle
        var clients: [Client] = []
        var generators: [LoadGenerator] = []
        for (index, member) in cluster.clients.prefix(orders.clients).enumerated() {
            let client = try Self.client(member, of: cluster, configuration)
            clients.append(client)
            generators.append(
                LoadGenerator(
                    clients: [(submitter: client, source: workload.source(client: index))],
                    slots: orders.window * orders.bundle
                )
            )
        }
        guard !clients.isEmpty else { throw OperatorError(.usage, "\(cluster.path): the cluster has no clients") }
        self.clients = clients
        self.generators = generators
    }

    private static func client(
        _ member: ClusterFile.Member,
        of cluster: ClusterFile,
        _ configuration: Client.Configuration
    ) throws(OperatorError) -> Client {
        let key = try cluster.key(of: .client(member.id))
        do {
            return try Client(
                cluster: cluster,
                client: ClientID(member.id),
                key: key,
                configuration: configuration,
                logger: Logger(label: "aardvark.lab") { _ in SwiftLogNoOpLogHandler() }
            )
        } catch {
            throw OperatorError(.unavailable, "client \(member.id) cannot use the new cluster: \(error)")
        }
    }

    /// Waits until all replicas serve, and connects every client.
    func connect() async throws {
        let deadline = ContinuousClock.now + Self.patience
        while await !ask().allSatisfy({ $0 != nil }) {
            guard ContinuousClock.now < deadline else {
                throw OperatorError(.unavailable, "not all replicas serve after \(Self.patience.components.seconds) s")
            }
            // A replica says nothing when it begins to serve, so it is asked again.
            try await Task.sleep(for: .milliseconds(100))
        }
        for client in clients {
            do {
                try await client.start()
            } catch {
                throw OperatorError(.unavailable, "a client cannot use the new cluster: \(error)")
            }
        }
    }

    /// Asks the replicas how they are, and reports it.
    @discardableResult
    private func ask() async -> [ReplicaStatus?] {
        let statuses = await StatusProbe.query(
            cluster: cluster,
            identity: probe.identity,
            key: probe.key,
            timeout: .milliseconds(900)
        )
        LoadReporter.write(.statuses(of: statuses))
        return statuses
    }

    /// Asks again and again, until it is cancelled.
    func askOnAndOn() async throws {
        while true {
            await ask()
            // Nothing tells when a replica has taken a checkpoint, so it is asked again.
            try await Task.sleep(for: .milliseconds(250))
        }
    }

    /// Lets all clients send for the whole load, and reports each second of it.
    func load() async throws {
        let seconds = orders.seconds
        let ledger = SecondsLedger(seconds: seconds, clients: generators.count)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, generator) in generators.enumerated() {
                generator.setActiveClients(1)
                group.addTask {
                    try await generator.hold(
                        forNanoseconds: UInt64(seconds) * 1_000_000_000,
                        onSample: { ledger.enter($0, of: index) }
                    )
                }
            }
            let start = ContinuousClock.now
            for second in 0..<seconds {
                // By the clock of the run, so that a late answer delays none of those after it.
                try await Task.sleep(until: start + .seconds(second + 1), clock: .continuous)
                await ask()
            }
            try await group.waitForAll()
        }
        for generator in generators { _ = try await generator.stop(waitingNanoseconds: 12_000_000_000) }
    }

    /// Reads back all that was written.
    ///
    /// - Returns: nil where the workload cannot be audited.
    func audit() async throws -> AuditVerdict? {
        guard let ledger = workload.ledger, let reader = clients.first else { return nil }
        do {
            return try await ledger.audit { try await Self.read($0, through: reader) }
        } catch {
            throw OperatorError(.unavailable, "what was written cannot be read back after the run: \(error)")
        }
    }

    /// Reads with patience: after an attack a service may need some time.
    private static func read(_ operation: [UInt8], through client: Client) async throws -> [UInt8] {
        for _ in 1..<4 {
            if let result = try? await client.invoke(operation, isReadOnly: true) { return result }
        }
        return try await client.invoke(operation, isReadOnly: true)
    }

    func shutdown() async {
        for client in clients { await client.shutdown() }
    }
}
