import Aardvark
import Cryptography
import Foundation
import Messages
import NIOCore
import NIOPosix
import Testing

/// A cluster made once for all tests: making one tries ports.
private let created = Task { try await ClusterFile.create(ClusterFile.Plan(), path: "cluster.yaml") }

/// The text of a valid cluster file with one thing changed.
private func text(
    replacing old: String = "",
    with new: String = "",
    first: Bool = true
) async throws -> String {
    let text = try await created.value.file.render()
    guard !old.isEmpty else { return text }
    let range = try #require(first ? text.firstRange(of: old) : text.ranges(of: old).last, "\(old) is in the file")
    return text.replacingCharacters(in: range, with: new)
}

/// The sentence with which a text is refused.
private func complaint(about text: String) throws -> String {
    let error = #expect(throws: OperatorError.self) { try ClusterFile(text: text, path: "c.yaml") }
    return try #require(error).sentence
}

/// The line of the first occurrence, from 1.
private func line(of part: String, in text: String) throws -> Int {
    let range = try #require(text.firstRange(of: part))
    return text[..<range.lowerBound].count { $0 == "\n" } + 1
}

@Suite struct `Cluster file` {
    @Test func `what is rendered parses to the same value`() async throws {
        let file = try await created.value.file
        let parsed = try ClusterFile(text: file.render(), path: "cluster.yaml")
        #expect(parsed == file)
        #expect(parsed.size.replicas == 4)
        #expect(parsed.clients.map(\.id) == Array(0..<8))
        #expect(parsed.administrators.count == 1)
        #expect(parsed.tuning == ClusterFile.Tuning())
    }

    @Test func `changed settings, hosts and the other protocol survive the file`() async throws {
        var plan = ClusterFile.Plan()
        plan.replicas = 7
        plan.clients = 0
        plan.administrators = 0
        plan.protocolName = .aardvark
        plan.tuning.batchBytes = 2_048
        plan.tuning.checkpointInterval = 10
        plan.tuning.window = 30
        plan.hosts = ["localhost"]
        let file = try await ClusterFile.create(plan, path: "x/cluster.yaml").file
        let parsed = try ClusterFile(text: file.render(), path: "x/cluster.yaml")
        #expect(parsed == file)
        #expect(parsed.tuning == plan.tuning)
        #expect(parsed.protocolName == .aardvark)
        #expect(parsed.replicas.allSatisfy { $0.clientEndpoint.host == "localhost" })
        #expect(parsed.clients.isEmpty && parsed.administrators.isEmpty)
    }

    @Test(arguments: ClusterFile.ProtocolName.allCases, ClusterFile.Switch.allCases)
    func `who signs requests is the file's word, or without one the protocol's`(
        protocolName: ClusterFile.ProtocolName,
        signedRequests: ClusterFile.Switch
    ) async throws {
        var plan = ClusterFile.Plan()
        plan.protocolName = protocolName
        plan.signedRequests = signedRequests
        let file = try await ClusterFile.create(plan, path: "c.yaml").file
        #expect(try ClusterFile(text: file.render(), path: "c.yaml") == file)
        #expect(file.signedRequests == signedRequests)
        switch try file.authenticator(for: .random()) {
        case .signature: #expect(signedRequests == .on)
        case .macVector(let keys): #expect(signedRequests == .off && keys.count == 4)
        }
        let line = "\nsigned-requests: \(signedRequests.rawValue)\n"
        let silent = try ClusterFile(text: file.render().replacing(line, with: "\n"), path: "c.yaml")
        #expect(silent.signedRequests == (protocolName == .aardvark ? .on : .off))
    }

    @Test func `every replica has an endpoint for clients and one for each peer, all different`() async throws {
        let file = try await created.value.file
        var endpoints: Set<ClusterFile.Endpoint> = []
        for replica in file.replicas {
            endpoints.insert(replica.clientEndpoint)
            for peer in file.size.members {
                let endpoint = replica.endpoint(for: peer)
                #expect((endpoint == nil) == (peer == replica.id))
                if let endpoint { endpoints.insert(endpoint) }
            }
            #expect(replica.endpoint(for: ReplicaID(4)) == nil)
        }
        #expect(endpoints.count == 16)
    }

    @Test func `an endpoint may name its own host, and an IPv6 address needs brackets`() async throws {
        let first = try await created.value.file.replicas[0].clientEndpoint.port
        let named = try await text(replacing: "clients: \(first)", with: "clients: '[::1]:9'")
        #expect(try ClusterFile(text: named, path: "").replicas[0].clientEndpoint == .init(host: "::1", port: 9))
        let bare = try await text(replacing: "clients: \(first)", with: "clients: '::1:9'")
        #expect(try complaint(about: bare).contains("brackets"))
        let hosted = try await text(replacing: "clients: \(first)", with: "host: 10.0.0.1\n    clients: other:9")
        let replica = try ClusterFile(text: hosted, path: "").replicas[0]
        #expect(replica.clientEndpoint == .init(host: "other", port: 9))
        #expect(replica.endpoint(for: ReplicaID(1))?.host == "10.0.0.1")
    }

    @Test func `a bad key is named with file, line and field`() async throws {
        let key = try await created.value.file.replicas[2].publicKey.description
        let bad = try await text(replacing: key, with: "zz")
        let place = try line(of: "publicKey: zz", in: bad)
        #expect(
            try complaint(about: bad)
                == "c.yaml, line \(place): replicas[2].publicKey: expected 64 hexadecimal digits, found \"zz\""
        )
    }

    @Test(
        arguments: [
            ("version: 1", "version: 2", "version: expected format version 1, found \"2\""),
            ("version: 1", "version: one", "version: expected a whole number, found \"one\""),
            ("\nprotocol: aardvark", "\nprotocol: paxos", "protocol: expected pbft or aardvark, found \"paxos\""),
            ("\nprotocol: aardvark", "\nprotocl: aardvark", "unknown field \"protocl\""),
            ("\nprotocol: aardvark", "\nprotocol: pbft\nprotocol: pbft", "the field \"protocol\" occurs twice"),
            ("\nprotocol: aardvark", "\nprotocol: [aardvark]", "protocol: expected a single value, found a list"),
            (
                "\ndurability: power-loss", "\ndurability: nome",
                "durability: expected power-loss, process-crash or none, found \"nome\""
            ),
            (
                "\ndissemination: primary", "\ndissemination: some",
                "dissemination: expected primary or all, found \"some\""
            ),
            (
                "\nregular-view-changes: on", "\nregular-view-changes: yes",
                "regular-view-changes: expected on or off, found \"yes\""
            ),
            (
                "\nisolated-queues: on", "\nisolated-queues: maybe",
                "isolated-queues: expected on or off, found \"maybe\""
            ),
            (
                "\nsigned-requests: on", "\nsigned-requests: 1",
                "signed-requests: expected on or off, found \"1\""
            ),
            ("# tuning:", "tuning:\n  batchByte: 7\n#", "tuning: unknown field \"batchByte\""),
            (
                "# tuning:", "tuning:\n  clientWindow: 65\n#",
                "tuning.clientWindow: expected a whole number from 1 to 64"
            ),
            ("# tuning:", "tuning:\n  window: 130\n#", "tuning.window: expected a window of at least two times"),
            ("# tuning:", "tuning:\n  pipelineDepth: 257\n#", "tuning.pipelineDepth: expected at most the window"),
            ("  - id: 1", "  - id: 2", "replicas[1].id: expected 1"),
            ("  - id: 1", "  - id: 99999999999999999999", "replicas[1].id: expected a whole number from 0 to 3"),
            ("      3: ", "      4: ", "replicas[0].peers: unknown field \"4\""),
            ("      3: ", "      2: ", "the field \"2\" occurs twice"),
            ("      3: ", "      3: 0 # ", "replicas[0].peers.3: expected a port from 1 to 65535"),
            ("      3: ", "      3: -", "replicas[0].peers.3: expected a port"),
        ]
    )
    func `a mistake is refused with its field`(old: String, new: String, expected: String) async throws {
        let sentence = try complaint(about: try await text(replacing: old, with: new))
        #expect(sentence.hasPrefix("c.yaml, line "))
        #expect(sentence.contains(expected))
    }

    @Test func `text that is not YAML is refused with its line`() throws {
        #expect(try complaint(about: "version: 1\nreplicas: [").hasPrefix("c.yaml, line 3: not valid YAML"))
        #expect(try complaint(about: "") == "c.yaml: the file is empty")
        #expect(try complaint(about: "- 1").contains("expected a group of fields, found a list"))
        #expect(try complaint(about: "version: 1\n").contains("\"cluster\" is missing"))
        #expect(try complaint(about: String(repeating: "[", count: 100_000)).contains("not valid YAML"))
        #expect(try complaint(about: String(repeating: "#", count: ClusterFile.mostBytes + 1)).contains("larger than"))
    }

    @Test func `two identities with one key, and two listeners with one endpoint, are refused`() async throws {
        let file = try await created.value.file
        let client = file.clients[7].publicKey.description
        let sameKey = try await text(replacing: client, with: file.replicas[1].publicKey.description)
        #expect(try complaint(about: sameKey).contains("clients[7].publicKey: replicas[1].publicKey has the same key"))
        let port = try #require(file.replicas[3].endpoint(for: ReplicaID(0))).port
        let samePort = try await text(replacing: "0: \(port)", with: "0: \(file.replicas[0].clientEndpoint.port)")
        #expect(
            try complaint(about: samePort).contains("replicas[3].peers.0: replicas[0].clients has the same endpoint")
        )
    }

    @Test func `a number of replicas that is not 3f + 1 is refused`() async throws {
        let whole = try await text()
        let last = try #require(whole.firstRange(of: "  - id: 3\n"))
        let end = try #require(whole.firstRange(of: "\n# The clients that"))
        let three = whole.replacingCharacters(in: last.lowerBound..<end.lowerBound, with: "")
        #expect(try complaint(about: three).contains("replicas: expected 3f + 1 replicas"))
        var plan = ClusterFile.Plan()
        plan.replicas = 5
        await #expect(throws: OperatorError.self) { try await ClusterFile.create(plan, path: "") }
    }

    @Test func `cutting the file anywhere never yields a file that lacks replicas or clients unnoticed`() async throws {
        let whole = try await text()
        let lines = whole.split(separator: "\n", omittingEmptySubsequences: false)
        for count in 0..<lines.count {
            let part = lines.prefix(count).joined(separator: "\n")
            if let file = try? ClusterFile(text: part, path: "") {
                #expect(file.replicas.count == 4)
            }
        }
    }

    @Test func `an identity has the key that the file names`() async throws {
        let cluster = try await created.value
        for (identity, key) in cluster.keys {
            #expect(cluster.file.publicKey(of: identity) == key.publicKey)
            #expect(cluster.key(of: identity)?.publicKey == key.publicKey)
        }
        #expect(cluster.keys.count == 4 + 8 + 1)
        #expect(cluster.file.publicKey(of: Identity(role: .replica, number: 4)) == nil)
        #expect(cluster.file.publicKey(of: Identity(role: .client, number: 8)) == nil)
        #expect(cluster.file.publicKey(of: Identity(role: .administrator, number: .max)) == nil)
    }

    @Test func `an endpoint that somebody listens on is named, and a new cluster avoids it`() async throws {
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(listener.localAddress?.port)
        var plan = ClusterFile.Plan()
        plan.basePort = port
        let file = try await ClusterFile.create(plan, path: "").file
        #expect(file.replicas[0].clientEndpoint.port != port)
        let text = file.render().replacing("clients: \(file.replicas[0].clientEndpoint.port)", with: "clients: \(port)")
        let busy = try ClusterFile(text: text, path: "c.yaml")
        let error = await #expect(throws: OperatorError.self) { try await busy.checkEndpointsAreFree() }
        #expect(error?.kind == .unavailable)
        #expect(error?.sentence.contains("127.0.0.1:\(port)") == true)
        #expect(error?.sentence.contains("replica 0") == true)
        try await listener.close()
        try await busy.checkEndpointsAreFree()
    }

    @Test func `the example that comes with the sources is valid, and what init writes`() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let path = root.appending(path: "Config/cluster.example.yaml").path
        let file = try ClusterFile(path: path)
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(text.hasSuffix(file.render()))
        #expect(Set(file.replicas.map(\.clientEndpoint.host)).count == 4)
        #expect(file.protocolName == .aardvark)
    }
}
