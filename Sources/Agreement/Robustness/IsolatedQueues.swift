import Messages

/// Messages that wait, in the form in which they are handled.
///
/// A class, and not a parameter of the queues' type: generic code that another module uses is not specialized for it, which took 3 % of a
/// replica's time.
package protocol IngressContent: AnyObject, Sendable {}

/// A connection, as what comes over it goes into queues apart.
package protocol IngressSource: AnyObject {
    /// Looks at what comes next. It comes again until it is taken. While nothing is taken, the other end is held up.
    ///
    /// - Parameter most: How many messages of a kind make a part at the most.
    /// - Returns: nil when nothing has come in.
    func nextPart(most: (PeerMessage.Stream) -> Int) -> IngressPart?

    /// Takes what ``nextPart(most:)`` gave last.
    func takePart()

    /// How long what came in was opened since this was last asked, in nanoseconds.
    func takeOpeningNanoseconds() -> UInt64
}

/// Some messages of one kind that came over one connection, one after another.
package struct IngressPart: Sendable {
    /// The messages.
    package let content: any IngressContent
    /// Their kind. All that a client sends is of one kind.
    package let stream: PeerMessage.Stream
    /// How many they are.
    package let messages: Int
    /// The memory that they take, in bytes.
    package let bytes: Int

    /// Describes a part.
    package init(_ content: any IngressContent, stream: PeerMessage.Stream, messages: Int, bytes: Int) {
        self.content = content
        self.stream = stream
        self.messages = messages
        self.bytes = bytes
    }
}

/// What came in and waits to be handled, in queues apart, served by ``FairScheduler`` (Aardvark section 4.2: network cards and queues of
/// their own for each peer and for the clients).
///
/// Parts are taken out of connections as long as their queues have room. A connection whose queue is full is not emptied any more, which
/// holds up its other end; nor is one of which the owner has used up its share while something waits, since to take in costs time as
/// well, whatever becomes of it. A peer that is cut off gets a hundredth of the time and no more, also while nobody else wants any: on a
/// machine that is shared, or paid for by its use, no time is left over; and so does a client that is beyond its ``ClientAllowance``.
/// Forwards and bulk that find no room are dropped, since the same connection carries agreement.
package final class IsolatedQueues {
    package typealias Source = any IngressSource

    /// How many parts of one connection, and of all clients together, are taken in at a time.
    private let partsOfConnection = 128
    private let partsOfClients = 1_024

    private var scheduler: FairScheduler<any IngressContent>
    private let clock: () -> Instant
    /// How many messages of a client make a part.
    private let clientMessages: Int
    private var peers: [(source: Source, connection: ConnectionID)?]
    private var readablePeers = VoteSet()
    private var cut = VoteSet()
    /// What part of the time peers that are cut off get, in percent.
    private let cutPercent: UInt64
    private let wholeAllowance: ClientAllowance
    /// When they are served again.
    private var cutPeersRestUntil = Instant(nanoseconds: 0)
    private var clients: [ConnectionID: ClientSource] = [:]
    /// In the order of their turn, each at most once.
    private var readableClients: [ConnectionID] = []

    /// Those of them that sent more than they may, and when the first of them is served again.
    private var restingClients: [ConnectionID] = []
    private var clientsRestUntil: Instant?
    /// Those that had sent more than they may when they were looked at last, so that it takes no time to find that there are none.
    private var overdrawnClients: Set<ConnectionID> = []

    private struct ClientSource {
        let source: Source
        var allowance: ClientAllowance
        /// When it is served again.
        var restsUntil = Instant(nanoseconds: 0)
        /// Whether it waits for its turn, or rests, already.
        var isListed = false
    }

    /// Messages that were dropped because their queue was full.
    package private(set) var dropped: UInt64 = 0
    /// How many times a client was not read for a while because it had sent more than it may.
    package private(set) var rests: UInt64 = 0

    /// Makes queues in which nothing waits.
    ///
    /// - Parameters:
    ///   - size: How many replicas there are.
    ///   - limits: Shares and bounds, of limits without a ``RobustnessLimits/problem``.
    ///   - clientMessages: How many messages of a client are handled at a time: 1 where each costs a signature check.
    ///   - clock: A monotonic clock, by which the cost of taking in is measured.
    package init(
        size: ClusterSize,
        limits: RobustnessLimits.Scheduling,
        clientMessages: Int,
        clock: @escaping () -> Instant
    ) {
        scheduler = FairScheduler(size: size, limits: limits)
        cutPercent = UInt64(limits.cutPercent)
        wholeAllowance = ClientAllowance(limits)
        peers = Array(repeating: nil, count: size.replicas)
        self.clientMessages = clientMessages
        self.clock = clock
    }

    /// How many parts wait.
    package var count: Int { scheduler.count }

    /// The memory that they take, in bytes.
    package var bytes: Int { scheduler.bytes }

    // MARK: Connections

    /// A peer connected, in place of an earlier connection of its.
    package func open(_ source: Source, of peer: ReplicaID, as connection: ConnectionID) {
        peers[peer.index] = (source, connection)
        readablePeers.remove(peer)
    }

    /// The connection of a peer is closed. What waits of it is handled.
    package func close(_ connection: ConnectionID, of peer: ReplicaID) {
        guard peers[peer.index]?.connection == connection else { return }
        peers[peer.index] = nil
        readablePeers.remove(peer)
    }

    /// A client connected.
    ///
    /// - Parameter allowance: What is left of its allowance from an earlier connection; nil for a whole one.
    /// - Returns: false when there are as many as may be.
    package func open(_ source: Source, as client: ConnectionID, allowance: ClientAllowance? = nil) -> Bool {
        guard scheduler.open(client) else { return false }
        clients[client] = ClientSource(source: source, allowance: allowance ?? wholeAllowance)
        return true
    }

    /// A client's connection is closed, and what waits of it is gone.
    ///
    /// - Returns: Its allowance, unless that is whole.
    @discardableResult
    package func close(_ client: ConnectionID) -> ClientAllowance? {
        scheduler.close(client)
        overdrawnClients.remove(client)
        guard let allowance = clients.removeValue(forKey: client)?.allowance, !allowance.isWhole(now: clock()) else {
            return nil
        }
        return allowance
    }

    /// A client is sent an answer to something that it asked.
    package func answered(_ client: ConnectionID) {
        clients[client]?.allowance.answered()
    }

    /// Something of a peer came in.
    package func readable(_ peer: ReplicaID) {
        if peers[peer.index] != nil { readablePeers.insert(peer) }
    }

    /// Something of a client came in.
    package func readable(_ client: ConnectionID) {
        guard clients[client]?.isListed == false else { return }
        clients[client]?.isListed = true
        readableClients.append(client)
    }

    /// Sets which peers are cut off.
    package func setCut(_ peers: VoteSet) {
        cut = peers
        scheduler.setCut(peers)
    }

    /// When there may be more to do than now, because somebody who rests is served again; nil for never.
    package var deadline: Instant? {
        var deadline = haveClientsRested ? nil : clientsRestUntil
        if cut.count > 0, clock() < cutPeersRestUntil,
            scheduler.hasWaiting(includingClients: true) || !readablePeers.isDisjoint(with: cut)
        {
            deadline = min(deadline ?? cutPeersRestUntil, cutPeersRestUntil)
        }
        return deadline
    }

    private var servesCutPeers: Bool { cut.count > 0 && clock() >= cutPeersRestUntil }
    private var haveClientsRested: Bool { clientsRestUntil.map { $0 <= clock() } ?? false }

    /// What is spent on who floods keeps it waiting for long: peers that are cut off, all together, and a client that sends more than it
    /// may.
    private func noteSpent(_ nanoseconds: UInt64, on queue: IngressQueue) {
        let rest = min(nanoseconds, RobustnessLimits.longestNanoseconds) * (100 / cutPercent - 1)
        switch queue {
        case .agreement(let peer), .forwards(let peer), .bulk(let peer):
            guard cut.contains(peer) else { return }
            cutPeersRestUntil = max(cutPeersRestUntil, clock()).advanced(byNanoseconds: rest)
        case .client(let connection):
            guard overdrawnClients.contains(connection), let client = clients[connection] else { return }
            let now = clock()
            guard client.allowance.isOverdrawn(now: now) else {
                overdrawnClients.remove(connection)
                return
            }
            if client.restsUntil <= now { rests += 1 }
            clients[connection]?.restsUntil = max(client.restsUntil, now).advanced(byNanoseconds: rest)
        }
    }

    private func noteSent(_ messages: Int, by client: ConnectionID, _ allowance: ClientAllowance, now: Instant) {
        guard messages > 0 else { return }
        var allowance = allowance
        allowance.sent(messages, now: now)
        clients[client]?.allowance = allowance
        if allowance.isOverdrawn(now: now) { overdrawnClients.insert(client) }
    }

    /// Clients that have rested long enough have their turn again.
    private func endRests() {
        guard haveClientsRested else { return }
        readableClients += restingClients
        restingClients = []
        clientsRestUntil = nil
    }

    // MARK: Messages

    /// Whether something can be handled.
    package func hasWork(includingClients: Bool) -> Bool {
        let servesCut = servesCutPeers
        return scheduler.hasWaiting(includingClients: includingClients, includingCut: servesCut)
            || (servesCut ? readablePeers.count > 0 : !readablePeers.isSubset(of: cut))
            || (includingClients && (!readableClients.isEmpty || haveClientsRested))
    }

    /// Moves what came in into the queues, as far as there is room.
    ///
    /// - Parameter includingClients: Whether there is room for what clients send; see ``next(includingClients:)``.
    package func takeIn(includingClients: Bool = true) {
        endRests()
        guard readablePeers.count > 0 || !readableClients.isEmpty else { return }
        var time = clock()
        let servesCut = servesCutPeers
        for place in peers.indices where readablePeers.contains(ReplicaID(UInt8(place))) {
            let peer = ReplicaID(UInt8(place))
            let isCut = cut.contains(peer)
            // To take in more of a peer that is cut off, before what waits of it was served, would use up the time that there is for that.
            if isCut, !servesCut || scheduler.hasWaiting(of: peer) { continue }
            guard let source = peers[place]?.source else { continue }
            if takeIn(source, of: peer, includingClients, isCut) { readablePeers.remove(peer) }
            charge(since: &time, source, to: .agreement(peer))
        }
        var left = partsOfClients
        var listed: [ConnectionID] = []
        swap(&listed, &readableClients)
        var taken = 0
        while taken < listed.count, left > 0 {
            let client = listed[taken]
            taken += 1
            guard let state = clients[client] else { continue }
            if overdrawnClients.contains(client), state.restsUntil > time {
                restingClients.append(client)
                clientsRestUntil = min(clientsRestUntil ?? state.restsUntil, state.restsUntil)
                continue
            }
            clients[client]?.isListed = false
            var messages = 0
            if !takeIn(state.source, of: client, &left, &messages) { readable(client) }
            noteSent(messages, by: client, state.allowance, now: time)
            charge(since: &time, state.source, to: .client(client))
        }
        // Those that there was no time for go before those that had their turn.
        if taken < listed.count { readableClients = listed[taken...] + readableClients }
    }

    /// - Returns: Whether there is nothing more to take in, for now.
    private func takeIn(_ source: Source, of peer: ReplicaID, _ includingClients: Bool, _ isCut: Bool) -> Bool {
        for _ in 0..<partsOfConnection {
            if scheduler.isSpent(peer, includingClients: includingClients, includingCut: isCut) { return false }
            guard let part = source.nextPart(most: { $0.mostMessages }) else { return true }
            let queue: IngressQueue =
                switch part.stream {
                case .agreement: .agreement(peer)
                case .forwards: .forwards(peer)
                case .bulk: .bulk(peer)
                }
            if !scheduler.enqueue(part.content, bytes: part.bytes, in: queue) {
                if part.stream == .agreement { return true }
                dropped += UInt64(part.messages)
            }
            source.takePart()
            scheduler.charge(source.takeOpeningNanoseconds(), to: .agreement(peer))
        }
        return false
    }

    private func takeIn(
        _ source: Source,
        of client: ConnectionID,
        _ left: inout Int,
        _ messages: inout Int
    ) -> Bool {
        for _ in 0..<partsOfConnection {
            if left == 0 || scheduler.isSpent(client) { return false }
            guard let part = source.nextPart(most: { _ in clientMessages }),
                scheduler.enqueue(part.content, bytes: part.bytes, in: .client(client))
            else { return true }
            source.takePart()
            scheduler.charge(source.takeOpeningNanoseconds(), to: .client(client))
            left -= 1
            messages += part.messages
        }
        return false
    }

    private func charge(since time: inout Instant, _ source: Source, to queue: IngressQueue) {
        let now = clock()
        let spent = now.nanoseconds(since: time) + source.takeOpeningNanoseconds()
        scheduler.charge(spent, to: queue)
        noteSpent(spent, on: queue)
        time = now
    }

    /// Takes what is handled next. Its cost is then to be charged.
    ///
    /// - Parameter includingClients: Whether there is room for what clients send.
    package func next(includingClients: Bool) -> (queue: IngressQueue, content: any IngressContent)? {
        guard let taken = scheduler.next(includingClients: includingClients, includingCut: servesCutPeers) else {
            return nil
        }
        if taken.hasRoomAgain {
            switch taken.queue {
            case .agreement(let peer): readable(peer)
            case .client(let client): readable(client)
            case .forwards, .bulk: break
            }
        }
        return (taken.queue, taken.element)
    }

    /// Charges a queue with what a part of it cost, in nanoseconds.
    package func charge(_ nanoseconds: UInt64, to queue: IngressQueue) {
        scheduler.charge(nanoseconds, to: queue)
        noteSpent(nanoseconds, on: queue)
    }
}

extension PeerMessage.Stream {
    /// How many messages are handled at a time: so few that no part takes much longer than a signature check or two where senders are
    /// correct.
    fileprivate var mostMessages: Int {
        switch self {
        case .agreement: 16
        case .forwards: 1
        case .bulk: 1
        }
    }
}
