import Cryptography
import Invariants
import Messages

/// Leaving a view: when, and what a replica says of itself (PBFT section 4.4, TOCS 2002 section 4.4, with signed VIEW-CHANGEs).
extension Replica {
    /// Leaves the view: from here on this replica casts no vote in a lower one. It still collects COMMITs of the last, executes, and
    /// signs checkpoints, so that a lone false suspicion does not leave it dark.
    mutating func leaveView(
        for next: View,
        because reason: ViewChangeReason,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        invariant(next > view, "views only grow")
        invariant(learning == nil, "a replica that lost its store votes for a view")
        endWatch(now)
        view = next
        isActive = false
        viewChangeDoublings = min(viewChangeDoublings + 1, 6)
        newViewDeadline = nil
        requestDeadline = nil
        watched = nil
        suspicion = nil
        effects.append(.note(.leftView(for: next, because: reason)))
        let own = makeViewChange()
        viewChanges[configuration.replica.index] = own
        let position = persist(.viewChange(own), into: &effects)
        let foundation = foundation(position, unless: .leavesTooEarly)
        effects.append(.send(.viewChange(Unverified(own)), to: .others, after: foundation))
        viewChangeResendNanoseconds = configuration.limits.stallNanoseconds
        viewChangeResend = now.monotonic.advanced(byNanoseconds: viewChangeResendNanoseconds)
        onViewChangeCounted(now: now, into: &effects)
        followPrimary(now: now, into: &effects)
    }

    /// What this replica says of itself when it leaves for ``view``. It is made once: a second one, with a later h, would contradict it.
    private func makeViewChange() -> ViewChange {
        let claims = log.claims
        return ViewChange(
            view: view,
            replica: configuration.replica,
            stable: log.low,
            certificate: checkpoints.certificate,
            prepared: claims.prepared,
            prePrepared: isMutated(.leavesPrePreparedOut) ? [] : claims.prePrepared,
            cluster: configuration.cluster,
            signer: signer
        )
    }

    mutating func resendViewChange(now: ClockReading, into effects: inout [Effect]) {
        viewChangeResend = nil
        guard !isActive, var own = viewChanges[configuration.replica.index] else { return }
        if isMutated(.changesItsViewChange) { own = makeViewChange() }
        effects.append(.send(.viewChange(Unverified(own)), to: .others, after: logPosition))
        // If the others stay in their view, this replica must keep up with what they execute there.
        ask(.others, into: &effects)
        for pending in pendingNewViews.compactMap({ $0 }) {
            askForMissingViewChanges(of: pending, isRepeated: true, into: &effects)
        }
        viewChangeResendNanoseconds = min(2 * viewChangeResendNanoseconds, configuration.limits.longestStallNanoseconds)
        viewChangeResend = now.monotonic.advanced(byNanoseconds: viewChangeResendNanoseconds)
    }

    mutating func onViewChange(
        _ viewChange: Unverified<ViewChange>,
        from peer: ReplicaID,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        let claim = viewChange.claim
        guard configuration.size.contains(claim.replica), isWellFormed(claim), isUseful(claim) || isAwaited(claim)
        else {
            help(peer, whichIsIn: claim.view, isWaiting: true, now: now, into: &effects)
            return drop(.uselessViewChange, into: &effects)
        }
        effects.append(.checkViewChange(viewChange, from: peer))
    }

    /// Whether P and Q are in their order, and about numbers that the sender's window holds.
    private func isWellFormed(_ claim: ViewChange) -> Bool {
        let low = claim.stable.rawValue
        let (high, overflow) = low.addingReportingOverflow(UInt64(configuration.limits.logWindow))
        guard !overflow, claim.prepared.count <= configuration.limits.logWindow else { return false }
        let numbers = claim.prepared.map(\.sequence.rawValue)
        let isGrowing = zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 }
        // Q holds the fresh digests, and one more for each view whose NEW-VIEW chose the batch.
        let isBounded = claim.prePrepared.count <= MessageLimits.prePreparedClaims
        return isGrowing && isBounded
            && (claim.prepared + claim.prePrepared).allSatisfy {
                low < $0.sequence.rawValue && $0.sequence.rawValue <= high && $0.view < claim.view
            }
            && zip(claim.prePrepared, claim.prePrepared.dropFirst()).allSatisfy { $0.sequence <= $1.sequence }
    }

    private func isUseful(_ claim: ViewChange) -> Bool {
        guard claim.replica != configuration.replica, claim.view > view || (claim.view == view && !isActive)
        else { return false }
        guard let held = viewChanges[claim.replica.index] else { return true }
        return claim.view > held.view
    }

    /// A VIEW-CHANGE's signature and certificate were checked and are good.
    public mutating func viewChangeVerified(
        _ viewChange: Verified<ViewChange>,
        from peer: ReplicaID,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        let value = viewChange.value
        let completed = completeNewViews(with: value)
        if isUseful(value) {
            viewChanges[value.replica.index] = value
            joinOthers(now: now, into: &effects)
            followPrimary(now: now, into: &effects)
            onViewChangeCounted(now: now, into: &effects)
        }
        for newView in completed { begin(newView, now: now, into: &effects) }
    }

    /// A primary that leaves its own view ends it: nobody need wait until it is found out. A faulty one only gives away its time. It may have
    /// told this replica alone, which would then be of no use in the old view nor in the new one, so the others are told.
    private mutating func followPrimary(now: ClockReading, into effects: inout [Effect]) {
        guard learning == nil, primary != configuration.replica, let change = viewChanges[primary.index],
            change.view > view
        else { return }
        effects.append(.send(.viewChange(Unverified(change)), to: .others, after: .start))
        leaveView(for: View(view.rawValue + 1), because: .abdicated, now: now, into: &effects)
    }

    /// f + 1 replicas want higher views, so a correct one does: join the smallest of them at once (PBFT section 4.5.2).
    private mutating func joinOthers(now: ClockReading, into effects: inout [Effect]) {
        let higher = viewChanges.compactMap { $0?.view }.filter { $0 > view }.sorted()
        guard higher.count >= configuration.size.weakQuorum, learning == nil else { return }
        leaveView(for: higher[0], because: .joined, now: now, into: &effects)
    }

    /// The VIEW-CHANGEs for the view that this replica waits for.
    private var current: [ViewChange] {
        viewChanges.compactMap { $0 }.filter { $0.view == view }
    }

    /// With 2f + 1 VIEW-CHANGEs the new primary has T to begin the view, which it does as soon as they decide what it starts from.
    private mutating func onViewChangeCounted(now: ClockReading, into effects: inout [Effect]) {
        guard !isActive, learning == nil else { return }
        // One that has gone on to a later view waits with the others for a change: were it not counted, they might wait for ever.
        let waiting = viewChanges.count { ($0?.view).map { $0 >= view } ?? false }
        if newViewDeadline == nil, waiting >= configuration.size.quorum {
            newViewDeadline = now.monotonic.advanced(byNanoseconds: newViewTimeout)
        }
        let members = current
        guard primary == configuration.replica, let choice = decide(members) else { return }
        if lacksState(of: choice.start), abdicatedAt != executed {
            abdicatedAt = executed
            return leaveView(for: View(view.rawValue + 1), because: .behind, now: now, into: &effects)
        }
        let newView = NewView(
            view: view,
            members: members.map { NewView.Member($0.replica, $0.digest) },
            start: choice.start,
            chosen: choice.chosen,
            cluster: configuration.cluster,
            signer: signer
        )
        enter(InstalledNewView(newView: newView, members: members), now: now, into: &effects)
    }

    /// Whether what a view starts from is so far off that it would stand still until this replica has it. (Once for what it has executed: were
    /// all of them behind, no view would ever begin.)
    private func lacksState(of start: SequenceNumber) -> Bool {
        stateTarget != nil || start.rawValue > executed.rawValue + UInt64(configuration.limits.logWindow)
    }

    /// How long the NEW-VIEW may take: T, then 2T for the next view, and so on. A watched primary is not given seconds to be silent here
    /// either: as its turn comes regularly, one that is gone would cost that each time. (The doubling covers networks that need more.)
    private var newViewTimeout: UInt64 {
        let doublings = max(viewChangeDoublings, 1) - 1
        let longest = configuration.limits.viewChangeNanoseconds << doublings
        guard let monitor = primaryWatch?.monitor else { return longest }
        return min(longest, (2 * configuration.limits.monitoring.progressHeartbeats * monitor.heartbeat) << doublings)
    }

    /// T, doubled for each view that executed nothing.
    var viewTimeout: UInt64 { configuration.limits.viewChangeNanoseconds << viewChangeDoublings }

    /// Keeps the request timer on the request that has waited longest, or else on the oldest batch that the primary has proposed and that
    /// is not executed (it may hold requests that only the primary has shown): it starts again when that one is executed.
    mutating func watchRequests(_ now: ClockReading) {
        guard isActive, !isPrimary else {
            watched = nil
            requestDeadline = nil
            return
        }
        var next = clients.longestWaiting().map(Watch.request)
        if next == nil, highestProposed > executed, executed >= log.low { next = .batch(executed.next) }
        guard next != watched else { return }
        if suspicion?.reason == .requestTimer { suspicion = nil }
        watched = next
        certifiedWhenWatched = highestCertified
        hasWaitedAgain = false
        isWatchedForwarded = configuration.switches.dissemination == .primary && !isWatchedLong
        // Where clients send to all, and where the request is long, the primary may still lack what this replica has: it is handed that before it is suspected.
        let first = isWatchedForwarded ? viewTimeout : viewTimeout / 4
        requestDeadline = next.map { _ in now.monotonic.advanced(byNanoseconds: first) }
    }

    private var isWatchedLong: Bool {
        guard case .request(let name) = watched, let request = clients.pending(name) else { return false }
        return configuration.limits.turns(of: request.value) > 0
    }

    /// When the request timer is this late, the replica itself was away: its process was stopped, or its machine slept. What came in the
    /// meantime is not read yet, so nobody is to blame; the primary has its time again, once.
    ///
    /// - Returns: false when the timer is not so late.
    mutating func waitAgain(sinceDue due: Instant, now: ClockReading) -> Bool {
        guard !hasWaitedAgain, due.advanced(byNanoseconds: viewTimeout / 2) < now.monotonic else { return false }
        hasWaitedAgain = true
        requestDeadline = now.monotonic.advanced(byNanoseconds: viewTimeout)
        return true
    }

    /// The watched request's time is over: the primary gets it from here, if it may not have it, and the rest of the time.
    ///
    /// - Returns: false when it had its whole time.
    mutating func forwardWatched(now: ClockReading, into effects: inout [Effect]) -> Bool {
        guard isActive, !isPrimary, !isWatchedForwarded else { return false }
        isWatchedForwarded = true
        if case .request(let watched) = watched, let request = clients.pending(watched) {
            forward(request, now: now, into: &effects)
        }
        requestDeadline = now.monotonic.advanced(byNanoseconds: viewTimeout - viewTimeout / 4)
        return true
    }
}

/// What the request timer of a backup watches.
enum Watch: Hashable, Sendable {
    /// A request that waits to be executed.
    case request(WatchedRequest)
    /// The batch that is to be executed next, while that one or a later one is proposed.
    case batch(SequenceNumber)
}
