import Cryptography
import Invariants
import Messages

/// A NEW-VIEW whose VIEW-CHANGEs are not all here.
struct PendingNewView: Sendable {
    let newView: NewView
    /// By position in the NEW-VIEW: those that are here.
    var members: [ViewChange?]
    /// Who handed it to this replica, and so has the rest.
    let source: ReplicaID
}

/// Messages of one peer that belong to views to come, bounded in number and bytes.
struct EarlyMessages: Sendable {
    private(set) var messages: [PeerMessage] = []
    private(set) var bytes = 0

    /// Keeps a message.
    ///
    /// - Returns: false when there is no room for it.
    mutating func add(_ message: PeerMessage, limits: Limits) -> Bool {
        let size = message.byteCount
        guard messages.count < limits.earlyMessages, bytes + size <= limits.earlyBytes else { return false }
        messages.append(message)
        bytes += size
        return true
    }
}

/// A NEW-VIEW with all that it names: enough for anybody to check it.
struct InstalledNewView: Sendable {
    let newView: NewView
    let members: [ViewChange]
}

/// Beginning a view (PBFT section 4.4, TOCS 2002 section 4.4).
extension Replica {
    mutating func onNewView(_ newView: Unverified<NewView>, from peer: ReplicaID, into effects: inout [Effect]) {
        let claim = newView.claim
        let primary = claim.view.primary(in: configuration.size)
        let pending = pendingNewViews[peer.index]?.newView
        guard isNews(claim.view), pending.map({ claim.view >= $0.view && claim != $0 }) ?? true,
            primary != configuration.replica, hasProperMembers(claim)
        else { return drop(.uselessViewChange, into: &effects) }
        effects.append(.checkNewView(newView, from: peer))
    }

    /// Whether the beginning of a view is of use: to enter it, or, for a replica that has left it before it began, to follow what the
    /// others execute in it.
    private func isNews(_ other: View) -> Bool {
        other > view || (!isActive && other > logView)
    }

    private func hasProperMembers(_ claim: NewView) -> Bool {
        let numbers = claim.members.map(\.replica)
        return numbers.count >= quorum(unless: .beginsViewsWithFewer)
            && numbers.allSatisfy(configuration.size.contains)
            && (isMutated(.countsMembersTwice) || zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 })
            && claim.chosen.count <= configuration.limits.logWindow
    }

    /// A NEW-VIEW's signature was checked and is that of the view's primary.
    public mutating func newViewVerified(
        _ newView: Verified<NewView>,
        from peer: ReplicaID,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        let value = newView.value
        guard isNews(value.view) else { return }
        var pending = PendingNewView(
            newView: value,
            members: Array(repeating: nil, count: value.members.count),
            source: peer
        )
        for (index, member) in value.members.enumerated() {
            if let held = viewChanges[member.replica.index], held.view == value.view, held.digest == member.digest {
                pending.members[index] = held
            }
        }
        pendingNewViews[peer.index] = pending
        if let complete = Self.complete(pending) {
            begin(complete, now: now, into: &effects)
        } else {
            askForMissingViewChanges(of: pending, into: &effects)
        }
    }

    private static func complete(_ pending: PendingNewView) -> InstalledNewView? {
        let members = pending.members.compactMap { $0 }
        guard members.count == pending.members.count else { return nil }
        return InstalledNewView(newView: pending.newView, members: members)
    }

    /// Asks for the VIEW-CHANGEs that a NEW-VIEW names and that are not here.
    ///
    /// - Parameters:
    ///   - pending: The NEW-VIEW.
    ///   - isRepeated: Whether who handed in the NEW-VIEW was asked before, in vain: then all are asked, since whoever has entered the
    ///     view has them.
    ///   - effects: The questions are appended here.
    func askForMissingViewChanges(of pending: PendingNewView, isRepeated: Bool = false, into effects: inout [Effect]) {
        guard isNews(pending.newView.view) else { return }
        let recipient = isRepeated ? Recipient.others : .replica(pending.source)
        for (member, held) in zip(pending.newView.members, pending.members) where held == nil {
            let fetch = Fetch(.viewChange(pending.newView.view, member.replica, member.digest))
            effects.append(.send(.fetch(fetch), to: recipient, after: .start))
        }
    }

    /// Whether a NEW-VIEW names this very VIEW-CHANGE and waits for it. It may be this replica's own of a view that it has left since.
    func isAwaited(_ claim: ViewChange) -> Bool {
        guard isNews(claim.view) else { return false }
        let digest = claim.digest
        return pendingNewViews.contains { pending in
            guard let pending, pending.newView.view == claim.view else { return false }
            return zip(pending.newView.members, pending.members).contains { member, held in
                held == nil && member.replica == claim.replica && member.digest == digest
            }
        }
    }

    /// Puts a VIEW-CHANGE where NEW-VIEWs wait for it.
    ///
    /// - Returns: The NEW-VIEWs for which this was the last.
    mutating func completeNewViews(with value: ViewChange) -> [InstalledNewView] {
        let digest = value.digest
        var completed: [InstalledNewView] = []
        for place in pendingNewViews.indices {
            guard var pending = pendingNewViews[place], pending.newView.view == value.view else { continue }
            for (index, member) in pending.newView.members.enumerated()
            where member.replica == value.replica && member.digest == digest {
                pending.members[index] = value
            }
            pendingNewViews[place] = pending
            if let complete = Self.complete(pending) { completed.append(complete) }
        }
        return completed
    }

    /// Forgets NEW-VIEWs that are of no use any more, or were judged.
    private mutating func forgetPending(_ judged: NewView) {
        for place in pendingNewViews.indices {
            guard let pending = pendingNewViews[place]?.newView else { continue }
            if pending == judged || !isNews(pending.view) { pendingNewViews[place] = nil }
        }
    }

    /// What a view starts from that these VIEW-CHANGEs begin; nil when more of them are needed.
    func decide(_ members: [ViewChange]) -> NewViewChoice? {
        NewViewChoice.decide(
            members,
            size: configuration.size,
            digestsPerNumber: configuration.limits.digestsPerNumber,
            mutations: configuration.mutations
        )
    }

    /// Checks a NEW-VIEW with all its VIEW-CHANGEs: the choice must be what follows from exactly those.
    mutating func begin(_ complete: InstalledNewView, now: ClockReading, into effects: inout [Effect]) {
        let newView = complete.newView
        let primary = newView.view.primary(in: configuration.size)
        forgetPending(newView)
        guard isNews(newView.view) else { return }
        let choice = decide(complete.members)
        guard choice == NewViewChoice(start: newView.start, chosen: newView.chosen) || isMutated(.acceptsAnyChoice)
        else {
            accuse(primary, of: .wrongNewView, into: &effects)
            guard newView.view >= view, learning == nil else { return }
            return leaveView(for: View(newView.view.rawValue + 1), because: .wrongNewView, now: now, into: &effects)
        }
        if newView.view < view || learning != nil {
            follow(complete, now: now, into: &effects)
        } else {
            enter(complete, now: now, into: &effects)
        }
    }

    /// Follows a view that this replica had left before it began, or may not vote in: what commits in it is executed. Nothing is recorded,
    /// since nothing is said; after a restart the others say it again.
    private mutating func follow(_ complete: InstalledNewView, now: ClockReading, into effects: inout [Effect]) {
        rollBack(into: &effects)
        adoptStart(of: complete, into: &effects)
        logView = complete.newView.view
        log.enterView()
        awaiting = []
        if learning != nil {
            view = logView
            installed = complete
        }
        var sequence = complete.newView.start
        for digest in complete.newView.chosen {
            sequence = sequence.next
            guard log.contains(sequence) else { continue }
            highestNamed = max(highestNamed, sequence)
            if let body = log[sequence].body(digest) {
                fill(PrePrepare(view: logView, sequence: sequence, batch: body), into: &effects)
            } else {
                log[sequence].proposal = .chosen(digest)
            }
        }
        replayEarly(now: now, into: &effects)
        voteAgainIfLearned(into: &effects)
        executeNext(into: &effects)
    }

    /// Enters a view whose NEW-VIEW was checked, or made here.
    mutating func enter(_ complete: InstalledNewView, now: ClockReading, into effects: inout [Effect]) {
        let newView = complete.newView
        invariant(newView.view > view || !isActive, "views only grow")
        // What the view prepared comes back in NEW-VIEW, if it may have been acted on; then it is executed again.
        if !isMutated(.keepsTentativeState) { rollBack(into: &effects) }
        if isActive { endWatch(now) }
        adoptStart(of: complete, into: &effects)
        view = newView.view
        logView = view
        isActive = true
        suspicion = nil
        installed = complete
        newViewDeadline = nil
        viewChangeResend = nil
        log.enterView()
        awaiting = []
        for index in viewChanges.indices where (viewChanges[index]?.view ?? view) <= view {
            // This replica's own stays: it must never make another for the same view.
            if index != configuration.replica.index { viewChanges[index] = nil }
        }
        let position = persist(.newView(newView, members: complete.members), into: &effects)
        effects.append(.note(.enteredView(view)))
        if isPrimary {
            let foundation = foundation(position, unless: .entersTooEarly)
            effects.append(.send(.newView(Unverified(newView)), to: .others, after: foundation))
        }
        let chosen = propose(newView, into: &effects)
        clients.enterView(chosen: chosen)
        beginWatch(now)
        handOverWaiting(now: now, into: &effects)
        replayEarly(now: now, into: &effects)
        executeNext(into: &effects)
        watchRequests(now)
    }

    private mutating func adoptStart(of complete: InstalledNewView, into effects: inout [Effect]) {
        guard complete.newView.start > log.low,
            let member = complete.members.first(where: { $0.stable == complete.newView.start }),
            let root = member.certificate.first?.root
        else { return }
        adopt(
            CheckpointTracker.Stable(sequence: member.stable, root: root, certificate: member.certificate),
            into: &effects
        )
    }

    /// What NEW-VIEW chose counts as pre-prepared in the view; batches that are not here are fetched first, never left out.
    ///
    /// - Returns: The batches that are here and not executed.
    private mutating func propose(_ newView: NewView, into effects: inout [Effect]) -> [Batch] {
        var known: [Batch] = []
        var sequence = newView.start
        for digest in newView.chosen {
            sequence = sequence.next
            guard log.contains(sequence) else { continue }
            if let committed = log[sequence].committed, committed.digest != digest {
                // More than f replicas are faulty: nothing can be promised any more, but it can be said.
                effects.append(.note(.diverged(sequence)))
            }
            if let body = log[sequence].body(digest) {
                if sequence > executed { known.append(body) }
                accept(PrePrepare(view: view, sequence: sequence, batch: body), isChosen: true, into: &effects)
            } else {
                log[sequence].proposal = .chosen(digest)
                highestNamed = max(highestNamed, sequence)
                effects.append(.send(.fetch(Fetch(.batch(sequence, digest))), to: .others, after: .start))
            }
        }
        nextSequence = max(sequence.next, log.low.next)
        highestProposed = sequence
        return known
    }

    /// Hands in the messages of this view that came before it began.
    private mutating func replayEarly(now: ClockReading, into effects: inout [Effect]) {
        let kept = early
        early = Array(repeating: EarlyMessages(), count: configuration.size.replicas)
        for peer in configuration.size.members {
            for message in kept[peer.index].messages {
                receive(message, from: peer, now: now, into: &effects)
            }
        }
    }

    mutating func onFetch(_ fetch: Fetch, from peer: ReplicaID, now: ClockReading, into effects: inout [Effect]) {
        switch fetch.subject {
        case .batch(let sequence, let digest):
            let held = log.contains(sequence) ? log[sequence].body(digest) : past.batch(sequence, digest)
            guard let batch = held, digest != .zero else { break }
            let body = BatchBody(sequence: sequence, batch: batch)
            answer(.batch(body), to: peer, after: .start, now: now, into: &effects)
            return
        case .requests(let sequence, let digest, let places):
            guard let found = requests(sequence, digest, places) else { break }
            answer(.requests(found), to: peer, after: .start, now: now, into: &effects)
            return
        case .viewChange(let view, let replica, let digest):
            let held = (installed?.members ?? []) + viewChanges.compactMap { $0 }
            guard let found = held.first(where: { $0.view == view && $0.replica == replica && $0.digest == digest })
            else {
                break
            }
            answer(.viewChange(Unverified(found)), to: peer, after: logPosition, now: now, into: &effects)
            return
        }
        drop(.uselessFetch, into: &effects)
    }

    mutating func onBatch(_ body: BatchBody, now: ClockReading, into effects: inout [Effect]) {
        let digest = body.batch.digest
        guard log.contains(body.sequence) else {
            if takeMissed(body, into: &effects) { return askAgainSoon(now) }
            return drop(.uselessFetch, into: &effects)
        }
        if case .chosen(let wanted) = log[body.sequence].proposal, wanted == digest || isMutated(.takesAnyBody) {
            fill(PrePrepare(view: logView, sequence: body.sequence, batch: body.batch), into: &effects)
        } else if committedDigest(body.sequence) == digest, log[body.sequence].body(digest) == nil {
            log[body.sequence].bodies.append(body.batch)
            commitIfPossible(body.sequence, into: &effects)
        } else {
            return drop(.uselessFetch, into: &effects)
        }
        askAgainSoon(now)
    }

    /// A peer is in an earlier view, or has left its last one and may not have heard of the beginning of this: it gets the NEW-VIEW, now and
    /// then, however often it says so.
    mutating func help(
        _ peer: ReplicaID,
        whichIsIn other: View,
        isWaiting: Bool,
        now: ClockReading,
        into effects: inout [Effect]
    ) {
        guard isActive, let installed, other < view || isWaiting, helpAllowed[peer.index] <= now.monotonic else {
            return
        }
        helpAllowed[peer.index] = now.monotonic.advanced(byNanoseconds: configuration.limits.catchUpNanoseconds)
        effects.append(.send(.newView(Unverified(installed.newView)), to: .replica(peer), after: logPosition))
    }
}
