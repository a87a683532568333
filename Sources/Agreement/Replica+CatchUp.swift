import Messages

/// Messages that were lost with a link, or at a replica that was away: the receiver asks, peers send again what is in their logs
/// (PBFT's retransmission by status messages, TOCS 2002 section 5.2).
extension Replica {
    mutating func onCatchUp(_ catchUp: CatchUp, from peer: ReplicaID, now: ClockReading, into effects: inout [Effect]) {
        guard catchUpAllowed[peer.index] <= now.monotonic else { return drop(.needlessCatchUp, into: &effects) }
        catchUpAllowed[peer.index] = now.monotonic.advanced(byNanoseconds: configuration.limits.catchUpNanoseconds)
        sayAgain(after: catchUp.executed, to: .replica(peer), into: &effects)
    }

    /// Sends again what this replica said: its CHECKPOINTs from the stable one on, whatever the receiver has executed (it may have missed
    /// any of them), and its votes on the sequence numbers after one, as far as its log goes.
    private func sayAgain(after sequence: SequenceNumber, to recipient: Recipient, into effects: inout [Effect]) {
        for checkpoint in checkpoints.messages(of: configuration.replica) {
            effects.append(.send(.checkpoint(Unverified(checkpoint)), to: recipient, after: logPosition))
        }
        guard sequence < log.high else { return }
        var next = max(sequence, log.low).next
        var left = configuration.limits.catchUpBatches
        while log.contains(next), left > 0 {
            let slot = log[next]
            if let prePrepare = slot.accepted {
                let digest = prePrepare.batch.digest
                if isPrimary {
                    effects.append(.send(.prePrepare(prePrepare), to: recipient, after: logPosition))
                } else {
                    let vote = Vote(.prepare, view: view, sequence: next, digest: digest)
                    effects.append(.send(.vote(vote), to: recipient, after: logPosition))
                }
                if slot.isPrepared {
                    let vote = Vote(.commit, view: view, sequence: next, digest: digest)
                    effects.append(.send(.vote(vote), to: recipient, after: logPosition))
                }
                left -= 1
            }
            next = next.next
        }
    }

    /// A batch was executed, or a checkpoint became stable: what is still owed has its whole time again.
    mutating func progressed() {
        stallDeadline = nil
        stallNanoseconds = configuration.limits.stallNanoseconds
    }

    /// Starts the stall timer when there is work that does not move yet.
    mutating func watchForStall(_ now: ClockReading) {
        guard stallDeadline == nil, isMissingSomething else { return }
        stallDeadline = now.monotonic.advanced(byNanoseconds: stallNanoseconds)
    }

    /// Others are ahead, a number that somebody named is not executed, or a checkpoint that was taken is not stable.
    private var isMissingSomething: Bool {
        let interval = UInt64(configuration.limits.checkpointInterval)
        return isBehind || highestNamed > executed || executed.rawValue / interval * interval > log.low.rawValue
    }

    /// Nothing moved for a while: ask everybody for what was missed, and say again what others may have missed.
    mutating func onStall(now: ClockReading, into effects: inout [Effect]) {
        guard isMissingSomething else { return }
        effects.append(.note(.stalled(executed.next)))
        effects.append(.send(.catchUp(CatchUp(executed: executed)), to: .others, after: logPosition))
        sayAgain(after: executed, to: .others, into: &effects)
        let doubled = stallNanoseconds.multipliedReportingOverflow(by: 2)
        stallNanoseconds = min(
            doubled.overflow ? .max : doubled.partialValue,
            configuration.limits.longestStallNanoseconds
        )
    }
}
