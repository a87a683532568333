import Foundation
import Testing
import Workloads

@Suite
struct LoadRecordingTests {
    private var recording: LoadRecording {
        var recording = LoadRecording()
        for latency in [0, 1, 250, 250, 2_047, 2_048, 9_999, 1_234_567, 500_000_000] as [UInt64] {
            recording.noteSuccess(of: latency < 300 ? .read : .insert, invocations: 2, latencyMicroseconds: latency)
        }
        recording.noteFailure("timed_out")
        recording.noteFailure("timed_out")
        return recording
    }

    @Test func `a recording is the same after the way to another process`() throws {
        let read = try JSONDecoder().decode(LoadRecording.self, from: JSONEncoder().encode(recording))
        #expect(read.operationsByKind == recording.operationsByKind)
        #expect(read.failuresByKind == recording.failuresByKind)
        #expect(read.invocations == recording.invocations)
        #expect(read.operations == 9)
        #expect(read.latency.max == recording.latency.max)
        #expect(read.latency.p50 == recording.latency.p50)
        #expect(read.latency.p999 == recording.latency.p999)

        var total = recording
        total.add(read)
        #expect(total.operations == 18)
        #expect(total.latency.p50 == recording.latency.p50)
    }

    @Test(arguments: [
        #"{"operations":{"nothing":1},"invocations":1,"failures":{},"latencies":[]}"#,
        #"{"operations":{},"invocations":0,"failures":{},"latencies":[{"microseconds":99999999999,"count":1}]}"#,
        #"{"operations":{},"invocations":0,"failures":{},"latencies":[{"microseconds":1,"count":18446744073709551615}]}"#,
        #"{"operations":{},"invocations":0,"failures":{},"latencies":[{"microseconds":18446744073709551615,"count":1}]}"#,
    ])
    func `what no recording can hold is refused`(json: String) {
        #expect(throws: DecodingError.self) { try JSONDecoder().decode(LoadRecording.self, from: Data(json.utf8)) }
    }
}
