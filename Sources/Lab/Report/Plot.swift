import Foundation

/// A drawing over the time of a run. The lines are stretched to the width that there is; all text is outside of the drawing, so that it
/// keeps its size.
struct Plot {
    /// A line. A nil interrupts it.
    struct Line {
        /// The classes that give it its look.
        let classes: String
        let points: [(seconds: Double, value: Double?)]
    }

    /// Which values are where.
    enum Scale {
        /// From 0 to this value.
        case linear(most: Double)
        /// From the one to the other, both above 0.
        case logarithmic(least: Double, most: Double)

        /// From 0 to a round number not below the value.
        static func round(from zero: Void = (), to value: Double) -> Scale {
            let power = pow(10, floor(log10(max(value, 1))))
            let steps = [1, 1.5, 2, 3, 4, 5, 6, 8, 10]
            return .linear(most: power * (steps.first { $0 * power >= value } ?? 10))
        }

        /// Whole powers of ten around positive values.
        static func powers(around values: [Double]) -> Scale {
            let positive = values.filter { $0 > 0 }
            let least = floor(log10(positive.min() ?? 1))
            let most = ceil(log10(positive.max() ?? 10))
            return .logarithmic(least: pow(10, least), most: pow(10, max(most, least + 1)))
        }

        /// 0 at the bottom, 1 at the top.
        func height(of value: Double) -> Double {
            switch self {
            case .linear(let most): most > 0 ? value / most : 0
            case .logarithmic(let least, let most): log10(max(value, least) / least) / log10(most / least)
            }
        }

        /// Where the scale is marked, from the bottom.
        var marks: [Double] {
            switch self {
            case .linear(let most): return [0, most / 2, most]
            case .logarithmic(let least, let most):
                let count = Int(log10(most / least).rounded())
                let step = count > 4 ? 2 : 1
                return stride(from: 0, through: count, by: step).map { least * pow(10, Double($0)) }
            }
        }
    }

    private static let (width, height) = (1_000.0, 240.0)

    let title: String
    /// What the drawing shows, in words.
    let words: String
    let scale: Scale
    /// A value of the scale as text.
    let label: (Double) -> String
    let lines: [Line]
    let phases: [AttackResults.Phase]

    private var end: Double { max(phases.last?.endSeconds ?? 0, 1) }

    var figure: String {
        let marks = scale.marks.map { value in
            let top = Figures.fixed((1 - scale.height(of: value)) * 100, 2)
            return "<span style=\"top:\(top)%\">\(Markup.escaped(label(value)))</span>"
        }
        let grid = scale.marks.map { value in
            let y = Figures.fixed((1 - scale.height(of: value)) * Self.height, 1)
            return "<line class=\"grid\" x1=\"0\" x2=\"1000\" y1=\"\(y)\" y2=\"\(y)\"/>"
        }
        return """
            <figure><figcaption>\(Markup.escaped(title))</figcaption>
            <div class="plot"><div class="y" aria-hidden="true">\(marks.joined())</div><div class="area">\(spanLabel)\
            <svg viewBox="0 0 1000 240" preserveAspectRatio="none" role="img" aria-label="\(Markup.escaped(words))">\
            \(span)\(grid.joined())\(lines.map(drawing).joined())</svg></div>\(TimeAxis(phases: phases).html)</div></figure>
            """
    }

    private var attack: AttackResults.Phase? { phases.first { $0.kind == .attack } }

    /// The attack's span.
    private var span: String {
        guard let attack else { return "" }
        let x = Figures.fixed(attack.startSeconds / end * Self.width, 1)
        let width = Figures.fixed(attack.seconds / end * Self.width, 1)
        return "<rect class=\"attack\" x=\"\(x)\" y=\"0\" width=\"\(width)\" height=\"240\"/>"
    }

    private var spanLabel: String {
        guard let attack else { return "" }
        let left = Figures.fixed(attack.startSeconds / end * 100, 2)
        return "<span class=\"span\" style=\"left:\(left)%\" aria-hidden=\"true\">attack</span>"
    }

    private func drawing(_ line: Line) -> String {
        line.points.split(whereSeparator: { $0.value == nil }).map { piece in
            let points = piece.map { point in
                let x = point.seconds / end * Self.width
                let y = (1 - min(scale.height(of: point.value ?? 0), 1)) * Self.height
                return "\(Figures.fixed(x, 1)),\(Figures.fixed(y, 1))"
            }
            // A single point would not show.
            let drawn = points.count == 1 ? points + points : points
            return "<polyline class=\"line \(line.classes)\" points=\"\(drawn.joined(separator: " "))\"/>"
        }.joined()
    }
}

/// The boundaries of a run's phases below a drawing.
struct TimeAxis {
    let phases: [AttackResults.Phase]

    var html: String {
        let end = max(phases.last?.endSeconds ?? 0, 1)
        var times = phases.filter { $0.kind == .attack }.flatMap { [$0.startSeconds, $0.endSeconds] }
        times = [0] + times.filter { $0 > 0 && $0 < end } + [end]
        let marks = times.enumerated().map { index, time in
            let left = Figures.fixed(time / end * 100, 2)
            let side = index == 0 ? " class=\"first\"" : index == times.count - 1 ? " class=\"last\"" : ""
            return "<span\(side) style=\"left:\(left)%\">\(Figures.fixed(time, 0)) s</span>"
        }
        return "<div class=\"x\" aria-hidden=\"true\">\(marks.joined())</div>"
    }
}
