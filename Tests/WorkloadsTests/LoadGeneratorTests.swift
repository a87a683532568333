import KeyValueService
import Testing
import Workloads

@Suite
struct LoadGeneratorTests {
    let time = VirtualTime()

    func generator(_ clients: [SimulatedClient], slots: Int, plan: WorkloadPlan = WorkloadPlan(.null)) -> LoadGenerator
    {
        LoadGenerator(
            clients: clients.enumerated().map { (submitter: $1, source: plan.source(client: $0)) },
            slots: slots,
            clock: time.clock
        )
    }

    @Test func `every operation is counted once and none is outstanding after the stop`() async throws {
        let clients = (0..<3).map { SimulatedClient(time, latency: millisecond + UInt64($0) * 300_000) }
        let generator = generator(clients, slots: 8)
        generator.setActiveClients(3)
        let warmup = try await generator.hold(forNanoseconds: second)
        let measured = try await generator.hold(forNanoseconds: 3 * second)
        #expect(generator.outstanding == 24)
        let rest = try await generator.stop(waitingNanoseconds: second)
        #expect(generator.outstanding == 0)

        let counted = (warmup + measured + [rest]).reduce(0) { $0 + $1.recording.operations }
        #expect(counted == UInt64(clients.reduce(0) { $0 + $1.counts.submitted }))
        #expect(clients.allSatisfy { $0.counts.submitted == $0.counts.ended })
        #expect(rest.recording.operations == 24)
        #expect((warmup + measured).allSatisfy { $0.recording.failures == 0 })

        // Nothing is sent any more.
        let before = clients.map(\.counts.submitted)
        time.run(until: time.now + second)
        #expect(clients.map(\.counts.submitted) == before)
    }

    @Test func `the time ends early when it is said to be over`() async throws {
        let generator = generator([SimulatedClient(time, latency: 5 * millisecond)], slots: 1)
        generator.setActiveClients(1)
        let start = time.now
        let samples = try await generator.hold(
            forNanoseconds: 60 * second,
            until: { time.now >= start + 3 * second / 2 }
        )
        #expect(samples.map(\.start) == [start, start + second])
        #expect(samples.map(\.end) == [start + second, start + 3 * second / 2])
        #expect(samples.map(\.recording.operations) == [200, 100])
    }

    @Test func `a closed loop keeps exactly its slots outstanding`() async throws {
        let client = SimulatedClient(time, latency: 2 * millisecond)
        let generator = generator([client], slots: 32)
        generator.setActiveClients(1)
        let samples = try await generator.hold(forNanoseconds: second)
        #expect(client.counts.mostOutstanding == 32)
        #expect(generator.outstanding == 32)
        // 32 operations every 2 ms.
        #expect(samples.map(\.recording.operations) == [16_000])
        #expect(samples.map(\.throughput) == [16_000])
    }

    @Test func `samples cover the time without a gap and carry the latencies`() async throws {
        let generator = generator([SimulatedClient(time, latency: 5 * millisecond)], slots: 1)
        generator.setActiveClients(1)
        let start = time.now
        var seen = 0
        let samples = try await generator.hold(forNanoseconds: 5 * second / 2) { _ in seen += 1 }
        #expect(samples.map(\.start) == [start, start + second, start + 2 * second])
        #expect(samples.map(\.end) == [start + second, start + 2 * second, start + 5 * second / 2])
        #expect(samples.map(\.recording.operations) == [200, 200, 100])
        #expect(seen == 3)
        let latency = samples[0].recording.latency
        #expect(latency.p50 >= 4_995 && latency.p50 <= 5_005)
        #expect(latency.max >= 5_000 && latency.max <= 5_005)
        #expect(abs(latency.mean - 5_000) < 5)
    }

    @Test func `the number of active clients can change while the load goes on`() async throws {
        let clients = (0..<4).map { _ in SimulatedClient(time, latency: 10 * millisecond) }
        let generator = generator(clients, slots: 2)
        var rates: [Double] = []
        for active in [1, 4, 2] {
            generator.setActiveClients(active)
            let samples = try await generator.hold(forNanoseconds: second)
            // The first sample after a change has what the clients that were stopped had outstanding.
            rates.append(try await generator.hold(forNanoseconds: second)[0].throughput)
            #expect(samples.map(\.activeClients) == [active])
        }
        #expect(rates == [200, 800, 400])
        #expect(clients[3].counts.submitted == clients[3].counts.ended)
        #expect(clients[0].counts.submitted == clients[0].counts.ended + 2)
    }

    @Test func `failures are counted by their reason and do not spin`() async throws {
        let client = SimulatedClient(time, latency: 0) { _, _ in .failure(kind: "disconnected") }
        let generator = generator([client], slots: 4)
        generator.setActiveClients(1)
        let samples = try await generator.hold(forNanoseconds: second)
        let failures = samples[0].recording.failuresByKind
        #expect(failures.keys.sorted() == ["disconnected"])
        // Four slots, once a tick.
        #expect(failures["disconnected"] == 40)
        #expect(samples[0].recording.operations == 0)
        #expect(client.counts.mostOutstanding == 1)
    }

    @Test func `a client goes on after a failure`() async throws {
        let client = SimulatedClient(time, latency: 10 * millisecond) { number, _ in
            number == 3 ? .failure(kind: "timed_out") : .result([])
        }
        let generator = generator([client], slots: 1)
        generator.setActiveClients(1)
        let sample = try await generator.hold(forNanoseconds: second)[0]
        #expect(sample.recording.failuresByKind == ["timed_out": 1])
        #expect(sample.recording.operations > 80)
        #expect(sample.recording.operations < 100)
    }

    @Test func `a wrong result is a failure`() async throws {
        let client = SimulatedClient(time, latency: millisecond) { number, _ in .result(number % 2 == 0 ? [] : [1]) }
        let generator = generator([client], slots: 1)
        generator.setActiveClients(1)
        let sample = try await generator.hold(forNanoseconds: second)[0]
        #expect(sample.recording.failuresByKind["unexpected_result"] == 10)
        #expect(sample.recording.operations == 10)
    }

    @Test func `operations that never end are reported as outstanding`() async throws {
        let client = SimulatedClient(time, latency: millisecond) { number, _ in number < 100 ? .result([]) : nil }
        let generator = generator([client], slots: 7)
        generator.setActiveClients(1)
        try await generator.hold(forNanoseconds: second)
        let before = time.now
        let rest = try await generator.stop(waitingNanoseconds: 2 * second)
        #expect(generator.outstanding == 7)
        #expect(rest.recording.operations == 0)
        #expect(time.now == before + 2 * second)
    }

    @Test func `a read-modify-write is two operations of the service and one latency`() async throws {
        let client = SimulatedClient(time, latency: millisecond) { _, operation in
            switch KeyValueOperation(encoded: operation) {
            case .get: .result(KeyValueResult.value([1]).encoded)
            case .put: .result(KeyValueResult.stored.encoded)
            default: nil
            }
        }
        let generator = generator([client], slots: 4, plan: WorkloadPlan(.ycsbF))
        generator.setActiveClients(1)
        let recording = try await generator.hold(forNanoseconds: 10 * second)[9].recording
        let reads = recording.operationsByKind[.read] ?? 0
        let writes = recording.operationsByKind[.readModifyWrite] ?? 0
        #expect(recording.operations == reads + writes)
        #expect(recording.invocations == reads + 2 * writes)
        #expect(writes > 1_000 && reads > 1_000)
        #expect(client.counts.mostOutstanding == 4)
        #expect(recording.latency.max >= 2_000 && recording.latency.max <= 2_002)
        #expect(recording.latency.p50 >= 1_000)
    }

    @Test(arguments: [1, 3, 8]) func `the load phase puts every record once`(count: Int) async throws {
        var settings = WorkloadSettings()
        settings.records = 1_001
        let plan = WorkloadPlan(.ycsbA, settings)
        let clients = (0..<count).map { _ in
            SimulatedClient(time, latency: millisecond) { _, _ in .result(KeyValueResult.stored.encoded) }
        }
        let generator = LoadGenerator(
            clients: clients.enumerated().map { (submitter: $1, source: plan.loadSource(client: $0, of: count)) },
            slots: 16,
            clock: time.clock
        )
        let sample = try await generator.runToEnd()
        #expect(sample.recording.operations == 1_001)
        #expect(generator.isExhausted)
        #expect(generator.outstanding == 0)
        let keys = clients.flatMap(\.counts.operations).map { bytes -> [UInt8] in
            guard case .put(let key, let value) = KeyValueOperation(encoded: bytes), value.count == 1_000 else {
                return []
            }
            return key
        }
        #expect(Set(keys).count == 1_001)
        #expect(keys.allSatisfy { $0.starts(with: Array("user".utf8)) })
    }

    @Test func `the load phase stops at a failure`() async throws {
        let client = SimulatedClient(time, latency: millisecond) { number, _ in
            number == 50 ? .failure(kind: "timed_out") : .result(KeyValueResult.stored.encoded)
        }
        var settings = WorkloadSettings()
        settings.records = 100_000
        let plan = WorkloadPlan(.ycsbA, settings)
        let generator = LoadGenerator(
            clients: [(submitter: client, source: plan.loadSource(client: 0, of: 1))],
            slots: 4,
            clock: time.clock
        )
        let sample = try await generator.runToEnd()
        #expect(sample.recording.failuresByKind == ["timed_out": 1])
        #expect(sample.recording.operations < 1_000)
    }
}
