/// Numbers as text for people, the same everywhere.
enum Figures {
    /// A number with this many digits after the point, at most 6.
    static func fixed(_ number: Double, _ digits: Int) -> String {
        let scale = (0..<digits).reduce(1.0) { scale, _ in scale * 10 }
        let scaled = (number * scale).rounded()
        guard let units = Int(exactly: scaled), digits > 0 else {
            return Int(exactly: scaled).map(String.init) ?? "\(number)"
        }
        let text = String(units.magnitude)
        let padded = String(repeating: "0", count: max(digits + 1 - text.count, 0)) + text
        return "\(units < 0 ? "-" : "")\(padded.dropLast(digits)).\(padded.suffix(digits))"
    }

    /// A whole number with commas between thousands.
    static func grouped(_ number: Double) -> String {
        let digits = fixed(number.magnitude, 0)
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index).isMultiple(of: 3) { text.append(",") }
            text.append(digit)
        }
        return number.rounded() < 0 ? "-" + text : text
    }

    /// A rate: whole from 100 on, with digits below.
    static func rate(_ number: Double) -> String {
        number >= 100 || number == 0 ? grouped(number) : fixed(number, number >= 10 ? 1 : 2)
    }

    /// A share as percent; with a digit below 10 %.
    static func percent(_ share: Double) -> String {
        let percent = share * 100
        return "\(fixed(percent, percent != 0 && percent.magnitude < 9.95 ? 1 : 0)) %"
    }

    /// Microseconds, as milliseconds or seconds where that reads better.
    static func duration(microseconds: Double) -> String {
        switch microseconds {
        case ..<99.5: "\(fixed(microseconds, 0)) us"
        case ..<99_500: "\(fixed(microseconds / 1_000, microseconds < 9_950 ? 2 : 1)) ms"
        case ..<999_500: "\(fixed(microseconds / 1_000, 0)) ms"
        default: "\(fixed(microseconds / 1_000_000, 1)) s"
        }
    }

    /// Seconds.
    static func seconds(_ seconds: Double) -> String { "\(fixed(seconds, seconds < 9.95 ? 1 : 0)) s" }

    /// A figure over repetitions: its median, and in brackets the smallest and largest where there are several.
    static func spread(_ spread: AttackSummary.Spread?, _ text: (Double) -> String) -> String {
        guard let spread else { return "-" }
        let median = text(spread.median)
        var (least, most) = (text(spread.min), text(spread.max))
        guard spread.count > 1, least != most else { return median }
        // The unit is said once where all three have the same.
        if let space = median.lastIndex(of: " ") {
            let unit = median[space...]
            if least.hasSuffix(unit), most.hasSuffix(unit) {
                least.removeLast(unit.count)
                most.removeLast(unit.count)
            }
        }
        return "\(median) (\(least) to \(most))"
    }

    /// Bytes in the largest binary unit that gives a whole number or more.
    static func bytes(_ count: UInt64) -> String {
        let units: [(UInt64, String)] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        for (size, name) in units where count >= size {
            return "\(fixed(Double(count) / Double(size), count % size == 0 ? 0 : 1)) \(name)"
        }
        return "\(count) bytes"
    }
}
