import Foundation
import Messages
import Workloads

/// What the load generator of a run tells the lab: a line of JSON each, on its standard output.
enum LoadReport: Codable {
    /// Every client has its connections, and the load can begin.
    case ready
    /// What the replicas say of themselves, in their order: their answers as they were encoded, nil where none came in time.
    case statuses([Data?])
    /// What the clients did in one second of the load.
    case second(LoadSecond)
    /// The load is over and nothing is outstanding.
    case stopped
    /// Whether what clients saw beside the load is linearizable.
    case history(AttackResults.Verdict)
    /// What reading everything back showed; the verdict is nil where the workload cannot be audited. The last report.
    case audited(AuditVerdict?)
    /// Why the load generator cannot go on, as a sentence. The last report.
    case failed(String)

    /// What replicas said, as a report.
    static func statuses(of replicas: [ReplicaStatus?]) -> LoadReport {
        .statuses(replicas.map { $0.map { Data(ReplicaAnswer.status(0, $0).encoded) } })
    }

    /// What replicas said, out of a report; nil where it is no status.
    static func decode(_ statuses: [Data?]) -> [ReplicaStatus?] {
        statuses.map { data in
            guard let bytes = data.map(Array.init),
                case .status(_, let status)? = try? ReplicaAnswer(decoding: bytes, in: bytes.indices)
            else { return nil }
            return status
        }
    }
}

/// What all clients did in one second, or in the shorter rest of a load.
struct LoadSecond: Codable {
    /// Its length, in seconds.
    let seconds: Double
    /// What all of them recorded together.
    let recording: LoadRecording
    /// The operations of each client that succeeded, in the order of the clients.
    let operations: [UInt64]

    /// Puts together what each client did; nil for one without a sample of this second.
    init(_ samples: [LoadSample?]) {
        var total = LoadRecording()
        for sample in samples.compactMap(\.self) { total.add(sample.recording) }
        seconds = samples.compactMap { $0?.seconds }.max() ?? 0
        recording = total
        operations = samples.map { $0?.recording.operations ?? 0 }
    }
}
