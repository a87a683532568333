import Cryptography
import Messages

/// Checkpoints of which the root is not known yet, or not durable, and how much of such work one turn does.
struct Checkpointing {
    /// How many steps of a checkpoint, or of an install, one turn takes at least: less than a millisecond of work, with a million small
    /// entries on disk.
    static let leastStepsPerTurn = 32

    /// How many bytes of a fetched state one turn hashes and writes: that does not take long with large entries either.
    static let installedBytesPerTurn = 256 << 10

    /// How many turns a checkpoint takes at most, so that it is done before the next one begins.
    private static let turns = 256

    var underWay: SequenceNumber?
    private(set) var stepsPerTurn = 0
    var finished: [UInt64: Digest] = [:]

    /// The checkpoint of this number is computed from now on, in so many steps.
    mutating func begin(_ sequence: SequenceNumber, steps: Int) {
        underWay = sequence
        stepsPerTurn = max(Self.leastStepsPerTurn, steps / Self.turns + 1)
    }
}
