import Aardvark
import Adversary
import Foundation
import Testing

@testable import Lab

@Suite
struct ScenarioTests {
    static let known: Set = ["none", "big-mac", "flood"]

    private func scenario(_ text: String) throws -> Scenario {
        try Scenario(text: text, path: "dir/test.yaml", profiles: Self.known)
    }

    @Test func `what a file leaves out has its default`() throws {
        let scenario = try scenario("version: 1\nsummary: s\nprofiles: [none, flood]\n")
        #expect(scenario.name == "test")
        #expect(scenario.profiles == ["none", "flood"])
        #expect(scenario.protocols == [.pbft, .aardvark])
        #expect(scenario.replicas == 4)
        #expect(scenario.phases == Scenario.Phases())
        #expect(scenario.loadSteps == [AttackResults.LoadStep(startSeconds: 0, clients: 10)])
    }

    @Test func `every field is read`() throws {
        let scenario = try scenario(
            """
            version: 1
            summary: s
            profiles: all
            protocols: [aardvark-without-signatures]
            replicas: 7
            repeats: 5
            seed: 9
            window: 2
            bundle: 16
            workload: ycsb-a
            durability: power-loss
            load: [{clients: 1, seconds: 2}, {clients: 1, seconds: 1}, {clients: 50, seconds: 3}, {clients: 1, seconds: 1}]
            phases: {warmup: 1, faultFree: 4, attack: 7, after: 0}
            """
        )
        #expect(scenario.profiles == nil)
        #expect(scenario.protocols == [.aardvarkWithoutSignatures])
        #expect(scenario.replicas == 7)
        #expect(scenario.repeats == 5)
        #expect(scenario.window == 2)
        #expect(scenario.bundle == 16)
        #expect(scenario.seed == 9)
        #expect(scenario.workload == "ycsb-a")
        #expect(scenario.durability == "power-loss")
        #expect(scenario.mostClients == 50)
        #expect(scenario.phases.total == 12)
        // The first part's clients send from the beginning of the run on, before the attack too.
        #expect(scenario.loadSteps.map(\.startSeconds) == [0, 8, 11])
        #expect(scenario.loadSteps.map(\.clients) == [1, 50, 1])
    }

    @Test(arguments: [
        ("version: 2\nsummary: s\nprofiles: all", "line 1: version: expected format version 1, found \"2\""),
        (
            "version: 1\nsummary: s\nprofiles: [none, flod]",
            "line 3: profiles[1]: there is no profile \"flod\"; aardvark-lab profiles lists them"
        ),
        (
            "version: 1\nsummary: s\nprofiles: some",
            "line 3: profiles: expected \"all\" or a list of names, found \"some\""
        ),
        ("version: 1\nsummary: s\nprofiles: []", "line 3: profiles: expected at least one element, found none"),
        ("version: 1\nsummary: s\nprofiles: [none, none]", "line 3: profiles[1]: \"none\" occurs twice"),
        (
            "version: 1\nsummary: s\nprofiles: all\nreplicas: 5",
            "line 4: replicas: expected 4, 7, 10 or 13 replicas, found \"5\""
        ),
        (
            "version: 1\nsummary: s\nprofiles: all\nphases:\n  attack: 0",
            "line 5: phases.attack: expected a whole number from 1 to 3600, found \"0\""
        ),
        (
            "version: 1\nsummary: s\nprofiles: all\nclients: 3\nload: []",
            "line 4: clients: expected either clients or load, found both"
        ),
        (
            "version: 1\nsummary: s\nprofiles: all\nload:\n  - {clients: 1, seconds: 3}",
            "line 5: load: expected parts of 20 seconds in all, as long as the attack, found 3"
        ),
    ])
    func `a mistake is told with its line and field`(text: String, complaint: String) {
        #expect {
            try scenario(text)
        } throws: { error in
            "\(error)" == "dir/test.yaml, \(complaint)"
        }
    }

    @Test func `each protocol of the lab is one of the two, but for the one measure in its name`() async throws {
        var files: [ProtocolVariant: [ClusterFile.Switch]] = [:]
        for variant in ProtocolVariant.allCases {
            var plan = ClusterFile.Plan()
            variant.set(in: &plan)
            let file = try await ClusterFile.create(plan, path: "c.yaml").file
            #expect(variant.rawValue.hasPrefix(file.protocolName.rawValue))
            files[variant] = [file.signedRequests, file.isolatedQueues, file.regularViewChanges]
        }
        #expect(
            files == [
                .pbft: [.off, .off, .off],
                .pbftWithSignatures: [.on, .off, .off],
                .aardvark: [.on, .on, .on],
                .aardvarkWithoutSignatures: [.off, .on, .on],
                .aardvarkWithoutIsolation: [.on, .off, .on],
                .aardvarkWithoutRegularViewChanges: [.on, .on, .off],
            ]
        )
    }

    @Test func `every field and every protocol is in the article about the files`() throws {
        let article = try String(
            contentsOf: URL(filePath: "../../Sources/Lab/Lab.docc/Scenarios.md", relativeTo: URL(filePath: #filePath)),
            encoding: .utf8
        )
        #expect {
            try scenario("other: 1")
        } throws: { error in
            // The complaint lists the fields that there are.
            let names = "\(error)".split(separator: "expected ").last?.split(separator: ", ") ?? []
            for name in names { #expect(article.contains("| `\(name)` |"), "\(name) is not in the article") }
            return names.count == 14
        }
        for variant in ProtocolVariant.allCases { #expect(article.contains("`\(variant.rawValue)`")) }
    }

    @Test func `the files in Config are scenarios`() throws {
        let directory = URL(filePath: "../../Config/scenarios", relativeTo: URL(filePath: #filePath)).path
        let files = try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
        #expect(
            files == [
                "ablation.yaml", "environment.yaml", "paper.yaml", "primary-and-clients.yaml", "short.yaml",
                "smoke.yaml", "spike.yaml",
            ]
        )
        let profiles = Set(AttackProfiles.all.map(\.name))
        for file in files {
            let scenario = try Scenario(path: "\(directory)/\(file)", profiles: profiles)
            #expect(
                scenario.profiles?.first == "none",
                "\(file): every share is held against the run without an attack"
            )
        }
        let paper = try Scenario(path: "\(directory)/paper.yaml", profiles: profiles)
        let ablation = try Scenario(path: "\(directory)/ablation.yaml", profiles: profiles)
        let variants = Set(PublishedResults.ablation.figures.map(\.protocolName))
        #expect(variants.isSubset(of: ablation.protocols.map(\.rawValue)))
        let published = Set(PublishedResults.attacks.filter { $0.source == .aardvark }.map(\.profile))
        #expect(published.isSubset(of: paper.profiles ?? []))
    }
}
