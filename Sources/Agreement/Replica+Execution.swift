import Cryptography
import Invariants
import Messages

/// A batch that the shell was asked to execute.
struct BatchUnderExecution: Sendable {
    let execution: Execution
    let digest: Digest
    /// Where the log holds what the replies rest on.
    let position: LogPosition
    /// What the administrators' requests in it have done, in their order.
    let administration: [AdministrationOutcome]
    /// Whether it is to be taken back as soon as it is done.
    var isAbandoned = false
}

/// A batch that was executed before it is known to be committed: at most one, and all before it are committed (PBFT section 5.1.2).
///
/// Only the shell's state has changed, in a way that can be taken back. The client table, the reply cache and the agreed time change
/// when the batch is confirmed, so that a rollback is to forget this.
struct TentativeBatch: Sendable {
    let execution: Execution
    let digest: Digest
    let payloads: [Reply.Payload]
    /// Requests that came again since: their clients need a committed reply.
    var askedAgain: Set<WatchedRequest> = []
}

/// Execution in order, tentative or not, and replies (PBFT sections 4.2 and 5.1).
extension Replica {
    /// Hands the next batch to execution, when the shell is not busy with one: finally if it is committed, otherwise tentatively if it is
    /// prepared.
    mutating func executeNext(into effects: inout [Effect]) {
        let sequence = executed.next
        guard executing == nil else { return }
        if let batch = nextCommitted {
            if let done = tentative {
                if done.digest == batch.digest || isMutated(.keepsTentativeState) {
                    return confirm(done, into: &effects)
                }
                rollBack(into: &effects)
            }
            agreedTime = time(of: batch)
            var effective: [Request] = []
            effective.reserveCapacity(batch.requests.count)
            var administration: [AdministrationOutcome] = []
            for request in batch.requests where clients.begin(request) {
                effective.append(request)
                if request.kind == .administration { administration.append(clients.administer(request)) }
            }
            execute(effective, administration, of: batch, at: sequence, isTentative: false, into: &effects)
        } else if configuration.switches.tentativeExecution, isActive, tentative == nil, log.contains(sequence),
            log[sequence].isPrepared,
            let batch = log[sequence].accepted?.batch,
            // Who the clients are changes for good or not at all.
            !batch.requests.contains(where: { $0.kind == .administration })
        {
            execute(clients.effective(batch.requests), [], of: batch, at: sequence, isTentative: true, into: &effects)
        }
    }

    /// The agreed time of the batch that is executed next: it never goes back.
    private func time(of batch: Batch) -> Timestamp {
        if isMutated(.timeGoesBack) { return batch.time }
        if isMutated(.usesOwnTime) { return max(agreedTime, batch.time, proposedTime) }
        return max(agreedTime, batch.time)
    }

    private mutating func execute(
        _ requests: [Request],
        _ administration: [AdministrationOutcome],
        of batch: Batch,
        at sequence: SequenceNumber,
        isTentative: Bool,
        into effects: inout [Effect]
    ) {
        let execution = Execution(
            sequence: sequence,
            batch: batch.digest,
            time: time(of: batch),
            requests: requests,
            isTentative: isTentative
        )
        let prepared = log.contains(sequence) ? log[sequence].preparedPosition : .start
        executedPosition = max(executedPosition, prepared)
        let position = foundation(prepared, unless: .repliesTooEarly)
        executing = BatchUnderExecution(
            execution: execution,
            digest: batch.digest,
            position: position,
            administration: administration
        )
        effects.append(.execute(execution))
    }

    /// The shell has executed a batch.
    ///
    /// - Parameters:
    ///   - sequence: The batch, as the effect named it.
    ///   - results: What ``Execution/results(_:)`` gives: for each request of the effect, in its order, one result for each operation
    ///     that is the service's.
    ///   - now: The shell's clocks.
    ///   - effects: What is to be done is appended here.
    public mutating func executed(
        _ sequence: SequenceNumber,
        results: [[[UInt8]]],
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard let done = executing, done.execution.sequence == sequence else {
            invariantViolated("a batch was executed that was not asked for")
        }
        executing = nil
        let requests = done.execution.requests
        invariant(results.count == requests.count, "a request without results")
        var payloads: [Reply.Payload] = []
        payloads.reserveCapacity(results.count)
        var administration = done.administration.makeIterator()
        for (request, results) in zip(requests, results) {
            let all = request.kind == .administration ? administration.next()?.results ?? [] : results
            invariant(all.count == request.operationCount, "an operation without its result")
            payloads.append(Self.payload(for: request, results: all))
        }
        if done.execution.isTentative {
            tentative = TentativeBatch(execution: done.execution, digest: done.digest, payloads: payloads)
            if done.isAbandoned {
                rollBack(into: &effects)
            } else {
                reply(to: requests, payloads, at: done, into: &effects)
            }
            executeNext(into: &effects)
        } else {
            reply(to: requests, payloads, at: done, into: &effects)
            complete(done.execution, payloads, done.administration, into: &effects)
        }
    }

    /// A long payload goes out whole from the replica that its client named; from the others as a digest.
    private func reply(
        to requests: [Request],
        _ payloads: [Reply.Payload],
        at done: BatchUnderExecution,
        into effects: inout [Effect]
    ) {
        // What is a whole window below the mark was answered by 2f + 1 long ago; a client that still asks gets it from the reply cache. What
        // is just below it may need this replica: it can be the one that was to send the result whole, or the 2f + 1st that speaks at all.
        let window = UInt64(configuration.limits.logWindow)
        guard !requests.isEmpty, done.execution.sequence.rawValue + window > log.low.rawValue else { return }
        var replies: [AddressedReply] = []
        replies.reserveCapacity(requests.count)
        for (request, payload) in zip(requests, payloads) {
            let isWhole = request.replier == configuration.replica || !payload.isLong
            let reply = Reply(
                view: logView,
                sequence: done.execution.sequence,
                isTentative: done.execution.isTentative,
                content: isWhole ? .whole(payload) : payload.summary
            )
            replies.append(AddressedReply(client: request.client, reply: reply))
        }
        effects.append(.reply(replies, after: done.position))
    }

    /// The batch that was executed tentatively is committed.
    private mutating func confirm(_ done: TentativeBatch, into effects: inout [Effect]) {
        tentative = nil
        let execution = done.execution
        agreedTime = execution.time
        for request in execution.requests {
            let takesEffect = clients.begin(request)
            invariant(takesEffect, "a tentative execution of what takes no effect")
        }
        effects.append(.confirmExecution(execution.sequence))
        var replies: [AddressedReply] = []
        for (request, payload) in zip(execution.requests, done.payloads)
        where done.askedAgain.contains(WatchedRequest(request)) {
            let reply = Reply(view: logView, sequence: execution.sequence, payload: payload)
            replies.append(AddressedReply(client: request.client, reply: reply))
        }
        if !replies.isEmpty { effects.append(.reply(replies, after: logPosition)) }
        complete(execution, done.payloads, [], into: &effects)
    }

    /// Takes a tentative execution back, or sees to it that one under way is.
    mutating func rollBack(into effects: inout [Effect]) {
        if executing?.execution.isTentative == true { executing?.isAbandoned = true }
        guard let undone = tentative else { return }
        tentative = nil
        effects.append(.rollBackExecution(undone.execution.sequence))
        effects.append(.note(.rolledBack(undone.execution.sequence)))
    }

    /// A client asks again for what was answered tentatively: it gets a committed reply with the commit.
    ///
    /// - Returns: false when the request was not.
    mutating func noteAskedAgain(_ request: Request) -> Bool {
        let name = WatchedRequest(request)
        guard tentative?.execution.requests.contains(where: { WatchedRequest($0) == name }) == true else {
            return false
        }
        tentative?.askedAgain.insert(name)
        return true
    }

    /// A committed batch is executed: what follows for the replicated tables, and for everything that waited for it.
    private mutating func complete(
        _ execution: Execution,
        _ payloads: [Reply.Payload],
        _ administration: [AdministrationOutcome],
        into effects: inout [Effect]
    ) {
        let sequence = execution.sequence
        let requests = execution.requests
        var records = sequence == SequenceNumber.zero.next ? clients.genesisRecords : []
        records += administration.flatMap(\.records)
        records.reserveCapacity(records.count + 2 * requests.count + 1)
        var operations = 0
        for (request, payload) in zip(requests, payloads) {
            operations += request.operationCount
            records.append(contentsOf: clients.finish(payload, for: request.client, at: sequence))
        }
        for client in Set(requests.map(\.client)).sorted() {
            if let progress = clients.progressRecord(of: client) { records.append(progress) }
        }
        records.append(SystemRecord(key: StateKey.agreedTime.bytes, value: Self.encoded(agreedTime)))
        let isCheckpoint = sequence.rawValue.isMultiple(of: UInt64(configuration.limits.checkpointInterval))
        let isEarly = isMutated(.checkpointsTooEarly)
        if isCheckpoint, isEarly { effects.append(.takeCheckpoint(sequence)) }
        effects.append(.record(records))
        let changed = administration.flatMap(\.changed)
        if !changed.isEmpty { onClientsChanged(changed, into: &effects) }
        effects.append(.note(.executed(sequence, requests: requests.count, operations: operations)))
        noteExecuted(execution, operations: operations)
        executed = sequence
        noteRepeated(sequence, into: &effects)
        isBehind = false
        // The view works, so the next suspicion starts from T again.
        if isActive { viewChangeDoublings = 0 }
        progressed()
        releaseReads(into: &effects)
        if isCheckpoint, !isEarly { effects.append(.takeCheckpoint(sequence)) }
        judgeAgain(sequence.next, into: &effects)
        executeNext(into: &effects)
    }

    /// Clients were removed or have other keys.
    mutating func onClientsChanged(_ changed: [ClientID], into effects: inout [Effect]) {
        for client in changed {
            admission?.forget(client)
            primaryWatch?.monitor.forget(client)
        }
        effects.append(.clientsChanged(changed))
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
}
