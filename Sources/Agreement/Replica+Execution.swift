import Cryptography
import Invariants
import Messages

/// Execution in order, replies, and checkpoints (PBFT sections 4.2 and 4.3).
extension Replica {
    /// Hands the next batch to execution when it is committed and the shell is not busy with one.
    mutating func executeNext(into effects: inout [Effect]) {
        let sequence = executed.next
        guard executing == nil, log.contains(sequence), let batch = log[sequence].committed else { return }
        executing = sequence
        executingPosition = log[sequence].preparedPosition
        agreedTime = max(agreedTime, batch.time)
        var effective: [Request] = []
        effective.reserveCapacity(batch.requests.count)
        for request in batch.requests where clients.begin(request) {
            effective.append(request)
        }
        executingBatch = effective
        effects.append(.execute(Execution(sequence: sequence, time: agreedTime, requests: effective)))
    }

    /// The shell has executed a batch.
    ///
    /// - Parameters:
    ///   - sequence: The batch, as the effect named it.
    ///   - results: For each request of the effect, in its order, one result for each operation.
    ///   - now: The shell's clocks.
    ///   - effects: What is to be done is appended here.
    public mutating func executed(
        _ sequence: SequenceNumber,
        results: [[[UInt8]]],
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        invariant(sequence == executing, "a batch was executed that was not asked for")
        invariant(results.count == executingBatch.count, "a request without results")
        var replies: [AddressedReply] = []
        replies.reserveCapacity(results.count)
        var records: [SystemRecord] = []
        records.reserveCapacity(2 * results.count + 1)
        var operations = 0
        for (request, results) in zip(executingBatch, results) {
            invariant(results.count == request.operationCount, "an operation without its result")
            operations += results.count
            let payload = Self.payload(for: request, results: results)
            records.append(contentsOf: clients.finish(payload, for: request.client, at: sequence))
            let reply = Reply(view: logView, sequence: sequence, payload: payload)
            replies.append(AddressedReply(client: request.client, reply: reply))
        }
        for client in Set(executingBatch.map(\.client)).sorted() {
            if let progress = clients.progress(of: client) { records.append(progress) }
        }
        records.append(SystemRecord(key: ClientTable.agreedTimeKey, value: Self.encoded(agreedTime)))
        effects.append(.record(records))
        if !replies.isEmpty {
            effects.append(.reply(replies, after: executingPosition))
        }
        effects.append(.note(.executed(sequence, requests: replies.count, operations: operations)))
        executing = nil
        executed = sequence
        isBehind = false
        // The view works, so the next suspicion starts from T again.
        if isActive { viewChangeDoublings = 0 }
        progressed()
        releaseReads(into: &effects)
        if sequence.rawValue.isMultiple(of: UInt64(configuration.limits.checkpointInterval)) {
            effects.append(.takeCheckpoint(sequence))
        }
        executeNext(into: &effects)
    }

    private static func payload(for request: Request, results: [[UInt8]]) -> Reply.Payload {
        let session = request.session
        let number = request.number
        if request.kind == .openSession {
            return Reply.Payload(session: session, number: number, outcome: .sessionOpened, results: [])
        }
        let bytes = results.reduce(64) { $0 + 4 + $1.count }
        if bytes > MessageLimits.replyPayloadBytes || results.contains(where: { $0.count > MessageLimits.resultBytes })
        {
            return Reply.Payload(session: session, number: number, outcome: .resultsTooLarge, results: [])
        }
        return Reply.Payload(session: session, number: number, outcome: .executed, results: results)
    }

    private static func encoded(_ time: Timestamp) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: time.nanoseconds)
        return bytes
    }

    /// The shell has computed the root of the state after a batch.
    public mutating func checkpointTaken(
        _ sequence: SequenceNumber,
        root: Digest,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        checkpoints.setOwnRoot(root, at: sequence)
        let own = Checkpoint(
            sequence,
            root: root,
            by: configuration.replica,
            cluster: configuration.cluster,
            signer: signer
        )
        checkpoints.add(own, low: log.low)
        effects.append(.send(.checkpoint(Unverified(own)), to: .others, after: logPosition))
        stabilise(sequence, into: &effects)
    }

    mutating func onCheckpoint(_ checkpoint: Unverified<Checkpoint>, into effects: inout [Effect]) {
        let claim = checkpoint.claim
        guard claim.replica != configuration.replica,
            claim.sequence.rawValue.isMultiple(of: UInt64(configuration.limits.checkpointInterval)),
            checkpoints.wants(claim, low: log.low)
        else { return drop(.uselessCheckpoint, into: &effects) }
        effects.append(.checkCheckpoint(checkpoint))
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
            effects.append(.note(.diverged(sequence)))
        case .ahead(let stable):
            // Within the marks this replica may still come so far itself; if it does not, the stall timer adopts it.
            highestCertified = max(highestCertified, sequence)
            if sequence > log.high { adopt(stable, into: &effects) }
        case .stable(let stable):
            advanceLog(stable, into: &effects)
            effects.append(.discardCheckpoints(before: sequence))
        }
    }

    private mutating func advanceLog(_ stable: CheckpointTracker.Stable, into effects: inout [Effect]) {
        checkpoints.stabilise(stable.sequence, certificate: stable.certificate)
        log.truncate(to: stable.sequence)
        progressed()
        nextSequence = max(nextSequence, log.low.next)
        _ = persist(.stable(stable.sequence, certificate: stable.certificate), into: &effects)
        effects.append(.note(.stable(stable.sequence)))
    }

    /// Takes a stable checkpoint whose state is not here: votes go on from it, and the state is fetched.
    mutating func adopt(_ stable: CheckpointTracker.Stable, into effects: inout [Effect]) {
        guard stable.sequence > log.low else { return }
        advanceLog(stable, into: &effects)
        guard executed < stable.sequence || stateTarget != nil else { return }
        stateTarget = stable.sequence
        effects.append(.note(.fetchesState(stable.sequence)))
        effects.append(.fetchState(stable.sequence, root: stable.root))
    }

    /// The state of a stable checkpoint was fetched and installed, the engine's own entries with it.
    ///
    /// - Parameters:
    ///   - sequence: The checkpoint, as the effect named it.
    ///   - records: The engine's entries of that state.
    ///   - now: The shell's clocks.
    ///   - effects: What is to be done is appended here.
    public mutating func stateInstalled(
        _ sequence: SequenceNumber,
        records: [SystemRecord],
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard sequence == stateTarget, sequence > executed else { return }
        invariant(executing == nil, "state was installed under an execution")
        stateTarget = nil
        executed = sequence
        agreedTime = clients.restore(records)
        progressed()
        releaseReads(into: &effects)
        executeNext(into: &effects)
    }
}
