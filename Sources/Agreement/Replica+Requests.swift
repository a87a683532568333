import Cryptography
import Messages

/// Requests: how they come in, and how the primary makes batches of them (PBFT section 4.1 and 4.2).
extension Replica {
    /// A request came over its client's own channel.
    ///
    /// The shell makes sure that the channel is that client's: a request that claims another client never gets here.
    public mutating func receive(_ request: Unverified<Request>, now: ClockReading, into effects: inout [Effect]) {
        admit(request, from: .client(request.claim.client), now: now, into: &effects)
    }

    mutating func onForward(
        _ request: Unverified<Request>,
        from peer: ReplicaID,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard isPrimary else { return drop(.wrongRole, into: &effects) }
        admit(request, from: .forwarded(by: peer), now: now, into: &effects)
    }

    private mutating func admit(
        _ request: Unverified<Request>,
        from source: RequestSource,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        if admission?.isBlacklisted(source) == true { return drop(.blacklisted, into: &effects) }
        guard hasRightScheme(request.claim) else { return drop(.wrongScheme, into: &effects) }
        switch clients.admission(of: request.claim, in: logView) {
        case .check(let key):
            effects.append(.checkRequest(RequestCheck(request, under: key), from: source))
        case .waiting(let known):
            // A client that sends a request again to a backup has waited too long for the primary.
            if noteAskedAgain(known.value) { return }
            if case .client = source, isActive, !isPrimary {
                forward(known, now: now, into: &effects)
            } else {
                drop(.duplicateRequest, into: &effects)
            }
        case .answered(let reply):
            guard admission?.mayResend(WatchedRequest(request.claim), now: now.monotonic) ?? true else {
                return drop(.resentAlready, into: &effects)
            }
            effects.append(.reply([reply], after: logPosition))
        case .outdated(let reply):
            effects.append(.reply([reply], after: logPosition))
        case .drop(let reason):
            drop(reason, into: &effects)
        }
    }

    func hasRightScheme(_ request: Request) -> Bool {
        switch configuration.switches.requestAuthentication {
        case .macVector: request.scheme == .macVector
        case .signature: request.scheme == .signature
        }
    }

    /// The verdict on a request's signature or MAC is there.
    ///
    /// - Parameters:
    ///   - request: The request, or nil when its authentication is wrong.
    ///   - source: Where it came from, as the effect said.
    ///   - now: The shell's clocks.
    ///   - effects: What is to be done is appended here.
    public mutating func requestChecked(
        _ request: Verified<Request>?,
        from source: RequestSource,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard let request else {
            drop(.badAuthentication, into: &effects)
            guard let admission, !admission.isBlacklisted(source) else { return }
            self.admission?.blame(source)
            return effects.append(.note(.blacklisted(source)))
        }
        // Whatever happened since the check was asked for counts: the same request may have come twice, or been executed.
        guard case .check = clients.admission(of: request.value, in: logView) else {
            return drop(.duplicateRequest, into: &effects)
        }
        clients.keep(request)
        if case .client = source, isActive, !isPrimary { handOver(request, now: now, into: &effects) }
        completeProposals(with: request.value, now: now, into: &effects)
    }

    /// A backup hands a request to the primary, once in a view however often the client sends it: the primary hears the client's
    /// repetitions too. It watches what becomes of the request if it is the client's next executable one.
    mutating func forward(_ request: Verified<Request>, now: ClockReading, into effects: inout [Effect]) {
        guard clients.noteForwarded(request.value) else { return drop(.duplicateRequest, into: &effects) }
        effects.append(.send(.forward(Unverified(request.value)), to: .replica(primary), after: .start))
        noteForwarded(request.value, now: now)
    }

    /// The primary proposes batches of everything that waits, while fewer than `pipelineDepth` of them are not yet executed and the next
    /// number is between the water marks.
    mutating func propose(now: ClockReading, into effects: inout [Effect]) {
        let limits = configuration.limits
        while isPrimary, clients.queuedClients > 0, log.contains(nextSequence), inFlight < limits.pipelineDepth {
            let requests = clients.takeBatch(requests: limits.batchRequests, bytes: limits.batchBytes)
            guard !requests.isEmpty else { return }
            proposedTime = max(now.wall, proposedTime, agreedTime)
            let batch = Batch(time: proposedTime, requests: requests)
            let prePrepare = PrePrepare(view: view, sequence: nextSequence, batch: batch)
            nextSequence = nextSequence.next
            effects.append(.note(.proposed(prePrepare.sequence, requests: requests.count)))
            primaryWatch?.monitor.proposed(prePrepare.sequence, now: now.monotonic)
            accept(prePrepare, isChosen: false, into: &effects)
        }
    }

    /// How many batches are proposed and not yet executed.
    private var inFlight: Int {
        let next = nextSequence.rawValue - 1
        return next > executed.rawValue ? Int(next - executed.rawValue) : 0
    }
}
