import Adversary
import Agreement
import Invariants
import Messages

/// The profiles that run with real processes.
package enum AttackProfiles {
    /// Every profile that stays within the fault model, in the order of ``Profiles/all``.
    package static let all: [Profile] =
        Profiles.all.flatMap { profile in
            if let courses = courses[profile.name] { return courses }
            return reasonForSimulatorOnly(profile) == nil ? [profile] : []
        } + onConnections

    /// The profiles that the simulator does not have, since it has no connections.
    package static let onConnections: [Profile] = [
        connections(
            "connection-flood",
            "opens connections as fast as it can and begins handshakes on them",
            .handshakes
        ),
        connections("slow-connections", "keeps hundreds of connections that say nothing or a byte at a time", .drips),
        Profile("old-version", .backup, "falls silent, and asks to be let in with an older version of the protocol") {
            $0.size.members.suffix($0.size.faults).flatMap { replica in
                [
                    NamedFault("\(replica) crash", .replica(replica, Mute(from: 0))),
                    NamedFault("\(replica) old-version", .replica(replica, OldVersionReplica())),
                ]
            }
        },
    ]

    private static func connections(_ name: String, _ summary: String, _ attack: ConnectionAttack) -> Profile {
        Profile(name, .client, summary) { setting in
            setting.corruptible.map { NamedFault("\($0) \(name)", .client($0, ConnectionAttacker(attack: attack))) }
        }
    }

    /// The profile of a name; those beyond the fault model too.
    package static func named(_ name: String) -> Profile? {
        (all + Profiles.beyondTheModel).first { $0.name == name }
    }

    /// The profiles that are run in one or several courses of their own, each with one choice of those that the simulator draws from.
    package static let courses = [
        "delay": delays, "power-loss": powerLosses, "lost-store": lostStores, "amnesia": amnesias,
        "partition": partitions, "isolate-primary": isolations, "one-way-link": oneWays, "blip": blips,
        "lossy": lossies, "wan": wans,
    ]

    /// `delay` with one delay each, as they were published: Aardvark, table 2.
    private static let delays: [Profile] = [1, 10, 100].map { milliseconds in
        Profile("delay-\(milliseconds)ms", .primary, "proposes \(milliseconds) ms late") { setting in
            setting.size.members.prefix(setting.size.faults).map { replica in
                NamedFault(
                    "\(replica) delay-\(milliseconds)ms",
                    .replica(replica, DelayingPrimary(nanoseconds: UInt64(milliseconds) * 1_000_000))
                )
            }
        }
    }

    /// Why a profile of the simulator does not run here.
    ///
    /// - Returns: nil when it does.
    package static func reasonForSimulatorOnly(_ profile: Profile) -> String? {
        if courses[profile.name] != nil { return nil }
        guard let smallest = ClusterSize(replicas: 4) else { invariantViolated("4 replicas are a cluster") }
        if profile.name.contains("random") { return "draws what happens anew for each seed" }
        for named in faults(of: profile, in: smallest, clients: (correct: 8, faulty: 1), seed: 1) {
            switch named.fault {
            case .replica(_, let behaviour):
                var limits = Limits()
                behaviour.adjust(&limits)
                guard limits == Limits() else { return "changes the bounds of the engine before it starts" }
            case .twin: return "needs two processes on one replica's endpoints"
            case .client: break
            case .administration: return "needs an administrator who changes the clients at given moments"
            case .network(let fault):
                guard isCut(fault.kind) else { return "needs a network that is bad at given moments" }
            case .powerLoss, .amnesia, .lostStore: break
            case .powerLossAtWrite: return "needs a disk that loses what was not synced"
            }
        }
        return nil
    }

    /// The faults of a run, the same in each process that is told the same.
    ///
    /// - Parameters:
    ///   - profile: The profile.
    ///   - size: The cluster.
    ///   - clients: How many correct clients there are, numbered from 0, and how many faulty ones after them if the profile has any.
    ///   - seed: The seed of the profile's choices.
    package static func faults(
        of profile: Profile,
        in size: ClusterSize,
        clients: (correct: Int, faulty: Int),
        seed: UInt64
    ) -> [NamedFault] {
        // A behaviour that begins at a moment of its own begins within a millisecond of the attack's beginning. What the lab does itself
        // is stretched over the attack.
        var setting = Setting(
            size: size,
            clients: (0..<UInt32(clients.correct + clients.faulty)).map { ClientID($0) },
            faultyClients: clients.faulty,
            start: 0,
            end: span,
            random: RandomStream(seed: seed, stream: 1)
        )
        return profile.faults(in: &setting)
    }

    /// The behaviours of one replica.
    static func behaviours(of replica: ReplicaID, among faults: [NamedFault]) -> [any ReplicaBehaviour] {
        faults.compactMap { named in
            if case .replica(replica, let behaviour) = named.fault { behaviour } else { nil }
        }
    }

    /// What the network does to single messages.
    static func disturbances(_ faults: [NamedFault]) -> [NetworkFault.Kind] {
        faults.compactMap { named in
            if case .network(let fault) = named.fault, !isCut(fault.kind) { fault.kind } else { nil }
        }
    }

    /// The behaviours of one client.
    static func behaviours(of client: ClientID, among faults: [NamedFault]) -> [any ClientBehaviour] {
        faults.compactMap { named in
            if case .client(client, let behaviour) = named.fault { behaviour } else { nil }
        }
    }

    /// The clients that misbehave, in order.
    static func faultyClients(_ faults: [NamedFault]) -> [ClientID] {
        let clients = faults.compactMap { named -> ClientID? in
            if case .client(let client, _) = named.fault { client } else { nil }
        }
        return Set(clients).sorted { $0.rawValue < $1.rawValue }
    }

    /// The replicas that misbehave, in order.
    static func faultyReplicas(_ faults: [NamedFault]) -> [ReplicaID] {
        let replicas = faults.compactMap { named -> ReplicaID? in
            if case .replica(let replica, _) = named.fault { replica } else { nil }
        }
        return Set(replicas).sorted { $0.index < $1.index }
    }
}
