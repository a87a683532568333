/// Which checkpoints are kept since peers fetch them: the last one that each peer asked for, as long as it goes on asking and does not say
/// that it has that state or a later one.
///
/// So a fetch that takes longer than the time between two stable checkpoints comes to its end. A peer that only pretends to fetch has one
/// checkpoint kept, for ``longestNanoseconds``, and may then begin with another.
struct CheckpointHolds {
    private struct Hold {
        let checkpoint: UInt64
        let end: UInt64
        var idleEnd: UInt64
        /// It has lasted as long as one may.
        var isOver = false

        var due: UInt64 { min(end, idleEnd) }
    }

    /// How long a peer may ask for nothing more; a fetch waits for its slowest source in between.
    static let idleNanoseconds: UInt64 = 10_000_000_000
    /// How long a checkpoint is kept for one peer in all: at 10 MB/s that is 3 GB, and a peer that needs longer goes on with the next one.
    static let longestNanoseconds: UInt64 = 300_000_000_000

    private var holds: [Int: Hold] = [:]

    /// The numbers of the checkpoints that are kept.
    var checkpoints: Set<UInt64> { Set(holds.values.lazy.filter { !$0.isOver }.map(\.checkpoint)) }

    /// When ``expire(now:)`` has something to do; nil for never.
    var deadline: UInt64? { holds.values.lazy.filter { !$0.isOver }.map(\.due).min() }

    /// A peer has asked for parts of a checkpoint that is here.
    ///
    /// - Returns: Whether ``checkpoints`` may have changed.
    mutating func note(_ checkpoint: UInt64, of peer: Int, now: UInt64) -> Bool {
        let idleEnd = Self.sum(now, Self.idleNanoseconds)
        if let held = holds[peer], held.checkpoint >= checkpoint {
            // Fetches go on to newer checkpoints. A late question for an older one is answered while that is here.
            if held.checkpoint == checkpoint { holds[peer]?.idleEnd = idleEnd }
            return false
        }
        holds[peer] = Hold(checkpoint: checkpoint, end: Self.sum(now, Self.longestNanoseconds), idleEnd: idleEnd)
        return true
    }

    /// A peer says that it has the state of a checkpoint: it fetches no earlier one any more.
    ///
    /// - Returns: Whether ``checkpoints`` may have changed.
    mutating func end(upTo checkpoint: UInt64, of peer: Int) -> Bool {
        // What has lasted too long is remembered: that peer gets no other time for the same one.
        guard let held = holds[peer], !held.isOver, held.checkpoint <= checkpoint else { return false }
        holds[peer] = nil
        return true
    }

    /// Ends what has lasted too long.
    ///
    /// - Returns: Whether ``checkpoints`` may have changed.
    mutating func expire(now: UInt64) -> Bool {
        var hasChanged = false
        for (peer, hold) in holds where !hold.isOver && hold.due <= now {
            hasChanged = true
            if hold.end <= now {
                holds[peer]?.isOver = true
            } else {
                holds[peer] = nil
            }
        }
        return hasChanged
    }

    private static func sum(_ time: UInt64, _ wait: UInt64) -> UInt64 {
        let (sum, overflow) = time.addingReportingOverflow(wait)
        return overflow ? .max : sum
    }
}
