import Aardvark
import Cryptography
import KeyValueService
import Messages
import Synchronization
import Testing

// One after the other: each test has a cluster of its own, with dozens of sockets.
/// Connections that do what no correct client does: each is closed and counted, and the replica serves on.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct HostileClientTests {
    /// What an attacker holds: a cluster, and a key of one of its clients.
    private struct Attacker {
        let cluster: RunningCluster
        let number: UInt32

        var endpoint: ClusterFile.Endpoint { cluster.file.replicas[0].clientEndpoint }

        func initiator(
            cluster id: ClusterID? = nil,
            identity: Identity? = nil,
            key: SigningKey? = nil,
            peer: Identity = .replica(0),
            endpoint: EndpointPurpose = .clients,
            version: UInt16 = Handshake.protocolVersion
        ) throws -> HandshakeInitiator {
            let identity = identity ?? .client(number)
            let local = LocalIdentity(
                cluster: id ?? cluster.file.clusterID,
                identity: identity,
                key: try key ?? cluster.key(of: identity),
                protocolVersion: version
            )
            let publicKey = try #require(cluster.file.publicKey(of: peer))
            let keys = try #require(PairwiseKeyCache(local: local).keys(of: peer, publicKey: publicKey))
            return HandshakeInitiator(local: local, peer: peer, endpoint: endpoint, keys: keys)
        }

        /// Connects as a client, sends, and waits until the replica closes the connection.
        func send(_ makeBytes: (SealingKey) throws -> [UInt8]) async throws {
            try await RawConnection.with(endpoint) { connection in
                let keys = try await connection.shakeHands(try initiator())
                await connection.send(try makeBytes(keys.sealing))
                _ = await connection.readToEnd()
            }
        }

        /// A request that is authenticated by the attacker's key.
        func request(of client: UInt32, operation: [UInt8], session: UInt64 = 1 << 62) throws -> Request {
            let key = try cluster.key(of: .client(number))
            let shared = try cluster.file.replicas.map { replica in
                try #require(PairwiseKey(own: key, peer: replica.publicKey, cluster: cluster.file.clusterID))
            }
            let authenticator: RequestAuthenticator =
                cluster.file.signedRequests == .off
                ? .macVector(shared) : .signature(key, cluster: cluster.file.clusterID)
            return Request(
                client: ClientID(client),
                session: SessionID(session),
                number: operation.isEmpty ? .opening : RequestNumber(1),
                operations: operation.isEmpty ? [] : [operation],
                authenticator: authenticator
            )
        }
    }

    /// Runs a cluster with a client at work, lets an attacker act, and checks that replica 0 counted it and that all
    /// serve on.
    private func withAttack(
        _ protocolName: ClusterFile.ProtocolName = .pbft,
        counts name: String?,
        times: UInt64 = 1,
        _ attack: (Attacker) async throws -> Void
    ) async throws {
        try await RunningCluster.with(protocolName) { cluster in
            let victim = try await cluster.client(0)
            #expect(try await victim.increment("number") == 1)
            let before = try await cluster.status(of: 0) { _ in true }

            try await attack(Attacker(cluster: cluster, number: 1))

            #expect(try await victim.increment("number") == 2)
            let newcomer = try await cluster.client(2)
            #expect(try await newcomer.increment("number") == 3)
            let after = try await cluster.status(of: 0) { status in
                name.map { status[$0] >= before[$0] + times } ?? true
            }
            for counter in ["messages_malformed", "frames_refused"] {
                let grown = after[counter] - before[counter]
                #expect(grown == (counter == name ? times : 0), "\(counter)")
            }
        }
    }

    // MARK: Messages

    @Test(
        arguments: [
            [0x7F, 1, 2, 3], [0x00], [0x01], [0x01, 0, 0, 0], [0x02], [0x02, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            // What only replicas say to each other, or to clients.
            [0x10], [0x11], [0x12], [0x81], [0x82],
        ] as [[UInt8]]
    )
    func `An unknown or malformed message closes the connection`(message: [UInt8]) async throws {
        try await withAttack(counts: "messages_malformed") { attacker in
            try await attacker.send { try $0.frame(message) }
        }
    }

    @Test(arguments: ClusterFile.ProtocolName.allCases)
    func `A request in another client's name closes the connection and harms nobody`(
        protocolName: ClusterFile.ProtocolName
    ) async throws {
        try await withAttack(protocolName, counts: "messages_malformed", times: 2) { attacker in
            let increment = KeyValueOperation.increment(key: Array("number".utf8), by: 100).encoded
            // A session above the victim's would end the victim's.
            for operation in [[], increment] {
                let request = try attacker.request(of: 0, operation: operation)
                try await attacker.send { try $0.frame(request.bytes) }
            }
        }
    }

    @Test(arguments: ClusterFile.ProtocolName.allCases)
    func `A request with a wrong authentication is dropped`(protocolName: ClusterFile.ProtocolName) async throws {
        try await RunningCluster.with(protocolName) { cluster in
            try await cluster.status(of: 0) { _ in true }
            let attacker = Attacker(cluster: cluster, number: 1)
            var bytes = try attacker.request(of: 1, operation: []).bytes
            bytes[bytes.count - 64] ^= 1
            let forged = bytes
            try await RawConnection.with(attacker.endpoint) { connection in
                let keys = try await connection.shakeHands(try attacker.initiator())
                await connection.send(try keys.sealing.frame(forged))
                try await cluster.status(of: 0) { $0["dropped_bad_authentication"] == 1 }
            }
            let client = try await cluster.client(0)
            #expect(try await client.increment("number") == 1)
            try await cluster.status(of: 0) { $0["requests_executed"] == 2 }
        }
    }

    // MARK: Frames

    @Test(
        arguments: [[0xFF, 0xFF, 0xFF, 0xFF], [0x11, 0, 0x40, 0], [15, 0, 0, 0], [40, 0, 0, 0] + (0..<40)] as [[UInt8]]
    )
    func `A frame too long, too short or not authentic closes the connection`(frame: [UInt8]) async throws {
        try await withAttack(counts: "frames_refused") { attacker in
            try await attacker.send { _ in frame }
        }
    }

    @Test func `A replayed frame closes the connection`() async throws {
        try await withAttack(counts: "frames_refused") { attacker in
            let query = ClientMessage.statusQuery(1).encoded
            try await attacker.send { key in
                let frame = try key.frame(query)
                return frame + frame
            }
        }
    }

    @Test(arguments: [[], [1, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0x7F, 2], [0, 0, 0, 0]] as [[UInt8]])
    func `A frame that is not made of messages closes the connection`(plaintext: [UInt8]) async throws {
        try await withAttack(counts: "frames_refused") { attacker in
            try await attacker.send { try $0.sealed(plaintext) }
        }
    }

    @Test func `Half a frame and then the end of the connection does nothing`() async throws {
        try await withAttack(counts: nil) { attacker in
            try await RawConnection.with(attacker.endpoint) { connection in
                let keys = try await connection.shakeHands(try attacker.initiator())
                let request = try attacker.request(of: 1, operation: [])
                await connection.send(try keys.sealing.frame(request.bytes).dropLast())
            }
        }
    }

    // MARK: Handshakes

    @Test func `A flood of connections with part of a handshake each does not keep clients out`() async throws {
        let flood = Mutex<[Task<Void, any Error>]>([])
        try await RunningCluster.with(.aardvark) { cluster in
            let victim = try await cluster.client(0)
            let attacker = Attacker(cluster: cluster, number: 1)
            let endpoint = attacker.endpoint
            let hello = try attacker.initiator().hello
            let connections = 200
            for number in 0..<connections {
                let part = Array(hello.prefix(number % hello.count))
                let slow = Task {
                    try await RawConnection.with(endpoint) { connection in
                        await connection.send(part)
                        _ = await connection.readToEnd()
                    }
                }
                flood.withLock { $0.append(slow) }
            }
            #expect(try await victim.increment("number") == 1)
            let newcomer = try await cluster.client(2)
            #expect(try await newcomer.increment("number") == 2)
            // All but those that may be in the handshake at once were turned away.
            try await cluster.status(of: 0) { $0["connections_refused"] >= UInt64(connections - 64) }
            #expect(try await victim.increment("number") == 3)
        }
        for slow in flood.withLock({ $0 }) { _ = await slow.result }
    }

    @Test func `Strangers are refused, told why, and counted`() async throws {
        try await RunningCluster.with { cluster in
            let client = try await cluster.client(0)
            let attacker = Attacker(cluster: cluster, number: 1)
            let before = try await cluster.status(of: 0) { _ in true }
            let otherCluster = try #require(ClusterID(Array(repeating: 6, count: ClusterID.byteCount)))
            let strangers: [(HandshakeInitiator, HandshakeRefusal)] = [
                (try attacker.initiator(cluster: otherCluster), .cluster),
                (try attacker.initiator(version: Handshake.protocolVersion + 1), .version),
                (try attacker.initiator(key: .random()), .key),
                (try attacker.initiator(identity: .client(8), key: .random()), .unknownIdentity),
                (try attacker.initiator(identity: .replica(1)), .notAllowed),
                (try attacker.initiator(peer: .replica(2)), .responder),
                (try attacker.initiator(endpoint: .peer(1)), .endpoint),
            ]
            for (initiator, reason) in strangers {
                let answer = try await RawConnection.with(attacker.endpoint) { connection in
                    await connection.send(initiator.hello)
                    return await connection.readToEnd()
                }
                // REFUSED, the reason, and the replica's version.
                #expect(answer == [2, reason.rawValue, UInt8(Handshake.protocolVersion), 0])
            }
            // A client is no peer, whatever it says.
            let peerEndpoint = try #require(cluster.file.replicas[0].endpoint(for: ReplicaID(1)))
            let hello = try attacker.initiator(endpoint: .peer(1)).hello
            let answer = try await RawConnection.with(peerEndpoint) { connection in
                await connection.send(hello)
                return await connection.readToEnd()
            }
            #expect(answer == [2, HandshakeRefusal.notAllowed.rawValue, UInt8(Handshake.protocolVersion), 0])
            // Rubbish gets no answer.
            for rubbish in [Array("GET / HTTP/1.1\r\n\r\n".utf8), Array(repeating: 0, count: 4_096)] {
                let answer = try await RawConnection.with(attacker.endpoint) { connection in
                    await connection.send(rubbish)
                    return await connection.readToEnd()
                }
                #expect(answer.isEmpty)
            }
            let expected = before["connections_refused"] + UInt64(strangers.count) + 3
            // On a slow machine a handshake of somebody else may take too long.
            let after = try await cluster.status(of: 0) { $0["connections_refused"] >= expected }
            #expect(after.connectedPeers.count == 3)
            #expect(try await client.increment("number") == 1)
        }
    }

    @Test func `Connections held half open keep nobody out`() async throws {
        try await RunningCluster.with { cluster in
            let client = try await cluster.client(0)
            let attacker = Attacker(cluster: cluster, number: 1)
            let before = try await cluster.status(of: 0) { _ in true }
            let hello = try attacker.initiator().hello
            try await withHalfOpen(100, at: attacker.endpoint, sending: Array(hello.prefix(50))) {
                let after = try await cluster.status(of: 0) { status in
                    status["connections_refused"] >= before["connections_refused"] + 36
                }
                #expect(after.connectedPeers.count == 3)
                #expect(try await client.increment("number") == 1)
                let newcomer = try await cluster.client(2)
                #expect(try await newcomer.increment("number") == 2)
            }
        }
    }

    /// Calls `body` while so many connections are open on which nothing but `bytes` was sent.
    private func withHalfOpen(
        _ count: Int,
        at endpoint: ClusterFile.Endpoint,
        sending bytes: [UInt8],
        _ body: () async throws -> Void
    ) async throws {
        guard count > 0 else { return try await body() }
        try await RawConnection.with(endpoint) { connection in
            await connection.send(bytes)
            try await withHalfOpen(count - 1, at: endpoint, sending: bytes, body)
        }
    }
}
