import Adversary
import Agreement
import Messages
import Testing

@testable import Simulation

/// Seeds that once found something wrong, in the engine or in the simulator itself.
///
/// A seed is worth something as long as it draws the same scenario: whoever changes what profiles or conditions draw leaves these as seeds
/// like any other. So a bug of the engine is planted again as a mutant as well (``MutantTests``), which looks for a seed that shows it
/// when the known one does not any more; this list is for what no mutant stands for, and costs little to keep.
struct RegressionTests {
    struct Found: CustomTestStringConvertible, Sendable {
        let seed: UInt64
        let profile: String
        var isSigned = true
        var replicas = 4
        var clients = 4
        var steps = 20_000
        /// What it found.
        let what: String

        var testDescription: String { "\(profile), seed \(seed), \(isSigned ? "aardvark" : "pbft"): \(what)" }
    }

    private static let found = [
        Found(
            seed: 39,
            profile: "none",
            clients: 8,
            steps: 10_000,
            what: "the oracle of reads asked for a record that came after the execution"
        ),
        Found(
            seed: 36,
            profile: "crash",
            isSigned: false,
            clients: 28,
            steps: 2_000,
            what: "the same, of a batch that was executed on others' COMMITs"
        ),
        Found(
            seed: 39,
            profile: "stale-reads",
            clients: 3,
            what: "a replica that lacked most of the log asked for it more and more rarely, although it was answered"
        ),
        Found(
            seed: 634_129_263_202,
            profile: "lost-store",
            clients: 7,
            what: "a replica that had lost its store asked once for the VIEW-CHANGEs that it lacked"
        ),
        Found(
            seed: 2_094,
            profile: "usurper",
            replicas: 10,
            clients: 8,
            steps: 4_500,
            what: "faulty backups answered each other for ever"
        ),
    ]

    @Test(arguments: found)
    func `what a seed found is not found again`(found: Found) throws {
        let switches: ProtocolSwitches = found.isSigned ? .aardvark : .pbft
        let keys = try Runs.keys(replicas: found.replicas, clients: found.clients, switches)
        let scenario = try Runs.scenario(
            seed: found.seed,
            found.profile,
            keys: keys,
            switches: switches,
            steps: found.steps
        )
        let violation = scenario.run().violation
        #expect(violation == nil, "\(violation?.sentence ?? "")")
    }
}
