import Agreement
import Cryptography
import DurableStore
import Invariants
import Messages
import StateStore

/// Where a replica's messages go. The shell puts them into its links' buffers; nothing is sent before the end of the turn.
protocol ReplicaOutlet: AnyObject {
    /// A message for peers, encoded once.
    func send(_ message: [UInt8], to recipient: Recipient)
    /// The bytes that wait on the link to a peer.
    func outboundBytes(to peer: ReplicaID) -> Int
    /// A reply for a client; lost when the client has no link here.
    func reply(_ message: [UInt8], to client: ClientID)
    /// Calls `body` after so many nanoseconds, unless the replica has stopped by then.
    func later(_ delay: UInt64, _ body: @escaping () -> Void)
    /// These clients have another key now, or none: links that were opened with an earlier one are to be closed.
    func clientsChanged(_ clients: [ClientID])
    /// Something worth logging happened.
    func note(_ event: Event)
    /// A message is sent to peers that asks for answers.
    func asked(_ recipient: Recipient, for message: PeerMessage)
    /// Somebody misbehaved, and this proves it.
    func keep(_ evidence: Evidence)
    /// A peer sent what no correct replica sends: a wrong signature of a replica, or a wrong part of the state.
    func invalid(of peer: ReplicaID)
}

/// One replica without sockets: the engine, the state, the service and the checks of signatures, in one thread.
///
/// It carries out the engine's effects and hands the results back until none are left. Everything that it cannot do itself goes to
/// its outlet.
final class ReplicaCore {
    private var engine: Replica
    let cluster: ClusterFile
    let replica: ReplicaID
    private let service: any ReplicatedService
    private let storage: OpenStorage
    private let store: any AuthenticatedStore
    private let verifier: RequestVerifier
    /// Where signatures are checked beside everything else; nil when they are checked right here.
    private let workers: SignatureWorkers?
    /// The requests of this turn that are to be handed to the workers together.
    private var unchecked: [(check: RequestCheck, source: RequestSource)] = []
    /// How many verdicts of the workers are not there yet, in requests and in requests of batches.
    private var checksUnderWay = 0
    private var batchesUnderCheck: [BatchPlace: Int] = [:]
    private let transfer: StateTransfer
    private let recorder: InputRecorder?
    weak var outlet: (any ReplicaOutlet)?
    /// What stands between this replica and everybody else; nil but in a laboratory.
    let interceptor: (any ReplicaInterceptor)?
    private var effects: [Effect] = []
    /// The section of the state that a batch executed tentatively has written.
    private var tentative: TentativeMark?
    private var held = Held<Effect>()
    private var answers: HeldAnswers
    private var checkpointing = Checkpointing()
    /// The last checkpoint that this replica took itself.
    private var lastCheckpoint: (sequence: SequenceNumber, root: Digest)?
    private var history = ExecutedHistory()
    /// Why this replica can keep nothing any more: from then on it says nothing.
    private(set) var failure: OperatorError?

    /// What senders owe beyond the time that their messages take here: the time of other threads for their signatures, less that of
    /// executions, which are this replica's own work, whoever's message was the last that it waited for. In nanoseconds, all in all.
    private(set) var surcharge: Int64 = 0

    /// The replica whose message is handled now.
    private var sender: ReplicaID?

    /// What has happened so far.
    private(set) var counters = ReplicaCounters()

    init(
        cluster: ClusterFile,
        replica: ReplicaID,
        key: SigningKey,
        limits: Limits,
        service: any ReplicatedService,
        storage: OpenStorage,
        recording: InputRecording?,
        workers: SignatureWorkers?,
        stateTransferRate: UInt64,
        interceptor: (any ReplicaInterceptor)?,
        outlet: any ReplicaOutlet
    ) {
        let configuration = ReplicaConfiguration(
            size: cluster.size,
            replica: replica,
            cluster: cluster.clusterID,
            switches: cluster.switches,
            limits: limits,
            clients: cluster.clientKeys
        )
        let recordingSigner = recording.map { _ in RecordingSigner(key) }
        let signer: any Signer = recordingSigner ?? key
        let recovery = storage.takeRecovery()
        if let recovery {
            engine = Replica(configuration: configuration, signer: signer, recovering: recovery)
            let durable = LogPosition(recovered: recovery.log.count)
            held = Held(durable: durable)
            answers = HeldAnswers(durable: durable, most: limits.waitingReadBytes)
        } else {
            engine = Replica(configuration: configuration, signer: signer)
            answers = HeldAnswers(most: limits.waitingReadBytes)
        }
        if let recording, let recordingSigner {
            recorder = InputRecorder(
                of: configuration,
                recovering: recovery,
                signer: recordingSigner,
                into: recording
            )
        } else {
            recorder = nil
        }
        self.workers = workers
        verifier = RequestVerifier(cluster: cluster.clusterID, replica: replica, key: key)
        self.storage = storage
        store = storage.state
        transfer = StateTransfer(
            store: store,
            peers: cluster.size.members.filter { $0 != replica }.map(\.index),
            servingRate: stateTransferRate
        )
        self.cluster = cluster
        self.replica = replica
        self.service = service
        self.interceptor = interceptor
        self.outlet = outlet
        // Whoever looks at the log of this run is to know.
        if engine.isLearning { outlet.note(.learning(true)) }
    }

    /// When ``timePassed(now:)`` wants to be called; nil for never.
    var deadline: Instant? {
        let second = transfer.deadline.map { Instant(nanoseconds: $0) }
        guard let first = engine.deadline, let second else { return engine.deadline ?? second }
        return min(first, second)
    }

    /// The high water mark.
    var high: SequenceNumber { engine.high }

    /// The key of a client or an administrator now; nil when there is none of this name.
    func key(of client: ClientID) -> PublicKey? { engine.key(of: client) }

    // MARK: Inputs

    func receive(_ message: PeerMessage, from peer: ReplicaID, now: ClockReading) {
        guard let message = admitted(message, from: peer, now) else { return }
        sender = peer
        defer { sender = nil }
        switch message {
        case .stateRequest(let body):
            perform(transfer.onRequest(body, from: peer.index, now: now.monotonic.nanoseconds), now)
        case .stateAnswer(let body):
            perform(transfer.onAnswer(body, from: peer.index, now: now.monotonic.nanoseconds), now)
        default:
            if case .checkpoint(let checkpoint) = message {
                transfer.onCheckpoint(checkpoint.claim.sequence.rawValue, of: peer.index)
            }
            // It executes nothing itself meanwhile, but sees what the others do.
            if transfer.isInstalling, case .vote = message { transfer.noteUse(now: now.monotonic.nanoseconds) }
            step(.message(message, from: peer), now)
        }
        drain(now)
    }

    func receive(_ request: Unverified<Request>, now: ClockReading) {
        guard let request = admitted(request, now) else { return }
        step(.request(request), now)
        drain(now)
    }

    func receive(_ read: ReadRequest, from client: ClientID, now: ClockReading) {
        step(.read(read, from: client), now)
        drain(now)
    }

    func peerConnected(_ peer: ReplicaID, now: ClockReading) {
        step(.peerConnected(peer), now)
        drain(now)
    }

    func turnEnded(now: ClockReading) {
        checkLoneRequest(now)
        step(.turnEnded, now)
        advanceCheckpoint(keys: checkpointing.stepsPerTurn, now)
        if transfer.isSliceDue(now: now.monotonic.nanoseconds) { install(now) }
        drain(now)
        handOutChecks()
        commit()
        recorder?.write()
    }

    // MARK: Signatures checked on other threads

    /// Whether there is room for what clients send: their requests wait before they are read, not for a thread that checks them.
    var takesRequests: Bool { checksUnderWay < 128 }

    /// Whether there is room for what peers send: of correct ones much more than their batches and forwarded requests need.
    var takesMessages: Bool { checksUnderWay < 4_096 }

    /// How many other threads check signatures.
    var signatureThreads: Int { workers?.threads ?? 0 }

    /// Takes what came of checks on other threads.
    func takeVerdicts(now: ClockReading) {
        guard let workers else { return }
        for verdict in workers.take() {
            switch verdict {
            case .request(let request, let check, let source):
                checksUnderWay -= 1
                counters.signaturesChecked += 1
                step(.verdict(request, on: check, from: source), now)
            case .batch(let place, let isValid):
                let count = batchesUnderCheck.removeValue(forKey: place) ?? 0
                checksUnderWay -= count
                counters.signaturesChecked += UInt64(count)
                step(.batchChecked(place, valid: isValid), now)
            }
        }
        drain(now)
    }

    private func check(_ check: RequestCheck, from source: RequestSource, _ now: ClockReading) {
        if workers != nil, check.request.claim.scheme == .signature {
            unchecked.append((check, source))
            checksUnderWay += 1
            surcharge += SignatureWorkers.checkNanoseconds
        } else {
            step(.verdict(verifier.verify(check), on: check, from: source), now)
        }
    }

    private func check(_ checks: [RequestCheck], of place: BatchPlace, _ now: ClockReading) {
        let isSigned = checks.allSatisfy { $0.request.claim.scheme == .signature }
        if let workers, isSigned, checks.count > 1, batchesUnderCheck[place] == nil {
            batchesUnderCheck[place] = checks.count
            checksUnderWay += checks.count
            surcharge += SignatureWorkers.checkNanoseconds * Int64(checks.count)
            workers.check(checks, of: place)
        } else {
            step(.batchChecked(place, valid: checks.allSatisfy { verifier.verify($0) != nil }), now)
        }
    }

    private func check(_ checkpoint: Unverified<Checkpoint>, _ now: ClockReading) {
        if let key = cluster.replica(checkpoint.claim.replica)?.publicKey,
            let verified = checkpoint.verified(by: key, cluster: cluster.clusterID)
        {
            step(.checkpointVerified(verified), now)
        } else {
            counters.badCheckpointSignatures += 1
            if let sender { outlet?.invalid(of: sender) }
        }
    }

    /// Checks the one request of a turn right here when no other is under way: that takes less time than to wake a thread.
    private func checkLoneRequest(_ now: ClockReading) {
        guard checksUnderWay == 1, let lone = unchecked.popLast() else { return }
        checksUnderWay = 0
        step(.verdict(verifier.verify(lone.check), on: lone.check, from: lone.source), now)
        drain(now)
    }

    private func handOutChecks() {
        guard let workers, !unchecked.isEmpty else { return }
        workers.check(unchecked)
        unchecked.removeAll(keepingCapacity: true)
    }

    /// Whether ``turnEnded(now:)`` wants to be called though nothing arrived.
    func hasWork(now: Instant) -> Bool {
        checkpointing.underWay != nil || transfer.isSliceDue(now: now.nanoseconds)
    }

    /// The protocol log has become durable, or cannot.
    func logReported(_ report: ProtocolLog.Report, now: ClockReading) {
        switch report {
        case .durable(let position):
            for effect in held.release(upTo: position) { perform(effect, now) }
            for answer in answers.release(upTo: position) { reply(.readReply(answer.reply), to: answer.client, now) }
        case .checkpointDurable(let number):
            guard let root = checkpointing.finished.removeValue(forKey: number) else { return }
            checkpointTaken(SequenceNumber(number), root: root, now)
        case .failed(let error):
            failure = failure ?? OperatorError(error)
        }
        drain(now)
        handOutChecks()
        recorder?.write()
    }

    func timePassed(now: ClockReading) {
        step(.timePassed, now)
        perform(transfer.timePassed(now: now.monotonic.nanoseconds), now)
        drain(now)
        handOutChecks()
        commit()
        recorder?.write()
    }

    /// Hands the engine an input, the one way there is to it.
    private func step(_ input: Input, _ now: ClockReading) {
        let first = effects.count
        engine.step(input, now: now, into: &effects)
        recorder?.add(input, now: now, effects: effects[first...])
    }

    /// Ends the recording, if there is one; nothing is handed in after that.
    func stop() {
        recorder?.finish()
    }

    private func perform(_ steps: [StateTransfer.Step], _ now: ClockReading) {
        for next in steps {
            switch next {
            case .ask(let body, let peer): send(.stateRequest(body), to: .replica(ReplicaID(UInt8(peer))), now)
            case .answer(let body, let peer):
                counters.stateBytesServed += UInt64(body.count)
                send(.stateAnswer(body), to: .replica(ReplicaID(UInt8(peer))), now)
            case .accuse(let peer, _):
                counters.badStateAnswers += 1
                outlet?.invalid(of: ReplicaID(UInt8(peer)))
            case .installing:
                // What was being computed belongs to a state that is gone.
                checkpointing = Checkpointing()
            case .installed(let checkpoint):
                if let root = store.root(ofCheckpoint: checkpoint) {
                    lastCheckpoint = (SequenceNumber(checkpoint), root)
                }
                step(.stateInstalled(SequenceNumber(checkpoint), records: storage.systemRecords), now)
            }
        }
    }

    // MARK: Checkpoints

    /// Puts a slice of a fetched state into the store.
    private func install(_ now: ClockReading) {
        let start = Instant.now()
        let (keys, bytes) = (Checkpointing.leastStepsPerTurn, Checkpointing.installedBytesPerTurn)
        perform(transfer.install(keys: keys, bytes: bytes, now: now.monotonic.nanoseconds), now)
        transfer.sliceEnded(from: start.nanoseconds, to: Instant.now().nanoseconds)
    }

    private func takeCheckpoint(_ sequence: SequenceNumber, _ now: ClockReading) {
        history.checkpointed()
        // The one before is finished first, however long it takes: only one is computed at a time.
        if checkpointing.underWay != nil { advanceCheckpoint(keys: .max, now) }
        store.beginCheckpoint(sequence.rawValue)
        checkpointing.begin(sequence, steps: store.checkpointSteps)
        advanceCheckpoint(keys: checkpointing.stepsPerTurn, now)
    }

    private func advanceCheckpoint(keys: Int, _ now: ClockReading) {
        guard let sequence = checkpointing.underWay, let root = store.advanceCheckpoint(keys: keys) else { return }
        checkpointing.underWay = nil
        if let disk = storage.disk {
            checkpointing.finished[sequence.rawValue] = root
            disk.log.coverCheckpoint(sequence.rawValue)
        } else {
            checkpointTaken(sequence, root: root, now)
        }
    }

    private func checkpointTaken(_ sequence: SequenceNumber, root: Digest, _ now: ClockReading) {
        lastCheckpoint = (sequence, root)
        step(.checkpointTaken(sequence, root: root), now)
    }

    // MARK: Effects

    /// Bounds the batches of a replica that is to misbehave; see ``Replica/proposeAtMost(_:)``.
    func proposeAtMost(_ requests: Int?) { engine.proposeAtMost(requests) }

    /// How far this replica is.
    func progress(_ now: ClockReading) -> ReplicaProgress {
        ReplicaProgress(
            now: now.monotonic.nanoseconds,
            view: engine.view,
            executed: engine.executed,
            low: engine.stable,
            high: engine.high,
            watch: engine.watchStatus
        )
    }

    /// Carries out effects in their order; those that their results bring forth come after.
    private func drain(_ now: ClockReading) {
        var next = 0
        repeat {
            while next < effects.count {
                let effect = effects[next]
                next += 1
                perform(effect, now)
            }
            // Not under an execution, which works on the state.
            if transfer.isComplete { install(now) }
        } while next < effects.count
        effects.removeAll(keepingCapacity: true)
    }

    /// The end of a turn: what was recorded in it is made durable together.
    private func commit() {
        guard let disk = storage.disk else { return }
        disk.log.commit()
        if let error = disk.failure { failure = failure ?? OperatorError(error) }
    }

    /// Whether an effect has to wait until the log is durable up to a position; then it is kept until it is.
    private func mustWait(_ effect: Effect, for position: LogPosition) -> Bool {
        // With durability `none` every position counts as durable at once.
        storage.disk != nil && held.hold(effect, until: position)
    }

    private func perform(_ effect: Effect, _ now: ClockReading) {
        switch effect {
        case .persist(let record, let position):
            storage.disk?.log.append(record, at: position)
        case .send(let message, let recipient, let position):
            if mustWait(effect, for: position) { return }
            outlet?.asked(recipient, for: message)
            send(message, to: recipient, now)
        case .reply(let replies, let position):
            if mustWait(effect, for: position) { return }
            for addressed in replies {
                reply(.reply(addressed.reply), to: addressed.client, now)
            }
        case .checkRequest(let check, let source):
            self.check(check, from: source, now)
        case .checkBatch(let place, let checks):
            check(checks, of: place, now)
        case .checkCheckpoint(let checkpoint):
            check(checkpoint, now)
        case .checkCertificate(let certificate):
            check(certificate, now)
        case .checkViewChange(let viewChange, let peer):
            let verified = viewChange.verified(size: cluster.size, cluster: cluster.clusterID) { [cluster] replica in
                cluster.replica(replica)?.publicKey
            }
            if let verified {
                step(.viewChangeVerified(verified, from: peer), now)
            } else {
                counters.badViewChangeSignatures += 1
                outlet?.invalid(of: peer)
            }
        case .checkNewView(let newView, let peer):
            if let key = cluster.replica(newView.claim.view.primary(in: cluster.size))?.publicKey,
                let verified = newView.verified(by: key, cluster: cluster.clusterID)
            {
                step(.newViewVerified(verified, from: peer), now)
            } else {
                counters.badViewChangeSignatures += 1
                outlet?.invalid(of: peer)
            }
        case .fetchState(let sequence, let root):
            fetchState(sequence, root, now)
        case .execute(let execution):
            if execution.isTentative { tentative = store.beginTentative() }
            transfer.noteUse(now: now.monotonic.nanoseconds)
            step(.executed(execution.sequence, results: execute(execution)), now)
        case .confirmExecution:
            store.commit(takeTentative())
            history.confirmed()
        case .rollBackExecution:
            store.rollBack(to: takeTentative())
            history.takenBack()
        case .query(let read, let client, let position):
            answer(read, of: client, after: position, now)
        case .clientsChanged(let clients):
            outlet?.clientsChanged(clients)
        case .record(let records):
            record(records)
        case .takeCheckpoint(let sequence):
            takeCheckpoint(sequence, now)
        case .discardCheckpoints(let sequence, let position):
            if mustWait(effect, for: position) { return }
            transfer.release(before: sequence.rawValue)
        case .keepEvidence(let evidence):
            keep(evidence)
        case .note(let event):
            counters.count(event)
            outlet?.note(event)
        }
    }

    private func fetchState(_ sequence: SequenceNumber, _ root: Digest, _ now: ClockReading) {
        let time = now.monotonic.nanoseconds
        perform(
            transfer.begin(sequence.rawValue, root: root, now: time, numberedFrom: now.wall.nanoseconds),
            now
        )
    }

    private func check(_ certificate: Unverified<CheckpointCertificate>, _ now: ClockReading) {
        let verified = certificate.verified(size: cluster.size, cluster: cluster.clusterID) { [cluster] replica in
            cluster.replica(replica)?.publicKey
        }
        if let verified {
            step(.certificateVerified(verified), now)
        } else {
            counters.badCheckpointSignatures += 1
            if let sender { outlet?.invalid(of: sender) }
        }
    }

    /// Only what an operator would find without a flaw is kept: a forwarder may have signed something else.
    private func keep(_ evidence: Evidence) {
        let flaw = evidence.flaw(in: cluster.clusterID) { [cluster] replica in cluster.replica(replica)?.publicKey }
        guard flaw == nil else {
            counters.flawedEvidence += 1
            return
        }
        counters.evidence += 1
        outlet?.keep(evidence)
    }

    private func takeTentative() -> TentativeMark {
        guard let mark = tentative.take() else { invariantViolated("no batch was executed tentatively") }
        return mark
    }

    private func execute(_ execution: Execution) -> [[[UInt8]]] {
        history.executed(execution)
        let start = Instant.now()
        defer { surcharge -= Int64(Instant.now().nanoseconds(since: start)) }
        return execution.results { request, operation in
            var context = ExecutionContext(
                client: request.client,
                time: execution.time,
                state: ServiceState(of: store)
            )
            return service.execute(operation, in: &context)
        }
    }

    private func answer(_ read: ReadRequest, of client: ClientID, after position: LogPosition, _ now: ClockReading) {
        guard storage.disk != nil, answers.mustHold(until: position) else {
            return reply(.readReply(answer(to: read)), to: client, now)
        }
        let answer = HeldAnswers.Answer(reply: answer(to: read), client: client)
        if !answers.hold(answer, until: position) {
            reply(.readReply(ReadReply(tag: read.tag, outcome: .refused)), to: client, now)
        }
    }

    // Swift 6.3.1's optimizer fails on inlining a function that hands an existential to a noncopyable view.
    @inline(never)
    private func answer(to read: ReadRequest) -> ReadReply {
        counters.readsAnswered += 1
        // Half a state is none.
        guard !transfer.isInstalling, let result = service.query(read.operation, in: StateView(of: store)),
            result.count <= MessageLimits.resultBytes
        else { return ReadReply(tag: read.tag, outcome: .refused) }
        return ReadReply(to: read, result: result)
    }

    private func record(_ records: [SystemRecord]) {
        for record in records {
            if let value = record.value {
                store.put(value, at: record.key, in: .system)
            } else {
                _ = store.delete(record.key, in: .system)
            }
        }
    }

    // MARK: Status

    /// What this replica says of itself.
    func status(of replica: ReplicaID, connectedPeers: [ReplicaID], counters shell: [ReplicaStatus.Counter])
        -> ReplicaStatus
    {
        ReplicaStatus(
            replica: replica,
            protocolName: cluster.protocolName.rawValue,
            view: engine.view,
            primary: engine.primary,
            executed: engine.executed,
            stable: engine.stable,
            low: engine.stable,
            high: engine.high,
            connectedPeers: connectedPeers,
            counters: counters.named + [
                .init("state_bytes_fetched", transfer.bytesFetched),
                .init("signatures_checked", verifier.signaturesChecked + counters.signaturesChecked),
                .init("macs_checked", verifier.macsChecked),
                .init("checkpoint_sequence", lastCheckpoint?.sequence.rawValue ?? 0, .gauge),
                .init("checkpoint_root_prefix", lastCheckpoint?.root.prefix ?? 0, .gauge),
            ] + history.gauges + engine.watchGauges + engine.namedBlacklist + shell
        )
    }
}
