import Agreement
import Messages

/// How far a replica is, as its interceptor sees it.
package struct ReplicaProgress: Sendable {
    /// The time of the machine's clock that only goes forward, in nanoseconds.
    package let now: UInt64
    /// The view that it is in.
    package let view: View
    /// The last batch that it executed.
    package let executed: SequenceNumber
    /// The low water mark.
    package let low: SequenceNumber
    /// The high water mark.
    package let high: SequenceNumber
    /// What its watch over the primary goes by; nil where it is off.
    package let watch: PrimaryWatchStatus?
}

/// Something that leaves a replica with an interceptor, after so many nanoseconds.
package enum Departure: Sendable {
    /// A message for a peer.
    case message(PeerMessage, to: ReplicaID, after: UInt64)
    /// An answer for a client.
    case answer(ReplicaAnswer, to: ClientID, after: UInt64)
}

/// Stands between one replica and everybody else: sees what arrives before the engine does and what leaves before the links do, and
/// decides what becomes of it. Replicas of a service have none; laboratories make replicas faulty with it.
package protocol ReplicaInterceptor: AnyObject {
    /// How often ``timePassed(at:into:)`` is called, in nanoseconds; nil for never.
    var period: UInt64? { get }

    /// The most requests that the replica puts into a batch now, as primary; nil for as many as its limits say.
    var proposedRequests: Int? { get }

    /// A peer's message has arrived.
    ///
    /// - Returns: What the engine is to see of it; nil for nothing.
    func incoming(
        _ message: PeerMessage,
        from peer: ReplicaID,
        at progress: ReplicaProgress,
        into departures: inout [Departure]
    ) -> PeerMessage?

    /// A client's request has arrived.
    ///
    /// - Returns: What the engine is to see of it; nil for nothing.
    func incoming(_ request: Request, at progress: ReplicaProgress, into departures: inout [Departure]) -> Request?

    /// A message of the engine is about to leave for a peer; what is to leave in its place goes into `departures`.
    func outgoing(
        _ message: PeerMessage,
        to peer: ReplicaID,
        at progress: ReplicaProgress,
        into departures: inout [Departure]
    )

    /// An answer is about to leave for a client; what is to leave in its place goes into `departures`.
    func outgoing(
        _ answer: ReplicaAnswer,
        to client: ClientID,
        at progress: ReplicaProgress,
        into departures: inout [Departure]
    )

    /// The period has passed again.
    func timePassed(at progress: ReplicaProgress, into departures: inout [Departure])
}

/// The way out of and into a replica, past its interceptor where it has one.
extension ReplicaCore {
    /// What the engine is to see of a peer's message.
    func admitted(_ message: PeerMessage, from peer: ReplicaID, _ now: ClockReading) -> PeerMessage? {
        guard let interceptor else { return message }
        var departures: [Departure] = []
        let seen = interceptor.incoming(message, from: peer, at: progress(now), into: &departures)
        proposeAtMost(interceptor.proposedRequests)
        depart(departures)
        return seen
    }

    /// What the engine is to see of a client's request.
    func admitted(_ request: Unverified<Request>, _ now: ClockReading) -> Unverified<Request>? {
        guard let interceptor else { return request }
        var departures: [Departure] = []
        let seen = interceptor.incoming(request.claim, at: progress(now), into: &departures)
        proposeAtMost(interceptor.proposedRequests)
        depart(departures)
        return seen.map { Unverified($0) }
    }

    /// Sends a message to peers.
    func send(_ message: PeerMessage, to recipient: Recipient, _ now: ClockReading) {
        guard let interceptor else {
            outlet?.send(message.disseminated(cluster.switches.dissemination).encoded, to: recipient)
            return
        }
        let peers: [ReplicaID] =
            switch recipient {
            case .replica(let peer): [peer]
            case .others: cluster.size.members.filter { $0 != replica }
            }
        var departures: [Departure] = []
        for peer in peers { interceptor.outgoing(message, to: peer, at: progress(now), into: &departures) }
        depart(departures)
    }

    /// Sends an answer to a client.
    func reply(_ answer: ReplicaAnswer, to client: ClientID, _ now: ClockReading) {
        guard let interceptor else {
            outlet?.reply(answer.encoded, to: client)
            return
        }
        var departures: [Departure] = []
        interceptor.outgoing(answer, to: client, at: progress(now), into: &departures)
        depart(departures)
    }

    /// Lets the interceptor know again and again that its period has passed.
    func startInterceptor() {
        guard let interceptor, let period = interceptor.period else { return }
        outlet?.later(period) { [weak self] in
            guard let self else { return }
            var departures: [Departure] = []
            interceptor.timePassed(at: progress(.now()), into: &departures)
            depart(departures)
            startInterceptor()
        }
    }

    /// A replica that sends more than its peers take keeps its connections: what waits in them has this bound.
    private static let mostInterceptedBytes = 16 << 20

    private func depart(_ departures: [Departure]) {
        for departure in departures {
            switch departure {
            case .message(let message, to: let peer, after: let delay):
                let bytes = message.disseminated(cluster.switches.dissemination).encoded
                after(delay) { outlet in
                    guard outlet.outboundBytes(to: peer) < Self.mostInterceptedBytes else { return }
                    outlet.send(bytes, to: .replica(peer))
                }
            case .answer(let answer, to: let client, after: let delay):
                let bytes = answer.encoded
                after(delay) { $0.reply(bytes, to: client) }
            }
        }
    }

    private func after(_ delay: UInt64, _ body: @escaping (any ReplicaOutlet) -> Void) {
        guard let outlet else { return }
        if delay == 0 { return body(outlet) }
        outlet.later(delay) { [weak self] in
            if let outlet = self?.outlet { body(outlet) }
        }
    }
}
