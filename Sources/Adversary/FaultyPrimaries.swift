import Agreement
import Messages

/// `silent`: a primary that takes requests and proposes nothing.
///
/// PBFT: replaced when a backup's request timer ends. Aardvark: replaced after one missed heartbeat. Source: PBFT section 4.4, Aardvark
/// section 4.3.
public struct SilentPrimary: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Holds its proposals back.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        switch message {
        case .prePrepare, .idle: .drop
        default: .pass
        }
    }
}

/// `empty-heartbeats`: a primary that takes requests, proposes nothing, and says all the time that it has nothing to propose.
///
/// PBFT: as `silent`. Aardvark: replaced when it has said so for 10 heartbeats while a backup holds a request that it handed to it.
/// Source: this project's IDLE, in place of the empty PRE-PREPAREs of Aardvark section 5.3.
public struct EmptyHeartbeats: ReplicaBehaviour {
    private var shown = SequenceNumber.zero

    /// Makes the behaviour.
    public init() {}

    /// Holds its proposals back, and names none of them.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        switch message {
        case .prePrepare:
            return .drop
        case .newView(let said):
            shown = SequenceNumber(said.claim.start.rawValue &+ UInt64(said.claim.chosen.count))
            return .pass
        case .idle(let said):
            return .replace(.idle(Idle(view: said.view, through: shown)))
        default:
            return .pass
        }
    }
}

/// `delay`: a primary that sends each proposal late.
///
/// PBFT: throughput falls to a few percent, and nobody replaces it while the delay stays below the request timer. Aardvark: it misses
/// the required throughput or the heartbeat and is replaced. Source: Aardvark table 2.
public struct DelayingPrimary: ReplicaBehaviour {
    private let nanoseconds: UInt64

    /// Delays by `nanoseconds`.
    public init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    /// Delays its proposals.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        if case .prePrepare = message { return .delay(nanoseconds) }
        return .pass
    }
}

/// `delay-below-timeout`: a primary that sends each proposal so late that the request timers of the backups just do not end.
///
/// PBFT: nobody replaces it, at a request or so a time-out. Aardvark: it misses the required throughput or the heartbeat. Source: Aardvark
/// section 3.2 (a slow primary).
public struct DelayBelowTimeout: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// Delays its proposals by two thirds of the first time-out.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        if case .prePrepare = message { return .delay(faulty.limits.viewChangeNanoseconds / 3 * 2) }
        return .pass
    }
}

/// `exclude-and-mute`: a primary that keeps f correct backups in the dark, while it and the other faulty replicas answer no client.
///
/// Both: f + 1 correct replicas agree with the faulty ones and answer; those left out learn of the batches from the votes of the others.
/// A read needs 2f + 1 equal answers, which those left out give late, so that it goes into the order. Source: Berger, Reiser and Bessani,
/// SRDS 2021.
public struct ExcludeAndMute: ReplicaBehaviour {
    private let excluded: [ReplicaID]

    /// Leaves some replicas out.
    public init(excluded: [ReplicaID]) {
        self.excluded = excluded
    }

    /// Tells them nothing of batches.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard excluded.contains(peer) else { return .pass }
        switch message {
        case .prePrepare, .vote, .committed, .batch: return .drop
        default: return .pass
        }
    }

    /// Answers nobody.
    public mutating func reply(_ reply: Reply, to client: ClientID, as faulty: inout FaultyReplica) -> Fate<Reply> {
        .drop
    }

    /// Answers no read.
    public mutating func answer(
        _ answer: ReadReply,
        to client: ClientID,
        as faulty: inout FaultyReplica
    ) -> Fate<ReadReply> { .drop }
}

/// `smart`: a primary that is as slow as it may be without being replaced: in its grace period, and while nothing is required of it, it
/// proposes just often enough to be no standstill, then just as much as is required.
///
/// PBFT: as `delay`. Aardvark: it costs its grace periods, and a tenth of the throughput for as long as it then meets a requirement that
/// rises. Source: Aardvark sections 5.3 and 6.3; Aublin, Ben Mokhtar and Quema (ICDCS 2013) section III.
public struct SmartPrimary: ReplicaBehaviour {
    private let monitoring: RobustnessLimits.Monitoring
    private var since: (view: View, at: UInt64)?
    private var last: (sequence: SequenceNumber, at: UInt64)?

    /// Keeps just above what these thresholds require.
    public init(_ monitoring: RobustnessLimits.Monitoring) {
        self.monitoring = monitoring
    }

    /// Delays its proposals.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .prePrepare(let said) = message else { return .pass }
        if let last, last.sequence == said.sequence { return .delay(last.at - min(last.at, faulty.now)) }
        if since?.view != said.view {
            since = (said.view, faulty.now)
            last = nil
        }
        // Of the time that a batch may take to be committed, some is left for its votes.
        let longest = monitoring.heartbeatNanoseconds * monitoring.progressHeartbeats * 3 / 4
        let factor = (faulty.watch?.graceFactor ?? 1) * (faulty.watch?.backOffFactor ?? 1)
        let graceEnd = (since?.at ?? 0) + monitoring.graceNanoseconds * factor
        var gap = longest
        if let required = faulty.watch?.required, faulty.now + longest >= graceEnd {
            let work = said.batch.requests.reduce(0) {
                $0 + monitoring.requestWork + UInt64($1.operationCount) * monitoring.operationWork
            }
            // Two in a hundred more than required.
            gap = min(longest, work * 980_000_000 / max(required, 1))
        }
        let at = max(faulty.now, min((last?.at ?? faulty.now) + gap, faulty.now + longest))
        last = (said.sequence, at)
        return .delay(at - faulty.now)
    }
}

/// `small-batches`: a primary that puts one request into each batch.
///
/// PBFT: stays, at a fraction of the throughput. Aardvark: misses the required throughput under load. Source: Aardvark section 4.3.
public struct SmallBatches: ReplicaBehaviour {
    /// Makes the behaviour.
    public init() {}

    /// One request a batch.
    public func adjust(_ limits: inout Limits) { limits.batchRequests = 1 }
}

/// `starve-client`: a primary that never orders the requests of one client.
///
/// PBFT: the client's request timer at the backups replaces it. Aardvark: the fairness rule does, after two proposals too many.
/// Source: Aardvark section 4.3 (fairness) and table 3.
public struct StarveClient: ReplicaBehaviour {
    private let victim: ClientID

    /// Starves `victim`.
    public init(victim: ClientID) {
        self.victim = victim
    }

    /// Does not hear the client.
    public mutating func receive(_ request: Request, as faulty: inout FaultyReplica) -> Fate<Request> {
        request.client == victim ? .drop : .pass
    }

    /// Does not hear those who speak for the client.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        if case .forward(let forward) = message, forward.request.claim.client == victim { return .drop }
        return .pass
    }
}

/// `equivocate`: a primary that proposes two different batches at one number, one to some backups and one to the others, and votes for
/// each of them towards those that it showed it to.
///
/// `equivocate-2-2` divides the cluster in halves, `equivocate-3-1` singles one backup out. `equivocate-and-lie` says in its VIEW-CHANGEs
/// besides that one of the two prepared there, it does not matter which. Both protocols: at most one of the two gets a quorum, so no two
/// correct replicas execute differently; a divided number is decided by the next view. Source: PBFT sections 4.2 and 4.4.
public struct EquivocatingPrimary: ReplicaBehaviour {
    /// How the backups are divided.
    public enum Division: Sendable {
        /// Half of the cluster sees the second batch.
        case halves
        /// One backup sees the second batch.
        case single
    }

    private let division: Division
    private let isLiar: Bool
    private var owns: [SequenceNumber: PrePrepare] = [:]
    private var others: [SequenceNumber: PrePrepare] = [:]
    private var lies: [View: ViewChange] = [:]

    /// Divides the backups.
    ///
    /// - Parameters:
    ///   - division: Who sees which batch.
    ///   - isLiar: Whether it goes on in its VIEW-CHANGEs.
    public init(_ division: Division, isLiar: Bool = false) {
        self.division = division
        self.isLiar = isLiar
    }

    private func seesOther(_ peer: ReplicaID, _ sequence: SequenceNumber, _ faulty: FaultyReplica) -> Bool {
        let peers = faulty.peers
        let count = division == .halves ? faulty.size.replicas / 2 : 1
        // Other backups at each number, so that all of them get to see both sides.
        guard let place = peers.firstIndex(of: peer) else { return false }
        return (place + Int(truncatingIfNeeded: sequence.rawValue)) % peers.count < count
    }

    /// Shows some backups another batch and its own COMMIT for it.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        switch message {
        case .prePrepare(let prePrepare):
            owns[prePrepare.sequence] = prePrepare
            guard seesOther(peer, prePrepare.sequence, faulty) else {
                vote(for: prePrepare, to: peer, &faulty)
                return .pass
            }
            let other = others[prePrepare.sequence] ?? Self.other(than: prePrepare, &faulty)
            others[prePrepare.sequence] = other
            vote(for: other, to: peer, &faulty)
            return .replace(.prePrepare(other))
        case .vote(let vote):
            guard seesOther(peer, vote.sequence, faulty), let other = others[vote.sequence], other.view == vote.view
            else {
                return .pass
            }
            return .replace(
                .vote(Vote(vote.phase, view: vote.view, sequence: vote.sequence, digest: other.batch.digest))
            )
        case .viewChange(let said) where isLiar && said.claim.replica == faulty.replica:
            let lie = lies[said.claim.view] ?? lie(about: said.claim, &faulty)
            lies[said.claim.view] = lie
            return .replace(.viewChange(Unverified(lie)))
        default:
            return .pass
        }
    }

    /// Votes for what a backup was shown: the primary's PREPARE is none, but it tries.
    private func vote(for prePrepare: PrePrepare, to peer: ReplicaID, _ faulty: inout FaultyReplica) {
        for phase in [Vote.Phase.prepare, .commit] {
            let vote = Vote(
                phase,
                view: prePrepare.view,
                sequence: prePrepare.sequence,
                digest: prePrepare.batch.digest
            )
            faulty.say(.vote(vote), to: peer, after: faulty.random.below(UInt64(2_000_000)))
        }
    }

    private func lie(about claim: ViewChange, _ faulty: inout FaultyReplica) -> ViewChange {
        let highest = claim.stable.rawValue.addingReportingOverflow(faulty.high.rawValue - faulty.low.rawValue)
        var prepared: [BatchClaim] = []
        for sequence in others.keys.sorted()
        where sequence > claim.stable && (highest.overflow || sequence.rawValue <= highest.partialValue) {
            let shown = [owns[sequence], others[sequence]].compactMap { $0 }.filter { $0.view < claim.view }
            guard let side = faulty.random.pick(shown) else { continue }
            prepared.append(BatchClaim(sequence, side.batch.digest, side.view))
        }
        return faulty.viewChange(like: claim, prepared: prepared, prePrepared: prepared)
    }

    /// A batch that a backup would accept as well: without the last request, or the same at another time.
    private static func other(than prePrepare: PrePrepare, _ faulty: inout FaultyReplica) -> PrePrepare {
        let batch = prePrepare.batch
        let later = Timestamp(nanoseconds: batch.time.nanoseconds &+ 1)
        let isCut = batch.requests.count > 1 && faulty.random.chance(perMille: 500)
        let requests = isCut ? Array(batch.requests.dropLast()) : batch.requests
        return PrePrepare(
            view: prePrepare.view,
            sequence: prePrepare.sequence,
            batch: requests.isEmpty ? batch : Batch(time: later, requests: requests)
        )
    }
}

/// `skip-sequence`: a primary that leaves a gap in the numbers, some proposals after its first, and goes on after it.
///
/// Both: nothing after the gap is executed; the primary is replaced by the request timer (PBFT) or the progress timer (Aardvark).
/// Source: PBFT section 4.2 (the low and high water marks bound the gap).
public struct SkipSequence: ReplicaBehaviour {
    private let distance: UInt64
    private let gap: UInt64
    /// The first number that it leaves out; the end of numbers until it has proposed something.
    private var first = UInt64.max

    /// Leaves out `gap` numbers from `distance` after its first proposal on.
    public init(after distance: UInt64, gap: UInt64) {
        self.distance = distance
        self.gap = gap
    }

    /// Moves what it says of numbers after the gap.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard faulty.isPrimary else { return .pass }
        if first == .max, case .prePrepare(let said) = message { first = said.sequence.rawValue &+ distance }
        switch message {
        case .prePrepare(let said) where said.sequence.rawValue >= first:
            let moved = SequenceNumber(said.sequence.rawValue &+ gap)
            return .replace(.prePrepare(PrePrepare(view: said.view, sequence: moved, batch: said.batch)))
        case .vote(let said) where said.sequence.rawValue >= first:
            let moved = SequenceNumber(said.sequence.rawValue &+ gap)
            return .replace(.vote(Vote(said.phase, view: said.view, sequence: moved, digest: said.digest)))
        default:
            return .pass
        }
    }

    /// Moves what it hears back, so that it goes on.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        guard faulty.isPrimary, first < .max, case .vote(let heard) = message,
            heard.sequence.rawValue >= first &+ gap
        else { return .pass }
        let moved = SequenceNumber(heard.sequence.rawValue - gap)
        return .replace(.vote(Vote(heard.phase, view: heard.view, sequence: moved, digest: heard.digest)))
    }
}

/// `bad-mac-to-some`: a primary whose proposals carry a wrong MAC for some backups, which therefore never take them.
///
/// Both: the others go on; those left out learn of the batches from their votes and fetch them. With f left out and f faulty ones
/// silent, nothing is agreed and the primary is replaced. Source: Aardvark section 3.1.
public struct BadMACToSome: ReplicaBehaviour {
    private let excluded: [ReplicaID]

    /// Leaves some replicas out.
    public init(excluded: [ReplicaID]) {
        self.excluded = excluded
    }

    /// What fails its MAC is discarded by the receiver's channel.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        if case .prePrepare = message, excluded.contains(peer) { return .drop }
        return .pass
    }
}

/// `corrupt-request`: a primary that changes a client's request in a batch and keeps the client's proof.
///
/// Both: no backup accepts the batch (in PBFT it is parked and never vouched for), the changed request is never executed, and the
/// primary is replaced. Source: PBFT section 4.2; Aardvark section 4.2.
public struct CorruptRequest: ReplicaBehaviour {
    private let perMille: Int
    private var corrupted: [SequenceNumber: PrePrepare] = [:]

    /// Corrupts some of the batches.
    public init(perMille: Int) {
        self.perMille = perMille
    }

    /// Changes a byte of an operation.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .prePrepare(let said) = message else { return .pass }
        if let known = corrupted[said.sequence], known.view == said.view { return .replace(.prePrepare(known)) }
        guard faulty.random.chance(perMille: perMille), let request = said.batch.requests.first,
            let operation = request.operations.first, let place = request.bytes.firstRange(of: operation)?.lowerBound
        else { return .pass }
        var victim = request.bytes
        victim[place] ^= 1
        guard let changed = try? Request(decoding: victim, in: 0..<victim.count) else { return .pass }
        let requests = [changed] + said.batch.requests.dropFirst()
        let batch = Batch(time: said.batch.time, requests: requests)
        let corrupt = PrePrepare(view: said.view, sequence: said.sequence, batch: batch)
        corrupted[said.sequence] = corrupt
        return .replace(.prePrepare(corrupt))
    }
}

/// `forge-request`: a primary that adds a request in a client's name to a batch.
///
/// Both: no backup accepts the batch, and the request is never executed. Source: PBFT section 4.2; Aardvark section 4.2.
public struct ForgeRequest: ReplicaBehaviour {
    private let perMille: Int
    private var forged: [SequenceNumber: PrePrepare] = [:]

    /// Adds a forged request to some of the batches.
    public init(perMille: Int) {
        self.perMille = perMille
    }

    /// Adds a forged request.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        guard case .prePrepare(let said) = message else { return .pass }
        if let known = forged[said.sequence], known.view == said.view { return .replace(.prePrepare(known)) }
        guard faulty.random.chance(perMille: perMille), let model = said.batch.requests.first, model.kind == .ordered
        else {
            return .pass
        }
        let fake = Request(
            client: model.client,
            session: model.session,
            number: RequestNumber(model.number.rawValue &+ 1),
            operations: model.operations,
            authenticator: faulty.forger
        )
        let batch = Batch(time: said.batch.time, requests: said.batch.requests + [fake])
        let forgery = PrePrepare(view: said.view, sequence: said.sequence, batch: batch)
        forged[said.sequence] = forgery
        return .replace(.prePrepare(forgery))
    }
}

/// Batches that a primary shows to everybody in place of its own, so that they are agreed on: votes are translated in both directions.
struct ShownBatches: Sendable {
    private var shown: [SequenceNumber: (own: PrePrepare, other: PrePrepare)] = [:]

    /// What is shown in place of a proposal, made at its first sending; nil for the proposal itself.
    mutating func other(than said: PrePrepare, make: (PrePrepare) -> PrePrepare?) -> PrePrepare? {
        if let known = shown[said.sequence], known.own.view == said.view { return known.other }
        guard let other = make(said) else { return nil }
        shown[said.sequence] = (said, other)
        return other
    }

    /// A vote for the own batch, as one for the other.
    func sent(_ vote: Vote) -> Fate<PeerMessage> {
        guard let pair = shown[vote.sequence], pair.own.view == vote.view, pair.own.batch.digest == vote.digest else {
            return .pass
        }
        return .replace(
            .vote(Vote(vote.phase, view: vote.view, sequence: vote.sequence, digest: pair.other.batch.digest))
        )
    }

    /// A vote for the other batch, as one for the own.
    func received(_ vote: Vote) -> Fate<PeerMessage> {
        guard let pair = shown[vote.sequence], pair.own.view == vote.view, pair.other.batch.digest == vote.digest else {
            return .pass
        }
        return .replace(
            .vote(Vote(vote.phase, view: vote.view, sequence: vote.sequence, digest: pair.own.batch.digest))
        )
    }
}

/// `duplicate-order`: a primary that orders requests again which it ordered before.
///
/// Both: at execution the second one is a no-op everywhere: exactly once. Source: PBFT section 4.1 (the last reply's timestamp).
public struct DuplicateOrder: ReplicaBehaviour {
    private var ordered: [Request] = []
    private var shown = ShownBatches()

    /// Makes the behaviour.
    public init() {}

    /// Adds an old request, before or after the new ones.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        switch message {
        case .prePrepare(let said):
            let earlier = ordered
            let other = shown.other(than: said) { Self.doubled($0, earlier, &faulty) }
            ordered.append(contentsOf: said.batch.requests)
            ordered.removeFirst(max(ordered.count - 64, 0))
            return other.map { .replace(.prePrepare($0)) } ?? .pass
        case .vote(let said): return shown.sent(said)
        default: return .pass
        }
    }

    /// Hears votes for what it showed.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        if case .vote(let heard) = message { return shown.received(heard) }
        return .pass
    }

    private static func doubled(
        _ said: PrePrepare,
        _ earlier: [Request],
        _ faulty: inout FaultyReplica
    ) -> PrePrepare {
        var requests = said.batch.requests
        if let old = faulty.random.pick(earlier) { requests.append(old) }
        if let new = requests.first, faulty.random.chance(perMille: 300) { requests.append(new) }
        if faulty.random.chance(perMille: 300) { requests.reverse() }
        let batch = Batch(time: said.batch.time, requests: requests)
        return PrePrepare(view: said.view, sequence: said.sequence, batch: batch)
    }
}

/// `bad-time`: a primary that proposes times far ahead, far behind, and at the end of time.
///
/// Both: a backup whose own clock disagrees parks the batch; it is executed only when f other backups find it right, and the agreed
/// time never goes back. Source: the rule of agreed time; PBFT's non-deterministic values, TOCS 2002 section 4.6.
public struct BadTime: ReplicaBehaviour {
    private var shown = ShownBatches()

    /// Makes the behaviour.
    public init() {}

    /// Changes the time of some batches.
    public mutating func send(_ message: PeerMessage, to peer: ReplicaID, as faulty: inout FaultyReplica) -> Fate<
        PeerMessage
    > {
        switch message {
        case .prePrepare(let said):
            let other = shown.other(than: said) { said in
                let time = said.batch.time.nanoseconds
                let near: [UInt64] = [time, time, time &- 1, time &+ 1, time &+ 5_000_000_000, time &- 5_000_000_000]
                let far: [UInt64] = [0, 1, time &+ 3_600_000_000_000, time / 2, .max - 1, .max]
                let choices = faulty.random.chance(perMille: 50) ? far : near
                let batch = Batch(
                    time: Timestamp(nanoseconds: faulty.random.pick(choices) ?? 0),
                    requests: said.batch.requests
                )
                return PrePrepare(view: said.view, sequence: said.sequence, batch: batch)
            }
            return other.map { .replace(.prePrepare($0)) } ?? .pass
        case .vote(let said): return shown.sent(said)
        default: return .pass
        }
    }

    /// Hears votes for what it showed.
    public mutating func receive(
        _ message: PeerMessage,
        from peer: ReplicaID,
        as faulty: inout FaultyReplica
    ) -> Fate<PeerMessage> {
        if case .vote(let heard) = message { return shown.received(heard) }
        return .pass
    }
}
