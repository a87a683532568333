import Adversary
import Messages

/// A replica's process is killed, and started again later.
struct Outage: Equatable {
    /// What is left of the replica's store.
    enum Loss {
        /// Nothing is lost but what the process had not given to the operating system, which goes on.
        case none
        /// All of it, and the replica does not know: it begins as new.
        case store
        /// All of it, and the replica knows: it learns from the others.
        case storeKnowingly
    }

    /// Which replica.
    let replica: Int
    /// What is left of its store.
    let loss: Loss
    /// When it is away, in seconds since the attack began.
    let seconds: Range<Int>

    /// The outages of a run.
    ///
    /// - Parameters:
    ///   - faults: The run's faults, whose times are stretched over the attack; those of other kinds are left out.
    ///   - seconds: How long the attack is.
    static func all(in faults: [NamedFault], seconds: Int) -> [Outage] {
        let span = { (start: UInt64, length: UInt64?) in
            let end = length.map { min(start, AttackProfiles.span) + min($0, AttackProfiles.span) }
            return AttackProfiles.seconds(from: start, to: end ?? AttackProfiles.span, ofAttack: seconds)
        }
        return faults.compactMap { named in
            switch named.fault {
            case .powerLoss(let replica, at: let time, outage: let length):
                Outage(replica: replica.index, loss: .none, seconds: span(time, length))
            case .amnesia(let replica, at: let time, outage: let length):
                Outage(replica: replica.index, loss: .store, seconds: span(time, length))
            case .lostStore(let replica, at: let time, outage: let length):
                Outage(replica: replica.index, loss: .storeKnowingly, seconds: span(time, length))
            case .replica, .twin, .client, .administration, .network, .powerLossAtWrite: nil
            }
        }
    }
}
