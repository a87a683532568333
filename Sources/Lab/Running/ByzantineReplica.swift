import Aardvark
import Adversary
import Agreement
import Cryptography
import Invariants
import KeyValueService
import Logging
import Messages
import NIOCore
import NIOPosix
import ServiceLifecycle
import Synchronization
import UnixSignals

/// A replica as a process that is correct until it is told to attack: the engine, transport and store of `aardvark replica`, with
/// behaviours of a profile between the engine and the links. One that has none is correct, and the network around it is bad.
///
/// SIGUSR1 begins the attack, SIGUSR2 ends it; the process stops at SIGTERM, and when its standard input closes.
package enum ByzantineReplica {
    /// Serves until it is told to stop.
    ///
    /// - Parameters:
    ///   - cluster: The cluster.
    ///   - replica: Which replica it is.
    ///   - orders: What it does.
    /// - Throws: What a replica's start throws.
    package static func run(cluster: ClusterFile, replica: ReplicaID, orders: AttackerOrders) async throws {
        let key = try cluster.key(of: Identity(role: .replica, number: UInt32(replica.rawValue)))
        let attack = AttackSwitch(reportingTo: orders.report)
        let signals = await AttackSwitch.signals
        let switching = Task { await attack.follow(signals) }
        defer { switching.cancel() }
        let logger = Logger(label: "aardvark.byzantine") { StreamLogHandler.standardError(label: $0) }
        let faults = orders.faults(in: cluster.size)
        let behaviours = AttackProfiles.behaviours(of: replica, among: faults)
        let disturbances = AttackProfiles.disturbances(faults)
        let seed = orders.seed
        let faulty = FaultyReplica(
            replica: replica,
            size: cluster.size,
            cluster: cluster.clusterID,
            clients: cluster.clients.map { ClientID($0.id) },
            limits: cluster.tuning.limits,
            signer: key,
            forger: forger(key, cluster),
            accomplices: [],
            random: RandomStream(seed: orders.seed, stream: 2_000 + UInt64(replica.rawValue))
        )
        let server = try ReplicaServer(
            cluster: cluster,
            replica: replica,
            key: key,
            service: KeyValueService(),
            storage: storage(of: replica, in: cluster),
            recording: nil,
            signatureThreads: nil,
            interceptor: {
                guard behaviours.isEmpty else { return ByzantineInterceptor(behaviours, of: faulty, while: attack) }
                let random = RandomStream(seed: seed, stream: 3_000 + UInt64(replica.rawValue))
                return BadNetworkInterceptor(disturbances, random: random, while: attack)
            },
            logger: logger
        )
        let group = ServiceGroup(services: [server], gracefulShutdownSignals: [.sigterm], logger: logger)
        AttackSwitch.endWithParent()
        if behaviours.contains(where: { $0 is OldVersionReplica }) {
            let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
            eventLoop.execute {
                AttackConnections(
                    .oldVersion,
                    on: AttackConnections.targets(ofOld: replica, key: key, in: cluster),
                    while: attack,
                    eventLoop: eventLoop
                ).start()
            }
        }
        try await group.run()
    }

    private static func storage(
        of replica: ReplicaID,
        in cluster: ClusterFile
    ) throws(OperatorError) -> ReplicaServer.Storage? {
        guard cluster.durability != .none else { return nil }
        let parent = ReplicaServer.Storage.defaultDirectory(clusterPath: cluster.path)
        try FileAccess.createDirectory(parent, mode: 0o700)
        return ReplicaServer.Storage(path: "\(parent)/replica-\(replica.rawValue)", start: .new)
    }

    /// The best that a replica can do to authenticate a request in a client's name.
    private static func forger(_ key: SigningKey, _ cluster: ClusterFile) -> RequestAuthenticator {
        guard cluster.signedRequests == .off else { return .signature(key, cluster: cluster.clusterID) }
        let stranger = SigningKey.random().publicKey
        guard let wrong = PairwiseKey(own: key, peer: stranger, cluster: cluster.clusterID) else {
            invariantViolated("two good keys share one")
        }
        return .macVector(cluster.size.members.map { _ in wrong })
    }
}

/// Behaviours between a real replica and its links, as long as the attack is on.
final class ByzantineInterceptor: ReplicaInterceptor {
    /// How often a flood acts in each period of 1 ms: more than its links or its processor can take. What finds no room in its own bounded
    /// queues is dropped there.
    static let floodBurst = 16

    private let behaviours: [any ReplicaBehaviour]
    private let faulty: FaultyReplica
    private let attack: AttackSwitch
    private var stack: BehaviourStack?
    private var beganAt: UInt64 = 0
    /// When each behaviour's period has passed again.
    private var due: [UInt64] = []

    init(_ behaviours: [any ReplicaBehaviour], of faulty: FaultyReplica, while attack: AttackSwitch) {
        self.behaviours = behaviours
        self.faulty = faulty
        self.attack = attack
    }

    /// 1 ms where a behaviour has a period: the shortest of any is 2 ms.
    var period: UInt64? { behaviours.contains { $0.period != nil } ? 1_000_000 : nil }

    func incoming(
        _ message: PeerMessage,
        from peer: ReplicaID,
        at progress: ReplicaProgress,
        into departures: inout [Departure]
    ) -> PeerMessage? {
        guard isAttacking(progress) else { return message }
        defer { speak(into: &departures) }
        return stack?.pass(message) { $0.receive($1, from: peer, as: &$2) }?.message
    }

    func incoming(_ request: Request, at progress: ReplicaProgress, into departures: inout [Departure]) -> Request? {
        guard isAttacking(progress) else { return request }
        defer { speak(into: &departures) }
        return stack?.pass(request) { $0.receive($1, as: &$2) }?.message
    }

    func outgoing(
        _ message: PeerMessage,
        to peer: ReplicaID,
        at progress: ReplicaProgress,
        into departures: inout [Departure]
    ) {
        guard isAttacking(progress) else { return departures.append(.message(message, to: peer, after: 0)) }
        if let (left, delay) = stack?.pass(message, { $0.send($1, to: peer, as: &$2) }) {
            departures.append(.message(left, to: peer, after: delay))
        }
        speak(into: &departures)
    }

    func outgoing(
        _ answer: ReplicaAnswer,
        to client: ClientID,
        at progress: ReplicaProgress,
        into departures: inout [Departure]
    ) {
        guard isAttacking(progress) else { return departures.append(.answer(answer, to: client, after: 0)) }
        switch answer {
        case .reply(let reply):
            if let (left, delay) = stack?.pass(reply, { $0.reply($1, to: client, as: &$2) }) {
                departures.append(.answer(.reply(left), to: client, after: delay))
            }
        case .readReply(let reply):
            if let (left, delay) = stack?.pass(reply, { $0.answer($1, to: client, as: &$2) }) {
                departures.append(.answer(.readReply(left), to: client, after: delay))
            }
        case .status:
            departures.append(.answer(answer, to: client, after: 0))
        }
        speak(into: &departures)
    }

    func timePassed(at progress: ReplicaProgress, into departures: inout [Departure]) {
        guard isAttacking(progress) else { return }
        for index in behaviours.indices {
            guard let period = behaviours[index].period, due[index] <= progress.now else { continue }
            due[index] = progress.now + period
            for _ in 0..<(behaviours[index].isFlood ? Self.floodBurst : 1) { stack?.timePassed(index) }
        }
        speak(into: &departures)
    }

    /// Whether the attack is on; each time that it begins the behaviours begin anew.
    private func isAttacking(_ progress: ReplicaProgress) -> Bool {
        guard attack.isOn.load(ordering: .relaxed) else {
            stack = nil
            return false
        }
        if stack == nil {
            stack = BehaviourStack(behaviours, of: faulty)
            beganAt = progress.now
            due = behaviours.map { progress.now + ($0.period ?? 0) }
        }
        stack?.refresh(
            now: progress.now - beganAt,
            view: progress.view,
            executed: progress.executed,
            low: progress.low,
            high: progress.high,
            watch: progress.watch
        )
        return true
    }

    private func speak(into departures: inout [Departure]) {
        defer { if let actions = stack?.takeActions() { attack.count(actions) } }
        for utterance in stack?.takeUtterances() ?? [] {
            switch utterance {
            case .message(let message, to: let peer, after: let delay):
                departures.append(.message(message, to: peer, after: delay))
            case .reply(let reply, to: let client):
                departures.append(.answer(.reply(reply), to: client, after: 0))
            }
        }
    }
}
