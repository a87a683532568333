import Messages

/// From a suspicion of this replica's own to its VIEW-CHANGE.
///
/// A replica that is cut off from the others sees a primary that is silent. Were it to leave its view for that, it would be alone in the
/// next one, and when it is back it could cast no vote, and send no tentative reply, until the others leave theirs: one of the f faults
/// would be used up by a network that is whole again. So a suspicion first asks all peers for a sign of life, and the view is left
/// when 2f of them have given one, with whom a view change can succeed. The correct peers are as many, so nobody can keep a replica in a
/// view with a faulty primary; the price is one round trip. (PBFT leaves at once; see section 4.4.)
extension Replica {
    /// This replica finds that the primary of its view should be replaced.
    mutating func suspect(_ reason: ViewChangeReason, now: ClockReading, into effects: inout [Effect]) {
        guard suspicion == nil else { return }
        suspicion = PendingSuspicion(reason: reason, since: now.monotonic)
        pursueSuspicion(now: now, into: &effects)
    }

    /// Asks, leaves the view, or gives the primary its time again: the end of a turn, and when ``PendingSuspicion/nextAsk`` has come.
    mutating func pursueSuspicion(now: ClockReading, into effects: inout [Effect]) {
        guard let pending = suspicion, isActive else { return }
        let took = now.monotonic.nanoseconds(since: pending.since)
        if pending.heard.count + 1 >= configuration.size.quorum {
            suspicion = nil
            if took <= patience {
                leaveView(for: View(view.rawValue + 1), because: pending.reason, now: now, into: &effects)
            } else {
                forgive(now: now, into: &effects)
            }
        } else if pending.nextAsk <= now.monotonic {
            for peer in configuration.size.members where peer != configuration.replica {
                ping(peer, now: now, into: &effects)
            }
            suspicion?.asked(now: now.monotonic, atMostEach: configuration.limits.stallNanoseconds)
        }
    }

    /// A peer said something, whatever it was.
    mutating func noteHeard(_ peer: ReplicaID) {
        suspicion?.heard.insert(peer)
    }

    /// How old a suspicion may be when 2f peers are heard. One that took longer is about this replica's own absence. Doubled as long as
    /// nothing is executed in between, or a slow network would keep a faulty primary for ever.
    private var patience: UInt64 { configuration.limits.stallNanoseconds << forgivenDoublings }

    /// This replica was cut off, so nobody is to blame: the primary has its time again, and what was handed over in vain.
    private mutating func forgive(now: ClockReading, into effects: inout [Effect]) {
        forgivenDoublings = executed > executedWhenForgiven ? 0 : min(forgivenDoublings + 1, 6)
        executedWhenForgiven = executed
        watched = nil
        requestDeadline = nil
        beginWatch(now)
        clients.forgetForwards()
        handOverWaiting(now: now, into: &effects)
        watchRequests(now)
    }

    // MARK: The request timer

    /// The request timer is due: this replica was away itself, or hands the primary what it may lack, or cannot tell, or suspects it.
    mutating func onRequestTimer(now: ClockReading, into effects: inout [Effect]) {
        guard let due = requestDeadline, due <= now.monotonic else { return }
        if waitAgain(sinceDue: due, now: now) || waitWhileFetching(now) || forwardWatched(now: now, into: &effects) {
            return
        }
        requestDeadline = nil
        suspect(.requestTimer, now: now, into: &effects)
    }

    /// While it lacks a stable checkpoint's state this replica cannot tell whether what it watches was executed. As long as the others certify checkpoints,
    /// they serve, and it waits; when they do not, they may need its VIEW-CHANGE.
    private mutating func waitWhileFetching(_ now: ClockReading) -> Bool {
        guard executed < log.low, highestCertified > certifiedWhenWatched else { return false }
        certifiedWhenWatched = highestCertified
        requestDeadline = now.monotonic.advanced(byNanoseconds: viewTimeout)
        return true
    }

    // MARK: Signs of life

    /// Asks a peer for an answer, by which it is heard and the round trip to it is measured.
    mutating func ping(_ peer: ReplicaID, now: ClockReading, into effects: inout [Effect]) {
        primaryWatch?.asks(now: now.monotonic)
        let question = pings.question(to: peer, now: now.monotonic)
        effects.append(.send(.ping(question), to: .replica(peer), after: .start))
    }

    mutating func onPing(_ ping: Ping, from peer: ReplicaID, now: ClockReading, into effects: inout [Effect]) {
        if ping.isAnswer {
            guard let took = pings.answered(ping.number, by: peer, now: now.monotonic) else {
                return drop(.uselessPing, into: &effects)
            }
            primaryWatch?.monitor.roundTrip(took, to: peer)
        } else {
            guard pings.mayAnswer(peer, now: now.monotonic) else { return drop(.uselessPing, into: &effects) }
            let answer = Ping(isAnswer: true, number: ping.number)
            effects.append(.send(.ping(answer), to: .replica(peer), after: .start))
        }
    }
}

/// A suspicion of the primary on which this replica has not acted: it does not know yet whether it hears the others.
struct PendingSuspicion: Sendable {
    /// What the view is left for.
    let reason: ViewChangeReason
    let since: Instant
    /// The peers that were heard since.
    var heard = VoteSet()
    /// When the peers are asked for a sign of life.
    private(set) var nextAsk: Instant
    private var interval: UInt64 = 20_000_000

    init(reason: ViewChangeReason, since: Instant) {
        self.reason = reason
        self.since = since
        nextAsk = since
    }

    /// The peers were asked: again after twice the time, a question or an answer may be lost.
    mutating func asked(now: Instant, atMostEach longest: UInt64) {
        nextAsk = now.advanced(byNanoseconds: min(interval, longest))
        interval = min(2 * interval, longest)
    }
}

/// The PINGs to and from peers.
struct Pings: Sendable {
    /// A PING to a peer that is not answered.
    private struct Question: Sendable {
        let number: UInt64
        let at: Instant
    }

    /// The shortest time between two answers to one peer's PINGs.
    private static let shortestNanoseconds: UInt64 = 10_000_000

    private var questions: [Question?]
    private var answersAllowed: [Instant]
    private var lastQuestion: UInt64 = 0

    init(size: ClusterSize) {
        questions = Array(repeating: nil, count: size.replicas)
        answersAllowed = Array(repeating: Instant(nanoseconds: 0), count: size.replicas)
    }

    /// The PING that a peer is to be sent.
    mutating func question(to peer: ReplicaID, now: Instant) -> Ping {
        lastQuestion += 1
        questions[peer.index] = Question(number: lastQuestion, at: now)
        return Ping(isAnswer: false, number: lastQuestion)
    }

    /// Whether a peer's PING is answered.
    mutating func mayAnswer(_ peer: ReplicaID, now: Instant) -> Bool {
        guard answersAllowed[peer.index] <= now else { return false }
        answersAllowed[peer.index] = now.advanced(byNanoseconds: Self.shortestNanoseconds)
        return true
    }

    /// A peer answered.
    ///
    /// - Returns: The round trip in nanoseconds; nil when it was not asked, or not for this.
    mutating func answered(_ number: UInt64, by peer: ReplicaID, now: Instant) -> UInt64? {
        guard let question = questions[peer.index], question.number == number else { return nil }
        questions[peer.index] = nil
        return now.nanoseconds(since: question.at)
    }
}
