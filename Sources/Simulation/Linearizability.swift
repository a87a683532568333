/// An operation of a client's history on one register.
public struct HistoryEntry: Hashable, Sendable {
    /// What was asked.
    public let operation: RegisterOperation
    /// When it was asked, on a clock that all clients share.
    public let called: UInt64
    /// When the result came; nil when none did: the operation took effect at any time after the call, or never.
    public let returned: UInt64?
    /// The result, when one came.
    public let result: UInt64
    /// Where the operation may stand in an order that explains the history; nil when nothing is known.
    public let hint: UInt64?

    /// Describes an operation.
    public init(_ operation: RegisterOperation, called: UInt64, returned: UInt64?, result: UInt64, hint: UInt64? = nil)
    {
        self.operation = operation
        self.called = called
        self.returned = returned
        self.result = result
        self.hint = hint
    }
}

/// Decides whether a history is linearizable: whether each operation can be given one moment between its call and its return, such that
/// the results are those of the operations done one after the other at these moments (Herlihy and Wing, 1990).
///
/// The search is that of Wing and Gong (1993) with the memory of configurations by Lowe (2017): of two ways to the same set of operations
/// done and the same value, one is enough. Registers are independent, so each is decided alone (locality).
public enum Linearizability {
    /// What a search came to.
    public enum Verdict: Hashable, Sendable {
        /// There is an order.
        case linearizable
        /// There is none for this register.
        case violated(register: UInt8)
        /// The search was given up after its bound of configurations.
        case undecided(register: UInt8)
    }

    /// Decides for a whole history, whose registers all start at 0.
    ///
    /// If the hints name an order that explains what the clients saw, that is the proof, and there is no search: the number of
    /// configurations can grow exponentially with the number of clients.
    ///
    /// - Parameters:
    ///   - history: The operations of all clients, in any order.
    ///   - configurations: The most configurations to visit a register.
    public static func check(_ history: [HistoryEntry], configurations: Int = 500_000) -> Verdict {
        for register in Set(history.map(\.operation.register)).sorted() {
            let entries = history.filter { $0.operation.register == register }
            if isExplainedByHints(entries) { continue }
            var search = Search(entries, limit: configurations)
            switch search.run() {
            case true?: continue
            case false?: return .violated(register: register)
            case nil: return .undecided(register: register)
            }
        }
        return .linearizable
    }

    /// Whether the operations with hints, in that order, and each read without one at some place between them, explain the history.
    private static func isExplainedByHints(_ entries: [HistoryEntry]) -> Bool {
        let order = entries.filter { $0.hint != nil }.sorted { ($0.hint ?? 0) < ($1.hint ?? 0) }
        var values: [UInt64] = [0]
        values.reserveCapacity(order.count + 1)
        var latestCall: UInt64 = 0
        for entry in order {
            let (after, result) = entry.operation.apply(to: values[values.count - 1])
            values.append(after)
            // Whatever stands before it must have been called before it returned.
            latestCall = max(latestCall, entry.called)
            guard let returned = entry.returned else { continue }
            if result != entry.result || latestCall > returned { return false }
        }
        let others = entries.filter { $0.hint == nil && $0.returned != nil }
        // A write without a hint is for the search.
        return others.allSatisfy { $0.operation.kind == .read } && canPlace(others, between: order, values)
    }

    /// Whether each read has a place at which the register had its value. The first such place is the best one: it leaves most room for
    /// the reads after it.
    private static func canPlace(_ reads: [HistoryEntry], between order: [HistoryEntry], _ values: [UInt64]) -> Bool {
        // By return: how far the order has come for sure; by call: where what is called later begins.
        let returns = Bounds(order.enumerated().map { ($0.element.returned ?? .max, $0.offset + 1) }, isHighest: true)
        let calls = Bounds(order.enumerated().map { ($0.element.called, $0.offset) }, isHighest: false)
        var placed: [(returned: UInt64, place: Int)] = []
        for read in reads.sorted(by: { ($0.called, $0.returned ?? 0) < ($1.called, $1.returned ?? 0) }) {
            guard let returned = read.returned else { continue }
            var place = returns.highest(before: read.called)
            for earlier in placed where earlier.returned < read.called { place = max(place, earlier.place) }
            let last = calls.lowest(after: returned, otherwise: order.count)
            while place <= last, values[place] != read.result { place += 1 }
            if place > last { return false }
            placed.append((returned, place))
        }
        return true
    }

    /// Places by moments, to look up the highest of those before a moment or the lowest of those after it.
    private struct Bounds {
        private var moments: [UInt64] = []
        private var places: [Int] = []

        init(_ points: [(moment: UInt64, place: Int)], isHighest: Bool) {
            let sorted = points.sorted { $0.moment < $1.moment }
            moments = sorted.map(\.moment)
            places = sorted.map(\.place)
            if isHighest {
                for index in places.indices.dropFirst() { places[index] = max(places[index], places[index - 1]) }
            } else {
                for index in places.indices.dropLast().reversed() {
                    places[index] = min(places[index], places[index + 1])
                }
            }
        }

        /// How many moments are before `moment`, or at it too.
        private func count(before moment: UInt64, orAt: Bool) -> Int {
            var low = 0
            var high = moments.count
            while low < high {
                let middle = (low + high) / 2
                if moments[middle] < moment || (orAt && moments[middle] == moment) {
                    low = middle + 1
                } else {
                    high = middle
                }
            }
            return low
        }

        func highest(before moment: UInt64) -> Int {
            let count = count(before: moment, orAt: false)
            return count == 0 ? 0 : places[count - 1]
        }

        func lowest(after moment: UInt64, otherwise: Int) -> Int {
            let count = count(before: moment, orAt: true)
            return count == places.count ? otherwise : places[count]
        }
    }

    /// The calls and returns of one register's operations in the order of time, as a doubly linked list from which operations are lifted
    /// as they are done, and put back when the search goes back.
    private struct Search {
        private struct Node {
            let operation: Int
            /// The node of the return; nil for a node that is one.
            let returnNode: Int?
            var previous: Int
            var next: Int
        }

        private struct Configuration: Hashable {
            let done: [UInt64]
            let value: UInt64
        }

        private let entries: [HistoryEntry]
        private let limit: Int
        // Node 0 is the head.
        private var nodes: [Node] = []

        init(_ entries: [HistoryEntry], limit: Int) {
            self.entries = entries
            self.limit = limit
            // At one moment, calls come before returns: touching operations overlap.
            var moments: [(time: UInt64, isReturn: Bool, operation: Int)] = []
            for (operation, entry) in entries.enumerated() {
                moments.append((entry.called, false, operation))
                moments.append((entry.returned ?? .max, true, operation))
            }
            moments.sort {
                ($0.time, $0.isReturn ? 1 : 0, $0.operation) < ($1.time, $1.isReturn ? 1 : 0, $1.operation)
            }
            var returns = Array(repeating: 0, count: entries.count)
            for (place, moment) in moments.enumerated() where moment.isReturn {
                returns[moment.operation] = place + 1
            }
            nodes.append(Node(operation: -1, returnNode: nil, previous: 0, next: moments.isEmpty ? 0 : 1))
            for (place, moment) in moments.enumerated() {
                nodes.append(
                    Node(
                        operation: moment.operation,
                        returnNode: moment.isReturn ? nil : returns[moment.operation],
                        previous: place,
                        next: place + 1 < moments.count ? place + 2 : 0
                    )
                )
            }
        }

        private mutating func unlink(_ node: Int) {
            nodes[nodes[node].previous].next = nodes[node].next
            nodes[nodes[node].next].previous = nodes[node].previous
        }

        private mutating func relink(_ node: Int) {
            nodes[nodes[node].previous].next = node
            nodes[nodes[node].next].previous = node
        }

        /// Whether there is an order; nil when the bound was met.
        mutating func run() -> Bool? {
            var value: UInt64 = 0
            var done = Array(repeating: UInt64(0), count: (entries.count + 63) / 64)
            var left = entries.count { $0.returned != nil }
            var seen: Set<Configuration> = []
            var path: [(node: Int, value: UInt64)] = []
            var current = nodes[0].next
            while left > 0 {
                if current != 0, let returnNode = nodes[current].returnNode {
                    let operation = nodes[current].operation
                    let (after, result) = entries[operation].operation.apply(to: value)
                    let isPossible = entries[operation].returned == nil || result == entries[operation].result
                    var next = done
                    next[operation / 64] |= 1 << UInt64(operation % 64)
                    if isPossible, seen.insert(Configuration(done: next, value: after)).inserted {
                        if seen.count > limit { return nil }
                        path.append((current, value))
                        value = after
                        done = next
                        if entries[operation].returned != nil { left -= 1 }
                        unlink(current)
                        unlink(returnNode)
                        current = nodes[0].next
                    } else {
                        current = nodes[current].next
                    }
                    continue
                }
                // A return, or the end: what returned here should have been done before. Go back.
                guard let (node, before) = path.popLast(), let returnNode = nodes[node].returnNode else { return false }
                let operation = nodes[node].operation
                value = before
                done[operation / 64] &= ~(1 << UInt64(operation % 64))
                if entries[operation].returned != nil { left += 1 }
                relink(returnNode)
                relink(node)
                current = nodes[node].next
            }
            return true
        }
    }
}
