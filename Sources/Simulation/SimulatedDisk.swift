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

    /// The durable records, oldest first.
    private(set) var durableRecords: [LogRecord] = []
    private(set) var durable = LogPosition.start
    /// The position of the last record, synced or not.
    private(set) var last = LogPosition.start
    private var unsynced: [(record: LogRecord, position: LogPosition)] = []
    private var isSyncing = false

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

    /// How many records wait for a sync.
    var waiting: Int { unsynced.count }

    /// How many records there are, synced or not.
    var end: UInt64 { durable.rawValue + UInt64(unsynced.count) }

    mutating func append(_ record: LogRecord, at position: LogPosition) {
        unsynced.append((record, position))
        last = position
    }

    /// Starts a sync unless one runs or nothing waits.
    ///
    /// - Returns: The position up to which it makes the log durable.
    mutating func startSync() -> LogPosition? {
        guard !isSyncing, !unsynced.isEmpty else { return nil }
        isSyncing = true
        return last
    }

    mutating func finishSync(_ position: LogPosition) {
        isSyncing = false
        let count = Int(position.rawValue - durable.rawValue)
        for (record, _) in unsynced.prefix(count) {
            note(record)
            durableRecords.append(record)
        }
        unsynced.removeFirst(count)
        durable = position
    }

    /// Loses what was not synced, but for what the disk wrote on its own: the log is torn at any place after its durable part.
    mutating func losePower(_ random: inout RandomStream) {
        let kept = random.below(unsynced.count + 1)
        if let last = unsynced.prefix(kept).last { finishSync(last.position) }
        unsynced.removeAll()
        last = durable
        isSyncing = false
    }

    /// Where the record is by which the batch of a number was prepared here last; the start when it is durable, or there is none.
    func foundation(of sequence: SequenceNumber) -> LogPosition {
        unsynced.last { entry in
            if case .prepared(_, sequence, _) = entry.record { true } else { false }
        }?.position ?? .start
    }

    /// The stable checkpoints that the durable records name, the last one first.
    var stableCheckpoints: [SequenceNumber] {
        durableRecords.reversed().compactMap { record in
            if case .stable(let sequence, certificate: _) = record { sequence } else { nil }
        }
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
