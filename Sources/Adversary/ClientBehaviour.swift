import Messages

/// One way in which a client can be faulty: a wrapper round a correct client.
///
/// It sees each request of the correct client inside before it leaves, once for each receiver, and can send requests of its own
/// through the ``FaultyClient`` that it is handed. It can authenticate only as the client that it belongs to.
public protocol ClientBehaviour: Sendable {
    /// A request of the client inside is about to leave for one replica.
    mutating func send(_ request: Request, to replica: ReplicaID, as faulty: inout FaultyClient) -> Fate<Request>

    /// How often ``timePassed(as:)`` is called, in nanoseconds; nil for never.
    var period: UInt64? { get }

    /// Whether it would do more than once a period if it could: with real links it goes on as fast as they take it.
    var isFlood: Bool { get }

    /// The period has passed again.
    mutating func timePassed(as faulty: inout FaultyClient)
}

extension ClientBehaviour {
    /// Lets it pass.
    public mutating func send(
        _ request: Request,
        to replica: ReplicaID,
        as faulty: inout FaultyClient
    ) -> Fate<Request> { .pass }

    /// Never.
    public var period: UInt64? { nil }

    /// It would not.
    public var isFlood: Bool { false }

    /// Does nothing.
    public mutating func timePassed(as faulty: inout FaultyClient) {}
}

/// A faulty client as its behaviours see it: who it is and what it can do.
public struct FaultyClient: Sendable {
    /// A request that the faulty client sends beyond those of the client inside.
    public struct Parcel: Sendable {
        /// The request.
        public let request: Request
        /// To whom it goes.
        public let replica: ReplicaID
    }

    /// Who it is.
    public let client: ClientID
    /// The cluster.
    public let size: ClusterSize
    /// Another client, a correct one, to be harmed.
    public let victim: ClientID
    /// Makes an authenticator of this client whose proof is right for all replicas but the given ones. A signature is right for all or,
    /// when any replica is given, for none.
    public let authenticator: @Sendable (_ spoiledFor: [ReplicaID]) -> RequestAuthenticator

    /// Its own random numbers.
    public var random: RandomStream
    /// The view as far as the client inside knows.
    public var view = View(0)

    private var parcels: [Parcel] = []

    /// Describes a faulty client at its start.
    public init(
        client: ClientID,
        size: ClusterSize,
        victim: ClientID,
        random: RandomStream,
        authenticator: @escaping @Sendable (_ spoiledFor: [ReplicaID]) -> RequestAuthenticator
    ) {
        self.client = client
        self.size = size
        self.victim = victim
        self.random = random
        self.authenticator = authenticator
    }

    /// The primary as far as the client inside knows.
    public var primary: ReplicaID { view.primary(in: size) }

    /// Every replica but the primary.
    public var backups: [ReplicaID] { size.members.filter { $0 != primary } }

    /// Sends a request.
    public mutating func send(_ request: Request, to replica: ReplicaID) {
        parcels.append(Parcel(request: request, replica: replica))
    }

    /// What was sent since the last call, for the shell to carry.
    public mutating func takeParcels() -> [Parcel] {
        defer { parcels.removeAll(keepingCapacity: true) }
        return parcels
    }

    /// The same request with the authentication of another authenticator, or under the name of another key epoch.
    public func reauthenticated(
        _ request: Request,
        keyEpoch: KeyEpoch? = nil,
        spoiledFor spoiled: [ReplicaID]
    ) -> Request {
        Request(
            client: client,
            keyEpoch: keyEpoch ?? request.keyEpoch,
            session: request.session,
            number: request.number,
            operations: request.operations,
            replier: request.replier,
            authenticator: authenticator(spoiled)
        )
    }

    /// Sends a request on to one replica so that it proves nothing to some of them, and is good for the others.
    ///
    /// A MAC vector is wrong for those. A signature is right for all or for none, so they get copies with a wrong one, and the others
    /// the request as it is.
    mutating func spoil(_ request: Request, for spoiled: [ReplicaID], to replica: ReplicaID) -> Fate<Request> {
        switch request.scheme {
        case .macVector:
            return spoiled.isEmpty ? .pass : .replace(reauthenticated(request, spoiledFor: spoiled))
        case .signature:
            if spoiled.contains(replica) { return .replace(reauthenticated(request, spoiledFor: spoiled)) }
            guard let wrong = spoiled.isEmpty ? nil : reauthenticated(request, spoiledFor: spoiled) else {
                return .pass
            }
            for other in spoiled { send(wrong, to: other) }
            return .pass
        }
    }
}
