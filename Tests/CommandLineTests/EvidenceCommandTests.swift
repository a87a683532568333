import Aardvark
import Cryptography
import Messages
import Testing

@testable import aardvark_cli

/// What `aardvark admin evidence` says.
struct EvidenceCommandTests {
    @Test func `it says whom evidence accuses of what, and what that rests on`() async throws {
        let created = try await ClusterFile.create(ClusterFile.Plan(), path: "cluster.yaml")
        let cluster = created.file
        let client = try #require(created.key(of: .client(3)))
        let replica = try #require(created.key(of: .replica(2)))
        func request(_ operation: UInt8, epoch: UInt32 = 0, by signer: SigningKey) -> Request {
            Request(
                client: ClientID(3),
                keyEpoch: KeyEpoch(epoch),
                session: SessionID(7),
                number: RequestNumber(5),
                operations: [[operation]],
                authenticator: .signature(signer, cluster: cluster.clusterID)
            )
        }
        func forward(_ request: Request) -> Evidence {
            let word = Forward.Endorsement(
                of: request,
                by: ReplicaID(2),
                in: View(4),
                cluster: cluster.clusterID,
                signer: replica
            )
            return Evidence(.badForward(request, word), clientKey: client.publicKey)
        }

        let bad = EvidenceVerdict(forward(request(1, by: replica)), in: cluster)
        #expect(bad.holds)
        #expect(
            bad.sentence
                == "replica 2 forwarded in view 4, under its own signature, a request that client 3 has not signed "
                + "(number 5 in session 7): proven"
        )
        let later = EvidenceVerdict(forward(request(1, epoch: 2, by: replica)), in: cluster)
        #expect(later.holds)
        #expect(
            later.sentence.hasSuffix(
                ": proven if \(client.publicKey) is the key of client 3 in key epoch 2, which the cluster file does not say"
            )
        )
        let good = EvidenceVerdict(forward(request(1, by: client)), in: cluster)
        #expect(!good.holds)
        #expect(good.sentence.hasPrefix("accuses replica 2, but proves nothing: its client has signed"))

        let two = Evidence(
            .conflictingRequests(request(1, by: client), request(2, by: client)),
            clientKey: client.publicKey
        )
        let conflict = EvidenceVerdict(two, in: cluster)
        #expect(conflict.holds)
        #expect(conflict.sentence == "client 3 signed two different requests of number 5 in session 7: proven")
    }
}
