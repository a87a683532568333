import CoreMetrics
import Messages

/// Publishes what a replica says of itself as metrics of swift-metrics: each of ``ReplicaStatus/counters`` under its name after `aardvark_`,
/// and its marks, with the replica's number as the dimension `replica`.
///
/// They go where the program has directed them with `MetricsSystem.bootstrap`, and nowhere by default.
struct ReplicaMetrics {
    private struct Published {
        let counter: CoreMetrics.Counter
        var value: UInt64
    }

    private let dimensions: [(String, String)]
    private let factory: any MetricsFactory
    private var counters: [String: Published] = [:]
    private var gauges: [String: Gauge] = [:]

    init(of replica: ReplicaID, to factory: any MetricsFactory = MetricsSystem.factory) {
        self.factory = factory
        dimensions = [("replica", "\(replica.index)")]
    }

    /// Publishes how things are now.
    mutating func publish(_ status: ReplicaStatus) {
        for counter in status.counters {
            switch counter.kind {
            case .counter: publish(counter.name, counter.value)
            case .gauge: record(counter.name, counter.value)
            }
        }
        record("view", status.view.rawValue)
        record("primary", UInt64(status.primary.rawValue))
        record("executed_sequence", status.executed.rawValue)
        record("stable_sequence", status.stable.rawValue)
        record("peers_connected", UInt64(status.connectedPeers.count))
    }

    private mutating func publish(_ name: String, _ value: UInt64) {
        let label = "aardvark_\(name)_total"
        var published = counters[name] ?? Published(counter: makeCounter(label), value: 0)
        // One that was reset, if that ever happens, goes on from there.
        published.counter.increment(by: Int64(clamping: value >= published.value ? value - published.value : value))
        published.value = value
        counters[name] = published
    }

    private func makeCounter(_ label: String) -> CoreMetrics.Counter {
        Counter(label: label, dimensions: dimensions, factory: factory)
    }

    /// As a floating-point number: whole ones may not be beyond 2^63.
    private mutating func record(_ name: String, _ value: UInt64) {
        let gauge = gauges[name] ?? Gauge(label: "aardvark_\(name)", dimensions: dimensions, factory: factory)
        gauges[name] = gauge
        gauge.record(Double(value))
    }
}
