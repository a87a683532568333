import Cryptography
import Invariants
import Messages

/// What a replica holds of one sequence number: PBFT's log entry (section 4.2).
struct Slot: Sendable {
    /// How far a proposal for this number came before it was accepted.
    enum Proposal: Sendable {
        /// None yet.
        case none
        /// It waits for the verdict on its requests.
        case checking(PrePrepare)
        /// It fails only a test that is this replica's own (its MAC entry of a request, its clock): it is accepted when f other
        /// backups' PREPAREs match it, since one of those f + 1 voices (with the primary) is correct.
        case parked(PrePrepare)
        /// It is accepted; no other can be, in this view.
        case accepted(PrePrepare)
    }

    var proposal = Proposal.none
    var prepares = VoteTally()
    var commits = VoteTally()
    var isPrepared = false
    var isCommitted = false
    /// Where the log holds what the COMMIT of this replica rests on.
    var preparedPosition = LogPosition.start

    /// The accepted proposal.
    var accepted: PrePrepare? {
        if case .accepted(let prePrepare) = proposal { return prePrepare }
        return nil
    }

    /// The proposal that was received, accepted or not.
    var received: PrePrepare? {
        switch proposal {
        case .none: nil
        case .checking(let prePrepare), .parked(let prePrepare), .accepted(let prePrepare): prePrepare
        }
    }
}

/// The slots between the water marks: low < n <= high (PBFT section 4.3). A ring, so that moving the marks costs only what is dropped.
struct MessageLog: Sendable {
    /// The low water mark: the last stable checkpoint.
    private(set) var low = SequenceNumber.zero

    /// L, the number of slots.
    let window: Int

    private var slots: [Slot]

    init(window: Int) {
        self.window = window
        slots = Array(repeating: Slot(), count: window)
    }

    /// The high water mark, L above the low one.
    var high: SequenceNumber { SequenceNumber(low.rawValue + UInt64(window)) }

    /// Whether a number is between the water marks.
    func contains(_ sequence: SequenceNumber) -> Bool {
        low < sequence && sequence <= high
    }

    /// The slot of a number between the water marks.
    subscript(sequence: SequenceNumber) -> Slot {
        get {
            invariant(contains(sequence), "a slot outside the water marks")
            return slots[Int(sequence.rawValue % UInt64(window))]
        }
        _modify {
            invariant(contains(sequence), "a slot outside the water marks")
            yield &slots[Int(sequence.rawValue % UInt64(window))]
        }
    }

    /// Moves the low water mark up and forgets the slots up to it.
    mutating func truncate(to newLow: SequenceNumber) {
        invariant(newLow > low && newLow <= high, "water marks only move up, within the window")
        var sequence = low
        while sequence < newLow {
            sequence = sequence.next
            slots[Int(sequence.rawValue % UInt64(window))] = Slot()
        }
        low = newLow
    }
}
