import Synchronization

/// The numbers of the records that a run inserts, shared by all its clients (YCSB's `AcknowledgedCounterGenerator`).
///
/// A number is handed out once. It counts as the newest record only when it and all numbers before it were
/// acknowledged, so that no client looks for a record that is still on its way.
public final class InsertSequence: Sendable {
    private let state: Mutex<State>

    /// Starts after the records that the load phase has put.
    ///
    /// - Parameter records: How many there are, at least 1; they have the numbers 0 ..< `records`.
    public init(records: UInt64) {
        state = Mutex(State(unused: records, newest: max(records, 1) - 1))
    }

    /// The newest record that is known to be there.
    public var newest: UInt64 { state.withLock { $0.newest } }

    /// Hands out the number of a record to insert.
    public func next() -> UInt64 {
        state.withLock { state in
            defer { state.unused += 1 }
            return state.unused
        }
    }

    /// Notes that the insertion of a record has ended. One that failed is acknowledged too, as in YCSB: a gap must not
    /// hide all the records after it.
    public func acknowledge(_ record: UInt64) {
        state.withLock { state in
            guard record > state.newest else { return }
            state.acknowledged.insert(record)
            while state.acknowledged.remove(state.newest + 1) != nil {
                state.newest += 1
            }
        }
    }

    private struct State {
        var unused: UInt64
        var newest: UInt64
        // Holds at most as many numbers as there are operations outstanding.
        var acknowledged: Set<UInt64> = []
    }
}
