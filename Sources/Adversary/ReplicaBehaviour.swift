import Agreement
import Cryptography
import Messages

/// What becomes of a message that passes a faulty party.
public enum Fate<Message: Sendable>: Sendable {
    /// It goes on unchanged.
    case pass
    /// It goes no further.
    case drop
    /// Another message goes in its place.
    case replace(Message)
    /// It goes on later, by so many nanoseconds.
    case delay(UInt64)
}

/// One way in which a replica can be faulty: a wrapper round a correct replica that changes what it says, hears and adds.
///
/// A behaviour sees each message of the correct replica inside before it leaves, once for each receiver, and each message that arrives
/// before the replica does. It can say things of its own through the ``FaultyReplica`` that it is handed. Several behaviours compose:
/// each sees what the one before let through. It can sign only as the replica that it belongs to.
public protocol ReplicaBehaviour: Sendable {
    /// Changes the bounds of the engine inside, before it starts.
    func adjust(_ limits: inout Limits)

    /// A message of the replica inside is about to leave for one peer.
    mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<PeerMessage>

    /// A reply of the replica inside is about to leave.
    mutating func reply(_ reply: Reply, to client: ClientID, as faulty: inout FaultyReplica) -> Fate<Reply>

    /// An answer to a read of the replica inside is about to leave.
    mutating func answer(_ answer: ReadReply, to client: ClientID, as faulty: inout FaultyReplica) -> Fate<ReadReply>

    /// A peer's message is about to reach the replica inside.
    mutating func receive(_ message: PeerMessage, from peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    >

    /// A client's request is about to reach the replica inside.
    mutating func receive(_ request: Request, as faulty: inout FaultyReplica) -> Fate<Request>

    /// How often ``timePassed(as:)`` is called, in nanoseconds; nil for never.
    var period: UInt64? { get }

    /// Whether it would do more than once a period if it could: with real links it goes on as fast as they take it.
    var isFlood: Bool { get }

    /// The period has passed again.
    mutating func timePassed(as faulty: inout FaultyReplica)
}

extension ReplicaBehaviour {
    /// Changes nothing.
    public func adjust(_ limits: inout Limits) {}

    /// Lets it pass.
    public mutating func send(
        _ message: PeerMessage,
        to peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> { .pass }

    /// Lets it pass.
    public mutating func reply(_ reply: Reply, to client: ClientID, as faulty: inout FaultyReplica) -> Fate<Reply> {
        .pass
    }

    /// Lets it pass.
    public mutating func answer(
        _ answer: ReadReply,
        to client: ClientID,
        as faulty: inout FaultyReplica
    ) -> Fate<ReadReply> { .pass }

    /// Lets it pass.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> { .pass }

    /// Lets it pass.
    public mutating func receive(_ request: Request, as faulty: inout FaultyReplica) -> Fate<Request> { .pass }

    /// Never.
    public var period: UInt64? { nil }

    /// It would not.
    public var isFlood: Bool { false }

    /// Does nothing.
    public mutating func timePassed(as faulty: inout FaultyReplica) {}
}

/// A faulty client that lends its key to faulty replicas.
public struct Accomplice: Sendable {
    /// Who it is.
    public let client: ClientID
    /// What it authenticates with from the start, whatever became of that key since.
    public let authenticator: RequestAuthenticator

    /// Describes an accomplice.
    public init(client: ClientID, authenticator: RequestAuthenticator) {
        self.client = client
        self.authenticator = authenticator
    }
}

/// A faulty replica as its behaviours see it: who it is, how far the replica inside is, and what it can do.
public struct FaultyReplica: Sendable {
    /// Something that the faulty replica says beyond what the replica inside does.
    public enum Utterance: Sendable {
        /// A message to a peer, after so many nanoseconds.
        case message(PeerMessage, to: ReplicaID, after: UInt64)
        /// A reply to a client.
        case reply(Reply, to: ClientID)
    }

    /// Who it is.
    public let replica: ReplicaID
    /// The cluster.
    public let size: ClusterSize
    /// The cluster's identifier.
    public let cluster: ClusterID
    /// The clients of the cluster.
    public let clients: [ClientID]
    /// The bounds of the engine inside, which all replicas share.
    public let limits: Limits
    /// Its own signing key, the only one that it has.
    public let signer: any Signer
    /// The best that it can do to authenticate a request in another's name: its own signature, or MACs of which only its own is right.
    public let forger: RequestAuthenticator
    /// The faulty clients.
    public let accomplices: [Accomplice]

    /// Its own random numbers.
    public var random: RandomStream
    /// The time, in nanoseconds.
    public var now: UInt64 = 0
    /// The view that the replica inside is in.
    public var view = View(0)
    /// The last batch that the replica inside executed.
    public var executed = SequenceNumber.zero
    /// The low water mark of the replica inside.
    public var low = SequenceNumber.zero
    /// The high water mark of the replica inside.
    public var high = SequenceNumber.zero

    /// What the replica inside would require of a primary; nil where it watches none.
    public var watch: PrimaryWatchStatus?

    private var utterances: [Utterance] = []

    /// Describes a faulty replica at its start.
    public init(
        replica: ReplicaID,
        size: ClusterSize,
        cluster: ClusterID,
        clients: [ClientID],
        limits: Limits,
        signer: any Signer,
        forger: RequestAuthenticator,
        accomplices: [Accomplice],
        random: RandomStream
    ) {
        self.replica = replica
        self.size = size
        self.cluster = cluster
        self.clients = clients
        self.limits = limits
        self.signer = signer
        self.forger = forger
        self.accomplices = accomplices
        self.random = random
    }

    /// Whether it is the primary of the view that the replica inside is in.
    public var isPrimary: Bool { view.primary(in: size) == replica }

    /// Every other replica, in order.
    public var peers: [ReplicaID] { size.members.filter { $0 != replica } }

    /// Says something to a peer, after `delay` nanoseconds.
    public mutating func say(_ message: PeerMessage, to peer: ReplicaID, after delay: UInt64 = 0) {
        utterances.append(.message(message, to: peer, after: delay))
    }

    /// Says something to every other replica.
    public mutating func sayToAll(_ message: PeerMessage) {
        for peer in peers { say(message, to: peer) }
    }

    /// A request as a backup forwards it: where it is signed, with this replica's word that it has checked it.
    func forward(_ request: Request) -> PeerMessage {
        guard request.scheme == .signature else { return .forward(Forward(request)) }
        let word = Forward.Endorsement(of: request, by: replica, in: view, cluster: cluster, signer: signer)
        return .forward(Forward(request, endorsement: word))
    }

    /// A VIEW-CHANGE of this replica's that claims other batches than the one that the replica inside made.
    func viewChange(like said: ViewChange, prepared: [BatchClaim], prePrepared: [BatchClaim]) -> ViewChange {
        ViewChange(
            view: said.view,
            replica: replica,
            stable: said.stable,
            certificate: said.certificate,
            prepared: prepared,
            prePrepared: prePrepared,
            cluster: cluster,
            signer: signer
        )
    }

    /// Says something to a client.
    public mutating func say(_ reply: Reply, to client: ClientID) {
        utterances.append(.reply(reply, to: client))
    }

    /// What was said since the last call, for the shell to send.
    public mutating func takeUtterances() -> [Utterance] {
        defer { utterances.removeAll(keepingCapacity: true) }
        return utterances
    }

    /// Whether nothing was said since the last ``takeUtterances()``.
    public var isQuiet: Bool { utterances.isEmpty }
}
