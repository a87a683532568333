import Foundation
import Testing

/// What operators get wrong: one sentence that says what, and an exit code that is not 0.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct OperatorErrorTests {
    @Test func `Keys that cannot be used`() async throws {
        try await Workspace.with { workspace in
            _ = try await LocalCluster.create(in: workspace)
            let replica = ["replica", "--cluster", LocalCluster.file, "--id", "0"]
            let mismatch = try await workspace.complain(
                arguments: replica + ["--key", "cluster/keys/replica-1.key"],
                code: 78
            )
            #expect(mismatch.hasPrefix("cluster/keys/replica-1.key: the key does not match the cluster file"))
            #expect(mismatch.hasSuffix("for replica 0"))

            let key = workspace.path("cluster/keys/replica-0.key")
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: key)
            let open = try await workspace.complain(arguments: replica, code: 77)
            #expect(open.hasPrefix("cluster/keys/replica-0.key: the key file is accessible to other users"))
            #expect(open.contains("chmod 600"))

            try workspace.write("nonsense\n", to: "cluster/keys/replica-0.key")
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: key)
            let malformed = try await workspace.complain(arguments: replica, code: 65)
            #expect(malformed.hasPrefix("cluster/keys/replica-0.key: not a key file"))

            try FileManager.default.removeItem(atPath: key)
            let missing = try await workspace.complain(arguments: replica, code: 66)
            #expect(missing.hasPrefix("cluster/keys/replica-0.key: "))
        }
    }

    @Test func `Cluster files that cannot be used`() async throws {
        try await Workspace.with { workspace in
            _ = try await LocalCluster.create(in: workspace)
            let text = try workspace.read(LocalCluster.file)
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            let changes: [(field: String, from: String, to: String)] = [
                ("protocol", "protocol: pbft", "protocol: raft"),
                ("durability", "durability: none", "durability: some"),
                ("batchBytes", "durability: none", "durability: none\ntuning: {batchBytes: -1}"),
                ("replicas[0].clients", "clients: ", "clients: x"),
            ]
            for (field, from, to) in changes {
                let number = try #require(lines.firstIndex { $0.drop { $0 == " " }.hasPrefix(from) })
                var changed = lines
                changed[number] = changed[number].replacingOccurrences(of: from, with: to)
                try workspace.write(changed.joined(separator: "\n"), to: LocalCluster.file)
                let sentence = try await workspace.complain("status", "--cluster", LocalCluster.file, code: 78)
                let line = number + changed[number].split(separator: "\n").count
                #expect(sentence.hasPrefix("\(LocalCluster.file), line \(line)"), "\(sentence)")
                #expect(sentence.contains(field), "\(sentence)")
            }
            try workspace.write(text + "\n: : [", to: LocalCluster.file)
            _ = try await workspace.complain("status", "--cluster", LocalCluster.file, code: 78)

            let missing = try await workspace.complain("replica", "--cluster", "nowhere.yaml", "--id", "0", code: 66)
            #expect(missing.hasPrefix("nowhere.yaml: "))
            let none = try await workspace.complain("kv", "get", "key", code: 66)
            #expect(none.contains("--cluster FILE"))
            let twice = try await workspace.complain("init", "--output", "cluster", code: 73)
            #expect(twice == "\(LocalCluster.file): the cluster file exists already and is not overwritten")
        }
    }

    @Test func `Members that do not exist, and a cluster that does not run`() async throws {
        try await Workspace.with { workspace in
            _ = try await LocalCluster.create(in: workspace)
            let option = ["--cluster", LocalCluster.file]
            let client = try await workspace.complain(
                arguments: ["kv", "get", "key", "--client", "99"] + option,
                code: 78
            )
            #expect(client == "\(LocalCluster.file): there is no client 99; the file names 8 clients, 0 to 7")
            let replica = try await workspace.complain(arguments: ["replica", "--id", "9"] + option, code: 78)
            #expect(replica == "\(LocalCluster.file): there is no replica 9; the file names replicas 0 to 3")
            let clients = try await workspace.complain(arguments: ["bench", "--clients", "9"] + option, code: 78)
            #expect(clients.contains("8 clients"))
            let down = try await workspace.complain(
                arguments: ["kv", "get", "key", "--timeout", "1"] + option,
                code: 69
            )
            #expect(down == "only 0 of the 3 replicas that are needed could be reached")
            let key = String(repeating: "k", count: 1_025)
            let long = try await workspace.complain(arguments: ["kv", "put", key, "value"] + option, code: 65)
            #expect(long == "the key has 1025 bytes; the limit is 1024")

            let short = try await workspace.complain(
                arguments: ["admin", "client", "add", "--public-key", "abc"] + option,
                code: 64
            )
            #expect(short == "a public key has 64 hexadecimal digits")
            let noFile = try await workspace.complain(
                arguments: ["admin", "client", "add", "--key-file", "nobody.pub"] + option,
                code: 66
            )
            #expect(noFile.hasPrefix("nobody.pub: "))
            try workspace.write("publicKey: abc\n", to: "short.pub")
            let malformed = try await workspace.complain(
                arguments: ["admin", "client", "rekey", "1", "--key-file", "short.pub"] + option,
                code: 65
            )
            #expect(malformed == "short.pub: expected 64 hexadecimal digits after publicKey:")
            let number = try await workspace.complain(
                arguments: ["admin", "client", "remove", "2147483648"] + option,
                code: 64
            )
            #expect(number == "a client's number is from 0 to 2147483647, not 2147483648")
            let administrator = try await workspace.complain(
                arguments: ["admin", "client", "list", "--administrator", "7"] + option,
                code: 78
            )
            #expect(
                administrator
                    == "\(LocalCluster.file): there is no administrator 7; the file names administrator 0 only"
            )
            let both = try await workspace.run(
                arguments: ["admin", "client", "add", "--public-key", "a", "--key-file", "b"] + option
            )
            #expect(both.ending == .exit(64) && both.errors.contains("and not both"))

            let status = try await workspace.run(arguments: ["status"] + option)
            #expect(status.ending == .exit(1))
            #expect(status.output.contains("0 of 4 replicas answer, 3 are needed"))
            let usage = try await workspace.run(arguments: ["nonsense"])
            #expect(usage.ending == .exit(64))
            #expect(!usage.errors.contains("Fatal error"))
        }
    }
}
