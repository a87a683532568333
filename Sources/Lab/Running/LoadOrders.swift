import Workloads

/// What the load generator of a run is told when it is started.
package struct LoadOrders: Sendable {
    /// How many of the cluster's clients may send: those with the lowest numbers.
    package var clients: Int
    /// How many others check linearizability beside them: those with the highest numbers.
    package var historians: Int
    /// Requests that each of them keeps outstanding.
    package var window: Int
    /// Operations in each request.
    package var bundle: Int
    /// What they ask for.
    package var workload: Workload
    /// The seed of their choices.
    package var seed: UInt64

    /// Describes a load.
    package init(clients: Int, historians: Int, window: Int, bundle: Int, workload: Workload, seed: UInt64) {
        self.clients = clients
        self.historians = historians
        self.window = window
        self.bundle = bundle
        self.workload = workload
        self.seed = seed
    }

    /// The same as options of `aardvark-lab load`.
    var arguments: [String] {
        [
            "--clients", "\(clients)", "--historians", "\(historians)", "--window", "\(window)",
            "--bundle", "\(bundle)", "--workload", workload.rawValue, "--seed", "\(seed)",
        ]
    }
}

/// What the load generator of a run is told later: a line each on its standard input.
enum LoadOrder: Equatable {
    /// So many clients send from now on.
    case clients(Int)
    /// Whether those who check linearizability do so in a crowd from now on, all on one counter.
    case contend(Bool)
    /// The load is over.
    case end
    /// What was written is to be read back.
    case audit

    init?(line: Substring) {
        switch line {
        case "end": self = .end
        case "audit": self = .audit
        case "contend": self = .contend(true)
        case "yield": self = .contend(false)
        default:
            guard line.hasPrefix("clients "), let count = Int(line.dropFirst(8)) else { return nil }
            self = .clients(count)
        }
    }

    var line: String {
        switch self {
        case .contend(let isOn): isOn ? "contend" : "yield"
        case .clients(let count): "clients \(count)"
        case .end: "end"
        case .audit: "audit"
        }
    }
}
