import Messages
import Testing

@testable import Cryptography

/// The cluster, the keys and the fields that all golden messages are made of.
///
/// The cluster's identifier is the bytes 0 to 31. Seeds and ephemeral secrets are one byte, repeated 32 times: 0x10 + i
/// for replica i, 0x20 + c for client c, 0x40 for administrator 0, 0x31 and 0x32 for the ephemeral secrets of client and replica.
struct Fixtures {
    static let session = SessionID(1_790_000_000_123_456)
    static let size = 4

    let cluster: ClusterID
    let client: SigningKey
    let otherClient: SigningKey
    let administrator: SigningKey
    let replicas: [SigningKey]

    init() throws {
        cluster = try #require(ClusterID(Array(0..<32)))
        client = try Self.key(0x27)
        otherClient = try Self.key(0x28)
        administrator = try Self.key(0x40)
        replicas = try (0..<Self.size).map { try Self.key(0x10 + UInt8($0)) }
    }

    static func key(_ byte: UInt8) throws -> SigningKey {
        try #require(SigningKey(seed: Array(repeating: byte, count: 32)))
    }

    var signing: RequestAuthenticator { .signature(client, cluster: cluster) }

    func macs(of key: SigningKey? = nil, cluster other: ClusterID? = nil) throws -> RequestAuthenticator {
        .macVector(
            try replicas.map {
                try #require(PairwiseKey(own: key ?? client, peer: $0.publicKey, cluster: other ?? cluster))
            }
        )
    }

    func request(
        number: UInt64 = 1,
        operations: [[UInt8]] = [Self.put],
        session: SessionID = Self.session,
        authenticator: RequestAuthenticator? = nil
    ) -> Request {
        Request(
            client: ClientID(7),
            session: session,
            number: RequestNumber(number),
            operations: operations,
            replier: ReplicaID(3),
            authenticator: authenticator ?? signing
        )
    }

    /// Replica 2 forwards the client's request with the signature of client 8.
    var badForward: Evidence {
        let bad = request(authenticator: .signature(otherClient, cluster: cluster))
        return Evidence(.badForward(bad, endorsement(of: bad)), clientKey: client.publicKey)
    }

    /// Client 7 has signed two requests numbered 1.
    var conflict: Evidence {
        Evidence(.conflictingRequests(request(), request(operations: [Self.get])), clientKey: client.publicKey)
    }

    /// Replica 2's word, in view 5, that it has checked a request.
    func endorsement(of request: Request) -> Forward.Endorsement {
        Forward.Endorsement(of: request, by: ReplicaID(2), in: View(5), cluster: cluster, signer: replicas[2])
    }

    /// Administrator 0 takes in client 8.
    var administration: Request {
        Request(
            client: ClientID(administrator: 0),
            session: Self.session,
            number: RequestNumber(1),
            operations: [AdministrationOperation.add(ClientID(8), otherClient.publicKey).encoded],
            replier: ReplicaID(3),
            authenticator: .signature(administrator, cluster: cluster)
        )
    }

    /// The key-value service's operations `put key=value` and `get key`.
    static let put = [2, 3, 0, 0, 0] + Array("key".utf8) + [5, 0, 0, 0] + Array("value".utf8)
    static let get = [1, 3, 0, 0, 0] + Array("key".utf8)

    var batch: Batch {
        Batch(
            time: Timestamp(nanoseconds: 1_790_000_001_000_000_000),
            requests: [request(), request(number: 2, operations: [Self.get])]
        )
    }

    func checkpoint(_ sequence: UInt64 = 384, by replica: UInt8 = 2) -> Checkpoint {
        Checkpoint(
            SequenceNumber(sequence),
            root: Digest.of(Array("state".utf8)),
            by: ReplicaID(replica),
            cluster: cluster,
            signer: replicas[Int(replica)]
        )
    }

    /// The words of replicas 0, 1 and 2 for the checkpoint 256, unless told otherwise.
    func certificate(_ checkpoints: [Checkpoint]? = nil) throws -> CheckpointCertificate {
        try #require(CheckpointCertificate(checkpoints ?? (0..<3).map { checkpoint(256, by: $0) }))
    }

    /// Replica 3 leaves view 5; it has a certificate for 256, and after that: 299 prepared, 300 pre-prepared twice.
    func viewChange(certificate: [Checkpoint]? = nil) -> ViewChange {
        let first = Digest.of(Array("first".utf8))
        return ViewChange(
            view: View(6),
            replica: ReplicaID(3),
            stable: SequenceNumber(256),
            certificate: certificate ?? [checkpoint(256, by: 0), checkpoint(256, by: 1), checkpoint(256, by: 2)],
            prepared: [BatchClaim(SequenceNumber(299), first, View(5))],
            prePrepared: [
                BatchClaim(SequenceNumber(299), first, View(5)),
                BatchClaim(SequenceNumber(300), Digest.of(Array("second".utf8)), View(4)),
                BatchClaim(SequenceNumber(300), batch.digest, View(5)),
            ],
            cluster: cluster,
            signer: replicas[3]
        )
    }

    /// Replica 2 begins view 6: after 256 comes one batch that it takes over, and the null batch.
    func newView() -> NewView {
        NewView(
            view: View(6),
            members: [
                NewView.Member(ReplicaID(1), Digest.of([1])),
                NewView.Member(ReplicaID(2), Digest.of([2])),
                NewView.Member(ReplicaID(3), viewChange().digest),
            ],
            start: SequenceNumber(256),
            chosen: [batch.digest, .zero],
            cluster: cluster,
            signer: replicas[2]
        )
    }

    func reply(_ outcome: Reply.Outcome, number: UInt64, results: [[UInt8]]) -> Reply {
        Reply(
            view: View(5),
            sequence: SequenceNumber(outcome == .sessionOutdated || outcome == .otherKeyEpoch ? 0 : 300),
            payload: Reply.Payload(
                session: Self.session,
                number: RequestNumber(number),
                outcome: outcome,
                results: results
            )
        )
    }

    static let status = ReplicaStatus(
        replica: ReplicaID(2),
        protocolName: "aardvark",
        view: View(5),
        primary: ReplicaID(1),
        executed: SequenceNumber(300),
        stable: SequenceNumber(256),
        low: SequenceNumber(256),
        high: SequenceNumber(512),
        connectedPeers: [ReplicaID(0), ReplicaID(3)],
        counters: [.init("operations_executed", 70_000), .init("uptime_milliseconds", 12_345, .gauge)]
    )
}
