/// The report as one HTML file that needs nothing else: no network, no script.
extension AttackReport {
    /// The page.
    package var html: String {
        let title = "Benchmark under attack"
        var parts = [header(title), verdict]
        if tables.cautions.isEmpty == false { parts.append(list(tables.cautions, className: "caution")) }
        parts += [peaks, BarChart(self).section, throughputTable]
        if !tables.starvation.rows.isEmpty {
            parts.append(
                Markup.section("A starved client", Markup.table(tables.starvation, caption: "A starved client"))
            )
        }
        if !comparison.rows.isEmpty {
            let caption = "Shares of each protocol's own peak, published and here; other machines, other years"
            parts.append(Markup.section("Beside published figures", Markup.table(comparison, caption: caption)))
        }
        parts += [contents] + subjects.map { ProfileSection(self, subject: $0).html }
        parts.append(method)
        return """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>\(title)</title>
            <style>
            \(Stylesheet.text)
            </style>
            </head>
            <body>
            <main>
            \(parts.joined(separator: "\n"))
            </main>
            </body>
            </html>

            """
    }

    /// A profile, as it was run in a scenario or without one.
    struct Subject: Hashable {
        let profile: String
        let scenario: String?

        /// For people.
        var title: String { scenario.map { "\(profile) (\($0))" } ?? profile }
        /// For links.
        var anchor: String { "profile-" + (scenario.map { "\(profile)-\($0)" } ?? profile) }
    }

    /// What the page has a section for, in the order of the runs.
    var subjects: [Subject] {
        var found: [Subject] = []
        for result in results.summary.cases {
            let subject = Subject(profile: result.profile, scenario: result.scenario)
            if !found.contains(subject) { found.append(subject) }
        }
        return found
    }

    /// The protocols in the order of their first runs.
    var protocols: [String] {
        var found: [String] = []
        for result in results.summary.cases where !found.contains(result.protocolName) {
            found.append(result.protocolName)
        }
        return found
    }

    /// The class that gives a protocol its colour and its line.
    func series(_ protocolName: String) -> String {
        "s\(seriesIndex(protocolName))"
    }

    /// The number of a protocol's look.
    func seriesIndex(_ protocolName: String) -> Int {
        (protocols.firstIndex(of: protocolName) ?? 0) % Stylesheet.seriesCount
    }

    /// The share at the end of a chart of shares: the largest of all and 100 %, and a little.
    var widestShare: Double {
        max(results.summary.cases.compactMap(\.ratio?.max).max() ?? 1, 1) * 1.02
    }

    func cases(of subject: Subject) -> [AttackSummary.Case] {
        results.summary.cases.filter { $0.profile == subject.profile && $0.scenario == subject.scenario }
    }

    func note(of profile: String) -> AttackResults.ProfileNote? { results.profiles.first { $0.name == profile } }

    /// The key to the protocols' colours.
    var legend: String {
        let entries = protocols.map { name in
            "<li class=\"\(series(name))\"><svg class=\"key\" aria-hidden=\"true\"><line class=\"line\" x1=\"0\" y1=\"6\" x2=\"28\" y2=\"6\"/></svg>\(Markup.escaped(name))</li>"
        }
        return "<ul class=\"legend\">\(entries.joined())</ul>"
    }

    private func header(_ title: String) -> String {
        let settings = results.settings
        let kinds = protocols.joined(separator: ", ")
        let lead =
            "\(settings.replicas) replicas, at most \(settings.faults) of them faulty, \(settings.clients) correct clients. "
            + "Protocols: \(kinds). \(Markup.counted(subjects.count, "profile")), \(Markup.counted(settings.repeats, "repetition")) of each."
        return """
            <header>
            <h1>\(title)</h1>
            <p class="lead">\(Markup.escaped(lead))</p>
            <p class="meta">\(Markup.escaped(results.startedAt)) on \(Markup.escaped(results.machine.processor ?? results.machine.operatingSystem)), commit <code>\(Markup.escaped(results.commit ?? "unknown"))</code></p>
            </header>
            """
    }

    private var verdict: String {
        let runs = results.runs.count
        guard !tables.complaints.isEmpty else {
            return """
                <p class="verdict held"><strong>Held.</strong> In \(Markup.counted(runs, "run")) no oracle found a violation of safety \
                that lies within the fault model.</p>
                """
        }
        return """
            <div class="verdict failed" id="failed" role="alert"><strong>Failed.</strong> \
            \(Markup.counted(tables.complaints.count, "complaint")) in \(Markup.counted(runs, "run")):
            \(list(tables.complaints, className: "complaints"))</div>
            """
    }

    private func list(_ sentences: [String], className: String) -> String {
        "<ul class=\"\(className)\">\(sentences.map { "<li>\(Markup.escaped($0))</li>" }.joined())</ul>"
    }

    private var peaks: String {
        Markup.section(
            "Without an attack",
            """
            <p>What each protocol does when nobody misbehaves. Every figure under attack is held against this.</p>
            \(Markup.table(tables.peaks, caption: "Fault-free throughput, and the share of PBFT's beside the published one"))
            """
        )
    }

    private var throughputTable: String {
        Markup.section(
            "All profiles in figures",
            Markup.table(
                tables.throughput,
                caption: "Throughput under attack; the last section says what the columns mean"
            )
        )
    }

    private var contents: String {
        let links = subjects.map {
            "<li><a href=\"#\(Markup.escaped($0.anchor))\">\(Markup.escaped($0.title))</a></li>"
        }
        return """
            <nav aria-labelledby="each"><h2 id="each">Each profile</h2>
            <ul class="contents">\(links.joined())</ul></nav>
            """
    }

    private var method: String {
        let terms = facts.map { "<dt>\(Markup.escaped($0.0))</dt><dd>\(Markup.escaped($0.1))</dd>" }
        let columns = Self.legend.map { sentence in
            let parts = sentence.split(separator: ": ", maxSplits: 1)
            return
                "<dt>\(Markup.escaped(String(parts.first ?? "")))</dt><dd>\(Markup.escaped(String(parts.last ?? "")))</dd>"
        }
        return Markup.section(
            "How this was measured",
            "<dl class=\"facts\">\(terms.joined())</dl>\n<h3>What the columns mean</h3>\n<dl class=\"facts\">\(columns.joined())</dl>"
        )
    }
}
