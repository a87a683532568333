import Adversary
import Messages

/// How long messages take.
struct DelayDistribution: Sendable {
    /// The least and the most that an ordinary message takes, in nanoseconds.
    var range: ClosedRange<UInt64>
    /// How many of a thousand take longer.
    var tailPerMille: Int
    /// By how much at the most, in nanoseconds.
    var tail: UInt64

    func draw(_ random: inout RandomStream) -> UInt64 {
        let base = random.within(range)
        return random.chance(perMille: tailPerMille) ? base + random.below(tail) : base
    }
}

/// The links between all nodes, and what is wrong with them at the moment.
struct Network {
    private struct Link {
        var isUp = true
        /// Grows when the connection breaks: what was sent before does not arrive.
        var epoch: UInt32 = 0
        /// When the last message arrives: a connection keeps its order.
        var last: UInt64 = 0
    }

    /// When copies of a message arrive; both nil when it is lost.
    struct Delivery {
        var first: UInt64?
        var second: UInt64?
        var epoch: UInt32 = 0
    }

    private let nodes: Int
    /// The replica at each node; nil for clients.
    private let replicas: [ReplicaID?]
    private let isOrdered: Bool
    private let delay: DelayDistribution
    private var links: [Link]
    private var active: [NetworkFault] = []
    private var random: RandomStream

    init(replicas: [ReplicaID?], conditions: Scenario.Conditions, random: RandomStream) {
        nodes = replicas.count
        self.replicas = replicas
        isOrdered = conditions.isOrdered
        delay = conditions.delay
        links = Array(repeating: Link(), count: nodes * nodes)
        self.random = random
    }

    private func place(_ from: Int, _ to: Int) -> Int { from * nodes + to }

    // MARK: Faults

    mutating func start(_ fault: NetworkFault) {
        active.append(fault)
    }

    mutating func end(_ fault: NetworkFault) {
        active.removeAll { $0.start == fault.start && $0.end == fault.end }
    }

    /// The links that a fault breaks for its time.
    func linksBroken(by fault: NetworkFault) -> [(from: Int, to: Int)] {
        guard case .disconnect(let side) = fault.kind else { return [] }
        return pairs { from, to in side.contains(from) || side.contains(to) }
    }

    private func pairs(_ isMeant: (ReplicaID, ReplicaID) -> Bool) -> [(from: Int, to: Int)] {
        var found: [(from: Int, to: Int)] = []
        for from in 0..<nodes {
            for to in 0..<nodes where from != to {
                if let first = replicas[from], let second = replicas[to], first != second, isMeant(first, second) {
                    found.append((from, to))
                }
            }
        }
        return found
    }

    mutating func disconnect(_ from: Int, _ to: Int) {
        links[place(from, to)].isUp = false
        links[place(from, to)].epoch += 1
    }

    mutating func connect(_ from: Int, _ to: Int) {
        links[place(from, to)].isUp = true
    }

    /// Breaks every link of a node: what is on its way is lost.
    mutating func disconnectAll(of node: Int) {
        for other in 0..<nodes where other != node {
            disconnect(node, other)
            disconnect(other, node)
        }
    }

    mutating func connectAll(of node: Int) {
        for other in 0..<nodes where other != node {
            connect(node, other)
            connect(other, node)
        }
    }

    func carries(_ from: Int, _ to: Int, epoch: UInt32) -> Bool {
        links[place(from, to)].isUp && links[place(from, to)].epoch == epoch
    }

    // MARK: Messages

    mutating func send(from: Int, to: Int, at now: UInt64, primary: ReplicaID) -> Delivery {
        let place = place(from, to)
        guard links[place].isUp else { return Delivery() }
        var delivery = Delivery(first: now + delay.draw(&random), second: nil, epoch: links[place].epoch)
        var isReordered = false
        for fault in active {
            if blocks(fault, from, to, primary) {
                if fault.isLossy { return Delivery() }
                delivery.first = delivery.first.map { $0 + (fault.end - min(fault.end, now)) }
            }
            switch fault.kind {
            case .slow(let most):
                delivery.first = delivery.first.map { $0 + random.below(most) }
            case .lossy(let loss, let duplication, let reordering):
                if random.chance(perMille: loss) { return Delivery() }
                if random.chance(perMille: duplication) { delivery.second = now + 4 * delay.draw(&random) }
                if random.chance(perMille: reordering) {
                    isReordered = true
                    delivery.first = delivery.first.map { $0 + random.below(20 * delay.range.upperBound) }
                }
            case .divide, .isolatePrimary, .cut, .clients, .disconnect:
                break
            }
        }
        if isOrdered, !isReordered, let first = delivery.first {
            let inOrder = max(first, links[place].last + 1)
            links[place].last = inOrder
            delivery.first = inOrder
        }
        return delivery
    }

    private func blocks(_ fault: NetworkFault, _ from: Int, _ to: Int, _ primary: ReplicaID) -> Bool {
        switch fault.kind {
        case .divide(let side):
            guard let first = replicas[from], let second = replicas[to] else { return false }
            return side.contains(first) != side.contains(second)
        case .isolatePrimary:
            return replicas[from] == primary || replicas[to] == primary
        case .cut(let first, let second):
            return replicas[from] == first && replicas[to] == second
        case .clients:
            return replicas[from] == nil || replicas[to] == nil
        case .lossy, .disconnect, .slow:
            return false
        }
    }
}
