/// Which replica was the primary from when to when, in one run.
struct PrimaryStrip {
    /// A time with one primary.
    private struct Reign {
        let primary: Int
        let start: Double
        var end: Double
    }

    let run: AttackResults.Run
    let series: String

    /// nil when no primary is known.
    var html: String? {
        let end = max(run.phases.last?.endSeconds ?? 0, 1)
        let reigns = reigns
        guard !reigns.isEmpty else { return nil }
        let shapes = reigns.enumerated().map { index, reign in
            let isFaulty = run.faultyReplicas.contains(reign.primary)
            let width = (reign.end - reign.start) / end
            let middle = Markup.part((reign.start + reign.end) / 2 / end)
            let text =
                width < 0.035
                ? "" : "<text x=\"\(middle)\" y=\"16\" text-anchor=\"middle\">\(reign.primary)</text>"
            let classes = "reign\(index.isMultiple(of: 2) ? "" : " odd")\(isFaulty ? " faulty" : "")"
            return
                "<rect class=\"\(classes)\" x=\"\(Markup.part(reign.start / end))\" y=\"0\" width=\"\(Markup.part(width))\" height=\"22\"/>"
                + (isFaulty ? underline(from: reign.start / end, width: width) : "") + text
        }
        return """
            <div class="strip \(series)"><span class="name">\(Markup.escaped(run.protocolName))</span>\
            <svg role="img" aria-label="\(Markup.escaped(words(reigns)))">\(shapes.joined())</svg></div>
            """
    }

    private var reigns: [Reign] {
        var found: [Reign] = []
        for sample in run.samples {
            guard let primary = sample.primary else { continue }
            if let last = found.indices.last, found[last].primary == primary, found[last].end == sample.startSeconds {
                found[last].end = sample.endSeconds
            } else {
                found.append(Reign(primary: primary, start: sample.startSeconds, end: sample.endSeconds))
            }
        }
        return found
    }

    /// A mark that does not need colour to be seen.
    private func underline(from start: Double, width: Double) -> String {
        "<line class=\"faulty-mark\" x1=\"\(Markup.part(start))\" x2=\"\(Markup.part(start + width))\" y1=\"20\" y2=\"20\"/>"
    }

    private func words(_ reigns: [Reign]) -> String {
        let parts = reigns.prefix(20).map { reign in
            "replica \(reign.primary)\(run.faultyReplicas.contains(reign.primary) ? " (faulty)" : "") "
                + "from \(Figures.fixed(reign.start, 0)) to \(Figures.fixed(reign.end, 0)) s"
        }
        let more = reigns.count > 20 ? ", and \(reigns.count - 20) more" : ""
        return "Primary of \(run.protocolName): \(parts.joined(separator: ", "))\(more)"
    }
}

/// Who used how much processor time in one phase of one run.
struct ProcessorSplit {
    private struct Part {
        let name: String
        let classes: String
        let microseconds: Double
    }

    private let run: AttackResults.Run
    private let phase: AttackResults.Phase
    private let parts: [Part]
    private let signatures: Double

    /// - Returns: nil when nothing is known of processor time in this phase.
    init?(run: AttackResults.Run, phase kind: AttackResults.Phase.Kind, checkMicroseconds: Double) {
        guard let phase = run.phase(kind) else { return nil }
        let samples = run.samples(in: phase)
        let replicas = Dictionary(grouping: samples.flatMap(\.replicas), by: \.replica)
        let sum = { (values: [UInt64?]) in values.reduce(0.0) { $0 + Double($1 ?? 0) } }
        var parts = replicas.keys.sorted().map { replica in
            Part(
                name: "replica \(replica)",
                classes: run.faultyReplicas.contains(replica)
                    ? "faulty" : replica.isMultiple(of: 2) ? "replica" : "replica odd",
                microseconds: sum(replicas[replica, default: []].map(\.cpuMicroseconds))
            )
        }
        parts.append(
            Part(name: "attackers", classes: "faulty", microseconds: sum(samples.map(\.cpuMicrosecondsOfAttackers)))
        )
        parts.append(
            Part(name: "clients", classes: "clients", microseconds: sum(samples.map(\.cpuMicrosecondsOfClients)))
        )
        self.parts = parts.filter { $0.microseconds > 0 }
        guard !self.parts.isEmpty else { return nil }
        self.run = run
        self.phase = phase
        signatures = sum(replicas.values.flatMap { $0.map(\.signatureChecks) }) * checkMicroseconds
    }

    private var total: Double { parts.reduce(0) { $0 + $1.microseconds } }

    var html: String {
        var start = 0.0
        let shapes = parts.map { part in
            let share = part.microseconds / total
            defer { start += share }
            return
                "<rect class=\"cpu \(part.classes)\" x=\"\(Markup.part(start))\" y=\"0\" width=\"\(Markup.part(share))\" height=\"18\"/>"
        }
        let when = phase.kind == .attack ? "during the attack" : "before the attack"
        return """
            <div class="split"><span class="name">\(Markup.escaped(run.protocolName)) <small>\(when)</small></span>\
            <svg role="img" aria-label="\(Markup.escaped(words(when)))">\(shapes.joined())</svg>\
            <span class="value">\(Markup.escaped(cost))</span></div>
            """
    }

    /// The processor time of all replicas for one operation, and about how much of it signatures took.
    private var cost: String {
        let replicas = parts.filter { $0.name.hasPrefix("replica") }.reduce(0) { $0 + $1.microseconds }
        guard phase.operations > 0 else { return "no operation" }
        let each = Figures.duration(microseconds: replicas / Double(phase.operations))
        let checks =
            signatures > 0 && replicas > 0
            ? ", about \(Figures.percent(min(signatures / replicas, 1))) signature checks" : ""
        return "\(each) an operation in all replicas\(checks)"
    }

    private func words(_ when: String) -> String {
        let shares = parts.map { "\($0.name) \(Figures.percent($0.microseconds / total))" }
        return "Processor time of \(run.protocolName) \(when): \(shares.joined(separator: ", "))"
    }
}
