import Cryptography
import Messages

/// A replica that has not executed what the stable checkpoint contains, but not by much: peers still have those batches, so it executes
/// them, and fetches the state only if that does not work (as in catch-up within the log: f + 1 peers say what committed, the
/// content comes from anyone, by digest).
extension Replica {
    /// Whether what this replica lacks of the stable checkpoint's state is to be had by executing what it missed.
    var isRepeating: Bool { executed < log.low && canRepeat(upTo: log.low) }

    private func canRepeat(upTo sequence: SequenceNumber) -> Bool {
        stateTarget == nil && !hasDiverged
            && sequence.rawValue - executed.rawValue <= UInt64(configuration.limits.pastBatches)
    }

    private var weakQuorum: Int {
        isMutated(.believesFewer) ? configuration.size.faults : configuration.size.weakQuorum
    }

    /// Keeps what the log is about to forget: for peers, and for this replica, if it has still to execute it.
    mutating func keepPast(upTo sequence: SequenceNumber) {
        past.take(from: log, upTo: sequence, limits: configuration.limits)
        guard executed < sequence else { return }
        guard canRepeat(upTo: sequence) else {
            missed = MissedBatches()
            return
        }
        let last = min(sequence, furthestMissed)
        var next = max(executed, log.low).next
        while next <= last, log.contains(next) {
            if let batch = log[next].committed { missed.keep(batch, at: next) }
            next = next.next
        }
    }

    /// The batch to execute next, when it is known to be committed and here.
    var nextCommitted: Batch? {
        let sequence = executed.next
        if log.contains(sequence) { return log[sequence].committed }
        return isRepeating ? missed.batch(sequence, weakQuorum: weakQuorum) : nil
    }

    /// A peer says what committed, of a number below the low water mark.
    mutating func onPastCommitted(_ committed: Committed, from peer: ReplicaID, into effects: inout [Effect]) {
        guard isRepeating, committed.sequence > executed else { return drop(.outsideWindow, into: &effects) }
        guard let isConsistent = missed.note(committed, from: peer) else { return drop(.duplicateVote, into: &effects) }
        guard isConsistent else {
            accuse(peer, of: .equivocation, into: &effects)
            return drop(.duplicateVote, into: &effects)
        }
        fetchMissed(into: &effects)
        executeNext(into: &effects)
    }

    /// The content of a batch below the low water mark came.
    ///
    /// - Returns: false when it is not wanted.
    mutating func takeMissed(_ body: BatchBody, into effects: inout [Effect]) -> Bool {
        guard isRepeating, missed.take(body, weakQuorum: weakQuorum) else { return false }
        executeNext(into: &effects)
        return true
    }

    /// A batch was executed, from wherever it came.
    mutating func noteRepeated(_ sequence: SequenceNumber, into effects: inout [Effect]) {
        missed.forget(sequence)
        if isRepeating { fetchMissed(into: &effects) }
    }

    /// Up to where contents are held: no more than the log could hold.
    private var furthestMissed: SequenceNumber {
        SequenceNumber(executed.rawValue + UInt64(configuration.limits.logWindow))
    }

    /// Asks for the content of the next batches.
    private mutating func fetchMissed(into effects: inout [Effect]) {
        let last = min(furthestMissed, missed.paced, log.low)
        for question in missed.questions(after: executed, upTo: last, weakQuorum: weakQuorum) {
            let holders = configuration.size.members.filter { question.holders.contains($0) }
            // Each has its share of the questions.
            let holder = holders[Int(question.sequence.rawValue % UInt64(holders.count))]
            let fetch = Fetch(.batch(question.sequence, question.digest))
            effects.append(.send(.fetch(fetch), to: missed.asksAll ? .others : .replica(holder), after: .start))
        }
    }

    /// Asks all for what one has not sent.
    mutating func fetchMissedFromAll(into effects: inout [Effect]) {
        guard isRepeating else { return }
        missed.asksAll = true
        for (sequence, digest) in missed.missing(weakQuorum: weakQuorum) {
            effects.append(.send(.fetch(Fetch(.batch(sequence, digest))), to: .others, after: .start))
        }
    }

    /// Asks peers what follows, as often as they answer, and has the state fetched when that leads nowhere.
    mutating func pursueMissed(now: ClockReading, into effects: inout [Effect]) {
        guard isRepeating else {
            if missed.nextQuestion != nil { missed = MissedBatches() }
            return
        }
        if let due = missed.nextQuestion, now.monotonic < due { return }
        let goesOn = missed.goesOn(executed: executed, isExecuting: executing != nil, upTo: log.low)
        if !goesOn, let root = checkpoints.certificate.first?.root {
            return fetchState(log.low, root: root, into: &effects)
        }
        if missed.questionsInVain > 1 { fetchMissedFromAll(into: &effects) }
        missed.nextQuestion = now.monotonic.advanced(byNanoseconds: 2 * configuration.limits.catchUpNanoseconds)
        missed.pace(after: executed, upTo: log.low, logWindow: UInt64(configuration.limits.logWindow))
        if !missed.isKnown(after: executed, upTo: min(log.low, missed.paced), weakQuorum: weakQuorum) {
            ask(.others, into: &effects)
        }
        fetchMissed(into: &effects)
    }

    /// When ``pursueMissed(now:into:)`` asks again; nil for never.
    var missedDeadline: Instant? { isRepeating ? missed.nextQuestion : nil }

    /// The root of a checkpoint that is stable already was computed.
    mutating func repeatedCheckpoint(_ sequence: SequenceNumber, root: Digest, into effects: inout [Effect]) {
        if sequence == log.low, let certified = checkpoints.certificate.first?.root, certified != root {
            hasDiverged = true
            effects.append(.note(.diverged(sequence)))
            return
        }
        effects.append(.discardCheckpoints(before: sequence, after: logPosition))
        if sequence == log.low { voteAgainIfLearned(into: &effects) }
    }
}
