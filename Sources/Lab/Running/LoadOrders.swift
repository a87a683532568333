import Workloads

/// What the lab tells the load generator of a run.
package struct LoadOrders: Sendable {
    /// How many of the cluster's clients send: those with the lowest numbers.
    package var clients: Int
    /// Requests that each of them keeps outstanding.
    package var window: Int
    /// Operations in each request.
    package var bundle: Int
    /// What they ask for.
    package var workload: Workload
    /// The seed of their choices.
    package var seed: UInt64
    /// How long the load is.
    package var seconds: Int

    /// Describes a load.
    package init(clients: Int, window: Int, bundle: Int, workload: Workload, seed: UInt64, seconds: Int) {
        self.clients = clients
        self.window = window
        self.bundle = bundle
        self.workload = workload
        self.seed = seed
        self.seconds = seconds
    }

    /// The same as options of `aardvark-lab load`.
    var arguments: [String] {
        [
            "--clients", "\(clients)", "--window", "\(window)", "--bundle", "\(bundle)",
            "--workload", workload.rawValue, "--seed", "\(seed)", "--seconds", "\(seconds)",
        ]
    }
}
