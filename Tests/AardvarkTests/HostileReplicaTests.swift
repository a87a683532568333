import Aardvark
import Cryptography
import Messages
import Testing

// One after the other: each test has a cluster of its own, with dozens of sockets.
/// A replica that floods a correct one over its own connection, with real sockets.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct HostileReplicaTests {
    /// Takes replica 1's place on its connection to replica 0.
    private func asReplica1(
        of cluster: RunningCluster,
        _ body: (RawConnection, ChannelKeys) async throws -> Void
    ) async throws {
        let local = LocalIdentity(
            cluster: cluster.file.clusterID,
            identity: .replica(1),
            key: try cluster.key(of: .replica(1))
        )
        let publicKey = try #require(cluster.file.publicKey(of: .replica(0)))
        let keys = try #require(PairwiseKeyCache(local: local).keys(of: .replica(0), publicKey: publicKey))
        let endpoint = try #require(cluster.file.replicas[0].endpoint(for: ReplicaID(1)))
        let initiator = HandshakeInitiator(local: local, peer: .replica(0), endpoint: .peer(1), keys: keys)
        try await RawConnection.with(endpoint) { connection in
            try await body(connection, try await connection.shakeHands(initiator))
        }
    }

    /// A CHECKPOINT whose signature is wrong, of a number that a checkpoint is awaited for.
    private func badCheckpoint(in cluster: RunningCluster) throws -> [UInt8] {
        let checkpoint = Checkpoint(
            SequenceNumber(UInt64(cluster.file.tuning.checkpointInterval)),
            root: .zero,
            by: ReplicaID(1),
            cluster: cluster.file.clusterID,
            signer: try cluster.key(of: .replica(1))
        )
        var bytes = checkpoint.encoded
        bytes[bytes.count - 1] ^= 1
        return bytes
    }

    @Test(arguments: [0, 1])
    func `a replica that forwards a bad request leaves evidence that the cluster file proves`(
        signatureThreads: Int
    ) async throws {
        try await RunningCluster.with(.aardvark, signatureThreads: signatureThreads) { cluster in
            try await cluster.status(of: 0) { $0.connectedPeers.count == 3 }
            try await cluster.stopReplica(1)
            try await cluster.status(of: 0) { !$0.connectedPeers.contains(ReplicaID(1)) }
            let bad = Request(
                client: ClientID(0),
                session: SessionID(1 << 62),
                number: .opening,
                operations: [],
                authenticator: .signature(try cluster.key(of: .replica(1)), cluster: cluster.file.clusterID)
            )
            let word = Forward.Endorsement(
                of: bad,
                by: ReplicaID(1),
                in: View(0),
                cluster: cluster.file.clusterID,
                signer: try cluster.key(of: .replica(1))
            )
            let forward = PeerMessage.forward(Forward(bad, endorsement: word)).encoded
            try await asReplica1(of: cluster) { connection, keys in
                await connection.send(try keys.sealing.sealed(SealingKey.length(forward.count) + forward))
                try await cluster.status(of: 0) { $0["evidence"] == 1 }
            }
            let path = "\(cluster.evidenceDirectory(of: 0))/replica-1.evidence"
            let kept = try FileAccess.read(path, what: "evidence", mostBytes: Evidence.mostBytes)
            let evidence = try Evidence(decoding: kept)
            #expect(evidence.accused == .replica(1) && evidence.request.digest == bad.digest)
            #expect(try cluster.file.standing(of: evidence) == .proven)
            let other = try await ClusterFile.create(ClusterFile.Plan(), path: "other.yaml").file
            #expect(throws: Evidence.Flaw.notEndorsed) { try other.standing(of: evidence) }
            let client = try await cluster.client(0)
            #expect(try await client.increment("number") == 1, "its client is served")
        }
    }

    @Test(arguments: ClusterFile.Switch.allCases)
    func `a peer that floods with wrong signatures is cut off where queues are isolated, and the service goes on`(
        isolatedQueues: ClusterFile.Switch
    ) async throws {
        try await RunningCluster.with(.aardvark, isolatedQueues: isolatedQueues) { cluster in
            let client = try await cluster.client(0)
            #expect(try await client.increment("number") == 1)
            try await cluster.status(of: 0) { $0.connectedPeers.count == 3 }
            try await cluster.stopReplica(1)
            try await cluster.status(of: 0) { !$0.connectedPeers.contains(ReplicaID(1)) }

            let bad = try badCheckpoint(in: cluster)
            let frames = 60
            let messagesPerFrame = 50
            try await asReplica1(of: cluster) { connection, keys in
                let plaintext = (0..<messagesPerFrame).flatMap { _ in SealingKey.length(bad.count) + bad }
                for _ in 0..<frames { await connection.send(try keys.sealing.sealed(plaintext)) }
                #expect(try await client.increment("number") == 2)
                let after = try await cluster.status(of: 0) {
                    $0["checkpoint_signatures_bad"] == UInt64(frames * messagesPerFrame)
                }
                switch isolatedQueues {
                case .on:
                    #expect(after["offences_invalid"] == UInt64(frames * messagesPerFrame))
                    #expect(after["peer_1_offences"] == after["offences_invalid"])
                    #expect(after["peer_cuts"] > 0)
                    #expect(after["peer_2_offences"] == 0 && after["peer_3_offences"] == 0)
                case .off:
                    #expect(!after.counters.contains { $0.name == "peer_cuts" })
                }
                #expect(try await client.increment("number") == 3)
            }
            try cluster.startReplica(1)
            #expect(try await client.increment("number") == 4)
            try await cluster.status(of: 1) { $0.executed.rawValue > 0 }
        }
    }
}
