import Adversary
import Agreement
import Cryptography
import Messages

/// A replica's protocol log with group commit: one sync at a time covers everything that was appended before it started. What was not
/// synced is lost with the power.
struct SimulatedDisk {
    /// A batch that is bound to a place in the order, as P and Q hold it.
    struct Claim: Hashable {
        let view: UInt64
        let sequence: UInt64
        let digest: UInt64
    }

    /// A checkpoint of the state that is on the disk.
    typealias Checkpoint = Recovery.OwnCheckpoint

    /// What is written: all of it goes through one log, so that what is durable is always a first part of it.
    private enum Write {
        case record(LogRecord)
        case checkpoint(Checkpoint)
        case installed(Checkpoint)
    }

    /// The durable records, oldest first.
    private(set) var durableRecords: [LogRecord] = []
    /// The checkpoints whose state is durable, oldest first.
    private(set) var checkpoints: [Checkpoint] = []
    private var unsynced: [Write] = []
    private var unsyncedRecords = 0
    /// How many of the unsynced writes the sync under way covers; 0 when none is.
    private var syncing = 0

    /// A number in a view.
    struct Place: Hashable {
        let view: View
        let sequence: SequenceNumber
    }

    /// The durable part of Q and P.
    private(set) var prePrepared: Set<Claim> = []
    private(set) var prepared: Set<Claim> = []
    /// Where something is durably prepared.
    private(set) var preparedPlaces: Set<Place> = []
    /// The views for which a VIEW-CHANGE, and that a NEW-VIEW, is durable.
    private(set) var viewsLeftFor: Set<UInt64> = []
    private(set) var viewsEntered: Set<UInt64> = []

    /// Up to where the records are durable.
    var durable: LogPosition { LogPosition(recovered: durableRecords.count) }

    /// How many records there are, synced or not.
    var end: UInt64 { UInt64(durableRecords.count + unsyncedRecords) }

    mutating func append(_ record: LogRecord) {
        unsynced.append(.record(record))
        unsyncedRecords += 1
    }

    /// The state of a batch this replica executed is written.
    mutating func append(_ checkpoint: Checkpoint) {
        unsynced.append(.checkpoint(checkpoint))
    }

    /// A state that others had is written in place of this replica's own.
    mutating func install(_ checkpoint: Checkpoint) {
        unsynced.append(.installed(checkpoint))
    }

    /// Starts a sync unless one runs or nothing waits.
    ///
    /// - Returns: The position up to which it makes the records durable.
    mutating func startSync() -> LogPosition? {
        guard syncing == 0, !unsynced.isEmpty else { return nil }
        syncing = unsynced.count
        return LogPosition(recovered: durableRecords.count + unsyncedRecords)
    }

    /// The sync is done.
    ///
    /// - Returns: The checkpoints of this replica's own that are durable by it.
    mutating func finishSync() -> [Checkpoint] {
        defer { syncing = 0 }
        return keep(syncing)
    }

    /// Makes the first of the unsynced writes durable.
    private mutating func keep(_ count: Int) -> [Checkpoint] {
        var taken: [Checkpoint] = []
        for write in unsynced.prefix(count) {
            switch write {
            case .record(let record):
                note(record)
                durableRecords.append(record)
                unsyncedRecords -= 1
            case .checkpoint(let checkpoint):
                checkpoints.append(checkpoint)
                taken.append(checkpoint)
            case .installed(let checkpoint):
                checkpoints.append(checkpoint)
            }
        }
        unsynced.removeFirst(count)
        return taken
    }

    /// Loses what was not synced, but for what the disk wrote on its own: the log is torn at any place after its durable part. Not before
    /// a state that was installed: the simulated store has no way back to the one before.
    mutating func losePower(_ random: inout RandomStream) {
        let installed = unsynced.lastIndex { if case .installed = $0 { true } else { false } }
        let least = installed.map { $0 + 1 } ?? 0
        _ = keep(random.within(least...unsynced.count))
        unsynced.removeAll()
        unsyncedRecords = 0
        syncing = 0
    }

    /// Where the record is by which the batch of a number was prepared here last; the start when it is durable, or there is none.
    func foundation(of sequence: SequenceNumber) -> LogPosition {
        var position = durableRecords.count
        var found = LogPosition.start
        for case .record(let record) in unsynced {
            position += 1
            if case .prepared(_, sequence, _) = record { found = LogPosition(recovered: position) }
        }
        return found
    }

    /// Loses everything.
    mutating func wipe() {
        self = SimulatedDisk()
    }

    private mutating func note(_ record: LogRecord) {
        switch record {
        case .prePrepared(let said):
            prePrepared.insert(Self.claim(said.view, said.sequence, said.batch.digest.prefix))
        case .prepared(let view, let sequence, let digest):
            prepared.insert(Self.claim(view, sequence, digest.prefix))
            preparedPlaces.insert(Place(view: view, sequence: sequence))
        case .viewChange(let own):
            viewsLeftFor.insert(own.view.rawValue)
        case .newView(let newView, members: _):
            viewsEntered.insert(newView.view.rawValue)
        case .stable, .learning:
            break
        }
    }

    static func claim(_ view: View, _ sequence: SequenceNumber, _ digest: UInt64) -> Claim {
        Claim(view: view.rawValue, sequence: sequence.rawValue, digest: digest)
    }
}
