import Aardvark
import ArgumentParser
import Cryptography
import Foundation
import Messages

/// `aardvark status`.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Ask every replica how it is.",
        discussion: """
            Shows for each replica whether it answers, its view and the view's primary, the last batch it executed, its \
            last stable checkpoint and water marks, the peers it is connected to, and its protocol; below, whom it has \
            caught misbehaving. The exit code is 0 when a quorum of 2f + 1 replicas answers, and 1 otherwise.

            With --json there is also everything that each replica counts (counters, which only grow) and what is so now \
            (gauges). The same numbers come once a second as metrics: see `aardvark replica --metrics`.

              aardvark status
              aardvark status --cluster cluster/cluster.yaml --json
            """
    )

    @OptionGroup var clusterOptions: ClusterOptions

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The key file of an administrator or a client. (default: keys/admin-N.key beside the cluster file)",
            valueName: "file"
        ),
        completion: .file(extensions: ["key"])
    )
    var key: String?

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() async throws {
        let cluster = try clusterOptions.load()
        let identity = try cluster.statusIdentity(keyPath: key)
        let source = StatusSource(cluster: cluster, identity: identity.identity, key: identity.key)
        let report = StatusReport(cluster: cluster, statuses: await source.query(timeout: .seconds(2)))
        try Console.write(Array((json ? Console.json(report) : report.table).utf8))
        if !report.quorumReachable { throw ExitCode.failure }
    }
}

/// The status of a cluster, as it is printed. The names of the JSON object's fields are those of the properties in snake case.
struct StatusReport: Encodable {
    /// One replica's row.
    struct Row: Encodable {
        let replica: Int
        let reachable: Bool
        let `protocol`: String?
        let view: UInt64?
        let primary: Int?
        let lastExecuted: UInt64?
        let stableCheckpoint: UInt64?
        let lowWaterMark: UInt64?
        let highWaterMark: UInt64?
        let connectedPeers: [Int]?
        let uptimeMilliseconds: UInt64?
        let cpuMicroseconds: UInt64?
        let counters: [String: UInt64]?
        let gauges: [String: UInt64]?
    }

    let clusterFile: String
    let clusterId: String
    let `protocol`: String
    let faultsTolerated: Int
    let quorum: Int
    let quorumReachable: Bool
    let replicas: [Row]

    /// Gathers what replicas answered: one answer each, nil from those that gave none.
    init(cluster: ClusterFile, statuses: [ReplicaStatus?]) {
        clusterFile = cluster.path
        clusterId = cluster.clusterID.description
        self.protocol = cluster.protocolName.rawValue
        faultsTolerated = cluster.size.faults
        quorum = cluster.size.quorum
        quorumReachable = statuses.count { $0 != nil } >= cluster.size.quorum
        replicas = statuses.enumerated().map { number, status in
            Row(
                replica: number,
                reachable: status != nil,
                protocol: status?.protocolName,
                view: status?.view.rawValue,
                primary: status?.primary.index,
                lastExecuted: status?.executed.rawValue,
                stableCheckpoint: status?.stable.rawValue,
                lowWaterMark: status?.low.rawValue,
                highWaterMark: status?.high.rawValue,
                connectedPeers: status?.connectedPeers.map(\.index),
                uptimeMilliseconds: status?.counter("uptime_milliseconds"),
                cpuMicroseconds: status?.counter("cpu_microseconds"),
                counters: status.map { Self.numbers($0, .counter) },
                gauges: status.map { Self.numbers($0, .gauge) }
            )
        }
    }

    private static func numbers(_ status: ReplicaStatus, _ kind: ReplicaStatus.Counter.Kind) -> [String: UInt64] {
        let ofKind = status.counters.filter { $0.kind == kind }
        return Dictionary(ofKind.map { ($0.name, $0.value) }) { first, _ in first }
    }

    /// What the replicas have caught others at, in a line for each replica that has.
    private var misbehaviour: [String] {
        replicas.compactMap { row in
            guard let counters = row.counters, let gauges = row.gauges else { return nil }
            var found: [String] = []
            let cut = replicas.filter { gauges["peer_\($0.replica)_cut"] == 1 }
            if !cut.isEmpty {
                found.append("has cut off \(cut.map { "replica \($0.replica)" }.joined(separator: ", ")) for flooding")
            }
            let names = ["clients_blacklisted": "clients", "forwarders_blacklisted": "forwarding replicas"]
            for (counter, who) in names.sorted(by: { $0.key < $1.key }) {
                if let count = counters[counter], count > 0 { found.append("blacklists \(count) \(who)") }
            }
            let accusations = counters.filter { $0.key.hasPrefix("accused_") }.values.reduce(0, &+)
            if accusations > 0 { found.append("has accused replicas \(accusations) times") }
            if let count = counters["checkpoints_diverged"], count > 0 { found.append("has another state than others") }
            return found.isEmpty ? nil : "replica \(row.replica) " + found.joined(separator: "; ")
        }
    }

    /// The report as a table for a person.
    var table: String {
        var rows = [
            [
                "replica", "reachable", "protocol", "view", "primary", "executed", "stable", "low", "high", "peers",
                "uptime",
                "cpu",
            ]
        ]
        for row in replicas {
            guard row.reachable else {
                rows.append(["\(row.replica)", "no"] + Array(repeating: "-", count: rows[0].count - 2))
                continue
            }
            let numbers = [row.lastExecuted, row.stableCheckpoint, row.lowWaterMark, row.highWaterMark].map { number in
                number.map(String.init) ?? "-"
            }
            rows.append(
                [
                    "\(row.replica)", "yes", row.protocol ?? "-", row.view.map(String.init) ?? "-",
                    row.primary.map(String.init) ?? "-",
                ] + numbers + [
                    row.connectedPeers.map { $0.isEmpty ? "none" : $0.map(String.init).joined(separator: ",") } ?? "-",
                    Console.duration(seconds: (row.uptimeMilliseconds ?? 0) / 1_000),
                    row.cpuMicroseconds.map { "\($0 / 1_000_000).\($0 / 100_000 % 10)s" } ?? "-",
                ]
            )
        }
        let reachable = replicas.count { $0.reachable }
        let verdict = quorumReachable ? "a quorum is reachable" : "no quorum is reachable: the service stands still"
        return Console.table(rows) + misbehaviour.map { $0 + "\n" }.joined()
            + "\(reachable) of \(replicas.count) replicas answer, \(quorum) are needed: \(verdict)\n"
    }
}
