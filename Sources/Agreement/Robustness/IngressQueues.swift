import Invariants
import Messages

/// The processor time that a queue may use. Credit for each round, never more than one round's; debt stays until rounds have paid it.
struct CostAccount: Sendable {
    /// What each round brings, in nanoseconds.
    private(set) var quantum: Int64
    private var credit: Int64
    /// The last round whose quantum is in the credit.
    private var round: UInt64 = 0

    init(quantum: Int64) {
        self.quantum = max(1, quantum)
        credit = self.quantum
    }

    var hasCredit: Bool { credit > 0 }

    /// How many rounds from now there is credit, at least 1.
    var roundsUntilCredit: UInt64 {
        credit > 0 ? 1 : UInt64((quantum - credit) / quantum)
    }

    mutating func setQuantum(_ quantum: Int64) {
        self.quantum = max(1, quantum)
        credit = min(credit, self.quantum)
    }

    /// Takes what the rounds up to this one bring.
    mutating func enter(_ round: UInt64) {
        guard round > self.round else { return }
        let rounds = Int64(clamping: round - self.round)
        self.round = round
        let (gain, overflow) = rounds.multipliedReportingOverflow(by: quantum)
        let missing = quantum - credit
        credit = overflow || gain >= missing ? quantum : credit + gain
    }

    mutating func charge(_ cost: Int64, mostDebt: Int64) {
        credit = max(-mostDebt, credit - cost)
    }
}

/// How much may wait in a queue. The last message may overshoot the bytes, so that there is no message that never finds room.
struct QueueBound: Sendable {
    let messages: Int
    let bytes: Int
}

/// A first-in-first-out queue that refuses when it is full.
struct BoundedQueue<Element: Sendable>: Sendable {
    /// What was taken out, and whether the queue is half empty again after it had refused.
    struct Removed {
        let element: Element
        let hasRoomAgain: Bool

        func taken(from queue: IngressQueue) -> FairScheduler<Element>.Taken {
            FairScheduler.Taken(element: element, queue: queue, hasRoomAgain: hasRoomAgain)
        }
    }

    private struct Entry: Sendable {
        let element: Element
        let bytes: Int
    }

    private let bound: QueueBound
    private var entries = FirstInFirstOut<Entry>()
    private var hasRefused = false
    private(set) var bytes = 0

    init(bound: QueueBound) {
        self.bound = bound
    }

    var count: Int { entries.count }

    mutating func append(_ element: Element, bytes: Int) -> Bool {
        guard count < bound.messages, self.bytes < bound.bytes else {
            hasRefused = true
            return false
        }
        entries.append(Entry(element: element, bytes: bytes))
        self.bytes += bytes
        return true
    }

    mutating func removeFirst() -> Removed? {
        guard let entry = entries.first else { return nil }
        entries.removeFirst()
        bytes -= entry.bytes
        let hasRoomAgain = hasRefused && count <= bound.messages / 2 && bytes <= bound.bytes / 2
        if hasRoomAgain { hasRefused = false }
        return Removed(element: entry.element, hasRoomAgain: hasRoomAgain)
    }
}

/// One queue for each replica, of one kind of message.
struct PeerQueues<Element: Sendable>: Sendable {
    private let quantum: Int64
    private var queues: [BoundedQueue<Element>]
    private var accounts: [CostAccount]
    /// By replica, a bit: something waits.
    private var waiting: UInt64 = 0
    /// Who is looked at first.
    private var cursor = 0
    private(set) var bytes = 0

    init(count: Int, quantum: Int64, bound: QueueBound) {
        self.quantum = quantum
        queues = Array(repeating: BoundedQueue(bound: bound), count: count)
        accounts = Array(repeating: CostAccount(quantum: quantum), count: count)
    }

    mutating func setShare(of place: Int, percent: Int) {
        accounts[place].setQuantum(quantum * Int64(percent) / 100)
    }

    /// Whether a replica has used up its share of this round.
    mutating func isSpent(_ place: Int, round: UInt64) -> Bool {
        accounts[place].enter(round)
        return !accounts[place].hasCredit
    }

    mutating func append(_ element: Element, bytes: Int, of place: Int, round: UInt64) -> Bool {
        guard queues[place].append(element, bytes: bytes) else { return false }
        self.bytes += bytes
        if waiting & 1 << UInt64(place) == 0 {
            waiting |= 1 << UInt64(place)
            accounts[place].enter(round)
        }
        return true
    }

    mutating func charge(_ cost: Int64, to place: Int, mostDebt: Int64, round: UInt64) {
        accounts[place].enter(round)
        accounts[place].charge(cost, mostDebt: mostDebt)
    }

    /// Takes a message of the next of these replicas, in turn, that has credit and something waiting.
    mutating func take(of replicas: UInt64) -> (place: Int, removed: BoundedQueue<Element>.Removed)? {
        guard let place = nextWithCredit(of: replicas) else { return nil }
        let bytesBefore = queues[place].bytes
        guard let removed = queues[place].removeFirst() else { return nil }
        bytes -= bytesBefore - queues[place].bytes
        if queues[place].count == 0 { waiting &= ~(1 << UInt64(place)) }
        cursor = (place + 1) % queues.count
        return (place, removed)
    }

    private func nextWithCredit(of replicas: UInt64) -> Int? {
        let candidates = waiting & replicas
        let passed = (UInt64(1) << UInt64(cursor)) - 1
        for part in [candidates & ~passed, candidates & passed] {
            var rest = part
            while rest != 0 {
                let place = rest.trailingZeroBitCount
                if accounts[place].hasCredit { return place }
                rest &= rest - 1
            }
        }
        return nil
    }

    /// How many messages of these replicas wait.
    func count(of replicas: UInt64) -> Int {
        var count = 0
        var rest = waiting & replicas
        while rest != 0 {
            count += queues[rest.trailingZeroBitCount].count
            rest &= rest - 1
        }
        return count
    }

    /// In how many rounds one of these replicas that waits has credit; the highest number when none waits.
    func roundsUntilCredit(of replicas: UInt64) -> UInt64 {
        var least = UInt64.max
        var rest = waiting & replicas
        while rest != 0 {
            least = min(least, accounts[rest.trailingZeroBitCount].roundsUntilCredit)
            rest &= rest - 1
        }
        return least
    }

    mutating func enter(_ round: UInt64) {
        var rest = waiting
        while rest != 0 {
            accounts[rest.trailingZeroBitCount].enter(round)
            rest &= rest - 1
        }
    }
}

/// One queue for each client connection. What all of them may use together goes round among those that wait, by cost.
struct ClientQueues<Element: Sendable>: Sendable {
    private struct Connection: Sendable {
        /// What can be done with the connection whose turn it is.
        enum Step {
            /// A message was taken.
            case took(BoundedQueue<Element>.Removed, bytes: Int)
            /// It has used up its turn.
            case rests
            /// Nothing waits.
            case isEmpty
            /// It is an earlier connection with the same number.
            case isGone
        }

        /// Tells a connection from an earlier one with its number, which may still be listed.
        let serial: UInt64
        var queue: BoundedQueue<Element>
        var account: CostAccount
        var isListed = false

        mutating func step(serial: UInt64, round: UInt64) -> Step {
            guard serial == self.serial else { return .isGone }
            account.enter(round)
            if queue.count == 0 {
                isListed = false
                return .isEmpty
            }
            guard account.hasCredit else { return .rests }
            let before = queue.bytes
            guard let removed = queue.removeFirst() else { return .isEmpty }
            return .took(removed, bytes: before - queue.bytes)
        }

        /// Puts the connection in a list, if it is in none.
        ///
        /// - Returns: Whether it has credit in this round; nil when it is listed already.
        mutating func list(round: UInt64) -> Bool? {
            guard !isListed else { return nil }
            isListed = true
            account.enter(round)
            return account.hasCredit
        }

        mutating func isInDebt(round: UInt64) -> Bool {
            account.enter(round)
            return account.roundsUntilCredit > 2
        }

        mutating func charge(_ cost: Int64, mostDebt: Int64, round: UInt64) {
            account.enter(round)
            account.charge(cost, mostDebt: mostDebt)
        }
    }

    private struct Listed: Sendable {
        let connection: ConnectionID
        let serial: UInt64
    }

    private let bound: QueueBound
    private let turn: Int64
    private let mostConnections: Int
    private var connections: [ConnectionID: Connection] = [:]
    private var lastSerial: UInt64 = 0
    /// Those that wait and may have credit in this round, and those that wait for the next one.
    private var current = FirstInFirstOut<Listed>()
    private var later = FirstInFirstOut<Listed>()
    private var round: UInt64 = 0
    private(set) var count = 0
    private(set) var bytes = 0

    init(limits: RobustnessLimits.Scheduling) {
        bound = QueueBound(messages: limits.clientMessages, bytes: limits.clientBytes)
        turn = Int64(limits.clientTurnNanoseconds)
        mostConnections = limits.clientConnections
    }

    mutating func open(_ connection: ConnectionID) -> Bool {
        guard connections[connection] == nil, connections.count < mostConnections else { return false }
        lastSerial += 1
        connections[connection] = Connection(
            serial: lastSerial,
            queue: BoundedQueue(bound: bound),
            account: CostAccount(quantum: turn)
        )
        return true
    }

    /// - Returns: How many messages waited.
    mutating func close(_ connection: ConnectionID) -> Int {
        guard let closed = connections.removeValue(forKey: connection) else { return 0 }
        count -= closed.queue.count
        bytes -= closed.queue.bytes
        // The places of closed connections in the lists are given up when their turn comes, or here before they take much memory.
        if current.count + later.count > 2 * mostConnections {
            let serials = connections.mapValues(\.serial)
            _ = current.removeAll { serials[$0.connection] != $0.serial }
            _ = later.removeAll { serials[$0.connection] != $0.serial }
        }
        return closed.queue.count
    }

    mutating func append(_ element: Element, bytes: Int, of connection: ConnectionID) -> Bool {
        guard connections[connection]?.queue.append(element, bytes: bytes) == true else { return false }
        count += 1
        self.bytes += bytes
        if let hasCredit = connections[connection]?.list(round: round), let serial = connections[connection]?.serial {
            let listed = Listed(connection: connection, serial: serial)
            if hasCredit { current.append(listed) } else { later.append(listed) }
        }
        return true
    }

    mutating func charge(_ cost: Int64, to connection: ConnectionID, mostDebt: Int64) {
        connections[connection]?.charge(cost, mostDebt: mostDebt, round: round)
    }

    /// Whether a connection owes more than one turn brings it.
    mutating func isInDebt(_ connection: ConnectionID) -> Bool {
        connections[connection]?.isInDebt(round: round) ?? false
    }

    /// Time of theirs, in nanoseconds, passes while nothing of any connection waits: it is worth so many turns.
    mutating func pass(_ nanoseconds: UInt64) {
        round += max(1, nanoseconds / UInt64(turn))
    }

    /// Takes a message of the connection whose turn it is: until its credit is used up, then of the next one.
    mutating func take() -> (connection: ConnectionID, removed: BoundedQueue<Element>.Removed)? {
        guard count > 0 else { return nil }
        while true {
            guard let head = current.first else {
                swap(&current, &later)
                round += 1
                continue
            }
            switch connections[head.connection]?.step(serial: head.serial, round: round) ?? .isGone {
            case .took(let removed, let bytes):
                count -= 1
                self.bytes -= bytes
                return (head.connection, removed)
            case .rests:
                current.removeFirst()
                later.append(head)
            case .isEmpty, .isGone:
                current.removeFirst()
            }
        }
    }
}
