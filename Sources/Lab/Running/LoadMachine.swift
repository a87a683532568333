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
/// It connects, says so, and does what each ``LoadOrder`` on its standard input says, until the audit is over or its standard input closes.
package enum LoadMachine {
    /// Runs until the audit is over.
    ///
    /// - Parameters:
    ///   - path: The cluster file.
    ///   - orders: The load.
    /// - Throws: `CancellationError` when the task is cancelled.
    package static func run(cluster path: String, orders: LoadOrders) async throws {
        // The Ctrl-C at the terminal is for the lab, which then ends its children.
        let ignored = await AttackSwitch.signals
        let ignoring = Task { for await _ in ignored {} }
        defer { ignoring.cancel() }
        var told = Self.orders().makeAsyncIterator()
        do {
            let machine = try Loading(cluster: ClusterFile(path: path), orders: orders)
            try await machine.connect()
            LoadReporter.write(.ready)
            let loading = Task { try await machine.load() }
            while let order = await told.next(), order != .end {
                if case .clients(let count) = order { machine.setActiveClients(count) }
                if case .contend(let isOn) = order { machine.setContending(isOn) }
            }
            machine.end()
            try await loading.value
            if let verdict = machine.historyVerdict { LoadReporter.write(.history(verdict)) }
            LoadReporter.write(.stopped)
            let asking = Task { try await machine.askOnAndOn() }
            while let order = await told.next(), order != .audit {}
            asking.cancel()
            LoadReporter.write(.audited(try await machine.audit()))
            await machine.shutdown()
        } catch let error as OperatorError {
            LoadReporter.write(.failed(error.sentence))
        }
    }

    /// What the lab says. When it has gone, this process ends.
    private static func orders() -> AsyncStream<LoadOrder> {
        let (orders, told) = AsyncStream.makeStream(of: LoadOrder.self)
        // A thread that waits in read(2): a dispatch source on a pipe that is hung up crashes libdispatch on Linux.
        Thread.detachNewThread {
            while let line = readLine() {
                if let order = LoadOrder(line: Substring(line)) { told.yield(order) }
            }
            Foundation.exit(0)
        }
        return orders
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
        /// The seconds that not all clients have told.
        var open: [Int: [LoadSample?]] = [:]
        /// How many samples of each client were entered.
        var counts: [Int]
    }

    private let books: Mutex<Books>

    init(clients: Int) {
        books = Mutex(Books(counts: Array(repeating: 0, count: clients)))
    }

    /// Enters a client's next second, and reports it when it is the last client's.
    func enter(_ sample: LoadSample, of client: Int) {
        let whole = books.withLock { books -> LoadSecond? in
            let second = books.counts[client]
            books.counts[client] += 1
            var samples = books.open[second] ?? Array(repeating: nil, count: books.counts.count)
            samples[client] = sample
            books.open[second] = samples
            guard books.counts.min() == second + 1 else { return nil }
            books.open[second] = nil
            return LoadSecond(samples)
        }
        if let whole { LoadReporter.write(.second(whole)) }
    }
}

/// The clients at work.
private final class Loading: Sendable {
    /// How long the replicas of a new cluster may take to answer.
    private static let patience = Duration.seconds(30)
    /// No load is longer, in nanoseconds: the lab says when one ends.
    private static let longest: UInt64 = 1_000_000_000_000_000

    private let cluster: ClusterFile
    private let orders: LoadOrders
    private let probe: (identity: Identity, key: SigningKey)
    private let workload: WorkloadPlan
    private let clients: [Client]
    private let historians: [Client]
    private let history: HistoryClients
    private let generators: [LoadGenerator]
    private let isOver = Atomic(false)

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
        guard orders.clients + orders.historians <= cluster.clients.count else {
            throw OperatorError(.usage, "\(cluster.path): the cluster has too few clients")
        }
        self.clients = clients
        self.generators = generators
        historians = try cluster.clients.suffix(orders.historians).map { member throws(OperatorError) in
            try Self.client(member, of: cluster, Client.Configuration())
        }
        history = HistoryClients(historians)
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
        for client in clients + historians {
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

    /// Lets so many clients send, and stops the others.
    func setActiveClients(_ count: Int) {
        for (index, generator) in generators.enumerated() { generator.setActiveClients(index < count ? 1 : 0) }
    }

    /// Has those who check linearizability do so in a crowd, or at leisure again.
    func setContending(_ isOn: Bool) { history.setContending(isOn) }

    /// The load is to end now.
    func end() { isOver.store(true, ordering: .relaxed) }

    /// Lets clients send until the end, and reports each second of it.
    func load() async throws {
        let ledger = SecondsLedger(clients: generators.count)
        let recording = Task { await history.work() }
        defer { recording.cancel() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, generator) in generators.enumerated() {
                group.addTask {
                    try await generator.hold(
                        forNanoseconds: Self.longest,
                        onSample: { ledger.enter($0, of: index) },
                        until: { self.isOver.load(ordering: .relaxed) }
                    )
                }
            }
            let start = ContinuousClock.now
            var second = 0
            while !isOver.load(ordering: .relaxed) {
                second += 1
                // By the clock of the run, so that a late answer delays none of those after it.
                try await Task.sleep(until: start + .seconds(second), clock: .continuous)
                await ask()
            }
            try await group.waitForAll()
        }
        for generator in generators { _ = try await generator.stop(waitingNanoseconds: 12_000_000_000) }
        recording.cancel()
        await recording.value
    }

    /// Whether what clients saw beside the load is linearizable; nil when nobody looked.
    var historyVerdict: AttackResults.Verdict? { historians.isEmpty ? nil : history.verdict }

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
        for client in clients + historians { await client.shutdown() }
    }
}
