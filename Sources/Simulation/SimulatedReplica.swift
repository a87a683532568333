import Adversary
import Agreement
import Cryptography
import Invariants
import Messages
import StateStore

/// A replica with a simulated shell round it: the very engine of the real one, its state in memory, a simulated disk, and, if it is
/// faulty, behaviours between it and the network.
final class SimulatedReplica {
    let node: Int
    let id: ReplicaID
    let name: String
    let isCorrect: Bool
    private(set) var isUp = true
    /// Grows with each power loss: what belongs to an earlier life is void.
    private(set) var incarnation: UInt32 = 0

    unowned let world: World
    private let conditions: Scenario.Conditions
    var engine: Replica
    private let configuration: ReplicaConfiguration
    private let signer: any Signer
    /// What its work costs time on; nil when it costs none.
    let processor: SimulatedProcessor?
    private var store: InMemoryStateStore
    private var transfer: StateTransfer
    /// What the transfer wants of this shell, kept so that not every input asks it.
    private var transferDeadline: UInt64?
    private var isTransferComplete = false
    var isExecuting = false
    /// The batch that was executed tentatively.
    private var tentative: (mark: TentativeMark, execution: Execution, results: [[[UInt8]]])?
    private let service = RegisterService()
    var disk = SimulatedDisk()
    private var held = Held<Effect>()
    private var heldAnswers = Held<ReadAnswer>()
    /// Where the last of the records is on which an executed batch rests. One that was not prepared here when it was executed rests on
    /// what others say, who say nothing that is not durable.
    private var executedFoundation = LogPosition.start
    var effects: [Effect] = []
    private var behaviours: BehaviourStack
    private let hasBehaviours: Bool
    private let clockOffset: UInt64
    private var random: RandomStream
    private var isTurnScheduled = false
    private var timer: UInt64?
    private var before = Marks()
    /// Whether the store was lost and the replica knows.
    private var lostStore = false
    private var turns = 0

    /// What only grows.
    private struct Marks {
        var view = View(0)
        var executed = SequenceNumber.zero
        var stable = SequenceNumber.zero
    }

    init(node: Int, id: ReplicaID, name: String, behaviours: [any ReplicaBehaviour], isCorrect: Bool, in world: World) {
        self.node = node
        self.id = id
        self.name = name
        self.isCorrect = isCorrect
        self.world = world
        let scenario = world.scenario
        conditions = scenario.conditions
        var limits = scenario.limits
        for behaviour in behaviours { behaviour.adjust(&limits) }
        let keys = scenario.keys
        var configuration = ReplicaConfiguration(
            size: keys.size,
            replica: id,
            cluster: keys.cluster,
            switches: scenario.switches,
            limits: limits,
            clients: keys.genesis(without: scenario.newcomers)
        )
        scenario.options.configure(&configuration)
        self.configuration = configuration
        signer = keys.signer(of: id)
        engine = Replica(configuration: configuration, signer: signer)
        store = Self.emptyStore(limits)
        transfer = Self.transfer(of: id, into: store, in: scenario)
        random = RandomStream(seed: scenario.seed, stream: 1_000 + UInt64(node))
        let faulty = FaultyReplica(
            replica: id,
            size: keys.size,
            cluster: keys.cluster,
            clients: keys.clients,
            limits: limits,
            signer: signer,
            forger: keys.forger(of: id),
            accomplices: scenario.accomplices,
            random: RandomStream(seed: scenario.seed, stream: 2_000 + UInt64(node))
        )
        self.behaviours = BehaviourStack(behaviours, of: faulty)
        hasBehaviours = !behaviours.isEmpty
        processor = scenario.options.processor.map {
            SimulatedProcessor($0, of: id, node: node, limits: limits, in: world)
        }
        clockOffset = 1_700_000_000_000_000_000 + random.within(0...scenario.conditions.clockSkew)
    }

    var view: View { engine.view }
    var executed: SequenceNumber { engine.executed }
    var stable: SequenceNumber { engine.stable }
    var high: SequenceNumber { engine.high }
    var isPrimary: Bool { engine.isPrimary }

    /// The key that a client has here now.
    func key(of client: ClientID) -> PublicKey? { engine.key(of: client) }

    /// The periods of its behaviours, for the world to call ``behaviourTimePassed(_:)``.
    var periods: [UInt64?] { behaviours.periods }

    var clock: ClockReading {
        ClockReading(
            monotonic: Instant(nanoseconds: world.now),
            wall: Timestamp(nanoseconds: clockOffset + world.now)
        )
    }

    // MARK: Inputs

    func receive(_ message: PeerMessage, from peer: ReplicaID) {
        guard processor?.admits(.peer(message, from: peer)) ?? true else { return }
        guard let message = pass(message, { $0.receive($1, from: peer, as: &$2) })?.message else { return }
        switch message {
        case .stateRequest(let body): perform(transfer.onRequest(body, from: peer.index, now: world.now))
        case .stateAnswer(let body): perform(transfer.onAnswer(body, from: peer.index, now: world.now))
        default:
            if case .checkpoint(let checkpoint) = message {
                transfer.onCheckpoint(checkpoint.claim.sequence.rawValue, of: peer.index)
            }
            engine.receive(message, from: peer, now: clock, into: &effects)
        }
        drain()
        scheduleTurn()
    }

    func receive(_ request: Unverified<Request>) {
        guard processor?.admits(.request(request, over: connection(of: request))) ?? true else { return }
        guard let request = pass(request.claim, { $0.receive($1, as: &$2) })?.message else { return }
        engine.receive(Unverified(request), now: clock, into: &effects)
        drain()
        scheduleTurn()
    }

    func receive(_ read: ReadRequest, from client: ClientID) {
        guard processor?.admits(.read(read, from: client)) ?? true else { return }
        engine.receive(read, from: client, now: clock, into: &effects)
        drain()
        scheduleTurn()
    }

    func peerConnected(_ peer: ReplicaID) {
        guard processor?.admits(.connected(peer)) ?? true else { return }
        engine.peerConnected(peer, now: clock, into: &effects)
        drain()
        scheduleTurn()
    }

    func takeTurn() {
        if let processor { processor.takeTurn(self) } else { turnEnded() }
    }

    func turnEnded() {
        isTurnScheduled = false
        engine.turnEnded(now: clock, into: &effects)
        drain()
    }

    func timePassed(_ time: UInt64) {
        // A timer that was set for an earlier moment has taken this one's place.
        guard timer == time else { return }
        timer = nil
        guard processor?.admits(.timer) ?? true else { return }
        passTime()
    }

    func passTime() {
        if let deadline, deadline.nanoseconds <= world.now {
            engine.timePassed(now: clock, into: &effects)
            perform(transfer.timePassed(now: world.now))
            drain()
            scheduleTurn()
        } else {
            setTimer()
        }
    }

    func behaviourTimePassed(_ index: Int) {
        refreshBehaviours()
        behaviours.timePassed(index)
        speak()
    }

    func synced() {
        guard processor?.admits(.synced) ?? true else { return }
        finishSync()
        guard isUp else { return }
        drain()
        scheduleTurn()
    }

    // MARK: Power

    /// Loses everything that is not durable, and stops.
    func losePower() {
        isUp = false
        incarnation += 1
        disk.losePower(&random)
        held = Held()
        heldAnswers = Held()
        effects.removeAll()
        timer = nil
        isTurnScheduled = false
        isExecuting = false
        tentative = nil
        processor?.losePower()
    }

    /// Loses the disk as well.
    ///
    /// - Parameter isKnown: Whether whoever starts it again knows.
    func loseDisk(isKnown: Bool) {
        disk.wipe()
        lostStore = isKnown
        store = Self.emptyStore(configuration.limits)
    }

    /// Starts again from what is durable: the log, and the state of the last checkpoint, stable or not.
    func restart() {
        isUp = true
        let kept = disk.checkpoints.filter { store.root(ofCheckpoint: $0.sequence.rawValue) == $0.root }
        store =
            kept.last.flatMap { store.copy(ofCheckpoint: $0.sequence.rawValue) }
            ?? Self.emptyStore(configuration.limits)
        transfer = Self.transfer(of: id, into: store, in: world.scenario)
        transferChanged()
        let recovery = Recovery(
            executed: kept.last?.sequence ?? .zero,
            records: systemRecords,
            log: disk.durableRecords,
            checkpoints: kept
        )
        engine = Replica(configuration: configuration, signer: signer, recovering: recovery)
        held = Held(durable: disk.durable)
        heldAnswers = Held(durable: disk.durable)
        executedFoundation = disk.durable
        // Whoever starts it tells it so until its log does.
        if lostStore, disk.durableRecords.isEmpty { engine.startLearning(now: clock, into: &effects) }
        before = Marks(view: engine.view, executed: engine.executed, stable: engine.stable)
        drain()
    }

    /// The engine's own entries of the state.
    private var systemRecords: [SystemRecord] {
        var records: [SystemRecord] = []
        store.scan(.all, in: .system) { key, value in
            records.append(SystemRecord(key: key, value: value))
            return .more
        }
        return records
    }

    private func transferChanged() {
        transferDeadline = transfer.deadline
        isTransferComplete = transfer.isComplete
    }

    private func perform(_ steps: [StateTransfer.Step]) {
        transferChanged()
        for step in steps {
            switch step {
            case .ask(let body, let peer):
                send(.stateRequest(body), to: ReplicaID(UInt8(peer)))
            case .answer(let body, let peer):
                send(.stateAnswer(body), to: ReplicaID(UInt8(peer)))
            case .accuse(let peer, let fault):
                world.happened(self, "!", UInt64(peer), "bad state of r\(peer): \(fault)")
            case .installing:
                break
            case .installed(let checkpoint):
                let sequence = SequenceNumber(checkpoint)
                if let root = store.root(ofCheckpoint: checkpoint) {
                    disk.install(SimulatedDisk.Checkpoint(sequence: sequence, root: root))
                    wrote()
                }
                guard isUp else { return }
                world.happened(self, "#", checkpoint, "state of \(sequence) installed")
                engine.stateInstalled(sequence, records: systemRecords, now: clock, into: &effects)
            }
        }
    }

    // MARK: Effects

    func drain() {
        var next = 0
        repeat {
            while next < effects.count {
                let effect = effects[next]
                next += 1
                if let sabotage = world.scenario.options.sabotage, isCorrect {
                    for changed in sabotage(effect, id) { perform(changed) }
                } else {
                    perform(effect)
                }
            }
            // Not under an execution, which works on the state.
            if isUp, isTransferComplete, !isExecuting {
                perform(transfer.install(keys: .max, bytes: .max, now: world.now))
            }
            if syncsAtOnce { syncAtOnce() }
        } while next < effects.count
        guard isUp else { return }
        effects.removeAll(keepingCapacity: true)
        if next > 20_000 {
            world.report(Violation(.bounded, "\(name) asks for \(next) effects of one input"), from: self)
        }
        syncIfNeeded()
        setTimer()
        if isCorrect { checkMarks() }
    }

    private func perform(_ effect: Effect) {
        switch effect {
        case .persist(let record, let position):
            disk.append(record)
            if isCorrect { persisted(record, at: position) }
            wrote()
        case .send(_, _, let position), .reply(_, let position), .discardCheckpoints(_, let position):
            hold(effect, until: position)
        case .checkRequest(let check, let source):
            start(.request(check, source), conditions.check)
        case .checkBatch(let place, let checks):
            start(.batch(place, checks), conditions.check)
        case .checkCheckpoint(let checkpoint):
            start(.checkpoint(checkpoint), conditions.check)
        case .checkCertificate(let certificate):
            start(.certificate(certificate), conditions.check)
        case .checkViewChange(let viewChange, let peer):
            start(.viewChange(viewChange, peer), conditions.check)
        case .checkNewView(let newView, let peer):
            start(.newView(newView, peer), conditions.check)
        case .fetchState(let sequence, let root):
            if isCorrect { world.report(world.oracle.fetches(sequence, root: root, at: id), from: self) }
            let time = clock.wall.nanoseconds
            perform(transfer.begin(sequence.rawValue, root: root, now: world.now, numberedFrom: time))
        case .query(let read, let client, let position):
            answer(read, client, after: position)
        case .execute(let execution):
            isExecuting = true
            executedFoundation = max(executedFoundation, disk.foundation(of: execution.sequence))
            if isCorrect, !execution.isTentative { world.report(world.oracle.executes(execution, at: id), from: self) }
            start(.execution(execution), conditions.execution)
        case .confirmExecution(let sequence):
            confirm(sequence)
        case .rollBackExecution(let sequence):
            guard let undone = tentative.take() else { invariantViolated("nothing was executed tentatively") }
            store.rollBack(to: undone.mark)
            world.happened(self, "*", sequence.rawValue, "\(sequence) taken back")
        case .clientsChanged(let clients):
            world.clientsChanged(clients, at: self)
        case .record(let records):
            for record in records {
                if let value = record.value {
                    store.put(value, at: record.key, in: .system)
                } else {
                    _ = store.delete(record.key, in: .system)
                }
            }
        case .takeCheckpoint(let sequence):
            let root = store.checkpoint(sequence.rawValue)
            if isCorrect { world.report(world.oracle.took(root: root, at: sequence, by: id), from: self) }
            world.happened(self, "#", sequence.rawValue, "\(sequence) \(Trace.tag(root.prefix))")
            disk.append(SimulatedDisk.Checkpoint(sequence: sequence, root: root))
            wrote()
        case .keepEvidence(let evidence):
            world.keep(evidence, of: self)
        case .note(let event):
            world.note(event, by: self)
            processor?.note(event)
        }
    }

    /// Does work now, or has it done later.
    private func start(_ work: Work, _ duration: ClosedRange<UInt64>) {
        if let processor {
            processor.charge(work)
            carryOut(work)
            return
        }
        let nanoseconds = random.within(duration)
        world.schedule(.finished(node, incarnation, work), after: nanoseconds)
    }

    private func confirm(_ sequence: SequenceNumber) {
        guard let done = tentative.take() else { invariantViolated("nothing was executed tentatively") }
        store.commit(done.mark)
        if isCorrect {
            world.report(world.oracle.executes(done.execution, at: id), from: self)
            world.report(world.oracle.executed(done.execution, results: done.results, at: id), from: self)
        }
        world.happened(self, "*", sequence.rawValue, "\(sequence) confirmed")
    }

    func execute(_ execution: Execution) {
        let mark = execution.isTentative ? store.beginTentative() : nil
        let results = execution.results { service.execute($1, on: store) }
        if let mark {
            tentative = (mark, execution, results)
        } else if isCorrect {
            world.report(world.oracle.executed(execution, results: results, at: id), from: self)
        }
        world.happened(
            self,
            "*",
            execution.sequence.rawValue,
            "\(execution.sequence) \(execution.requests.count) requests\(execution.isTentative ? " tentatively" : "")"
        )
        engine.executed(execution.sequence, results: results, now: clock, into: &effects)
    }

    private func answer(_ read: ReadRequest, _ client: ClientID, after position: LogPosition) {
        processor?.chargeRead()
        let result = service.query(read.operation, on: store)
        let reply = result.map { ReadReply(to: read, result: $0) } ?? ReadReply(tag: read.tag, outcome: .refused)
        let answer = ReadAnswer(reply: reply, client: client, foundation: executedFoundation)
        if !heldAnswers.hold(answer, until: position) { letOut(answer) }
    }

    // MARK: What is watched

    private func checkMarks() {
        if engine.view < before.view || engine.executed < before.executed || engine.stable < before.stable {
            world.report(Violation(.monotone, "\(name) goes back"), from: self)
        }
        if engine.high.rawValue - engine.stable.rawValue > UInt64(world.scenario.limits.logWindow)
            || engine.executed > engine.high || held.count + heldAnswers.count > 50_000
        {
            world.report(
                Violation(.bounded, "\(name) works outside its water marks, or holds too much back"),
                from: self
            )
        }
        before = Marks(view: engine.view, executed: engine.executed, stable: engine.stable)
        turns += 1
        guard turns.isMultiple(of: 256), let excess = engine.footprint.excess else { return }
        world.report(
            Violation(.bounded, "\(name) holds \(excess.used) \(excess.name), but \(excess.bound) are the most"),
            from: self
        )
    }

    // MARK: Disk

    private func hold(_ effect: Effect, until position: LogPosition) {
        if position.rawValue > disk.end {
            world.report(
                Violation(.durableFirst, "\(name) says something after a record that there is not"),
                from: self
            )
        }
        if !held.hold(effect, until: position) { letOut(effect) }
    }

    private func release() {
        for effect in held.release(upTo: disk.durable) { letOut(effect) }
        for answer in heldAnswers.release(upTo: disk.durable) { letOut(answer) }
    }

    private func letOut(_ answer: ReadAnswer) {
        if isCorrect { world.report(disk.breach(answering: answer, as: id), from: self) }
        guard let (message, delay) = pass(answer.reply, { $0.answer($1, to: answer.client, as: &$2) }) else { return }
        processor?.charge(.readReply(message))
        put(.readReply(message), to: answer.client, after: delay)
    }

    /// Something was written: the power may fail at once, or the disk be so fast that nothing is ever lost.
    private func wrote() {
        world.wrote(self)
        if isUp, conditions.sync.upperBound == 0, disk.startSync() != nil { finishSync() }
    }

    /// A sync is done: what waited for it goes out, unless the power fails first.
    func finishSync() {
        let taken = disk.finishSync()
        world.wrote(self)
        guard isUp else { return }
        release()
        for checkpoint in taken {
            engine.checkpointTaken(checkpoint.sequence, root: checkpoint.root, now: clock, into: &effects)
        }
    }

    private func syncIfNeeded() {
        guard !syncsAtOnce, let end = disk.startSync() else { return }
        world.schedule(.synced(node, incarnation, end), after: random.within(conditions.sync))
    }

    // MARK: Sending

    /// Carries out what rests on nothing any more that could be lost.
    private func letOut(_ effect: Effect) {
        switch effect {
        case .send(let message, let recipient, after: _):
            if isCorrect { watch(message) }
            processor?.asked(recipient, for: message)
            switch recipient {
            case .replica(let peer): send(message, to: peer)
            case .others:
                for peer in world.members where peer != id { send(message, to: peer) }
            }
        case .reply(let replies, after: _):
            for addressed in replies {
                if isCorrect { world.report(disk.breach(answering: addressed.reply, as: id), from: self) }
                send(addressed.reply, to: addressed.client)
            }
        case .discardCheckpoints(let sequence, after: _):
            transfer.release(before: sequence.rawValue)
        default:
            invariantViolated("an effect that waits for nothing was held")
        }
    }

    private func send(_ message: PeerMessage, to peer: ReplicaID) {
        processor?.charge(message.disseminated(world.scenario.switches.dissemination))
        guard let (message, delay) = pass(message, { $0.send($1, to: peer, as: &$2) }) else { return }
        put(message, to: peer, after: delay)
    }

    private func send(_ reply: Reply, to client: ClientID) {
        processor?.charge(.reply(reply))
        guard let (message, delay) = pass(reply, { $0.reply($1, to: client, as: &$2) }) else { return }
        put(.reply(message), to: client, after: delay)
    }

    /// Shows a message to the behaviours, and sends what they say beside.
    private func pass<Message>(
        _ message: Message,
        _ show: (inout any ReplicaBehaviour, Message, inout FaultyReplica) -> Fate<Message>
    ) -> (message: Message, delay: UInt64)? {
        if !hasBehaviours { return (message, 0) }
        refreshBehaviours()
        let passed = behaviours.pass(message, show)
        speak()
        return passed
    }

    private func refreshBehaviours() {
        behaviours.refresh(
            now: world.now,
            view: engine.view,
            executed: engine.executed,
            low: engine.stable,
            high: engine.high,
            watch: engine.watchStatus
        )
    }

    private func speak() {
        for utterance in behaviours.takeUtterances() {
            switch utterance {
            case .message(let message, to: let peer, after: let delay):
                put(message, to: peer, after: delay)
            case .reply(let reply, to: let client):
                put(.reply(reply), to: client, after: 0)
            }
        }
    }

    // MARK: Time

    func scheduleTurn() {
        if let processor { return processor.wake() }
        guard !isTurnScheduled, isUp else { return }
        let delay = random.within(conditions.turn)
        if delay == 0 { return turnEnded() }
        isTurnScheduled = true
        world.schedule(.turn(node, incarnation), after: delay)
    }

    private var deadline: Instant? {
        let second = transferDeadline.map { Instant(nanoseconds: $0) }
        guard let first = engine.deadline, let second else { return engine.deadline ?? second }
        return min(first, second)
    }

    private func setTimer() {
        guard let deadline else { return }
        let time = max(deadline.nanoseconds, world.now)
        if let timer, timer <= time { return }
        timer = time
        world.schedule(.timer(node, incarnation, time), at: time)
    }
}
