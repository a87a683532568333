import Invariants
import Messages

/// Which peers send so much that is of no use that they are cut off (Aardvark section 4.2).
///
/// Aardvark's implementation compares the numbers of all messages: every 2000 of them, a peer that sent at least 20 times as many as the
/// second is cut off. That misses several that flood together, or slowly, and hits a correct primary while another peer is down. Here
/// only an ``Offence`` counts. A peer is cut off when
///
/// - it exceeds a budget of its own, which grows with time: that catches fast floods, also of several peers together; or
/// - among the last 2000 offences it has at least 20 times as many as the (f + 1)-th worst, which is no better than some correct peer:
///   that catches slower ones.
///
/// It stays so for a time that doubles with each cut. At most f peers are cut off or down at once; when there is one more, those with the
/// fewest recent offences come back. The cut of a peer that offends no more is lifted when this replica has reason to think that it hears
/// too little, see ``liftQuiet(now:)``.
public struct FloodGuard: Sendable {
    /// What a correct peer does not do, or hardly ever. A late vote, or one of an old view, is none: correct peers send them.
    public enum Offence: String, Hashable, Sendable, CaseIterable {
        /// Something that a correct replica cannot say: bytes that are no message, a wrong signature, a vote against an earlier one.
        case invalid
        /// The same on the same connection again, unless this replica has asked for it.
        case duplicate
        /// A sequence number far ahead, see ``FloodGuard/isFarOutside(_:from:high:)``.
        case farOutsideWindow = "far_outside_window"
        /// Catch-up or state transfer that nobody asked for, or a question too soon after the last.
        case unsolicitedBulk = "unsolicited_bulk"
    }

    /// What became of a peer.
    public enum Change: Hashable, Sendable {
        /// It is cut off until then, unless all are lifted before.
        case cut(ReplicaID, until: Instant)
        /// It has its whole share again.
        case lifted(ReplicaID)
    }

    private struct Peer: Sendable {
        var budget: Budget
        var lastOffence = Instant(nanoseconds: 0)
        var cutUntil: Instant?
        /// How long its next cut lasts.
        var nextCutNanoseconds: UInt64
        /// When its last cut ended, or was to end.
        var lastCutEnd = Instant(nanoseconds: 0)
        var isDown = false
        /// Offences since the last comparison.
        var compared = 0
        /// The highest sequence number that it has named.
        var named = SequenceNumber.zero
        /// How many of its latest offences were numbers far ahead, and since when.
        var unvouched: UInt64 = 0
        var unvouchedSince = Instant(nanoseconds: 0)
    }

    private let size: ClusterSize
    private let replica: ReplicaID
    private let window: UInt64
    private let limits: RobustnessLimits.Flooding
    private var peers: [Peer]
    private var comparedSince = Instant(nanoseconds: 0)

    /// The peers that are cut off now.
    public private(set) var cutPeers = VoteSet()

    /// Makes a guard that has seen nothing.
    ///
    /// - Parameters:
    ///   - size: How many replicas there are.
    ///   - replica: Which of them this is.
    ///   - window: L, in batches; see ``Limits/logWindow``.
    ///   - limits: Budgets and times, of limits without a ``RobustnessLimits/problem``.
    public init(size: ClusterSize, replica: ReplicaID, window: Int, limits: RobustnessLimits.Flooding) {
        invariant(limits.problem == nil, limits.problem ?? "")
        invariant(size.contains(replica) && window > 0, "a flood guard outside its cluster, or without a window")
        self.size = size
        self.replica = replica
        self.window = UInt64(window)
        self.limits = limits
        let peer = Peer(
            budget: Budget(units: limits.offenceBudget, perSecond: limits.offencesPerSecond),
            nextCutNanoseconds: limits.shortestCutNanoseconds
        )
        peers = Array(repeating: peer, count: size.replicas)
    }

    /// When ``timePassed(now:)`` wants to be called; nil for never.
    public var deadline: Instant? { peers.compactMap(\.cutUntil).min() }

    /// Counts an offence.
    ///
    /// - Parameters:
    ///   - offence: What it was. All count the same.
    ///   - peer: Who did it: the owner of the channel, whatever the message says of itself.
    ///   - now: The monotonic clock.
    /// - Returns: Who is cut off for it, and who comes back in its place.
    public mutating func count(_ offence: Offence, from peer: ReplicaID, now: Instant) -> [Change] {
        invariant(size.contains(peer) && peer != replica, "a peer that is none")
        if offence == .farOutsideWindow {
            if peers[peer.index].unvouched == 0 { peers[peer.index].unvouchedSince = now }
            peers[peer.index].unvouched += 1
        }
        peers[peer.index].lastOffence = now
        peers[peer.index].budget.spend(1, now: now)
        var changes: [Change] = []
        if peers[peer.index].budget.isOverdrawn(now: now) { cut(peer, now: now, into: &changes) }
        compare(peer, now: now, into: &changes)
        return changes
    }

    /// Whether a sequence number that a peer names is further ahead than a correct peer would be: by more than a window beyond my own high
    /// water mark and beyond the (f + 1)-th highest number that peers have named, of which one is a correct peer's. So that when this
    /// replica is the one that is behind, those ahead of it are not taken for flooders.
    ///
    /// - Parameters:
    ///   - sequence: The number that the message names.
    ///   - peer: Who sent it.
    ///   - high: My high water mark.
    public mutating func isFarOutside(_ sequence: SequenceNumber, from peer: ReplicaID, high: SequenceNumber) -> Bool {
        peers[peer.index].named = max(peers[peer.index].named, sequence)
        guard sequence > high else { return false }
        return isFar(sequence, high)
    }

    private func isFar(_ sequence: SequenceNumber, _ high: SequenceNumber) -> Bool {
        let vouched = peers.map(\.named).sorted(by: >)[size.faults]
        return sequence.rawValue - max(high, min(vouched, sequence)).rawValue > window
    }

    /// When this replica was cut off from the others and comes back, the first link that does so brings numbers that no other peer has
    /// named yet. Once others have, they were no offences: this takes them back, and a cut that they were the reason of. Only within a
    /// second, or a flooder's numbers would come true sooner or later.
    ///
    /// - Parameters:
    ///   - high: My high water mark.
    ///   - now: The monotonic clock.
    public mutating func takeBackVouched(high: SequenceNumber, now: Instant) -> [Change] {
        var changes: [Change] = []
        for peer in size.members where peers[peer.index].unvouched > 0 {
            let isLate = now.nanoseconds(since: peers[peer.index].unvouchedSince) > 1_000_000_000
            guard isLate || peers[peer.index].named <= high || !isFar(peers[peer.index].named, high) else { continue }
            let count = peers[peer.index].unvouched
            peers[peer.index].unvouched = 0
            if isLate { continue }
            peers[peer.index].compared = max(0, peers[peer.index].compared - Int(clamping: count))
            peers[peer.index].budget.giveBack(count)
            guard peers[peer.index].cutUntil != nil, !peers[peer.index].budget.isOverdrawn(now: now) else { continue }
            lift(peer, into: &changes)
            peers[peer.index].nextCutNanoseconds = limits.shortestCutNanoseconds
        }
        return changes
    }

    /// A peer went down, or came up: it counts among those that are cut off, which may be f together.
    public mutating func setDown(_ peer: ReplicaID, _ isDown: Bool) -> [Change] {
        peers[peer.index].isDown = isDown
        var changes: [Change] = []
        while missing > size.faults, let least = leastOffending() {
            lift(least, into: &changes)
        }
        return changes
    }

    /// Lifts the cuts of peers that have not offended of late. To be called when this replica has a VIEW-CHANGE out, or nothing has
    /// committed for one progress timer while something should have: it may hear too little from a peer that it needs. One that floods on
    /// is not such a peer. It is heard, at a hundredth of the time; were its cut lifted too, its flood would come in at the very moment
    /// when the others have no time to lose, and no view change would succeed.
    public mutating func liftQuiet(now: Instant) -> [Change] {
        var changes: [Change] = []
        for peer in size.members where peers[peer.index].cutUntil != nil {
            guard now.nanoseconds(since: peers[peer.index].lastOffence) >= limits.quietNanoseconds else { continue }
            peers[peer.index].budget.refill(now: now)
            lift(peer, into: &changes)
        }
        return changes
    }

    /// ``deadline`` has come.
    public mutating func timePassed(now: Instant) -> [Change] {
        var changes: [Change] = []
        for peer in size.members {
            if let until = peers[peer.index].cutUntil, until <= now { lift(peer, into: &changes) }
        }
        return changes
    }

    /// How many peers are not heard: cut off, or down.
    private var missing: Int {
        peers.count { $0.cutUntil != nil || $0.isDown }
    }

    private func leastOffending() -> ReplicaID? {
        size.members
            .filter { peers[$0.index].cutUntil != nil && !peers[$0.index].isDown }
            .min { peers[$0.index].budget.wholeAt < peers[$1.index].budget.wholeAt }
    }

    private mutating func lift(_ peer: ReplicaID, into changes: inout [Change]) {
        peers[peer.index].cutUntil = nil
        cutPeers.remove(peer)
        changes.append(.lifted(peer))
    }

    private mutating func cut(_ peer: ReplicaID, now: Instant, into changes: inout [Change]) {
        guard peers[peer.index].cutUntil == nil else { return }
        if !peers[peer.index].isDown, missing >= size.faults {
            // One that offends much more takes the place of one that offends less.
            guard let least = leastOffending(),
                peers[peer.index].budget.spent(now: now) / 2 > peers[least.index].budget.spent(now: now)
            else { return }
            lift(least, into: &changes)
        }
        if now.nanoseconds(since: peers[peer.index].lastCutEnd) >= limits.longestCutNanoseconds {
            peers[peer.index].nextCutNanoseconds = limits.shortestCutNanoseconds
        }
        let length = peers[peer.index].nextCutNanoseconds
        peers[peer.index].nextCutNanoseconds = min(2 * length, limits.longestCutNanoseconds)
        let until = now.advanced(byNanoseconds: length)
        peers[peer.index].cutUntil = until
        peers[peer.index].lastCutEnd = until
        peers[peer.index].compared = 0
        cutPeers.insert(peer)
        changes.append(.cut(peer, until: until))
    }

    /// Aardvark's rule, on offences: who has many times as many as the (f + 1)-th worst, and no less than an even part of all.
    private mutating func compare(_ offender: ReplicaID, now: Instant, into changes: inout [Change]) {
        if now.nanoseconds(since: comparedSince) > limits.comparisonNanoseconds {
            restartComparison(now: now)
        }
        // Whoever is cut off already is not compared.
        if peers[offender.index].cutUntil == nil { peers[offender.index].compared += 1 }
        let total = peers.reduce(0) { $0 + $1.compared }
        guard total >= limits.comparedOffences else { return }
        let reference = peers.map(\.compared).sorted(by: >)[size.faults]
        for peer in size.members where peer != replica {
            let offences = peers[peer.index].compared
            if offences >= limits.worstFactor * reference, offences >= total / (size.replicas - 1) {
                cut(peer, now: now, into: &changes)
            }
        }
        restartComparison(now: now)
    }

    private mutating func restartComparison(now: Instant) {
        comparedSince = now
        for index in peers.indices {
            peers[index].compared = 0
        }
    }
}
