import Histogram

/// What was counted and timed over a stretch of a load: a value that can be added up.
public struct LoadRecording: Sendable {
    /// Latencies above this many microseconds (two minutes) count as this many.
    public static let longestLatencyMicroseconds: UInt64 = 120_000_000

    /// The workload's operations that succeeded, by kind.
    public private(set) var operationsByKind: [WorkloadOperation.Kind: UInt64] = [:]

    /// The service's operations that succeeded: a read-modify-write is two of them.
    public private(set) var invocations: UInt64 = 0

    /// The workload's operations that failed, by the name of the reason.
    public private(set) var failuresByKind: [String: UInt64] = [:]

    /// The latencies of the operations that succeeded, in microseconds, with three significant digits.
    public private(set) var latencies = Histogram<UInt64>(
        highestTrackableValue: Self.longestLatencyMicroseconds,
        numberOfSignificantValueDigits: .three
    )

    /// Starts with nothing.
    public init() {}

    /// The workload's operations that succeeded.
    public var operations: UInt64 { latencies.totalCount }

    /// The workload's operations that failed.
    public var failures: UInt64 { failuresByKind.values.reduce(0, +) }

    /// The distribution of the latencies in a few numbers.
    public var latency: LatencySummary { LatencySummary(latencies) }

    /// Notes an operation that succeeded.
    ///
    /// - Parameters:
    ///   - kind: What it did.
    ///   - invocations: How many operations of the service it was.
    ///   - latencyMicroseconds: How long all of it took.
    public mutating func noteSuccess(
        of kind: WorkloadOperation.Kind,
        invocations: UInt64,
        latencyMicroseconds: UInt64
    ) {
        operationsByKind[kind, default: 0] += 1
        self.invocations += invocations
        latencies.record(min(latencyMicroseconds, Self.longestLatencyMicroseconds))
    }

    /// Notes an operation that failed; its latency is not recorded.
    public mutating func noteFailure(_ kind: String) {
        failuresByKind[kind, default: 0] += 1
    }

    /// Adds what another stretch, or another client, has recorded.
    public mutating func add(_ other: LoadRecording) {
        operationsByKind.merge(other.operationsByKind, uniquingKeysWith: +)
        failuresByKind.merge(other.failuresByKind, uniquingKeysWith: +)
        invocations += other.invocations
        latencies.add(other.latencies)
    }
}

/// As another process is told it: each latency that occurred, as the histogram keeps it, and how often.
extension LoadRecording: Codable {
    private enum CodingKeys: String, CodingKey {
        case operations, invocations, failures, latencies
    }

    /// How often one latency occurred.
    private struct Step: Codable {
        let microseconds: UInt64
        let count: UInt64
    }

    /// Writes what was recorded.
    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        let operations = operationsByKind.map { ($0.key.rawValue, $0.value) }
        try fields.encode(Dictionary(uniqueKeysWithValues: operations), forKey: .operations)
        try fields.encode(invocations, forKey: .invocations)
        try fields.encode(failuresByKind, forKey: .failures)
        let steps = latencies.recordedValues().map { step in
            // The histogram tells the upper end of a step, which may be above the longest latency.
            Step(microseconds: min(step.value, Self.longestLatencyMicroseconds), count: step.count)
        }
        try fields.encode(steps, forKey: .latencies)
    }

    /// Reads what ``encode(to:)`` wrote.
    ///
    /// - Throws: `DecodingError` where it is nothing of the kind.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        for (name, count) in try fields.decode([String: UInt64].self, forKey: .operations) {
            guard let kind = WorkloadOperation.Kind(rawValue: name) else {
                throw DecodingError.dataCorruptedError(
                    forKey: .operations,
                    in: fields,
                    debugDescription: "no kind of operations"
                )
            }
            operationsByKind[kind] = count
        }
        invocations = try fields.decode(UInt64.self, forKey: .invocations)
        failuresByKind = try fields.decode([String: UInt64].self, forKey: .failures)
        for step in try fields.decode([Step].self, forKey: .latencies) {
            // So many that no sum of them overflows.
            guard step.count <= UInt64(UInt32.max), latencies.record(step.microseconds, count: step.count) else {
                throw DecodingError.dataCorruptedError(
                    forKey: .latencies,
                    in: fields,
                    debugDescription: "a latency out of bounds"
                )
            }
        }
    }
}

/// A distribution of latencies in a few numbers, all in microseconds; all 0 when nothing was recorded.
public struct LatencySummary: Hashable, Sendable {
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

    /// The longest latency.
    public let max: UInt64

    init(_ histogram: Histogram<UInt64>) {
        // The histogram of nothing has a mean that is not a number, which JSON cannot hold.
        mean = histogram.totalCount == 0 ? 0 : histogram.mean
        p50 = histogram.valueAtPercentile(50)
        p90 = histogram.valueAtPercentile(90)
        p99 = histogram.valueAtPercentile(99)
        p999 = histogram.valueAtPercentile(99.9)
        max = histogram.maxRecorded
    }
}

/// What all clients of a load generator did between two points of time.
public struct LoadSample: Sendable {
    /// When it starts, in nanoseconds of the generator's clock.
    public let start: UInt64

    /// When it ends, in nanoseconds of the generator's clock.
    public let end: UInt64

    /// How many clients were allowed to send when it ended.
    public let activeClients: Int

    /// What was counted and timed.
    public let recording: LoadRecording

    /// Describes what happened from `start` to `end`, which is not before it.
    public init(start: UInt64, end: UInt64, activeClients: Int, recording: LoadRecording) {
        self.start = start
        self.end = end
        self.activeClients = activeClients
        self.recording = recording
    }

    /// How long it is, in seconds.
    public var seconds: Double { Double(end - start) / 1e9 }

    /// The workload's operations a second that succeeded.
    public var throughput: Double { seconds > 0 ? Double(recording.operations) / seconds : 0 }
}
