/// Everything about one profile: its runs over time, and its figures.
struct ProfileSection {
    private let report: AttackReport
    private let subject: AttackReport.Subject
    private let cases: [AttackSummary.Case]
    private let runs: [String: [AttackResults.Run]]

    init(_ report: AttackReport, subject: AttackReport.Subject) {
        self.report = report
        self.subject = subject
        cases = report.cases(of: subject)
        let ended = report.results.runs.filter {
            $0.profile == subject.profile && $0.scenario == subject.scenario && $0.failure == nil
        }
        runs = Dictionary(grouping: ended, by: \.protocolName)
    }

    var html: String {
        let note = report.note(of: subject.profile)
        let culprit = note.map { " <span class=\"culprit\">\(Markup.escaped($0.culprit))</span>" } ?? ""
        let summary = note.map { "<p>\(Markup.escaped($0.summary)).</p>" } ?? ""
        var parts = [
            "<section class=\"profile\" id=\"\(Markup.escaped(subject.anchor))\">",
            "<h3>\(Markup.escaped(subject.title))\(culprit)</h3>", summary,
        ]
        if shown.isEmpty {
            parts.append("<p>No run came to its end.</p>")
        } else {
            parts += [report.legend, throughput, latency, primaries, processors, secondsTable]
        }
        parts += [figures, events, "</section>"]
        return parts.filter { !$0.isEmpty }.joined(separator: "\n")
    }

    /// For each protocol the run in the middle, by what it served during the attack.
    private var shown: [AttackResults.Run] {
        report.protocols.compactMap { name in
            let ordered = runs[name, default: []].sorted { first, second in
                let amount = { (run: AttackResults.Run) in run.phase(.attack)?.throughput ?? 0 }
                return (amount(first), first.repetition) < (amount(second), second.repetition)
            }
            return ordered.isEmpty ? nil : ordered[(ordered.count - 1) / 2]
        }
    }

    private var phases: [AttackResults.Phase] { shown.first?.phases ?? [] }

    private static func middle(_ sample: AttackResults.Sample) -> Double {
        sample.startSeconds + sample.durationSeconds / 2
    }

    // MARK: Over time

    private var throughput: String {
        let main = Set(shown.map { "\($0.protocolName) \($0.repetition)" })
        let ordered = report.protocols.flatMap { runs[$0, default: []] }
        let isMain = { (run: AttackResults.Run) in main.contains("\(run.protocolName) \(run.repetition)") }
        let drawn = ordered.filter { !isMain($0) } + ordered.filter(isMain)
        let lines = drawn.map { run in
            Plot.Line(
                classes: report.series(run.protocolName) + (isMain(run) ? "" : " other"),
                points: run.samples.map { (Self.middle($0), $0.throughput) }
            )
        }
        let most = drawn.flatMap(\.samples).map(\.throughput).max() ?? 0
        let words = cases.map { result in
            let parts = [
                result.faultFree.map { "\(Figures.rate($0.median)) before the attack" },
                result.attack.map { "\(Figures.rate($0.median)) during it" },
                result.after.map { "\(Figures.rate($0.median)) after it" },
            ]
            return "\(result.protocolName): \(parts.compactMap(\.self).joined(separator: ", "))"
        }
        return Plot(
            title: "Throughput of correct clients, operations a second",
            words: "Throughput over time under \(subject.title). " + words.joined(separator: "; "),
            scale: .round(to: most),
            label: { Figures.grouped($0) },
            lines: lines,
            phases: phases
        ).figure
    }

    private var latency: String {
        let line = { (run: AttackResults.Run, kind: String, part: KeyPath<AttackResults.Latency, UInt64>) in
            Plot.Line(
                classes: "\(report.series(run.protocolName)) \(kind)",
                points: run.samples.map { (Self.middle($0), $0.latency.map { Double($0[keyPath: part]) }) }
            )
        }
        let lines = shown.flatMap { [line($0, "half", \.p50Microseconds), line($0, "", \.p99Microseconds)] }
        let values = lines.flatMap(\.points).compactMap(\.value)
        guard !values.isEmpty else { return "" }
        let words = cases.compactMap { result in
            result.attackLatency.map { latency in
                "\(result.protocolName): median \(Figures.duration(microseconds: latency.p50.median)), "
                    + "99th percentile \(Figures.duration(microseconds: latency.p99.median)) during the attack"
            }
        }
        return Plot(
            title: "Latency: 99th percentile, and thin the median",
            words: "Latency over time under \(subject.title). " + words.joined(separator: "; "),
            scale: .powers(around: values),
            label: {
                $0 < 1_000
                    ? "\(Figures.fixed($0, 0)) us"
                    : $0 < 1e6 ? "\(Figures.fixed($0 / 1e3, 0)) ms" : "\(Figures.fixed($0 / 1e6, 0)) s"
            },
            lines: lines,
            phases: phases
        ).figure
    }

    private var primaries: String {
        let strips = shown.compactMap { run in PrimaryStrip(run: run, series: report.series(run.protocolName)).html }
        guard !strips.isEmpty else { return "" }
        return """
            <figure><figcaption>Primary over time, by the replica's number; a faulty one is underlined in red</figcaption>
            <div class="strips">\(strips.joined(separator: "\n"))\(TimeAxis(phases: phases).html)</div></figure>
            """
    }

    private var processors: String {
        let check = report.results.machine.signatureCheckMicroseconds
        let splits = shown.flatMap { run in
            [AttackResults.Phase.Kind.faultFree, .attack].compactMap { kind in
                ProcessorSplit(run: run, phase: kind, checkMicroseconds: check)?.html
            }
        }
        guard !splits.isEmpty else { return "" }
        return """
            <figure><figcaption>Who used the processors</figcaption>
            <ul class="legend"><li><svg class="key" aria-hidden="true"><rect class="cpu replica" width="28" height="12"/></svg>replicas</li>\
            <li><svg class="key" aria-hidden="true"><rect class="cpu faulty" width="28" height="12"/></svg>faulty replicas, attackers</li>\
            <li><svg class="key" aria-hidden="true"><rect class="cpu clients" width="28" height="12"/></svg>correct clients</li></ul>
            \(splits.joined(separator: "\n"))</figure>
            """
    }

    // MARK: In figures

    private var figures: String {
        var table = TextTable(
            [TextTable.Column(title: "figure")] + cases.map { TextTable.Column(title: $0.protocolName, isNumber: true) }
        )
        let rate = { (part: KeyPath<AttackSummary.Case, AttackSummary.Spread?>) in
            cases.map { Figures.spread($0[keyPath: part], Figures.rate) }
        }
        let latency = { (part: KeyPath<AttackSummary.LatencySpread, AttackSummary.Spread>) in
            cases.map { Figures.spread($0.attackLatency?[keyPath: part]) { Figures.duration(microseconds: $0) } }
        }
        table.rows = [
            ["runs that came to their end"] + cases.map { "\($0.completedRuns)" },
            ["operations/s before the attack"] + rate(\.faultFree),
            ["operations/s during the attack"] + rate(\.attack),
            ["operations/s after the attack"] + rate(\.after),
            ["share of own fault-free throughput"] + cases.map { Figures.spread($0.ratio, Figures.percent) },
            ["worst second of the attack, operations/s"] + rate(\.worstSecond),
            ["latency during the attack, p50"] + latency(\.p50),
            ["latency during the attack, p99"] + latency(\.p99),
            ["latency during the attack, p99.9"] + latency(\.p999),
            ["latency during the attack, longest"] + latency(\.max),
            ["until the attacker was evicted"]
                + cases.map { ResultTables.some($0.evictionSeconds, of: $0.completedRuns) },
            ["until back at 90 %, from the attack's beginning"]
                + cases.map { ResultTables.some($0.recoverySeconds, of: $0.completedRuns) },
            ["until back at 90 %, from the attack's end"]
                + cases.map { ResultTables.some($0.recoveryAfterSeconds, of: $0.completedRuns) },
            ["operations/s of the client that got least"] + rate(\.starvedClient),
            ["operations/s of the other clients"] + rate(\.otherClients),
            ["correct parties shut out"]
                + cases.map { $0.wronglyPunished.isEmpty ? "-" : "\($0.wronglyPunished.count)" },
            ["violations that oracles found"]
                + cases.map {
                    $0.notJudged.isEmpty
                        ? "\($0.violations.count)" : "\($0.violations.count), not judged in \($0.notJudged.count)"
                },
        ]
        table.rows.removeAll { $0.dropFirst().allSatisfy { $0 == "-" } }
        return """
            <details><summary>All figures</summary>
            \(Markup.table(table, caption: "All figures under \(subject.title)"))
            </details>
            """
    }

    /// What the drawings show, as numbers.
    private var secondsTable: String {
        var table = TextTable(
            [TextTable.Column(title: "second", isNumber: true)]
                + shown.flatMap { run in
                    ["operations/s", "p99", "primary"].map {
                        TextTable.Column(title: "\(run.protocolName) \($0)", isNumber: true)
                    }
                }
        )
        for second in 0..<(shown.map(\.samples.count).max() ?? 0) {
            var row = [
                shown.first { $0.samples.indices.contains(second) }.map {
                    Figures.fixed($0.samples[second].startSeconds, 0)
                } ?? "-"
            ]
            for run in shown {
                guard run.samples.indices.contains(second) else {
                    row += ["-", "-", "-"]
                    continue
                }
                let sample = run.samples[second]
                row += [
                    Figures.rate(sample.throughput),
                    sample.latency.map { Figures.duration(microseconds: Double($0.p99Microseconds)) } ?? "-",
                    sample.primary.map(String.init) ?? "-",
                ]
            }
            table.rows.append(row)
        }
        return """
            <details><summary>Second by second</summary>
            \(Markup.table(table, caption: "Second by second under \(subject.title), the run in the middle of each protocol"))
            </details>
            """
    }

    private var events: String {
        let lists = shown.filter { !$0.events.isEmpty }.map { run in
            let items = run.events.map { event in
                "<li><span class=\"when\">\(Figures.fixed(event.atSeconds, 1)) s</span> "
                    + "<strong>\(Markup.escaped(event.actor))</strong> \(Markup.escaped(event.text))</li>"
            }
            return "<h4>\(Markup.escaped(run.protocolName))</h4><ol class=\"events\">\(items.joined())</ol>"
        }
        guard !lists.isEmpty else { return "" }
        return "<details><summary>What happened when</summary>\n\(lists.joined(separator: "\n"))\n</details>"
    }
}
