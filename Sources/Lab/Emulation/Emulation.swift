import Aardvark
import Foundation

/// Emulated machines: how a process is started on one, and how machines reach each other.
///
/// Each replica and each client machine is a network namespace. Every pair of replicas has a link of its own, and each replica has one
/// more link for all clients, so that a flood through one of them fills nobody else's; links have a rate. Each machine has a share of
/// the processors, kept by a control group, so that an attacker spends its own and not its victims' time. All addresses are of
/// 198.18.0.0/15, which RFC 2544 sets aside for tests of this kind, and no packet leaves the namespaces.
///
/// Where the host does not permit this, the machines are plain processes on the loopback interface, and ``record`` says so.
package struct Emulation: Sendable {
    /// What to emulate.
    package struct Plan: Hashable, Sendable {
        /// Whether to emulate at all.
        package enum Wish: Hashable, Sendable {
            /// Where the host permits it.
            case ifPossible
            /// Or fail.
            case always
            /// Plain processes.
            case never
        }

        /// Whether to emulate at all.
        package var wish: Wish
        /// n, at most 13.
        package var replicas: Int
        /// Machines of clients, correct or not, at most 100.
        package var clientMachines: Int
        /// Processors of this host that all machines together may use; the rest is left to the host.
        package var cores: Double
        /// The rate of each link, in megabits a second.
        package var linkMegabits = 1_000

        /// Describes machines.
        package init(wish: Wish, replicas: Int, clientMachines: Int, cores: Double) {
            self.wish = wish
            self.replicas = replicas
            self.clientMachines = clientMachines
            self.cores = cores
        }

        /// Each machine's share of one processor, in percent: all get the same.
        package var processorPercent: Int {
            max(1, Int(cores * 100) / max(1, replicas + clientMachines))
        }
    }

    /// A machine.
    package enum Machine: Hashable, Sendable {
        /// A replica's.
        case replica(Int)
        /// A client machine, from 0.
        case clients(Int)

        /// Its name within a run.
        var name: String {
            switch self {
            case .replica(let number): "r\(number)"
            case .clients(let number): "c\(number)"
            }
        }
    }

    /// A way from one machine to another; the way back is another one.
    struct Way: Hashable, Sendable {
        let from: Machine
        let to: Machine
    }

    let plan: Plan
    let names: EmulationNames
    private let host: EmulatedHost?

    /// How the machines are emulated, and what the host did not permit.
    package let record: AttackResults.EmulationRecord

    /// Makes machines.
    ///
    /// - Parameter plan: What to emulate.
    /// - Throws: Where machines are wanted always and the host does not permit them; nothing is left behind then.
    package init(_ plan: Plan) throws(OperatorError) {
        self.plan = plan
        names = EmulationNames.ofThisProcess
        guard plan.wish != .never else {
            host = nil
            record = Self.loopback(missing: [])
            return
        }
        do {
            let host = try EmulatedHost(plan, names: names)
            self.host = host
            record = AttackResults.EmulationRecord(
                kind: .namespaces,
                processorPercent: host.hasQuotas ? plan.processorPercent : nil,
                linkMegabits: host.hasRates ? plan.linkMegabits : nil,
                missing: host.missing
            )
        } catch {
            guard plan.wish == .ifPossible else { throw error }
            host = nil
            record = Self.loopback(missing: ["No machines were emulated: \(error.sentence)"])
        }
    }

    private static func loopback(missing: [String]) -> AttackResults.EmulationRecord {
        AttackResults.EmulationRecord(kind: .loopback, processorPercent: nil, linkMegabits: nil, missing: missing)
    }

    /// The words to put before a command so that it runs on a machine; the first is a program's full path. None on the loopback
    /// interface.
    package func prefix(for machine: Machine) -> [String] {
        host?.prefix(for: machine) ?? []
    }

    /// The address on which a replica listens for clients.
    package func clientHost(of replica: Int) -> String {
        host == nil ? "127.0.0.1" : EmulationNames.clientAddress(ofReplica: replica)
    }

    /// The address on which a replica listens for one peer.
    package func peerHost(of replica: Int, for peer: Int) -> String {
        host == nil ? "127.0.0.1" : EmulationNames.peerAddress(of: replica, towards: peer, replicas: plan.replicas)
    }

    /// Closes ways, which are open at first; nothing happens on the loopback interface.
    func close(_ ways: Set<Way>) throws(OperatorError) { try host?.set(ways, areOpen: false, plan) }

    /// Opens ways again that were closed.
    func open(_ ways: Set<Way>) throws(OperatorError) { try host?.set(ways, areOpen: true, plan) }

    /// Breaks all connections of a replica with others.
    ///
    /// - Returns: How many there were.
    func breakConnections(of replica: Int) throws(OperatorError) -> Int {
        try host?.breakConnections(of: replica) ?? 0
    }

    /// Ends what still runs on the machines, and removes everything that was made. What was removed already stays so. If this process
    /// ends without having called it, however it ends, a process that watches it does the same.
    package func remove() {
        host?.remove()
    }
}

/// The names and addresses of everything that the lab makes on a host.
struct EmulationNames: Hashable, Sendable {
    /// What every name begins with. Nothing whose name begins otherwise is ever touched.
    static let mark = "aardvark-lab-"

    /// The beginning of the names of one run: the mark and the number of the process that makes them.
    let prefix: String

    /// The names of what this process makes.
    static var ofThisProcess: EmulationNames { EmulationNames(process: ProcessInfo.processInfo.processIdentifier) }

    init(process: Int32) {
        prefix = "\(Self.mark)\(process)"
    }

    /// A machine's network namespace, and its control group below the run's.
    func namespace(of machine: Emulation.Machine) -> String { "\(prefix)-\(machine.name)" }

    /// The namespace that holds the switch between clients and replicas.
    var switchNamespace: String { "\(prefix)-switch" }

    /// The number of the process that made something with this name.
    ///
    /// - Returns: nil when the name is none of the lab's.
    static func process(of name: String) -> Int32? {
        guard name.hasPrefix(mark) else { return nil }
        let digits = name.dropFirst(mark.count).prefix { $0.isNumber }
        let rest = name.dropFirst(mark.count + digits.count)
        return rest.isEmpty || rest.first == "-" ? Int32(digits) : nil
    }

    /// The address of a replica on the clients' network, 198.18.0.0/24.
    static func clientAddress(ofReplica replica: Int) -> String { "198.18.0.\(replica + 1)" }

    /// The address of a client machine on the clients' network.
    static func address(ofClientMachine number: Int) -> String { "198.18.0.\(number + 101)" }

    /// What all links between replicas are parts of.
    static let peerNetwork = "198.19.0.0/16"

    /// The address of a replica on its link with a peer: each link is a network of its own, 198.19.x.0/30.
    static func peerAddress(of replica: Int, towards peer: Int, replicas: Int) -> String {
        let (low, high) = (min(replica, peer), max(replica, peer))
        let link = (0..<low).reduce(0) { $0 + replicas - 1 - $1 } + high - low - 1
        return "198.19.\(link).\(replica == low ? 1 : 2)"
    }
}
