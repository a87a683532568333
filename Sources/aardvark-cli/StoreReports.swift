import Aardvark
import Cryptography
import DurableStore
import Messages

/// What a store or a backup holds, as it is printed. The names of the JSON object's fields are those of the properties in snake case.
struct StoreReport: Encodable {
    /// A checkpoint in it.
    struct Checkpoint: Encodable {
        let number: UInt64
        let root: String
        let isStable: Bool
        let systemEntries: UInt64
        let serviceEntries: UInt64
    }

    let path: String
    let isBackup: Bool
    let format: UInt32
    let clusterId: String
    /// Whose store it is; a backup is nobody's.
    let replica: UInt8?
    let view: UInt64?
    let isActive: Bool?
    /// Whether it votes for nothing until all that it may have voted, before it lost its store, is past.
    let isLearning: Bool?
    let logRecords: Int?
    let logFirst: UInt64?
    let logLast: UInt64?
    /// The last number that 2f + 1 replicas signed; its state may not be here yet.
    let stableCheckpoint: UInt64?
    let signers: [UInt8]
    let checkpoints: [Checkpoint]
    let changes: UInt64?
    let bytes: UInt64

    /// Reads what it says of itself.
    init(_ path: String) throws(OperatorError) {
        let isBackup = try operatorError { () throws(StoreError) in try Backup.isFile(at: path) }
        if isBackup {
            self.init(try operatorError { () throws(StoreError) in try Backup(at: path) })
        } else {
            self.init(path, try operatorError { () throws(StoreError) in try StoreReader(at: path).summary() })
        }
    }

    private init(_ path: String, _ summary: StoreSummary) {
        self.path = path
        isBackup = false
        format = summary.format
        clusterId = summary.owner.cluster.description
        replica = summary.owner.replica.rawValue
        view = summary.view.rawValue
        isActive = summary.isActive
        isLearning = summary.isLearning
        logRecords = summary.logRecords
        logFirst = summary.logged?.lowerBound
        logLast = summary.logged?.upperBound
        stableCheckpoint = summary.stable?.number
        signers = summary.stable?.signers.map(\.rawValue) ?? []
        checkpoints = summary.checkpoints.map { checkpoint in
            Checkpoint(
                number: checkpoint.number,
                root: checkpoint.root.description,
                isStable: checkpoint.number == summary.stable?.number,
                systemEntries: UInt64(checkpoint.systemEntries),
                serviceEntries: UInt64(checkpoint.serviceEntries)
            )
        }
        changes = summary.changes
        bytes = summary.byteCount
    }

    private init(_ backup: Backup) {
        path = backup.path
        isBackup = true
        format = Backup.format
        clusterId = backup.cluster.description
        replica = nil
        view = nil
        isActive = nil
        isLearning = nil
        logRecords = nil
        logFirst = nil
        logLast = nil
        stableCheckpoint = backup.sequence.rawValue
        signers = backup.certificate.map(\.replica.rawValue).sorted()
        checkpoints = [
            Checkpoint(
                number: backup.sequence.rawValue,
                root: backup.root.description,
                isStable: true,
                systemEntries: backup.systemEntries,
                serviceEntries: backup.serviceEntries
            )
        ]
        changes = nil
        bytes = backup.byteCount
    }

    /// The number of entries of the last checkpoint.
    var entries: UInt64? { checkpoints.last.map { $0.systemEntries + $0.serviceEntries } }

    /// The report for a person.
    var text: String {
        var rows = [[isBackup ? "backup" : "store", path], ["format", "\(format)"], ["cluster", clusterId]]
        if let replica { rows.append(["replica", "\(replica)"]) }
        if let view {
            rows.append([
                "view", "\(view)" + (isActive == true || isLearning == true ? "" : " (waits for it to begin)"),
            ])
        }
        if isLearning == true { rows.append(["votes", "none, until what it voted before it lost its store is past"]) }
        if let logRecords {
            let range = logFirst.flatMap { first in logLast.map { ", about sequence numbers \(first) to \($0)" } } ?? ""
            rows.append(["log", "\(Console.grouped(UInt64(logRecords))) records\(range)"])
        }
        let names = signers.map(String.init).joined(separator: ", ")
        rows.append(["stable", stableCheckpoint.map { "\($0), signed by replicas \(names)" } ?? "no checkpoint yet"])
        rows.append(["size", "\(Console.grouped(bytes)) bytes"])
        var heads = [["checkpoint", "stable", "service keys", "engine's keys", "root"]]
        heads += checkpoints.map { checkpoint in
            [
                "\(checkpoint.number)", checkpoint.isStable ? "yes" : "no", Console.grouped(checkpoint.serviceEntries),
                Console.grouped(checkpoint.systemEntries), checkpoint.root,
            ]
        }
        return Console.table(rows) + (checkpoints.isEmpty ? "" : "\n" + Console.table(heads))
    }
}

extension StoreSummary {
    /// The number of entries of the stable checkpoint's state; nil when it is not here.
    var stableEntries: UInt64? {
        let state = checkpoints.last { $0.number == stable?.number }
        return state.map { UInt64($0.systemEntries) + UInt64($0.serviceEntries) }
    }
}

/// That a store or a backup is what was written, as it is printed.
struct VerificationReport: Encodable {
    let path: String
    let isIntact = true
    let entries: UInt64
    let checkpoints: [UInt64]
    /// The number whose state is the one that 2f + 1 replicas signed; nil when there is none.
    let certifiedCheckpoint: UInt64?
    private let verdict: String

    private enum CodingKeys: CodingKey {
        case path, isIntact, entries, checkpoints, certifiedCheckpoint
    }

    init(path: String, _ findings: StoreFindings) {
        self.path = path
        entries = findings.entries
        checkpoints = findings.checkpoints
        switch findings.certificate {
        case .none:
            certifiedCheckpoint = nil
            verdict = "there is no stable checkpoint yet, so no certificate that the state could be held against"
        case .holds(let number):
            certifiedCheckpoint = number
            verdict = "the state at \(number) is the one that 2f + 1 replicas signed"
        case .ofStateNotHere(let number):
            certifiedCheckpoint = nil
            verdict = "the certificate at \(number) is good, but the state of that number was still being fetched"
        }
    }

    /// The report for a person.
    var text: String {
        let numbers = checkpoints.map(String.init).joined(separator: ", ")
        let what = checkpoints.isEmpty ? "no checkpoint yet" : "the roots at \(numbers) were computed again"
        return "\(path) is intact: \(what); \(verdict)\n"
    }
}
