import Aardvark
import Cryptography
import KeyValueService
import Messages
import Testing

// One after the other: each test has a cluster of its own, with dozens of sockets.
/// Replicas as running things: their status, stopping and starting, and what operators get wrong.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct ReplicaTests {
    @Test(arguments: [
        (ClusterFile.ProtocolName.pbft, ClusterFile.Switch.off, 0), (.pbft, .on, 0), (.aardvark, .off, 0),
        (.aardvark, .on, 0), (.aardvark, .on, 2),
    ])
    func `The status says what was done, and the same at every replica`(
        protocolName: ClusterFile.ProtocolName,
        signedRequests: ClusterFile.Switch,
        signatureThreads: Int
    ) async throws {
        try await RunningCluster.with(
            protocolName,
            signedRequests: signedRequests,
            signatureThreads: signatureThreads
        ) { cluster in
            let clients = [try await cluster.client(0), try await cluster.client(1)]
            for number in Int64(1)...20 {
                #expect(try await clients[Int(number % 2)].increment("number") == number)
            }
            let answers = try await cluster.statuses { statuses in
                statuses.allSatisfy { status in
                    status?["operations_executed"] == 20 && status?.connectedPeers.count == 3
                        && status?.executed == statuses[0]?.executed
                }
            }
            for (number, answer) in answers.enumerated() {
                let status = try #require(answer)
                let id = ReplicaID(UInt8(number))
                #expect(status.replica == id)
                #expect(status.protocolName == protocolName.rawValue)
                #expect(status.view == View(0))
                #expect(status.primary == ReplicaID(0))
                #expect(status.stable == SequenceNumber(0))
                #expect(status.low == SequenceNumber(0))
                #expect(status.high == SequenceNumber(UInt64(cluster.file.tuning.window)))
                #expect(status.connectedPeers == cluster.file.size.members.filter { $0 != id })
                // One for each session, and one for each operation, since none waited for another.
                #expect(status["requests_executed"] == 22)
                #expect(status["batches_executed"] == status.executed.rawValue)
                #expect(status.executed.rawValue <= 22)
                #expect(status["messages_malformed"] == 0)
                // The two clients, and the one who asks.
                #expect(status["clients_connected"] == 3)
                #expect(status["signatures_checked"] == (signedRequests == .on ? 22 : 0))
                #expect(status["signature_threads"] == UInt64(signatureThreads))
                #expect(status["link_bytes_in"] > status["link_frames_in"])
                #expect(status["link_bytes_out"] > status["link_frames_out"])
                #expect(status["cpu_microseconds"] > 0)
            }
            let proposed = answers.map { $0?["requests_proposed"] }
            #expect(proposed == [22, 0, 0, 0])
        }
    }

    @Test func `Checkpoints become stable and move the water marks`() async throws {
        var tuning = ClusterFile.Tuning()
        tuning.checkpointInterval = 4
        tuning.window = 8
        try await RunningCluster.with(tuning: tuning) { cluster in
            let client = try await cluster.client()
            // One after the other, so that each is a batch of its own, with the session's.
            for number in Int64(1)...23 { #expect(try await client.increment("number") == number) }
            let answers = try await cluster.statuses { statuses in
                statuses.allSatisfy { status in
                    status?.stable == SequenceNumber(24) && status?.low == SequenceNumber(24)
                        && status?.high == SequenceNumber(32)
                }
            }
            // A backup that was late may have fetched the state instead.
            #expect(answers[0]?["checkpoints_stable"] == 6)
        }
    }

    @Test(arguments: ClusterFile.ProtocolName.allCases)
    func `A backup may stop and come back`(protocolName: ClusterFile.ProtocolName) async throws {
        try await RunningCluster.with(protocolName) { cluster in
            let client = try await cluster.client()
            #expect(try await client.increment("number") == 1)
            try await cluster.stopReplica(3)
            for number in Int64(2)...10 { #expect(try await client.increment("number") == number) }
            let without = try await cluster.statuses { $0[0]?.connectedPeers.count == 2 }
            #expect(without[3] == nil)
            // On the same ports, which are free again.
            try cluster.startReplica(3)
            try await cluster.statuses { $0.allSatisfy { $0?.connectedPeers.count == 3 } }
            #expect(try await client.increment("number") == 11)
        }
    }

    @Test func `The links' counters only grow`() async throws {
        try await RunningCluster.with { cluster in
            let client = try await cluster.client()
            #expect(try await client.perform(.put(key: [1], value: Array(repeating: 1, count: 100_000))) == .stored)
            let before = try await cluster.status(of: 0) { $0["link_bytes_in"] > 100_000 }
            await client.shutdown()
            let after = try await cluster.status(of: 0) { $0["clients_connected"] == 1 }
            for name in ["link_frames_in", "link_frames_out", "link_bytes_in", "link_bytes_out"] {
                #expect(after[name] >= before[name], "\(name)")
            }
        }
    }

    @Test func `Whoever has no key of the cluster gets no status`() async throws {
        try await RunningCluster.with { cluster in
            try await cluster.statuses { $0.allSatisfy { $0 != nil } }
            let answers = await StatusProbe.query(
                cluster: cluster.file,
                identity: .administrator(0),
                key: .random(),
                timeout: .milliseconds(500)
            )
            #expect(answers == [nil, nil, nil, nil])
        }
    }

    @Test func `A status query of a cluster that is down ends early`() async throws {
        let created = try await TestPorts.cluster()
        let key = try #require(created.key(of: .administrator(0)))
        // Far longer than the test may take.
        let answers = await StatusProbe.query(
            cluster: created.file,
            identity: .administrator(0),
            key: key,
            timeout: .seconds(3_600)
        )
        #expect(answers == [nil, nil, nil, nil])
    }

    @Test func `A port that is in use ends the replica with a sentence`() async throws {
        try await RunningCluster.with(replicas: 0..<1) { cluster in
            try await cluster.statuses { $0[0] != nil }
            let second = try ReplicaServer(
                cluster: cluster.file,
                replica: ReplicaID(0),
                key: cluster.key(of: .replica(0)),
                service: KeyValueService(),
                logger: .silent
            )
            let error = await #expect(throws: OperatorError.self) { try await second.run() }
            #expect(error?.kind == .unavailable)
            let ports =
                [cluster.file.replicas[0].clientEndpoint] + cluster.file.replicas[0].peerEndpoints.compactMap(\.self)
            #expect(ports.contains { error?.sentence == "port \($0.port) on 127.0.0.1 is already in use" })
            // The one that has the ports is unharmed.
            try await cluster.statuses { $0[0] != nil }
        }
    }

    @Test func `A key that is not the replica's, and a replica that the file does not name, are refused`() async throws
    {
        let created = try await TestPorts.cluster()
        let key = try #require(created.key(of: .replica(1)))
        for (replica, sentence) in [
            (ReplicaID(0), "the key does not match the cluster file"),
            (ReplicaID(4), "there is no replica 4; the file names replicas 0 to 3"),
        ] {
            let error = #expect(throws: OperatorError.self) {
                try ReplicaServer(
                    cluster: created.file,
                    replica: replica,
                    key: key,
                    service: KeyValueService(),
                    logger: .silent
                )
            }
            #expect(error?.sentence.contains(sentence) == true)
        }
    }

    @Test func `A replica that is cancelled stops`() async throws {
        let created = try await TestPorts.cluster()
        let server = try ReplicaServer(
            cluster: created.file,
            replica: ReplicaID(0),
            key: #require(created.key(of: .replica(0))),
            service: KeyValueService(),
            logger: .silent
        )
        let task = Task { try await server.run() }
        task.cancel()
        try await task.value
    }
}
