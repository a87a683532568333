import Messages

/// One thing that goes wrong in a run. Runs are shrunk by taking faults away one by one.
public enum Fault: Sendable {
    /// A replica is faulty in this way. Several of one replica compose in their order.
    case replica(ReplicaID, any ReplicaBehaviour)
    /// `twin`: a replica runs twice with one key, and its peers are divided between the two copies, otherwise each time.
    ///
    /// Both protocols: like any equivocating replica, harmless below f + 1. Source: Bano et al., "Twins: BFT systems made robust",
    /// OPODIS 2021.
    case twin(ReplicaID)
    /// A client is faulty in this way.
    case client(ClientID, any ClientBehaviour)
    /// The administrator, who is correct, changes the clients.
    case administration(AdministrationStep)
    /// The network misbehaves for a while.
    case network(NetworkFault)
    /// A correct replica loses power at a moment, and with it what was not synced, and starts again after some nanoseconds; nil for never.
    case powerLoss(ReplicaID, at: UInt64, outage: UInt64?)
    /// Power is lost at a write to the disk, and comes back.
    case powerLossAtWrite(PowerLossAtWrite)
    /// `amnesia`: a replica starts again with an empty disk, and takes part as if nothing had been.
    ///
    /// Both protocols: it may contradict itself, so it is one of the f faulty ones. Source: this project (a replica that lost its
    /// store).
    case amnesia(ReplicaID, at: UInt64, outage: UInt64)
    /// `lost-store`: a correct replica loses its store, or finds it damaged and refuses to start; after some nanoseconds it is started
    /// with an empty one, and knows that it is not new; nil for never.
    ///
    /// Both protocols: it is one of the f, but never contradicts what it said before. Source: Castro and Liskov, TOCS 2002, section 4.3
    /// (recovery).
    case lostStore(ReplicaID, at: UInt64, outage: UInt64?)
}

/// A fault with its name for people.
public struct NamedFault: Sendable {
    /// For example `r0 equivocate-2-2`.
    public let name: String
    /// What goes wrong.
    public let fault: Fault

    /// Names a fault.
    public init(_ name: String, _ fault: Fault) {
        self.name = name
        self.fault = fault
    }
}

/// A correct replica loses power at the very moment of one of its writes, and with it what was not synced.
public struct PowerLossAtWrite: Sendable {
    /// Whose writes are counted.
    public let replica: ReplicaID
    /// At which of them, from 1: each record or checkpoint that is appended counts, and each sync that is done, before anything that
    /// waited for it is said.
    public let write: Int
    /// Whether all replicas lose power, not this one only.
    public let isTogether: Bool
    /// How long the power is away, in nanoseconds.
    public let outage: UInt64

    /// Describes a loss of power.
    public init(_ replica: ReplicaID, write: Int, isTogether: Bool, outage: UInt64) {
        self.replica = replica
        self.write = write
        self.isTogether = isTogether
        self.outage = outage
    }
}

/// What the administrator does, and when.
public struct AdministrationStep: Sendable {
    /// What it does.
    public enum Change: String, Sendable {
        /// Takes the client in. The cluster does not know a client from the start of which this is the first that happens.
        case add
        /// Gives it another key.
        case replaceKey
        /// Shuts it out.
        case remove
        /// Asks for the list of all; changes nothing.
        case list
    }

    /// What it does.
    public let change: Change
    /// To whom.
    public let client: ClientID
    /// When, in nanoseconds.
    public let time: UInt64

    /// Describes a step.
    public init(_ change: Change, of client: ClientID, at time: UInt64) {
        self.change = change
        self.client = client
        self.time = time
    }
}

/// What the network does wrong, from when until when.
public struct NetworkFault: Sendable {
    /// What it does wrong.
    public enum Kind: Sendable {
        /// Nothing passes between these replicas and the others.
        case divide([ReplicaID])
        /// Nothing passes between the primary and anybody, whoever is primary at the moment.
        case isolatePrimary
        /// Nothing passes from one replica to another; the other way is open.
        case cut(from: ReplicaID, to: ReplicaID)
        /// Nothing passes between clients and replicas.
        case clients
        /// Messages among all are lost, doubled and delayed, each in so many of a thousand cases.
        case lossy(loss: Int, duplication: Int, reordering: Int)
        /// The connections of these replicas break, and are made again at the end.
        case disconnect([ReplicaID])
        /// Each message takes longer by up to so many nanoseconds.
        case slow(UInt64)
    }

    /// What it does wrong.
    public let kind: Kind
    /// When it starts, in nanoseconds.
    public let start: UInt64
    /// When it ends, in nanoseconds.
    public let end: UInt64
    /// Whether what meets a closed way is lost (the connection breaks) or waits for the end (the connection stalls).
    public let isLossy: Bool

    /// Describes a fault.
    public init(_ kind: Kind, start: UInt64, end: UInt64, isLossy: Bool) {
        self.kind = kind
        self.start = start
        self.end = end
        self.isLossy = isLossy
    }
}

/// What a run that a profile is applied to is like.
public struct Setting: Sendable {
    /// The cluster.
    public let size: ClusterSize
    /// The clients.
    public let clients: [ClientID]
    /// The clients that may be made faulty: the last of them.
    public let corruptible: [ClientID]
    /// When the first fault may start, in nanoseconds.
    public let start: UInt64
    /// When the last fault has to end, in nanoseconds.
    public let end: UInt64
    /// Where the profile's choices come from.
    public var random: RandomStream

    /// Describes a run.
    ///
    /// - Parameters:
    ///   - size: The cluster.
    ///   - clients: The clients.
    ///   - start: When the first fault may start, in nanoseconds.
    ///   - end: When the last fault has to end, in nanoseconds.
    ///   - random: Where the profile's choices come from.
    ///   - faultyClients: How many of the clients may be made faulty; nil for a third of them, at least one.
    public init(
        size: ClusterSize,
        clients: [ClientID],
        faultyClients: Int? = nil,
        start: UInt64,
        end: UInt64,
        random: RandomStream
    ) {
        self.size = size
        self.clients = clients
        corruptible = Array(clients.suffix(faultyClients ?? max(clients.count / 3, 1)))
        self.start = start
        self.end = end
        self.random = random
    }

    /// The first clients, which stay correct. With one client alone it is not.
    public var correctClients: [ClientID] { Array(clients.dropLast(corruptible.count)) }

    /// A span inside the time for faults: at most `longest` nanoseconds.
    public mutating func span(longest: UInt64) -> (start: UInt64, end: UInt64) {
        let first = random.within(start...max(start, end - (end - start) / 4))
        let length = random.within(1...max(min(longest, end - first), 1))
        return (first, first + length)
    }
}
