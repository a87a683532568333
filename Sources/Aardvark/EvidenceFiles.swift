import Cryptography
import Logging
import Messages

/// Where a replica leaves evidence of misbehaviour for its operator: one file for each whom it accuses, the first that there was.
struct EvidenceFiles {
    private let directory: String?
    private let logger: Logger

    /// - Parameters:
    ///   - directory: Made when it is first needed; nil to keep nothing beyond a line in the log.
    ///   - logger: Told whom the evidence accuses.
    init(directory: String?, logger: Logger) {
        self.directory = directory
        self.logger = logger
    }

    /// Keeps evidence in which no flaw was found. The engine bounds how often this is called; what fails is in the log.
    func keep(_ evidence: Evidence) {
        var metadata: Logger.Metadata = ["accused": "\(evidence.accused)"]
        guard let directory else { return logger.warning("has evidence of misbehaviour", metadata: metadata) }
        let accused = evidence.accused
        let path = "\(directory)/\(accused.role)-\(accused.number).\(ReplicaServer.evidenceExtension)"
        metadata["file"] = "\(path)"
        do throws(OperatorError) {
            if !FileAccess.exists(path) {
                try FileAccess.createDirectory(directory, mode: 0o700)
                try FileAccess.createAtOnce(path, what: "evidence", mode: 0o600, contents: evidence.encoded)
            }
            logger.warning("has evidence of misbehaviour", metadata: metadata)
        } catch {
            metadata["reason"] = "\(error.sentence)"
            logger.error("has evidence of misbehaviour, and cannot keep it", metadata: metadata)
        }
    }
}

extension ReplicaServer {
    /// How the names of files with evidence end.
    package static let evidenceExtension = "evidence"

    /// The directory that a replica's evidence of misbehaviour is in by default: `evidence/replica-N` beside the cluster file.
    public static func defaultEvidenceDirectory(clusterPath: String, replica: UInt8) -> String {
        let parts = clusterPath.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        return (parts.map(String.init) + ["evidence", "replica-\(replica)"]).joined(separator: "/")
    }
}

extension ClusterFile {
    /// What evidence proves, by this file alone.
    ///
    /// - Throws: Why it proves nothing.
    public func standing(of evidence: Evidence) throws(Evidence.Flaw) -> Evidence.Standing {
        let flaw = evidence.flaw(in: clusterID) { replica($0)?.publicKey }
        if let flaw { throw flaw }
        return try evidence.standing { publicKey(of: $0.identity) }
    }
}
