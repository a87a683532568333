import Invariants
import Messages

/// Which message is handled next: work-conserving deficit round robin over what came in, in units of processor time (Aardvark section 4.2
/// in place of one network card for each peer and one for all clients; deficit round robin is Shreedhar and Varghese's, SIGCOMM 1995).
///
/// Time is divided in rounds. In each, every queue has a credit of processor time: its guaranteed share. A queue that waits and has
/// credit is served; who has none waits for the next round, which begins when nobody who waits has credit. So shares that are not used
/// are lent, in proportion to the shares of those that wait. Credit is not saved from round to round, but debt is kept: the cost of a
/// message is known only afterwards, and ``charge(_:to:)`` tells it.
///
/// - Each peer's agreement messages have a share of their own. While one of them has credit, nothing but other peers' agreement messages
///   with credit is served: agreement within its share is never behind client traffic, nor behind a peer that exceeds its own share.
/// - All client connections have one share together, which goes round among them, again by cost.
/// - What a peer forwards, and its catch-up and state transfer (bulk), wait in queues of their own, behind neither of which its agreement
///   messages ever wait.
/// - Every queue is bounded, in messages and in bytes. A full one refuses. The caller stops reading the socket of a full agreement or
///   client queue, which stops its sender. A forward or bulk message that is refused is dropped, since the socket that it came from
///   carries agreement too: what matters of it is sent again.
///
/// A queue that waits is served at the latest after every other queue has used up its credit of one round and what one message costs
/// beyond it.
public struct FairScheduler<Element: Sendable>: Sendable {
    /// A message that is to be handled now.
    public struct Taken: Sendable {
        /// The message.
        public let element: Element
        /// Where it waited; whom to charge.
        public let queue: IngressQueue
        /// Whether the queue refused a message and now has room again: the caller goes on reading its socket.
        public let hasRoomAgain: Bool
    }

    private let limits: RobustnessLimits.Scheduling
    private let size: ClusterSize

    private var agreement: PeerQueues<Element>
    private var forwards: PeerQueues<Element>
    private var bulk: PeerQueues<Element>
    private var clients: ClientQueues<Element>
    /// Of all clients together.
    private var clientAccount: CostAccount
    private var round: UInt64 = 0
    private var cut: UInt64 = 0
    /// Forwards and clients take turns.
    private var isClientsTurn = false

    /// How many messages wait.
    public private(set) var count = 0

    /// Makes a scheduler in which nothing waits.
    ///
    /// - Parameters:
    ///   - size: How many replicas there are.
    ///   - limits: Shares and bounds, of limits without a ``RobustnessLimits/problem``.
    public init(size: ClusterSize, limits: RobustnessLimits.Scheduling) {
        invariant(limits.problem == nil, limits.problem ?? "")
        self.size = size
        self.limits = limits
        let peers = size.replicas - 1
        func quantum(percent: Int, parts: Int) -> Int64 {
            Int64(limits.roundNanoseconds) * Int64(percent) / Int64(100 * parts)
        }
        agreement = PeerQueues(
            count: size.replicas,
            quantum: quantum(percent: limits.agreementPercent, parts: peers),
            bound: QueueBound(messages: limits.agreementMessages, bytes: limits.agreementBytes)
        )
        forwards = PeerQueues(
            count: size.replicas,
            quantum: quantum(percent: limits.requestPercent, parts: 2 * peers),
            bound: QueueBound(messages: limits.forwardMessages, bytes: limits.forwardBytes)
        )
        bulk = PeerQueues(
            count: size.replicas,
            quantum: quantum(percent: limits.bulkPercent, parts: peers),
            bound: QueueBound(messages: limits.bulkMessages, bytes: limits.bulkBytes)
        )
        clients = ClientQueues(limits: limits)
        clientAccount = CostAccount(quantum: quantum(percent: limits.requestPercent, parts: 2))
    }

    /// How many bytes of messages wait.
    public var bytes: Int { agreement.bytes + forwards.bytes + bulk.bytes + clients.bytes }

    // MARK: Connections

    /// A client connected: from now on it has a queue.
    ///
    /// - Returns: false when it has one, or there are as many connections as may be; then nothing changes.
    public mutating func open(_ connection: ConnectionID) -> Bool {
        clients.open(connection)
    }

    /// A client's connection is closed: its queue goes, with what waits in it.
    public mutating func close(_ connection: ConnectionID) {
        count -= clients.close(connection)
    }

    /// Sets which peers the flood guard has cut off: they keep a small part of their shares, and what nobody else uses only where the
    /// caller of ``next(includingClients:includingCut:)`` lets them have it.
    public mutating func setCut(_ peers: VoteSet) {
        cut = 0
        for peer in size.members {
            let isCut = peers.contains(peer)
            if isCut { cut |= 1 << UInt64(peer.index) }
            let percent = isCut ? limits.cutPercent : 100
            agreement.setShare(of: peer.index, percent: percent)
            forwards.setShare(of: peer.index, percent: percent)
            bulk.setShare(of: peer.index, percent: percent)
        }
    }

    // MARK: Messages

    /// Whether something waits, with or without what clients and what peers that are cut off sent.
    public func hasWaiting(includingClients: Bool, includingCut: Bool = true) -> Bool {
        count > (includingClients ? 0 : clients.count) + (includingCut ? 0 : cutCount)
    }

    /// Whether something of a peer waits.
    func hasWaiting(of peer: ReplicaID) -> Bool {
        let place = UInt64(1) << UInt64(peer.index)
        return agreement.count(of: place) + forwards.count(of: place) + bulk.count(of: place) > 0
    }

    /// How many messages of peers that are cut off wait.
    private var cutCount: Int {
        cut == 0 ? 0 : agreement.count(of: cut) + forwards.count(of: cut) + bulk.count(of: cut)
    }

    /// Whether a peer has used up its share of agreement for now while something waits that is served. Then what it sends is better left
    /// where it is, since to take it in costs time as well. Where nothing is served no round begins that would give it credit again.
    mutating func isSpent(_ peer: ReplicaID, includingClients: Bool, includingCut: Bool) -> Bool {
        hasWaiting(includingClients: includingClients, includingCut: includingCut)
            && agreement.isSpent(peer.index, round: round)
    }

    /// Whether a client has had more than its turn while something waits that is served. A client's turn is hardly more than one request,
    /// so that a little more does not count.
    mutating func isSpent(_ client: ConnectionID) -> Bool {
        hasWaiting(includingClients: true, includingCut: false) && clients.isInDebt(client)
    }

    /// Puts a message at the end of a queue.
    ///
    /// - Parameters:
    ///   - element: The message.
    ///   - bytes: The memory that it takes.
    ///   - queue: The queue; a peer's number is inside the cluster.
    /// - Returns: false when the queue is full, or its client is not connected: the message was not taken.
    public mutating func enqueue(_ element: Element, bytes: Int, in queue: IngressQueue) -> Bool {
        invariant(bytes >= 0, "a message of less than nothing")
        let isTaken: Bool
        switch queue {
        case .agreement(let peer): isTaken = agreement.append(element, bytes: bytes, of: peer.index, round: round)
        case .forwards(let peer): isTaken = forwards.append(element, bytes: bytes, of: peer.index, round: round)
        case .bulk(let peer): isTaken = bulk.append(element, bytes: bytes, of: peer.index, round: round)
        case .client(let connection):
            isTaken = clients.append(element, bytes: bytes, of: connection)
            clientAccount.enter(round)
        }
        if isTaken { count += 1 }
        return isTaken
    }

    /// Takes the message that is to be handled next. Charge its cost before the next one is taken, or its sender gets more than its share.
    ///
    /// - Parameters:
    ///   - includingClients: Whether clients are served too. While a caller cannot take their messages, they wait with their credit.
    ///   - includingCut: Whether peers that are cut off are.
    /// - Returns: nil when and only when nothing waits of those that are served.
    public mutating func next(includingClients: Bool = true, includingCut: Bool = true) -> Taken? {
        guard hasWaiting(includingClients: includingClients, includingCut: includingCut) else { return nil }
        while true {
            if let taken = takeWithCredit(includingClients, includingCut) {
                count -= 1
                charge(limits.messageNanoseconds, to: taken.queue)
                return taken
            }
            startRound(includingClients, includingCut)
        }
    }

    /// Charges a queue with what one of its messages cost, as measured or estimated, in nanoseconds of processor time.
    public mutating func charge(_ nanoseconds: UInt64, to queue: IngressQueue) {
        let cost = Int64(min(nanoseconds, RobustnessLimits.longestNanoseconds))
        let mostDebt = Int64(limits.mostDebtNanoseconds)
        switch queue {
        case .agreement(let peer): agreement.charge(cost, to: peer.index, mostDebt: mostDebt, round: round)
        case .forwards(let peer): forwards.charge(cost, to: peer.index, mostDebt: mostDebt, round: round)
        case .bulk(let peer): bulk.charge(cost, to: peer.index, mostDebt: mostDebt, round: round)
        case .client(let connection):
            clientAccount.enter(round)
            clientAccount.charge(cost, mostDebt: mostDebt)
            clients.charge(cost, to: connection, mostDebt: mostDebt)
        }
    }

    /// In a round, agreement goes first, then requests, then bulk; last come peers that are cut off.
    private mutating func takeWithCredit(_ includingClients: Bool, _ includingCut: Bool) -> Taken? {
        if let taken = takeAgreement(of: ~cut) { return taken }
        if isClientsTurn {
            if includingClients, let taken = takeFromClients() { return taken }
            if let taken = takeForward(of: ~cut) { return taken }
        } else {
            if let taken = takeForward(of: ~cut) { return taken }
            if includingClients, let taken = takeFromClients() { return taken }
        }
        if let taken = takeBulk(of: ~cut) { return taken }
        guard includingCut else { return nil }
        return takeAgreement(of: cut) ?? takeForward(of: cut) ?? takeBulk(of: cut)
    }

    private mutating func takeAgreement(of peers: UInt64) -> Taken? {
        agreement.take(of: peers).map { place, removed in removed.taken(from: .agreement(Self.peer(place))) }
    }

    private mutating func takeForward(of peers: UInt64) -> Taken? {
        guard let (place, removed) = forwards.take(of: peers) else { return nil }
        isClientsTurn = true
        return removed.taken(from: .forwards(Self.peer(place)))
    }

    private mutating func takeBulk(of peers: UInt64) -> Taken? {
        bulk.take(of: peers).map { place, removed in removed.taken(from: .bulk(Self.peer(place))) }
    }

    private mutating func takeFromClients() -> Taken? {
        guard clientAccount.hasCredit, let (connection, removed) = clients.take() else { return nil }
        isClientsTurn = false
        return removed.taken(from: .client(connection))
    }

    private static func peer(_ place: Int) -> ReplicaID { ReplicaID(UInt8(place)) }

    /// Nobody who waits has credit: as many rounds begin as it takes for one of them to have some.
    private mutating func startRound(_ includingClients: Bool, _ includingCut: Bool) {
        let peers = includingCut ? UInt64.max : ~cut
        var rounds = min(
            agreement.roundsUntilCredit(of: peers),
            forwards.roundsUntilCredit(of: peers),
            bulk.roundsUntilCredit(of: peers)
        )
        if includingClients, clients.count > 0 { rounds = min(rounds, clientAccount.roundsUntilCredit) }
        invariant(rounds > 0 && rounds < .max, "a round begins when somebody waits and nobody has credit")
        round += rounds
        agreement.enter(round)
        forwards.enter(round)
        bulk.enter(round)
        clientAccount.enter(round)
        // What clients owe is paid off by their share also while all that they sent is left where it is.
        if clients.count == 0 { clients.pass(min(rounds, 1 << 32) * UInt64(clientAccount.quantum)) }
    }
}

/// A queue of messages that came in and wait to be handled.
public enum IngressQueue: Hashable, Sendable {
    /// A peer's ordering, checkpoint and view change messages.
    case agreement(ReplicaID)
    /// The requests that a peer forwards.
    case forwards(ReplicaID)
    /// A peer's catch-up and state transfer.
    case bulk(ReplicaID)
    /// What came over one connection of a client or an administrator.
    case client(ConnectionID)
}

/// The number of a connection, as the shell counts them.
public struct ConnectionID: Hashable, Sendable {
    /// The number itself.
    public let rawValue: UInt64

    /// Names the connection with this number.
    public init(_ rawValue: UInt64) {
        self.rawValue = rawValue
    }
}
