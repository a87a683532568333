import Aardvark
import Cryptography
import KeyValueService
import Messages
import Testing

/// A cluster whose state is on disk: what was acknowledged outlives every replica's end.
@Suite(.timeLimit(.minutes(3)))
struct DurabilityTests {
    private static let tuning: ClusterFile.Tuning = {
        var tuning = ClusterFile.Tuning()
        tuning.checkpointInterval = 4
        tuning.window = 8
        tuning.pastBatches = 0
        return tuning
    }()

    @Test(arguments: [ClusterFile.ProtocolName.pbft, .aardvark], [ClusterFile.Durability.powerLoss, .processCrash])
    func `All replicas stop and start, and go on where they were`(
        protocolName: ClusterFile.ProtocolName,
        durability: ClusterFile.Durability
    ) async throws {
        try await RunningCluster.with(protocolName, tuning: Self.tuning, durability: durability) { cluster in
            let client = try await cluster.client()
            var sum: Int64 = 0
            for _ in 0..<3 {
                for _ in 0..<7 {
                    sum += 1
                    #expect(try await client.increment("n") == sum)
                }
                for replica in 0..<4 { try await cluster.stopReplica(replica) }
                for replica in 0..<4 { try cluster.startReplica(replica) }
            }
            // The same client with the same session: its numbers were kept, or it would wait for ever.
            #expect(try await client.increment("n") == sum + 1)
            let executed = try await cluster.statuses { $0.allSatisfy { ($0?.executed.rawValue ?? 0) >= 22 } }
            #expect(executed.allSatisfy { ($0?.stable.rawValue ?? 0) >= 16 })
        }
    }

    @Test func `A replica that was away long fetches what its store lacks, and keeps it`() async throws {
        try await RunningCluster.with(.pbft, tuning: Self.tuning, durability: .processCrash) { cluster in
            let client = try await cluster.client()
            for _ in 0..<5 { _ = try await client.increment("n") }
            try await cluster.stopReplica(3)
            for _ in 0..<30 { _ = try await client.increment("n") }
            try cluster.startReplica(3)
            try await cluster.status(of: 3) { $0.executed.rawValue >= 36 }
            try await cluster.stopReplica(3)
            try cluster.startReplica(3)
            let status = try await cluster.status(of: 3) { $0.executed.rawValue >= 36 }
            #expect(status["state_transfers"] == 0, "it has what it fetched before")
        }
    }

    @Test func `A durable replica without storage is refused with a sentence`() async throws {
        let created = try await TestPorts.cluster(ClusterFile.Plan())
        let key = try #require(created.key(of: .replica(0)))
        let error = #expect(throws: OperatorError.self) {
            try ReplicaServer(
                cluster: created.file,
                replica: ReplicaID(0),
                key: key,
                service: KeyValueService(),
                logger: .silent
            )
        }
        #expect(error?.kind == .usage)
        #expect(error?.sentence.contains("durability is power-loss") == true)
    }
}
