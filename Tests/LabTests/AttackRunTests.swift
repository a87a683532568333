import Aardvark
import Foundation
import Lab
import TestSupport
import Testing

@Suite struct AttackRunTests {
    /// Runs one attack of a second in a directory of its own, which is removed again.
    private func attack(_ profile: String) async throws -> AttackResults {
        let programs = try BuiltProgram.url("aardvark-lab").deletingLastPathComponent().path
        let directory = FileManager.default.temporaryDirectory.appending(path: "aardvark-attack-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var plan = AttackPlan(programs: programs, output: directory, command: "")
        plan.protocols = [.aardvark]
        plan.profiles = [try #require(AttackProfiles.named(profile))]
        plan.phases = AttackPlan.phases(attackSeconds: 1)
        plan.repeats = 1
        plan.clients = 2
        return try await plan.run { _ in }
    }

    @Test func `a run with a silent replica counts every second and every client, and all oracles hold`() async throws {
        let results = try await attack("silent")
        let run = try #require(results.runs.first)
        #expect(results.runs.count == 1)
        #expect(run.failure == nil)
        #expect(run.verdicts.map(\.oracle) == ["one history", "linearizability", "exactly once"])
        #expect(run.verdicts.map(\.held) == [true, true, true])
        #expect(run.faultyReplicas == [0])
        #expect(run.phases.map(\.kind) == AttackResults.Phase.Kind.allCases)
        // A second may be missing where this machine stood still for that long.
        #expect((6...7).contains(run.samples.count))
        #expect(run.clientShares.map(\.client) == [0, 1])
        let quiet = try #require(run.phase(.faultFree))
        #expect(quiet.operations > 0 && quiet.latency != nil)
        #expect(quiet.operations == run.clientShares.map(\.faultFreeOperations).reduce(0, +))
        #expect(run.samples.map(\.operations).reduce(0, +) == run.phases.map(\.operations).reduce(0, +))
        let checks = run.samples.flatMap(\.replicas).compactMap(\.signatureChecks)
        #expect(checks.reduce(0, +) > 0)
    }
}
