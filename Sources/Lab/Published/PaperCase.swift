import Adversary

/// A published case that the lab runs again: what has to be run for it.
package struct PaperCase: Hashable, Sendable {
    /// Its name on the command line, for example `faulty-client`.
    package let name: String
    /// The profiles, each with `pbft` and `aardvark`.
    package let profiles: [String]
    /// Protocols that run without an attack beside those two.
    package let ablations: [ProtocolVariant]

    /// All published cases, in the order in which they are run.
    package static let all: [PaperCase] =
        [
            PaperCase(PublishedResults.peak.name, [PublishedResults.peak.profile]),
            PaperCase(
                PublishedResults.ablation.name,
                [PublishedResults.ablation.profile],
                ablations: PublishedResults.ablation.figures.compactMap { ProtocolVariant(rawValue: $0.protocolName) }
                    .filter { $0 != .pbft && $0 != .aardvark }
            ),
        ]
        + PublishedResults.attacks.map { row in
            // What a changing load makes of throughput is known only from the same load without a fault.
            let isSpike = Profiles.named(row.profile)?.demand == .spike
            return PaperCase(row.name, isSpike ? ["spike-no-fault", row.profile] : [row.profile])
        }
        + [PaperCase("unfair primary", ["starve-client"])]

    private init(_ name: String, _ profiles: [String], ablations: [ProtocolVariant] = []) {
        self.name = name.replacing(" ", with: "-")
        self.profiles = profiles
        self.ablations = ablations
    }

    /// Has a plan run cases, each profile once.
    package static func plan(_ cases: [PaperCase], in plan: inout AttackPlan) {
        plan.protocols = [.pbft, .aardvark]
        plan.ablations = ProtocolVariant.allCases.filter { variant in cases.contains { $0.ablations.contains(variant) }
        }
        var names: [String] = []
        for name in cases.flatMap(\.profiles) where !names.contains(name) { names.append(name) }
        plan.profiles = names.compactMap { AttackProfiles.named($0) }
    }
}
