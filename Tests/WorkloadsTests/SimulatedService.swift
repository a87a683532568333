import Messages
import Synchronization
import Workloads

/// Virtual time with events: sleeping runs what is due until then, one event after the other, on the sleeping task.
final class VirtualTime: Sendable {
    private struct Event {
        let time: UInt64
        let action: @Sendable () -> Void
    }

    private struct State {
        var now: UInt64 = 1_000
        var events: [Event] = []
    }

    private let state = Mutex(State())

    var now: UInt64 { state.withLock { $0.now } }

    var clock: LoadClock {
        LoadClock(now: { self.now }, sleep: { self.run(until: $0) })
    }

    func schedule(after delay: UInt64, _ action: @escaping @Sendable () -> Void) {
        state.withLock { state in
            let time = state.now + delay
            let place = state.events.firstIndex { $0.time > time } ?? state.events.endIndex
            state.events.insert(Event(time: time, action: action), at: place)
        }
    }

    func run(until end: UInt64) {
        while let event = next(until: end) { event.action() }
        state.withLock { $0.now = max($0.now, end) }
    }

    private func next(until end: UInt64) -> Event? {
        state.withLock { state in
            guard let first = state.events.first, first.time <= end else { return nil }
            state.now = max(state.now, first.time)
            return state.events.removeFirst()
        }
    }
}

/// A stand-in for a client: answers every operation after a fixed latency and counts.
final class SimulatedClient: OperationSubmitter {
    struct Counts {
        var submitted = 0
        var ended = 0
        var mostOutstanding = 0
        var operations: [[UInt8]] = []
    }

    private let time: VirtualTime
    private let latency: UInt64
    private let answer: @Sendable (_ number: Int, _ operation: [UInt8]) -> OperationOutcome?
    private let state = Mutex(Counts())

    /// - Parameters:
    ///   - latency: In nanoseconds; 0 answers before the submission returns.
    ///   - answer: What the service says to the operation with this number; nil for never.
    init(
        _ time: VirtualTime,
        latency: UInt64,
        answer: @escaping @Sendable (_ number: Int, _ operation: [UInt8]) -> OperationOutcome? = { _, _ in .result([]) }
    ) {
        self.time = time
        self.latency = latency
        self.answer = answer
    }

    var counts: Counts { state.withLock { $0 } }

    func perform(
        _ operation: [UInt8],
        isReadOnly: Bool,
        completion: @escaping @Sendable (OperationOutcome) -> Void
    ) {
        let number = state.withLock { counts in
            counts.submitted += 1
            counts.mostOutstanding = max(counts.mostOutstanding, counts.submitted - counts.ended)
            counts.operations.append(operation)
            return counts.submitted - 1
        }
        guard let outcome = answer(number, operation) else { return }
        let end: @Sendable () -> Void = {
            self.state.withLock { $0.ended += 1 }
            completion(outcome)
        }
        if latency == 0 { end() } else { time.schedule(after: latency, end) }
    }
}

let second: UInt64 = 1_000_000_000
let millisecond: UInt64 = 1_000_000
