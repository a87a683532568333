import Invariants
import Synchronization

/// A closed-loop load on a service: each active client keeps the same number of operations outstanding and sends the
/// next one when one has ended.
///
/// The caller decides how the load goes on: it sets how many clients are active and holds the load for a time, as often
/// as it likes, and gets what happened as samples. A warm-up is a first hold whose samples nobody looks at.
///
/// ```swift
/// generator.setActiveClients(8)
/// try await generator.hold(forNanoseconds: 1_000_000_000)
/// let samples = try await generator.hold(forNanoseconds: 10_000_000_000)
/// let rest = try await generator.stop(waitingNanoseconds: 30_000_000_000)
/// ```
public final class LoadGenerator: Sendable {
    /// How often slots that a failure has freed are filled again: every 100 ms, so that a service that refuses
    /// everything at once is not asked in a tight loop.
    public static let tickNanoseconds: UInt64 = 100_000_000

    private let clients: [LoadClient]
    private let clock: LoadClock
    private let state: Mutex<State>

    /// Prepares a load; nothing is sent before ``setActiveClients(_:)``.
    ///
    /// - Parameters:
    ///   - clients: What each client sends through, and where its operations come from.
    ///   - slots: How many operations each active client keeps outstanding, at least 1.
    ///   - clock: What latencies and samples are measured with.
    public init(
        clients: [(submitter: any OperationSubmitter, source: any OperationSource)],
        slots: Int,
        clock: LoadClock = .monotonic
    ) {
        self.clients = clients.map { client in
            LoadClient(submitter: client.submitter, source: client.source, slots: slots, clock: clock)
        }
        self.clock = clock
        state = Mutex(State(sampledUntil: clock.now()))
    }

    /// Operations that were submitted and have not ended.
    public var outstanding: Int { clients.reduce(0) { $0 + $1.outstanding } }

    /// Whether every client's source has no more operations.
    public var isExhausted: Bool { clients.allSatisfy(\.isExhausted) }

    /// Lets the first `count` clients send and makes the others stop after what they have outstanding.
    ///
    /// - Parameter count: 0 for none; more than there are means all.
    public func setActiveClients(_ count: Int) {
        state.withLock { $0.activeClients = min(max(count, 0), clients.count) }
        for (index, client) in clients.enumerated() {
            client.setActive(index < count)
        }
    }

    /// Lets the load go on for a time.
    ///
    /// - Parameters:
    ///   - duration: How long, in nanoseconds.
    ///   - interval: How long each sample is, in nanoseconds; the last one may be shorter.
    ///   - onSample: Called with each sample when its interval is over.
    ///   - isOver: Asked every tick; when it says so, the time ends early.
    /// - Returns: The samples in order: together they cover the time without a gap.
    /// - Throws: `CancellationError` when the task is cancelled; the clients stay active then.
    @discardableResult
    public func hold(
        forNanoseconds duration: UInt64,
        sampledEveryNanoseconds interval: UInt64 = 1_000_000_000,
        onSample: (LoadSample) -> Void = { _ in },
        until isOver: () -> Bool = { false }
    ) async throws -> [LoadSample] {
        invariant(interval > 0, "a sample has a length")
        // What happened before belongs to nobody's sample.
        _ = takeSample()
        let start = clock.now()
        let end = start + duration
        var nextSample = start + min(interval, duration)
        var samples: [LoadSample] = []
        var isLast = false
        while !isLast, samples.last.map({ $0.end < end }) ?? true {
            let wake = min(nextSample, clock.now() + Self.tickNanoseconds)
            try await clock.sleep(wake)
            fill()
            isLast = isOver()
            guard clock.now() >= nextSample || isLast else { continue }
            let sample = takeSample()
            samples.append(sample)
            onSample(sample)
            nextSample = min(nextSample + interval, end)
        }
        return samples
    }

    /// Lets the load go on until every source is exhausted and every operation has ended, or one has failed.
    ///
    /// - Parameter onProgress: Called after each tick with all that was recorded until then.
    /// - Returns: All of it as one sample; after a failure nothing is active, and operations may still be outstanding.
    /// - Throws: `CancellationError` when the task is cancelled.
    public func runToEnd(onProgress: (LoadSample) -> Void = { _ in }) async throws -> LoadSample {
        let start = clock.now()
        _ = takeSample()
        setActiveClients(clients.count)
        var total = LoadRecording()
        while true {
            try await clock.sleep(clock.now() + Self.tickNanoseconds)
            let isOver = isExhausted && outstanding == 0
            let part = takeSample()
            total.add(part.recording)
            let sample = LoadSample(
                start: start,
                end: part.end,
                activeClients: clients.count,
                recording: total
            )
            onProgress(sample)
            if isOver || total.failures > 0 {
                setActiveClients(0)
                return sample
            }
        }
    }

    /// Stops the load and waits until nothing is outstanding.
    ///
    /// - Parameter limit: How long to wait at most, in nanoseconds. A client ends every operation within its own
    ///   time-out; what is outstanding after this limit shows in ``outstanding``.
    /// - Returns: What ended since the last sample.
    /// - Throws: `CancellationError` when the task is cancelled.
    public func stop(waitingNanoseconds limit: UInt64) async throws -> LoadSample {
        setActiveClients(0)
        let end = clock.now() + limit
        while outstanding > 0 && clock.now() < end {
            try await clock.sleep(min(end, clock.now() + Self.tickNanoseconds / 10))
        }
        return takeSample()
    }

    /// Takes what happened since the last sample was taken.
    public func takeSample() -> LoadSample {
        var recording = LoadRecording()
        for client in clients {
            recording.add(client.takeRecording())
        }
        let now = clock.now()
        return state.withLock { state in
            defer { state.sampledUntil = now }
            return LoadSample(
                start: state.sampledUntil,
                end: now,
                activeClients: state.activeClients,
                recording: recording
            )
        }
    }

    private func fill() {
        for client in clients { client.fill() }
    }

    private struct State {
        var sampledUntil: UInt64
        var activeClients = 0
    }
}
