import Aardvark
import Testing

@testable import Lab

@Suite
struct AttackSummaryTests {
    typealias Course = MadeUpResults.Course

    private func only(_ runs: [AttackResults.Run]) throws -> AttackSummary.Case {
        let cases = AttackSummary(of: runs, faults: 1).cases
        try #require(cases.count == 1)
        return cases[0]
    }

    /// A run whose throughput has no noise: 1,000 a second, and these shares of it under attack.
    private func flat(_ course: Course) -> AttackResults.Run {
        var run = MadeUpResults.run(course)
        for index in run.samples.indices {
            let since = index - MadeUpResults.warmup - MadeUpResults.faultFree
            let share =
                since < 0
                ? 1
                : since < MadeUpResults.attack
                    ? course.attack[min(since, course.attack.count - 1)]
                    : course.after[min(since - MadeUpResults.attack, course.after.count - 1)]
            run.samples[index].operations = UInt64(1_000 * share)
        }
        run.phases = MadeUpResults.phases(run.samples)
        return run
    }

    @Test func `a spread is the median, the smallest and the largest`() throws {
        #expect(AttackSummary.Spread([]) == nil)
        let odd = try #require(AttackSummary.Spread([3, 1, 2]))
        #expect([odd.median, odd.min, odd.max] == [2, 1, 3])
        let even = try #require(AttackSummary.Spread([4, 1, 3, 2]))
        #expect([even.median, even.min, even.max] == [2.5, 1, 4])
        #expect(even.count == 4)
    }

    @Test func `each run is held against its own fault-free phase`() throws {
        let half = flat(Course(protocolName: "pbft", profile: "delay", repetition: 1, attack: [0.5]))
        let tenth = flat(Course(protocolName: "pbft", profile: "delay", repetition: 2, attack: [0.1]))
        var fast = flat(Course(protocolName: "pbft", profile: "delay", repetition: 3, attack: [0.2]))
        for index in fast.phases.indices { fast.phases[index].operations *= 3 }
        let result = try only([half, tenth, fast])
        #expect(result.completedRuns == 3)
        #expect(result.ratio?.median == 0.2)
        #expect(result.ratio?.min == 0.1)
        #expect(result.ratio?.max == 0.5)
        #expect(result.faultFree?.max == 3_000)
    }

    @Test func `a run that failed is named and in no figure`() throws {
        var failed = flat(Course(protocolName: "pbft", profile: "delay", repetition: 2, attack: [0]))
        failed.failure = "replica 2 did not start"
        let result = try only([flat(Course(protocolName: "pbft", profile: "delay", attack: [0.5])), failed])
        #expect(result.completedRuns == 1)
        #expect(result.ratio?.median == 0.5)
        #expect(result.failures == ["repetition 2: replica 2 did not start"])
        #expect(!result.passed)
    }

    @Test func `the worst second and the way back to 90 percent`() throws {
        let run = flat(
            Course(
                protocolName: "aardvark",
                profile: "flood",
                attack: [0.2, 0.1, 0.95, 0.3, 0.92, 0.97, 0.9],
                after: [0.5, 1]
            )
        )
        let result = try only([run])
        #expect(result.worstSecond?.median == 100)
        // Not at the third second of the attack, after which it falls once more.
        #expect(result.recoverySeconds?.median == 4)
        #expect(result.recoveryAfterSeconds?.median == 1)

        let lost = try only([flat(Course(protocolName: "pbft", profile: "flood", attack: [0.1], after: [0.1]))])
        #expect(lost.recoverySeconds == nil)
        #expect(lost.recoveryAfterSeconds == nil)
        let untouched = try only([flat(Course(protocolName: "pbft", profile: "crash"))])
        #expect(untouched.recoverySeconds?.median == 0)
    }

    @Test func `a faulty primary is evicted when a correct one leads`() throws {
        let course = Course(protocolName: "aardvark", profile: "delay", primaryChangesAfter: 2, faultyReplicas: [0])
        #expect(try only([flat(course)]).evictionSeconds?.median == 4)

        var kept = course
        kept.primaryChangesAfter = nil
        #expect(try only([flat(kept)]).evictionSeconds == nil)

        // A correct primary that gives way evicts nobody.
        var backup = course
        backup.faultyReplicas = [3]
        #expect(try only([flat(backup)]).evictionSeconds == nil)
    }

    @Test func `a faulty peer or client is evicted when f + 1 correct replicas shut it out`() throws {
        let flooding = Course(protocolName: "aardvark", profile: "flood", faultyReplicas: [3], cutOffAfter: 0)
        #expect(try only([flat(flooding)]).evictionSeconds?.median == 2)
        let client = Course(protocolName: "aardvark", profile: "big-mac", faultyClients: [9], cutOffAfter: 1)
        var run = flat(client)
        #expect(try only([run]).evictionSeconds?.median == 3)
        for second in run.samples.indices {
            for replica in 1..<4 { run.samples[second].replicas[replica].blacklistedClients = [] }
        }
        #expect(try only([run]).evictionSeconds == nil, "one replica alone is not enough")
    }

    @Test func `correct parties that are shut out are counted against the protocol`() throws {
        var run = flat(Course(protocolName: "aardvark", profile: "flood", faultyReplicas: [3], cutOffAfter: 0))
        #expect(try only([run]).wronglyPunished.isEmpty)
        #expect(try only([run]).passed)
        run.samples[12].replicas[1].cutOffPeers = [2, 3]
        run.samples[13].replicas[1].cutOffPeers = [2, 3]
        run.samples[13].replicas[2].blacklistedClients = [4]
        // What a faulty replica says of others does not count.
        run.samples[13].replicas[3].blacklistedClients = [1]
        let result = try only([run])
        #expect(
            result.wronglyPunished == ["replica 2 at replica 1, repetition 1", "client 4 at replica 2, repetition 1"]
        )
        #expect(!result.passed)
    }

    @Test func `beyond the model an oracle has to find something`() throws {
        var run = flat(Course(protocolName: "pbft", profile: "out-of-model", faultyReplicas: [0, 1]))
        run.isOutOfModel = true
        #expect(try !only([run]).passed)
        run.verdicts[0] = AttackResults.Verdict(oracle: "one history", held: false, detail: "two batches at 7")
        let result = try only([run])
        #expect(result.passed)
        #expect(result.violations == ["repetition 1: one history: two batches at 7"])
        run.isOutOfModel = false
        #expect(try !only([run]).passed)
    }

    @Test func `a starved client against the others`() throws {
        let result = try only([flat(Course(protocolName: "pbft", profile: "starve-client", faultyReplicas: [0]))])
        let seconds = Double(MadeUpResults.attack)
        #expect(result.starvedClient?.median == 2_000 / seconds)
        #expect(result.otherClients?.median == 24_000 / seconds)
    }

    @Test func `under a changing load the share is of the same load without an attack`() throws {
        var quiet = flat(Course(protocolName: "aardvark", profile: "spike-no-fault", attack: [3]))
        var attacked = flat(Course(protocolName: "aardvark", profile: "smart-spike", attack: [1.5]))
        for step in [10, 50, 10, 1] {
            quiet.load.append(AttackResults.LoadStep(startSeconds: Double(step), clients: step))
            attacked.load.append(AttackResults.LoadStep(startSeconds: Double(step), clients: step))
        }
        let summary = AttackSummary(of: [quiet, attacked], faults: 1)
        #expect(summary.result(of: "aardvark", under: "smart-spike")?.ratio?.median == 0.5)
        #expect(summary.result(of: "aardvark", under: "smart-spike")?.recoverySeconds == nil)
        #expect(summary.peaks.isEmpty)
    }

    @Test func `cases and peaks are in the order of their first runs`() {
        let summary = MadeUpResults.whole.summary
        #expect(summary.peaks.map(\.protocolName) == ["pbft", "aardvark"])
        #expect(
            summary.cases.prefix(4).map { "\($0.protocolName) \($0.profile)" }
                == ["pbft none", "aardvark none", "pbft big-mac", "aardvark big-mac"]
        )
        #expect(summary.passed)
    }
}
