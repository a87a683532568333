import Messages
import Workloads

/// What the replicas said of themselves during a run and what all processes used, once a second, and whether checkpoints agree.
struct RunObserver {
    /// n.
    let replicas: Int
    /// Whether each replica has network interfaces that nobody else uses.
    let hasOwnInterfaces: Bool
    /// The replicas that misbehave, and those that forget what they said.
    let faulty: [Int]
    /// The former of them.
    let behaving: [Int]
    /// The replicas whose processes are told when the attack begins: those that misbehave, and those around which the network does.
    let switched: [Int]
    /// The clients that misbehave.
    let faultyClients: [ClientID]
    private(set) var events: [AttackResults.Event] = []
    /// What clients did, second by second.
    private(set) var seconds: [LoadSecond] = []
    /// Whether the clients have stopped.
    private(set) var isLoadOver = false
    /// Whether what clients saw is linearizable, once they have told.
    private(set) var linearizability: AttackResults.Verdict?
    private var rounds: [[ReplicaStatus?]] = []
    /// What was used when the load began, and at the end of each second.
    private var usages: [LabUsage] = []
    /// For each checkpoint, which root which correct replica has.
    private var roots: [UInt64: [Int: UInt64]] = [:]
    /// For each part of a history, which correct replica tells which digest of it.
    private var histories: [HistoryPart: [Int: UInt64]] = [:]
    /// Correct replicas that found the others' certified state to be another than their own.
    private var diverged: Set<Int> = []

    /// The batches from one number to another.
    private struct HistoryPart: Hashable {
        let start: UInt64
        let end: UInt64
    }

    init(
        replicas: Int,
        hasOwnInterfaces: Bool,
        behaving: [Int],
        disturbed: [Int],
        forgetful: [Int],
        faultyClients: [ClientID]
    ) {
        self.replicas = replicas
        self.hasOwnInterfaces = hasOwnInterfaces
        self.behaving = behaving
        switched = Set(behaving + disturbed).sorted()
        faulty = Set(behaving + forgetful).sorted()
        self.faultyClients = faultyClients
    }

    mutating func note(_ second: Int, _ actor: String, _ text: String) {
        events.append(AttackResults.Event(atSeconds: Double(second), actor: actor, text: text))
    }

    mutating func take(_ usage: LabUsage) {
        usages.append(usage)
    }

    mutating func take(_ report: LoadReport) {
        switch report {
        case .statuses(let statuses): take(LoadReport.decode(statuses))
        case .second(let second): seconds.append(second)
        case .history(let verdict): linearizability = verdict
        case .stopped: isLoadOver = true
        case .ready, .audited, .failed: break
        }
    }

    /// Takes what the replicas said of themselves at one time; nil for one that did not answer.
    mutating func take(_ statuses: [ReplicaStatus?]) {
        rounds.append(statuses)
        for status in correct(statuses) {
            let sequence = status.value("checkpoint_sequence")
            if sequence > 0 {
                roots[sequence, default: [:]][status.replica.index] = status.value("checkpoint_root_prefix")
            }
            for place in ["mark", "checkpoint"] {
                let part = HistoryPart(
                    start: status.value("history_start"),
                    end: status.value("history_\(place)_sequence")
                )
                // A mark from before the history began anew is none.
                guard part.end >= part.start, part.end > 0 else { continue }
                histories[part, default: [:]][status.replica.index] = status.value("history_\(place)_prefix")
            }
            if status.value("checkpoints_diverged") > 0 { diverged.insert(status.replica.index) }
        }
    }

    private func correct(_ statuses: [ReplicaStatus?]) -> [ReplicaStatus] {
        statuses.compactMap { $0 }.filter { !faulty.contains($0.replica.index) }
    }

    /// Operations that the furthest correct replica executed in the last second.
    var rate: UInt64 {
        let counts = rounds.suffix(2).map { correct($0).map { $0.value("operations_executed") }.max() ?? 0 }
        return counts.count == 2 && counts[1] > counts[0] ? counts[1] - counts[0] : 0
    }

    /// The last checkpoint of each correct replica, as text; nil when all have the same.
    var unlevel: String? {
        guard !isLevel, let last = rounds.last else { return nil }
        return last.indices.filter { !faulty.contains($0) }.map { replica in
            "replica \(replica): \(last[replica].map { String($0.value("checkpoint_sequence")) } ?? "no answer")"
        }
        .joined(separator: ", ")
    }

    /// Whether all correct replicas told the same last checkpoint.
    var isLevel: Bool {
        guard let last = rounds.last else { return false }
        let present = correct(last)
        return present.count == last.count - faulty.count
            && Set(present.map { $0.value("checkpoint_sequence") }).count == 1
    }

    /// What each attacker did, as far as it said.
    ///
    /// - Parameters:
    ///   - cluster: The processes.
    ///   - hasOutages: Whether replicas were to be killed.
    ///   - network: What closes ways; nil for nothing.
    func attackers(_ cluster: LabCluster, hasOutages: Bool, network: NetworkCuts?) -> [AttackResults.Attacker] {
        let names = behaving.map { ("replica", $0) } + faultyClients.map { ("client", Int($0.rawValue)) }
        let parties = names.map { kind, number in
            AttackResults.Attacker(actor: "\(kind) \(number)", actions: cluster.actions(of: "\(kind)-\(number)") ?? 0)
        }
        return parties + (hasOutages ? [AttackResults.Attacker(actor: "power", actions: cluster.kills)] : [])
            + networkActions(cluster, network)
    }

    /// What the network did: what was done to it, and what was done to messages in the processes of correct replicas.
    private func networkActions(_ cluster: LabCluster, _ network: NetworkCuts?) -> [AttackResults.Attacker] {
        let disturbed = switched.filter { !behaving.contains($0) }
        guard network != nil || !disturbed.isEmpty else { return [] }
        let told = disturbed.map { cluster.actions(of: "replica-\($0)") ?? 0 }
        return [AttackResults.Attacker(actor: "network", actions: told.reduce(network?.actions ?? 0, +))]
    }

    /// Whether correct replicas had equal states wherever two of them told of one checkpoint, and had executed the same batches wherever
    /// two of them told how they got to one number from where both began.
    var history: AttackResults.Verdict {
        let oracle = "one history"
        if let difference {
            return AttackResults.Verdict(oracle: oracle, held: false, detail: difference)
        }
        let compared = roots.values.count { $0.count > 1 }
        let parts = histories.values.count { $0.count > 1 }
        return AttackResults.Verdict(
            oracle: oracle,
            held: compared > 0 ? true : nil,
            detail: compared > 0
                ? "\(compared) checkpoints that several correct replicas told are equal, and \(parts) orders of batches"
                : "no two correct replicas told of one checkpoint"
        )
    }

    /// In what correct replicas differ, as text; nil for nothing.
    private var difference: String? {
        let states = roots.filter { Set($0.value.values).count > 1 }.keys
        if let first = states.min() { return "correct replicas have different states at checkpoint \(first)" }
        let orders = histories.filter { Set($0.value.values).count > 1 }.keys
        if let first = orders.min(by: { $0.end < $1.end }) {
            return "correct replicas executed different batches from number \(first.start) to \(first.end)"
        }
        if let first = diverged.min() {
            return "correct replica \(first) has another state at a checkpoint than the one that 2f + 1 replicas signed"
        }
        return nil
    }

    /// The run second by second: what clients measured beside what replicas said.
    func samples(seconds count: Int) -> [AttackResults.Sample] {
        seconds.prefix(count).enumerated().map { second, load in
            let now = second < rounds.count ? rounds[second] : []
            let before = second > 0 && second <= rounds.count ? rounds[second - 1] : []
            let used = usages.dropFirst(second).prefix(2)
            let told = correct(now)
            let agreed = Self.agreed(told)
            return AttackResults.Sample(
                startSeconds: Double(second),
                durationSeconds: load.seconds,
                operations: load.recording.operations,
                errors: load.recording.failures,
                latency: AttackResults.Latency(load.recording),
                view: agreed?.view.rawValue,
                primary: agreed?.primary.index,
                replicas: (0..<replicas).compactMap { sample(of: $0, now, before, used) },
                cpuMicrosecondsOfClients: Self.growth(used) { $0.clients?.cpuMicroseconds },
                cpuMicrosecondsOfAttackers: Self.growth(used) { $0.attackersMicroseconds }
            )
        }
    }

    /// The primary of the view that most correct replicas are in; nil when there is none.
    var primary: Int? { rounds.last.flatMap { Self.agreed(correct($0))?.primary.index } }

    /// A replica that is in the view that most of them are in.
    private static func agreed(_ told: [ReplicaStatus]) -> ReplicaStatus? {
        let views = Dictionary(grouping: told, by: \.view).max { $0.value.count < $1.value.count }
        return views.flatMap { 2 * $0.value.count > told.count ? $0.value.first : nil }
    }

    /// What is known of a replica's second: what it said of itself, and what the system says of its process.
    private func sample(
        of replica: Int,
        _ now: [ReplicaStatus?],
        _ before: [ReplicaStatus?],
        _ used: ArraySlice<LabUsage>
    ) -> AttackResults.ReplicaSample? {
        let status = now.compactMap(\.self).first { $0.replica.index == replica }
        let old = before.compactMap(\.self).first { $0.replica.index == replica }
        let counted = { (figure: KeyPath<ProcessUsage, UInt64>) in
            Self.growth(used) { $0.replicas[replica]?[keyPath: figure] }
        }
        let cpu = counted(\.cpuMicroseconds)
        guard status != nil || cpu != nil else { return nil }
        let told = { (name: String) -> UInt64? in
            guard let status, let old else { return nil }
            return Self.growth(from: old.value(name), to: status.value(name))
        }
        return AttackResults.ReplicaSample(
            replica: replica,
            view: status?.view.rawValue,
            cpuMicroseconds: cpu ?? told("cpu_microseconds"),
            bytesReceived: hasOwnInterfaces ? counted(\.bytesReceived) : told("link_bytes_in"),
            bytesSent: hasOwnInterfaces ? counted(\.bytesSent) : told("link_bytes_out"),
            signatureChecks: told("signatures_checked"),
            viewChanges: told("views_left"),
            cutOffPeers: status?.numbered("peer_", "_cut").map { Int($0) },
            blacklistedClients: status?.numbered("client_", "_blacklisted")
        )
    }

    /// By how much a figure has grown from the first of two readings to the second.
    private static func growth(_ readings: ArraySlice<LabUsage>, _ figure: (LabUsage) -> UInt64?) -> UInt64? {
        guard readings.count == 2, let old = readings.first.flatMap(figure), let new = readings.last.flatMap(figure)
        else { return nil }
        return growth(from: old, to: new)
    }

    /// By how much a counter has grown; 0 when it began anew.
    private static func growth(from old: UInt64, to new: UInt64) -> UInt64 { new > old ? new - old : 0 }
}

extension ReplicaStatus {
    /// The numbers in the names of gauges that are not 0, for example 3 of `peer_3_cut`.
    fileprivate func numbered(_ prefix: String, _ suffix: String) -> [UInt64] {
        counters.compactMap { gauge in
            guard gauge.value > 0, gauge.name.hasPrefix(prefix), gauge.name.hasSuffix(suffix) else { return nil }
            return UInt64(gauge.name.dropFirst(prefix.count).dropLast(suffix.count))
        }
    }

    /// The value of a counter; 0 when the replica has none of this name.
    func value(_ name: String) -> UInt64 {
        counters.first { $0.name == name }?.value ?? 0
    }
}
