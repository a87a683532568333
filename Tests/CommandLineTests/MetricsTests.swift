import CoreMetrics
import FlyingFox
import Foundation
import Testing

@testable import aardvark_cli

struct MetricsTests {
    @Test func `the page shows counters and gauges in Prometheus' format, sorted, with escaped labels`() {
        let page = MetricsPage()
        let one = Counter(label: "b_total", dimensions: [("replica", "0")], factory: page)
        one.increment(by: 2)
        Counter(label: "b_total", dimensions: [("replica", "0")], factory: page).increment(by: 40)
        Counter(label: "b_total", dimensions: [("replica", "a\"\\\n")], factory: page).increment()
        Gauge(label: "a.gauge", dimensions: [], factory: page).record(1.5)
        #expect(
            page.text == """
                # TYPE a_gauge gauge
                a_gauge 1.5
                # TYPE b_total counter
                b_total{replica="0"} 42
                b_total{replica="a\\"\\\\\\n"} 1

                """
        )
    }

    @Test func `the page is at its path, and nothing else is anywhere`() async throws {
        let page = MetricsPage()
        Counter(label: "n_total", dimensions: [], factory: page).increment(by: 7)
        func answer(_ method: HTTPMethod, _ path: String) -> HTTPResponse {
            let none = Data()
            return MetricsEndpoint.answer(
                page,
                to: HTTPRequest(method: method, version: .http11, path: path, query: [], headers: [:], body: none)
            )
        }
        let found = answer(.GET, "/metrics")
        #expect(found.statusCode == .ok)
        #expect(String(decoding: try await found.bodyData, as: UTF8.self) == "# TYPE n_total counter\nn_total 7\n")
        #expect(answer(.GET, "/").statusCode == .notFound && answer(.POST, "/metrics").statusCode == .notFound)
    }

    @Test func `addresses are a port, or a host and a port`() {
        #expect(MetricsAddress(argument: "9400") == MetricsAddress(argument: "127.0.0.1:9400"))
        #expect(MetricsAddress(argument: "[::1]:1")?.host == "::1")
        for wrong in ["", ":", ":1", "a:", "127.0.0.1", "::1:1", "1:65536", "[::1]"] {
            #expect(MetricsAddress(argument: wrong) == nil, "\(wrong)")
        }
    }
}
