import Cryptography
import Invariants
import Messages

@testable import Agreement

/// One engine with a hand-turned shell round it: toy service, records, a log whose syncs the test can hold back, a clock that the test
/// sets. What leaves (durable or not needing it) is in ``outbox`` and ``replies`` until the test or a ``TestCluster`` takes it.
final class TestReplica {
    struct Sent {
        let message: PeerMessage
        let recipient: Recipient
    }

    private enum Held {
        case message(Sent, after: LogPosition)
        case replies([AddressedReply], after: LogPosition)
    }

    let id: ReplicaID
    let keys: Keys
    private var engine: Replica
    private var effects: [Effect] = []
    private var held: [Held] = []
    private var checks: [Effect] = []
    private(set) var durable = LogPosition.start

    /// Nanoseconds of both clocks.
    var time: UInt64 = 1_000_000_000
    /// How far the wall clock is from the other one.
    var wallOffset: Int64 = 0
    /// Whether records become durable at once; otherwise at ``sync()``.
    var syncsAtOnce = true
    /// Whether checks are carried out at once; otherwise at ``releaseChecks()``.
    var checksAtOnce = true
    /// Changes a root before the engine gets it, as a damaged state would.
    var distortsRoots = false

    private(set) var service = ToyService()
    private(set) var records: [[UInt8]: [UInt8]] = [:]
    private(set) var journal: [LogRecord] = []
    /// What was executed for good.
    private(set) var batches: [Execution] = []
    /// What was executed tentatively, and the service's state before.
    private(set) var tentative: (execution: Execution, before: ToyService)?
    private(set) var events: [Event] = []
    private(set) var evidence: [Evidence] = []
    private(set) var checkedRequests = 0
    private(set) var checkpointsTaken: [SequenceNumber] = []
    private(set) var discardedBefore: SequenceNumber?
    /// The reads that it answers, at the time when it does.
    private(set) var queries: [(read: ReadRequest, client: ClientID, after: LogPosition)] = []
    /// Whose keys have changed, in the order in which it was said.
    private(set) var changedClients: [ClientID] = []
    private(set) var stateWanted: SequenceNumber?
    private let configuration: ReplicaConfiguration
    private var states: [SequenceNumber: (service: ToyService, records: [[UInt8]: [UInt8]])] = [:]
    private var stableState: (sequence: SequenceNumber, service: ToyService, records: [[UInt8]: [UInt8]])?
    var outbox: [Sent] = []
    var replies: [AddressedReply] = []

    /// What was recorded, if it was to be.
    private(set) var recorder: TestRecorder?

    init(_ id: UInt8, keys: Keys, limits: Limits = .small, isRecorded: Bool = false) {
        self.id = ReplicaID(id)
        self.keys = keys
        configuration = ReplicaConfiguration(
            size: keys.size,
            replica: ReplicaID(id),
            cluster: keys.cluster,
            switches: keys.switches,
            limits: limits,
            clients: keys.genesis
        )
        let signer = TestRecorder.NotingSigner(CheapSigner.replica(ReplicaID(id)))
        engine = Replica(configuration: configuration, signer: signer)
        recorder = isRecorded ? TestRecorder(of: configuration, signer: signer) : nil
    }

    var executed: SequenceNumber { engine.executed }
    var stable: SequenceNumber { engine.stable }
    func key(of client: UInt32) -> PublicKey? { engine.key(of: ClientID(client)) }
    var high: SequenceNumber { engine.high }
    var isPrimary: Bool { engine.isPrimary }
    var isActive: Bool { engine.isActive }
    var isLearning: Bool { engine.isLearning }
    var view: View { engine.view }
    var deadline: Instant? { engine.deadline }
    var watchStatus: PrimaryWatchStatus? { engine.watchStatus }
    var certificate: [Checkpoint] { engine.checkpoints.certificate }

    private var now: ClockReading {
        ClockReading(
            monotonic: Instant(nanoseconds: time),
            wall: Timestamp(nanoseconds: UInt64(Int64(time) + wallOffset))
        )
    }

    // MARK: Inputs

    private func step(_ input: Input) {
        let first = effects.count
        engine.step(input, now: now, into: &effects)
        recorder?.add(input, now: now, effects: effects[first...])
    }

    func receive(_ message: PeerMessage, from peer: UInt8) {
        step(.message(message, from: ReplicaID(peer)))
        drain()
    }

    func receive(_ read: ReadRequest, client: UInt32 = 1) {
        step(.read(read, from: ClientID(client)))
        drain()
    }

    func receive(_ request: Request) {
        step(.request(Unverified(request)))
        drain()
    }

    func peerConnected(_ peer: UInt8) {
        step(.peerConnected(ReplicaID(peer)))
        drain()
    }

    /// Has this replica misbehave: see ``Replica/proposeAtMost(_:)``.
    func proposeAtMost(_ requests: Int?) {
        engine.proposeAtMost(requests)
    }

    func endTurn() {
        step(.turnEnded)
        drain()
    }

    func passTime() {
        step(.timePassed)
        drain()
    }

    /// Makes every record durable and lets go what waited for it.
    func sync() {
        sync(records: journal.count)
    }

    /// Makes the first records durable and lets go what waited for them.
    func sync(records: Int) {
        durable = LogPosition(rawValue: UInt64(min(records, journal.count)))
        release()
    }

    /// Carries out the checks that were held back.
    func releaseChecks() {
        let waiting = checks
        checks = []
        for check in waiting {
            carryOut(check: check)
        }
        drain()
    }

    /// Leaves the view, as a suspicion of this replica's own would make it.
    func suspect() {
        engine.leaveView(for: View(engine.view.rawValue + 1), because: .requestTimer, now: now, into: &effects)
        drain()
    }

    /// Stops, loses what was not durable, and starts again: the state as of the last stable checkpoint, the durable log.
    ///
    /// - Parameter isNeeded: Which records the disk has kept.
    func restart(keeping isNeeded: (LogRecord) -> Bool = { _ in true }) {
        journal = journal.prefix(Int(durable.rawValue)).filter(isNeeded)
        durable = LogPosition(rawValue: UInt64(journal.count))
        held = []
        checks = []
        outbox = []
        replies = []
        tentative = nil
        let executed = stableState?.sequence ?? .zero
        service = stableState?.service ?? ToyService()
        records = stableState?.records ?? [:]
        let recovery = Recovery(
            executed: executed,
            records: records.map { SystemRecord(key: $0.key, value: $0.value) },
            log: journal
        )
        let signer = TestRecorder.NotingSigner(CheapSigner.replica(id))
        engine = Replica(configuration: configuration, signer: signer, recovering: recovery)
        if recorder != nil { recorder = TestRecorder(of: configuration, recovering: recovery, signer: signer) }
    }

    /// Has the state that it wants, or an earlier one that it wanted before, with these entries of the engine's.
    func install(_ records: [[UInt8]: [UInt8]], of sequence: SequenceNumber? = nil) {
        guard let wanted = sequence ?? stateWanted else { invariantViolated("no state is wanted") }
        self.records = records
        let entries = records.map { SystemRecord(key: $0.key, value: $0.value) }
        engine.stateInstalled(wanted, records: entries, now: now, into: &effects)
        drain()
    }

    /// Loses everything, durable or not, and starts again knowing it.
    func loseStore() {
        journal = []
        durable = .start
        states = [:]
        stableState = nil
        stateWanted = nil
        restart()
        step(.startLearning)
        drain()
    }

    /// Installs the state that it wants, if another replica has it.
    func fetchState(from other: TestReplica) {
        guard let wanted = stateWanted, let state = other.states[wanted] else { return }
        stateWanted = nil
        service = state.service
        records = state.records
        states[wanted] = state
        stableState = (wanted, state.service, state.records)
        let entries = records.map { SystemRecord(key: $0.key, value: $0.value) }
        step(.stateInstalled(wanted, records: entries))
        drain()
    }

    var footprint: Footprint { engine.footprint }

    // MARK: Effects

    private func drain() {
        var next = 0
        while next < effects.count {
            let effect = effects[next]
            next += 1
            perform(effect)
        }
        effects.removeAll()
        if syncsAtOnce { sync() }
    }

    private func perform(_ effect: Effect) {
        switch effect {
        case .persist(let record, let position):
            journal.append(record)
            invariant(position.rawValue == UInt64(journal.count), "positions count the records")
        case .send(let message, let recipient, let position):
            invariant(position.rawValue <= UInt64(journal.count), "a message after a record that is not there")
            invariant(recipient != .replica(id), "a replica that sends to itself")
            held.append(.message(Sent(message: message, recipient: recipient), after: position))
            release()
        case .reply(let replies, let position):
            held.append(.replies(replies, after: position))
            release()
        case .checkRequest, .checkBatch, .checkCheckpoint, .checkCertificate, .checkViewChange, .checkNewView:
            if checksAtOnce { carryOut(check: effect) } else { checks.append(effect) }
        case .fetchState(let sequence, root: _):
            stateWanted = sequence
        case .query(let read, let client, let position):
            invariant(position.rawValue <= UInt64(journal.count), "an answer after a record that is not there")
            queries.append((read, client, position))
        case .execute(let execution):
            execute(execution)
        case .confirmExecution(let sequence):
            guard let done = tentative.take(), done.execution.sequence == sequence else {
                invariantViolated("nothing was executed tentatively")
            }
            batches.append(done.execution)
        case .rollBackExecution(let sequence):
            guard let undone = tentative.take(), undone.execution.sequence == sequence else {
                invariantViolated("nothing was executed tentatively")
            }
            service = undone.before
        case .record(let changes):
            invariant(tentative == nil, "records of a batch that may be taken back")
            for change in changes {
                records[change.key] = change.value
            }
        case .clientsChanged(let clients):
            changedClients += clients
        case .takeCheckpoint(let sequence):
            invariant(tentative == nil, "a checkpoint of tentative state")
            checkpointsTaken.append(sequence)
            states[sequence] = (service, records)
            step(.checkpointTaken(sequence, root: root))
        case .discardCheckpoints(let sequence, after: _):
            discardedBefore = sequence
            if let state = states[sequence] { stableState = (sequence, state.service, state.records) }
        case .keepEvidence(let found):
            evidence.append(found)
        case .note(let event):
            events.append(event)
        }
    }

    private func carryOut(check: Effect) {
        switch check {
        case .checkRequest(let check, let source):
            checkedRequests += 1
            step(.verdict(keys.verify(check, at: id), on: check, from: source))
        case .checkBatch(let place, let checks):
            checkedRequests += checks.count
            let valid = checks.allSatisfy { keys.verify($0, at: id) != nil }
            step(.batchChecked(place, valid: valid))
        case .checkCheckpoint(let checkpoint):
            guard let verified = keys.verify(checkpoint) else { return }
            step(.checkpointVerified(verified))
        case .checkCertificate(let certificate):
            guard let verified = keys.verify(certificate) else { return }
            step(.certificateVerified(verified))
        case .checkViewChange(let viewChange, let peer):
            guard let verified = keys.verify(viewChange) else { return }
            step(.viewChangeVerified(verified, from: peer))
        case .checkNewView(let newView, let peer):
            guard let verified = keys.verify(newView) else { return }
            step(.newViewVerified(verified, from: peer))
        default:
            invariantViolated("an effect that is no check")
        }
    }

    private func execute(_ execution: Execution) {
        invariant(tentative == nil, "an execution on tentative state")
        if execution.isTentative { tentative = (execution, service) } else { batches.append(execution) }
        let results = execution.results { service.execute($1, of: $0.client, at: execution.time) }
        step(.executed(execution.sequence, results: results))
    }

    /// A hash of the service's and the engine's own state.
    var root: Digest {
        var bytes = service.digest.bytes
        for key in records.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            bytes.append(lengthPrefixed: key)
            bytes.append(lengthPrefixed: records[key] ?? [])
        }
        if distortsRoots { bytes.append(0) }
        return Digest.of(bytes)
    }

    private func release() {
        var kept: [Held] = []
        for item in held {
            switch item {
            case .message(let sent, let position) where position <= durable:
                outbox.append(sent)
            case .replies(let released, let position) where position <= durable:
                replies.append(contentsOf: released)
            case .message, .replies:
                kept.append(item)
            }
        }
        held = kept
    }
}

// MARK: What tests look at

extension TestReplica {
    func takeOutbox() -> [Sent] {
        defer { outbox = [] }
        return outbox
    }

    var sentPrePrepares: [PrePrepare] {
        outbox.compactMap { if case .prePrepare(let prePrepare) = $0.message { prePrepare } else { nil } }
    }

    func sentVotes(_ phase: Vote.Phase) -> [Vote] {
        outbox.compactMap {
            if case .vote(let vote) = $0.message, vote.phase == phase { vote } else { nil }
        }
    }

    var sentForwards: [Request] {
        outbox.compactMap { if case .forward(let forward) = $0.message { forward.request.claim } else { nil } }
    }

    var sentCommitted: [Committed] {
        outbox.compactMap { if case .committed(let committed) = $0.message { committed } else { nil } }
    }

    var sentFetches: [Fetch] {
        outbox.compactMap { if case .fetch(let fetch) = $0.message { fetch } else { nil } }
    }

    var sentBatches: [BatchBody] {
        outbox.compactMap { if case .batch(let body) = $0.message { body } else { nil } }
    }

    var sentCheckpoints: [Checkpoint] {
        outbox.compactMap { if case .checkpoint(let checkpoint) = $0.message { checkpoint.claim } else { nil } }
    }

    var sentCatchUps: [CatchUp] {
        outbox.compactMap { if case .catchUp(let catchUp) = $0.message { catchUp } else { nil } }
    }

    var sentCertificates: [CheckpointCertificate] {
        outbox.compactMap { if case .certificate(let certificate) = $0.message { certificate.claim } else { nil } }
    }

    func dropped(_ reason: DropReason) -> Int {
        events.count { $0 == .dropped(reason) }
    }

    func accusations(_ accusation: Accusation, of replica: UInt8) -> Int {
        events.count { $0 == .accused(ReplicaID(replica), accusation) }
    }

    /// The operations that took effect, in their order.
    var operations: [String] {
        service.steps.map { String(decoding: $0.operation, as: UTF8.self) }
    }

    /// Votes of peers for a batch.
    func receive(_ phase: Vote.Phase, _ sequence: UInt64, _ digest: Digest, from peers: [UInt8], view: UInt64 = 0) {
        for peer in peers {
            let vote = Vote(phase, view: View(view), sequence: SequenceNumber(sequence), digest: digest)
            receive(.vote(vote), from: peer)
        }
    }

    /// A whole agreement on a batch, as f = 1 allows it with every peer correct.
    func agree(on prePrepare: PrePrepare) {
        let peers = keys.size.members.filter { $0 != id }.map(\.rawValue)
        let backups = peers.filter { $0 != 0 }
        if !isPrimary { receive(.prePrepare(prePrepare), from: 0) }
        receive(.prepare, prePrepare.sequence.rawValue, prePrepare.batch.digest, from: backups)
        receive(.commit, prePrepare.sequence.rawValue, prePrepare.batch.digest, from: peers)
    }
}

extension Limits {
    /// Small marks, so that tests reach them soon: K = 4, L = 8.
    static var small: Limits {
        var limits = Limits()
        limits.checkpointInterval = 4
        limits.logWindow = 8
        limits.pastBatches = 0
        return limits
    }
}

extension CatchUp {
    /// What an active replica of view 0 asks that has executed so much, and has no stable checkpoint.
    static func question(after executed: SequenceNumber) -> CatchUp {
        CatchUp(view: View(0), standing: .active, executed: executed, stable: .zero, prepared: executed)
    }
}

extension PrePrepare {
    /// A proposal of the primary of view 0 at a time that test replicas find right.
    static func proposal(
        _ sequence: UInt64,
        _ requests: [Request],
        time: UInt64 = 1_000_000_000,
        view: UInt64 = 0
    ) -> PrePrepare {
        PrePrepare(
            view: View(view),
            sequence: SequenceNumber(sequence),
            batch: Batch(time: Timestamp(nanoseconds: time), requests: requests)
        )
    }
}
