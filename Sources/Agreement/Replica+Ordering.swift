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
        let sequence = prePrepare.sequence
        guard prePrepare.view == logView else {
            return onOtherView(prePrepare.view, .prePrepare(prePrepare), from: peer, into: &effects)
        }
        guard mayPropose(peer) else { return drop(.wrongRole, into: &effects) }
        guard isInWindow(sequence) else { return drop(.outsideWindow, into: &effects) }
        let digest = prePrepare.batch.digest
        if let earlier = log[sequence].proposedDigest, earlier == digest || !isMutated(.acceptsSecondProposal) {
            if earlier == digest, case .chosen = log[sequence].proposal { return fill(prePrepare, into: &effects) }
            // At most one PRE-PREPARE for a view and a number.
            if earlier != digest { accuse(peer, of: .equivocation, into: &effects) }
            return drop(.duplicateVote, into: &effects)
        }
        guard prePrepare.batch.requests.allSatisfy({ hasRightScheme($0) }) else {
            return accuse(peer, of: .batchOverLimits, into: &effects)
        }
        guard isActive else {
            // This replica has left the view and votes no more, but a batch that commits is executed.
            log[sequence].proposal = .followed(prePrepare)
            return advance(sequence, into: &effects)
        }
        let claims = log[sequence].prePreparedClaims
        guard claims.count < configuration.limits.digestsPerNumber || claims.contains(where: { $0.digest == digest })
        else {
            return drop(.tooManyDigests, into: &effects)
        }
        highestProposed = max(highestProposed, sequence)
        log[sequence].proposal = .checking(prePrepare)
        noteProposed(sequence, now: now)
        let checks = clients.checks(of: prePrepare.batch.requests)
        if let checks, !checks.isEmpty {
            effects.append(.checkBatch(place(of: prePrepare), checks))
        } else {
            judged(prePrepare, valid: checks != nil, knowing: executed, now: now, into: &effects)
        }
        lookForContradiction(sequence, into: &effects)
        // The others' COMMITs may have come before, and no verdict of this replica's stands between them and execution.
        commitIfPossible(sequence, into: &effects)
    }

    private func place(of prePrepare: PrePrepare) -> BatchPlace {
        BatchPlace(
            view: prePrepare.view,
            sequence: prePrepare.sequence,
            digest: prePrepare.batch.digest,
            executed: executed
        )
    }

    /// Whether a peer is the primary of the view.
    func mayPropose(_ peer: ReplicaID) -> Bool {
        peer == logView.primary(in: configuration.size) || (isMutated(.acceptsProposalOfBackup) && !isPrimary)
    }

    /// The content of a batch that NEW-VIEW chose is here.
    mutating func fill(_ prePrepare: PrePrepare, into effects: inout [Effect]) {
        if isActive {
            accept(prePrepare, isChosen: true, into: &effects)
        } else {
            log[prePrepare.sequence].proposal = .followed(prePrepare)
            advance(prePrepare.sequence, into: &effects)
        }
    }

    /// Whether a number is between the water marks; notes that this replica is behind when it is above them.
    mutating func isInWindow(_ sequence: SequenceNumber) -> Bool {
        guard log.contains(sequence) else {
            isBehind = isBehind || sequence > log.high
            return false
        }
        highestNamed = max(highestNamed, sequence)
        return true
    }

    /// Messages of a view to come are kept, so that a view can begin at full speed; those of a past one are of no use.
    mutating func onOtherView(
        _ view: View,
        _ message: PeerMessage,
        from peer: ReplicaID,
        into effects: inout [Effect]
    ) {
        guard view > logView else { return drop(.otherView, into: &effects) }
        isBehind = isBehind || (isActive && view > self.view)
        if !early[peer.index].add(message, limits: configuration.limits) { drop(.tooEarly, into: &effects) }
    }

    /// The verdict on the requests of a proposed batch is there.
    ///
    /// - Parameters:
    ///   - place: The batch, as the effect named it.
    ///   - valid: Whether the signature (or this replica's MAC entry) of every request is right.
    ///   - now: The shell's clocks.
    ///   - effects: What is to be done is appended here.
    public mutating func batchChecked(
        _ place: BatchPlace,
        valid: Bool,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard isActive, place.view == logView, log.contains(place.sequence),
            case .checking(let prePrepare) = log[place.sequence].proposal, prePrepare.batch.digest == place.digest
        else { return }
        judged(prePrepare, valid: valid, knowing: place.executed, now: now, into: &effects)
    }

    /// A wrong signature is the primary's fault: it should have checked. A wrong MAC entry may be the client's doing, and a wrong clock
    /// my own, so those batches are parked until f other backups vouch for them.
    ///
    /// Whether a proof is right depends on the clients' keys as of the batch before, so nobody is blamed before that is executed.
    ///
    /// - Parameter known: The last batch that was executed when the verdict was asked for.
    private mutating func judged(
        _ prePrepare: PrePrepare,
        valid: Bool,
        knowing known: SequenceNumber,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        if valid { for request in prePrepare.batch.requests { noteConflict(of: request, into: &effects) } }
        let valid = valid || isMutated(.acceptsForgedBatch)
        let sequence = prePrepare.sequence
        if !valid, known.next < sequence {
            log[sequence].proposal = .doubted(prePrepare)
            judgeAgain(sequence, into: &effects)
            acceptIfVouchedFor(sequence, into: &effects)
        } else if !valid {
            refuse(prePrepare, into: &effects)
        } else if isTimely(prePrepare.batch.time, now: now.wall) {
            accept(prePrepare, isChosen: false, into: &effects)
        } else {
            log[sequence].proposal = .parked(prePrepare)
            acceptIfVouchedFor(sequence, into: &effects)
        }
    }

    /// A proof in a batch is wrong by the keys that it depends on.
    private mutating func refuse(_ prePrepare: PrePrepare, into effects: inout [Effect]) {
        switch configuration.switches.requestAuthentication {
        case .signature:
            log[prePrepare.sequence].proposal = .none
            accuse(primary, of: .forgedRequest, into: &effects)
        case .macVector:
            log[prePrepare.sequence].proposal = .parked(prePrepare)
            acceptIfVouchedFor(prePrepare.sequence, into: &effects)
        }
    }

    private func isTimely(_ time: Timestamp, now: Timestamp) -> Bool {
        let distance =
            time > now ? time.nanoseconds - now.nanoseconds : now.nanoseconds - time.nanoseconds
        return distance <= configuration.limits.clockToleranceNanoseconds
    }

    /// Has a doubted batch judged once more, when every batch before it is executed: by the keys that it depends on.
    mutating func judgeAgain(_ sequence: SequenceNumber, into effects: inout [Effect]) {
        guard isActive, executed.next >= sequence, log.contains(sequence),
            case .doubted(let prePrepare) = log[sequence].proposal
        else { return }
        guard let checks = clients.checks(of: prePrepare.batch.requests) else {
            return refuse(prePrepare, into: &effects)
        }
        log[sequence].proposal = .checking(prePrepare)
        effects.append(.checkBatch(place(of: prePrepare), checks))
    }

    private mutating func acceptIfVouchedFor(_ sequence: SequenceNumber, into effects: inout [Effect]) {
        guard isActive else { return }
        let prePrepare: PrePrepare
        switch log[sequence].proposal {
        case .parked(let waiting): prePrepare = waiting
        case .doubted(let waiting) where configuration.switches.requestAuthentication == .macVector:
            prePrepare = waiting
        default: return
        }
        // Votes of the primary and of this replica are not in the tally: it sends no PREPARE, and this one has not voted.
        let vouching = log[sequence].prepares.votes(for: prePrepare.batch.digest).count
        if vouching >= configuration.size.faults || isMutated(.acceptsUnvouchedBatch) {
            accept(prePrepare, isChosen: false, into: &effects)
        }
    }

    /// Accepts a proposal, the one of its view and number. A backup votes PREPARE; the PRE-PREPARE is the primary's vote.
    ///
    /// - Parameter isChosen: Whether NEW-VIEW chose the batch: then that message stands for the PRE-PREPARE, and nobody judges the batch
    ///   again.
    mutating func accept(_ prePrepare: PrePrepare, isChosen: Bool, into effects: inout [Effect]) {
        let sequence = prePrepare.sequence
        invariant(isActive && prePrepare.view == view, "a proposal accepted outside its view")
        invariant(log[sequence].accepted == nil, "two proposals accepted for one number in one view")
        highestNamed = max(highestNamed, sequence)
        log[sequence].proposal = .accepted(prePrepare)
        log[sequence].notePrePrepared(sequence, prePrepare.batch, in: view)
        let position = persist(.prePrepared(prePrepare), into: &effects)
        if isPrimary {
            let foundation = foundation(position, unless: .proposesTooEarly)
            if !isChosen { effects.append(.send(.prePrepare(prePrepare), to: .others, after: foundation)) }
        } else {
            let vote = Vote(.prepare, view: view, sequence: sequence, digest: prePrepare.batch.digest)
            log[sequence].prepares.add(vote.digest, from: configuration.replica)
            let foundation = foundation(position, unless: .preparesTooEarly)
            effects.append(.send(.vote(vote), to: .others, after: foundation))
        }
        advance(sequence, into: &effects)
    }

    mutating func onVote(_ vote: Vote, from peer: ReplicaID, now: ClockReading, into effects: inout [Effect]) {
        guard vote.view == logView || (vote.view < logView && isMutated(.countsVotesOfOtherViews)) else {
            return onOtherView(vote.view, .vote(vote), from: peer, into: &effects)
        }
        guard isInWindow(vote.sequence) else { return drop(.outsideWindow, into: &effects) }
        switch vote.phase {
        case .prepare:
            // The primary's PRE-PREPARE is its vote; a PREPARE of its own would count it twice.
            guard peer != logView.primary(in: configuration.size) || isMutated(.countsPrimaryTwice) else {
                return drop(.wrongRole, into: &effects)
            }
            guard log[vote.sequence].prepares.add(vote.digest, from: peer) else {
                return repeated(vote, in: log[vote.sequence].prepares, from: peer, into: &effects)
            }
            acceptIfVouchedFor(vote.sequence, into: &effects)
        case .commit:
            guard log[vote.sequence].commits.add(vote.digest, from: peer) else {
                return repeated(vote, in: log[vote.sequence].commits, from: peer, into: &effects)
            }
        }
        if let proposed = log[vote.sequence].proposedDigest, proposed != vote.digest {
            lookForContradiction(vote.sequence, into: &effects)
        }
        advance(vote.sequence, into: &effects)
    }

    /// Where f + 1 backups vote for other batches than this replica was shown, a correct one was shown another one, by the same primary in
    /// the same view: it has proposed two. (When it does so to each backup in turn, every one of them falls behind again and again, and
    /// measures nothing meanwhile.)
    private mutating func lookForContradiction(_ sequence: SequenceNumber, into effects: inout [Effect]) {
        let primary = logView.primary(in: configuration.size)
        guard let proposed = log[sequence].proposedDigest, primary != configuration.replica else { return }
        var others = log[sequence].prepares.votersAgainst(proposed)
            .union(log[sequence].commits.votersAgainst(proposed))
        others.remove(primary)
        if others.count >= configuration.size.weakQuorum { accuse(primary, of: .equivocation, into: &effects) }
    }

    /// A second vote of one replica counts nothing; one for another digest is what no correct replica sends.
    private mutating func repeated(
        _ vote: Vote,
        in tally: VoteTally,
        from peer: ReplicaID,
        into effects: inout [Effect]
    ) {
        if !tally.votes(for: vote.digest).contains(peer) {
            accuse(peer, of: .equivocation, into: &effects)
        }
        drop(.duplicateVote, into: &effects)
    }

    /// Takes a slot as far as its votes allow: prepared with the PRE-PREPARE and 2f matching PREPAREs of different backups, committed
    /// with 2f + 1 matching COMMITs.
    mutating func advance(_ sequence: SequenceNumber, into effects: inout [Effect]) {
        if isActive || isMutated(.votesAfterLeaving), !log[sequence].isPrepared, let prePrepare = log[sequence].accepted
        {
            let digest = prePrepare.batch.digest
            if log[sequence].prepares.votes(for: digest).count >= quorum(unless: .preparesWithFewer) - 1 {
                prepared(sequence, digest, into: &effects)
            }
        }
        commitIfPossible(sequence, into: &effects)
    }

    private mutating func prepared(_ sequence: SequenceNumber, _ digest: Digest, into effects: inout [Effect]) {
        log[sequence].isPrepared = true
        log[sequence].preparedClaim = BatchClaim(sequence, digest, logView)
        highestPrepared = max(highestPrepared, sequence)
        let position = persist(.prepared(logView, sequence, digest), into: &effects)
        log[sequence].preparedPosition = position
        log[sequence].commits.add(digest, from: configuration.replica)
        let vote = Vote(.commit, view: logView, sequence: sequence, digest: digest)
        let foundation = foundation(position, unless: .commitsTooEarly)
        effects.append(.send(.vote(vote), to: .others, after: foundation))
        executeNext(into: &effects)
    }

    /// A peer says what committed. A replica that the primary leaves out, while f others are silent, hears too few COMMITs for ever, and
    /// one that was away through a view change hears those of other views.
    mutating func onCommitted(_ committed: Committed, from peer: ReplicaID, into effects: inout [Effect]) {
        guard committed.sequence > log.low else { return onPastCommitted(committed, from: peer, into: &effects) }
        guard isInWindow(committed.sequence) else { return drop(.outsideWindow, into: &effects) }
        let wasCommitted = committedDigest(committed.sequence) != nil
        guard log[committed.sequence].saidCommitted.add(committed.digest, from: peer) else {
            if !log[committed.sequence].saidCommitted.votes(for: committed.digest).contains(peer) {
                accuse(peer, of: .equivocation, into: &effects)
            }
            return drop(.duplicateVote, into: &effects)
        }
        if !wasCommitted, committed.sequence > executed, let digest = committedDigest(committed.sequence),
            log[committed.sequence].body(digest) == nil
        {
            // Who is away for long has many of these to fetch: the stall timer is for the answers that do not come.
            effects.append(.send(.fetch(Fetch(.batch(committed.sequence, digest))), to: .replica(peer), after: .start))
        }
        commitIfPossible(committed.sequence, into: &effects)
    }

    /// The batch that is known to be committed.
    func committedDigest(_ sequence: SequenceNumber) -> Digest? {
        log[sequence].committedDigest(configuration.size, configuration.mutations)
    }

    /// 2f + 1 COMMITs hold f + 1 correct replicas that have prepared the batch, so it is committed whatever this replica has seen of it
    /// (it may have left the view, or been left out by the primary); all it needs is the content, which the digest vouches for.
    mutating func commitIfPossible(_ sequence: SequenceNumber, into effects: inout [Effect]) {
        guard log[sequence].committed == nil,
            let digest = committedDigest(sequence),
            let batch = log[sequence].body(digest)
        else { return }
        log[sequence].committed = batch
        executeNext(into: &effects)
    }
}
