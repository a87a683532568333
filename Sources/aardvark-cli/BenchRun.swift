import Aardvark
import Cryptography
import Foundation
import Messages
import Workloads

/// One run of `aardvark bench`: the clients, the load phase, the measured time and the replicas' counters around it.
struct BenchRun {
    /// A run expects about this many operations a second, which sizes the zipfian choices of workloads that insert.
    private static let expectedRate = 10_000.0

    /// How often each page of an audit is asked for at the most, each time until the client gives up.
    private static let auditTries = 6

    private let options: Bench
    private let cluster: ClusterFile
    private let progress: BenchProgress
    private let keys: [(client: ClientID, key: SigningKey)]
    private let observer: (identity: Identity, key: SigningKey)?
    private let plan: WorkloadPlan

    /// Reads the keys and checks that the options fit the cluster.
    ///
    /// - Throws: An `OperatorError` when the cluster has too few clients or a key cannot be read.
    init(_ options: Bench, cluster: ClusterFile, progress: BenchProgress) throws {
        guard options.clients <= cluster.clients.count else {
            throw OperatorError(
                .configuration,
                "\(cluster.path): the file names \(cluster.clients.count) clients, but --clients asks for "
                    + "\(options.clients)"
            )
        }
        guard options.window <= cluster.tuning.clientWindow else {
            throw OperatorError(
                .configuration,
                "\(cluster.path): clientWindow is \(cluster.tuning.clientWindow), but --window asks for "
                    + "\(options.window)"
            )
        }
        self.options = options
        self.cluster = cluster
        self.progress = progress
        keys = try cluster.clients.prefix(options.clients).map { member in
            (ClientID(member.id), try cluster.key(of: .client(member.id)))
        }
        // Without a key to ask with, the replicas' counters stay out of the report, and the rest goes on. A client that
        // sends cannot ask as well.
        let senders = Set(keys.map(\.client.rawValue))
        observer = (try? cluster.statusIdentity(keyPath: nil)).flatMap { candidate in
            candidate.identity.role == .client && senders.contains(candidate.identity.number) ? nil : candidate
        }
        var settings = WorkloadSettings()
        settings.records = options.records
        settings.valueBytes = options.size
        settings.seed = options.seed
        settings.run = .random(in: .min ... .max)
        settings.expectedOperations = UInt64((options.seconds + options.warmup) * Self.expectedRate)
        plan = WorkloadPlan(options.workload, settings)
    }

    /// Runs the benchmark.
    ///
    /// - Throws: An `OperatorError` when the cluster cannot be reached or the records cannot be put.
    func run() async throws -> BenchmarkReport {
        progress.show("measuring one signature check")
        let check = SignatureCheck.microseconds()
        let clients = try await connect()
        do {
            if plan.workload.needsRecords, !options.skipLoad { try await load(clients) }
            var observed = try await measure(clients, signatureCheck: check)
            observed.audit = try await audit(clients)
            await Self.shutDown(clients)
            return BenchmarkReport(settings: settings, observed: observed)
        } catch {
            await Self.shutDown(clients)
            throw error
        }
    }

    private var settings: BenchmarkReport.Settings {
        BenchmarkReport.Settings(
            plan: plan,
            protocolName: cluster.protocolName.rawValue,
            signatureMode: checksSignatures ? "signature" : "mac",
            replicas: cluster.replicas.count,
            clients: options.clients,
            window: options.window,
            bundle: options.bundle,
            warmupSeconds: options.warmup
        )
    }

    private var checksSignatures: Bool { cluster.signedRequests == .on }

    private var slots: Int { options.window * options.bundle }

    // MARK: - Clients

    private func connect() async throws -> [Client] {
        var configuration = Client.Configuration()
        configuration.window = options.window
        configuration.bundle = options.bundle
        let logger = LogLevel.error.logger(label: "aardvark.bench")
        var clients: [Client] = []
        for (number, key) in keys {
            progress.show("connecting client \(clients.count + 1) of \(keys.count)")
            let client = try Client(
                cluster: cluster,
                client: number,
                key: key,
                configuration: configuration,
                logger: logger
            )
            do {
                try await client.start()
            } catch {
                await Self.shutDown(clients + [client])
                throw OperatorError(
                    .unavailable,
                    "client \(number.rawValue) cannot use the cluster of \(cluster.path): \(error); "
                        + "aardvark status --cluster \(cluster.path) shows which replicas serve"
                )
            }
            clients.append(client)
        }
        return clients
    }

    private static func shutDown(_ clients: [Client]) async {
        for client in clients { await client.shutdown() }
    }

    private func generator(_ clients: [Client], source: (Int) -> any OperationSource) -> LoadGenerator {
        LoadGenerator(
            clients: clients.enumerated().map { (submitter: $1, source: source($0)) },
            slots: slots
        )
    }

    // MARK: - Phases

    private func load(_ clients: [Client]) async throws {
        let generator = generator(clients) { plan.loadSource(client: $0, of: clients.count) }
        let sample = try await generator.runToEnd { sample in
            progress.show(
                "load phase: \(Console.grouped(sample.recording.operations)) of "
                    + "\(Console.grouped(options.records)) records"
            )
        }
        let recording = sample.recording
        guard recording.failures == 0 else {
            throw OperatorError(
                .unavailable,
                "the load phase put \(Console.grouped(recording.operations)) of "
                    + "\(Console.grouped(options.records)) records and then failed: \(listed(recording.failuresByKind))"
            )
        }
    }

    private func measure(_ clients: [Client], signatureCheck: Double) async throws -> BenchmarkReport.Observations {
        let generator = generator(clients) { plan.source(client: $0) }
        let interruption = await Interruption.watch()
        generator.setActiveClients(clients.count)
        progress.show("warming up")
        try await generator.hold(forNanoseconds: UInt64(options.warmup * 1e9), until: { interruption.isRequested })
        let before = await statuses()
        let cpuBefore = Self.processorMicroseconds()
        let startedAt = Date.now.timeIntervalSince1970
        var elapsed = 0.0
        let samples = try await generator.hold(
            forNanoseconds: UInt64(options.seconds * 1e9),
            sampledEveryNanoseconds: UInt64(options.interval * 1e9),
            onSample: { sample in
                elapsed += sample.seconds
                progress.show(sample, elapsed: elapsed, of: options.seconds)
            },
            until: { interruption.isRequested }
        )
        let cpuAfter = Self.processorMicroseconds()
        // Asked while the load goes on, so that the counters cover nothing but load.
        let after = await statuses()
        progress.show("waiting for the last results")
        let rest = try await generator.stop(waitingNanoseconds: 15_000_000_000)
        return BenchmarkReport.Observations(
            samples: samples,
            startedAt: startedAt,
            rest: rest,
            unfinished: generator.outstanding,
            statuses: before.flatMap { before in
                after.map { after in zip(before, after).map { (before: $0, after: $1) } }
            },
            clientCPUMicroseconds: cpuAfter > cpuBefore ? cpuAfter - cpuBefore : 0,
            cores: ProcessInfo.processInfo.activeProcessorCount,
            signatureCheckMicroseconds: signatureCheck,
            checksSignatures: checksSignatures
        )
    }

    /// Holds what the load wrote against its books; nil for a workload that keeps none.
    private func audit(_ clients: [Client]) async throws -> AuditVerdict? {
        guard let ledger = plan.ledger, let reader = clients.first else { return nil }
        progress.show("auditing")
        do {
            return try await ledger.audit { try await Self.read($0, through: reader) }
        } catch {
            throw OperatorError(
                .unavailable,
                "the load has ended, but what it wrote below the key \(ledger.prefix) cannot be read back: \(error)"
            )
        }
    }

    /// Reads with patience: after the faults that an audit is for, a service may need some time.
    private static func read(_ operation: [UInt8], through client: Client) async throws -> [UInt8] {
        for _ in 1..<auditTries {
            if let result = try? await client.invoke(operation, isReadOnly: true) { return result }
        }
        return try await client.invoke(operation, isReadOnly: true)
    }

    // MARK: - Figures of the machine and the replicas

    /// One status a replica; nil when there is no key to ask with.
    private func statuses() async -> [ReplicaStatus?]? {
        guard let observer else { return nil }
        return await StatusProbe.query(
            cluster: cluster,
            identity: observer.identity,
            key: observer.key,
            timeout: .seconds(2)
        )
    }

    /// The processor time of this process, by user and system. (`clock` and not `getrusage`: it takes no pointer.)
    private static func processorMicroseconds() -> UInt64 {
        UInt64(max(0, Int(clock())))
    }
}
