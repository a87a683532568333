import Messages

extension BenchmarkReport {
    /// What was observed of one run, before anything is computed from it.
    public struct Observations: Sendable {
        /// The measured time, sample by sample without a gap; at least one.
        public var samples: [LoadSample]

        /// When the measured time began, in seconds since 1970.
        public var startedAt: Double

        /// What ended after the measured time; its failures count, its successes do not.
        public var rest: LoadSample

        /// Operations that had not even ended then.
        public var unfinished: Int

        /// Each replica's status at the start and at the end of the measured time, nil where it could not be had; nil
        /// when nobody asked.
        public var statuses: [(before: ReplicaStatus?, after: ReplicaStatus?)]?

        /// Processor time of this process over the measured time, in microseconds.
        public var clientCPUMicroseconds: UInt64

        /// How many cores this process may use.
        public var cores: Int

        /// How long one signature check takes on one core, in microseconds.
        public var signatureCheckMicroseconds: Double

        /// Whether every replica checks a signature on every request.
        public var checksSignatures: Bool

        /// What the audit found; nil for every workload but `audit`.
        public var audit: AuditVerdict?

        /// Collects what was observed.
        public init(
            samples: [LoadSample],
            startedAt: Double,
            rest: LoadSample,
            unfinished: Int,
            statuses: [(before: ReplicaStatus?, after: ReplicaStatus?)]?,
            clientCPUMicroseconds: UInt64,
            cores: Int,
            signatureCheckMicroseconds: Double,
            checksSignatures: Bool,
            audit: AuditVerdict? = nil
        ) {
            self.samples = samples
            self.startedAt = startedAt
            self.rest = rest
            self.unfinished = unfinished
            self.statuses = statuses
            self.clientCPUMicroseconds = clientCPUMicroseconds
            self.cores = cores
            self.signatureCheckMicroseconds = signatureCheckMicroseconds
            self.checksSignatures = checksSignatures
            self.audit = audit
        }
    }

    /// Computes the report of a run.
    ///
    /// - Parameters:
    ///   - settings: What was run.
    ///   - observed: What was observed of it.
    public init(settings: Settings, observed: Observations) {
        var total = LoadRecording()
        for sample in observed.samples { total.add(sample.recording) }
        let failures = total.failuresByKind.merging(observed.rest.recording.failuresByKind, uniquingKeysWith: +)
        let start = observed.samples.first?.start ?? 0
        let seconds = Double((observed.samples.last?.end ?? start) - start) / 1e9
        let rate = { (count: UInt64) in seconds > 0 ? Double(count) / seconds : 0 }
        let shares = observed.statuses?.compactMap { status -> ReplicaShare? in
            guard let before = status.before, let after = status.after else { return nil }
            return ReplicaShare(from: before, to: after)
        }

        self.settings = settings
        startedAt = observed.startedAt
        durationSeconds = seconds
        operations = total.operations
        operationsByKind = Dictionary(uniqueKeysWithValues: total.operationsByKind.map { ($0.key.rawValue, $0.value) })
        invocations = total.invocations
        errors = failures.values.reduce(0, +)
        errorsByKind = failures
        unfinished = observed.unfinished
        throughput = rate(total.operations)
        invocationThroughput = rate(total.invocations)
        latency = Latency(total.latency)
        replicasReachable = observed.statuses.map { statuses in
            statuses.count { $0.before != nil && $0.after != nil }
        }
        averageBatchOperations = Self.averageBatch(shares ?? [])
        replicaShares = shares ?? []
        clientCPUMicrosecondsPerInvocation =
            total.invocations > 0 ? Double(observed.clientCPUMicroseconds) / Double(total.invocations) : nil
        signatureLimit = SignatureLimit(settings: settings, observed: observed, throughput: rate(total.invocations))
        audit = observed.audit
        series = observed.samples.map { Point($0, from: start) }
    }

    private static func averageBatch(_ shares: [ReplicaShare]) -> Double? {
        // In floating point, which cannot overflow: the counters are other machines' word.
        let operations = shares.reduce(0.0) { $0 + Double($1.operationsExecuted) }
        let batches = shares.reduce(0.0) { $0 + Double($1.batchesExecuted) }
        return batches > 0 ? operations / batches : nil
    }
}

extension BenchmarkReport.SignatureLimit {
    init(settings: BenchmarkReport.Settings, observed: BenchmarkReport.Observations, throughput: Double) {
        cores = observed.cores
        checkMicroseconds = observed.signatureCheckMicroseconds
        let checkSeconds = observed.signatureCheckMicroseconds / 1e6
        operationsPerSecond =
            checkSeconds > 0
            ? Double(observed.cores) / (Double(settings.replicas) * checkSeconds) * Double(settings.bundle) : 0
        percentReached =
            observed.checksSignatures && operationsPerSecond > 0 ? 100 * throughput / operationsPerSecond : nil
    }
}

extension BenchmarkReport.Point {
    init(_ sample: LoadSample, from origin: UInt64) {
        startSeconds = Double(sample.start - origin) / 1e9
        durationSeconds = sample.seconds
        activeClients = sample.activeClients
        throughput = sample.throughput
        errors = sample.recording.failures
        latency = BenchmarkReport.Latency(sample.recording.latency)
    }
}
