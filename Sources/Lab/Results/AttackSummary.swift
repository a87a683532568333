/// What follows from the runs: one line for each pair of protocol and profile.
package struct AttackSummary: Codable, Hashable, Sendable {
    /// A figure over repetitions.
    package struct Spread: Codable, Hashable, Sendable {
        /// The median: the middle value, or the mean of the two in the middle.
        package let median: Double
        /// The smallest.
        package let min: Double
        /// The largest.
        package let max: Double
        /// How many values there are.
        package let count: Int

        /// Summarises values.
        ///
        /// - Returns: nil when there are none.
        package init?(_ values: [Double]) {
            let sorted = values.sorted()
            guard let first = sorted.first, let last = sorted.last else { return nil }
            let middle = sorted.count / 2
            median = sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
            min = first
            max = last
            count = sorted.count
        }
    }

    /// One protocol under one profile, over its repetitions. Throughput is in operations of correct clients a second.
    package struct Case: Codable, Hashable, Sendable {
        /// The protocol or ablation.
        package let protocolName: String
        /// The profile.
        package let profile: String
        /// The scenario; nil for none.
        package let scenario: String?
        /// Runs that came to their end.
        package let completedRuns: Int
        /// Runs that did not, with the reason of each.
        package let failures: [String]
        /// Throughput before the attack.
        package let faultFree: Spread?
        /// Throughput during the attack.
        package let attack: Spread?
        /// Throughput after it.
        package let after: Spread?
        /// Throughput during the attack as a share of the run's own fault-free phase, 1 for equal. Where the load changes during the
        /// attack: as a share of the same protocol's median under `none` in the same scenario, or without a scenario under
        /// `spike-no-fault`.
        package let ratio: Spread?
        /// The worst whole second of the attack, in operations a second.
        package let worstSecond: Spread?
        /// Latencies before the attack, in microseconds.
        package let faultFreeLatency: LatencySpread?
        /// Latencies during the attack, in microseconds.
        package let attackLatency: LatencySpread?
        /// From the attack's beginning until the attacker had no more say: a correct primary in its place; or f + 1 correct replicas
        /// that cut the peer off or have the client on their blacklists. Of the runs in which this happened, in seconds.
        package let evictionSeconds: Spread?
        /// From the attack's beginning until throughput was at 90 % of its fault-free value for two seconds running; 0 where it never
        /// fell below. Of the runs in which this happened.
        package let recoverySeconds: Spread?
        /// From the attack's end until the same. Of the runs in which this happened.
        package let recoveryAfterSeconds: Spread?
        /// Operations a second of the client that got least during the attack: the victim where there is one.
        package let starvedClient: Spread?
        /// Operations a second of the median of the other correct clients.
        package let otherClients: Spread?
        /// Correct parties that a correct replica cut off or put on its blacklist, for example `client 3 at replica 1, repetition 2`.
        /// Must be empty.
        package let wronglyPunished: [String]
        /// What the oracles found, for example `repetition 1: one history: ...`. Must be empty, but for a profile beyond the fault model.
        package let violations: [String]
        /// What oracles could not judge, for example `repetition 1: one history: ...`. Must be empty.
        package let notJudged: [String]
        /// Whether more than f replicas are faulty, so that an oracle has to find something.
        package let isOutOfModel: Bool

        /// Whether everything is as it must be: all runs came to their end, nobody was punished wrongly, and the oracles looked at
        /// something and found nothing; or, beyond the fault model, they found something.
        package var passed: Bool {
            guard failures.isEmpty else { return false }
            return isOutOfModel
                ? !violations.isEmpty : violations.isEmpty && notJudged.isEmpty && wronglyPunished.isEmpty
        }
    }

    /// Latencies over repetitions, in microseconds.
    package struct LatencySpread: Codable, Hashable, Sendable {
        /// The median.
        package let p50: Spread
        /// The 99th percentile.
        package let p99: Spread
        /// The 99.9th percentile.
        package let p999: Spread
        /// The longest.
        package let max: Spread
    }

    /// One protocol over all its runs.
    package struct Peak: Codable, Hashable, Sendable {
        /// The protocol or ablation.
        package let protocolName: String
        /// Its fault-free throughput over all runs whose load is the same from beginning to end, in operations a second.
        package let faultFree: Spread
    }

    /// The protocols in the order of their first runs.
    package let peaks: [Peak]
    /// The cases in the order of their first runs.
    package let cases: [Case]

    /// The case of a protocol and a profile.
    package func result(of protocolName: String, under profile: String, scenario: String? = nil) -> Case? {
        cases.first { $0.protocolName == protocolName && $0.profile == profile && $0.scenario == scenario }
    }

    /// Whether every case is as it must be.
    package var passed: Bool { cases.allSatisfy(\.passed) }
}
