import Aardvark
import Cryptography
import Messages
import Synchronization
import Testing

// One after the other: each test has a cluster of its own, with dozens of sockets.
/// What a client sends, and which answers it believes: against replicas that say what the test wants.
@Suite(.serialized, .timeLimit(.minutes(1)))
struct ClientConversationTests {
    private static let (first, second, third) = (ReplicaID(0), ReplicaID(1), ReplicaID(3))

    /// What comes in answer to requests that replicas got for the first time.
    private typealias Script = @Sendable ([Request]) -> [StandInReplicas.Answer]

    /// Runs a started client against a script for its operations; sessions are opened for it.
    private func converse(
        window: Int = 32,
        bundle: Int = 1,
        timeout: Duration = .seconds(50),
        script: @escaping Script,
        _ body: (Client) async throws -> Void
    ) async throws {
        let created = try await Self.patientCluster()
        let known = Mutex<Set<RequestNumber>>([])
        let answer: StandInReplicas.Script = { _, requests in
            let openings = requests.filter { $0.kind == .openSession }.flatMap { request in
                [Self.first, Self.second].map { ($0, request.opened) }
            }
            // What was sent before a connection stood may come again.
            let new = requests.filter { request in
                request.kind == .ordered && known.withLock { $0.insert(request.number).inserted }
            }
            return openings + (new.isEmpty ? [] : script(new))
        }
        var configuration = Self.patient
        configuration.window = window
        configuration.bundle = bundle
        configuration.timeout = timeout
        try await StandInReplicas.with(created, answer) {
            try await Self.withClient(of: created, configuration, body)
        }
    }

    /// A client that waits long on a slow machine.
    private static var patient: Client.Configuration {
        var configuration = Client.Configuration()
        configuration.timeout = .seconds(50)
        configuration.connectTimeout = .seconds(50)
        return configuration
    }

    /// A cluster whose clients send nothing again because time has passed.
    private static func patientCluster() async throws -> ClusterFile.Created {
        var plan = ClusterFile.Plan()
        plan.tuning.retransmissionMilliseconds = 600_000
        return try await TestPorts.cluster(plan)
    }

    private static func withClient(
        of created: ClusterFile.Created,
        _ configuration: Client.Configuration = patient,
        _ body: (Client) async throws -> Void
    ) async throws {
        let client = try Client(
            cluster: created.file,
            client: ClientID(0),
            key: #require(created.key(of: .client(0))),
            configuration: configuration,
            logger: .silent
        )
        do {
            try await client.start()
            try await body(client)
        } catch {
            await client.shutdown()
            throw error
        }
        await client.shutdown()
    }

    private func expect(
        _ client: Client,
        _ operation: [UInt8],
        _ result: [UInt8],
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        #expect(try await client.invoke(operation) == result, sourceLocation: sourceLocation)
    }

    @Test(arguments: [1, 4, 64])
    func `No more requests are outstanding than the window allows`(window: Int) async throws {
        let seen = Mutex((outstanding: [Request](), most: 0))
        let script: Script = { requests in
            seen.withLock { seen in
                seen.outstanding += requests
                seen.most = max(seen.most, seen.outstanding.count)
                // The client has to stop here, and to go on when it is answered.
                guard seen.outstanding.count >= window else { return [] }
                defer { seen.outstanding = [] }
                return seen.outstanding.flatMap { request in
                    [Self.first, Self.second].map { ($0, request.executed()) }
                }
            }
        }
        try await converse(window: window, script: script) { client in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<UInt8(192) {
                    group.addTask { try await expect(client, [number], [number]) }
                }
                try await group.waitForAll()
            }
        }
        #expect(seen.withLock { $0.most } == window)
    }

    @Test func `What is submitted together travels together, up to the bundle`() async throws {
        let counts = Mutex<[Int]>([])
        let script: Script = { requests in
            counts.withLock { $0 += requests.map(\.operationCount) }
            return requests.flatMap { request in [Self.first, Self.second].map { ($0, request.executed()) } }
        }
        try await converse(bundle: 8, script: script) { client in
            let (answers, input) = AsyncStream.makeStream(of: Result<[UInt8], ClientError>.self)
            // From a completion, which is one turn of the client.
            client.submit([0]) { _ in
                for number in 1...UInt8(20) { client.submit([number]) { input.yield($0) } }
            }
            var results: [[UInt8]] = []
            for await answer in answers {
                results.append(try answer.get())
                if results.count == 20 { break }
            }
            #expect(results == (1...20).map { [$0] })
        }
        #expect(counts.withLock { $0 } == [1, 8, 8, 4])
    }

    @Test func `A result needs f + 1 replicas, and one replica has one voice`() async throws {
        let script: Script = { requests in
            requests.flatMap { request in
                let (lie, truth) = (request.executed([[6]]), request.executed([[7]]))
                return [
                    (Self.third, lie), (Self.third, lie), (Self.third, truth), (Self.first, truth),
                    (Self.second, truth),
                ]
            }
        }
        try await converse(script: script) { client in
            for _ in 0..<10 { try await expect(client, [1], [7]) }
        }
    }

    @Test func `An answer of one replica is none`() async throws {
        let script: Script = { requests in
            requests.flatMap { request in [(Self.first, request.executed()), (Self.first, request.executed())] }
        }
        try await converse(timeout: .milliseconds(300), script: script) { client in
            await #expect(throws: ClientError.timedOut) { try await client.invoke([1]) }
        }
    }

    @Test func `An answer to another session or number is none`() async throws {
        let script: Script = { requests in
            requests.flatMap { request in
                let other = Reply.Payload(
                    session: SessionID(request.session.rawValue &+ 1),
                    number: request.number,
                    outcome: .executed,
                    results: [[6]]
                )
                let later = Reply.Payload(
                    session: request.session,
                    number: RequestNumber(request.number.rawValue + 1),
                    outcome: .executed,
                    results: [[6]]
                )
                let payloads = [other, later, request.executed([[7]])]
                return payloads.flatMap { payload in [Self.first, Self.second].map { ($0, payload) } }
            }
        }
        try await converse(script: script) { client in
            for _ in 0..<10 { try await expect(client, [1], [7]) }
        }
    }

    @Test func `A session that is outdated already is opened anew above the current one`() async throws {
        let current: UInt64 = 1 << 60
        let proposals = Mutex<[UInt64]>([])
        let script: StandInReplicas.Script = { _, requests in
            requests.flatMap { request in
                proposals.withLock { $0.append(request.session.rawValue) }
                let payload = request.session.rawValue <= current ? request.outdated(by: current) : request.opened
                return [Self.first, Self.second].map { ($0, payload) }
            }
        }
        let created = try await TestPorts.cluster()
        try await StandInReplicas.with(created, script) {
            try await Self.withClient(of: created) { _ in }
        }
        // The first opening may be sent again to a replica that connects late.
        #expect(proposals.withLock { $0 }.max() == current + 1)
    }

    @Test func `Replicas that are connected but open no session are not called unreachable`() async throws {
        let created = try await TestPorts.cluster()
        let silence: StandInReplicas.Script = { _, _ in [] }
        var configuration = Self.patient
        configuration.connectTimeout = .seconds(4)
        try await StandInReplicas.with(created, silence) {
            await #expect(throws: ClientError.timedOut) {
                try await Self.withClient(of: created, configuration) { _ in }
            }
        }
    }

    @Test func `What was lost with a connection is sent again as soon as there is a new one`() async throws {
        let received = Mutex<[RequestNumber]>([])
        let script: StandInReplicas.Script = { replica, requests in
            requests.flatMap { request -> [StandInReplicas.Answer] in
                let times = received.withLock { received in
                    received.append(request.number)
                    return received.count { $0 == request.number }
                }
                if times == 1, request.kind == .ordered { return [(replica, nil)] }
                let payload = request.kind == .ordered ? request.executed() : request.opened
                return [(Self.first, payload), (Self.second, payload)]
            }
        }
        let created = try await Self.patientCluster()
        try await StandInReplicas.with(created, script) {
            try await Self.withClient(of: created) { client in
                for number in UInt8(0)..<3 { try await expect(client, [number], [number]) }
            }
        }
    }

    @Test func `A client goes on when a replica answers what no correct one says`() async throws {
        // The third replica has more results than there are operations.
        let script: Script = { requests in
            requests.flatMap { request in
                [
                    (Self.third, request.executed([[1], [2], [3]])), (Self.first, request.executed()),
                    (Self.second, request.executed()),
                ]
            }
        }
        try await converse(script: script) { client in
            for number in UInt8(0)..<5 { try await expect(client, [number], [number]) }
        }
    }
}
