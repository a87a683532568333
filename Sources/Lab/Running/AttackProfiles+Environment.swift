import Adversary
import Messages

/// What the simulator draws anew for each seed, with real processes as one course of events each, so that runs can be compared. Times are
/// parts of the attack, of ``Outage/span`` in all.
extension AttackProfiles {
    /// A part of the attack.
    private static func part(_ share: Double) -> UInt64 { UInt64(share * Double(Outage.span)) }

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
