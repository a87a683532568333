import CoreMetrics
import Messages
import Synchronization
import Testing

@testable import Aardvark

struct ReplicaMetricsTests {
    /// Keeps the last value of each metric.
    private final class Collected: MetricsFactory, Sendable {
        final class Handler: CounterHandler, RecorderHandler, Sendable {
            private let current = Mutex(0.0)

            var value: Double { current.withLock { $0 } }

            func increment(by amount: Int64) { current.withLock { $0 += Double(amount) } }
            func reset() { current.withLock { $0 = 0 } }
            func record(_ value: Int64) { record(Double(value)) }
            func record(_ value: Double) { current.withLock { $0 = value } }
        }

        private let handlers = Mutex<[String: Handler]>([:])

        func value(_ label: String) -> Double? { handlers.withLock { $0[label]?.value } }

        private func make(_ label: String) -> Handler {
            handlers.withLock { handlers in
                let handler = handlers[label] ?? Handler()
                handlers[label] = handler
                return handler
            }
        }

        func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler { make(label) }
        func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
            make(label)
        }
        func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
            NOOPMetricsHandler.instance
        }
        func destroyCounter(_ handler: any CounterHandler) {}
        func destroyRecorder(_ handler: any RecorderHandler) {}
        func destroyTimer(_ handler: any TimerHandler) {}
    }

    private static func status(_ counters: [ReplicaStatus.Counter]) -> ReplicaStatus {
        ReplicaStatus(
            replica: ReplicaID(2),
            protocolName: "aardvark",
            view: View(7),
            primary: ReplicaID(3),
            executed: SequenceNumber(130),
            stable: SequenceNumber(128),
            low: SequenceNumber(128),
            high: SequenceNumber(384),
            connectedPeers: [ReplicaID(0), ReplicaID(3)],
            counters: counters
        )
    }

    @Test func `counters are published as what was added, gauges as what they are`() {
        let collected = Collected()
        var metrics = ReplicaMetrics(of: ReplicaID(2), to: collected)
        metrics.publish(Self.status([.init("n", 5), .init("g", 9, .gauge)]))
        metrics.publish(Self.status([.init("n", 12), .init("g", 4, .gauge)]))
        #expect(collected.value("aardvark_n_total") == 12 && collected.value("aardvark_g") == 4)
        #expect(collected.value("aardvark_view") == 7 && collected.value("aardvark_primary") == 3)
        #expect(collected.value("aardvark_executed_sequence") == 130)
        #expect(collected.value("aardvark_stable_sequence") == 128)
        #expect(collected.value("aardvark_peers_connected") == 2)
    }

    @Test func `numbers of 64 bits are published, whatever they are`() {
        let collected = Collected()
        var metrics = ReplicaMetrics(of: ReplicaID(2), to: collected)
        metrics.publish(Self.status([.init("n", .max), .init("g", .max, .gauge)]))
        metrics.publish(Self.status([.init("n", 0), .init("g", 0, .gauge)]))
        #expect(collected.value("aardvark_n_total") ?? 0 > 1e18 && collected.value("aardvark_g") == 0)
    }
}
