import Aardvark
import ArgumentParser
import Foundation
import KeyValueService
import Messages
import Workloads

/// `aardvark bench`: how fast a running cluster is.
struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure the throughput and the latency of a running cluster.",
        discussion: """
            Each client keeps WINDOW requests of BUNDLE operations outstanding and sends the next one when one has its \
            result (a closed loop). Clients take the identities of the cluster file from its first client on.

            Workloads:
              null            empty operations: the protocol alone
              kv-put          puts of uniformly chosen records
              audit           90 % increments of a key each, 10 % reads of what was acknowledged; see below
              ycsb-a          50 % reads, 50 % updates, zipfian
              ycsb-b          95 % reads, 5 % updates, zipfian
              ycsb-c          reads, zipfian
              ycsb-d          95 % reads of mostly new records, 5 % inserts
              ycsb-e          95 % scans of 1 to 100 records, 5 % inserts
              ycsb-f          50 % reads, 50 % read-modify-writes, zipfian
            The YCSB workloads first put their records (the load phase); updates write a whole record.

            After an audit run everything that it wrote is read back: each acknowledged write must be there exactly once, and \
            nothing else. The report says so, and the exit code is 3 if it is not so. This is for runs during which replicas are \
            killed, stopped or cut off. The keys, below audit/, stay.

            Ctrl-C ends the measured time early; the report covers the time until then.

            The report compares the throughput with the limit of this machine: its cores divided by the number of \
            replicas times the time of one signature check. It says something about a cluster whose replicas all run \
            on this machine.

            With --json the report is one JSON object on standard output; its fields have their units in their names, \
            and the documentation of the Workloads module lists them.

            Examples:
              aardvark bench
              aardvark bench --workload ycsb-b --clients 8 --window 32 --seconds 30 --records 100000
              aardvark bench --workload kv-put --size 100 --bundle 16 --json > report.json
              aardvark bench --workload audit --seconds 3600 --interval 0.1
            """
    )

    @OptionGroup var clusterOptions: ClusterOptions

    @Option(help: ArgumentHelp("What the clients ask for.", valueName: "name"))
    var workload = Workload.null

    @Option(help: ArgumentHelp("How many clients send at once.", valueName: "number"))
    var clients = 4

    @Option(help: ArgumentHelp("Requests that each client keeps outstanding.", valueName: "number"))
    var window = 32

    @Option(help: ArgumentHelp("Operations in each request, under one signature.", valueName: "number"))
    var bundle = 1

    @Option(help: ArgumentHelp("How long to measure.", valueName: "seconds"))
    var seconds = 10.0

    @Option(help: ArgumentHelp("How long to send before measuring.", valueName: "seconds"))
    var warmup = 1.0

    @Option(help: ArgumentHelp("The length of each sample in the report's series.", valueName: "seconds"))
    var interval = 1.0

    @Option(help: ArgumentHelp("The length of a record's value.", valueName: "bytes"))
    var size = WorkloadSettings().valueBytes

    @Option(help: ArgumentHelp("How many records there are.", valueName: "number"))
    var records = WorkloadSettings().records

    @Option(help: ArgumentHelp("The seed of all choices: the same one gives the same operations.", valueName: "number"))
    var seed: UInt64 = 1

    @Flag(help: "Leave out the load phase: the records are there from an earlier run with the same --records.")
    var skipLoad = false

    @Flag(help: "Print the report as one JSON object.")
    var json = false

    func validate() throws {
        try Self.check(clients, "--clients", in: 1...Int(ClusterFile.mostMembers))
        try Self.check(window, "--window", in: 1...64)
        try Self.check(bundle, "--bundle", in: 1...MessageLimits.operationsPerRequest)
        try Self.check(seconds, "--seconds", in: 0.1...86_400)
        try Self.check(warmup, "--warmup", in: 0...3_600)
        try Self.check(interval, "--interval", in: 0.1...3_600)
        try Self.check(size, "--size", in: 0...KeyValueLimits.valueBytes)
        try Self.check(records, "--records", in: 1...WorkloadSettings.mostRecords)
    }

    func run() async throws {
        let progress = BenchProgress(workload: workload.rawValue)
        let cluster = try clusterOptions.load()
        let run = try BenchRun(self, cluster: cluster, progress: progress)
        let report: BenchmarkReport
        do {
            report = try await run.run()
        } catch {
            progress.clear()
            throw error
        }
        progress.clear()
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            print(BenchTable(report).text)
        }
        guard report.operations > 0 else {
            throw OperatorError(
                .unavailable,
                "no operation succeeded in \(seconds) s; aardvark status --cluster \(cluster.path) shows "
                    + "which replicas serve"
            )
        }
        if report.audit?.isClean == false { throw Self.brokenPromise }
    }

    /// The exit code of a run whose audit found something wrong.
    private static let brokenPromise = ExitCode(3)

    private static func check<Number: Comparable>(_ value: Number, _ name: String, in range: ClosedRange<Number>) throws
    {
        guard range.contains(value) else {
            throw ValidationError("\(name) is \(value), but has to be \(range.lowerBound) to \(range.upperBound)")
        }
    }
}

extension Workload: ExpressibleByArgument {}
