import Cryptography
import Invariants
import Messages

/// Checkpoints, the water marks, and the state of a checkpoint that others have (PBFT section 4.3).
extension Replica {
    /// The shell has computed the root of the state after a batch.
    public mutating func checkpointTaken(
        _ sequence: SequenceNumber,
        root: Digest,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard sequence > log.low else { return repeatedCheckpoint(sequence, root: root, into: &effects) }
        checkpoints.setOwnRoot(root, at: sequence)
        let own = checkpoint(root, at: sequence)
        checkpoints.add(own, low: log.low)
        effects.append(.send(.checkpoint(Unverified(own)), to: .others, after: logPosition))
        if isMutated(.stabilisesAlone) {
            advanceLog(CheckpointTracker.Stable(sequence: sequence, root: root, certificate: [own]), into: &effects)
        }
        stabilise(sequence, into: &effects)
    }

    func checkpoint(_ root: Digest, at sequence: SequenceNumber) -> Checkpoint {
        Checkpoint(
            sequence,
            root: root,
            by: configuration.replica,
            cluster: configuration.cluster,
            signer: signer
        )
    }

    mutating func onCheckpoint(_ checkpoint: Unverified<Checkpoint>, into effects: inout [Effect]) {
        let claim = checkpoint.claim
        // Its own too: the one that it said before a restart may be a part of the others' certificate.
        guard claim.sequence.rawValue.isMultiple(of: UInt64(configuration.limits.checkpointInterval)),
            checkpoints.wants(claim, low: log.low)
        else { return drop(.uselessCheckpoint, into: &effects) }
        effects.append(.checkCheckpoint(checkpoint))
    }

    /// One for each question that this replica asked, so that a peer cannot have signatures checked at will.
    mutating func onCertificate(
        _ certificate: Unverified<CheckpointCertificate>,
        from peer: ReplicaID,
        into effects: inout [Effect]
    ) {
        guard askedForCertificate.contains(peer),
            certificate.claim.sequence.rawValue.isMultiple(of: UInt64(configuration.limits.checkpointInterval)),
            checkpoints.wants(certificate.claim, low: log.low)
        else { return drop(.uselessCheckpoint, into: &effects) }
        askedForCertificate.remove(peer)
        effects.append(.checkCertificate(certificate))
    }

    /// The signatures of a certificate were checked and are good.
    public mutating func certificateVerified(
        _ certificate: Verified<CheckpointCertificate>,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        checkpoints.add(certificate.value, low: log.low)
        stabilise(certificate.value.sequence, into: &effects)
        watchForStall(now)
    }

    /// A checkpoint's signature was checked and is good.
    public mutating func checkpointVerified(
        _ checkpoint: Verified<Checkpoint>,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        checkpoints.add(checkpoint.value, low: log.low)
        isBehind = isBehind || checkpoint.value.sequence > log.high
        stabilise(checkpoint.value.sequence, into: &effects)
        watchForStall(now)
    }

    /// Moves the water marks up when a quorum has one root for a number, and this replica the same; or when the quorum is beyond the
    /// marks, so that the others have forgotten what this replica would need to get there.
    private mutating func stabilise(_ sequence: SequenceNumber, into effects: inout [Effect]) {
        guard sequence > log.low else { return }
        switch checkpoints.verdict(at: sequence) {
        case .open:
            return
        case .diverged:
            // What this replica executed is not what the others did. Its marks stay, and once the others are beyond them it fetches
            // their state.
            hasDiverged = true
            effects.append(.note(.diverged(sequence)))
        case .ahead(let stable):
            // Within the marks this replica may still come so far itself; if it does not, the stall timer adopts it.
            highestCertified = max(highestCertified, sequence)
            if sequence > log.high { adopt(stable, into: &effects) }
        case .stable(let stable):
            advanceLog(stable, into: &effects)
            effects.append(.discardCheckpoints(before: sequence, after: logPosition))
            voteAgainIfLearned(into: &effects)
        }
    }

    private mutating func advanceLog(_ stable: CheckpointTracker.Stable, into effects: inout [Effect]) {
        checkpoints.stabilise(stable.sequence, certificate: stable.certificate)
        keepPast(upTo: stable.sequence)
        log.truncate(to: stable.sequence)
        awaiting.removeAll { $0 <= stable.sequence }
        progressed()
        nextSequence = max(nextSequence, log.low.next)
        _ = persist(.stable(stable.sequence, certificate: stable.certificate), into: &effects)
        effects.append(.note(.stable(stable.sequence)))
    }

    /// Takes a stable checkpoint whose state is not here: votes go on from it, and the state is fetched, unless executing what was
    /// missed is enough.
    mutating func adopt(_ stable: CheckpointTracker.Stable, into effects: inout [Effect]) {
        guard stable.sequence > log.low else { return }
        advanceLog(stable, into: &effects)
        guard executed < stable.sequence || stateTarget != nil else { return }
        if isRepeating { return executeNext(into: &effects) }
        fetchState(stable.sequence, root: stable.root, into: &effects)
        // What the others went on to before this replica's marks moved: by the time the state is here, they have forgotten it.
        ask(.others, into: &effects)
    }

    /// Has the state of the stable checkpoint fetched. Nothing is executed until it is here.
    mutating func fetchState(_ sequence: SequenceNumber, root: Digest, into effects: inout [Effect]) {
        rollBack(into: &effects)
        stateTarget = sequence
        effects.append(.note(.fetchesState(sequence)))
        effects.append(.fetchState(sequence, root: root))
    }

    /// The state of a stable checkpoint was fetched and installed, the engine's own entries with it.
    ///
    /// - Parameters:
    ///   - sequence: The checkpoint, as an effect named it: the last one, or one before, from which it is less far to the last one.
    ///   - records: The engine's entries of that state.
    ///   - now: The shell's clocks.
    ///   - effects: What is to be done is appended here.
    public mutating func stateInstalled(
        _ sequence: SequenceNumber,
        records: [SystemRecord],
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard let target = stateTarget, sequence <= target, sequence > executed else { return }
        invariant(executing == nil && tentative == nil, "state was installed under an execution")
        stateTarget = nil
        hasDiverged = false
        missed = MissedBatches()
        executed = sequence
        let restored = clients.restore(records)
        agreedTime = restored.time
        if !restored.changed.isEmpty { onClientsChanged(restored.changed, into: &effects) }
        progressed()
        releaseReads(into: &effects)
        if sequence < target { return goOnFetching(into: &effects) }
        judgeAgain(sequence.next, into: &effects)
        voteAgainIfLearned(into: &effects)
        executeNext(into: &effects)
        if executing == nil, highestNamed > executed { ask(.others, into: &effects) }
    }

    /// While an earlier state was fetched, the others have come further. Either they still have the batches that follow it, or what differs
    /// from their state now was written meanwhile, so it is soon fetched: the last of these fetches takes less time than the others need for the batches
    /// between the marks.
    private mutating func goOnFetching(into effects: inout [Effect]) {
        if let newest = checkpoints.highestSigned, newest.sequence > log.low {
            adopt(newest, into: &effects)
        } else if !isRepeating, let root = checkpoints.certificate.first?.root {
            fetchState(log.low, root: root, into: &effects)
        }
    }
}
