import Agreement
import Cryptography
import DurableStore
import Logging
import Messages
import NIOCore
import StateStore
import Transport

/// A replica on its event loop: links in and out, turns, and the timer. Everything here happens on that one loop.
///
/// A turn takes what has arrived, peers first, hands it to the core, and flushes each link that has something to send: one encryption
/// and one system call a link and turn, whatever the number of messages.
final class ReplicaRuntime: TransportDelegate, ReplicaOutlet {
    /// How much of what clients sent one turn takes, in messages without a signature, so that agreement never waits long behind it.
    private static let clientCostPerTurn = 256

    /// What a request costs in that unit: a signature check is far dearer than all else that is done for one.
    private let requestCost: Int

    /// How many frames of one peer a turn takes, so that the replica keeps answering while it catches up.
    private static let framesPerPeerAndTurn = 64

    /// The keys of everybody who may connect: of clients and administrators as they are now.
    let keys: ClusterKeys
    private let cluster: ClusterFile
    private let replica: ReplicaID
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let onFailure: (OperatorError) -> Void
    private var limiter = LogLimiter()
    // Set once, right after both exist: the core answers through this runtime.
    private var core: ReplicaCore?

    /// By replica: the link on which its messages arrive, and the one on which it is sent messages.
    private var inbound: [Link?]
    private var outbound: [Link?]
    /// By replica: what keeps the outbound link; nil for this replica, and for one without a valid key.
    private var dialers: [Dialer?]
    private var dirtyPeers = VoteSet()
    private var peersWithFrames = VoteSet()

    private var clientLinks: [Identity: ClientLink] = [:]
    /// Client links with something to read, each at most once, in the order of their turn.
    private var readableClients: [ClientLink] = []
    private var dirtyClients: [ClientLink] = []

    private var isTurnScheduled = false
    private var timer: Scheduled<Void>?
    private var timerDeadline: Instant?
    private var refusals: UInt64 = 0
    private var malformed: UInt64 = 0
    private var refusedFrames: UInt64 = 0
    private var closedLinks = LinkTotals()
    private let startedAt = NIODeadline.now()
    private var isStopped = false

    init(
        cluster: ClusterFile,
        replica: ReplicaID,
        key: SigningKey,
        limits: Limits,
        service: any ReplicatedService,
        storage: OpenStorage,
        recording: InputRecording?,
        workers: SignatureWorkers?,
        eventLoop: any EventLoop,
        logger: Logger,
        onFailure: @escaping (OperatorError) -> Void
    ) {
        self.cluster = cluster
        self.replica = replica
        keys = ClusterKeys(cluster: cluster, identity: .replica(replica.rawValue), key: key)
        self.eventLoop = eventLoop
        self.logger = logger
        self.onFailure = onFailure
        requestCost = cluster.switches.requestAuthentication == .signature ? 16 : 1
        inbound = Array(repeating: nil, count: cluster.size.replicas)
        outbound = Array(repeating: nil, count: cluster.size.replicas)
        dialers = Array(repeating: nil, count: cluster.size.replicas)
        core = ReplicaCore(
            cluster: cluster,
            replica: replica,
            key: key,
            limits: limits,
            service: service,
            storage: storage,
            recording: recording,
            workers: workers,
            outlet: self
        )
        // The cluster file knows those of the start only.
        keys.clientKey = { [weak self] client in self?.core?.key(of: client) }
    }

    /// Dials the peers, each with its dialer, from now on until ``stop()``.
    func dial(_ dialers: [Dialer?]) {
        self.dialers = dialers
        for dialer in dialers { dialer?.start() }
    }

    /// Ends the timer and the dialling; links are closed by their listeners and dialers.
    func stop() {
        isStopped = true
        for dialer in dialers { dialer?.stop() }
        timer?.cancel()
        timer = nil
        core?.stop()
    }

    // MARK: Links

    func linkOpened(_ link: Link) {
        switch (link.peer.role, link.direction) {
        case (.replica, .dialled):
            let peer = ReplicaID(UInt8(link.peer.number))
            outbound[peer.index] = link
            logger.info("peer connected", metadata: ["peer": "\(peer)", "address": "\(link.remoteAddress)"])
            core?.peerConnected(peer, now: .now())
            scheduleTurn()
        case (.replica, .accepted):
            let peer = ReplicaID(UInt8(link.peer.number))
            inbound[peer.index] = link
            dialers[peer.index]?.dialNow()
            // What the peer said while this link was down is lost, so it is asked again.
            core?.peerConnected(peer, now: .now())
            scheduleTurn()
        case (.client, _), (.administrator, _):
            clientLinks[link.peer] = ClientLink(link)
        }
    }

    func linkReadable(_ link: Link) {
        if link.peer.role == .replica {
            peersWithFrames.insert(ReplicaID(UInt8(link.peer.number)))
        } else if let client = clientLinks[link.peer], client.link === link {
            enqueue(client)
        }
        scheduleTurn()
    }

    func linkClosed(_ link: Link, reason: LinkCloseReason) {
        closedLinks.add(link.counters)
        switch reason {
        case .badFrame, .malformedFrame: refusedFrames += 1
        default: break
        }
        if link.peer.role == .replica {
            let index = Int(link.peer.number)
            if outbound[index] === link { outbound[index] = nil }
            if inbound[index] === link { inbound[index] = nil }
            if !isStopped {
                logger.info("peer link closed", metadata: ["peer": "r\(index)", "reason": "\(reason)"])
            }
        } else if clientLinks[link.peer]?.link === link {
            clientLinks[link.peer] = nil
            logger.debug("client link closed", metadata: ["client": "\(link.peer)", "reason": "\(reason)"])
        }
    }

    func connectionRefused(at place: ConnectionPlace, remoteAddress: String, reason: ConnectionRefusal) {
        guard !isStopped else { return }
        if case .listener = place { refusals += 1 }
        guard let suppressed = limiter.admit(.now()) else { return }
        logger.notice(
            "connection refused",
            metadata: [
                "place": "\(place)", "address": "\(remoteAddress)", "reason": "\(reason)",
                "suppressed": "\(suppressed)",
            ]
        )
    }

    private func enqueue(_ client: ClientLink) {
        guard !client.isQueued else { return }
        client.isQueued = true
        readableClients.append(client)
    }

    // MARK: Turns

    private func scheduleTurn() {
        guard !isTurnScheduled, !isStopped else { return }
        isTurnScheduled = true
        eventLoop.assumeIsolated().execute { self.turn() }
    }

    private func turn() {
        isTurnScheduled = false
        guard !isStopped, let core else { return }
        let now = ClockReading.now()
        core.takeVerdicts(now: now)
        let morePeers = core.takesMessages && readPeers(core, now)
        if core.takesRequests { readClients(core, now) }
        core.turnEnded(now: now)
        flush(core)
        setTimer(core)
        // What there is no room for is read when verdicts have come.
        let moreClients = core.takesRequests && !readableClients.isEmpty
        if morePeers || moreClients || core.hasWork { scheduleTurn() }
    }

    /// Signatures were checked on other threads.
    func signaturesChecked() {
        scheduleTurn()
    }

    /// The protocol log on disk has something to say.
    func logReported(_ report: ProtocolLog.Report) {
        guard !isStopped, let core else { return }
        core.logReported(report, now: .now())
        // What was held back leaves in the same turn as what it brought forth.
        scheduleTurn()
    }

    /// Takes what peers sent.
    ///
    /// - Returns: Whether something is left for the next turn.
    private func readPeers(_ core: ReplicaCore, _ now: ClockReading) -> Bool {
        let waiting = peersWithFrames
        peersWithFrames = VoteSet()
        for peer in cluster.size.members where waiting.contains(peer) {
            guard let link = inbound[peer.index] else { continue }
            var frames = 0
            while frames < Self.framesPerPeerAndTurn, let frame = link.nextFrame() {
                frames += 1
                for range in MessageRanges(frame) {
                    do throws(MalformedMessage) {
                        core.receive(try PeerMessage(decoding: frame, in: range), from: peer, now: now)
                    } catch {
                        onMalformed(link, error)
                        break
                    }
                }
            }
            if frames == Self.framesPerPeerAndTurn { peersWithFrames.insert(peer) }
        }
        return peersWithFrames.count > 0
    }

    /// Takes what clients sent: one message of each in turn, up to a bound.
    private func readClients(_ core: ReplicaCore, _ now: ClockReading) {
        var left = Self.clientCostPerTurn
        var position = 0
        while left > 0, position < readableClients.count {
            let client = readableClients[position]
            position += 1
            client.isQueued = false
            guard let (frame, range) = client.nextMessage() else { continue }
            do throws(MalformedMessage) {
                let message = try ClientMessage(decoding: frame, in: range)
                if case .request = message { left -= requestCost } else { left -= 1 }
                try receive(message, from: client, core, now)
                // Behind the others: each client gets its turn.
                enqueue(client)
            } catch {
                left -= 1
                onMalformed(client.link, error)
            }
        }
        readableClients.removeFirst(position)
    }

    private func receive(
        _ message: ClientMessage,
        from client: ClientLink,
        _ core: ReplicaCore,
        _ now: ClockReading
    ) throws(MalformedMessage) {
        switch message {
        case .request(let request):
            // A request on another identity's channel is refused here: nobody is ever blamed for what another sent.
            guard client.link.peer == request.claim.client.identity else { throw .badField(.request) }
            core.receive(request, now: now)
        case .read(let read):
            // Administrators do not use the service, so they have nothing to read.
            guard client.link.peer.role == .client else { throw .badField(.request) }
            core.receive(read, from: ClientID(client.link.peer.number), now: now)
        case .statusQuery(let tag):
            send(ReplicaAnswer.status(tag, status(core)).encoded, to: client)
        }
    }

    private func onMalformed(_ link: Link, _ error: MalformedMessage) {
        malformed += 1
        link.close(.local("malformed message: \(error)"))
    }

    // MARK: Sending

    func send(_ message: [UInt8], to recipient: Recipient) {
        switch recipient {
        case .replica(let peer):
            outbound[peer.index]?.send(message)
            dirtyPeers.insert(peer)
        case .others:
            for peer in cluster.size.members where peer != replica {
                outbound[peer.index]?.send(message)
                dirtyPeers.insert(peer)
            }
        }
    }

    func reply(_ message: [UInt8], to client: ClientID) {
        guard let link = clientLinks[client.identity] else { return }
        send(message, to: link)
    }

    func clientsChanged(_ clients: [ClientID]) {
        for client in clients {
            logger.notice("client key changed", metadata: ["client": "\(client)"])
            keys.forget(client.identity)
            guard let link = clientLinks[client.identity]?.link, link.peerKey != core?.key(of: client) else { continue }
            link.close(.local("its key was revoked"))
        }
    }

    private func send(_ message: [UInt8], to client: ClientLink) {
        client.link.send(message)
        guard !client.isDirty else { return }
        client.isDirty = true
        dirtyClients.append(client)
    }

    private func flush(_ core: ReplicaCore) {
        if let failure = core.failure {
            // What lies in the links' buffers may rest on what is lost.
            stop()
            return onFailure(failure)
        }
        for peer in cluster.size.members where dirtyPeers.contains(peer) {
            outbound[peer.index]?.flush()
        }
        dirtyPeers = VoteSet()
        for client in dirtyClients {
            client.isDirty = false
            client.link.flush()
        }
        dirtyClients.removeAll(keepingCapacity: true)
    }

    // MARK: Time

    private func setTimer(_ core: ReplicaCore) {
        guard core.deadline != timerDeadline else { return }
        timer?.cancel()
        timer = nil
        timerDeadline = core.deadline
        guard let deadline = core.deadline else { return }
        let at = NIODeadline.uptimeNanoseconds(deadline.nanoseconds)
        timer = eventLoop.assumeIsolated().scheduleTask(deadline: at) { self.timePassed() }
    }

    private func timePassed() {
        timerDeadline = nil
        guard !isStopped, let core else { return }
        core.timePassed(now: .now())
        flush(core)
        setTimer(core)
    }

    // MARK: Events and status

    func note(_ event: Event) {
        switch event {
        case .accused(let peer, let accusation):
            guard let suppressed = limiter.admit(.now()) else { return }
            logger.warning(
                "replica misbehaved",
                metadata: ["peer": "\(peer)", "accusation": "\(accusation.rawValue)", "suppressed": "\(suppressed)"]
            )
        case .blacklisted(let source):
            logger.warning(
                "a request with a wrong signature: its sender is blacklisted",
                metadata: ["sender": "\(source)"]
            )
        case .diverged(let sequence):
            logger.error(
                "a quorum has another state than this replica: its memory is damaged or its service is not deterministic",
                metadata: ["seq": "\(sequence.rawValue)"]
            )
        case .leftView(let view, let reason):
            logger.notice("leaves its view", metadata: ["for": "\(view.rawValue)", "because": "\(reason.rawValue)"])
        case .enteredView(let view):
            logger.notice(
                "enters a view",
                metadata: ["view": "\(view.rawValue)", "primary": "\(view.primary(in: cluster.size))"]
            )
        case .learning(let isLearning):
            logger.notice(
                isLearning
                    ? "lost its store: votes for nothing until what it may have said is past"
                    : "has learned enough to vote again"
            )
        case .fetchesState(let sequence):
            logger.notice("lacks the state of a stable checkpoint", metadata: ["seq": "\(sequence.rawValue)"])
        case .stalled(let sequence):
            guard let suppressed = limiter.admit(.now()) else { return }
            logger.notice("no progress", metadata: ["seq": "\(sequence.rawValue)", "suppressed": "\(suppressed)"])
        case .stable(let sequence):
            logger.debug("checkpoint stable", metadata: ["seq": "\(sequence.rawValue)"])
        case .dropped, .proposed, .executed, .rolledBack:
            break
        }
    }

    private func status(_ core: ReplicaCore) -> ReplicaStatus {
        let connected = cluster.size.members.filter { peer in
            inbound[peer.index]?.isOpen == true && outbound[peer.index]?.isOpen == true
        }
        var totals = closedLinks
        for link in (inbound + outbound).compactMap({ $0 }) + clientLinks.values.map(\.link) {
            totals.add(link.counters)
        }
        return core.status(
            of: replica,
            connectedPeers: connected,
            counters: [
                .init("uptime_milliseconds", UInt64((NIODeadline.now() - startedAt).nanoseconds / 1_000_000)),
                .init("cpu_microseconds", ProcessTime.cpuMicroseconds),
                .init("signature_threads", UInt64(core.signatureThreads)),
                .init("connections_refused", refusals),
                .init("frames_refused", refusedFrames),
                .init("messages_malformed", malformed),
                .init("clients_connected", UInt64(clientLinks.count)),
                .init("link_frames_in", totals.framesIn),
                .init("link_frames_out", totals.framesOut),
                .init("link_bytes_in", totals.bytesIn),
                .init("link_bytes_out", totals.bytesOut),
            ]
        )
    }
}

/// What passed through several links.
private struct LinkTotals {
    private(set) var framesIn: UInt64 = 0
    private(set) var framesOut: UInt64 = 0
    private(set) var bytesIn: UInt64 = 0
    private(set) var bytesOut: UInt64 = 0

    mutating func add(_ counters: LinkCounters) {
        framesIn += counters.framesIn
        framesOut += counters.framesOut
        bytesIn += counters.bytesIn
        bytesOut += counters.bytesOut
    }
}

/// A client's or administrator's link, and how far the frame that is being read was read.
private final class ClientLink {
    let link: Link
    var isQueued = false
    var isDirty = false
    private var frame: [UInt8] = []
    private var ranges = MessageRanges([])

    init(_ link: Link) {
        self.link = link
    }

    /// The next message: the frame it is in, and where.
    func nextMessage() -> (frame: [UInt8], range: Range<Int>)? {
        while true {
            if let range = ranges.next() { return (frame, range) }
            guard let next = link.nextFrame() else {
                frame = []
                return nil
            }
            frame = next
            ranges = MessageRanges(next)
        }
    }
}
