import Messages

/// The result of one benchmark run, for people and as one JSON object; <doc:Report> says what each field means.
public struct BenchmarkReport: Codable, Sendable {
    /// What was run: the same settings give the same operations.
    public struct Settings: Codable, Sendable {
        /// The workload's name, for example `ycsb-a`.
        public var workload: String
        /// The cluster's protocol: `pbft` or `aardvark`.
        public var protocolName: String
        /// What authenticates a request: `mac` (an authenticator of MACs) or `signature` (a signature, with a MAC
        /// before it).
        public var signatureMode: String
        /// n, as the cluster file has it.
        public var replicas: Int
        /// How many clients sent.
        public var clients: Int
        /// Requests that each client kept outstanding.
        public var window: Int
        /// Operations in each request.
        public var bundle: Int
        /// The length of a record's value; 0 for a workload without records.
        public var valueBytes: Int
        /// How many records there are before anything is inserted; 0 for a workload without records.
        public var records: UInt64
        /// The seed of all choices.
        public var seed: UInt64
        /// How long the load ran before it was measured.
        public var warmupSeconds: Double

        enum CodingKeys: String, CodingKey {
            case workload
            case protocolName = "protocol"
            case signatureMode = "signature_mode"
            case replicas
            case clients
            case window
            case bundle
            case valueBytes = "value_bytes"
            case records
            case seed
            case warmupSeconds = "warmup_seconds"
        }

        /// Describes a run.
        public init(
            plan: WorkloadPlan,
            protocolName: String,
            signatureMode: String,
            replicas: Int,
            clients: Int,
            window: Int,
            bundle: Int,
            warmupSeconds: Double
        ) {
            workload = plan.workload.rawValue
            self.protocolName = protocolName
            self.signatureMode = signatureMode
            self.replicas = replicas
            self.clients = clients
            self.window = window
            self.bundle = bundle
            valueBytes = plan.workload.hasRecords ? plan.settings.valueBytes : 0
            records = plan.workload.hasRecords ? plan.settings.records : 0
            seed = plan.settings.seed
            self.warmupSeconds = warmupSeconds
        }
    }

    /// Latencies in microseconds, of operations that succeeded.
    public struct Latency: Codable, Sendable {
        /// The arithmetic mean.
        public let mean: Double
        /// The median.
        public let p50: UInt64
        /// The 90th percentile.
        public let p90: UInt64
        /// The 99th percentile.
        public let p99: UInt64
        /// The 99.9th percentile.
        public let p999: UInt64
        /// The longest.
        public let max: UInt64

        enum CodingKeys: String, CodingKey {
            case mean = "mean_microseconds"
            case p50 = "p50_microseconds"
            case p90 = "p90_microseconds"
            case p99 = "p99_microseconds"
            case p999 = "p99_9_microseconds"
            case max = "max_microseconds"
        }

        init(_ summary: LatencySummary) {
            mean = summary.mean
            p50 = summary.p50
            p90 = summary.p90
            p99 = summary.p99
            p999 = summary.p999
            max = summary.max
        }
    }

    /// What one replica did while the load was measured, by its own word.
    public struct ReplicaShare: Codable, Sendable {
        /// Its number.
        public let replica: Int
        /// Operations it executed.
        public let operationsExecuted: UInt64
        /// Batches it executed.
        public let batchesExecuted: UInt64
        /// Processor time of its process.
        public let cpuMicroseconds: UInt64
        /// The same for each operation; nil when it executed none.
        public let cpuMicrosecondsPerOperation: Double?

        enum CodingKeys: String, CodingKey {
            case replica
            case operationsExecuted = "operations_executed"
            case batchesExecuted = "batches_executed"
            case cpuMicroseconds = "cpu_microseconds"
            case cpuMicrosecondsPerOperation = "cpu_microseconds_per_operation"
        }

        /// What a replica did between two of its reports.
        ///
        /// - Returns: nil when a counter is missing or went back: the replica was started anew between them.
        public init?(from before: ReplicaStatus, to after: ReplicaStatus) {
            guard
                let operations = Self.growth(of: "operations_executed", from: before, to: after),
                let batches = Self.growth(of: "batches_executed", from: before, to: after),
                let cpu = Self.growth(of: "cpu_microseconds", from: before, to: after)
            else { return nil }
            replica = after.replica.index
            operationsExecuted = operations
            batchesExecuted = batches
            cpuMicroseconds = cpu
            cpuMicrosecondsPerOperation = operations > 0 ? Double(cpu) / Double(operations) : nil
        }

        private static func growth(of name: String, from before: ReplicaStatus, to after: ReplicaStatus) -> UInt64? {
            guard
                let first = before.counters.first(where: { $0.name == name })?.value,
                let last = after.counters.first(where: { $0.name == name })?.value,
                last >= first
            else { return nil }
            return last - first
        }
    }

    /// The bound that signature checks put on the throughput when replicas and clients share one machine.
    public struct SignatureLimit: Codable, Sendable {
        /// The machine's cores, as this process may use them.
        public let cores: Int
        /// How long one signature check took on one core, just before the run.
        public let checkMicroseconds: Double
        /// cores / (n x check) x bundle: what the cores could do if they did nothing but check each request at each
        /// replica.
        public let operationsPerSecond: Double
        /// The throughput as percent of this limit; nil when the protocol checks no signatures.
        public let percentReached: Double?

        enum CodingKeys: String, CodingKey {
            case cores
            case checkMicroseconds = "signature_check_microseconds"
            case operationsPerSecond = "operations_per_second"
            case percentReached = "percent_reached"
        }
    }

    /// One sample of the run, by default a second.
    public struct Point: Codable, Sendable {
        /// When it starts, from the start of the measured time.
        public let startSeconds: Double
        /// How long it is.
        public let durationSeconds: Double
        /// How many clients were sending.
        public let activeClients: Int
        /// The workload's operations that succeeded, a second.
        public let throughput: Double
        /// The workload's operations that failed.
        public let errors: UInt64
        /// The latencies of those that succeeded.
        public let latency: Latency

        enum CodingKeys: String, CodingKey {
            case startSeconds = "start_seconds"
            case durationSeconds = "duration_seconds"
            case activeClients = "active_clients"
            case throughput = "throughput_operations_per_second"
            case errors
            case latency
        }
    }

    /// What was run.
    public let settings: Settings
    /// When the measured time began, in seconds since 1970 by this machine's clock: to be held against logs.
    public let startedAt: Double
    /// How long it was measured.
    public let durationSeconds: Double
    /// The workload's operations that succeeded in this time.
    public let operations: UInt64
    /// The same by kind.
    public let operationsByKind: [String: UInt64]
    /// The service's operations that succeeded: a read-modify-write is two of them.
    public let invocations: UInt64
    /// The workload's operations that failed, among them those that were sent in this time and failed after it.
    public let errors: UInt64
    /// The same by reason.
    public let errorsByKind: [String: UInt64]
    /// Operations that had not ended long after the run.
    public let unfinished: Int
    /// The workload's operations that succeeded, a second.
    public let throughput: Double
    /// The service's operations that succeeded, a second.
    public let invocationThroughput: Double
    /// The latencies of the workload's operations that succeeded.
    public let latency: Latency
    /// Replicas that told their status before and after; nil when this was not asked.
    public let replicasReachable: Int?
    /// Operations in a batch on the average, by the replicas' word; nil when it is not known.
    public let averageBatchOperations: Double?
    /// What each replica did that told it.
    public let replicaShares: [ReplicaShare]
    /// Processor time of all clients, for each operation of the service; nil when there was none.
    public let clientCPUMicrosecondsPerInvocation: Double?
    /// The bound that signature checks put on the throughput.
    public let signatureLimit: SignatureLimit
    /// What the audit found; nil for every workload but `audit`.
    public let audit: AuditVerdict?
    /// The run sample by sample.
    public let series: [Point]

    enum CodingKeys: String, CodingKey {
        case settings
        case startedAt = "started_at_unix_seconds"
        case durationSeconds = "duration_seconds"
        case operations
        case operationsByKind = "operations_by_kind"
        case invocations
        case errors
        case errorsByKind = "errors_by_kind"
        case unfinished = "unfinished_operations"
        case throughput = "throughput_operations_per_second"
        case invocationThroughput = "throughput_invocations_per_second"
        case latency
        case replicasReachable = "replicas_reachable"
        case averageBatchOperations = "average_batch_operations"
        case replicaShares = "replica_shares"
        case clientCPUMicrosecondsPerInvocation = "client_cpu_microseconds_per_invocation"
        case signatureLimit = "signature_limit"
        case audit
        case series
    }
}
