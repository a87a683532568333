import Cryptography
import Invariants
import Messages

/// Execution in order, replies, and checkpoints (PBFT sections 4.2 and 4.3).
extension Replica {
    /// Hands the next batch to execution when it is committed and the shell is not busy with one.
    mutating func executeNext(into effects: inout [Effect]) {
        let sequence = executed.next
        guard executing == nil, log.contains(sequence), log[sequence].isCommitted,
            let prePrepare = log[sequence].accepted
        else { return }
        executing = sequence
        agreedTime = max(agreedTime, prePrepare.batch.time)
        var effective: [Request] = []
        effective.reserveCapacity(prePrepare.batch.requests.count)
        for request in prePrepare.batch.requests where clients.begin(request) {
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
            let reply = Reply(view: view, sequence: sequence, payload: payload)
            replies.append(AddressedReply(client: request.client, reply: reply))
        }
        for client in Set(executingBatch.map(\.client)).sorted() {
            if let progress = clients.progress(of: client) { records.append(progress) }
        }
        records.append(SystemRecord(key: Array("agreed time".utf8), value: Self.encoded(agreedTime)))
        effects.append(.record(records))
        if !replies.isEmpty {
            effects.append(.reply(replies, after: log[sequence].preparedPosition))
        }
        effects.append(.note(.executed(sequence, requests: replies.count, operations: operations)))
        executing = nil
        executed = sequence
        isBehind = false
        progressed()
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
        if bytes > MessageLimits.replyPayloadBytes || results.contains(where: { $0.count > MessageLimits.resultBytes }) {
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
        checkpoints.add(own)
        effects.append(.send(.checkpoint(Unverified(own)), to: .others, after: logPosition))
        stabilise(sequence, into: &effects)
    }

    mutating func onCheckpoint(_ checkpoint: Unverified<Checkpoint>, from peer: ReplicaID, into effects: inout [Effect]) {
        let claim = checkpoint.claim
        guard claim.replica == peer, isCheckpoint(claim.sequence), claim.sequence > log.low,
            log.contains(claim.sequence), !checkpoints.has(claim.sequence, from: peer)
        else {
            isBehind = isBehind || claim.sequence > log.high
            return drop(.uselessCheckpoint, into: &effects)
        }
        effects.append(.checkCheckpoint(checkpoint))
    }

    private func isCheckpoint(_ sequence: SequenceNumber) -> Bool {
        sequence.rawValue.isMultiple(of: UInt64(configuration.limits.checkpointInterval))
    }

    /// A checkpoint's signature was checked and is good.
    public mutating func checkpointVerified(
        _ checkpoint: Verified<Checkpoint>,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard log.contains(checkpoint.value.sequence) else { return }
        checkpoints.add(checkpoint.value)
        stabilise(checkpoint.value.sequence, into: &effects)
    }

    /// Moves the water marks up when a quorum, this replica included, has one root for a number.
    private mutating func stabilise(_ sequence: SequenceNumber, into effects: inout [Effect]) {
        switch checkpoints.verdict(at: sequence) {
        case .open:
            return
        case .diverged:
            effects.append(.note(.diverged(sequence)))
        case .stable(let certificate):
            checkpoints.stabilise(sequence, certificate: certificate)
            log.truncate(to: sequence)
            progressed()
            _ = persist(.stable(sequence, certificate: certificate), into: &effects)
            effects.append(.discardCheckpoints(before: sequence))
            effects.append(.note(.stable(sequence)))
        }
    }
}
