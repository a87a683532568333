/// How a summary is computed from runs.
extension AttackSummary {
    /// Throughput counts as recovered from this share of its fault-free value on.
    fileprivate static let recovered = 0.9

    /// Summarises runs.
    ///
    /// - Parameters:
    ///   - runs: All runs, in any order.
    ///   - faults: f.
    init(of runs: [AttackResults.Run], faults: Int) {
        var keys: [CaseKey] = []
        var byKey: [CaseKey: [AttackResults.Run]] = [:]
        for run in runs {
            let key = CaseKey(protocolName: run.protocolName, profile: run.profile, scenario: run.scenario)
            if byKey[key] == nil { keys.append(key) }
            byKey[key, default: []].append(run)
        }
        let attackThroughput = { (key: CaseKey) -> Double? in
            Spread(byKey[key, default: []].completed.compactMap { $0.phase(.attack)?.throughput })?.median
        }
        cases = keys.map { key in
            // A scenario has its load under each profile; without one, the spike is part of the profile.
            let profile = key.scenario == nil ? "spike-no-fault" : "none"
            let quiet = CaseKey(protocolName: key.protocolName, profile: profile, scenario: key.scenario)
            return Case(key, runs: byKey[key, default: []], quietThroughput: attackThroughput(quiet), faults: faults)
        }

        var names: [String] = []
        for key in keys where !names.contains(key.protocolName) { names.append(key.protocolName) }
        peaks = names.compactMap { name in
            let steady = runs.completed.filter { $0.protocolName == name && !$0.loadChanges }
            return Spread(steady.compactMap { $0.phase(.faultFree)?.throughput })
                .map { Peak(protocolName: name, faultFree: $0) }
        }
    }

    /// What the repetitions of one case have in common.
    struct CaseKey: Hashable {
        let protocolName: String
        let profile: String
        let scenario: String?
    }
}

extension AttackSummary.Case {
    fileprivate init(
        _ key: AttackSummary.CaseKey,
        runs: [AttackResults.Run],
        quietThroughput: Double?,
        faults: Int
    ) {
        typealias Spread = AttackSummary.Spread
        let completed = runs.completed
        protocolName = key.protocolName
        profile = key.profile
        scenario = key.scenario
        completedRuns = completed.count
        failures = runs.compactMap { run in run.failure.map { "repetition \(run.repetition): \($0)" } }
        faultFree = Spread(completed.compactMap { $0.phase(.faultFree)?.throughput })
        attack = Spread(completed.compactMap { $0.phase(.attack)?.throughput })
        after = Spread(completed.compactMap { $0.phase(.after)?.throughput })
        ratio = Spread(completed.compactMap { $0.ratio(quietThroughput: quietThroughput) })
        worstSecond = Spread(completed.compactMap(\.worstSecond))
        faultFreeLatency = AttackSummary.LatencySpread(completed.compactMap { $0.phase(.faultFree)?.latency })
        attackLatency = AttackSummary.LatencySpread(completed.compactMap { $0.phase(.attack)?.latency })
        evictionSeconds = Spread(completed.compactMap { $0.evictionSeconds(weakQuorum: faults + 1) })
        recoverySeconds = Spread(
            completed.compactMap { run in run.phase(.attack).flatMap { run.recoverySeconds(from: $0) } }
        )
        recoveryAfterSeconds = Spread(
            completed.compactMap { run in run.phase(.after).flatMap { run.recoverySeconds(from: $0) } }
        )
        let shares = completed.compactMap(\.starvation)
        starvedClient = Spread(shares.map(\.starved))
        otherClients = Spread(shares.map(\.others))
        wronglyPunished = runs.flatMap { run in
            run.wronglyPunished.map { "\($0), repetition \(run.repetition)" }
        }
        let verdicts = { (held: Bool?) in
            runs.flatMap { run in
                run.verdicts.filter { $0.held == held }.map {
                    "repetition \(run.repetition): \($0.oracle): \($0.detail)"
                }
            }
        }
        violations = verdicts(false)
        notJudged = verdicts(nil)
        isOutOfModel = runs.contains(where: \.isOutOfModel)
    }
}

extension AttackSummary.LatencySpread {
    fileprivate init?(_ latencies: [AttackResults.Latency]) {
        let spread = { (part: KeyPath<AttackResults.Latency, UInt64>) in
            AttackSummary.Spread(latencies.map { Double($0[keyPath: part]) })
        }
        guard let p50 = spread(\.p50Microseconds), let p99 = spread(\.p99Microseconds),
            let p999 = spread(\.p999Microseconds), let max = spread(\.maxMicroseconds)
        else { return nil }
        self.init(p50: p50, p99: p99, p999: p999, max: max)
    }
}

extension [AttackResults.Run] {
    fileprivate var completed: [AttackResults.Run] { filter { $0.failure == nil } }
}

extension AttackResults.Run {
    /// Whether the number of clients is not the same before and during the attack.
    fileprivate var loadChanges: Bool { Set(load.map(\.clients)).count > 1 }

    /// Throughput during the attack as a share of what it would be without.
    fileprivate func ratio(quietThroughput: Double?) -> Double? {
        let base = loadChanges ? quietThroughput : phase(.faultFree)?.throughput
        guard let base, base > 0, let attacked = phase(.attack)?.throughput else { return nil }
        return attacked / base
    }

    /// The samples that lie wholly in a phase.
    package func samples(in phase: AttackResults.Phase) -> [AttackResults.Sample] {
        // Clocks are read twice at a boundary: a sample that begins a moment before its phase still belongs to it.
        let slack = 0.05
        return samples.filter {
            $0.startSeconds >= phase.startSeconds - slack && $0.endSeconds <= phase.endSeconds + slack
        }
    }

    fileprivate var worstSecond: Double? {
        guard let attack = phase(.attack) else { return nil }
        // A last second that is cut short says little.
        return samples(in: attack).filter { $0.durationSeconds > 0.5 }.map(\.throughput).min()
    }

    /// How long after the beginning of a phase throughput was back, for two seconds running.
    fileprivate func recoverySeconds(from phase: AttackResults.Phase) -> Double? {
        guard !loadChanges, let base = self.phase(.faultFree)?.throughput, base > 0 else { return nil }
        let inside = samples(in: phase)
        for (index, sample) in inside.enumerated() where sample.throughput >= AttackSummary.recovered * base {
            let next = inside.dropFirst(index + 1).first
            guard let next, next.throughput >= AttackSummary.recovered * base else { continue }
            return Swift.max(0, sample.startSeconds - phase.startSeconds)
        }
        return nil
    }

    fileprivate func isCorrect(_ replica: Int) -> Bool { !faultyReplicas.contains(replica) }

    /// How long after the attack's beginning the attacker had no more say.
    fileprivate func evictionSeconds(weakQuorum: Int) -> Double? {
        guard let attack = phase(.attack), !faultyReplicas.isEmpty || !faultyClients.isEmpty else { return nil }
        let before = samples.last { $0.endSeconds <= attack.startSeconds + 0.05 }
        let attackerLeads = before?.primary.map { !isCorrect($0) } ?? false
        for sample in samples(in: attack) {
            let led = attackerLeads && (sample.primary.map(isCorrect) ?? false)
            let replicas = sample.replicas.filter { isCorrect($0.replica) }
            let cutOff = faultyReplicas.contains { peer in
                replicas.count { $0.cutOffPeers?.contains(peer) ?? false } >= weakQuorum
            }
            let barred = faultyClients.contains { client in
                replicas.count { $0.blacklistedClients?.contains(client) ?? false } >= weakQuorum
            }
            if led || cutOff || barred { return Swift.max(0, sample.endSeconds - attack.startSeconds) }
        }
        return nil
    }

    /// What the client that got least during the attack got, and what the others got, in operations a second.
    fileprivate var starvation: (starved: Double, others: Double)? {
        guard let attack = phase(.attack), attack.seconds > 0, clientShares.count > 1 else { return nil }
        let ordered = clientShares.sorted { ($0.attackOperations, $0.client) < ($1.attackOperations, $1.client) }
        guard let starved = ordered.first(where: \.isVictim) ?? ordered.first else { return nil }
        let others = ordered.filter { $0.client != starved.client }.map { Double($0.attackOperations) / attack.seconds }
        guard let median = AttackSummary.Spread(others)?.median else { return nil }
        return (Double(starved.attackOperations) / attack.seconds, median)
    }

    /// Correct parties that correct replicas cut off or put on their blacklists.
    fileprivate var wronglyPunished: [String] {
        var found: [String] = []
        let note = { (text: String) in if !found.contains(text) { found.append(text) } }
        for replica in samples.lazy.flatMap(\.replicas) where isCorrect(replica.replica) {
            for peer in replica.cutOffPeers ?? [] where isCorrect(peer) {
                note("replica \(peer) at replica \(replica.replica)")
            }
            for client in replica.blacklistedClients ?? [] where !faultyClients.contains(client) {
                note("client \(client) at replica \(replica.replica)")
            }
        }
        return found
    }
}
