import Foundation
import Testing

@testable import Lab

@Suite
struct ReportTests {
    @Test func `numbers as text`() {
        #expect(Figures.fixed(1.005, 1) == "1.0")
        #expect(Figures.fixed(-0.25, 2) == "-0.25")
        #expect(Figures.fixed(0.06, 1) == "0.1")
        #expect(Figures.fixed(12.5, 0) == "13")
        #expect(Figures.grouped(1_234_567) == "1,234,567")
        #expect(Figures.grouped(999) == "999")
        #expect(Figures.rate(0.123) == "0.12")
        #expect(Figures.percent(0.0823) == "8.2 %")
        #expect(Figures.percent(0.998) == "100 %")
        #expect(Figures.percent(0) == "0 %")
        #expect(Figures.duration(microseconds: 40) == "40 us")
        #expect(Figures.duration(microseconds: 1_500) == "1.50 ms")
        #expect(Figures.duration(microseconds: 2_500_000) == "2.5 s")
        #expect(Figures.bytes(24 << 30) == "24 GiB")
        #expect(Figures.spread(AttackSummary.Spread([0.5, 0.4, 0.6]), Figures.percent) == "50 % (40 to 60)")
        let mixed = AttackSummary.Spread([900, 2_000])
        #expect(Figures.spread(mixed) { Figures.duration(microseconds: $0) } == "1.45 ms (0.90 to 2.00)")
    }

    @Test func `a table lines up in a terminal and escapes in Markdown`() {
        var table = TextTable([TextTable.Column(title: "name"), TextTable.Column(title: "n", isNumber: true)])
        table.rows = [["a|b", "7"], ["long name", "1,000"]]
        #expect(
            table.plain == """
                name           n
                ---------  -----
                a|b            7
                long name  1,000
                """
        )
        #expect(
            table.markdown == """
                | name | n |
                | --- | ---: |
                | a\\|b | 7 |
                | long name | 1,000 |
                """
        )
    }

    @Test func `the tables have one row a case, with the published share beside ours`() throws {
        let tables = ResultTables(results: MadeUpResults.whole)
        #expect(tables.throughput.rows.count == MadeUpResults.whole.summary.cases.count)
        let flood = try #require(tables.throughput.rows.first { $0[0] == "flood" && $0[1] == "aardvark" })
        #expect(flood[5] == "30 %")
        #expect(flood[8] == "3.0 s")
        #expect(tables.peaks.rows.map { $0[3] } == ["100 %", "63 %"])
        #expect(tables.starvation.rows.map { $0[1] } == ["pbft", "aardvark"])
        #expect(tables.complaints.isEmpty)
    }

    @Test func `published figures stand beside ours`() throws {
        let table = PaperComparison(results: MadeUpResults.whole).table
        #expect(table.rows.count == 11)
        let flood = try #require(table.rows.first { $0[0] == "client flood" && $0[1] == "pbft" })
        #expect(flood[2] == "crash")
        let starved = try #require(table.rows.first { $0[0].hasPrefix("starved") && $0[1] == "aardvark" })
        #expect(starved[2...3] == ["77 %", "8.3 %"])
        let peak = try #require(table.rows.last)
        #expect(peak[2] == "63 %")
        #expect(PaperComparison(results: MadeUpResults.results([])).table.rows.isEmpty)
    }

    @Test func `what failed is said everywhere, and loudly`() {
        var runs = MadeUpResults.whole.runs
        runs[3].verdicts[0] = AttackResults.Verdict(oracle: "one history", held: false, detail: "<two> at 7")
        runs[3].keptFiles = "results/aardvark-big-mac-1"
        let report = AttackReport(MadeUpResults.results(runs))
        for text in [report.terminal, report.besideThePapers, report.markdown, report.html] {
            #expect(text.contains("The logs of aardvark under big-mac, repetition 1, and with --record the recordings"))
            #expect(text.contains("are kept in results/aardvark-big-mac-1"))
        }
        #expect(!AttackReport(MadeUpResults.whole).terminal.contains("are kept in"))
        let sentence = "an oracle found a violation: repetition 1: one history: "
        #expect(report.terminal.contains("FAILED: aardvark under big-mac: \(sentence)<two> at 7"))
        #expect(report.markdown.contains("## What failed"))
        #expect(report.html.contains("\(sentence)&lt;two&gt; at 7"))
        #expect(!AttackReport(MadeUpResults.whole).html.contains("id=\"failed\""))
    }

    @Test func `a page stands by itself and is well formed`() {
        let html = AttackReport(MadeUpResults.whole).html
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            #expect(
                !html.replacing("http://www.w3.org/2000/svg", with: "").contains(outside),
                "\(outside) leads outside"
            )
        }
        #expect(html.contains("MADE-UP DATA"))
        for profile in ["none", "big-mac", "flood"] { #expect(html.contains("id=\"profile-\(profile)\"")) }
        // Whatever is drawn is said in words too.
        let drawings = html.components(separatedBy: "<svg").dropFirst()
        #expect(drawings.count > 20)
        for drawing in drawings {
            let tag = drawing.prefix { $0 != ">" }
            #expect(
                tag.contains("aria-label=\"") && tag.contains("role=\"img\"") || tag.contains("aria-hidden=\"true\"")
            )
        }
        expectWellFormed(html)
    }

    @Test func `a chart has a bar for each case, and says in figures what it draws`() throws {
        let results = MadeUpResults.whole
        let chart = AttackReport(results).chart
        let cases = results.summary.cases
        #expect(cases.count > 3)
        // One bar each, the ground, and the key of each protocol.
        #expect(chart.components(separatedBy: "<rect").count - 1 == cases.count + 1 + 2)
        for result in cases {
            #expect(chart.contains(">\(Figures.spread(result.ratio, Figures.percent))</text>"))
        }
        let published = cases.count { PublishedResults.share(of: $0.protocolName, under: $0.profile) != nil }
        #expect(published > 0 && chart.components(separatedBy: "<polygon").count - 1 == published + 1)
        expectWellFormed(chart)
        let empty = AttackReport(MadeUpResults.results([])).chart
        expectWellFormed(empty)
    }

    @Test func `a chart of many protocols has its legend inside, and the bars below it`() throws {
        let protocols = ProtocolVariant.allCases.map(\.rawValue)
        let runs = protocols.map { MadeUpResults.run(.init(protocolName: $0, profile: "big-mac")) }
        let chart = AttackReport(MadeUpResults.results(runs)).chart
        var (lowest, highest) = (0.0, Double.infinity)
        for line in chart.split(separator: "\n") {
            guard let text = line.firstMatch(of: /<text x="([0-9.]+)" y="([0-9.]+)".*>([^<]*)<\/text>/),
                let x = Double(text.1), let y = Double(text.2)
            else { continue }
            if protocols.contains(String(text.3)) {
                // No letter of the fonts is wider than 0.6 of their size on average.
                #expect(x + 0.6 * 13 * Double(text.3.count) <= 860, "\(text.3)")
                lowest = max(lowest, y)
            } else if text.3 == "big-mac" {
                highest = y
            }
        }
        #expect(lowest > 48 && lowest < highest)
        expectWellFormed(chart)
    }

    /// Every element that is opened is closed, in the right order.
    private func expectWellFormed(_ html: String) {
        let void: Set = ["meta", "!doctype", "br", "rect", "line", "path", "circle", "polyline", "col"]
        var open: [String] = []
        for piece in html.components(separatedBy: "<").dropFirst() {
            let name = String(piece.prefix { !" >/\n".contains($0) || $0 == "/" && piece.first == "/" }).lowercased()
            if name.hasPrefix("/") {
                let last = open.popLast()
                #expect(last.map { "/\($0)" } == name)
            } else if !void.contains(name), !piece.prefix(while: { $0 != ">" }).hasSuffix("/") {
                open.append(name)
            }
        }
        #expect(open.isEmpty)
    }
}
