import Invariants

/// Events in the order of their times; events of one time in the order in which they were added. That order is all there is, so a run
/// depends on nothing but its seed.
struct EventQueue<Event> {
    /// The heap holds places only, so that moving its entries costs little whatever an event carries.
    private struct Entry {
        let time: UInt64
        let order: UInt64
        let place: Int

        func precedes(_ other: Entry) -> Bool {
            time < other.time || (time == other.time && order < other.order)
        }
    }

    private var heap: [Entry] = []
    private var events: [Event?] = []
    private var free: [Int] = []
    private var added: UInt64 = 0

    /// How many events wait.
    var count: Int { heap.count }

    /// The time of the next event.
    var nextTime: UInt64? { heap.first?.time }

    mutating func add(_ event: Event, at time: UInt64) {
        let place: Int
        if let reused = free.popLast() {
            place = reused
            events[place] = event
        } else {
            place = events.count
            events.append(event)
        }
        heap.append(Entry(time: time, order: added, place: place))
        added += 1
        rise(heap.count - 1)
    }

    mutating func removeFirst() -> (time: UInt64, event: Event)? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        if !heap.isEmpty {
            heap[0] = last
            sink()
        }
        guard let event = events[first.place].take() else { invariantViolated("an event without content") }
        free.append(first.place)
        return (first.time, event)
    }

    private mutating func rise(_ start: Int) {
        var child = start
        let entry = heap[child]
        while child > 0 {
            let parent = (child - 1) / 2
            guard entry.precedes(heap[parent]) else { break }
            heap[child] = heap[parent]
            child = parent
        }
        heap[child] = entry
    }

    private mutating func sink() {
        var parent = 0
        let entry = heap[0]
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
            guard heap[child].precedes(entry) else { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = entry
    }
}
