import Messages

/// Reads that wait for the batches that were prepared here when they came.
struct WaitingReads: Sendable {
    private struct Waiting: Sendable {
        let fence: SequenceNumber
        let client: ClientID
        let read: ReadRequest
    }

    private var waiting: [Waiting] = []
    private(set) var bytes = 0

    /// How many reads wait.
    var count: Int { waiting.count }

    /// Keeps a read until the fence is executed.
    ///
    /// - Returns: false when there is no room for it.
    mutating func add(_ read: ReadRequest, from client: ClientID, until fence: SequenceNumber, limits: Limits) -> Bool {
        let size = 64 + read.operation.count
        guard waiting.count < limits.waitingReads, bytes + size <= limits.waitingReadBytes else { return false }
        waiting.append(Waiting(fence: fence, client: client, read: read))
        bytes += size
        return true
    }

    /// Takes out the reads whose fence is executed, in the order in which they came.
    mutating func release(_ executed: SequenceNumber) -> [(client: ClientID, read: ReadRequest)] {
        guard waiting.contains(where: { $0.fence <= executed }) else { return [] }
        let released = waiting.filter { $0.fence <= executed }
        waiting.removeAll { $0.fence <= executed }
        bytes = waiting.reduce(0) { $0 + 64 + $1.read.operation.count }
        return released.map { ($0.client, $0.read) }
    }
}

/// Read-only requests outside the order: linearizable without a larger quorum for writes, and so without the liveness attack of Berger,
/// Reiser and Bessani (SRDS 2021).
///
/// A write is accepted on f + 1 committed replies, so it may have been executed at one correct replica only. But 2f + 1 replicas have
/// prepared it, f + 1 of them correct, and any 2f + 1 readers include one of those. It answers only after executing everything that was
/// prepared here when the read came, so 2f + 1 equal answers cannot show an older state.
///
/// Nor may a result be seen that a power loss can take back. A batch was executed here on 2f + 1 COMMITs, and this replica's own may not be
/// durable yet; if that held of each of the 2f + 1 who answer, a view change after a power loss could drop the batch. So an answer waits
/// until everything that was prepared here and that it rests on is durable, like a COMMIT.
extension Replica {
    /// The highest number that ever prepared here. What is stable was prepared somewhere correct, and here too unless this replica was
    /// away.
    var fence: SequenceNumber { max(highestPrepared, log.low) }

    /// A read came over its client's own channel.
    public mutating func receive(
        _ read: ReadRequest,
        from client: ClientID,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard clients.key(of: client) != nil else { return drop(.unknownClient, into: &effects) }
        if admission?.isBlacklisted(.client(client)) == true { return drop(.blacklisted, into: &effects) }
        // What prepared here before the store was lost is not known, so nothing can be waited for.
        guard learning == nil else { return drop(.learning, into: &effects) }
        let fence = fence
        if fence <= executed || isMutated(.readsWithoutFence) {
            query(read, for: client, into: &effects)
        } else if !reads.add(read, from: client, until: fence, limits: configuration.limits) {
            drop(.tooManyReads, into: &effects)
        }
    }

    /// Answers the reads that waited for what is now executed.
    mutating func releaseReads(into effects: inout [Effect]) {
        for (client, read) in reads.release(executed) {
            query(read, for: client, into: &effects)
        }
    }

    private func query(_ read: ReadRequest, for client: ClientID, into effects: inout [Effect]) {
        let position = foundation(executedPosition, unless: .readsTooEarly)
        effects.append(.query(read, for: client, after: position))
    }
}
