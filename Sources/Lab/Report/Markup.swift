/// Pieces of HTML.
enum Markup {
    /// Text that means nothing to a browser.
    static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }

    static func section(_ title: String, _ content: String) -> String {
        "<section>\n<h2>\(escaped(title))</h2>\n\(content)\n</section>"
    }

    /// A number with its noun, in the plural where it has to be.
    static func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

    /// A table that scrolls by itself where the window is narrower; its first column stays.
    static func table(_ table: TextTable, caption: String) -> String {
        let heads = table.columns.map {
            "<th scope=\"col\"\($0.isNumber ? " class=\"n\"" : "")>\(escaped($0.title))</th>"
        }
        let rows = table.rows.map { row in
            let cells = zip(table.columns, row).enumerated().map { index, pair in
                let (column, cell) = pair
                if index == 0 { return "<th scope=\"row\">\(escaped(cell))</th>" }
                let names = [column.isNumber ? "n" : nil, cell == "NO" ? "bad" : nil].compactMap(\.self)
                let attribute = names.isEmpty ? "" : " class=\"\(names.joined(separator: " "))\""
                return "<td\(attribute)>\(escaped(cell))</td>"
            }
            return "<tr>\(cells.joined())</tr>"
        }
        return """
            <p class="caption" aria-hidden="true">\(escaped(caption))</p>
            <div class="scroll" tabindex="0" role="region" aria-label="\(escaped(caption))"><table aria-label="\(escaped(caption))">
            <thead><tr>\(heads.joined())</tr></thead>
            <tbody>
            \(rows.joined(separator: "\n"))
            </tbody></table></div>
            """
    }

    /// A share of a drawing's width, as SVG has it.
    static func part(_ share: Double) -> String { "\(Figures.fixed(Swift.min(Swift.max(share, 0), 1) * 100, 2))%" }
}
