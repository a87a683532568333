import Aardvark
import Adversary
import Cryptography
import Foundation
import Logging
import Messages
import Workloads

/// One run of one protocol under one profile, with real processes.
struct AttackRun {
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
        try await cluster.waitUntilServing()
        try await cluster.startClients(
            programs: plan.programs,
            orders: orders,
            load: (plan.window, plan.bundle),
            clients: observer.faultyClients
        )
        var run = try await measure(cluster, observer)
        if run.failure == nil, run.verdicts.allSatisfy(\.held) {
            cluster.stop()
            try? FileManager.default.removeItem(atPath: directory)
        } else {
            run.keptFiles = directory
        }
        return run
    }

    private func measure(_ cluster: LabCluster, _ newObserver: RunObserver) async throws -> AttackResults.Run {
        var observer = newObserver
        var settings = WorkloadSettings()
        settings.seed = plan.seed
        settings.run = .random(in: .min ... .max)
        let workload = WorkloadPlan(plan.workload, settings)
        let clients = try await connect(cluster.file)
        let generators = clients.enumerated().map { index, client in
            LoadGenerator(
                clients: [(submitter: client, source: workload.source(client: index))],
                slots: plan.window * plan.bundle
            )
        }
        let startedAt = Date.now.ISO8601Format()
        let loads: [[LoadSample]]
        do {
            loads = try await load(generators, cluster, &observer)
        } catch {
            for client in clients { await client.shutdown() }
            throw error
        }
        for generator in generators { _ = try await generator.stop(waitingNanoseconds: 12_000_000_000) }
        await level(cluster, &observer)
        var verdicts = [observer.history]
        var failure: String?
        if let ledger = workload.ledger, let reader = clients.first {
            do {
                let audit = try await ledger.audit { try await Self.read($0, through: reader) }
                verdicts.append(Self.verdict(audit))
            } catch {
                failure = "what was written cannot be read back after the run: \(error)"
            }
        }
        for client in clients { await client.shutdown() }
        let attackers = observer.attackers(cluster)
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
            samples: observer.samples(loads),
            events: observer.events,
            clientShares: shares(loads),
            verdicts: verdicts,
            failure: failure ?? Self.idleness(of: attackers),
            keptFiles: nil
        )
    }

    private func connect(_ file: ClusterFile) async throws -> [Client] {
        var configuration = Client.Configuration()
        configuration.window = plan.window
        configuration.bundle = plan.bundle
        var clients: [Client] = []
        for member in file.clients.prefix(plan.clients) {
            let client = try Client(
                cluster: file,
                client: ClientID(member.id),
                key: file.key(of: .client(member.id)),
                configuration: configuration,
                logger: Logger(label: "aardvark.lab") { _ in SwiftLogNoOpLogHandler() }
            )
            clients.append(client)
            do {
                try await client.start()
            } catch {
                for client in clients { await client.shutdown() }
                throw OperatorError(.unavailable, "client \(member.id) cannot use the new cluster: \(error)")
            }
        }
        return clients
    }

    /// Lets all clients send for the whole run, and the attack begin and end in between.
    private func load(
        _ generators: [LoadGenerator],
        _ cluster: LabCluster,
        _ observer: inout RunObserver
    ) async throws -> [[LoadSample]] {
        let seconds = plan.phases.total
        return try await withThrowingTaskGroup(of: (Int, [LoadSample]).self) { group in
            for (index, generator) in generators.enumerated() {
                generator.setActiveClients(1)
                group.addTask { (index, try await generator.hold(forNanoseconds: UInt64(seconds) * 1_000_000_000)) }
            }
            let start = ContinuousClock.now
            let attackStart = plan.phases.warmup + plan.phases.faultFree
            for second in 0..<seconds {
                if second == attackStart || second == attackStart + plan.phases.attack {
                    let begins = second == attackStart
                    for replica in observer.faulty {
                        cluster.signal(begins ? SIGUSR1 : SIGUSR2, to: replica)
                        observer.note(second, "replica \(replica)", begins ? profile.summary : "is correct again")
                    }
                    for client in observer.faultyClients {
                        cluster.signal(begins ? SIGUSR1 : SIGUSR2, to: client)
                        observer.note(
                            second,
                            "client \(client.rawValue)",
                            begins ? profile.summary : "is correct again"
                        )
                    }
                }
                // By the clock of the run, so that a late sample delays none of those after it.
                try await Task.sleep(until: start + .seconds(second + 1), clock: .continuous)
                observer.take(await cluster.statuses())
                let isAttacked = second >= attackStart && second < attackStart + plan.phases.attack
                let what = isAttacked ? profile.summary : "no attack"
                onProgress("\(name)  \(second + 1)/\(seconds) s  \(observer.rate) operations/s  \(what)")
            }
            var samples = [[LoadSample]](repeating: [], count: generators.count)
            for try await (index, part) in group { samples[index] = part }
            return samples
        }
    }

    /// Waits until the correct replicas have taken the same checkpoint, but not for ever.
    private func level(_ cluster: LabCluster, _ observer: inout RunObserver) async {
        for _ in 0..<20 {
            observer.take(await cluster.statuses())
            if observer.isLevel { return }
            // Nothing tells when a replica has taken a checkpoint, so it is asked again.
            try? await Task.sleep(for: .milliseconds(250))
        }
    }

    /// Reads with patience: after an attack a service may need some time.
    private static func read(_ operation: [UInt8], through client: Client) async throws -> [UInt8] {
        for _ in 1..<4 {
            if let result = try? await client.invoke(operation, isReadOnly: true) { return result }
        }
        return try await client.invoke(operation, isReadOnly: true)
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

    private func phases(_ loads: [[LoadSample]]) -> [AttackResults.Phase] {
        var start = 0
        let lengths: [(AttackResults.Phase.Kind, Int)] = [
            (.warmup, plan.phases.warmup), (.faultFree, plan.phases.faultFree), (.attack, plan.phases.attack),
            (.after, plan.phases.after),
        ]
        return lengths.map { kind, length in
            defer { start += length }
            var total = LoadRecording()
            for samples in loads {
                for sample in samples.dropFirst(start).prefix(length) { total.add(sample.recording) }
            }
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

    private func shares(_ loads: [[LoadSample]]) -> [AttackResults.ClientShare] {
        let before = plan.phases.warmup
        let attack = before + plan.phases.faultFree
        return loads.enumerated().map { index, samples in
            let operations = { (part: ArraySlice<LoadSample>) in part.reduce(0) { $0 + $1.recording.operations } }
            return AttackResults.ClientShare(
                client: UInt64(index),
                isVictim: profile.name == "starve-client" && index == 0,
                faultFreeOperations: operations(samples.dropFirst(before).prefix(plan.phases.faultFree)),
                attackOperations: operations(samples.dropFirst(attack).prefix(plan.phases.attack))
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
