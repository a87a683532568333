import Simulation

/// What clients saw of a few counters that they increment by one and read: enough to decide whether the service is linearizable.
///
/// A sum names the place of its increment in the order. So an increment whose result is unknown can only have a place that no other has,
/// and the history is decided without a search unless it is wrong.
struct CounterHistory: Sendable {
    /// One operation on a counter.
    struct Entry: Sendable {
        /// Which counter.
        let counter: UInt8
        /// Whether it was read; it was incremented otherwise.
        let isRead: Bool
        /// When it was asked, on a clock that all clients share.
        let called: UInt64
        /// When the result came, and the result; nil when none did: the operation took effect at any time after the call, or never.
        let answer: (returned: UInt64, value: UInt64)?
    }

    private(set) var entries: [Entry] = []

    mutating func add(_ entry: Entry) {
        // A read without a result says nothing.
        if !entry.isRead || entry.answer != nil { entries.append(entry) }
    }

    /// What the history shows.
    var verdict: Linearizability.Verdict {
        let placed = Set(entries.map(\.counter)).sorted().flatMap { counter in
            Self.place(entries.filter { $0.counter == counter })
        }
        let verdict = Linearizability.check(placed)
        if verdict == .linearizable { return verdict }
        // Of the whole history, since an increment without a place was left out.
        return Linearizability.check(entries.map { Self.entry($0, at: nil) })
    }

    /// Gives each increment of a counter its place: its sum, or where that is unknown the lowest sum that is nobody's, in the order of the
    /// calls. One for which there is none never took effect.
    private static func place(_ entries: [Entry]) -> [HistoryEntry] {
        var history = entries.compactMap { entry in
            entry.answer.map { Self.entry(entry, at: entry.isRead ? nil : $0.value) }
        }
        let known = Set(history.compactMap(\.hint))
        // A wrong sum may be anything, so no more places are looked at than there can be.
        let highest = min(entries.compactMap(\.answer?.value).max() ?? 0, UInt64(entries.count))
        var free = (0..<highest).lazy.map { $0 + 1 }.filter { !known.contains($0) }.makeIterator()
        for entry in entries.filter({ $0.answer == nil }).sorted(by: { $0.called < $1.called }) {
            guard let place = free.next() else { break }
            history.append(Self.entry(entry, at: place))
        }
        return history
    }

    private static func entry(_ entry: Entry, at place: UInt64?) -> HistoryEntry {
        HistoryEntry(
            RegisterOperation(entry.isRead ? .read : .add, register: entry.counter, argument: entry.isRead ? 0 : 1),
            called: entry.called,
            returned: entry.answer?.returned,
            result: entry.answer?.value ?? 0,
            hint: place
        )
    }
}
