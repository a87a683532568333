import Adversary
import Testing

@testable import Lab

/// What the published cases run.
struct PaperCaseTests {
    private static func plan(_ names: [String]) -> AttackPlan {
        var plan = AttackPlan(programs: "", output: "", command: "")
        PaperCase.plan(PaperCase.all.filter { names.contains($0.name) }, in: &plan)
        return plan
    }

    @Test func `every published figure has a case whose runs give ours`() {
        let plan = Self.plan(PaperCase.all.map(\.name))
        let names = plan.profiles.map(\.name)
        #expect(Set(PublishedResults.attacks.map(\.profile)).isSubset(of: names))
        #expect(names.contains("starve-client"))
        #expect(Set(names).count == names.count, "no profile is run twice")
        #expect(plan.protocols == [.pbft, .aardvark])
        let published = PublishedResults.ablation.figures.map(\.protocolName)
        #expect(Set((plan.protocols + plan.ablations).map(\.rawValue)) == Set(published))
        #expect(PaperCase.all.allSatisfy { item in item.profiles.allSatisfy { AttackProfiles.named($0) != nil } })
    }

    @Test func `measures are taken away only where nothing attacks`() throws {
        let plan = Self.plan(["ablation", "faulty-client"])
        #expect(plan.profiles.map(\.name) == ["none", "big-mac"])
        let none = try #require(plan.profiles.first)
        let attack = try #require(plan.profiles.last)
        #expect(plan.variants(under: none).count == 5)
        #expect(plan.variants(under: attack) == [.pbft, .aardvark])
        #expect(Self.plan(["peak"]).ablations.isEmpty)
    }

    @Test func `a spike is held against the same load without a fault`() {
        #expect(Self.plan(["load-spike"]).profiles.map(\.name) == ["spike-no-fault", "smart-spike"])
    }
}
