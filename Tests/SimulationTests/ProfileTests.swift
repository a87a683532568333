import Adversary
import Agreement
import Messages
import Testing

@testable import Simulation

/// A few seeds of every profile, under both protocols and in clusters of three sizes. Many more run through `aardvark-lab simulate`.
struct ProfileTests {
    struct Case: CustomTestStringConvertible, Sendable {
        let profile: String
        let isSigned: Bool

        var switches: ProtocolSwitches { isSigned ? .aardvark : .pbft }
        var testDescription: String { "\(profile), \(isSigned ? "aardvark" : "pbft")" }
    }

    private static let cases = Profiles.all.flatMap { profile in
        [Case(profile: profile.name, isSigned: true), Case(profile: profile.name, isSigned: false)]
    }

    @Test(arguments: cases)
    func `no rule is broken`(example: Case) throws {
        let keys = try Runs.keys(example.switches)
        for seed: UInt64 in 1...2 {
            let scenario = try Runs.scenario(
                seed: seed,
                example.profile,
                keys: keys,
                switches: example.switches,
                steps: 3_000
            )
            let violation = scenario.run().violation
            #expect(violation == nil, "seed \(seed): \(violation?.sentence ?? "")")
        }
    }

    @Test(arguments: [ProtocolSwitches.RequestAuthentication.signature, .macVector])
    func `no rule is broken where only the requests' authentication is the other protocol's`(
        authentication: ProtocolSwitches.RequestAuthentication
    ) throws {
        var switches = authentication == .signature ? ProtocolSwitches.pbft : .aardvark
        switches.requestAuthentication = authentication
        let keys = try Runs.keys(switches)
        for profile in ["random", "forward-bad-requests", "silent"] {
            for seed: UInt64 in 1...2 {
                let outcome = try Runs.scenario(seed: seed, profile, keys: keys, switches: switches, steps: 1_500).run()
                #expect(outcome.violation == nil, "\(profile) \(seed): \(outcome.violation?.sentence ?? "")")
                #expect(outcome.statistics.operations > 0)
            }
        }
    }

    @Test(arguments: ["forward-bad-requests", "two-requests-one-number"])
    func `faulty forwarders and clients leave evidence, and only where requests are signed`(profile: String) throws {
        for switches in [ProtocolSwitches.aardvark, .pbft] {
            let keys = try Runs.keys(switches)
            var total = Statistics()
            for seed: UInt64 in 1...4 {
                // The rule of right blame says that it accuses nobody else.
                let outcome = try Runs.scenario(seed: seed, profile, keys: keys, switches: switches).run()
                #expect(outcome.violation == nil, "seed \(seed): \(outcome.violation?.sentence ?? "")")
                total.add(outcome.statistics)
            }
            #expect((total.evidence > 0) == (switches == .aardvark))
        }
    }

    @Test(arguments: [7, 10])
    func `no rule is broken in larger clusters`(replicas: Int) throws {
        let keys = try Runs.keys(replicas: replicas)
        for seed: UInt64 in 1...3 {
            let violation = try Runs.scenario(seed: seed, "random", keys: keys, steps: 1_500).run().violation
            #expect(violation == nil, "seed \(seed): \(violation?.sentence ?? "")")
        }
    }

    @Test func `an undisturbed cluster answers, takes checkpoints and stays in its view`() throws {
        let keys = try Runs.keys()
        var total = Statistics()
        for seed: UInt64 in 1...6 {
            let outcome = try Runs.scenario(seed: seed, "none", keys: keys).run()
            #expect(outcome.violation == nil && outcome.statistics.operations > 0)
            total.add(outcome.statistics)
        }
        #expect(total.checkpoints > 0 && total.views == 0 && total.accusations == 0)
    }

    @Test func `a silent primary is replaced, and replicas that lost power come back`() throws {
        let keys = try Runs.keys()
        var silent = Statistics()
        var powerless = Statistics()
        for seed: UInt64 in 1...4 {
            silent.add(try Runs.scenario(seed: seed, "silent", keys: keys).run().statistics)
            powerless.add(try Runs.scenario(seed: seed, "power-loss", keys: keys).run().statistics)
        }
        #expect(silent.views > 0 && silent.operations > 0)
        #expect(powerless.operations > 0)
    }
}
