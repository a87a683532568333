/// For each profile one bar a protocol: what is left of its own fault-free throughput; below it, thinner, what the paper has.
struct BarChart {
    private let report: AttackReport
    private let scale: Double

    init(_ report: AttackReport) {
        self.report = report
        scale = report.widestShare
    }

    var section: String {
        let groups = report.subjects.map(group)
        return Markup.section(
            "What is left under attack",
            """
            <p>Throughput of correct clients during the attack, as a share of the same protocol's fault-free throughput: the median, \
            and as a thin line the smallest and the largest. The hollow bars are the published shares, where there are some; the mark \
            is at 100 %.</p>
            \(report.legend)
            <div class="bars">
            \(groups.joined(separator: "\n"))
            </div>
            """
        )
    }

    private func group(_ subject: AttackReport.Subject) -> String {
        let note = report.note(of: subject.profile)
        let culprit = note.map { "<span class=\"culprit\">\(Markup.escaped($0.culprit))</span>" } ?? ""
        let summary = note.map { "<p>\(Markup.escaped($0.summary))</p>" } ?? ""
        return """
            <div class="group"><h3><a href="#\(Markup.escaped(subject.anchor))">\(Markup.escaped(subject.title))</a> \(culprit)</h3>\(summary)
            \(report.cases(of: subject).map(row).joined(separator: "\n"))
            </div>
            """
    }

    private func row(_ result: AttackSummary.Case) -> String {
        let published = PublishedResults.share(of: result.protocolName, under: result.profile)
        let ours = result.ratio.map { Figures.percent($0.median) } ?? "-"
        var words = "\(result.protocolName) under \(ResultTables.name(of: result)): "
        words +=
            result.ratio.map { "\(Figures.spread($0, Figures.percent)) of its fault-free throughput" } ?? "not measured"
        if let published { words += "; published: \(Figures.percent(published))" }
        let paper = published.map { "<small>paper \(Figures.percent($0))</small>" } ?? ""
        return """
            <div class="bar \(report.series(result.protocolName))"><span class="name">\(Markup.escaped(result.protocolName))</span>\
            <svg role="img" aria-label="\(Markup.escaped(words))">\(drawing(result.ratio, published))</svg>\
            <span class="value">\(ours)\(paper)</span></div>
            """
    }

    private func drawing(_ ratio: AttackSummary.Spread?, _ published: Double?) -> String {
        let place = { (share: Double) in Markup.part(share / scale) }
        var shapes = "<line class=\"whole\" x1=\"\(place(1))\" x2=\"\(place(1))\" y1=\"0\" y2=\"22\"/>"
        if let ratio {
            // A foot at zero, so that nothing left looks different from nothing measured.
            shapes += "<rect class=\"foot\" x=\"0\" y=\"1\" width=\"2\" height=\"13\"/>"
            shapes += "<rect class=\"fill\" x=\"0\" y=\"1\" width=\"\(place(ratio.median))\" height=\"13\"/>"
            shapes +=
                "<line class=\"range\" x1=\"\(place(ratio.min))\" x2=\"\(place(ratio.max))\" y1=\"7.5\" y2=\"7.5\"/>"
        }
        if let published {
            shapes += "<rect class=\"foot\" x=\"0\" y=\"16\" width=\"2\" height=\"5\"/>"
            shapes += "<rect class=\"paper\" x=\"0.5\" y=\"16.5\" width=\"\(place(published))\" height=\"4\"/>"
        }
        return shapes
    }
}
