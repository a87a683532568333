import Foundation
import Testing

/// `aardvark up`: a whole cluster in one command.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct UpTests {
    @Test func `A cluster comes up, stops at Ctrl-C, and is taken up again`() async throws {
        try await Workspace.with { workspace in
            // In full, so that its replicas can be told from others in the list of processes.
            let directory = workspace.path("up")
            let option = ["--cluster", "\(directory)/cluster.yaml"]
            let basePort = Workspace.basePort()

            let first = try workspace.startWatched(
                "up",
                "--directory",
                directory,
                "--base-port",
                basePort,
                "--protocol",
                "pbft"
            )
            try await waitUntilServing(first)
            #expect(first.output.hasPrefix("made a cluster of 4 replicas in \(directory)\n"))
            #expect(try LocalCluster.replicaProcesses(clusterPath: directory).count == 4)
            let put = try await workspace.run(arguments: ["kv", "put", "greeting", "hello"] + option)
            #expect(put.ending == .exit(0))
            let busy = try await workspace.complain(arguments: ["up", "--directory", directory], code: 69)
            #expect(busy.contains("this endpoint of replica 0 is in use"))
            first.send(SIGINT)
            #expect(try await first.ending() == .exit(0), "\(first.errors)")
            #expect(try LocalCluster.replicaProcesses(clusterPath: directory) == [])

            let second = try workspace.startWatched("up", "--directory", directory)
            try await waitUntilServing(second)
            #expect(second.output.hasPrefix("taking up the cluster in \(directory)\n"))
            // It is the same cluster, with what was put into it.
            let get = try await workspace.run(arguments: ["kv", "get", "greeting"] + option)
            #expect(get.ending == .exit(0) && get.output == "hello")
            // Even when nothing could be stopped in order, nothing stays behind.
            second.kill()
            #expect(try await second.ending() == .signal(SIGKILL))
            try await wait(for: "the end of the replicas") {
                try LocalCluster.replicaProcesses(clusterPath: directory).isEmpty
            }
        }
    }

    @Test func `A recorded cluster is stepped through again`() async throws {
        try await Workspace.with { workspace in
            let up = ["up", "--directory", "recorded", "--protocol", "pbft", "--record", "records"]
            let running = try workspace.startWatched(arguments: up + ["--base-port", Workspace.basePort()])
            try await waitUntilServing(running)
            let option = ["--cluster", "recorded/cluster.yaml"]
            let put = try await workspace.run(arguments: ["kv", "put", "greeting", "hello"] + option)
            #expect(put.ending == .exit(0), "\(put.errors)")
            let get = try await workspace.run(arguments: ["kv", "get", "greeting"] + option)
            #expect(get.output == "hello")
            running.send(SIGINT)
            #expect(try await running.ending() == .exit(0), "\(running.errors)")

            for number in 0..<4 {
                let file = "records/replica-\(number).recording"
                let replayed = try await workspace.runLab("replay", file)
                #expect(replayed.ending == .exit(0), "\(replayed.errors)")
                #expect(replayed.output.hasPrefix("replica r\(number) of 4, pbft, 9 clients\n"))
                #expect(replayed.output.hasSuffix("the same run: every input had the effects that were recorded\n"))
            }
            try await spoil("records/replica-0.recording", in: workspace)
            try await recordAgain(in: workspace)

            let again = try await workspace.complain(arguments: up, code: 73)
            #expect(again == "records/replica-0.recording: the recording exists already and is not overwritten")
        }
    }

    /// A recording of the same cluster, which goes on from its stores.
    private func recordAgain(in workspace: Workspace) async throws {
        let again = try workspace.startWatched("up", "--directory", "recorded", "--record", "later")
        try await waitUntilServing(again)
        let get = try await workspace.run(arguments: [
            "kv", "incr", "visits", "--cluster", "recorded/cluster.yaml",
        ])
        #expect(get.output == "1\n", "\(get.errors)")
        again.send(SIGINT)
        #expect(try await again.ending() == .exit(0), "\(again.errors)")
        for number in 0..<4 {
            let replayed = try await workspace.runLab("replay", "later/replica-\(number).recording")
            #expect(replayed.ending == .exit(0), "\(replayed.errors)")
            #expect(replayed.output.contains("\nit went on from its store: "))
            #expect(replayed.output.hasSuffix("the same run: every input had the effects that were recorded\n"))
        }
    }

    /// What a replay says of a recording that is cut off, and then damaged.
    private func spoil(_ file: String, in workspace: Workspace) async throws {
        let url = workspace.directory.appending(path: file)
        var bytes = try Data(contentsOf: url)
        bytes.removeLast(3)
        try bytes.write(to: url)
        let cut = try await workspace.runLab("replay", file, "--json")
        #expect(cut.ending == .exit(0), "\(cut.errors)")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let report = try decoder.decode(ReplayReport.self, from: Data(cut.output.utf8))
        #expect(report.unreadBytes > 0)
        #expect(report.inputs > 10)
        #expect(report.executed >= 2)

        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: url)
        let damaged = try await workspace.runLab("replay", file)
        #expect(damaged.ending == .exit(65))
        #expect(damaged.errors.hasPrefix("aardvark-lab: error: \(file): input "))
        #expect(damaged.errors.hasSuffix("inputs before it are readable\n"))
        let missing = try await workspace.runLab("replay", "nowhere")
        #expect(missing.ending == .exit(66))
    }

    private struct ReplayReport: Decodable {
        let unreadBytes: Int
        let inputs: Int
        let executed: Int
    }

    private func waitUntilServing(_ process: ChildProcess) async throws {
        do {
            try await wait(for: "the cluster to serve") {
                process.output.contains("4 replicas serve (pbft, tolerating 1 faulty)")
            }
        } catch {
            throw Failure("\(error); \(process.output) \(process.errors)")
        }
    }
}
