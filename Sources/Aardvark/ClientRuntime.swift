import Agreement
import Cryptography
import Logging
import Messages
import NIOCore
import Transport

/// A client on its event loop: a link to each replica, the engine, and the calls that wait. Everything here happens on that one loop.
final class ClientRuntime: TransportDelegate {
    typealias Completion = @Sendable (Result<[UInt8], ClientError>) -> Void

    private struct Call {
        let completion: Completion
        let deadline: Instant
    }

    private let cluster: ClusterFile
    private let client: ClientID
    private let configuration: Client.Configuration
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let keys: ClusterKeys
    private let makeInterceptor: (@Sendable () -> any ClientInterceptor)?
    private var interceptor: (any ClientInterceptor)?
    private var engine: ClientEngine
    private var effects: [ClientEngine.Effect] = []
    private var links: [Link?]
    private var dialers: [Dialer] = []
    private var dirty = VoteSet()
    /// The replicas that refused the last connection because of who this client is.
    private var refusing = VoteSet()

    private var calls: [UInt64: Call] = [:]
    private var nextTicket: UInt64 = 1
    /// Tickets in the order of their deadlines, which is that of their submission.
    private var expiring: ArraySlice<UInt64> = []

    private var startCompletion: (@Sendable (Result<Void, ClientError>) -> Void)?
    private var startDeadline: Scheduled<Void>?
    private var isTurnScheduled = false
    private var timer: Scheduled<Void>?
    private var timerDeadline: Instant?
    private var isRunning = false
    /// What operations fail with while the client does not run.
    private var reasonToRefuse = ClientError.closed

    init(
        cluster: ClusterFile,
        client: ClientID,
        key: SigningKey,
        configuration: Client.Configuration,
        interceptor: (@Sendable () -> any ClientInterceptor)?,
        eventLoop: any EventLoop,
        logger: Logger
    ) throws(OperatorError) {
        makeInterceptor = interceptor
        self.cluster = cluster
        self.client = client
        self.configuration = configuration
        self.eventLoop = eventLoop
        self.logger = logger
        keys = ClusterKeys(cluster: cluster, identity: client.identity, key: key)
        links = Array(repeating: nil, count: cluster.size.replicas)
        engine = ClientEngine(
            configuration: ClientEngine.Configuration(
                size: cluster.size,
                client: client,
                window: min(configuration.window, cluster.tuning.clientWindow),
                bundle: configuration.bundle,
                dissemination: cluster.switches.dissemination,
                retransmissionNanoseconds: UInt64(cluster.tuning.retransmissionMilliseconds) * 1_000_000
            ),
            authenticator: try cluster.authenticator(for: key)
        )
    }

    // MARK: Start and stop

    func start(_ completion: @escaping @Sendable (Result<Void, ClientError>) -> Void) {
        guard !isRunning, startCompletion == nil else { return completion(.failure(.closed)) }
        startCompletion = completion
        isRunning = true
        interceptor = makeInterceptor?()
        startInterceptor()
        for replica in cluster.replicas {
            let dialer = keys.dialer(
                to: replica.id,
                at: replica.clientEndpoint,
                purpose: .clients,
                eventLoop: eventLoop,
                delegate: self
            )
            guard let dialer else { continue }
            dialers.append(dialer)
            dialer.start()
        }
        startDeadline = schedule(in: configuration.connectTimeout) { $0.giveUpStarting() }
    }

    private func giveUpStarting() {
        guard let completion = startCompletion else { return }
        startCompletion = nil
        let connected = links.count { $0 != nil }
        stop()
        let needed = cluster.size.quorum
        if connected >= needed {
            completion(.failure(.timedOut))
        } else if refusing.count >= cluster.size.weakQuorum {
            completion(.failure(.notAdmitted(replicas: refusing.count)))
        } else {
            completion(.failure(.unreachable(connected: connected, needed: needed)))
        }
    }

    /// Disconnects for good, and fails what is outstanding and whatever is submitted later.
    func stop(_ reason: ClientError = .closed) {
        guard isRunning else { return }
        isRunning = false
        reasonToRefuse = reason
        startDeadline?.cancel()
        timer?.cancel()
        timer = nil
        for dialer in dialers { dialer.stop() }
        dialers = []
        if let completion = startCompletion {
            startCompletion = nil
            completion(.failure(.closed))
        }
        let waiting = calls
        calls = [:]
        expiring = []
        for ticket in waiting.keys.sorted() {
            waiting[ticket]?.completion(.failure(reason))
        }
    }

    // MARK: Operations

    func submit(_ operation: [UInt8], isReadOnly: Bool, _ completion: @escaping Completion) {
        guard isRunning, startCompletion == nil else { return completion(.failure(reasonToRefuse)) }
        guard operation.count <= MessageLimits.operationBytes else {
            let bytes = operation.count
            return completion(.failure(.operationTooLarge(bytes: bytes, limit: MessageLimits.operationBytes)))
        }
        let ticket = nextTicket
        nextTicket += 1
        let deadline = Instant.now().advanced(byNanoseconds: configuration.timeout.wholeNanoseconds)
        calls[ticket] = Call(completion: completion, deadline: deadline)
        expiring.append(ticket)
        if isReadOnly {
            engine.submitRead(operation, ticket: ticket)
        } else {
            engine.submit(operation, ticket: ticket)
        }
        scheduleTurn()
    }

    private func finish(_ ticket: UInt64, _ result: Result<[UInt8], ClientError>) {
        calls.removeValue(forKey: ticket)?.completion(result)
    }

    /// Fails the calls whose time is over.
    private func expire(_ now: Instant) {
        while let ticket = expiring.first {
            if let call = calls[ticket] {
                guard call.deadline <= now else { return }
                _ = engine.withdraw(ticket: ticket)
                finish(ticket, .failure(.timedOut))
            }
            expiring.removeFirst()
        }
    }

    private var nextExpiry: Instant? {
        while let ticket = expiring.first {
            if let call = calls[ticket] { return call.deadline }
            expiring.removeFirst()
        }
        return nil
    }

    // MARK: Links

    func linkOpened(_ link: Link) {
        links[Int(link.peer.number)] = link
        refusing.remove(ReplicaID(UInt8(link.peer.number)))
        if startCompletion != nil, engine.isClosed, links.count(where: { $0 != nil }) >= cluster.size.quorum {
            open(above: nil)
        } else {
            engine.connected(ReplicaID(UInt8(link.peer.number)), into: &effects)
            scheduleTurn()
        }
    }

    /// Opens a session with a number over that of earlier ones: the clock's, or the one above a session that replicas name.
    private func open(above current: SessionID?) {
        let proposal =
            current.map { SessionID($0.rawValue + 1) } ?? SessionID(ClockReading.now().wall.nanoseconds / 1_000)
        engine.open(proposal, now: .now(), into: &effects)
        scheduleTurn()
    }

    func linkReadable(_ link: Link) {
        let replica = ReplicaID(UInt8(link.peer.number))
        while let frame = link.nextFrame() {
            for range in MessageRanges(frame) {
                do throws(MalformedMessage) {
                    switch try ReplicaAnswer(decoding: frame, in: range) {
                    case .reply(let reply): engine.receive(reply, from: replica, into: &effects)
                    case .readReply(let reply): engine.receive(reply, from: replica, into: &effects)
                    case .status: break
                    }
                } catch {
                    link.close(.local("malformed message: \(error)"))
                    break
                }
            }
        }
        scheduleTurn()
    }

    func linkClosed(_ link: Link, reason: LinkCloseReason) {
        let index = Int(link.peer.number)
        if links[index] === link { links[index] = nil }
        logger.debug("link closed", metadata: ["replica": "r\(index)", "reason": "\(reason)"])
    }

    func connectionRefused(at place: ConnectionPlace, remoteAddress: String, reason: ConnectionRefusal) {
        logger.debug("not connected", metadata: ["place": "\(place)", "reason": "\(reason)"])
        // Nobody vouches for a refusal: it only explains in the end why too few replicas could be reached.
        guard case .dialer(let peer) = place else { return }
        switch reason {
        case .handshake(.refused(.unknownIdentity, _)), .handshake(.refused(.key, _)):
            refusing.insert(ReplicaID(UInt8(peer.number)))
        default:
            refusing.remove(ReplicaID(UInt8(peer.number)))
        }
    }

    // MARK: Turns

    private func scheduleTurn() {
        guard !isTurnScheduled, isRunning else { return }
        isTurnScheduled = true
        eventLoop.assumeIsolated().execute { self.turn() }
    }

    private func turn() {
        isTurnScheduled = false
        guard isRunning else { return }
        let now = Instant.now()
        // Completions submit the next operations, which travel with this turn's.
        perform()
        engine.flush(now: now, into: &effects)
        perform()
        flush()
        setTimer()
    }

    private func perform() {
        var next = 0
        var isOver = false
        while next < effects.count {
            let effect = effects[next]
            next += 1
            switch effect {
            case .sendToPrimary(let request, let replica): send(request, to: replica)
            case .sendToAll(let request):
                for replica in cluster.size.members { send(request, to: replica) }
            case .sendRead(let read, let whole): send(read, whole: whole)
            case .sessionOpened:
                startDeadline?.cancel()
                let completion = startCompletion
                startCompletion = nil
                completion?(.success(()))
            case .sessionRefused(let current): open(above: current)
            case .completed(let ticket, let result): finish(ticket, .success(result))
            case .resultTooLarge(let ticket): finish(ticket, .failure(.resultTooLarge))
            case .superseded(let ticket):
                finish(ticket, .failure(.superseded))
            case .sessionEnded:
                isOver = true
            }
        }
        effects.removeAll(keepingCapacity: true)
        // Dialling on would only take the links of the process that uses the identity now.
        if isOver { stop(.superseded) }
    }

    private func send(_ request: Request, to replica: ReplicaID) {
        guard let interceptor else {
            links[replica.index]?.send(request.bytes)
            dirty.insert(replica)
            return
        }
        depart(interceptor.outgoing(request, to: replica, in: engine.view))
    }

    private func send(_ read: ReadRequest, whole: ReplicaID) {
        let digestOnly = read.encoded
        let complete = ReadRequest(tag: read.tag, wantsResult: true, operation: read.operation).encoded
        for replica in cluster.size.members {
            links[replica.index]?.send(replica == whole ? complete : digestOnly)
            dirty.insert(replica)
        }
    }

    private func flush() {
        for replica in cluster.size.members where dirty.contains(replica) {
            links[replica.index]?.flush()
        }
        dirty = VoteSet()
    }

    // MARK: Interceptor

    /// A client that sends more than replicas take keeps its connections: what waits in them has this bound.
    private static let mostInterceptedBytes = 4 << 20

    private func depart(_ departures: [ClientDeparture]) {
        for departure in departures {
            guard let link = links[departure.replica.index], link.outboundBytes < Self.mostInterceptedBytes else {
                continue
            }
            link.send(departure.request.bytes)
            dirty.insert(departure.replica)
        }
    }

    /// Lets the interceptor know again and again that its period has passed.
    private func startInterceptor() {
        guard let interceptor, let period = interceptor.period else { return }
        _ = schedule(in: .nanoseconds(Int64(clamping: period))) { runtime in
            guard runtime.isRunning else { return }
            runtime.depart(interceptor.timePassed(in: runtime.engine.view))
            runtime.flush()
            runtime.startInterceptor()
        }
    }

    // MARK: Time

    private func setTimer() {
        let deadline = [engine.deadline, nextExpiry].compactMap { $0 }.min()
        guard let deadline else {
            timer?.cancel()
            timer = nil
            timerDeadline = nil
            return
        }
        // The deadline moves with every operation; an earlier wake-up only finds nothing to do.
        if timer != nil, let timerDeadline, timerDeadline <= deadline { return }
        timer?.cancel()
        timerDeadline = deadline
        let at = NIODeadline.uptimeNanoseconds(deadline.nanoseconds)
        timer = eventLoop.assumeIsolated().scheduleTask(deadline: at) { self.timePassed() }
    }

    private func timePassed() {
        timer = nil
        timerDeadline = nil
        guard isRunning else { return }
        let now = Instant.now()
        expire(now)
        engine.timePassed(now: now, into: &effects)
        perform()
        flush()
        setTimer()
    }

    private func schedule(in delay: Duration, _ body: @escaping (ClientRuntime) -> Void) -> Scheduled<Void> {
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(Int64(clamping: delay.wholeNanoseconds))) {
            body(self)
        }
    }
}

extension ClusterFile {
    /// What a client with this key authenticates its requests with.
    ///
    /// - Throws: When the file names a replica with a key that is not valid.
    package func authenticator(for key: SigningKey) throws(OperatorError) -> RequestAuthenticator {
        switch switches.requestAuthentication {
        case .signature:
            return .signature(key, cluster: clusterID)
        case .macVector:
            var shared: [PairwiseKey] = []
            for replica in replicas {
                guard let pairwise = PairwiseKey(own: key, peer: replica.publicKey, cluster: clusterID) else {
                    throw OperatorError(
                        .configuration,
                        "\(path): the public key of replica \(replica.id.rawValue) is not a valid key"
                    )
                }
                shared.append(pairwise)
            }
            return .macVector(shared)
        }
    }
}

extension Duration {
    /// Whole nanoseconds, 0 for less than none, and the most that fit for more.
    var wholeNanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (product, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, carry) = product.addingReportingOverflow(UInt64(attoseconds / 1_000_000_000))
        return overflow || carry ? .max : sum
    }
}
