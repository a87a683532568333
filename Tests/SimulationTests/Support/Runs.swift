import Adversary
import Agreement
import Messages

@testable import Simulation

/// Runs of a small cluster for tests.
enum Runs {
    static func keys(replicas: Int = 4, clients: Int = 4, _ switches: ProtocolSwitches = .aardvark) throws -> KeyRing {
        guard let size = ClusterSize(replicas: replicas) else { throw NoSuchCluster() }
        return KeyRing(size: size, clients: clients, scheme: switches.requestAuthentication)
    }

    static func scenario(
        seed: UInt64,
        _ profile: String,
        keys: KeyRing,
        switches: ProtocolSwitches = .aardvark,
        steps: Int = 2_000,
        _ change: (inout SimulationOptions) -> Void = { _ in }
    ) throws -> Scenario {
        guard let profile = Profiles.named(profile) else { throw NoSuchProfile() }
        var options = SimulationOptions(switches: switches, steps: steps)
        change(&options)
        return Scenario(seed: seed, profile: profile, keys: keys, options: options)
    }

    struct NoSuchCluster: Error {}
    struct NoSuchProfile: Error {}
}
