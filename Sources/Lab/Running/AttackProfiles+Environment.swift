import Adversary
import Invariants
import Messages

/// What the simulator draws anew for each seed, with real processes as one course of events each, so that runs can be compared. Times are
/// parts of the attack.
extension AttackProfiles {
    /// The length of the attack in the times of faults.
    static let span: UInt64 = 1_000_000

    /// A part of the attack.
    private static func part(_ share: Double) -> UInt64 { UInt64(share * Double(span)) }

    /// The seconds of an attack that a fault lasts.
    ///
    /// - Parameters:
    ///   - start: Its beginning, of ``span``.
    ///   - end: Its end, of ``span``.
    ///   - seconds: How long the attack is.
    ///   - least: How many there are at least, as far as the attack is that long.
    static func seconds(
        from start: UInt64,
        to end: UInt64,
        ofAttack seconds: Int,
        atLeast least: Int = 1
    ) -> Range<Int> {
        let moment = { (time: UInt64) in Int(min(time, span) * UInt64(seconds) / span) }
        let length = min(least, seconds)
        let first = min(moment(start), seconds - length)
        return first..<max(first + length, moment(end))
    }

    /// Whether something wrong with the network closes ways or breaks connections, which takes emulated machines.
    static func isCut(_ kind: NetworkFault.Kind) -> Bool {
        switch kind {
        case .divide, .isolatePrimary, .cut, .clients, .disconnect: true
        case .lossy, .slow: false
        }
    }

    /// Whether a profile runs with emulated machines only.
    package static func needsMachines(_ profile: Profile) -> Bool {
        guard let smallest = ClusterSize(replicas: 4) else { invariantViolated("4 replicas are a cluster") }
        return faults(of: profile, in: smallest, clients: (correct: 8, faulty: 1), seed: 1).contains { named in
            if case .network(let fault) = named.fault { isCut(fault.kind) } else { false }
        }
    }

    private static func network(_ kind: NetworkFault.Kind, _ start: Double = 0, _ end: Double = 1) -> NamedFault {
        NamedFault("network", .network(NetworkFault(kind, start: part(start), end: part(end), isLossy: true)))
    }

    /// `partition`: with two halves nobody can be served, and the question is how soon all are afterwards.
    static let partitions: [Profile] = [
        Profile(
            "partition-2-2",
            .environment,
            needs: [.viewChange, .stateTransfer],
            "the replicas fall into two halves, so that none can serve"
        ) { [network(.divide(Array($0.size.members.suffix($0.size.replicas / 2))))] },
        Profile(
            "partition-3-1",
            .environment,
            needs: [.viewChange, .stateTransfer],
            "f replicas are cut off from the others, but not from the clients"
        ) { [network(.divide(Array($0.size.members.suffix($0.size.faults))))] },
    ]

    /// `isolate-primary`
    static let isolations: [Profile] = [
        Profile(
            "isolate-primary",
            .environment,
            needs: [.viewChange, .stateTransfer],
            "whoever leads is cut off from everybody, in the first and the third quarter of the attack, 3 s at least"
        ) { _ in [network(.isolatePrimary, 0, 0.25), network(.isolatePrimary, 0.5, 0.75)] }
    ]

    /// `one-way-link`
    static let oneWays: [Profile] = [
        Profile(
            "one-way-link",
            .environment,
            needs: [.stateTransfer],
            "no packet of the first primary reaches the replica after it"
        ) { _ in [network(.cut(from: ReplicaID(0), to: ReplicaID(1)))] }
    ]

    /// `lossy`
    static let lossies: [Profile] = [
        Profile(
            "lossy",
            .environment,
            needs: [.viewChange, .stateTransfer],
            "of 1000 messages 20 are lost, 10 come twice and 50 late, as the replicas' processes receive and send them"
        ) { _ in [network(.lossy(loss: 20, duplication: 10, reordering: 50))] }
    ]

    /// `wan`: clients wait for each answer, so throughput goes down with latency whatever the protocol.
    static let wans: [Profile] = [
        Profile(
            "wan",
            .environment,
            "each message of a replica leaves its process up to 20 ms late"
        ) { _ in [network(.slow(20_000_000))] }
    ]

    /// `blip`
    static let blips: [Profile] = [
        Profile(
            "blip",
            .environment,
            needs: [.stateTransfer],
            "all connections between replicas break, five times"
        ) { setting in
            let all = NetworkFault.Kind.disconnect(setting.size.members)
            return [0, 0.2, 0.4, 0.6, 0.8].map { network(all, $0, $0) }
        }
    ]

    /// `power-loss`: processes are killed; nothing else stands for the loss of power, so what the operating system has is not lost.
    static let powerLosses: [Profile] = [
        Profile(
            "power-loss",
            .environment,
            needs: [.viewChange, .stateTransfer, .recovery],
            "f replicas, the first primary among them, are killed and start again from their stores"
        ) { setting in
            setting.size.members.prefix(setting.size.faults).map { replica in
                NamedFault("\(replica) power-loss", .powerLoss(replica, at: part(0.1), outage: part(0.4)))
            }
        },
        Profile(
            "power-loss-all",
            .environment,
            needs: [.viewChange, .stateTransfer, .recovery],
            "all replicas are killed at once and start again from their stores"
        ) { setting in
            setting.size.members.map { replica in
                NamedFault("\(replica) power-loss", .powerLoss(replica, at: part(0.2), outage: part(0.1)))
            }
        },
    ]

    /// `lost-store`: the others have to go on without these, and then bring them up to date.
    static let lostStores: [Profile] = [
        Profile(
            "lost-store",
            .backup,
            needs: [.viewChange, .stateTransfer, .recovery],
            "f replicas are killed, lose their stores and come back empty, knowing it"
        ) { setting in
            setting.size.members.suffix(setting.size.faults).map { replica in
                NamedFault("\(replica) lost-store", .lostStore(replica, at: part(0.1), outage: part(0.4)))
            }
        }
    ]

    /// `amnesia`: these count as faulty, since they may contradict what they said.
    static let amnesias: [Profile] = [
        Profile(
            "amnesia",
            .backup,
            needs: [.viewChange, .recovery],
            "f replicas are killed, lose their stores and take part again as if nothing had been"
        ) { setting in
            setting.size.members.suffix(setting.size.faults).map { replica in
                NamedFault("\(replica) amnesia", .amnesia(replica, at: part(0.1), outage: part(0.4)))
            }
        }
    ]
}
