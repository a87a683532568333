import Messages

/// Says to ``FloodGuard`` what peers do that is of no use, as the engine and the checks around it find out: whose message is handled is
/// known here, and what this replica has asked for.
package struct FloodWatch: Sendable {
    /// How many messages of no use an answer to a CATCH-UP, or a peer's own, may have: everything that it covers, from each of two views.
    private let repetitions: Int

    private var floodGuard: FloodGuard
    /// By replica: how many repetitions and late answers are still expected.
    private var expected: [Int]
    /// Whose message is handled now, and which.
    private var source: (peer: ReplicaID, isVote: Bool)?
    private var changes: [FloodGuard.Change] = []

    /// How many offences of each kind there were.
    package private(set) var offences: [FloodGuard.Offence: UInt64] = [:]
    /// By replica: how many it committed.
    package private(set) var offencesOfPeer: [UInt64]
    /// How many times a peer was cut off.
    package private(set) var cuts: UInt64 = 0

    /// Makes a watch that has seen nothing: no peer is connected.
    package init(size: ClusterSize, replica: ReplicaID, limits: Limits, flooding: RobustnessLimits.Flooding) {
        floodGuard = FloodGuard(size: size, replica: replica, window: limits.logWindow, limits: flooding)
        repetitions = 4 * limits.catchUpBatches + limits.pastBatchesPerAnswer
        expected = Array(repeating: 0, count: size.replicas)
        offencesOfPeer = Array(repeating: 0, count: size.replicas)
        for peer in size.members where peer != replica { _ = floodGuard.setDown(peer, true) }
    }

    /// The peers that are cut off now.
    package var cutPeers: VoteSet { floodGuard.cutPeers }

    /// When ``timePassed(now:)`` wants to be called; nil for never.
    package var deadline: Instant? { floodGuard.deadline }

    /// Takes out what became of peers.
    package mutating func takeChanges() -> [FloodGuard.Change] {
        guard !changes.isEmpty else { return [] }
        defer { changes = [] }
        return changes
    }

    // MARK: What happens

    /// A peer's message is handled now; what the engine says until ``ends()`` is about it.
    package mutating func begins(_ message: PeerMessage, from peer: ReplicaID, high: SequenceNumber, now: Instant) {
        source = (peer, message.isVote)
        if case .catchUp = message { expected[peer.index] = max(expected[peer.index], repetitions) }
        guard let sequence = message.ordered else { return }
        if floodGuard.isFarOutside(sequence, from: peer, high: high) { count(.farOutsideWindow, of: peer, now: now) }
        changes += floodGuard.takeBackVouched(high: high, now: now)
    }

    /// The message of ``begins(_:from:high:now:)`` was handled.
    package mutating func ends() {
        source = nil
    }

    /// This replica asks peers: for everything that it may have missed, or for one thing.
    package mutating func asked(_ recipient: Recipient, for message: PeerMessage) {
        let answers: (Int) -> Int
        switch message {
        case .catchUp: answers = { [repetitions] in max($0, repetitions) }
        case .fetch: answers = { [repetitions] in min($0 + 1, max($0, 16 * repetitions)) }
        default: return
        }
        switch recipient {
        case .replica(let peer): expected[peer.index] = answers(expected[peer.index])
        case .others: expected = expected.map(answers)
        }
    }

    /// The engine reports.
    ///
    /// - Parameter areRequestsSigned: Where they are not, a correct peer cannot tell whether another finds a request good.
    package mutating func note(_ event: Event, areRequestsSigned: Bool, now: Instant) {
        switch event {
        case .dropped(.badAuthentication) where !areRequestsSigned: break
        case .dropped(let reason): dropped(reason, now: now)
        case .accused(_, .forgedRequest) where !areRequestsSigned: break
        case .accused(let peer, _): count(.invalid, of: peer, now: now)
        case .stalled, .leftView: changes += floodGuard.liftQuiet(now: now)
        default: break
        }
    }

    private mutating func dropped(_ reason: DropReason, now: Instant) {
        guard let source else { return }
        switch reason {
        case .duplicateVote: unexpected(.duplicate, of: source.peer, now: now)
        case .uselessFetch, .needlessCatchUp: unexpected(.unsolicitedBulk, of: source.peer, now: now)
        // A PRE-PREPARE of a replica that is not the primary, or a forward to a backup, can be late; a PREPARE of the primary cannot.
        case .wrongRole where source.isVote, .wrongScheme, .badAuthentication:
            count(.invalid, of: source.peer, now: now)
        default: break
        }
    }

    private mutating func unexpected(_ offence: FloodGuard.Offence, of peer: ReplicaID, now: Instant) {
        if expected[peer.index] > 0 {
            expected[peer.index] -= 1
        } else {
            count(offence, of: peer, now: now)
        }
    }

    /// A peer did what no correct one does.
    package mutating func invalid(of peer: ReplicaID, now: Instant) {
        count(.invalid, of: peer, now: now)
    }

    private mutating func count(_ offence: FloodGuard.Offence, of peer: ReplicaID, now: Instant) {
        offences[offence, default: 0] += 1
        offencesOfPeer[peer.index] += 1
        let news = floodGuard.count(offence, from: peer, now: now)
        for case .cut in news { cuts += 1 }
        changes += news
    }

    /// A peer's connection came up or went down. Nothing on a new one was said on it before.
    package mutating func setDown(_ peer: ReplicaID, _ isDown: Bool) {
        expected[peer.index] = max(expected[peer.index], repetitions)
        changes += floodGuard.setDown(peer, isDown)
    }

    /// ``deadline`` has come.
    package mutating func timePassed(now: Instant) {
        changes += floodGuard.timePassed(now: now)
    }

    // MARK: Status

    /// What is counted, by name, in an order that stays.
    package func counters(of peers: [ReplicaID]) -> [ReplicaStatus.Counter] {
        FloodGuard.Offence.allCases.map { .init("offences_\($0.rawValue)", offences[$0, default: 0]) }
            + [.init("peer_cuts", cuts), .init("peers_cut", UInt64(cutPeers.count), .gauge)]
            + peers.flatMap { peer in
                [
                    .init("peer_\(peer.index)_offences", offencesOfPeer[peer.index]),
                    .init("peer_\(peer.index)_cut", cutPeers.contains(peer) ? 1 : 0, .gauge),
                ]
            }
    }
}

extension PeerMessage {
    fileprivate var isVote: Bool {
        if case .vote = self { true } else { false }
    }

    /// The sequence number that the message orders, or says is a checkpoint.
    fileprivate var ordered: SequenceNumber? {
        switch self {
        case .prePrepare(let message): message.sequence
        case .digestPrePrepare(let message): message.sequence
        case .vote(let vote): vote.sequence
        case .checkpoint(let checkpoint): checkpoint.claim.sequence
        default: nil
        }
    }
}
