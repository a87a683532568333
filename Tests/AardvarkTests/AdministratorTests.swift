import Aardvark
import Cryptography
import KeyValueService
import Messages
import Testing

// One after the other: each test has a cluster of its own, with dozens of sockets.
/// Clients that come, change keys and go while a cluster runs.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct AdministratorTests {
    private static var patient: Client.Configuration {
        var configuration = Client.Configuration()
        configuration.timeout = .seconds(50)
        configuration.connectTimeout = .seconds(50)
        return configuration
    }

    /// Runs a cluster with its second administrator at work.
    private func with(
        _ protocolName: ClusterFile.ProtocolName,
        tuning: ClusterFile.Tuning = .init(),
        _ body: (RunningCluster, Administrator) async throws -> Void
    ) async throws {
        try await RunningCluster.with(protocolName, tuning: tuning) { cluster in
            let administrator = try Administrator(
                cluster: cluster.file,
                number: 1,
                key: cluster.key(of: .administrator(1)),
                configuration: Self.patient,
                logger: .silent
            )
            do {
                try await administrator.start()
                try await body(cluster, administrator)
            } catch {
                await administrator.shutdown()
                throw error
            }
            await administrator.shutdown()
        }
    }

    /// Returns as soon as every replica has this many connections of clients and administrators.
    private func waitForClients(_ count: UInt64, _ cluster: RunningCluster) async throws {
        try await cluster.statuses { $0.allSatisfy { $0?["clients_connected"] == count } }
    }

    @Test(arguments: ClusterFile.ProtocolName.allCases)
    func `a client is added, uses the service, gets another key, and is removed`(
        protocolName: ClusterFile.ProtocolName
    ) async throws {
        try await with(protocolName) { cluster, administrator in
            let first = SigningKey.random()
            let second = SigningKey.random()
            #expect(try await cluster.refusals(of: 8, first) >= 2)

            #expect(try await administrator.perform(.add(nil, first.publicKey)) == .added(ClientID(8), .genesis))
            #expect(try await administrator.perform(.add(ClientID(8), second.publicKey)) == .exists(ClientID(8)))
            let newcomer = try cluster.makeClient(8, key: first, Self.patient)
            try await newcomer.start()
            #expect(try await newcomer.increment("number") == 1)
            // The newcomer, the administrator, and the one who asks.
            try await waitForClients(3, cluster)

            let replaced = try await administrator.perform(.replaceKey(ClientID(8), second.publicKey))
            #expect(replaced == .keyReplaced(ClientID(8), KeyEpoch(1)))
            // Its connections are closed, and it gets no others.
            try await waitForClients(2, cluster)
            #expect(try await cluster.refusals(of: 8, first) >= 2)
            let again = try cluster.makeClient(8, key: second, Self.patient)
            try await again.start()
            #expect(try await again.increment("number") == 2)
            let read = try await again.invoke(
                KeyValueOperation.get(key: Array("number".utf8)).encoded,
                isReadOnly: true
            )
            #expect(KeyValueResult(encoded: read) == .value(Array("2".utf8)))

            var clients = try await administrator.clients()
            #expect(clients.map(\.client.number) == Array(0...8))
            #expect(clients.last == ClientKey(ClientID(8), second.publicKey, epoch: KeyEpoch(1)))
            #expect(try await administrator.perform(.remove(ClientID(8))) == .removed(ClientID(8)))
            #expect(try await administrator.perform(.remove(ClientID(8))) == .unknown(ClientID(8)))
            try await waitForClients(2, cluster)
            #expect(try await cluster.refusals(of: 8, second) >= 2)
            clients = try await administrator.clients()
            #expect(clients.map(\.client.number) == Array(0..<8))
            // The others have noticed nothing.
            #expect(try await cluster.client(0).increment("number") == 3)
        }
    }

    @Test func `a replica that was away learns from the state who the clients are`() async throws {
        var tuning = ClusterFile.Tuning()
        tuning.checkpointInterval = 4
        tuning.window = 8
        try await with(.aardvark, tuning: tuning) { cluster, administrator in
            let key = SigningKey.random()
            try await cluster.stopReplica(3)
            #expect(try await administrator.perform(.add(nil, key.publicKey)) == .added(ClientID(8), .genesis))
            #expect(try await administrator.perform(.remove(ClientID(0))) == .removed(ClientID(0)))
            let newcomer = try cluster.makeClient(8, key: key, Self.patient)
            try await newcomer.start()
            for number in Int64(1)...20 { #expect(try await newcomer.increment("number") == number) }
            try cluster.startReplica(3)
            // It knows the clients of the cluster file only, until it has the others' state.
            try await cluster.status(of: 3) { $0.executed.rawValue >= 20 && $0["clients_connected"] == 3 }
            #expect(try await cluster.refusals(of: 0, cluster.key(of: .client(0))) >= 2)
            #expect(try await newcomer.increment("number") == 21)
        }
    }

    @Test func `an administrator is no client, and a client no administrator`() async throws {
        try await with(.pbft) { cluster, administrator in
            // What an administrator asks is administration, whatever its bytes are.
            let client = try cluster.makeClient(0, key: cluster.key(of: .client(0)), Self.patient)
            try await client.start()
            let operation = AdministrationOperation.remove(ClientID(1)).encoded
            let answer = try await client.invoke(operation)
            #expect((try? AdministrationResult(decoding: answer)) != .removed(ClientID(1)))
            #expect(try await administrator.clients().count == 8)
            let wrong = #expect(throws: OperatorError.self) {
                try Administrator(
                    cluster: cluster.file,
                    number: 0,
                    key: cluster.key(of: .administrator(1)),
                    logger: .silent
                )
            }
            #expect(wrong?.sentence.contains("the key does not match the cluster file") == true)
        }
    }
}
