import Aardvark
import Messages
import UnixSignals

/// The replicas of a cluster as child processes of this one: started, watched and stopped together. None is started again.
struct LocalCluster {
    private enum Event: Sendable {
        /// Time to ask the replicas for their status.
        case tick

        /// The operator wants to stop.
        case stop

        /// A replica's process has ended.
        case ended(Int, ReplicaProcess.Ending)

        /// Replicas that were asked to stop have had their time.
        case stopOverdue
    }

    /// How long replicas may take until they serve.
    private static let startTime = Duration.seconds(30)

    /// How long replicas may take to stop.
    private static let stopTime = Duration.seconds(10)

    let cluster: ClusterFile
    let logDirectory: String
    let logLevel: LogLevel
    /// Whether the replicas begin, and make their stores.
    let createsStores: Bool

    /// Where each replica records its engine's inputs; nil for nowhere.
    let recordDirectory: String?
    let probe: StatusSource

    /// Commands to show once the replicas serve.
    let hints: [String]

    /// Runs the replicas until the operator stops them.
    ///
    /// - Throws: When they cannot be started, do not serve in time, or have all ended.
    func run() async throws {
        try FileAccess.createDirectory(logDirectory, mode: 0o755)
        let (events, input) = AsyncStream.makeStream(of: Event.self)
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        let trapping = Task {
            for await _ in signals { input.yield(.stop) }
        }
        defer { trapping.cancel() }
        var iterator = events.makeAsyncIterator()
        var running: [Int: ReplicaProcess] = [:]
        do {
            try start(&running, input)
            guard try await waitUntilServing(&running, &iterator, input) else {
                return await stop(&running, &iterator, input)
            }
            try sayHowToGoOn()
            try await watch(&running, &iterator, input)
        } catch {
            await stop(&running, &iterator, input)
            throw error
        }
        await stop(&running, &iterator, input)
    }

    private func start(
        _ running: inout [Int: ReplicaProcess],
        _ input: AsyncStream<Event>.Continuation
    ) throws(OperatorError) {
        for number in cluster.replicas.indices {
            running[number] = try ReplicaProcess(
                number: number,
                clusterPath: cluster.path,
                logPath: "\(logDirectory)/replica-\(number).log",
                logLevel: logLevel,
                createsStore: createsStores,
                recordPath: recordDirectory.map { Self.recordPath(of: number, in: $0) }
            ) { ending in
                input.yield(.ended(number, ending))
            }
        }
    }

    /// The file that a replica records in.
    static func recordPath(of number: Int, in directory: String) -> String {
        "\(directory)/replica-\(number).recording"
    }

    /// Waits until every replica answers a status query.
    ///
    /// - Returns: False when the operator wants to stop before.
    private func waitUntilServing(
        _ running: inout [Int: ReplicaProcess],
        _ events: inout AsyncStream<Event>.AsyncIterator,
        _ input: AsyncStream<Event>.Continuation
    ) async throws -> Bool {
        let deadline = ContinuousClock.now + Self.startTime
        input.yield(.tick)
        while let event = await events.next() {
            switch event {
            case .stop: return false
            case .stopOverdue: continue
            case .ended(let number, let ending):
                throw failure(of: number, ending, running.removeValue(forKey: number))
            case .tick:
                let statuses = await probe.query(timeout: .seconds(1))
                let missing = statuses.indices.filter { statuses[$0] == nil }
                if missing.isEmpty { return true }
                guard ContinuousClock.now < deadline else {
                    let names = missing.map(String.init).joined(separator: ", ")
                    throw OperatorError(
                        .unavailable,
                        "replica \(names) does not serve after \(Self.startTime); its log is in \(logDirectory)"
                    )
                }
                tick(after: .milliseconds(200), input)
            }
        }
        return false
    }

    private func sayHowToGoOn() throws(OperatorError) {
        let size = cluster.size
        try Console.writeLine(
            """
            \(size.replicas) replicas serve (\(cluster.protocolName.rawValue), tolerating \(size.faults) faulty); \
            cluster file \(cluster.path), logs in \(logDirectory)

            Try in another terminal:
            \(hints.map { "  \($0)" }.joined(separator: "\n"))

            Ctrl-C stops the replicas.

            """
        )
    }

    /// Shows the status until the operator wants to stop.
    private func watch(
        _ running: inout [Int: ReplicaProcess],
        _ events: inout AsyncStream<Event>.AsyncIterator,
        _ input: AsyncStream<Event>.Continuation
    ) async throws {
        let isTerminal = Console.outputIsTerminal
        var line = LiveLine.onOutput()
        var summary = StatusSummary(size: cluster.size)
        input.yield(.tick)
        while let event = await events.next() {
            switch event {
            case .stop:
                line.clear()
                return
            case .stopOverdue: continue
            case .ended(let number, let ending):
                line.clear()
                let failure = failure(of: number, ending, running.removeValue(forKey: number))
                guard !running.isEmpty else { throw failure }
                Console.note("aardvark: \(failure.sentence)")
            case .tick:
                let statuses = await probe.query(timeout: .seconds(1))
                let text = summary.line(for: statuses, at: .now)
                if isTerminal { line.show(text) } else { try Console.writeLine(text) }
                tick(after: isTerminal ? .seconds(1) : .seconds(10), input)
            }
        }
    }

    /// Stops what runs: gently, and after a while or at a second Ctrl-C by force.
    private func stop(
        _ running: inout [Int: ReplicaProcess],
        _ events: inout AsyncStream<Event>.AsyncIterator,
        _ input: AsyncStream<Event>.Continuation
    ) async {
        guard !running.isEmpty else { return }
        Console.note("aardvark: stopping \(running.count) replicas")
        for process in running.values { process.stop() }
        Task {
            try? await Task.sleep(for: Self.stopTime)
            input.yield(.stopOverdue)
        }
        while !running.isEmpty, let event = await events.next() {
            switch event {
            case .tick: continue
            case .ended(let number, _): running[number] = nil
            case .stop, .stopOverdue:
                for process in running.values { process.kill() }
            }
        }
        Console.note("aardvark: stopped")
    }

    private func tick(after delay: Duration, _ input: AsyncStream<Event>.Continuation) {
        Task {
            try? await Task.sleep(for: delay)
            input.yield(.tick)
        }
    }

    private func failure(of number: Int, _ ending: ReplicaProcess.Ending, _ process: ReplicaProcess?) -> OperatorError {
        let reason = process?.lastError ?? "see \(logDirectory)/replica-\(number).log"
        let kind: OperatorError.Kind? =
            if case .exited(let code) = ending { OperatorError.Kind(rawValue: code) } else { nil }
        return OperatorError(kind ?? .unavailable, "replica \(number) \(ending): \(reason)")
    }
}

/// Turns the status of all replicas into one line for a person.
struct StatusSummary {
    private let size: ClusterSize
    private var last: (operations: UInt64, at: ContinuousClock.Instant)?

    init(size: ClusterSize) {
        self.size = size
    }

    /// The line for one round of answers.
    ///
    /// - Parameters:
    ///   - statuses: One answer a replica, nil from those that gave none.
    ///   - now: When they were given.
    mutating func line(for statuses: [ReplicaStatus?], at now: ContinuousClock.Instant) -> String {
        let present = statuses.compactMap(\.self)
        let up = "\(present.count) of \(size.replicas) replicas up"
        // The view and the progress that 2f + 1 replicas may have are those of the furthest: one line cannot show all.
        guard let furthest = present.max(by: { $0.executed < $1.executed }) else {
            last = nil
            return up
        }
        let operations = furthest.counter("operations_executed")
        var rate = "-"
        if let last, operations >= last.operations {
            let elapsed = (now - last.at) / .seconds(1)
            if elapsed > 0 { rate = Console.grouped(UInt64(Double(operations - last.operations) / elapsed)) }
        }
        last = (operations, now)
        let quorum = present.count >= size.quorum ? "" : " (no quorum: the service stands still)"
        return "\(rate) ops/s   view \(furthest.view.rawValue)   primary \(furthest.primary.rawValue)   "
            + "executed \(Console.grouped(furthest.executed.rawValue))   \(up)\(quorum)"
    }
}

extension ReplicaStatus {
    /// The value of a counter; 0 when the replica has none of this name.
    func counter(_ name: String) -> UInt64 {
        counters.first { $0.name == name }?.value ?? 0
    }
}
