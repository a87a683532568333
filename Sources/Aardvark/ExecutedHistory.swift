import Agreement
import Cryptography
import Messages

/// The batches that this replica executed, in their order, as one digest: two replicas with the same digest executed the same. Their
/// states tell less, since many orders lead to one state.
///
/// It begins anew after a restart, and where a state was fetched in place of what led to it; then it is not to be compared with others
/// that began elsewhere. It is no part of the replicated state.
struct ExecutedHistory {
    /// A place in the history.
    private struct Place {
        var sequence = SequenceNumber.zero
        var digest = Digest.zero
    }

    /// So many batches are from one mark to the next: few, so that two replicas that stand still have one in common that matters.
    private static let batchesPerMark: UInt64 = 16

    /// The first batch of it.
    private var start = SequenceNumber.zero
    private var last = Place()
    private var tentative: Place?
    private var mark = Place()
    private var checkpoint = Place()

    /// A batch was executed; if it was tentatively, it counts from ``confirmed()`` on.
    mutating func executed(_ execution: Execution) {
        if execution.sequence != last.sequence.next {
            start = execution.sequence
            last = Place()
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(2 * Digest.byteCount)
        last.digest.append(to: &bytes)
        execution.batch.append(to: &bytes)
        let place = Place(sequence: execution.sequence, digest: Digest.of(bytes))
        if execution.isTentative { tentative = place } else { advance(to: place) }
    }

    /// The batch that was executed tentatively is committed.
    mutating func confirmed() {
        if let place = tentative.take() { advance(to: place) }
    }

    /// The batch that was executed tentatively is taken back.
    mutating func takenBack() {
        tentative = nil
    }

    /// A checkpoint is taken after the last batch.
    mutating func checkpointed() {
        checkpoint = last
    }

    private mutating func advance(to place: Place) {
        last = place
        if place.sequence.rawValue % Self.batchesPerMark == 0 { mark = place }
    }

    /// For who compares replicas: where it begins, and the first 64 bits of the digest at the last mark and at the last checkpoint.
    var gauges: [ReplicaStatus.Counter] {
        [
            .init("history_start", start.rawValue, .gauge),
            .init("history_mark_sequence", mark.sequence.rawValue, .gauge),
            .init("history_mark_prefix", mark.digest.prefix, .gauge),
            .init("history_checkpoint_sequence", checkpoint.sequence.rawValue, .gauge),
            .init("history_checkpoint_prefix", checkpoint.digest.prefix, .gauge),
        ]
    }
}
