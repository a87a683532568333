import Cryptography
import Messages

/// Messages that were lost with a link, or at a replica that was away: the receiver asks, peers send again what is in their logs
/// (PBFT's retransmission by status messages, TOCS 2002 section 5.2).
extension Replica {
    /// What this replica asks of its peers.
    private var catchUp: CatchUp {
        CatchUp(
            view: view,
            standing: learning != nil ? .learning : isActive ? .active : .waiting,
            // What leads to a state that is fetched is of no use here.
            executed: max(executed, stateTarget ?? .zero),
            stable: log.low,
            prepared: fence
        )
    }

    /// Asks for what was missed.
    mutating func ask(_ recipient: Recipient, into effects: inout [Effect]) {
        for peer in configuration.size.members where recipient == .others || recipient == .replica(peer) {
            askedForCertificate.insert(peer)
        }
        effects.append(.send(.catchUp(catchUp), to: recipient, after: logPosition))
    }

    /// Answers a peer's FETCH, unless it was sent too much lately: then it has to ask again. It asks for what it lacks only, and one answer
    /// always goes, so that it gets on.
    mutating func answer(
        _ message: PeerMessage,
        to peer: ReplicaID,
        after position: LogPosition,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard allowances[peer.index].take(message.byteCount, now: now.monotonic, limits: configuration.limits) else {
            return drop(.overAllowance, into: &effects)
        }
        effects.append(.send(message, to: .replica(peer), after: position))
    }

    mutating func onCatchUp(_ catchUp: CatchUp, from peer: ReplicaID, now: ClockReading, into effects: inout [Effect]) {
        guard catchUpAllowed[peer.index] <= now.monotonic else { return drop(.needlessCatchUp, into: &effects) }
        catchUpAllowed[peer.index] = now.monotonic.advanced(byNanoseconds: configuration.limits.catchUpNanoseconds)
        if catchUp.view > view || (catchUp.view == view && catchUp.standing == .active && !isActive) { isBehind = true }
        reported[peer.index] = max(reported[peer.index], catchUp.executed)
        // f + 1 say so, of whom one is correct: a lie alone does not keep this replica asking.
        highestReported = reported.sorted(by: >)[configuration.size.faults]
        learn(from: catchUp, of: peer, now: now, into: &effects)
        help(peer, whichIsIn: catchUp.view, isWaiting: catchUp.standing == .waiting, now: now, into: &effects)
        if !isActive, let own = viewChanges[configuration.replica.index] {
            effects.append(.send(.viewChange(Unverified(own)), to: .replica(peer), after: logPosition))
        }
        // Whatever the receiver has executed, it may have missed CHECKPOINTs.
        if catchUp.stable < log.low, let certificate = CheckpointCertificate(checkpoints.certificate) {
            effects.append(.send(.certificate(Unverified(certificate)), to: .replica(peer), after: logPosition))
        }
        sayAgain(after: catchUp.executed, to: .replica(peer), now: now, into: &effects)
    }

    /// Sends again what this replica said: its CHECKPOINTs above the stable one, and its votes on the sequence numbers after one, as far
    /// as its log and the bounds of an answer go.
    private mutating func sayAgain(
        after sequence: SequenceNumber,
        to recipient: Recipient,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        for checkpoint in checkpoints.messages(of: configuration.replica) {
            effects.append(.send(.checkpoint(Unverified(checkpoint)), to: recipient, after: logPosition))
        }
        guard sequence < log.high else { return }
        if recipient != .others, sayPast(after: sequence, to: recipient, into: &effects) { return }
        let wasPrimary = logView.primary(in: configuration.size) == configuration.replica
        var next = max(sequence, log.low).next
        var left = configuration.limits.catchUpBatches
        var allowance = AnswerAllowance()
        while log.contains(next), left > 0 {
            let slot = log[next]
            if let batch = slot.committed, recipient != .others {
                // This replica's own COMMIT may be one of the 2f + 1: what it rests on must not be lost any more.
                let foundation = foundation(logPosition, unless: .saysCommittedTooEarly)
                effects.append(.send(.committed(Committed(next, batch.digest)), to: recipient, after: foundation))
            }
            // Only an accepted proposal was voted for; one that came after this replica left the view was not.
            if let prePrepare = slot.accepted {
                let digest = prePrepare.batch.digest
                if !wasPrimary {
                    let vote = Vote(.prepare, view: logView, sequence: next, digest: digest)
                    effects.append(.send(.vote(vote), to: recipient, after: logPosition))
                } else if digest != .zero {
                    let message = PeerMessage.prePrepare(prePrepare)
                    guard allowance.take(message.byteCount, now: now.monotonic, limits: configuration.limits) else {
                        drop(.overAllowance, into: &effects)
                        break
                    }
                    effects.append(.send(message, to: recipient, after: logPosition))
                }
                if slot.isPrepared {
                    let vote = Vote(.commit, view: logView, sequence: next, digest: digest)
                    effects.append(.send(.vote(vote), to: recipient, after: logPosition))
                }
                left -= 1
            }
            next = next.next
        }
    }

    /// Says which batches below the low water mark follow one.
    ///
    /// - Returns: Whether there are more of them, so that what is in the log is of no use yet.
    private func sayPast(
        after sequence: SequenceNumber,
        to recipient: Recipient,
        into effects: inout [Effect]
    ) -> Bool {
        let foundation = foundation(logPosition, unless: .saysCommittedTooEarly)
        let following = past.committed(after: sequence, atMost: configuration.limits.pastBatchesPerAnswer)
        for committed in following { effects.append(.send(.committed(committed), to: recipient, after: foundation)) }
        return following.last.map { $0.sequence < past.last } ?? false
    }

    /// A batch was executed, or a checkpoint became stable: what is still owed has its whole time again.
    mutating func progressed() {
        stallDeadline = nil
        stallNanoseconds = configuration.limits.stallNanoseconds
    }

    /// A batch that was asked for has come. Answers are bounded, and need not begin with what is needed first: the rest is asked for
    /// soon, and not after a pause that has grown while nothing was executed. A time that is nearer stays, so that a peer that answers
    /// drop by drop puts nothing off.
    mutating func askAgainSoon(_ now: ClockReading) {
        stallNanoseconds = configuration.limits.stallNanoseconds
        let soon = now.monotonic.advanced(byNanoseconds: stallNanoseconds)
        stallDeadline = stallDeadline.map { min($0, soon) }
    }

    /// The network may be whole again: pauses that have grown while nobody answered start anew. A time that is nearer stays, so that
    /// a peer that connects again and again puts nothing off.
    mutating func askSoon(_ now: ClockReading) {
        askAgainSoon(now)
        let soon = now.monotonic.advanced(byNanoseconds: stallNanoseconds)
        viewChangeResendNanoseconds = configuration.limits.stallNanoseconds
        viewChangeResend = viewChangeResend.map { min($0, soon) }
    }

    /// Starts the stall timer: a short one when there is work that does not move yet, otherwise a long one, for what was lost unnoticed.
    mutating func watchForStall(_ now: ClockReading) {
        if !isActive, learning == nil, viewChangeResend == nil {
            viewChangeResend = now.monotonic.advanced(byNanoseconds: viewChangeResendNanoseconds)
        }
        let isMissing = isMissingSomething
        guard stallDeadline == nil || (isMissing && isIdle) else { return }
        isIdle = !isMissing
        let wait = isIdle ? configuration.limits.longestStallNanoseconds : stallNanoseconds
        stallDeadline = now.monotonic.advanced(byNanoseconds: wait)
    }

    /// Others are ahead, a number that somebody named is not executed, a checkpoint that was taken is not stable, or a state is fetched.
    private var isMissingSomething: Bool {
        let interval = UInt64(configuration.limits.checkpointInterval)
        let lastCheckpoint = executed.rawValue - executed.rawValue % interval
        return isBehind || highestNamed > executed || highestCertified > executed || highestReported > executed
            || lastCheckpoint > log.low.rawValue || executed < log.low || stateTarget != nil
            || (learning != nil && learning?.bound == nil)
    }

    /// Asks for the content of batches that were missed, that NEW-VIEW chose, or that committed without it: the primary need not have sent it.
    private mutating func fetchBodies(into effects: inout [Effect]) {
        fetchMissedFromAll(into: &effects)
        for sequence in log.sequences {
            var missing: Digest?
            if case .chosen(let digest) = log[sequence].proposal {
                missing = digest
            } else if log[sequence].committed == nil, sequence > executed {
                missing = committedDigest(sequence)
            }
            guard let missing, log[sequence].body(missing) == nil else { continue }
            effects.append(.send(.fetch(Fetch(.batch(sequence, missing))), to: .others, after: .start))
        }
    }

    /// Nothing moved for a while: ask everybody for what was missed, and say again what others may have missed.
    mutating func onStall(now: ClockReading, into effects: inout [Effect]) {
        guard isMissingSomething else {
            // What was lost last shows in nothing that came later: only asking finds it.
            return ask(.others, into: &effects)
        }
        effects.append(.note(.stalled(executed.next)))
        // Peers that have forgotten what is missing here have said which checkpoint is stable instead.
        if let stable = checkpoints.highestSigned, stable.sequence > executed { adopt(stable, into: &effects) }
        // After a crash in the middle of a state transfer, the mark has moved and the state has not come.
        if executed < log.low, stateTarget == nil, !isRepeating, let root = checkpoints.certificate.first?.root {
            fetchState(log.low, root: root, into: &effects)
        }
        ask(.others, into: &effects)
        sayAgain(after: executed, to: .others, now: now, into: &effects)
        fetchBodies(into: &effects)
        fetchRequests(into: &effects)
        for pending in pendingNewViews.compactMap(\.self) {
            askForMissingViewChanges(of: pending, isRepeated: true, into: &effects)
        }
        let doubled = stallNanoseconds.multipliedReportingOverflow(by: 2)
        stallNanoseconds = min(
            doubled.overflow ? .max : doubled.partialValue,
            configuration.limits.longestStallNanoseconds
        )
    }
}
