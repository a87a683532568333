import Cryptography
import Invariants
import Messages

/// What a replica holds of one sequence number: PBFT's log entry (section 4.2), and its elements of P and Q (TOCS 2002 section 4.4).
struct Slot: Sendable {
    /// How far the proposal of the view for this number has come.
    enum Proposal: Sendable {
        /// None yet.
        case none
        /// It names requests that are not here yet.
        case awaiting(AwaitedProposal)
        /// It waits for the verdict on its requests.
        case checking(PrePrepare)
        /// It fails only a test that is this replica's own (its MAC entry of a request, its clock): it is accepted when f other
        /// backups' PREPAREs match it, since one of those f + 1 voices (with the primary) is correct.
        case parked(PrePrepare)
        /// The proof of a request in it is wrong by the keys that are known here, and batches before it may change those: it is judged
        /// again when they are executed.
        case doubted(PrePrepare)
        /// NEW-VIEW chose the batch with this digest; its content is not here yet.
        case chosen(Digest)
        /// It is accepted; no other can be, in this view.
        case accepted(PrePrepare)
        /// It came after this replica left the view: it is not voted for, but executed if it commits.
        case followed(PrePrepare)
    }

    // Of the view.
    var proposal = Proposal.none
    var prepares = VoteTally()
    var commits = VoteTally()
    var isPrepared = false
    /// Where the log holds what the COMMIT of this replica rests on.
    var preparedPosition = LogPosition.start

    // Across views.
    /// P: the batch that prepared here in the highest view.
    var preparedClaim: BatchClaim?
    /// Q: the highest view of each digest that was pre-prepared here.
    var prePreparedClaims: [BatchClaim] = []
    /// The content of each batch in Q: others may need it from here.
    var bodies: [Batch] = []
    /// The batch that committed: nothing else ever can.
    var committed: Batch?
    /// What peers say that committed, in whatever view.
    var saidCommitted = VoteTally()

    /// The accepted proposal.
    var accepted: PrePrepare? {
        if case .accepted(let prePrepare) = proposal { return prePrepare }
        return nil
    }

    /// The digest of the view's proposal, whatever became of it.
    var proposedDigest: Digest? {
        switch proposal {
        case .none: nil
        case .chosen(let digest): digest
        case .awaiting(let awaited): awaited.proposal.digest
        case .checking(let prePrepare), .parked(let prePrepare), .doubted(let prePrepare), .accepted(let prePrepare),
            .followed(let prePrepare):
            prePrepare.batch.digest
        }
    }

    /// Whether what committed is what the view's primary proposed, and its proposal is here.
    var isCommittedProposal: Bool {
        guard let committed else { return false }
        return proposedDigest == committed.digest
    }

    /// The batch that is known to be committed: 2f + 1 replicas have sent COMMIT for it in this view, or f + 1, one of them correct, say
    /// that it is.
    func committedDigest(_ size: ClusterSize, _ mutations: Mutations) -> Digest? {
        commits.digest(with: mutations.quorum(of: size, unless: .commitsWithFewer))
            ?? saidCommitted.digest(with: mutations.contains(.believesFewer) ? size.faults : size.weakQuorum)
    }

    /// The content of a batch, when it is here.
    func body(_ digest: Digest) -> Batch? {
        if digest == .zero { return .null }
        if let committed, committed.digest == digest { return committed }
        switch proposal {
        case .checking(let prePrepare), .parked(let prePrepare), .doubted(let prePrepare), .accepted(let prePrepare),
            .followed(let prePrepare):
            if prePrepare.batch.digest == digest { return prePrepare.batch }
        case .none, .chosen, .awaiting:
            break
        }
        return bodies.first { $0.digest == digest }
    }

    /// Notes a batch in Q: pre-prepared here in `view`.
    mutating func notePrePrepared(_ sequence: SequenceNumber, _ batch: Batch, in view: View) {
        let claim = BatchClaim(sequence, batch.digest, view)
        if let index = prePreparedClaims.firstIndex(where: { $0.digest == batch.digest }) {
            prePreparedClaims[index] = claim
        } else {
            prePreparedClaims.append(claim)
        }
        if !bodies.contains(where: { $0.digest == batch.digest }) { bodies.append(batch) }
    }

    /// Forgets what belongs to a view, keeps what outlives it.
    mutating func enterView() {
        proposal = .none
        prepares = VoteTally()
        commits = VoteTally()
        isPrepared = false
        preparedPosition = .start
    }
}

/// The slots between the water marks: low < n <= high (PBFT section 4.3). A ring, so that moving the marks costs only what is dropped.
struct MessageLog: Sendable {
    /// The low water mark: the last stable checkpoint.
    private(set) var low = SequenceNumber.zero

    /// L, the number of slots.
    let window: Int

    private var slots: [Slot]

    init(window: Int, low: SequenceNumber = .zero) {
        self.window = window
        self.low = low
        slots = Array(repeating: Slot(), count: window)
    }

    /// The high water mark, L above the low one.
    var high: SequenceNumber { SequenceNumber(low.rawValue + UInt64(window)) }

    /// Whether a number is between the water marks.
    func contains(_ sequence: SequenceNumber) -> Bool {
        low < sequence && sequence.rawValue - low.rawValue <= UInt64(window)
    }

    /// The slot of a number between the water marks.
    subscript(sequence: SequenceNumber) -> Slot {
        // A slot is large: it is lent, not copied.
        _read {
            invariant(contains(sequence), "a slot outside the water marks")
            yield slots[Int(sequence.rawValue % UInt64(window))]
        }
        _modify {
            invariant(contains(sequence), "a slot outside the water marks")
            yield &slots[Int(sequence.rawValue % UInt64(window))]
        }
    }

    /// Moves the low water mark up and forgets the slots up to it.
    mutating func truncate(to newLow: SequenceNumber) {
        invariant(newLow > low, "water marks only move up")
        var sequence = low
        let last = min(newLow, high)
        while sequence < last {
            sequence = sequence.next
            slots[Int(sequence.rawValue % UInt64(window))] = Slot()
        }
        low = newLow
    }

    /// A new view begins: every slot forgets the votes of the last one.
    mutating func enterView() {
        for index in slots.indices {
            slots[index].enterView()
        }
    }

    /// The numbers between the water marks, in order.
    var sequences: some Sequence<SequenceNumber> {
        (low.rawValue + 1...high.rawValue).lazy.map { SequenceNumber($0) }
    }

    /// The last number after `sequence` up to which everything is committed.
    func committedThrough(after sequence: SequenceNumber) -> SequenceNumber {
        var last = sequence
        while contains(last.next), self[last.next].committed != nil { last = last.next }
        return last
    }

    /// The requests that were proposed at a number, as far as is known: those of the view's proposal, or of what is committed.
    func proposedRequests(_ sequence: SequenceNumber) -> [Request]? {
        guard contains(sequence) else { return nil }
        if let committed = self[sequence].committed { return committed.requests }
        return self[sequence].proposedDigest.flatMap { self[sequence].body($0) }?.requests
    }

    /// P and Q of a VIEW-CHANGE, in the order of the numbers.
    var claims: (prepared: [BatchClaim], prePrepared: [BatchClaim]) {
        var prepared: [BatchClaim] = []
        var prePrepared: [BatchClaim] = []
        for sequence in sequences {
            let slot = self[sequence]
            if let claim = slot.preparedClaim { prepared.append(claim) }
            prePrepared.append(contentsOf: slot.prePreparedClaims.sorted { $0.digest < $1.digest })
        }
        return (prepared, prePrepared)
    }
}
