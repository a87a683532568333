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

    /// The length of the attack in the times of the faults that ``AttackProfiles/faults(of:in:clients:seed:)`` makes.
    static let span: UInt64 = 1_000_000

    /// Which replica.
    let replica: Int
    /// What is left of its store.
    let loss: Loss
    /// When it is killed, in seconds since the attack began.
    let begin: Int
    /// When it is started again, in the same; at the end of the attack at the latest.
    let end: Int

    /// The outages of a run.
    ///
    /// - Parameters:
    ///   - faults: The run's faults, whose times are stretched over the attack; those of other kinds are left out.
    ///   - seconds: How long the attack is.
    static func all(in faults: [NamedFault], seconds: Int) -> [Outage] {
        faults.compactMap { named in
            switch named.fault {
            case .powerLoss(let replica, at: let time, outage: let length):
                Outage(replica, .none, time, length, seconds)
            case .amnesia(let replica, at: let time, outage: let length):
                Outage(replica, .store, time, length, seconds)
            case .lostStore(let replica, at: let time, outage: let length):
                Outage(replica, .storeKnowingly, time, length, seconds)
            case .replica, .twin, .client, .administration, .network, .powerLossAtWrite: nil
            }
        }
    }

    private init(_ replica: ReplicaID, _ loss: Loss, _ time: UInt64, _ length: UInt64?, _ seconds: Int) {
        self.replica = replica.index
        self.loss = loss
        let moment = { (time: UInt64) in Int(min(time, Self.span) * UInt64(seconds) / Self.span) }
        begin = min(moment(time), seconds - 1)
        end = max(begin + 1, length.map { moment(min(time, Self.span) + min($0, Self.span)) } ?? seconds)
    }
}
