import Cryptography
import Invariants
import Messages

/// The three phases: PRE-PREPARE, PREPARE, COMMIT (PBFT section 4.2). The rules of safety of the normal case are here and nowhere else.
extension Replica {
    mutating func onPrePrepare(
        _ prePrepare: PrePrepare,
        from peer: ReplicaID,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard prePrepare.view == view else { return drop(.otherView, into: &effects) }
        guard peer == primary else { return drop(.wrongRole, into: &effects) }
        guard log.contains(prePrepare.sequence) else {
            isBehind = isBehind || prePrepare.sequence > log.high
            return drop(.outsideWindow, into: &effects)
        }
        highestNamed = max(highestNamed, prePrepare.sequence)
        if let earlier = log[prePrepare.sequence].received {
            // At most one PRE-PREPARE for a view and a number.
            if earlier.batch.digest != prePrepare.batch.digest {
                accuse(peer, of: .equivocation, into: &effects)
            }
            return drop(.duplicateVote, into: &effects)
        }
        guard prePrepare.batch.requests.count <= MessageLimits.requestsPerBatch,
            prePrepare.batch.requests.allSatisfy({ hasRightScheme($0) })
        else {
            return accuse(peer, of: .batchOverLimits, into: &effects)
        }
        log[prePrepare.sequence].proposal = .checking(prePrepare)
        let unchecked = prePrepare.batch.requests.filter { !clients.wasChecked($0) }.map(Unverified.init)
        if unchecked.isEmpty {
            judged(prePrepare, valid: true, now: now, into: &effects)
        } else {
            let place = BatchPlace(view: view, sequence: prePrepare.sequence, digest: prePrepare.batch.digest)
            effects.append(.checkBatch(place, unchecked))
        }
    }

    /// The verdict on the requests of a proposed batch is there.
    ///
    /// - Parameters:
    ///   - place: The batch, as the effect named it.
    ///   - valid: Whether the signature (or this replica's MAC entry) of every request is right.
    public mutating func batchChecked(
        _ place: BatchPlace,
        valid: Bool,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard place.view == view, log.contains(place.sequence),
            case .checking(let prePrepare) = log[place.sequence].proposal, prePrepare.batch.digest == place.digest
        else { return }
        judged(prePrepare, valid: valid, now: now, into: &effects)
    }

    /// A wrong signature is the primary's fault: it should have checked. A wrong MAC entry may be the client's doing, and a wrong clock
    /// my own, so those batches are parked until f other backups vouch for them.
    private mutating func judged(
        _ prePrepare: PrePrepare,
        valid: Bool,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        if !valid, configuration.switches.requestAuthentication == .signature {
            log[prePrepare.sequence].proposal = .none
            return accuse(primary, of: .forgedRequest, into: &effects)
        }
        if valid, isTimely(prePrepare.batch.time, now: now.wall) {
            accept(prePrepare, into: &effects)
        } else {
            log[prePrepare.sequence].proposal = .parked(prePrepare)
            acceptIfVouchedFor(prePrepare.sequence, into: &effects)
        }
    }

    private func isTimely(_ time: Timestamp, now: Timestamp) -> Bool {
        // A time that only repeats the last one is no claim about the clock.
        if time <= agreedTime { return true }
        let distance =
            time > now ? time.nanoseconds - now.nanoseconds : now.nanoseconds - time.nanoseconds
        return distance <= configuration.limits.clockToleranceNanoseconds
    }

    private mutating func acceptIfVouchedFor(_ sequence: SequenceNumber, into effects: inout [Effect]) {
        guard case .parked(let prePrepare) = log[sequence].proposal else { return }
        // Votes of the primary and of this replica are not in the tally: it sends no PREPARE, and this one has not voted.
        let vouching = log[sequence].prepares.votes(for: prePrepare.batch.digest).count
        if vouching >= configuration.size.faults {
            accept(prePrepare, into: &effects)
        }
    }

    /// Accepts a proposal, the one of its view and number. A backup votes PREPARE; the PRE-PREPARE is the primary's vote.
    mutating func accept(_ prePrepare: PrePrepare, into effects: inout [Effect]) {
        let sequence = prePrepare.sequence
        invariant(log[sequence].accepted == nil, "two proposals accepted for one number in one view")
        log[sequence].proposal = .accepted(prePrepare)
        highestNamed = max(highestNamed, sequence)
        let position = persist(.prePrepared(prePrepare), into: &effects)
        if isPrimary {
            effects.append(.send(.prePrepare(prePrepare), to: .others, after: position))
        } else {
            let vote = Vote(.prepare, view: view, sequence: sequence, digest: prePrepare.batch.digest)
            _ = log[sequence].prepares.add(vote.digest, from: configuration.replica)
            effects.append(.send(.vote(vote), to: .others, after: position))
        }
        advance(sequence, into: &effects)
    }

    mutating func onVote(_ vote: Vote, from peer: ReplicaID, now: ClockReading, into effects: inout [Effect]) {
        guard vote.view == view else { return drop(.otherView, into: &effects) }
        guard log.contains(vote.sequence) else {
            isBehind = isBehind || vote.sequence > log.high
            return drop(.outsideWindow, into: &effects)
        }
        highestNamed = max(highestNamed, vote.sequence)
        switch vote.phase {
        case .prepare:
            // The primary's PRE-PREPARE is its vote; a PREPARE of its own would count it twice.
            guard peer != primary else { return drop(.wrongRole, into: &effects) }
            guard log[vote.sequence].prepares.add(vote.digest, from: peer) else {
                return repeated(vote, in: log[vote.sequence].prepares, from: peer, into: &effects)
            }
            acceptIfVouchedFor(vote.sequence, into: &effects)
        case .commit:
            guard log[vote.sequence].commits.add(vote.digest, from: peer) else {
                return repeated(vote, in: log[vote.sequence].commits, from: peer, into: &effects)
            }
        }
        advance(vote.sequence, into: &effects)
    }

    /// A second vote of one replica counts nothing; one for another digest is what no correct replica sends.
    private func repeated(_ vote: Vote, in tally: VoteTally, from peer: ReplicaID, into effects: inout [Effect]) {
        if !tally.votes(for: vote.digest).contains(peer) {
            accuse(peer, of: .equivocation, into: &effects)
        }
        drop(.duplicateVote, into: &effects)
    }

    /// Takes a slot as far as its votes allow: prepared with the PRE-PREPARE and 2f matching PREPAREs of different backups, committed
    /// when prepared and with 2f + 1 matching COMMITs.
    private mutating func advance(_ sequence: SequenceNumber, into effects: inout [Effect]) {
        guard let prePrepare = log[sequence].accepted, !log[sequence].isCommitted else { return }
        let digest = prePrepare.batch.digest
        if !log[sequence].isPrepared {
            guard log[sequence].prepares.votes(for: digest).count >= configuration.size.quorum - 1 else { return }
            log[sequence].isPrepared = true
            let position = persist(.prepared(view, sequence, digest), into: &effects)
            log[sequence].preparedPosition = position
            _ = log[sequence].commits.add(digest, from: configuration.replica)
            let vote = Vote(.commit, view: view, sequence: sequence, digest: digest)
            effects.append(.send(.vote(vote), to: .others, after: position))
        }
        if log[sequence].commits.votes(for: digest).count >= configuration.size.quorum {
            log[sequence].isCommitted = true
            executeNext(into: &effects)
        }
    }
}
