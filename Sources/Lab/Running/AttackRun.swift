import Aardvark
import Adversary
import Foundation
import Messages
import Workloads

/// One run of one protocol under one profile, with real processes.
struct AttackRun {
    /// How long correct replicas may take to have the same checkpoint when the load is over.
    private static let levelling = Duration.seconds(5)

    private let plan: AttackPlan
    private let variant: ProtocolVariant
    private let profile: Profile
    private let repetition: Int
    private let onProgress: (String) -> Void

    /// Describes a run; `onProgress` is told once a second how it goes, in one line.
    init(
        _ plan: AttackPlan,
        variant: ProtocolVariant,
        profile: Profile,
        repetition: Int,
        onProgress: @escaping (String) -> Void
    ) {
        self.plan = plan
        self.variant = variant
        self.profile = profile
        self.repetition = repetition
        self.onProgress = onProgress
    }

    private var name: String { "\(variant.rawValue)-\(profile.name)-\(repetition)" }

    /// Runs it. Its files are removed again where nothing was wrong.
    ///
    /// - Throws: `CancellationError` when the task is cancelled, or why the run could not begin.
    func run() async throws -> AttackResults.Run {
        var clusterPlan = ClusterFile.Plan(durability: plan.durability)
        clusterPlan.replicas = plan.replicas
        clusterPlan.clients = plan.clients + plan.faultyClients
        variant.set(in: &clusterPlan)
        let directory = "\(plan.output)/\(name)"
        let cluster = try await LabCluster(clusterPlan, in: directory)
        defer { cluster.stop() }
        let seed = plan.seed &+ UInt64(repetition)
        let orders = AttackerOrders(
            profile: profile,
            seed: seed,
            correctClients: plan.clients,
            faultyClients: plan.faultyClients,
            report: ""
        )
        let faults = orders.faults(in: cluster.file.size)
        let observer = RunObserver(
            faulty: AttackProfiles.faultyReplicas(faults).map(\.index),
            faultyClients: AttackProfiles.faultyClients(faults)
        )
        try cluster.start(
            programs: plan.programs,
            isRecorded: plan.isRecorded,
            orders: orders,
            faulty: observer.faulty
        )
        let load = try await cluster.startLoad(
            programs: plan.programs,
            LoadOrders(
                clients: plan.clients,
                window: plan.window,
                bundle: plan.bundle,
                workload: plan.workload,
                seed: plan.seed,
                seconds: plan.phases.total
            )
        )
        try await cluster.startClients(
            programs: plan.programs,
            orders: orders,
            load: (plan.window, plan.bundle),
            clients: observer.faultyClients
        )
        var run = try await measure(cluster, load, observer)
        if run.failure == nil, run.verdicts.allSatisfy(\.held) {
            cluster.stop()
            try? FileManager.default.removeItem(atPath: directory)
        } else {
            run.keptFiles = directory
        }
        return run
    }

    private func measure(
        _ cluster: LabCluster,
        _ load: LoadProcess,
        _ newObserver: RunObserver
    ) async throws -> AttackResults.Run {
        var observer = newObserver
        let startedAt = Date.now.ISO8601Format()
        try await attack(cluster, load, &observer)
        try await level(load, &observer)
        var verdicts = [observer.history]
        var failure: String?
        do {
            if let audit = try await audit(load) { verdicts.append(Self.verdict(audit)) }
        } catch let error as OperatorError {
            failure = error.sentence
        }
        let attackers = observer.attackers(cluster)
        let loads = observer.seconds
        return AttackResults.Run(
            protocolName: variant.rawValue,
            profile: profile.name,
            scenario: nil,
            repetition: repetition,
            startedAt: startedAt,
            faultyReplicas: observer.faulty,
            faultyClients: observer.faultyClients.map { UInt64($0.rawValue) },
            attackers: attackers,
            isOutOfModel: profile.isOutOfModel,
            load: [AttackResults.LoadStep(startSeconds: 0, clients: plan.clients)],
            phases: phases(loads),
            samples: observer.samples,
            events: observer.events,
            clientShares: shares(loads),
            verdicts: verdicts,
            failure: failure ?? Self.idleness(of: attackers),
            keptFiles: nil
        )
    }

    /// Lets all clients send for the whole run, and the attack begin and end in between.
    private func attack(_ cluster: LabCluster, _ load: LoadProcess, _ observer: inout RunObserver) async throws {
        let seconds = plan.phases.total
        let start = ContinuousClock.now
        load.beginLoad()
        let attackStart = plan.phases.warmup + plan.phases.faultFree
        for second in 0..<seconds {
            if second == attackStart || second == attackStart + plan.phases.attack {
                switchAttack(cluster, &observer, second, begins: second == attackStart)
            }
            try await Task.sleep(until: start + .seconds(second + 1), clock: .continuous)
            for report in try load.newReports() { observer.take(report) }
            let isAttacked = second >= attackStart && second < attackStart + plan.phases.attack
            let what = isAttacked ? profile.summary : "no attack"
            onProgress("\(name)  \(second + 1)/\(seconds) s  \(observer.rate) operations/s  \(what)")
        }
        while !observer.isLoadOver {
            for report in try await load.reports() { observer.take(report) }
        }
    }

    /// Tells all attackers to begin, or to be correct again.
    private func switchAttack(_ cluster: LabCluster, _ observer: inout RunObserver, _ second: Int, begins: Bool) {
        let what = begins ? profile.summary : "is correct again"
        for replica in observer.faulty {
            cluster.signal(begins ? SIGUSR1 : SIGUSR2, to: replica)
            observer.note(second, "replica \(replica)", what)
        }
        for client in observer.faultyClients {
            cluster.signal(begins ? SIGUSR1 : SIGUSR2, to: client)
            observer.note(second, "client \(client.rawValue)", what)
        }
    }

    /// Waits until the correct replicas have taken the same checkpoint, but not for ever.
    private func level(_ load: LoadProcess, _ observer: inout RunObserver) async throws {
        let deadline = ContinuousClock.now + Self.levelling
        while !observer.isLevel, ContinuousClock.now < deadline {
            for report in try await load.reports() { observer.take(report) }
        }
    }

    /// Has the clients read back what they wrote.
    private func audit(_ load: LoadProcess) async throws -> AuditVerdict? {
        load.beginAudit()
        while true {
            for report in try await load.reports() {
                if case .audited(let verdict) = report { return verdict }
            }
        }
    }

    /// Why a run shows nothing where its attackers did nothing; nil where they did.
    private static func idleness(of attackers: [AttackResults.Attacker]) -> String? {
        let kinds = Dictionary(grouping: attackers) { $0.actor.prefix { $0 != " " } }
        let idle = kinds.filter { $0.value.allSatisfy { $0.actions == 0 } }.values.flatMap(\.self)
        guard let first = idle.map(\.actor).min() else { return nil }
        return "\(first) never did what the profile is about, so the run shows nothing about it"
    }

    private static func verdict(_ audit: AuditVerdict) -> AttackResults.Verdict {
        AttackResults.Verdict(
            oracle: "exactly once",
            held: audit.isClean,
            detail: audit.isClean
                ? "\(audit.acknowledged) acknowledged writes are there once each"
                : "of \(audit.acknowledged) acknowledged writes \(audit.lost) are lost; \(audit.doubled) are doubled, "
                    + "\(audit.invented) invented, and \(audit.contradictions) answers contradict them"
        )
    }

    private func phases(_ loads: [LoadSecond]) -> [AttackResults.Phase] {
        var start = 0
        let lengths: [(AttackResults.Phase.Kind, Int)] = [
            (.warmup, plan.phases.warmup), (.faultFree, plan.phases.faultFree), (.attack, plan.phases.attack),
            (.after, plan.phases.after),
        ]
        return lengths.map { kind, length in
            defer { start += length }
            var total = LoadRecording()
            for second in loads.dropFirst(start).prefix(length) { total.add(second.recording) }
            return AttackResults.Phase(
                kind: kind,
                startSeconds: Double(start),
                endSeconds: Double(start + length),
                operations: total.operations,
                errors: total.failures,
                latency: AttackResults.Latency(total)
            )
        }
    }

    private func shares(_ loads: [LoadSecond]) -> [AttackResults.ClientShare] {
        let before = plan.phases.warmup
        let attack = before + plan.phases.faultFree
        return (0..<plan.clients).map { index in
            let operations = { (part: ArraySlice<LoadSecond>) in
                part.reduce(0) { $0 + (index < $1.operations.count ? $1.operations[index] : 0) }
            }
            return AttackResults.ClientShare(
                client: UInt64(index),
                isVictim: profile.name == "starve-client" && index == 0,
                faultFreeOperations: operations(loads.dropFirst(before).prefix(plan.phases.faultFree)),
                attackOperations: operations(loads.dropFirst(attack).prefix(plan.phases.attack))
            )
        }
    }
}

extension AttackResults.Latency {
    init?(_ recording: LoadRecording) {
        guard recording.operations > 0 else { return nil }
        let latency = recording.latency
        self.init(
            p50Microseconds: latency.p50,
            p99Microseconds: latency.p99,
            p999Microseconds: latency.p999,
            maxMicroseconds: latency.max
        )
    }
}
