import Adversary
import Agreement
import Testing

@testable import Simulation

/// The same seed gives the same run, in this process and in others; and a run can be shrunk to the faults that matter.
struct DeterminismTests {
    @Test func `a seed gives the same run again, another seed another`() throws {
        let keys = try Runs.keys()
        for profile in ["random", "twin", "power-loss", "mutate"] {
            let first = try Runs.scenario(seed: 5, profile, keys: keys).run()
            let again = try Runs.scenario(seed: 5, profile, keys: keys).run()
            let other = try Runs.scenario(seed: 6, profile, keys: keys).run()
            #expect(first.digest == again.digest && first.statistics == again.statistics)
            #expect(first.digest != other.digest)
        }
    }

    @Test func `the trace changes nothing`() throws {
        let keys = try Runs.keys()
        let scenario = try Runs.scenario(seed: 7, "random", keys: keys)
        var lines: [String] = []
        let traced = scenario.run { lines.append($0) }
        #expect(traced.digest == scenario.run().digest)
        #expect(lines.count > 500)
        // Time, who, mark: fixed columns.
        for line in lines.prefix(500) {
            let columns = Array(line)
            #expect(columns.count > 18 && columns[10] == " " && columns[16] == " " && columns[18] == " ", "\(line)")
        }
    }

    @Test func `shrinking leaves only the faults that matter`() throws {
        let keys = try Runs.keys()
        let profile = Profile("crowd", .several, isOutOfModel: true, "two that matter among others") { setting in
            let noise: [NamedFault] = [
                NamedFault("c4 replay-old", .client(setting.clients[3], ReplayOld())),
                NamedFault("c3 sequence-skip", .client(setting.clients[2], SequenceSkip())),
            ]
            return noise + (Profiles.beyondTheModel.first?.faults(in: &setting) ?? []) + noise
        }
        let options = SimulationOptions(switches: .aardvark, steps: 1_000)
        let scenario = Scenario(seed: 1, profile: profile, keys: keys, options: options)
        let rule = try #require(scenario.run().violation?.rule)
        let shrunk = try #require(scenario.shrunk(breaking: rule))
        #expect(shrunk.places == [2, 3])
        #expect(shrunk.outcome.violation?.rule == rule)
    }
}

/// The program itself.
@Suite(.serialized)
struct CommandTests {
    @Test func `two processes agree on every digest`() throws {
        let command = "simulate --seeds 1..60 --steps 500 --digest --jobs 1"
        let first = try Program.run(command)
        let second = try Program.run(command)
        func digests(_ result: Program.Result) -> [String] {
            result.output.split(separator: "\n").map(String.init).filter {
                $0.contains("  ") && $0.first?.isNumber == true
            }
        }
        #expect(digests(first).count == 60)
        #expect(digests(first) == digests(second))
    }

    @Test func `a failing seed ends with its code and prints the command that runs it again`() throws {
        let found = try Program.run("simulate --seeds 3 --profiles out-of-model --steps 500")
        #expect(found.status == 3)
        let line = try #require(found.output.split(separator: "\n").first { $0.contains("aardvark-lab simulate") })
        let words = line.split(separator: " ").dropFirst().joined(separator: " ")
        let again = try Program.run(words + " --trace")
        #expect(again.status == 3)
        #expect(again.output.contains("one-history"))
        let shrunk = try Program.run(words + " --shrink")
        #expect(shrunk.status == 3)
        #expect(shrunk.output.contains("r0 equivocate-2-2"))
    }

    @Test func `wrong arguments are refused with a sentence`() throws {
        let wrong = [
            "simulate --seeds 9..3", "simulate --seeds x", "simulate --replicas 5", "simulate --clients 1",
            "simulate --profiles no-such", "simulate --protocol raft", "simulate --steps 1",
            "simulate --trace --seeds 1..2",
            "simulate --faults 1,x", "nonsense",
        ]
        for arguments in wrong {
            let result = try Program.run(arguments)
            #expect(result.status == 64, "\(arguments)")
            #expect(!result.errors.isEmpty && !result.errors.contains("Fatal error"), "\(arguments)")
        }
    }

    @Test func `the report is one JSON object`() throws {
        let result = try Program.run("simulate --seeds 1..4 --profiles none --steps 300 --json")
        #expect(result.status == 0)
        #expect(result.output.first == "{" && result.output.contains("\"operations\""))
    }

    @Test func `every profile is listed`() throws {
        let result = try Program.run("profiles")
        let lines = result.output.split(separator: "\n")
        for profile in Profiles.all { #expect(lines.contains { $0.hasPrefix(profile.name + " ") }) }
    }
}
