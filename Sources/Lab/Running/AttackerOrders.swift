import Adversary
import Messages

/// What an attacking process has to know of its run, beside the cluster and who it is: from it each makes the same faults.
package struct AttackerOrders: Sendable {
    /// The profile.
    package let profile: Profile
    /// The seed of the profile's choices.
    package let seed: UInt64
    /// How many correct clients there are, numbered from 0.
    package let correctClients: Int
    /// How many faulty clients there are after them, if the profile has any.
    package let faultyClients: Int
    /// The file for its report.
    package let report: String

    /// Describes orders.
    package init(profile: Profile, seed: UInt64, correctClients: Int, faultyClients: Int, report: String) {
        self.profile = profile
        self.seed = seed
        self.correctClients = correctClients
        self.faultyClients = faultyClients
        self.report = report
    }

    /// The faults of the run.
    func faults(in size: ClusterSize) -> [NamedFault] {
        AttackProfiles.faults(of: profile, in: size, clients: (correctClients, faultyClients), seed: seed)
    }

    /// The same as command line arguments.
    var arguments: [String] {
        [
            "--profile", profile.name, "--seed", "\(seed)", "--correct-clients", "\(correctClients)",
            "--faulty-clients", "\(faultyClients)", "--report", report,
        ]
    }

    /// The same orders with another file for the report.
    func reporting(to path: String) -> AttackerOrders {
        AttackerOrders(
            profile: profile,
            seed: seed,
            correctClients: correctClients,
            faultyClients: faultyClients,
            report: path
        )
    }
}
