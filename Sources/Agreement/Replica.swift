import Cryptography
import Invariants
import Messages

/// A replica of PBFT and Aardvark as a pure state machine: one value, no I/O, no clock, no random number, no thread.
///
/// The shell hands it inputs through the `…(now:into:)` methods, each of which appends effects to the caller's list. The shell carries
/// them out in their order and hands the results back as inputs. At the end of each turn it calls ``turnEnded(now:into:)``, where the
/// primary makes its batches, and it calls ``timePassed(now:into:)`` when ``deadline`` has come. The same inputs give the same effects.
///
/// The methods are spread over files by topic: requests, ordering, execution and checkpoints, view change, new view, catch-up.
public struct Replica: ~Copyable {
    let configuration: ReplicaConfiguration
    var signer: any Signer

    /// The view that this replica is in, or that it has left its last one for.
    public internal(set) var view = View(0)
    /// Whether this replica is active in ``view``; otherwise it waits for that view's NEW-VIEW and casts no vote.
    public internal(set) var isActive = true
    /// The last view in which this replica was active: the votes in the log are of this view.
    var logView = View(0)

    /// The most requests of a batch that this replica proposes where it is to be less than ``Limits/batchRequests``.
    var mostProposed: Int?

    /// The last batch that was executed and is committed.
    public internal(set) var executed = SequenceNumber.zero

    /// The batch that the shell executes now.
    var executing: BatchUnderExecution?
    /// The batch after ``executed`` when it was executed before it is known to be committed.
    var tentative: TentativeBatch?

    /// The agreed time of the last executed batch.
    var agreedTime = Timestamp.zero

    var log: MessageLog
    var clients: ClientTable
    var checkpoints: CheckpointTracker

    /// The VIEW-CHANGE of each replica for the highest view, by replica; this one's own among them.
    var viewChanges: [ViewChange?]
    /// By the peer that handed it over: a NEW-VIEW that is not complete here yet. So a peer whose NEW-VIEW cannot be completed is in nobody
    /// else's way.
    var pendingNewViews: [PendingNewView?]
    /// The NEW-VIEW that began ``logView``, with its VIEW-CHANGEs, for replicas that missed it; nil in view 0.
    var installed: InstalledNewView?
    /// By replica: messages of views to come.
    var early: [EarlyMessages]
    /// How often T was doubled: once with each view that executed nothing.
    var viewChangeDoublings: UInt64 = 0
    /// When the NEW-VIEW is overdue; nil before 2f + 1 VIEW-CHANGEs are here.
    var newViewDeadline: Instant?
    /// When this replica's VIEW-CHANGE is sent again.
    var viewChangeResend: Instant?
    var viewChangeResendNanoseconds: UInt64
    /// What the request timer watches, and when it is overdue.
    var watched: Watch?
    var requestDeadline: Instant?
    /// Whether the watched request had its time twice, because this replica itself was away.
    var hasWaitedAgain = false
    /// Whether the primary was handed the watched request, where clients send to all replicas themselves.
    var isWatchedForwarded = false
    /// What was certified when the request timer was started.
    var certifiedWhenWatched = SequenceNumber.zero
    /// Why this replica would leave its view if it hears enough peers.
    var suspicion: PendingSuspicion?
    /// How often a suspicion was given up in a row, and what was executed at the last time.
    var forgivenDoublings: UInt64 = 0
    var executedWhenForgiven = SequenceNumber.zero
    /// What was executed when this replica last gave a view away because it lacked the state to lead it.
    var abdicatedAt: SequenceNumber?
    var pings: Pings
    /// The numbers of proposals of which requests are missing here, and when those are asked for.
    var awaiting: [SequenceNumber] = []
    var requestFetch: Instant?
    /// The highest number for which the primary of this view has proposed a batch here.
    var highestProposed = SequenceNumber.zero

    /// Who may ask for what; nil where requests are not signed, so that nobody can be blamed for one.
    var admission: Admission?

    /// The watch over the primary; nil where ``ProtocolSwitches/regularViewChanges`` is off.
    var primaryWatch: PrimaryWatch?

    /// The highest number that ever prepared here, in any view: what reads wait for.
    var highestPrepared = SequenceNumber.zero
    /// Where the last of the records is by which an executed batch was prepared here.
    var executedPosition = LogPosition.start
    var reads = WaitingReads()

    /// The stable checkpoint whose state is being fetched.
    var stateTarget: SequenceNumber?
    /// What peers that missed a moment may ask for.
    var past = PastBatches()
    /// What this replica has missed, when it is little.
    var missed = MissedBatches()
    /// Whether this replica's state is not what a quorum has signed, so that only another one helps.
    var hasDiverged = false

    /// The primary's: the number of its next proposal.
    var nextSequence = SequenceNumber(1)
    /// The primary's: the number of its last proposal with a request that is not long.
    var lastShort = SequenceNumber.zero
    /// The primary's: the time of its last proposal.
    var proposedTime = Timestamp.zero

    /// The position of the last log record.
    var logPosition = LogPosition.start

    /// When peers are asked for what was missed, unless something moves before; nil while nothing is owed.
    var stallDeadline: Instant?
    var stallNanoseconds: UInt64
    /// Whether ``stallDeadline`` is the long one, of a replica that knows of nothing missing.
    var isIdle = false
    /// The highest number between the water marks that a PRE-PREPARE or a vote named: work is owed up to it.
    var highestNamed = SequenceNumber.zero
    /// The highest number that a quorum has signed as a checkpoint, as far as this replica has seen.
    var highestCertified = SequenceNumber.zero
    /// The highest number that f + 1 peers say they have executed, and what each said, by replica.
    var highestReported = SequenceNumber.zero
    var reported: [SequenceNumber]
    /// A message beyond what can be used here arrived: the others are ahead.
    var isBehind = false
    /// Until when a peer's next CATCH-UP is ignored, by replica.
    var catchUpAllowed: [Instant]
    /// Until when a peer is not sent the NEW-VIEW again, by replica.
    var helpAllowed: [Instant]
    /// What each peer may still be sent in answer to its FETCHes, by replica.
    var allowances: [AnswerAllowance]
    /// The peers that were asked for what is missing and have sent no certificate since.
    var askedForCertificate = VoteSet()

    /// What a replica that lost its store has to find out before it votes; nil for a replica that votes.
    var learning: Learning?

    /// Makes a replica in its initial state: view 0, nothing executed.
    ///
    /// - Parameters:
    ///   - configuration: Limits without a ``Limits/problem``; a replica number inside the cluster.
    ///   - signer: The replica's identity.
    public init(configuration: ReplicaConfiguration, signer: any Signer) {
        invariant(configuration.limits.problem == nil, configuration.limits.problem ?? "")
        invariant(configuration.size.contains(configuration.replica), "a replica outside its cluster")
        self.configuration = configuration
        self.signer = signer
        let widening = configuration.mutations.contains(.ignoresWaterMarks) ? 2 : 1
        log = MessageLog(window: widening * configuration.limits.logWindow)
        clients = ClientTable(
            clients: configuration.clients,
            limits: configuration.limits,
            mutations: configuration.mutations
        )
        checkpoints = CheckpointTracker(
            size: configuration.size,
            window: configuration.limits.logWindow,
            mutations: configuration.mutations
        )
        viewChanges = Array(repeating: nil, count: configuration.size.replicas)
        pendingNewViews = Array(repeating: nil, count: configuration.size.replicas)
        early = Array(repeating: EarlyMessages(), count: configuration.size.replicas)
        viewChangeResendNanoseconds = configuration.limits.stallNanoseconds
        stallNanoseconds = configuration.limits.stallNanoseconds
        helpAllowed = Array(repeating: Instant(nanoseconds: 0), count: configuration.size.replicas)
        allowances = Array(repeating: AnswerAllowance(), count: configuration.size.replicas)
        if configuration.switches.requestAuthentication == .signature {
            let limits = configuration.limits
            admission = Admission(window: limits.clientWindow, limits: limits.resending)
        }
        if configuration.switches.regularViewChanges { primaryWatch = PrimaryWatch(configuration) }
        pings = Pings(size: configuration.size)
        reported = Array(repeating: .zero, count: configuration.size.replicas)
        catchUpAllowed = Array(repeating: Instant(nanoseconds: 0), count: configuration.size.replicas)
    }

    /// Of how many clients, at the most, evidence is kept.
    public static let mostAccusedClients = 64

    /// The primary of ``view``.
    public var primary: ReplicaID { view.primary(in: configuration.size) }

    /// Whether this replica is the primary of its view, and active in it.
    public var isPrimary: Bool { isActive && primary == configuration.replica }

    /// The key that a client or an administrator authenticates requests and connections with now: known to be committed.
    ///
    /// - Returns: nil when there is no such client, or it was removed.
    public func key(of client: ClientID) -> PublicKey? { clients.key(of: client) }

    /// The last stable checkpoint, which is the low water mark.
    public var stable: SequenceNumber { log.low }

    /// The high water mark.
    public var high: SequenceNumber { log.high }

    /// When ``timePassed(now:into:)`` wants to be called; nil for never.
    public var deadline: Instant? {
        let ofRequests = Self.earlier(Self.earlier(requestDeadline, requestFetch), suspicion?.nextAsk)
        let ofViewChanges = Self.earlier(newViewDeadline, viewChangeResend)
        let others = Self.earlier(ofRequests, ofViewChanges)
        let ofWatch = Self.earlier(primaryWatch?.deadline, missedDeadline)
        return Self.earlier(Self.earlier(stallDeadline, ofWatch), others)
    }

    private static func earlier(_ first: Instant?, _ second: Instant?) -> Instant? {
        guard let first, let second else { return first ?? second }
        return min(first, second)
    }

    // MARK: Inputs

    /// A message came from a peer, over its authenticated channel.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        invariant(configuration.size.contains(peer) && peer != configuration.replica, "a peer that is none")
        noteHeard(peer)
        switch message {
        case .prePrepare(let prePrepare): onPrePrepare(prePrepare, from: peer, now: now, into: &effects)
        case .digestPrePrepare(let proposal): onDigestPrePrepare(proposal, from: peer, now: now, into: &effects)
        case .requests(let requests): onRequests(requests, now: now, into: &effects)
        case .vote(let vote): onVote(vote, from: peer, now: now, into: &effects)
        case .checkpoint(let checkpoint): onCheckpoint(checkpoint, into: &effects)
        case .forward(let request): onForward(request, from: peer, now: now, into: &effects)
        case .catchUp(let catchUp): onCatchUp(catchUp, from: peer, now: now, into: &effects)
        case .committed(let committed): onCommitted(committed, from: peer, into: &effects)
        case .certificate(let certificate): onCertificate(certificate, from: peer, into: &effects)
        case .viewChange(let viewChange): onViewChange(viewChange, from: peer, now: now, into: &effects)
        case .newView(let newView): onNewView(newView, from: peer, into: &effects)
        case .fetch(let fetch): onFetch(fetch, from: peer, now: now, into: &effects)
        case .batch(let body): onBatch(body, now: now, into: &effects)
        case .idle(let idle): onIdle(idle, from: peer, now: now, into: &effects)
        case .ping(let ping): onPing(ping, from: peer, now: now, into: &effects)
        case .stateRequest, .stateAnswer: invariantViolated("state transfer is the shell's")
        }
        watchForStall(now)
    }

    /// A link to a peer came up: ask it for what was missed while it was down.
    public mutating func peerConnected(_ peer: ReplicaID, now: ClockReading, into effects: inout [Effect]) {
        ask(.replica(peer), into: &effects)
        askSoon(now)
        ping(peer, now: now, into: &effects)
        watchForStall(now)
    }

    /// A turn of the shell ends: everything that arrived was handed in. The primary proposes what waits.
    public mutating func turnEnded(now: ClockReading, into effects: inout [Effect]) {
        propose(now: now, into: &effects)
        judgePrimary(now: now, into: &effects)
        watchForStall(now)
        watchRequests(now)
        pursueMissed(now: now, into: &effects)
        pursueSuspicion(now: now, into: &effects)
    }

    /// ``deadline`` has come.
    public mutating func timePassed(now: ClockReading, into effects: inout [Effect]) {
        if let due = stallDeadline, due <= now.monotonic {
            stallDeadline = nil
            onStall(now: now, into: &effects)
        }
        if let due = viewChangeResend, due <= now.monotonic {
            resendViewChange(now: now, into: &effects)
        }
        if let due = newViewDeadline, due <= now.monotonic {
            // The new primary had its time: the next one's turn, with twice as much.
            leaveView(for: View(view.rawValue + 1), because: .newViewTimer, now: now, into: &effects)
        }
        if let due = requestFetch, due <= now.monotonic {
            fetchRequests(into: &effects)
        }
        pursueMissed(now: now, into: &effects)
        onRequestTimer(now: now, into: &effects)
        passWatchTime(now: now, into: &effects)
        watchForStall(now)
        watchRequests(now)
        judgePrimary(now: now, into: &effects)
        pursueSuspicion(now: now, into: &effects)
    }

    // MARK: What the parts share

    /// Appends a record to the log and gives its position, which messages that rest on it name.
    mutating func persist(_ record: LogRecord, into effects: inout [Effect]) -> LogPosition {
        logPosition = LogPosition(rawValue: logPosition.rawValue + 1)
        effects.append(.persist(record, at: logPosition))
        return logPosition
    }

    func drop(_ reason: DropReason, into effects: inout [Effect]) {
        effects.append(.note(.dropped(reason)))
    }

    /// A replica did what no correct one does. A primary that is watched is left for it at once: there is nothing to wait for.
    mutating func accuse(_ replica: ReplicaID, of accusation: Accusation, into effects: inout [Effect]) {
        effects.append(.note(.accused(replica, accusation)))
        if isActive, replica == primary { primaryWatch?.monitor.misbehaved(accusation) }
    }
}
