/// What papers measured, for comparison. None of these figures was taken on the machine of a report, so only shares of a protocol's own
/// peak are held against ours.
package enum PublishedResults {
    /// Where figures come from.
    package enum Source: String, CaseIterable, Sendable {
        /// Clement, Wong, Alvisi, Dahlin and Marchetti: Making Byzantine Fault Tolerant Systems Tolerate Byzantine Faults. NSDI 2009.
        /// 4 replicas, each on a machine of its own.
        case aardvark = "Clement et al., NSDI 2009"
        /// Aublin, Ben Mokhtar and Quema: RBFT: Redundant Byzantine Fault Tolerance. ICDCS 2013.
        case rbft = "Aublin et al., ICDCS 2013"
    }

    /// What became of a system.
    package enum Outcome: Hashable, Sendable {
        /// It served this many requests a second.
        case throughput(Double)
        /// It served this share of its own peak; the paper gives no absolute figure.
        case share(Double)
        /// It crashed.
        case crash
    }

    /// One figure of a table.
    package struct Figure: Hashable, Sendable {
        /// Whose figure it is: `pbft`, `aardvark`, or an ablation.
        package let protocolName: String
        /// What became of it.
        package let outcome: Outcome

        /// The figure as a share of the protocol's own published peak; a crash is 0.
        package var share: Double? {
            switch outcome {
            case .share(let share): share
            case .crash: 0
            case .throughput(let throughput):
                PublishedResults.peak.figures.first { $0.protocolName == protocolName }
                    .flatMap { figure in
                        if case .throughput(let peak) = figure.outcome { throughput / peak } else { nil }
                    }
            }
        }
    }

    /// A line of a table: one case, measured for one or more systems.
    package struct Row: Hashable, Sendable {
        /// A name for the command line and the report.
        package let name: String
        /// What was done, in a few words.
        package let summary: String
        /// The profile of ours that does the same.
        package let profile: String
        /// The paper.
        package let source: Source
        /// Where in the paper.
        package let place: String
        /// The figures.
        package let figures: [Figure]

        /// The figure of a protocol.
        package func figure(of protocolName: String) -> Figure? { figures.first { $0.protocolName == protocolName } }
    }

    /// What a client got from a primary that starves another.
    package struct Starvation: Hashable, Sendable {
        /// Whose figures they are.
        package let protocolName: String
        /// Requests a second of the client that is starved.
        package let starved: Double
        /// Requests a second of any other client, on the average.
        package let others: Double

        /// What the starved client got, as a share of what another got.
        package var share: Double { starved / others }
    }

    private static func row(
        _ name: String,
        _ summary: String,
        profile: String,
        source: Source = .aardvark,
        place: String,
        _ figures: [(String, Outcome)]
    ) -> Row {
        Row(
            name: name,
            summary: summary,
            profile: profile,
            source: source,
            place: place,
            figures: figures.map { Figure(protocolName: $0.0, outcome: $0.1) }
        )
    }

    /// Peak throughput without faults.
    package static let peak = row(
        "peak",
        "no faults",
        profile: "none",
        place: "table 1, peak throughput",
        [("pbft", .throughput(61_710)), ("aardvark", .throughput(38_667))]
    )

    /// What each measure of Aardvark costs, without faults.
    package static let ablation = row(
        "ablation",
        "no faults, measures taken away or added",
        profile: "none",
        place: "section 7, incremental versions of the protocol",
        [
            ("pbft", .throughput(61_710)),
            ("pbft-with-signatures", .throughput(31_777)),
            ("aardvark", .throughput(38_667)),
            ("aardvark-without-signatures", .throughput(57_405)),
            ("aardvark-without-regular-view-changes", .throughput(39_771)),
        ]
    )

    /// Throughput under attack.
    package static let attacks: [Row] = [
        row(
            "faulty client",
            "a client whose MACs are good for the primary only",
            profile: "big-mac",
            place: "table 1, faulty client",
            [("pbft", .throughput(0)), ("aardvark", .throughput(38_667))]
        ),
        row(
            "primary delay 1 ms",
            "the primary delays each PRE-PREPARE by 1 ms",
            profile: "delay-1ms",
            place: "section 7, faulty primaries",
            [("pbft", .throughput(5_041)), ("aardvark", .throughput(38_542))]
        ),
        row(
            "primary delay 10 ms",
            "the primary delays each PRE-PREPARE by 10 ms",
            profile: "delay-10ms",
            place: "section 7, faulty primaries",
            [("pbft", .throughput(4_853)), ("aardvark", .throughput(37_340))]
        ),
        row(
            "primary delay 100 ms",
            "the primary delays each PRE-PREPARE by 100 ms",
            profile: "delay-100ms",
            place: "section 7, faulty primaries",
            [("pbft", .throughput(1_097)), ("aardvark", .throughput(37_903))]
        ),
        row(
            "client flood",
            "one client floods the replicas with messages of 9 KB over UDP",
            profile: "client-flood",
            place: "section 7, faulty clients",
            [("pbft", .crash), ("aardvark", .throughput(7_873))]
        ),
        row(
            "replica flood",
            "one replica floods the others",
            profile: "flood",
            place: "section 7, faulty replicas",
            [("pbft", .throughput(251)), ("aardvark", .throughput(11_706))]
        ),
        row(
            "load spike",
            "the primary lies low while the load goes from 1 client to 50 and back",
            profile: "smart-spike",
            source: .rbft,
            place: "section 3, Aardvark under attack",
            [("aardvark", .share(0.13))]
        ),
    ]

    /// What a client gets from a primary that starves it (Clement et al., section 7, faulty primaries).
    package static let unfairPrimary = [
        Starvation(protocolName: "pbft", starved: 1.25, others: 1_446),
        Starvation(protocolName: "aardvark", starved: 358, others: 465),
    ]

    /// The published share of a protocol's own peak under a profile.
    ///
    /// - Returns: nil where no paper says.
    package static func share(of protocolName: String, under profile: String) -> Double? {
        attacks.first { $0.profile == profile }?.figure(of: protocolName)?.share
    }
}
