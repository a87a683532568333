/// A table of text, for a terminal or in Markdown.
struct TextTable {
    /// A column's head, and on which side its cells are flush.
    struct Column {
        let title: String
        var isNumber = false
    }

    let columns: [Column]
    var rows: [[String]] = []

    init(_ columns: [Column]) {
        self.columns = columns
    }

    /// For a terminal: columns two spaces apart, a rule below the heads, no line break at the end.
    var plain: String {
        let widths = columns.indices.map { column in
            rows.reduce(columns[column].title.count) { max($0, $1[column].count) }
        }
        let line = { (cells: [String]) in
            var text = ""
            for (column, cell) in cells.enumerated() {
                let fill = String(repeating: " ", count: widths[column] - cell.count)
                text += (column == 0 ? "" : "  ") + (columns[column].isNumber ? fill + cell : cell + fill)
            }
            while text.last == " " { text.removeLast() }
            return text
        }
        let rule = widths.map { String(repeating: "-", count: $0) }.joined(separator: "  ")
        return ([line(columns.map(\.title)), rule] + rows.map(line)).joined(separator: "\n")
    }

    /// In Markdown (GitHub's tables), no line break at the end.
    var markdown: String {
        let line = { (cells: [String]) in
            "| " + cells.map { $0.replacing("|", with: "\\|").replacing("\n", with: " ") }.joined(separator: " | ")
                + " |"
        }
        let rule = "| " + columns.map { $0.isNumber ? "---:" : "---" }.joined(separator: " | ") + " |"
        return ([line(columns.map(\.title)), rule] + rows.map(line)).joined(separator: "\n")
    }
}
