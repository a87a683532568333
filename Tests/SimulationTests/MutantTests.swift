import Adversary
import Agreement
import Cryptography
import Messages
import Testing

@testable import Simulation

/// Replicas that are wrong in one place each. The oracles must catch every one of them within a stated number of seeds, or they are none.
struct MutantTests {
    /// One wrong thing, and where it shows.
    struct Mutant: CustomTestStringConvertible, Sendable {
        let name: String
        /// Profiles under which it shows, in turn.
        let profiles: [String]
        /// Seeds within which it must be caught.
        let seeds: Int
        /// The rules of which one must be broken.
        let rules: Set<Violation.Rule>
        let change: @Sendable (inout SimulationOptions) -> Void

        var testDescription: String { name }
    }

    static func sabotage(_ effects: @escaping @Sendable (Effect, ReplicaID) -> [Effect])
        -> @Sendable (
            inout SimulationOptions
        ) -> Void
    {
        { $0.sabotage = effects }
    }

    /// A replica that starts again without the records for which `isForgotten` holds.
    static func forgetting(_ isForgotten: @escaping @Sendable (LogRecord) -> Bool)
        -> @Sendable (
            inout SimulationOptions
        ) -> Void
    {
        { options in
            options.recoverEngine = { configuration, signer, recovery in
                let log = recovery.log.map { record -> LogRecord in
                    // Positions count records, so something harmless takes the place.
                    isForgotten(record) ? .stable(.zero, certificate: []) : record
                }
                let changed = Recovery(executed: recovery.executed, records: recovery.records, log: log)
                return Replica(configuration: configuration, signer: signer, recovering: changed)
            }
        }
    }

    static let mutants: [Mutant] = [
        Mutant(
            name: "votes leave before their records are durable",
            profiles: ["none"],
            seeds: 8,
            rules: [.durableFirst],
            change: sabotage { effect, _ in
                guard case .send(let message, let recipient, after: _) = effect else { return [effect] }
                return [.send(message, to: recipient, after: .start)]
            }
        ),
        Mutant(
            name: "a restart forgets what was pre-prepared",
            profiles: ["power-loss"],
            seeds: 40,
            rules: [.noContradiction, .durableFirst, .oneHistory],
            change: forgetting { if case .prePrepared = $0 { true } else { false } }
        ),
        Mutant(
            name: "a restart forgets its VIEW-CHANGE",
            profiles: ["restart-in-view-change"],
            seeds: 200,
            rules: [.noContradiction],
            change: forgetting { if case .viewChange = $0 { true } else { false } }
        ),
        Mutant(
            name: "a restart forgets the reply cache and the sessions",
            profiles: ["power-loss"],
            seeds: 40,
            rules: [.oneHistory, .sameState, .exactlyOnce],
            change: { options in
                options.recoverEngine = { configuration, signer, recovery in
                    let changed = Recovery(executed: recovery.executed, records: [], log: recovery.log)
                    return Replica(configuration: configuration, signer: signer, recovering: changed)
                }
            }
        ),
        Mutant(
            name: "the reply cache is not part of the state",
            profiles: ["partition", "lossy"],
            seeds: 60,
            rules: [.oneHistory, .sameState, .exactlyOnce],
            change: sabotage { effect, _ in
                guard case .record(let records) = effect else { return [effect] }
                let kept = records.filter { !String(decoding: $0.key, as: UTF8.self).hasPrefix("client/") }
                return [.record(kept)]
            }
        ),
    ]

    /// How many seeds it takes to catch a mutant; nil when that many do not suffice.
    static func seedsToCatch(_ mutant: Mutant) throws -> (seeds: Int, rule: Violation.Rule)? {
        let keys = try Runs.keys()
        for seed in 1...mutant.seeds {
            let profile = mutant.profiles[seed % mutant.profiles.count]
            let scenario = try Runs.scenario(seed: UInt64(seed), profile, keys: keys, steps: 4_000, mutant.change)
            if let rule = scenario.run().violation?.rule, mutant.rules.contains(rule) { return (seed, rule) }
        }
        return nil
    }

    @Test(arguments: mutants)
    func `a mutant is caught`(mutant: Mutant) throws {
        let caught = try Self.seedsToCatch(mutant)
        #expect(caught != nil, "\(mutant.name) lives after \(mutant.seeds) seeds")
        if let caught { print("mutant caught after \(caught.seeds) seeds by \(caught.rule.rawValue): \(mutant.name)") }
    }
}
