import Aardvark
import Adversary
import Messages

/// What the network between the machines of a run does during an attack: ways are closed and opened again, and connections break.
final class NetworkCuts {
    /// For how many seconds a primary is isolated at least: less no request timer notices, and many a profile is about what follows.
    private static let leastIsolation = 3

    private let faults: [(kind: NetworkFault.Kind, seconds: Range<Int>)]
    private let size: ClusterSize
    private let machines: Emulation
    private var closed: Set<Emulation.Way> = []
    private var lastPrimary = 0
    /// How many ways were closed, and how many connections were broken.
    private(set) var actions: UInt64 = 0

    /// Prepares what the network does in a run.
    ///
    /// - Parameters:
    ///   - faults: The run's faults; those of other kinds are left out.
    ///   - seconds: How long the attack is.
    ///   - size: The cluster.
    ///   - machines: Where it is.
    /// - Returns: nil where the network does nothing.
    init?(_ faults: [NamedFault], seconds: Int, size: ClusterSize, machines: Emulation) {
        self.faults = faults.compactMap { named in
            guard case .network(let fault) = named.fault, AttackProfiles.isCut(fault.kind) else { return nil }
            let least = if case .isolatePrimary = fault.kind { Self.leastIsolation } else { 1 }
            let (start, end) = (fault.start, fault.end)
            return (fault.kind, AttackProfiles.seconds(from: start, to: end, ofAttack: seconds, atLeast: least))
        }
        self.size = size
        self.machines = machines
        guard !self.faults.isEmpty else { return nil }
    }

    /// Does what a second of the attack begins with; with the first one after the attack all ways are open.
    ///
    /// - Parameters:
    ///   - second: The second, from 0 at the attack's beginning.
    ///   - primary: Who leads, as far as that is known.
    /// - Returns: What has happened, for people.
    func begin(_ second: Int, primary: Int?) throws(OperatorError) -> [String] {
        lastPrimary = primary ?? lastPrimary
        var wanted: Set<Emulation.Way> = []
        var events: [String] = []
        for (kind, seconds) in faults where seconds.contains(second) {
            if case .disconnect(let replicas) = kind, second == seconds.lowerBound {
                var count = 0
                for replica in replicas { count += try machines.breakConnections(of: replica.index) }
                actions += UInt64(count)
                events.append("\(count) connections between replicas break")
            }
            guard let cut = Self.cut(kind, in: size, primary: lastPrimary) else { continue }
            wanted.formUnion(cut.ways)
            if !cut.ways.isSubset(of: closed) { events.append(cut.text) }
        }
        if wanted.isEmpty, !closed.isEmpty { events.append("all ways are open again") }
        try change(to: wanted)
        return events
    }

    /// Opens all ways.
    func end() throws(OperatorError) { try change(to: []) }

    private func change(to wanted: Set<Emulation.Way>) throws(OperatorError) {
        let (opened, added) = (closed.subtracting(wanted), wanted.subtracting(closed))
        try machines.open(opened)
        closed.subtract(opened)
        try machines.close(added)
        closed.formUnion(added)
        actions += UInt64(added.count)
    }

    /// Which ways something closes, and how people say that; nil where it closes none.
    static func cut(
        _ kind: NetworkFault.Kind,
        in size: ClusterSize,
        primary: Int
    ) -> (ways: Set<Emulation.Way>, text: String)? {
        let all = size.members.map(\.index)
        switch kind {
        case .divide(let side):
            let inside = side.map(\.index)
            let outside = all.filter { !inside.contains($0) }
            let names = inside.map { "replica \($0)" }.joined(separator: ", ")
            return (
                between(inside.map { .replica($0) }, outside.map { .replica($0) }),
                "nothing passes between \(names) and the others"
            )
        case .isolatePrimary:
            let others = all.filter { $0 != primary }.map { Emulation.Machine.replica($0) }
            return (
                between([.replica(primary)], others + [.clients(0)]),
                "nothing passes between replica \(primary), which leads, and everybody else"
            )
        case .cut(let from, let to):
            return (
                [Emulation.Way(from: .replica(from.index), to: .replica(to.index))],
                "no packet of replica \(from.index) reaches replica \(to.index)"
            )
        case .clients:
            return (between([.clients(0)], all.map { .replica($0) }), "nothing passes between clients and replicas")
        case .lossy, .disconnect, .slow: return nil
        }
    }

    private static func between(_ some: [Emulation.Machine], _ others: [Emulation.Machine]) -> Set<Emulation.Way> {
        Set(
            some.flatMap { one in
                others.flatMap { [Emulation.Way(from: one, to: $0), Emulation.Way(from: $0, to: one)] }
            }
        )
    }
}
