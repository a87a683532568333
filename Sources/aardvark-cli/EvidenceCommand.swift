import Aardvark
import ArgumentParser
import Foundation
import Messages

/// `aardvark admin evidence`.
struct EvidenceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evidence",
        abstract: "Check evidence that replicas or clients misbehaved.",
        discussion: """
            Where requests are signed, a replica that forwards one which its client has not signed, and a client that signs two \
            different requests of one number, give themselves away: both are provable to anybody. Replicas keep such evidence in \
            evidence/replica-N beside the cluster file; they judge nobody by it. No replica is asked; the cluster file is all \
            that is needed, and the files may come from anywhere.

            Evidence turns on a client's key. The cluster file has the clients' first keys. Where an administrator has changed a \
            key since, or added the client, the evidence says which key it takes for the client's: compare it with what the \
            administrator gave the client, for whoever made the evidence could have named another.

              aardvark admin evidence
              aardvark admin evidence --cluster cluster/cluster.yaml replica-1.evidence

            The exit code is 1 when something proves nothing, and 65 when a file is no evidence at all.
            """
    )

    @OptionGroup var clusterOptions: ClusterOptions

    @Argument(
        help: ArgumentHelp(
            "The files. (default: all in evidence/replica-N beside the cluster file)",
            valueName: "file"
        ),
        completion: .file(extensions: [ReplicaServer.evidenceExtension])
    )
    var files: [String] = []

    func run() throws {
        let cluster = try clusterOptions.load()
        let found = files.isEmpty ? Self.kept(beside: cluster) : files
        if found.isEmpty { return Console.note("no replica on this machine has evidence against anybody") }
        var isWhole = true
        for path in found {
            let bytes = try FileAccess.read(path, what: "evidence", mostBytes: Evidence.mostBytes)
            let evidence: Evidence
            do {
                evidence = try Evidence(decoding: bytes)
            } catch {
                throw OperatorError(.malformedData, "\(path): the file is no evidence")
            }
            let verdict = EvidenceVerdict(evidence, in: cluster)
            isWhole = isWhole && verdict.holds
            try Console.writeLine("\(path): \(verdict.sentence)")
        }
        if !isWhole { throw ExitCode.failure }
    }

    private static func kept(beside cluster: ClusterFile) -> [String] {
        cluster.replicas.flatMap { replica in
            let directory = ReplicaServer.defaultEvidenceDirectory(
                clusterPath: cluster.path,
                replica: replica.id.rawValue
            )
            let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
            return names.filter { $0.hasSuffix(".\(ReplicaServer.evidenceExtension)") }.sorted()
                .map { "\(directory)/\($0)" }
        }
    }
}

/// What a piece of evidence comes to, in words.
struct EvidenceVerdict {
    /// Whether it proves something, as far as the cluster file can tell.
    let holds: Bool
    /// Whom it accuses of what, and what that rests on.
    let sentence: String

    init(_ evidence: Evidence, in cluster: ClusterFile) {
        let accusation = Self.accusation(evidence)
        do throws(Evidence.Flaw) {
            switch try cluster.standing(of: evidence) {
            case .proven: sentence = "\(accusation): proven"
            case .restsOnKey(let client, let epoch):
                sentence =
                    "\(accusation): proven if \(evidence.clientKey) is the key of \(client.identity) in key epoch "
                    + "\(epoch.rawValue), which the cluster file does not say"
            }
            holds = true
        } catch {
            sentence = "accuses \(evidence.accused), but proves nothing: \(error)"
            holds = false
        }
    }

    private static func accusation(_ evidence: Evidence) -> String {
        let request = evidence.request
        let place = "number \(request.number.rawValue) in session \(request.session.rawValue)"
        switch evidence.offence {
        case .badForward(_, let endorsement):
            return
                "\(evidence.accused) forwarded in view \(endorsement.view.rawValue), under its own signature, a request "
                + "that \(request.client.identity) has not signed (\(place))"
        case .conflictingRequests:
            return "\(evidence.accused) signed two different requests of \(place)"
        }
    }
}
