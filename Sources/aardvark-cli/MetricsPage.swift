import CoreMetrics
import Synchronization

/// Collects this process's metrics and shows them in Prometheus' text format (version 0.0.4) at `/metrics`.
///
/// Counters and gauges, which is all that replicas publish; timers and histograms of other code are not collected.
final class MetricsPage: MetricsFactory, Sendable {
    private enum Kind: String {
        case counter, gauge
    }

    /// One series: a name with its labels.
    private final class Series: CounterHandler, RecorderHandler, Sendable {
        private let current = Mutex(0.0)

        var value: Double { current.withLock { $0 } }

        func increment(by amount: Int64) { current.withLock { $0 += Double(amount) } }

        func reset() { current.withLock { $0 = 0 } }

        func record(_ value: Int64) { record(Double(value)) }

        func record(_ value: Double) { current.withLock { $0 = value } }
    }

    private struct Family {
        let kind: Kind
        var series: [String: Series] = [:]
    }

    private let families = Mutex<[String: Family]>([:])

    /// Everything collected, in Prometheus' text format.
    var text: String {
        families.withLock { families in
            var text = ""
            for (name, family) in families.sorted(by: { $0.key < $1.key }) {
                text += "# TYPE \(name) \(family.kind.rawValue)\n"
                for (labels, series) in family.series.sorted(by: { $0.key < $1.key }) {
                    text += "\(name)\(labels) \(Self.number(series.value))\n"
                }
            }
            return text
        }
    }

    private static func number(_ value: Double) -> String {
        if let whole = Int64(exactly: value) { "\(whole)" } else { "\(value)" }
    }

    private func series(_ name: String, _ dimensions: [(String, String)], _ kind: Kind) -> Series {
        let labels = dimensions.map { "\(Self.name($0.0))=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
        let key = labels.isEmpty ? "" : "{\(labels)}"
        return families.withLock { families in
            var family = families[Self.name(name)] ?? Family(kind: kind)
            let series = family.series[key] ?? Series()
            family.series[key] = series
            families[Self.name(name)] = family
            return series
        }
    }

    private static func name(_ text: String) -> String {
        String(text.map { $0.isASCII && ($0.isLetter || $0.isNumber) || $0 == "_" ? $0 : "_" })
    }

    private static func escaped(_ text: String) -> String {
        text.map { character in
            switch character {
            case "\\": "\\\\"
            case "\"": "\\\""
            case "\n": "\\n"
            default: String(character)
            }
        }.joined()
    }

    // MARK: MetricsFactory

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, dimensions, .counter)
    }

    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        aggregate ? NOOPMetricsHandler.instance : series(label, dimensions, .gauge)
    }

    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler { NOOPMetricsHandler.instance }

    func destroyCounter(_ handler: any CounterHandler) {}

    func destroyRecorder(_ handler: any RecorderHandler) {}

    func destroyTimer(_ handler: any TimerHandler) {}
}
