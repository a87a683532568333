import Invariants
import Messages

/// What a replica that lost its store has to find out: what it may have said before.
///
/// It counts among the f faulty replicas, so that at most f - 1 of its peers are faulty and at least 2f + 1 are correct. Each tells, in its
/// CATCH-UPs, the view that it is in or wants, and the highest number that ever prepared there, neither of which a restart takes back.
///
/// - This replica voted for numbers up to h + L only, where h was its last stable checkpoint. h was committed, so f + 1 correct peers had
///   prepared it. Any 2f + 1 peers include one of those, so a number that 2f + 1 peers do not exceed is at least h.
/// - It voted in views that began, and for the view after one that began or that 2f + 1 replicas wanted (f + 1 wishes, of which one is
///   correct, lead there too). f + 1 correct peers were or wanted to be in that view, so a view that 2f + 1 peers do not exceed is at
///   least that one.
///
/// This is the estimation of PBFT's proactive recovery (TOCS 2002 section 4.3.2) for views as well.
struct Learning: Sendable {
    /// What a peer said.
    private struct Report: Sendable {
        let firstView: View
        let firstPrepared: SequenceNumber
        var lastView: View
        var lastPrepared: SequenceNumber
    }

    /// What is known of this replica's former life.
    struct Bound: Hashable, Sendable {
        /// It voted in no view above this one, and for the next one at the most.
        let view: View
        /// Its last stable checkpoint was not above this number.
        let stable: SequenceNumber
    }

    private let size: ClusterSize
    private var reports: [Report?]

    /// nil until enough peers have told.
    private(set) var bound: Bound?

    init(size: ClusterSize) {
        self.size = size
        reports = Array(repeating: nil, count: size.replicas)
    }

    /// A peer says how far it is.
    mutating func note(_ catchUp: CatchUp, from peer: ReplicaID) {
        // One that lost its store as well does not know.
        guard catchUp.standing != .learning else { return }
        var report =
            reports[peer.index]
            ?? Report(
                firstView: catchUp.view,
                firstPrepared: catchUp.prepared,
                lastView: catchUp.view,
                lastPrepared: catchUp.prepared
            )
        report.lastView = max(report.lastView, catchUp.view)
        report.lastPrepared = max(report.lastPrepared, catchUp.prepared)
        reports[peer.index] = report
        guard bound == nil else { return }
        let known = reports.compactMap(\.self)
        if let view = Self.bound(known.map(\.firstView), reached: known.map(\.lastView), size),
            let stable = Self.bound(known.map(\.firstPrepared), reached: known.map(\.lastPrepared), size)
        {
            bound = Bound(view: view, stable: stable)
        }
    }

    /// The lowest value that 2f + 1 peers did not exceed, if f + 1 have reached it by now: so a correct one has, and a lie alone does not
    /// hold this replica up.
    private static func bound<Value: Comparable>(_ first: [Value], reached last: [Value], _ size: ClusterSize) -> Value?
    {
        guard first.count >= size.quorum else { return nil }
        let candidate = first.sorted()[size.quorum - 1]
        return last.count { $0 >= candidate } >= size.weakQuorum ? candidate : nil
    }
}

/// A replica that lost its store has lost P and Q, and could contradict itself. So it votes for nothing (no PRE-PREPARE, PREPARE, COMMIT,
/// VIEW-CHANGE or NEW-VIEW) and answers no reads, until whatever it may have said is past. It follows, executes what commits, signs
/// checkpoints, which are the same whoever computes them, and answers clients.
extension Replica {
    /// The store was lost, or is not to be trusted: this replica starts empty, and is not new. To be called first.
    public mutating func startLearning(now: ClockReading, into effects: inout [Effect]) {
        invariant(logPosition == .start && executed == .zero, "a replica that has a store does not start to learn")
        if isMutated(.votesWithoutStore) { return }
        learning = Learning(size: configuration.size)
        isActive = false
        _ = persist(.learning(true), into: &effects)
        effects.append(.note(.learning(true)))
        watchForStall(now)
    }

    /// Whether this replica lost its store and votes for nothing yet.
    public var isLearning: Bool { learning != nil }

    mutating func learn(from catchUp: CatchUp, of peer: ReplicaID, now: ClockReading, into effects: inout [Effect]) {
        if learning != nil {
            learning?.note(catchUp, from: peer)
            voteAgainIfLearned(into: &effects)
        } else if catchUp.standing == .learning {
            ask(.replica(peer), into: &effects)
        }
    }

    /// Votes again when every number that this replica may have voted for is covered by a stable checkpoint whose state is here, and the
    /// view is above every one that it may have voted in, or have promised to vote in none below of.
    mutating func voteAgainIfLearned(into effects: inout [Effect]) {
        guard let bound = learning?.bound, let installed, logView > bound.view, executed >= log.low, stateTarget == nil
        else { return }
        let (last, overflow) = bound.stable.rawValue.addingReportingOverflow(UInt64(configuration.limits.logWindow))
        guard !overflow, log.low.rawValue >= last else { return }
        learning = nil
        isActive = true
        _ = persist(.learning(false), into: &effects)
        _ = persist(.newView(installed.newView, members: installed.members), into: &effects)
        effects.append(.note(.learning(false)))
        effects.append(.note(.enteredView(view)))
        takeUpProposals(of: installed.newView, into: &effects)
    }

    /// What was proposed in this view while this replica only followed is accepted if NEW-VIEW chose it. The rest commits without this
    /// replica, or is proposed again in the next view: it was never judged here.
    private mutating func takeUpProposals(of newView: NewView, into effects: inout [Effect]) {
        let end = newView.start.rawValue + UInt64(newView.chosen.count)
        for sequence in log.sequences {
            guard case .followed(let prePrepare) = log[sequence].proposal else { continue }
            highestProposed = max(highestProposed, sequence)
            if sequence.rawValue <= end, sequence > newView.start {
                accept(prePrepare, isChosen: true, into: &effects)
            }
        }
    }
}
