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
    private var eventLog: EventLog
    private let evidenceFiles: EvidenceFiles
    // Set once, right after both exist: the core answers through this runtime.
    private var core: ReplicaCore?

    /// By replica: the link on which its messages arrive, and the one on which it is sent messages.
    private var inbound: [PeerLink?]
    private var outbound: [Link?]
    /// By replica: what keeps the outbound link; nil for this replica, and for one without a valid key.
    private var dialers: [Dialer?]
    private var dirtyPeers = VoteSet()
    private var peersWithFrames = VoteSet()

    /// Queues apart; nil where the cluster file has them off: then it is first come, first served.
    private let ingress: IsolatedQueues?
    /// Which peers flood; nil likewise.
    private var floods: FloodWatch?
    private var lastConnection: UInt64 = 0

    private var clientLinks: [Identity: ClientLink] = [:]
    private var clientsByConnection: [ConnectionID: ClientLink] = [:]
    /// What clients that are not connected have left to send; only who has a key of this cluster's can have an entry.
    private var allowances: [Identity: ClientAllowance] = [:]
    /// Client links with something to read, each at most once, in the order of their turn.
    private var readableClients: [ClientLink] = []
    private var dirtyClients: [ClientLink] = []

    private var isTurnScheduled = false
    /// Whether a turn follows as soon as the sockets were read.
    private var isGoingOn = false
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
        evidenceDirectory: String?,
        recording: InputRecording?,
        workers: SignatureWorkers?,
        stateTransferRate: UInt64,
        interceptor: (any ReplicaInterceptor)?,
        eventLoop: any EventLoop,
        logger: Logger,
        onFailure: @escaping (OperatorError) -> Void
    ) {
        self.cluster = cluster
        self.replica = replica
        keys = ClusterKeys(cluster: cluster, identity: .replica(replica.rawValue), key: key)
        self.eventLoop = eventLoop
        self.logger = logger
        eventLog = EventLog(of: cluster.size, to: logger)
        evidenceFiles = EvidenceFiles(directory: evidenceDirectory, logger: logger)
        self.onFailure = onFailure
        requestCost = cluster.switches.requestAuthentication == .signature ? 16 : 1
        switch cluster.isolatedQueues {
        case .on:
            ingress = IsolatedQueues(
                size: cluster.size,
                limits: RobustnessLimits().scheduling,
                clientMessages: cluster.switches.requestAuthentication == .signature ? 1 : 8
            )
            floods = FloodWatch(
                size: cluster.size,
                replica: replica,
                limits: limits,
                flooding: RobustnessLimits().flooding
            )
        case .off: ingress = nil
        }
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
            stateTransferRate: stateTransferRate,
            interceptor: interceptor,
            outlet: self
        )
        // The cluster file knows those of the start only.
        keys.clientKey = { [weak self] client in self?.core?.key(of: client) }
    }

    /// Dials the peers, each with its dialer, from now on until ``stop()``.
    func dial(_ dialers: [Dialer?]) {
        self.dialers = dialers
        for dialer in dialers { dialer?.start() }
        core?.startInterceptor()
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
            let connection = nextConnection()
            inbound[peer.index] = PeerLink(link: link, connection: connection)
            ingress?.open(link, of: peer, as: connection)
            floods?.setDown(peer, false)
            dialers[peer.index]?.dialNow()
            // What the peer said while this link was down is lost, so it is asked again.
            core?.peerConnected(peer, now: .now())
            scheduleTurn()
        case (.client, _), (.administrator, _):
            let client = ClientLink(link, nextConnection())
            if let ingress, !ingress.open(link, as: client.connection, allowance: allowances[link.peer]) {
                return link.close(.local("there are as many clients as there may be"))
            }
            allowances[link.peer] = nil
            clientLinks[link.peer] = client
            clientsByConnection[client.connection] = client
        }
    }

    private func nextConnection() -> ConnectionID {
        lastConnection += 1
        return ConnectionID(lastConnection)
    }

    func linkReadable(_ link: Link) {
        if link.peer.role == .replica {
            let peer = ReplicaID(UInt8(link.peer.number))
            if let ingress { ingress.readable(peer) } else { peersWithFrames.insert(peer) }
        } else if let client = clientLinks[link.peer], client.link === link {
            if let ingress { ingress.readable(client.connection) } else { enqueue(client) }
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
            if let incoming = inbound[index], incoming.link === link {
                inbound[index] = nil
                ingress?.close(incoming.connection, of: ReplicaID(UInt8(index)))
                floods?.setDown(ReplicaID(UInt8(index)), true)
            }
            if !isStopped {
                logger.info("peer link closed", metadata: ["peer": "r\(index)", "reason": "\(reason)"])
            }
        } else if let client = clientLinks[link.peer], client.link === link {
            clientLinks[link.peer] = nil
            clientsByConnection[client.connection] = nil
            allowances[link.peer] = ingress?.close(client.connection)
            logger.debug("client link closed", metadata: ["client": "\(link.peer)", "reason": "\(reason)"])
        }
    }

    func connectionRefused(at place: ConnectionPlace, remoteAddress: String, reason: ConnectionRefusal) {
        guard !isStopped else { return }
        if case .listener = place { refusals += 1 }
        guard let suppressed = eventLog.limiter.admit(.now()) else { return }
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
        let isMore = ingress.map { serve($0, core, now) } ?? read(core, now)
        core.turnEnded(now: now)
        flush(core)
        setTimer(core)
        if isMore || core.hasWork(now: now.monotonic) { goOnSoon() }
    }

    /// Lets the sockets be read before the next turn: their loop runs tasks, and those that they add, as long as any is due, and reads
    /// nothing meanwhile. So what waits of one peer keeps no other one's messages from being read.
    private func goOnSoon() {
        guard !isGoingOn else { return }
        isGoingOn = true
        _ = eventLoop.assumeIsolated().scheduleTask(in: .microseconds(10)) {
            self.isGoingOn = false
            self.scheduleTurn()
        }
    }

    /// Takes what arrived, peers first.
    ///
    /// - Returns: Whether something is left for the next turn. What there is no room for is read when verdicts have come.
    private func read(_ core: ReplicaCore, _ now: ClockReading) -> Bool {
        let morePeers = core.takesMessages && readPeers(core, now)
        if core.takesRequests { readClients(core, now) }
        return morePeers || (core.takesRequests && !readableClients.isEmpty)
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
            guard let link = inbound[peer.index]?.link else { continue }
            var frames = 0
            while frames < Self.framesPerPeerAndTurn, let frame = link.nextFrame() {
                frames += 1
                for range in MessageRanges(frame) {
                    guard receive(frame, range, from: peer, link, core, now) else { break }
                }
            }
            if frames == Self.framesPerPeerAndTurn { peersWithFrames.insert(peer) }
        }
        return peersWithFrames.count > 0
    }

    /// Hands a message of a peer to the core.
    ///
    /// - Returns: false when it is none; then the link is closed.
    private func receive(
        _ frame: [UInt8],
        _ range: Range<Int>,
        from peer: ReplicaID,
        _ link: Link?,
        _ core: ReplicaCore,
        _ now: ClockReading
    ) -> Bool {
        do throws(MalformedMessage) {
            let message = try PeerMessage(decoding: frame, in: range)
            floods?.begins(message, from: peer, high: core.high, now: now.monotonic)
            core.receive(message, from: peer, now: now)
            floods?.ends()
            return true
        } catch {
            floods?.invalid(of: peer, now: now.monotonic)
            onMalformed(link, error)
            return false
        }
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
            if let status = status() { send(ReplicaAnswer.status(tag, status).encoded, to: client) }
        }
    }

    private func onMalformed(_ link: Link?, _ error: MalformedMessage) {
        malformed += 1
        link?.close(.local("malformed message: \(error)"))
    }

    // MARK: Turns with queues apart

    /// How long a turn takes messages out of the queues, in nanoseconds: so long that one flush serves many of them.
    private static let turnNanoseconds: UInt64 = 2_000_000

    /// Takes what arrived, in the order of the shares, and charges each sender with what it cost.
    ///
    /// - Returns: Whether something is left for the next turn.
    private func serve(_ ingress: IsolatedQueues, _ core: ReplicaCore, _ now: ClockReading) -> Bool {
        applyCuts(ingress)
        ingress.takeIn(includingClients: core.takesRequests)
        let start = Instant.now()
        var last = start
        while core.takesMessages, let (queue, part) = ingress.nextPart(includingClients: core.takesRequests) {
            let surchargeBefore = core.surcharge
            handle(part, from: queue, core, now)
            let time = Instant.now()
            let spent = Int64(time.nanoseconds(since: last)) + core.surcharge - surchargeBefore
            ingress.charge(UInt64(max(0, spent)), to: queue)
            last = time
            if time.nanoseconds(since: start) >= Self.turnNanoseconds { break }
        }
        return core.takesMessages && ingress.hasWork(includingClients: core.takesRequests)
    }

    private func handle(
        _ part: IsolatedQueues.Part,
        from queue: IngressQueue,
        _ core: ReplicaCore,
        _ now: ClockReading
    ) {
        var messages = part.messages
        for _ in 0..<part.count {
            guard let range = messages.next() else { return }
            switch queue {
            case .agreement(let peer), .forwards(let peer), .bulk(let peer):
                let incoming = inbound[peer.index]
                let link = incoming?.connection == part.connection ? incoming?.link : nil
                guard receive(part.frame, range, from: peer, link, core, now) else { return }
            case .client(let connection):
                guard let client = clientsByConnection[connection], client.link.isOpen else { return }
                do throws(MalformedMessage) {
                    try receive(try ClientMessage(decoding: part.frame, in: range), from: client, core, now)
                } catch {
                    return onMalformed(client.link, error)
                }
            }
        }
    }

    /// Tells the queues who is cut off now.
    private func applyCuts(_ ingress: IsolatedQueues) {
        guard let changes = floods?.takeChanges(), !changes.isEmpty, let floods else { return }
        ingress.setCut(floods.cutPeers)
        guard let suppressed = eventLog.limiter.admit(.now()) else { return }
        for change in changes {
            switch change {
            case .cut(let peer, _):
                logger.warning("peer floods: cut off", metadata: ["peer": "\(peer)", "suppressed": "\(suppressed)"])
            case .lifted(let peer):
                logger.notice("peer has its whole share again", metadata: ["peer": "\(peer)"])
            }
        }
    }

    func asked(_ recipient: Recipient, for message: PeerMessage) {
        floods?.asked(recipient, for: message)
    }

    func keep(_ evidence: Evidence) {
        evidenceFiles.keep(evidence)
    }

    func invalid(of peer: ReplicaID) {
        floods?.invalid(of: peer, now: .now())
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

    func outboundBytes(to peer: ReplicaID) -> Int { outbound[peer.index]?.outboundBytes ?? 0 }

    func reply(_ message: [UInt8], to client: ClientID) {
        guard let link = clientLinks[client.identity] else { return }
        ingress?.answered(link.connection)
        send(message, to: link)
    }

    func later(_ delay: UInt64, _ body: @escaping () -> Void) {
        let delay = TimeAmount.nanoseconds(Int64(clamping: delay))
        eventLoop.assumeIsolated().scheduleTask(in: delay) {
            guard !self.isStopped else { return }
            body()
            // What it sends leaves at the end of a turn.
            self.scheduleTurn()
        }
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

    private func deadline(of core: ReplicaCore) -> Instant? {
        [core.deadline, floods?.deadline, ingress?.deadline].compactMap(\.self).min()
    }

    /// A deadline moves with each message of the primary, so a timer that would fire before it is left to do so, and set again then.
    private func setTimer(_ core: ReplicaCore) {
        guard let deadline = deadline(of: core) else { return }
        if let timerDeadline, timerDeadline <= deadline { return }
        timer?.cancel()
        timerDeadline = deadline
        let at = NIODeadline.uptimeNanoseconds(deadline.nanoseconds)
        timer = eventLoop.assumeIsolated().scheduleTask(deadline: at) { self.timePassed() }
    }

    private func timePassed() {
        timerDeadline = nil
        guard !isStopped, let core else { return }
        let now = ClockReading.now()
        if let ingress, core.takesMessages, ingress.hasWork(includingClients: core.takesRequests) { scheduleTurn() }
        guard let deadline = deadline(of: core), deadline <= now.monotonic else { return setTimer(core) }
        floods?.timePassed(now: now.monotonic)
        core.timePassed(now: now)
        flush(core)
        setTimer(core)
        if let ingress { applyCuts(ingress) }
        if core.hasWork(now: now.monotonic) { scheduleTurn() }
    }

    // MARK: Events and status

    func note(_ event: Event) {
        floods?.note(
            event,
            areRequestsSigned: cluster.switches.requestAuthentication == .signature,
            now: .now()
        )
        eventLog.log(event)
    }

    /// What this replica says of itself; nil when it has stopped.
    func status() -> ReplicaStatus? {
        guard let core else { return nil }
        let connected = cluster.size.members.filter { peer in
            inbound[peer.index]?.link.isOpen == true && outbound[peer.index]?.isOpen == true
        }
        var totals = closedLinks
        for link in inbound.compactMap({ $0?.link }) + outbound.compactMap({ $0 }) + clientLinks.values.map(\.link) {
            totals.add(link.counters)
        }
        return core.status(
            of: replica,
            connectedPeers: connected,
            counters: [
                .init("uptime_milliseconds", UInt64((NIODeadline.now() - startedAt).nanoseconds / 1_000_000), .gauge),
                .init("cpu_microseconds", ProcessTime.cpuMicroseconds),
                .init("signature_threads", UInt64(core.signatureThreads), .gauge),
                .init("connections_refused", refusals),
                .init("frames_refused", refusedFrames),
                .init("messages_malformed", malformed),
                .init("ingress_parts_waiting", UInt64(ingress?.count ?? 0), .gauge),
                .init("ingress_bytes_waiting", UInt64(ingress?.bytes ?? 0), .gauge),
                .init("dropped_queue_full", ingress?.dropped ?? 0),
                .init("client_rests", ingress?.rests ?? 0),
                .init("clients_connected", UInt64(clientLinks.count), .gauge),
                .init("link_frames_in", totals.framesIn),
                .init("link_frames_out", totals.framesOut),
                .init("link_bytes_in", totals.bytesIn),
                .init("link_bytes_out", totals.bytesOut),
            ] + (floods?.counters(of: cluster.size.members.filter { $0 != replica }) ?? [])
        )
    }
}
