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
        _ forward: Forward,
        from peer: ReplicaID,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard isPrimary else { return drop(.wrongRole, into: &effects) }
        // Whether the endorsement is right matters only where the request is wrong, so it is checked there only.
        let forwarder = configuration.switches.requestAuthentication == .signature ? peer : nil
        guard forward.endorsement?.forwarder == forwarder else { return drop(.wrongScheme, into: &effects) }
        let source = RequestSource.forwarded(by: peer)
        admit(forward.request, from: source, endorsement: forward.endorsement, now: now, into: &effects)
    }

    private mutating func admit(
        _ request: Unverified<Request>,
        from source: RequestSource,
        endorsement: Forward.Endorsement? = nil,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        if admission?.isBlacklisted(source) == true { return drop(.blacklisted, into: &effects) }
        guard hasRightScheme(request.claim) else { return drop(.wrongScheme, into: &effects) }
        switch clients.admission(of: request.claim, in: logView) {
        case .check(let key):
            effects.append(.checkRequest(RequestCheck(request, under: key, endorsement: endorsement), from: source))
        case .conflicting(let key):
            // Checked once for each client: a good signature is evidence against it, and a bad one closes its sender off.
            guard admission?.wantsEvidence(against: request.claim.client.identity) == true else {
                return drop(.duplicateRequest, into: &effects)
            }
            effects.append(.checkRequest(RequestCheck(request, under: key, endorsement: endorsement), from: source))
        case .waiting(let known):
            // A client that sends a request again to a backup has waited too long for the primary.
            if noteAskedAgain(known.value) { return }
            if case .client = source, isActive, !isPrimary {
                if configuration.limits.turns(of: known.value) > 0 {
                    handOver(known, now: now, into: &effects)
                } else {
                    forward(known, now: now, into: &effects)
                }
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
            noteConflict(of: request.value, into: &effects)
            return drop(.duplicateRequest, into: &effects)
        }
        clients.keep(request)
        if case .client = source, isActive, !isPrimary { handOver(request, now: now, into: &effects) }
        completeProposals(with: request.value, now: now, into: &effects)
    }

    /// A replica forwarded a request that is not authenticated, and put its signature to it. Answers
    /// ``Effect/checkRequest(_:from:)`` in place of ``requestChecked(_:from:now:into:)``.
    ///
    /// - Parameters:
    ///   - evidence: Of a bad forward. Whether the endorsement is right need not be known: the channel says whom to blame.
    ///   - now: The shell's clocks.
    ///   - effects: What is to be done is appended here.
    public mutating func forwardRefused(_ evidence: Evidence, now: ClockReading, into effects: inout [Effect]) {
        guard let forwarder = evidence.forwarder else { return }
        keep(evidence, into: &effects)
        requestChecked(nil, from: .forwarded(by: forwarder), now: now, into: &effects)
    }

    private mutating func keep(_ evidence: Evidence, into effects: inout [Effect]) {
        if admission?.noteEvidence(against: evidence.accused) == true { effects.append(.keepEvidence(evidence)) }
    }

    /// A request was checked: if another one with its number waits here, its client has signed both.
    mutating func noteConflict(of request: Request, into effects: inout [Effect]) {
        guard admission?.wantsEvidence(against: request.client.identity) == true,
            let evidence = clients.conflict(of: request)
        else { return }
        keep(evidence, into: &effects)
    }

    /// A backup hands a request to the primary, once in a view however often the client sends it: the primary hears the client's
    /// repetitions too. It watches what becomes of the request if it is the client's next executable one.
    mutating func forward(_ request: Verified<Request>, now: ClockReading, into effects: inout [Effect]) {
        guard clients.noteForwarded(request.value) else { return drop(.duplicateRequest, into: &effects) }
        sendForward(request.value, into: &effects)
        noteForwarded(request.value, now: now)
    }

    /// Sends the primary a checked request, with this replica's word for it where requests are signed.
    func sendForward(_ request: Request, into effects: inout [Effect]) {
        let endorsement: Forward.Endorsement? =
            switch configuration.switches.requestAuthentication {
            case .macVector: nil
            case .signature:
                Forward.Endorsement(
                    of: request,
                    by: configuration.replica,
                    in: view,
                    cluster: configuration.cluster,
                    signer: signer
                )
            }
        effects.append(
            .send(.forward(Forward(request, endorsement: endorsement)), to: .replica(primary), after: .start)
        )
    }

    /// The primary proposes batches of everything that waits, while fewer than `pipelineDepth` of them are not yet executed and the next
    /// number is between the water marks.
    mutating func propose(now: ClockReading, into effects: inout [Effect]) {
        let limits = configuration.limits
        while isPrimary, clients.queuedClients > 0, log.contains(nextSequence), inFlight < limits.pipelineDepth {
            let most = min(mostProposed ?? limits.batchRequests, limits.batchRequests)
            let requests = clients.takeBatch(
                requests: most,
                limits: limits,
                isServing: lastShort > executed,
                now: now.monotonic
            )
            guard !requests.isEmpty else { return }
            proposedTime = max(now.wall, proposedTime, agreedTime)
            let batch = Batch(time: proposedTime, requests: requests)
            let prePrepare = PrePrepare(view: view, sequence: nextSequence, batch: batch)
            if requests.contains(where: { limits.turns(of: $0) == 0 }) { lastShort = nextSequence }
            nextSequence = nextSequence.next
            effects.append(.note(.proposed(prePrepare.sequence, requests: requests.count)))
            primaryWatch?.monitor.proposed(prePrepare.sequence, now: now.monotonic)
            accept(prePrepare, isChosen: false, into: &effects)
        }
    }

    /// Has this replica put no more requests than this into a batch from now on; nil for as many as ``Limits/batchRequests`` says.
    ///
    /// It is for replicas that are to misbehave: no input says so, so a recording of such a replica cannot be replayed.
    ///
    /// - Parameter requests: At least 1.
    package mutating func proposeAtMost(_ requests: Int?) {
        mostProposed = requests
    }

    /// How many batches are proposed and not yet executed.
    private var inFlight: Int {
        let next = nextSequence.rawValue - 1
        return next > executed.rawValue ? Int(next - executed.rawValue) : 0
    }
}
