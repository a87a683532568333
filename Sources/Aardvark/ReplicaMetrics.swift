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
    private var counters: [String: Published] = [:]
    private var gauges: [String: Gauge] = [:]

    init(of replica: ReplicaID) {
        dimensions = [("replica", "\(replica.index)")]
    }

    /// Publishes how things are now.
    mutating func publish(_ status: ReplicaStatus) {
        for counter in status.counters {
            switch counter.kind {
            case .counter: publish(counter.name, counter.value)
            case .gauge: gauge(counter.name).record(counter.value)
            }
        }
        gauge("view").record(status.view.rawValue)
        gauge("primary").record(status.primary.index)
        gauge("executed_sequence").record(status.executed.rawValue)
        gauge("stable_sequence").record(status.stable.rawValue)
        gauge("peers_connected").record(status.connectedPeers.count)
    }

    private mutating func publish(_ name: String, _ value: UInt64) {
        let label = "aardvark_\(name)_total"
        var published = counters[name] ?? Published(counter: Counter(label: label, dimensions: dimensions), value: 0)
        // One that was reset, if that ever happens, goes on from there.
        published.counter.increment(by: Int64(clamping: value >= published.value ? value - published.value : value))
        published.value = value
        counters[name] = published
    }

    private mutating func gauge(_ name: String) -> Gauge {
        if let gauge = gauges[name] { return gauge }
        let gauge = Gauge(label: "aardvark_\(name)", dimensions: dimensions)
        gauges[name] = gauge
        return gauge
    }
}
