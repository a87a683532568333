import Cryptography
import Invariants
import Messages

/// A proposal by digests of which some requests are not here.
struct AwaitedProposal: Sendable {
    let proposal: DigestPrePrepare
    /// The requests that are here, by their envelope digests.
    var found: [Digest: Request] = [:]
    /// The envelope digests of the others.
    var missing: Set<Digest> = []

    /// The proposal with its requests, none of which is missing.
    var whole: PrePrepare {
        let requests = proposal.references.compactMap { found[$0.envelope] }
        invariant(requests.count == proposal.references.count, "a request that is neither here nor missing")
        let batch = Batch(time: proposal.time, requests: requests)
        return PrePrepare(view: proposal.view, sequence: proposal.sequence, batch: batch)
    }

    /// The length of the batch, as far as its requests are here.
    var byteCount: Int {
        proposal.references.reduce(10) { $0 + 4 + (found[$1.envelope]?.bytes.count ?? 0) }
    }
}

extension PeerMessage {
    /// The form in which a replica sends this: with dissemination to all, a PRE-PREPARE names its requests.
    public func disseminated(_ dissemination: ProtocolSwitches.Dissemination) -> PeerMessage {
        guard dissemination == .all, case .prePrepare(let prePrepare) = self else { return self }
        return .digestPrePrepare(DigestPrePrepare(prePrepare))
    }
}

/// Proposals that name requests instead of carrying them: clients send theirs to every replica, so each checks them before the
/// PRE-PREPARE comes (Aardvark section 5; PBFT section 5.1.5). Requests that have not come are fetched; no vote is cast without them.
extension Replica {
    mutating func onDigestPrePrepare(
        _ proposal: DigestPrePrepare,
        from peer: ReplicaID,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        let sequence = proposal.sequence
        guard proposal.view == logView else {
            return onOtherView(proposal.view, .digestPrePrepare(proposal), from: peer, into: &effects)
        }
        guard mayPropose(peer) else { return drop(.wrongRole, into: &effects) }
        guard isInWindow(sequence) else { return drop(.outsideWindow, into: &effects) }
        var isChosen = false
        if let earlier = log[sequence].proposedDigest {
            if earlier == proposal.digest, case .chosen = log[sequence].proposal { isChosen = true }
            if earlier != proposal.digest { accuse(peer, of: .equivocation, into: &effects) }
            guard isChosen else { return drop(.duplicateVote, into: &effects) }
        }
        var awaited = AwaitedProposal(proposal: proposal)
        for reference in proposal.references {
            if let request = clients.held(reference) {
                awaited.found[reference.envelope] = request
            } else {
                awaited.missing.insert(reference.envelope)
            }
        }
        if awaited.missing.isEmpty {
            guard let whole = take(awaited, from: peer, into: &effects) else { return }
            return onPrePrepare(whole, from: peer, now: now, into: &effects)
        }
        // What NEW-VIEW chose is fetched whole.
        guard !isChosen else { return drop(.duplicateVote, into: &effects) }
        if isActive {
            highestProposed = max(highestProposed, sequence)
            noteProposed(sequence, now: now)
        }
        log[sequence].proposal = .awaiting(awaited)
        if !awaiting.contains(sequence) { awaiting.append(sequence) }
        if requestFetch == nil {
            requestFetch = now.monotonic.advanced(byNanoseconds: configuration.limits.requestFetchNanoseconds)
        }
    }

    /// The proposal, of which nothing is missing, unless it is beyond the bounds of a batch.
    private mutating func take(
        _ awaited: AwaitedProposal,
        from peer: ReplicaID,
        into effects: inout [Effect]
    ) -> PrePrepare? {
        guard awaited.byteCount <= MessageLimits.batchBytes else {
            accuse(peer, of: .batchOverLimits, into: &effects)
            return nil
        }
        return awaited.whole
    }

    /// A request that was checked here may be what a proposal waits for.
    mutating func completeProposals(with request: Request, now: ClockReading, into effects: inout [Effect]) {
        guard !awaiting.isEmpty else { return }
        complete(with: [request], at: awaiting, now: now, into: &effects)
    }

    mutating func onRequests(_ message: BatchRequests, now: ClockReading, into effects: inout [Effect]) {
        guard log.contains(message.sequence), case .awaiting(let awaited) = log[message.sequence].proposal,
            awaited.proposal.digest == message.digest
        else { return drop(.uselessFetch, into: &effects) }
        complete(with: message.requests, at: [message.sequence], now: now, into: &effects)
    }

    private mutating func complete(
        with requests: [Request],
        at sequences: [SequenceNumber],
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        for sequence in sequences where log.contains(sequence) {
            guard case .awaiting(var awaited) = log[sequence].proposal else { continue }
            for request in requests where awaited.missing.remove(request.envelopeDigest) != nil {
                awaited.found[request.envelopeDigest] = request
            }
            log[sequence].proposal = .awaiting(awaited)
            guard awaited.missing.isEmpty else { continue }
            awaiting.removeAll { $0 == sequence }
            let primary = logView.primary(in: configuration.size)
            guard let whole = take(awaited, from: primary, into: &effects) else { continue }
            log[sequence].proposal = .none
            onPrePrepare(whole, from: primary, now: now, into: &effects)
        }
    }

    /// Asks the primary for the requests that its proposals name and that have not come from their clients.
    mutating func fetchRequests(into effects: inout [Effect]) {
        requestFetch = nil
        let primary = logView.primary(in: configuration.size)
        for sequence in awaiting {
            guard case .awaiting(let awaited) = log[sequence].proposal else { continue }
            let references = awaited.proposal.references
            let places = references.indices.filter { awaited.missing.contains(references[$0].envelope) }
            let subject = Fetch.Subject.requests(sequence, awaited.proposal.digest, places.map(UInt16.init))
            effects.append(.send(.fetch(Fetch(subject)), to: .replica(primary), after: .start))
        }
    }

    /// A peer asks for requests of a batch that this replica proposed or holds.
    ///
    /// - Returns: nil when they are not here.
    func requests(_ sequence: SequenceNumber, _ digest: Digest, _ places: [UInt16]) -> BatchRequests? {
        guard log.contains(sequence), let batch = log[sequence].body(digest), let last = places.last,
            Int(last) < batch.requests.count
        else { return nil }
        let requests = places.map { batch.requests[Int($0)] }
        return BatchRequests(sequence: sequence, digest: digest, requests: requests)
    }
}
