import Aardvark
import Adversary
import Agreement
import Cryptography
import Logging
import Messages
import NIOCore
import NIOPosix
import Synchronization
import Workloads

/// A client as a process that is correct until it is told to attack: the engine and transport of every client, with behaviours of a
/// profile between the engine and the links. All the time it writes records as correct clients do, so that the attack adds no client.
///
/// SIGUSR1 begins the attack, SIGUSR2 ends it; the process stops when its standard input closes.
package enum ByzantineClient {
    /// Serves itself, and attacks when it is told to.
    ///
    /// - Parameters:
    ///   - cluster: The cluster.
    ///   - client: Which client it is.
    ///   - orders: What it does.
    ///   - load: How many requests the client inside keeps outstanding, and how many operations it puts into each.
    /// - Throws: Why it cannot use the cluster, or write its report.
    package static func run(
        cluster: ClusterFile,
        client: ClientID,
        orders: AttackerOrders,
        load: (window: Int, bundle: Int)
    ) async throws {
        let attack = AttackSwitch(reportingTo: orders.report)
        let signals = await AttackSwitch.signals
        AttackSwitch.endWithParent()
        let behaviours = AttackProfiles.behaviours(of: client, among: orders.faults(in: cluster.size))
        let key = try cluster.key(of: client.identity)
        let faulty = FaultyClient(
            client: client,
            size: cluster.size,
            victim: ClientID(0),
            random: RandomStream(seed: orders.seed, stream: 4_000 + UInt64(client.rawValue)),
            authenticator: try authenticators(of: key, in: cluster)
        )
        var configuration = Client.Configuration()
        configuration.window = load.window
        configuration.bundle = load.bundle
        let inside = try Client(
            cluster: cluster,
            client: client,
            key: key,
            configuration: configuration,
            interceptor: { ByzantineClientInterceptor(behaviours, of: faulty, while: attack) },
            logger: Logger(label: "aardvark.byzantine-client") { StreamLogHandler.standardError(label: $0) }
        )
        do {
            try await inside.start()
        } catch {
            throw OperatorError(.unavailable, "faulty client \(client.rawValue) cannot use the new cluster: \(error)")
        }
        var settings = WorkloadSettings()
        settings.seed = orders.seed
        settings.valueBytes = 100
        let source = WorkloadPlan(.kvPut, settings).source(client: Int(client.rawValue))
        let generator = LoadGenerator(clients: [(submitter: inside, source: source)], slots: load.window * load.bundle)
        generator.setActiveClients(1)
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        for case let attacker as ConnectionAttacker in behaviours {
            eventLoop.execute {
                AttackConnections(
                    attacker.attack,
                    on: AttackConnections.targets(of: client, key: key, in: cluster),
                    while: attack,
                    eventLoop: eventLoop
                ).start()
            }
        }
        try attack.report()
        // Much longer than any run.
        let holding = Task { try await generator.hold(forNanoseconds: 1_000_000_000_000_000) }
        defer { holding.cancel() }
        await attack.follow(signals)
    }

    /// What it can make of its own key: proofs that are right, and proofs that are wrong for some replicas.
    private static func authenticators(
        of key: SigningKey,
        in cluster: ClusterFile
    ) throws(OperatorError) -> @Sendable ([ReplicaID]) -> RequestAuthenticator {
        let right = try cluster.authenticator(for: key)
        let wrong = try cluster.authenticator(for: .random())
        let members = cluster.size.members
        return { spoiled in
            guard case .macVector(let good) = right, case .macVector(let bad) = wrong else {
                return spoiled.isEmpty ? right : wrong
            }
            return .macVector(members.map { spoiled.contains($0) ? bad[$0.index] : good[$0.index] })
        }
    }
}

/// Behaviours between a real client and its links, as long as the attack is on.
final class ByzantineClientInterceptor: ClientInterceptor {
    /// How many periods of a behaviour that were missed are made up for at once, at the most.
    private static let mostAtOnce: UInt64 = 16

    private let behaviours: [any ClientBehaviour]
    private let faulty: FaultyClient
    private let attack: AttackSwitch
    private var stack: ClientBehaviourStack?
    /// When each behaviour's period has passed again.
    private var due: [Instant] = []

    init(_ behaviours: [any ClientBehaviour], of faulty: FaultyClient, while attack: AttackSwitch) {
        self.behaviours = behaviours
        self.faulty = faulty
        self.attack = attack
    }

    /// 1 ms where a behaviour has a period; shorter ones pass several times in it.
    var period: UInt64? { behaviours.contains { $0.period != nil } ? 1_000_000 : nil }

    func outgoing(_ request: Request, to replica: ReplicaID, in view: View) -> [ClientDeparture] {
        guard isAttacking() else { return [ClientDeparture(request, to: replica)] }
        let left = stack?.pass(request, to: replica, in: view)
        return departures() + (left.map { [ClientDeparture($0, to: replica)] } ?? [])
    }

    func timePassed(in view: View) -> [ClientDeparture] {
        guard isAttacking() else { return [] }
        let now = Instant.now()
        for index in behaviours.indices {
            guard let period = behaviours[index].period else { continue }
            var count: UInt64 = 0
            while due[index] <= now, count < Self.mostAtOnce {
                due[index] = due[index].advanced(byNanoseconds: period)
                count += 1
                stack?.timePassed(index, in: view)
            }
            if behaviours[index].isFlood {
                for _ in 0..<ByzantineInterceptor.floodBurst { stack?.timePassed(index, in: view) }
            }
            if due[index] <= now { due[index] = now.advanced(byNanoseconds: period) }
        }
        return departures()
    }

    /// Whether the attack is on; each time that it begins the behaviours begin anew.
    private func isAttacking() -> Bool {
        guard attack.isOn.load(ordering: .relaxed) else {
            stack = nil
            return false
        }
        if stack == nil {
            stack = ClientBehaviourStack(behaviours, of: faulty)
            let now = Instant.now()
            due = behaviours.map { now.advanced(byNanoseconds: $0.period ?? 0) }
        }
        return true
    }

    private func departures() -> [ClientDeparture] {
        defer { if let actions = stack?.takeActions() { attack.count(actions) } }
        return (stack?.takeParcels() ?? []).map { ClientDeparture($0.request, to: $0.replica) }
    }
}
