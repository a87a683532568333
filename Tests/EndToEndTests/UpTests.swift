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
