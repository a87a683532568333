import Aardvark
import Adversary
import Foundation
import Messages
import Workloads

/// One run of one protocol under one profile, with real processes.
struct AttackRun {
    /// How long correct replicas may take to have the same checkpoint when the load is over.
    private static let levelling = Duration.seconds(5)

    /// Clients beside the load whose history is checked for linearizability; more where they are what the profile is about.
    private var historians: Int { profile.demand == .contended ? 8 : 3 }

    /// What the lab does to a run's machines while the attack is on.
    private typealias Misfortunes = (outages: [Outage], network: NetworkCuts?)

    private let plan: AttackPlan
    private let machines: Emulation
    private let variant: ProtocolVariant
    private let profile: Profile
    private let repetition: Int
    private let onProgress: (String) -> Void

    /// Describes a run; `onProgress` is told once a second how it goes, in one line.
    init(
        _ plan: AttackPlan,
        on machines: Emulation,
        variant: ProtocolVariant,
        profile: Profile,
        repetition: Int,
        onProgress: @escaping (String) -> Void
    ) {
        self.plan = plan
        self.machines = machines
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
        guard let size = ClusterSize(replicas: plan.replicas) else {
            throw OperatorError(.usage, "a cluster has 3f + 1 replicas (4, 7, 10, ...), not \(plan.replicas)")
        }
        let course = RunCourse(plan.phases, load: plan.load(under: profile))
        let orders = AttackerOrders(
            profile: profile,
            seed: plan.seed &+ UInt64(repetition),
            correctClients: course.mostClients,
            faultyClients: plan.faultyClients,
            report: ""
        )
        let faults = orders.faults(in: size)
        let outages = Outage.all(in: faults, seconds: plan.phases.attack)
        // Of a replica without a store that is killed nothing would be left.
        let needsStores = !outages.isEmpty && plan.durability == .none
        var clusterPlan = ClusterFile.Plan(durability: needsStores ? .processCrash : plan.durability)
        clusterPlan.replicas = plan.replicas
        clusterPlan.clients = course.mostClients + plan.faultyClients + historians
        variant.set(in: &clusterPlan)
        var observer = RunObserver(
            replicas: plan.replicas,
            hasOwnInterfaces: machines.record.kind == .namespaces,
            behaving: AttackProfiles.faultyReplicas(faults).map(\.index),
            disturbed: AttackProfiles.disturbances(faults).isEmpty ? [] : size.members.map(\.index),
            forgetful: outages.filter { $0.loss == .store }.map(\.replica),
            faultyClients: AttackProfiles.faultyClients(faults)
        )
        if needsStores {
            observer.note(0, "lab", "replicas have stores, with durability process-crash, since some are to be killed")
        }
        let directory = "\(plan.output)/\(name)"
        let cluster = try await LabCluster(clusterPlan, on: machines, in: directory)
        defer { cluster.stop() }
        let network = NetworkCuts(faults, seconds: plan.phases.attack, size: size, machines: machines)
        // Where that fails the next run says that not all replicas serve.
        defer { try? network?.end() }
        do {
            var run = try await run(cluster, orders, observer, course, (outages, network))
            // Beyond the fault model it is the run in which nothing was found that has to be looked into; the other shows what is found.
            if run.failure == nil, !run.isOutOfModel, run.verdicts.allSatisfy({ $0.held == true }) {
                cluster.stop()
                try? FileManager.default.removeItem(atPath: directory)
            } else {
                run.keptFiles = directory
            }
            return run
        } catch is CancellationError {
            // Nobody is told about this run, so that nobody needs its files.
            cluster.stop()
            try? FileManager.default.removeItem(atPath: directory)
            throw CancellationError()
        }
    }

    private func run(
        _ cluster: LabCluster,
        _ orders: AttackerOrders,
        _ observer: RunObserver,
        _ course: RunCourse,
        _ misfortunes: Misfortunes
    ) async throws -> AttackResults.Run {
        try cluster.start(
            programs: plan.programs,
            isRecorded: plan.isRecorded,
            orders: orders,
            switched: observer.switched
        )
        let load = try await cluster.startLoad(
            programs: plan.programs,
            LoadOrders(
                clients: course.mostClients,
                historians: historians,
                window: plan.window,
                bundle: plan.bundle,
                workload: plan.workload,
                seed: plan.seed
            )
        )
        try await cluster.startClients(
            programs: plan.programs,
            orders: orders,
            load: (plan.window, plan.bundle),
            clients: observer.faultyClients
        )
        return try await measure(cluster, load, observer, course, misfortunes)
    }

    private func measure(
        _ cluster: LabCluster,
        _ load: LoadProcess,
        _ newObserver: RunObserver,
        _ plannedCourse: RunCourse,
        _ misfortunes: Misfortunes
    ) async throws -> AttackResults.Run {
        var observer = newObserver
        var course = plannedCourse
        let startedAt = Date.now.ISO8601Format()
        try await attack(cluster, load, &observer, &course, misfortunes)
        try await level(load, &observer)
        if let unlevel = observer.unlevel {
            observer.note(
                course.phases.total,
                "lab",
                "correct replicas are not at one checkpoint after the load: \(unlevel)"
            )
        }
        var verdicts = [observer.history] + [observer.linearizability].compactMap(\.self)
        var failure: String?
        do {
            if let audit = try await audit(load) { verdicts.append(Self.verdict(audit)) }
        } catch let error as OperatorError {
            failure = error.sentence
        }
        let attackers = observer.attackers(
            cluster,
            hasOutages: !misfortunes.outages.isEmpty,
            network: misfortunes.network
        )
        let loads = observer.seconds
        return AttackResults.Run(
            protocolName: variant.rawValue,
            profile: profile.name,
            scenario: plan.scenario,
            repetition: repetition,
            startedAt: startedAt,
            faultyReplicas: observer.faulty,
            faultyClients: observer.faultyClients.map { UInt64($0.rawValue) },
            attackers: attackers,
            isOutOfModel: profile.isOutOfModel,
            load: course.loadSteps,
            phases: phases(loads, course.phases),
            samples: observer.samples(seconds: course.phases.total),
            events: observer.events,
            clientShares: course.loadSteps.count == 1 ? shares(loads, course.phases) : [],
            verdicts: verdicts,
            failure: failure ?? Self.idleness(of: attackers),
            keptFiles: nil
        )
    }

    /// Lets clients send for the whole run, and the attack begin and end in between.
    private func attack(
        _ cluster: LabCluster,
        _ load: LoadProcess,
        _ observer: inout RunObserver,
        _ course: inout RunCourse,
        _ misfortunes: Misfortunes
    ) async throws {
        let start = ContinuousClock.now
        observer.take(cluster.usage())
        load.send(.clients(course.clients(in: 0)))
        var second = 0
        while second < course.phases.total {
            // An attacker who has to lead attacks when it does.
            let isWaiting =
                second == course.attackStart
                && Self.mustWait(profile, primary: observer.primary, behaving: observer.behaving) && course.postpone()
            if !isWaiting, second == course.attackStart || second == course.attackEnd {
                switchAttack(cluster, load, &observer, second, begins: second == course.attackStart)
            }
            if !isWaiting {
                try suffer(misfortunes, cluster, &observer, second, since: course.attackStart)
            }
            if second > 0, course.clients(in: second) != course.clients(in: second - 1) {
                load.send(.clients(course.clients(in: second)))
            }
            // The pace of the run, by its own clock: nothing is waited for, so that a late second delays none of those after it.
            try await Task.sleep(until: start + .seconds(second + 1), clock: .continuous)
            observer.take(cluster.usage())
            for report in try load.newReports() { observer.take(report) }
            let what =
                isWaiting
                ? "waits until the right replica leads" : course.isAttacked(in: second) ? profile.summary : "no attack"
            second += 1
            onProgress("\(name)  \(second)/\(course.phases.total) s  \(observer.rate) operations/s  \(what)")
        }
        load.send(.end)
        while !observer.isLoadOver {
            for report in try await load.reports() { observer.take(report) }
        }
    }

    /// Whether the attack would begin while no faulty replica leads, although it is about primaries. Where the first of them is not the
    /// first to lead, it is about the one that leads after a primary that is cut off.
    static func mustWait(_ profile: Profile, primary: Int?, behaving: [Int]) -> Bool {
        guard let primary, let first = behaving.first else { return false }
        // Beyond the fault model the first is the primary that the others help.
        if profile.isOutOfModel { return primary != first }
        guard profile.culprit == .primary else { return false }
        return first > 0 ? primary != first - 1 : !behaving.contains(primary)
    }

    /// Tells all attackers to begin, or to be correct again.
    private func switchAttack(
        _ cluster: LabCluster,
        _ load: LoadProcess,
        _ observer: inout RunObserver,
        _ second: Int,
        begins: Bool
    ) {
        let what = begins ? profile.summary : "is correct again"
        if profile.demand == .contended {
            load.send(.contend(begins))
            observer.note(second, "clients", begins ? profile.summary : "contend no more")
        }
        for replica in observer.switched { cluster.signal(begins ? SIGUSR1 : SIGUSR2, to: replica) }
        for replica in observer.behaving { observer.note(second, "replica \(replica)", what) }
        if observer.switched != observer.behaving {
            observer.note(second, "network", begins ? profile.summary : "loses and delays nothing any more")
        }
        for client in observer.faultyClients {
            cluster.signal(begins ? SIGUSR1 : SIGUSR2, to: client)
            observer.note(second, "client \(client.rawValue)", what)
        }
    }

    /// Kills the replicas whose moment has come, starts others again, and has the network do what it does from now on.
    private func suffer(
        _ misfortunes: Misfortunes,
        _ cluster: LabCluster,
        _ observer: inout RunObserver,
        _ second: Int,
        since attackStart: Int
    ) throws {
        if let network = misfortunes.network, second >= attackStart {
            for event in try network.begin(second - attackStart, primary: observer.primary) {
                observer.note(second, "network", event)
            }
        }
        for outage in misfortunes.outages where outage.seconds.lowerBound == second - attackStart {
            cluster.kill(outage.replica, outage.loss)
            let loss = outage.loss == .none ? "" : " and loses its store"
            observer.note(second, "replica \(outage.replica)", "is killed\(loss)")
        }
        for outage in misfortunes.outages where outage.seconds.upperBound == second - attackStart {
            try cluster.restart(outage.replica, after: outage.loss)
            observer.note(second, "replica \(outage.replica)", "is started again")
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
        load.send(.audit)
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

    private func phases(_ loads: [LoadSecond], _ phases: Scenario.Phases) -> [AttackResults.Phase] {
        var start = 0
        let lengths: [(AttackResults.Phase.Kind, Int)] = [
            (.warmup, phases.warmup), (.faultFree, phases.faultFree), (.attack, phases.attack), (.after, phases.after),
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

    private func shares(_ loads: [LoadSecond], _ phases: Scenario.Phases) -> [AttackResults.ClientShare] {
        let before = phases.warmup
        let attack = before + phases.faultFree
        return (0..<(loads.first?.operations.count ?? 0)).map { index in
            let operations = { (part: ArraySlice<LoadSecond>) in part.reduce(0) { $0 + $1.operations[index] } }
            return AttackResults.ClientShare(
                client: UInt64(index),
                isVictim: profile.name == "starve-client" && index == 0,
                faultFreeOperations: operations(loads.dropFirst(before).prefix(phases.faultFree)),
                attackOperations: operations(loads.dropFirst(attack).prefix(phases.attack))
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
