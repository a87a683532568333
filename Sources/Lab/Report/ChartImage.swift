/// `chart.svg`: for each profile one bar a protocol, to be shown where the page cannot be, such as in a README. It has a ground of its own,
/// so that it can be read on a light page and on a dark one.
struct ChartImage {
    private static let width = 860.0
    private static let bars = (start: 236.0, end: 690.0)
    private static let barHeight = 12.0
    private static let barStep = 15.0
    private static let groupGap = 12.0
    private static let keyStep = 20.0
    private static let (paper, ink, soft) = ("#fcfbf8", "#1d2127", "#5b636e")

    private let report: AttackReport
    private let scale: Double
    /// What the colours and marks mean, and where the bars begin below it.
    private let keys: [Key]
    private let head: Double

    /// An entry of the legend; without a protocol the diamond.
    private struct Key {
        let x: Double
        let row: Double
        let protocolName: String?

        /// In rows that are no wider than the image.
        static func rows(_ names: [String?]) -> [Key] {
            var (x, row) = (16.0, 0.0)
            return names.map { name in
                // About as wide as the letters of the fonts that are asked for.
                let width = 44 + 7.2 * Double((name ?? published).count)
                if x > 16, x + width > ChartImage.width { (x, row) = (16, row + 1) }
                defer { x += width }
                return Key(x: x, row: row, protocolName: name)
            }
        }

        static let published = "as published"
    }

    init(_ report: AttackReport) {
        self.report = report
        scale = report.widestShare
        let isPublished = report.results.summary.cases.contains { Self.published($0) != nil }
        keys = Key.rows(report.protocols + (isPublished ? [nil] : []))
        head = 64 + Self.keyStep * (keys.last?.row ?? 0)
    }

    var svg: String {
        var shapes: [String] = []
        var y = head
        for subject in report.subjects {
            let cases = report.cases(of: subject)
            let height = Double(max(cases.count, 1)) * Self.barStep
            shapes.append(text(Self.bars.start - 12, y + height / 2 + 4, subject.title, "text-anchor=\"end\""))
            for (place, result) in cases.enumerated() { shapes += bar(result, y + Double(place) * Self.barStep) }
            y += height + Self.groupGap
        }
        let bottom = y - Self.groupGap + 2
        let whole = place(1)
        let mark = """
            <line x1="\(whole)" x2="\(whole)" y1="\(n(head - 6))" y2="\(n(bottom))" stroke="\(Self.soft)" \
            stroke-dasharray="2 2"/>
            """
        let height = n(bottom + 14)
        return """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(n(Self.width)) \(height)" width="\(n(Self.width))" height="\(height)" \
            role="img" aria-label="\(Markup.escaped(words))" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="13">
            <rect width="100%" height="100%" rx="6" fill="\(Self.paper)"/>
            \(heading)
            \(mark)
            \(shapes.joined(separator: "\n"))
            </svg>

            """
    }

    private var words: String {
        "Throughput under attack as a share of the same protocol's fault-free throughput, \(report.results.settings.replicas) replicas"
    }

    /// The title, and what the colours and marks mean.
    private var heading: String {
        let title = text(16, 26, words, "font-weight=\"600\"")
        let shapes = keys.flatMap { key in
            let y = 38 + Self.keyStep * key.row
            guard let name = key.protocolName else {
                return [published(at: key.x + 5, y - 0.5), text(key.x + 16, y + 10, Key.published)]
            }
            let colour = colour(of: name)
            return [
                "<rect x=\"\(n(key.x))\" y=\"\(n(y))\" width=\"18\" height=\"11\" fill=\"\(colour)\"/>",
                text(key.x + 24, y + 10, name),
            ]
        }
        return ([title] + shapes).joined(separator: "\n")
    }

    private func bar(_ result: AttackSummary.Case, _ y: Double) -> [String] {
        var shapes: [String] = []
        let middle = n(y + Self.barHeight / 2)
        if let ratio = result.ratio {
            // A foot at zero, so that nothing left looks different from nothing measured.
            let length = max(ratio.median / scale * (Self.bars.end - Self.bars.start), 2)
            shapes.append(
                "<rect x=\"\(n(Self.bars.start))\" y=\"\(n(y))\" width=\"\(n(length))\" height=\"\(n(Self.barHeight))\" fill=\"\(colour(of: result.protocolName))\"/>"
            )
            if ratio.count > 1 {
                shapes.append(
                    "<line x1=\"\(place(ratio.min))\" x2=\"\(place(ratio.max))\" y1=\"\(middle)\" y2=\"\(middle)\" stroke=\"\(Self.ink)\" stroke-width=\"1.5\"/>"
                )
            }
        }
        if let share = Self.published(result) {
            shapes.append(published(at: Self.bars.start + share / scale * (Self.bars.end - Self.bars.start), y))
        }
        let value = result.ratio.map { Figures.spread($0, Figures.percent) } ?? "not measured"
        return shapes + [text(Self.bars.end + 12, y + Self.barHeight - 1.5, value, "font-size=\"12\"")]
    }

    private static func published(_ result: AttackSummary.Case) -> Double? {
        PublishedResults.share(of: result.protocolName, under: result.profile)
    }

    /// A diamond: a published share.
    private func published(at x: Double, _ y: Double) -> String {
        let (middle, half) = (y + Self.barHeight / 2, 5.0)
        let corners = [(x, middle - half), (x + half, middle), (x, middle + half), (x - half, middle)]
        let points = corners.map { "\(n($0.0)),\(n($0.1))" }.joined(separator: " ")
        return "<polygon points=\"\(points)\" fill=\"\(Self.paper)\" stroke=\"\(Self.ink)\" stroke-width=\"1.5\"/>"
    }

    private func text(_ x: Double, _ y: Double, _ content: String, _ attributes: String = "") -> String {
        "<text x=\"\(n(x))\" y=\"\(n(y))\" fill=\"\(Self.ink)\" \(attributes)>\(Markup.escaped(content))</text>"
    }

    private func colour(of protocolName: String) -> String {
        Stylesheet.lightSeries[report.seriesIndex(protocolName)]
    }

    private func place(_ share: Double) -> String {
        n(Self.bars.start + min(max(share / scale, 0), 1) * (Self.bars.end - Self.bars.start))
    }

    private func n(_ number: Double) -> String { Figures.fixed(number, 1) }
}
