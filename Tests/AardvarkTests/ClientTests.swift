import Aardvark
import Cryptography
import KeyValueService
import Messages
import Synchronization
import Testing

// One after the other: each test has a cluster of its own, with dozens of sockets.
/// Clients against a cluster that runs.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct ClientTests {
    @Test(arguments: ClusterFile.ProtocolName.allCases)
    func `An operation is executed and its result comes back`(protocolName: ClusterFile.ProtocolName) async throws {
        try await RunningCluster.with(protocolName) { cluster in
            let client = try await cluster.client()
            #expect(try await client.perform(.put(key: [1], value: [2, 3])) == .stored)
            #expect(try await client.perform(.get(key: [1])) == .value([2, 3]))
            let other = try await cluster.client(7)
            #expect(try await other.perform(.get(key: [1])) == .value([2, 3]))
        }
    }

    @Test(arguments: ClusterFile.ProtocolName.allCases, [1, 8])
    func `Many operations at once each get their own result`(
        protocolName: ClusterFile.ProtocolName,
        bundle: Int
    ) async throws {
        try await RunningCluster.with(protocolName) { cluster in
            let client = try await cluster.client {
                $0.window = 4
                $0.bundle = bundle
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<UInt8(100) {
                    group.addTask {
                        let stored = try await client.perform(
                            .put(key: [number], value: [number, bundle == 1 ? 1 : 2])
                        )
                        #expect(stored == .stored)
                        let value = try await client.perform(.get(key: [number]))
                        #expect(value == .value([number, bundle == 1 ? 1 : 2]))
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await client.perform(.count) == .count(100))
        }
    }

    @Test(arguments: [1, 16])
    func `One client's operations are executed in the order of their submission`(bundle: Int) async throws {
        try await RunningCluster.with { cluster in
            let client = try await cluster.client { $0.bundle = bundle }
            let (answers, input) = AsyncStream.makeStream(of: (Int, Result<[UInt8], ClientError>).self)
            let operation = KeyValueOperation.increment(key: [1], by: 1).encoded
            for number in 1...200 {
                client.submit(operation) { input.yield((number, $0)) }
            }
            var sums: [Int: KeyValueResult?] = [:]
            for await (number, answer) in answers {
                sums[number] = KeyValueResult(encoded: try answer.get())
                if sums.count == 200 { break }
            }
            for number in 1...200 { #expect(sums[number] == .number(Int64(number))) }
        }
    }

    @Test func `A completion may submit the next operation`() async throws {
        try await RunningCluster.with { cluster in
            let client = try await cluster.client()
            let (answers, input) = AsyncStream.makeStream(of: KeyValueResult?.self)
            Chain(client: client, output: input).submit(left: 50)
            var sums: [KeyValueResult?] = []
            for await sum in answers { sums.append(sum) }
            #expect(sums == (1...50).map { .number($0) })
        }
    }

    @Test(arguments: ClusterFile.ProtocolName.allCases)
    func `A value of 1 MiB is stored, and one of a byte more is refused`(
        protocolName: ClusterFile.ProtocolName
    ) async throws {
        try await RunningCluster.with(protocolName) { cluster in
            let client = try await cluster.client()
            let value = (0..<KeyValueLimits.valueBytes).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            #expect(try await client.perform(.put(key: [1], value: value)) == .stored)
            #expect(try await client.perform(.get(key: [1])) == .value(value))

            let larger = KeyValueOperation.put(key: [1], value: value + [0])
            let error = #expect(throws: KeyValueLimitError.self) { try larger.validate() }
            #expect(error?.description == "the value has 1048577 bytes; the limit is 1048576")
            // A client that does not look at the limits is refused by the replicas.
            #expect(try await client.perform(larger) == .refused(.valueTooLong))
            #expect(try await client.perform(.get(key: [1])) == .value(value))
        }
    }

    @Test func `An operation longer than a request takes is refused before it is sent`() async throws {
        try await RunningCluster.with(service: GatedEcho()) { cluster in
            let client = try await cluster.client()
            let longest = [UInt8](repeating: 5, count: MessageLimits.operationBytes)
            #expect(try await client.invoke(longest) == longest)
            let error = await #expect(throws: ClientError.self) { try await client.invoke(longest + [5]) }
            #expect(error == .operationTooLarge(bytes: 1_052_673, limit: 1_052_672))
            #expect(error?.description == "the operation has 1052673 bytes, but at most 1052672 are taken")
            #expect(try await client.invoke([1]) == [1])
        }
    }

    @Test func `A result that fits no reply is an error of its own operation`() async throws {
        try await RunningCluster.with(service: LargeAnswers()) { cluster in
            let client = try await cluster.client()
            await #expect(throws: ClientError.resultTooLarge) { try await client.invoke([0, 0]) }
            #expect(try await client.invoke([0]).count == 1 << 20)
        }
    }

    @Test func `A cancelled task goes on at once, and the client stays usable`() async throws {
        let service = GatedEcho()
        try await RunningCluster.with(service: service) { cluster in
            defer { service.open() }
            let client = try await cluster.client()
            let held = Task { try await client.invoke(GatedEcho.hold) }
            await service.waitUntilHeld()
            held.cancel()
            // The replicas are still at it.
            #expect(await failure(of: held) == .cancelled)
            service.open()
            #expect(try await client.invoke([1]) == [1])

            let cancelledBefore = Task {
                unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
                return try await client.invoke([2])
            }
            #expect(await failure(of: cancelledBefore) == .cancelled)
            #expect(try await client.invoke([3]) == [3])
        }
    }

    @Test func `An operation that nobody answers in time fails, and those after it go on`() async throws {
        let service = GatedEcho()
        try await RunningCluster.with(service: service) { cluster in
            defer { service.open() }
            let client = try await cluster.client { $0.timeout = .milliseconds(300) }
            await #expect(throws: ClientError.timedOut) { try await client.invoke(GatedEcho.hold) }
            service.open()
            // The next ones may have to wait for what was held.
            while true {
                do {
                    #expect(try await client.invoke([1]) == [1])
                    return
                } catch ClientError.timedOut {
                    continue
                }
            }
        }
    }

    @Test func `Without its cluster, a client's operations time out`() async throws {
        try await RunningCluster.with { cluster in
            let client = try await cluster.client { $0.timeout = .milliseconds(300) }
            for replica in 0..<4 { try await cluster.stopReplica(replica) }
            await #expect(throws: ClientError.timedOut) { try await client.perform(.count) }
        }
    }

    @Test(arguments: [0..<0, 1..<3])
    func `A client that reaches too few replicas says so`(replicas: Range<Int>) async throws {
        try await RunningCluster.with(replicas: replicas) { cluster in
            let client = try cluster.makeClient { $0.connectTimeout = .milliseconds(700) }
            let error = await #expect(throws: ClientError.self) { try await client.start() }
            guard case .unreachable(let connected, needed: 3)? = error else {
                Issue.record("start failed with \(String(describing: error))")
                return
            }
            #expect(connected <= replicas.count)
            #expect(
                error?.description == "only \(connected) of the 3 replicas that are needed could be reached"
            )
            await #expect(throws: ClientError.closed) { try await client.perform(.count) }
        }
    }

    @Test func `A second client of the same identity ends the first one for good`() async throws {
        try await RunningCluster.with { cluster in
            let first = try await cluster.client()
            #expect(try await first.increment("number") == 1)
            let second = try await cluster.client()
            #expect(try await second.increment("number") == 2)
            await #expect(throws: ClientError.superseded) { try await first.increment("number") }
            // At once, since nothing can come of it.
            await #expect(throws: ClientError.superseded) { try await first.increment("number") }
            #expect(try await second.increment("number") == 3)
        }
    }

    @Test func `Shutdown fails what is outstanding`() async throws {
        let service = GatedEcho()
        try await RunningCluster.with(service: service) { cluster in
            defer { service.open() }
            let client = try await cluster.client()
            let held = Task { try await client.invoke(GatedEcho.hold) }
            await service.waitUntilHeld()
            await client.shutdown()
            #expect(await failure(of: held) == .closed)
            await #expect(throws: ClientError.closed) { try await client.invoke([1]) }
            await client.shutdown()
        }
    }

    @Test func `A client that was not started, or started twice, says so`() async throws {
        try await RunningCluster.with { cluster in
            let client = try cluster.makeClient()
            await #expect(throws: ClientError.closed) { try await client.perform(.count) }
            try await client.start()
            await #expect(throws: ClientError.closed) { try await client.start() }
            #expect(try await client.perform(.count) == .count(0))
        }
    }

    @Test func `A key that is not the client's, and a client that nobody knows, are refused by the replicas`()
        async throws
    {
        try await RunningCluster.with { cluster in
            let key = try cluster.key(of: .client(1))
            #expect(try await cluster.refusals(of: 0, key) >= 2)
            #expect(try await cluster.refusals(of: 8, key) >= 2)
            // The key's owner is not harmed by it.
            #expect(try await cluster.client(1).increment("number") == 1)
        }
    }
}

/// Why a task failed; nil when it did not, or for another reason than a client has.
private func failure(of task: Task<[UInt8], any Error>) async -> ClientError? {
    do {
        _ = try await task.value
        return nil
    } catch {
        return error as? ClientError
    }
}

/// Increments one number several times, each time from the completion of the time before.
private struct Chain: Sendable {
    let client: Client
    let output: AsyncStream<KeyValueResult?>.Continuation

    func submit(left: Int) {
        guard left > 0 else { return output.finish() }
        client.submit(KeyValueOperation.increment(key: [1], by: 1).encoded) { answer in
            output.yield((try? answer.get()).flatMap { KeyValueResult(encoded: $0) })
            submit(left: left - 1)
        }
    }
}
