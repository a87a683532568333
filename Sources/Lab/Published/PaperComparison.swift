/// Ours beside what papers measured, as shares of each protocol's own peak.
struct PaperComparison {
    let results: AttackResults

    /// One row for each published figure of a profile that was run.
    var table: TextTable {
        var table = TextTable([
            TextTable.Column(title: "published case"),
            TextTable.Column(title: "protocol"),
            TextTable.Column(title: "published", isNumber: true),
            TextTable.Column(title: "ours", isNumber: true),
            TextTable.Column(title: "source"),
        ])
        for row in PublishedResults.attacks {
            for figure in row.figures {
                guard let ours = ratio(of: figure.protocolName, under: row.profile) else { continue }
                table.rows.append([
                    row.name, figure.protocolName, Self.text(figure), Figures.spread(ours, Figures.percent),
                    "\(row.source.rawValue), \(row.place)",
                ])
            }
        }
        for starvation in PublishedResults.unfairPrimary {
            guard let result = results.summary.result(of: starvation.protocolName, under: "starve-client"),
                let starved = result.starvedClient, let others = result.otherClients, others.median > 0
            else { continue }
            table.rows.append([
                "starved against other client", starvation.protocolName, Figures.percent(starvation.share),
                Figures.percent(starved.median / others.median),
                "\(PublishedResults.Source.aardvark.rawValue), section 7, faulty primaries",
            ])
        }
        for figure in PublishedResults.ablation.figures where figure.protocolName != "pbft" {
            guard let ours = peakShare(of: figure.protocolName),
                let published = ResultTables.publishedPeakShare(figure.protocolName)
            else { continue }
            table.rows.append([
                "peak, as a share of pbft's", figure.protocolName, Figures.percent(published), Figures.percent(ours),
                "\(PublishedResults.Source.aardvark.rawValue), \(PublishedResults.ablation.place)",
            ])
        }
        return table
    }

    private static func text(_ figure: PublishedResults.Figure) -> String {
        figure.outcome == .crash ? "crash" : figure.share.map(Figures.percent) ?? "-"
    }

    /// Our share under a profile, of the run without a scenario where there is one.
    private func ratio(of protocolName: String, under profile: String) -> AttackSummary.Spread? {
        results.summary.cases.first { $0.protocolName == protocolName && $0.profile == profile && $0.ratio != nil }?
            .ratio
    }

    private func peakShare(of protocolName: String) -> Double? {
        let peak = { (name: String) in results.summary.peaks.first { $0.protocolName == name }?.faultFree.median }
        guard let own = peak(protocolName), let pbft = peak("pbft"), pbft > 0 else { return nil }
        return own / pbft
    }
}
