#if DEBUG
    import Adversary
    import Foundation
    import Messages
    import Testing

    @testable import Agreement
    @testable import Simulation
    @testable import StateStore

    /// A bug planted in the engine, and where it shows.
    struct Mutant: CustomTestStringConvertible, Sendable {
        let mutation: Mutation
        /// What the mutated engine does.
        let summary: String
        let profile: String
        var switches = ProtocolSwitches.aardvark
        var replicas = 4
        let steps: Int
        /// The first seed, counted from 1, that showed it when this was written: so many seeds it took.
        let seed: UInt64
        /// The rule that must be found broken.
        let rule: Violation.Rule

        var testDescription: String { summary }

        /// Within so many seeds it has to show, however engine and simulator change.
        var mostSeeds: UInt64 { max(20, 4 * seed) }

        func run(_ seed: UInt64, isMutated: Bool) throws -> Violation? {
            let scenario = try Runs.scenario(
                seed: seed,
                profile,
                keys: try Runs.keys(replicas: replicas, switches),
                switches: switches,
                steps: steps
            ) { options in
                guard isMutated else { return }
                let planted = mutation
                options.configure = { $0.mutations.planted = planted }
                options.configureClient = { $0.mutations.planted = planted }
            }
            return scenario.run().violation
        }

        /// The first seed that shows it. The known one comes first, which spares the search as long as it holds; a search that
        /// `MUTANT_SEEDS` asks for goes through so many seeds from the first on.
        func firstSeed() throws -> (seed: UInt64, violation: Violation)? {
            let asked = ProcessInfo.processInfo.environment["MUTANT_SEEDS"].flatMap(UInt64.init)
            let seeds = asked.map { Array(1...max($0, 1)) } ?? [seed] + Array(1...mostSeeds)
            for seed in seeds {
                if let violation = try run(seed, isMutated: true), violation.rule == rule { return (seed, violation) }
            }
            return nil
        }
    }

    /// Engines that are wrong in one place each, under the faults that this place is for. The oracles must catch every one of them within
    /// a stated number of seeds, or they are none; and the same seeds must pass where nothing is wrong, or they prove nothing.
    ///
    /// `MUTANT_SEEDS=300 swift test --filter MutantTests` prints how many seeds each takes now.
    struct MutantTests {
        @Test(arguments: mutants)
        func `a mutant is caught, and the engine without it passes the same seed`(mutant: Mutant) throws {
            let found = try mutant.firstSeed()
            let (seed, violation) = try #require(found, "\(mutant.summary): lives after \(mutant.mostSeeds) seeds")
            print(
                "mutant \(mutant.mutation): seed \(seed) of \(mutant.profile), \(violation.rule.rawValue): \(violation.sentence)"
            )
            let clean = try mutant.run(seed, isMutated: false)
            #expect(clean == nil, "\(clean?.sentence ?? "")")
        }

        @Test func `every mutation is tried`() {
            #expect(Set(Self.mutants.map(\.mutation)) == Set(Mutation.allCases))
        }

        @Test func `parts of a state that nobody verified do not get into the store`() async {
            let result = await #expect(
                processExitsWith: .failure,
                observing: [\.standardErrorContent],
                "no seed led a replica to unverified parts"
            ) {
                let keys = try Runs.keys()
                for seed: UInt64 in 1...40 {
                    let change: (inout SimulationOptions) -> Void = { $0.transferLimits.trustsSources = true }
                    _ = try Runs.scenario(seed: seed, "bad-state-transfer", keys: keys, steps: 4_000, change).run()
                }
            }
            let complaint = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
            #expect(complaint.contains("installed state has another root than the certified one"))
        }
    }
#endif
