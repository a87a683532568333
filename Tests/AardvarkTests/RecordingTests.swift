import Aardvark
import Agreement
import Foundation
import KeyValueService
import Messages
import Testing

/// Recording real replicas.
@Suite(.timeLimit(.minutes(2)))
struct RecordingTests {
    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "aardvark-recording-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        do {
            try await body(directory.path)
        } catch {
            try? FileManager.default.removeItem(at: directory)
            throw error
        }
        try FileManager.default.removeItem(at: directory)
    }

    /// Steps through a recording to its end.
    ///
    /// - Returns: The number of inputs, the view and the last executed batch at the end.
    private func replay(_ path: String) throws -> (inputs: UInt64, view: View, executed: SequenceNumber) {
        var reader = RecordingReader()
        reader.feed(try Data(contentsOf: URL(filePath: path)))
        let start = try #require(try reader.readHeader())
        var replay = Replay(of: start)
        while let recorded = try reader.next() {
            let deviation = replay.step(recorded).deviation
            guard deviation == nil else {
                Issue.record("\(path): input \(reader.inputs): \(recorded.input): \(deviation.debugDescription)")
                break
            }
        }
        #expect(reader.unread == 0)
        return (reader.inputs, replay.replica.view, replay.replica.executed)
    }

    @Test(arguments: [(ClusterFile.ProtocolName.pbft, 0), (.aardvark, 0), (.aardvark, 2)])
    func `Replicas that lose their primary are stepped through again`(
        protocolName: ClusterFile.ProtocolName,
        signatureThreads: Int
    ) async throws {
        try await withDirectory { directory in
            var tuning = ClusterFile.Tuning()
            tuning.checkpointInterval = 4
            tuning.window = 8
            var last: [ReplicaStatus?] = []
            try await RunningCluster.with(
                protocolName,
                tuning: tuning,
                requestTimeoutMilliseconds: 500,
                recordDirectory: directory,
                signatureThreads: signatureThreads
            ) { cluster in
                let client = try await cluster.client()
                for sum in 1...10 { #expect(try await client.increment("visits") == Int64(sum)) }
                try await cluster.stopReplica(0)
                #expect(try await client.increment("visits") == 11)
                last = try await cluster.statuses { statuses in
                    statuses[1...].allSatisfy {
                        ($0?.view ?? View(0)) > View(0) && $0?.executed == statuses[1]?.executed
                    }
                }
            }
            for number in 0..<4 {
                let run = try replay("\(directory)/replica-\(number)")
                #expect(run.inputs > 20)
                #expect(run.executed > SequenceNumber(8))
                guard let status = last[number] else { continue }
                #expect(run.view >= status.view)
                #expect(run.executed >= status.executed)
            }
        }
    }

    @Test func `A recording that exists is not overwritten`() async throws {
        try await withDirectory { directory in
            let path = "\(directory)/recording"
            try Data("precious".utf8).write(to: URL(filePath: path))
            let error = #expect(throws: OperatorError.self) { try InputRecording(path: path, logger: .silent) }
            #expect(error?.kind == .cannotCreate)
            #expect(error?.sentence == "\(path): the recording exists already and is not overwritten")
            #expect(try Data(contentsOf: URL(filePath: path)) == Data("precious".utf8))
        }
    }
}
