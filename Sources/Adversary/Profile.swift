import Messages

/// What the engine must have for a profile's claim of liveness to hold.
public struct Mechanisms: OptionSet, Hashable, Sendable {
    /// One bit a mechanism.
    public let rawValue: UInt8

    /// Takes the bits.
    public init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// A primary that does not serve is replaced.
    public static let viewChange = Mechanisms(rawValue: 1)
    /// A replica that is behind the others' logs fetches their state.
    public static let stateTransfer = Mechanisms(rawValue: 2)
    /// A replica starts again from what it made durable.
    public static let recovery = Mechanisms(rawValue: 4)
}

/// A named attack or misfortune: which faults a run under it has.
public struct Profile: Sendable {
    /// Who misbehaves.
    public enum Culprit: String, Sendable {
        /// Nobody.
        case nobody
        /// Clients.
        case client
        /// The primary of the first view, and with f > 1 those of the next views.
        case primary
        /// Backups of the first view.
        case backup
        /// The network, or power.
        case environment
        /// Several of these.
        case several
    }

    /// The name on the command line.
    public let name: String
    /// One line for people.
    public let summary: String
    /// Who misbehaves.
    public let culprit: Culprit
    /// What the engine must have, so that every correct client is answered in the end.
    public let needs: Mechanisms
    /// Whether the claim holds for signed requests only: MAC vectors that are good for some replicas hold PBFT up as long as the clients
    /// like (Aardvark section 3.1).
    public let needsSignatures: Bool
    /// What the correct clients ask for.
    public let demand: Demand
    /// Whether more than f replicas are faulty: then the oracles have to find something, or there are none.
    public let isOutOfModel: Bool

    /// What the correct clients ask for.
    public enum Demand: Sendable {
        /// What the seed draws.
        case drawn
        /// As much as they may, all of one register, half of the reads outside the order.
        case contended
        /// At first one client asks, then half of them, then all, and back again.
        case spike
    }

    private let makeFaults: @Sendable (inout Setting) -> [NamedFault]

    /// Describes a profile.
    public init(
        _ name: String,
        _ culprit: Culprit,
        needs: Mechanisms = [],
        needsSignatures: Bool = false,
        isOutOfModel: Bool = false,
        demand: Demand = .drawn,
        _ summary: String,
        faults: @escaping @Sendable (inout Setting) -> [NamedFault]
    ) {
        self.name = name
        self.culprit = culprit
        self.needs = needs
        self.needsSignatures = needsSignatures
        self.isOutOfModel = isOutOfModel
        self.demand = demand
        self.summary = summary
        makeFaults = faults
    }

    /// The faults of one run.
    public func faults(in setting: inout Setting) -> [NamedFault] {
        makeFaults(&setting)
    }
}
