import Aardvark
import Foundation
import Testing

@testable import Lab

@Suite
struct ResultsFileTests {
    @Test func `results survive the way through a file`() throws {
        let results = MadeUpResults.whole
        let read = try AttackResults(json: results.json(), path: "results.json")
        #expect(read == results)
        #expect(try read.json() == results.json())
    }

    @Test func `what are no results, or others, is refused in one sentence`() throws {
        #expect {
            try AttackResults(json: Array("[]".utf8), path: "x.json")
        } throws: { error in
            "\(error)" == "x.json: these are no results of aardvark-lab attack"
        }
        #expect {
            try AttackResults(json: Array(#"{"version": 7}"#.utf8), path: "x.json")
        } throws: { error in
            "\(error)" == "x.json: expected results of version 1, found version 7"
        }
        #expect {
            try AttackResults(json: Array(#"{"version": 1}"#.utf8), path: "x.json")
        } throws: { error in
            "\(error)" == "x.json: started_at is missing"
        }
    }

    @Test func `every field is in the article about the file`() throws {
        let article = try String(
            contentsOf: URL(filePath: "../../Sources/Lab/Lab.docc/Results.md", relativeTo: URL(filePath: #filePath)),
            encoding: .utf8
        )
        var results = MadeUpResults.whole
        results = MadeUpResults.results(
            results.runs.prefix(2).map { run in
                var run = run
                run.scenario = "spike"
                run.failure = "made up"
                run.keptFiles = "logs"
                return run
            } + results.runs
        )
        results = AttackResults(
            startedAt: results.startedAt,
            machine: results.machine,
            commit: results.commit,
            command: results.command,
            settings: results.settings,
            profiles: results.profiles,
            runs: results.runs,
            stopped: "made up"
        )
        let json = try JSONSerialization.jsonObject(with: Data(results.json()))
        var names: Set<String> = []
        collect(json, &names)
        #expect(names.count > 60)
        for name in names.sorted() {
            #expect(article.contains("`\(name)`"), "\(name) is not in the article")
        }
    }

    private func collect(_ json: Any, _ names: inout Set<String>) {
        if let object = json as? [String: Any] {
            for (name, value) in object {
                names.insert(name)
                collect(value, &names)
            }
        } else if let list = json as? [Any] {
            for value in list { collect(value, &names) }
        }
    }
}
