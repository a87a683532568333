/// The tables of a summary, the same in the terminal, in Markdown and in the page.
struct ResultTables {
    let results: AttackResults

    /// What each protocol does without an attack.
    var peaks: TextTable {
        var table = TextTable([
            TextTable.Column(title: "protocol"),
            TextTable.Column(title: "operations/s", isNumber: true),
            TextTable.Column(title: "of pbft", isNumber: true),
            TextTable.Column(title: "paper", isNumber: true),
        ])
        let pbft = results.summary.peaks.first { $0.protocolName == "pbft" }?.faultFree.median
        for peak in results.summary.peaks {
            table.rows.append([
                peak.protocolName,
                Figures.spread(peak.faultFree, Figures.rate),
                pbft.map { $0 > 0 ? Figures.percent(peak.faultFree.median / $0) : "-" } ?? "-",
                Self.publishedPeakShare(peak.protocolName).map(Figures.percent) ?? "-",
            ])
        }
        return table
    }

    /// The published peak as a share of PBFT's.
    static func publishedPeakShare(_ protocolName: String) -> Double? {
        guard let figure = PublishedResults.ablation.figure(of: protocolName),
            let pbft = PublishedResults.ablation.figure(of: "pbft"),
            case .throughput(let own) = figure.outcome, case .throughput(let base) = pbft.outcome
        else { return nil }
        return own / base
    }

    /// One row a case: throughput.
    var throughput: TextTable {
        var table = TextTable([
            TextTable.Column(title: "profile"),
            TextTable.Column(title: "protocol"),
            TextTable.Column(title: "fault-free", isNumber: true),
            TextTable.Column(title: "attack", isNumber: true),
            TextTable.Column(title: "of own", isNumber: true),
            TextTable.Column(title: "paper", isNumber: true),
            TextTable.Column(title: "worst 1 s", isNumber: true),
            TextTable.Column(title: "p99", isNumber: true),
            TextTable.Column(title: "evicted", isNumber: true),
            TextTable.Column(title: "back at 90 %", isNumber: true),
            TextTable.Column(title: "held"),
        ])
        for result in results.summary.cases {
            table.rows.append([
                Self.name(of: result),
                result.protocolName,
                result.faultFree.map { Figures.rate($0.median) } ?? "-",
                result.attack.map { Figures.rate($0.median) } ?? "-",
                Figures.spread(result.ratio, Figures.percent),
                PublishedResults.share(of: result.protocolName, under: result.profile).map(Figures.percent) ?? "-",
                result.worstSecond.map { Figures.rate($0.median) } ?? "-",
                result.attackLatency.map { Figures.duration(microseconds: $0.p99.median) } ?? "-",
                Self.some(result.evictionSeconds, of: result.completedRuns),
                Self.some(result.recoverySeconds, of: result.completedRuns),
                result.passed ? "yes" : "NO",
            ])
        }
        return table
    }

    /// One row a case in which a client is starved on purpose.
    var starvation: TextTable {
        var table = TextTable([
            TextTable.Column(title: "profile"),
            TextTable.Column(title: "protocol"),
            TextTable.Column(title: "starved client", isNumber: true),
            TextTable.Column(title: "other clients", isNumber: true),
            TextTable.Column(title: "share", isNumber: true),
            TextTable.Column(title: "paper", isNumber: true),
        ])
        for result in results.summary.cases {
            guard victims.contains(result.profile), let starved = result.starvedClient, let others = result.otherClients
            else { continue }
            let published = PublishedResults.unfairPrimary.first { $0.protocolName == result.protocolName }
            table.rows.append([
                Self.name(of: result),
                result.protocolName,
                Figures.spread(starved, Figures.rate),
                Figures.spread(others, Figures.rate),
                others.median > 0 ? Figures.percent(starved.median / others.median) : "-",
                result.profile == "starve-client" ? published.map { Figures.percent($0.share) } ?? "-" : "-",
            ])
        }
        return table
    }

    /// The profiles that aim at a client.
    private var victims: Set<String> {
        Set(results.runs.filter { $0.clientShares.contains(where: \.isVictim) }.map(\.profile))
    }

    /// Everything that is not as it must be, as sentences.
    var complaints: [String] {
        results.summary.cases.flatMap { result in
            let name = "\(result.protocolName) under \(Self.name(of: result))"
            var found = result.failures.map { "\(name): a run failed: \($0)" }
            found += result.wronglyPunished.map { "\(name): a correct party was shut out: \($0)" }
            if !result.isOutOfModel {
                found += result.violations.map { "\(name): an oracle found a violation: \($0)" }
                found += result.notJudged.map { "\(name): an oracle could not judge: \($0)" }
            } else if result.violations.isEmpty {
                found.append("\(name): more than f replicas are faulty, and no oracle noticed")
            }
            return found
        }
    }

    /// What a reader has to know before the figures.
    var cautions: [String] {
        let emulation = results.settings.emulation
        var found: [String] = []
        if emulation.kind == .loopback {
            found.append(
                "All machines were plain processes on the loopback interface: an attacker's own cost is charged to its victims"
            )
        }
        if results.machine.build != "release" {
            found.append("This is a debug build, so the figures are no measurement")
        }
        if let stopped = results.stopped { found.append("Not all runs took place that were asked for: \(stopped)") }
        return found + emulation.missing + results.runs.compactMap(Self.keeping)
    }

    /// Where the files of a run are that were kept because something was found; nil where they were removed.
    private static func keeping(_ run: AttackResults.Run) -> String? {
        run.keptFiles.map {
            "The logs of \(run.protocolName) under \(run.profile), repetition \(run.repetition), and with --record "
                + "the recordings that aardvark-lab replay steps through, are kept in \($0)"
        }
    }

    static func name(of result: AttackSummary.Case) -> String {
        result.scenario.map { "\(result.profile) (\($0))" } ?? result.profile
    }

    /// A time over the runs in which something happened; with their number where it did not happen in all.
    static func some(_ spread: AttackSummary.Spread?, of runs: Int) -> String {
        guard let spread else { return "-" }
        let text = Figures.seconds(spread.median)
        return spread.count == runs ? text : "\(text) in \(spread.count) of \(runs)"
    }
}
