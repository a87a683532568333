import Agreement
import Messages

/// The one processor of a replica that has a ``CostModel``. It does one thing at a time, and what it does takes time.
///
/// It works in turns, as the event loop of a real replica does: what has arrived by the start of a turn is taken in, handled for up to a
/// millisecond, and what came of it leaves at the end of the turn. What arrives meanwhile waits, and so do timers. Virtual time stands
/// still during a turn and jumps to its end: what the turn cost.
final class SimulatedProcessor {
    /// What waits for the processor beside messages.
    enum Input {
        case timer
        case synced
        case connected(ReplicaID)
    }

    /// What leaves at the end of a turn.
    private enum Outgoing {
        case message(PeerMessage, to: ReplicaID, after: UInt64)
        case answer(ReplicaAnswer, to: ClientID, after: UInt64)
    }

    /// How long a turn takes messages, in nanoseconds; as the real replica.
    private static let turnNanoseconds: UInt64 = 1_000_000

    let costs: CostModel
    private unowned let world: World
    private let node: Int
    private let replica: ReplicaID
    private let model: ProcessorModel
    private let limits: Limits
    private let meter = ProcessorMeter()
    private var inbox: SimulatedInbox
    private var floods: FloodWatch?
    private var inputs: [Input] = []
    private var outgoing: [Outgoing] = []
    private var isWorking = false
    private var isWoken = false
    private var freeAt: UInt64 = 0
    /// Whose message is handled.
    private var sender: ReplicaID?
    private var signed = Signed()

    /// The last of what it signed, so that what is sent again costs no signature.
    private struct Signed {
        var checkpoint = SequenceNumber.zero
        var viewChange = View(0)
        var newView = View(0)
    }

    /// What it did so far.
    private(set) var usage = ProcessorUsage()

    init(_ model: ProcessorModel, of replica: ReplicaID, node: Int, limits: Limits, in world: World) {
        costs = model.costs
        self.model = model
        self.world = world
        self.node = node
        self.replica = replica
        self.limits = limits
        let scenario = world.scenario
        inbox = Self.inbox(model, meter, in: world)
        floods = Self.floodWatch(model, of: replica, limits, scenario)
    }

    private static func inbox(_ model: ProcessorModel, _ meter: ProcessorMeter, in world: World) -> SimulatedInbox {
        let scenario = world.scenario
        return SimulatedInbox(model, size: scenario.keys.size, switches: scenario.switches, meter: meter) {
            [unowned world] in Instant(nanoseconds: world.now)
        }
    }

    private static func floodWatch(
        _ model: ProcessorModel,
        of replica: ReplicaID,
        _ limits: Limits,
        _ scenario: Scenario
    ) -> FloodWatch? {
        guard model.isolatedQueues, model.floodGuard else { return nil }
        return FloodWatch(
            size: scenario.keys.size,
            replica: replica,
            limits: limits,
            flooding: model.limits.flooding
        )
    }

    private var now: Instant { Instant(nanoseconds: world.now) }

    // MARK: What waits

    /// Whether something is handled now; otherwise it waits for a turn.
    func admits(_ input: @autoclosure () -> Input) -> Bool {
        if isWorking { return true }
        inputs.append(input())
        wake()
        return false
    }

    /// Whether a message is handled now; otherwise it waits for a turn.
    func admits(_ message: @autoclosure () -> Arrival.Message) -> Bool {
        if isWorking { return true }
        if !inbox.append(message()) { usage.lost += 1 }
        wake()
        return false
    }

    /// Asks for a turn, unless there is one or there will be.
    func wake() {
        guard !isWorking, !isWoken else { return }
        isWoken = true
        world.schedule(.turn(node, world.replicas[node].incarnation), at: freeAt)
    }

    /// Everything that waits is gone with the power.
    func losePower() {
        inbox = Self.inbox(model, meter, in: world)
        floods = Self.floodWatch(model, of: replica, limits, world.scenario)
        inputs.removeAll()
        outgoing.removeAll()
        isWoken = false
    }

    // MARK: Turns

    func takeTurn(_ shell: SimulatedReplica) {
        isWoken = false
        isWorking = true
        meter.start()
        applyCuts()
        var taken: [Input] = []
        swap(&taken, &inputs)
        for input in taken where shell.isUp {
            switch input {
            case .timer: shell.passTime()
            case .synced: shell.synced()
            case .connected(let peer):
                floods?.setDown(peer, false)
                shell.peerConnected(peer)
            }
        }
        serve(shell)
        if shell.isUp { shell.turnEnded() }
        isWorking = false
        freeAt = world.now + meter.turn
        usage.busyNanoseconds += meter.turn
        flush(shell)
        if shell.isUp, !inputs.isEmpty || inbox.hasWork { wake() }
    }

    private func serve(_ shell: SimulatedReplica) {
        switch inbox {
        case .isolated(let inbox):
            inbox.queues.takeIn()
            while shell.isUp, let (queue, part) = inbox.next() {
                let before = meter.turn - meter.own
                for arrival in part where shell.isUp { handle(arrival, shell) }
                inbox.queues.charge(meter.turn - meter.own - before, to: queue)
                if meter.turn >= Self.turnNanoseconds { break }
            }
        case .single(let inbox):
            while shell.isUp, meter.turn < Self.turnNanoseconds, let arrival = inbox.next() { handle(arrival, shell) }
        }
    }

    private func handle(_ arrival: Arrival, _ shell: SimulatedReplica) {
        usage.messages += 1
        switch arrival.message {
        case .peer(let message, from: let peer):
            floods?.begins(message, from: peer, high: shell.high, now: now)
            sender = peer
            shell.receive(message, from: peer)
            sender = nil
            floods?.ends()
        case .request(let request, over: _): shell.receive(request)
        case .read(let read, from: let client): shell.receive(read, from: client)
        }
    }

    private func applyCuts() {
        floods?.timePassed(now: now)
        guard let changes = floods?.takeChanges(), !changes.isEmpty, case .isolated(let inbox) = inbox,
            let cut = floods?.cutPeers
        else { return }
        inbox.queues.setCut(cut)
        for change in changes {
            switch change {
            case .cut(let peer, until: _):
                usage.cuts += 1
                world.happened(world.replicas[node], "~", UInt64(peer.rawValue), "\(peer) floods: cut off")
            case .lifted(let peer):
                world.happened(world.replicas[node], "~", UInt64(peer.rawValue), "\(peer) has its whole share again")
            }
        }
    }

    // MARK: What leaves

    /// A message leaves at the end of the turn; outside one, which only attacks speak, at once.
    func post(_ message: PeerMessage, to peer: ReplicaID, after delay: UInt64) {
        guard isWorking else { return world.send(message, from: world.replicas[node], to: peer, after: delay) }
        outgoing.append(.message(message, to: peer, after: delay))
    }

    /// The same for an answer to a client.
    func post(_ answer: ReplicaAnswer, to client: ClientID, after delay: UInt64) {
        guard isWorking else { return world.send(answer, from: world.replicas[node], to: client, after: delay) }
        outgoing.append(.answer(answer, to: client, after: delay))
    }

    private func flush(_ shell: SimulatedReplica) {
        let work = freeAt - world.now
        for message in outgoing {
            switch message {
            case .message(let message, to: let peer, after: let delay):
                world.send(message, from: shell, to: peer, after: work + delay)
            case .answer(let answer, to: let client, after: let delay):
                if case .isolated(let inbox) = inbox { inbox.queues.answered(ConnectionID(of: client)) }
                world.send(answer, from: shell, to: client, after: work + delay)
            }
        }
        outgoing.removeAll(keepingCapacity: true)
    }

    // MARK: What work costs

    private func spend(_ nanoseconds: UInt64, _ part: WritableKeyPath<ProcessorUsage, UInt64>) {
        meter.turn += nanoseconds
        usage[keyPath: part] += nanoseconds
    }

    /// A shell's work beside the engine is done at once.
    func charge(_ work: SimulatedReplica.Work) {
        switch work {
        case .request(let check, _): charge([check])
        case .batch(_, let checks): charge(checks)
        case .checkpoint: spend(costs.signatureCheck, \.checkNanoseconds)
        case .certificate(let certificate):
            spend(UInt64(certificate.claim.checkpoints.count) * costs.signatureCheck, \.checkNanoseconds)
        case .viewChange(let viewChange, _):
            spend(UInt64(1 + viewChange.claim.certificate.count) * costs.signatureCheck, \.checkNanoseconds)
        case .newView: spend(costs.signatureCheck, \.checkNanoseconds)
        case .execution(let execution):
            let operations = execution.requests.reduce(0) { $0 + $1.operationCount }
            let nanoseconds = UInt64(operations) * costs.operation
            meter.own += nanoseconds
            spend(nanoseconds, \.executionNanoseconds)
        }
    }

    private func charge(_ checks: [RequestCheck]) {
        for check in checks { spend(costs.checking(check.request.claim), \.checkNanoseconds) }
    }

    /// A read is answered from the state.
    func chargeRead() {
        spend(costs.operation, \.executionNanoseconds)
    }

    /// The engine sends a message to a peer, and signed it if it is a new one.
    func charge(_ message: PeerMessage) {
        spend(costs.sending(message.approximateByteCount), \.sendNanoseconds)
        if isSignedNow(message) { spend(costs.signing, \.signingNanoseconds) }
    }

    /// A reply to a client leaves.
    func charge(_ answer: ReplicaAnswer) {
        spend(costs.sending(answer.encoded.count), \.sendNanoseconds)
    }

    private func isSignedNow(_ message: PeerMessage) -> Bool {
        switch message {
        case .forward(let forward): return forward.endorsement != nil
        case .checkpoint(let said):
            guard said.claim.replica == replica, said.claim.sequence > signed.checkpoint else { return false }
            signed.checkpoint = said.claim.sequence
            return true
        case .viewChange(let said):
            guard said.claim.replica == replica, said.claim.view > signed.viewChange else { return false }
            signed.viewChange = said.claim.view
            return true
        case .newView(let said):
            guard said.claim.view > signed.newView else { return false }
            signed.newView = said.claim.view
            return true
        default: return false
        }
    }

    // MARK: What floods

    /// The engine reports.
    func note(_ event: Agreement.Event) {
        let isSigned = world.scenario.switches.requestAuthentication == .signature
        floods?.note(event, areRequestsSigned: isSigned, now: now)
    }

    /// A message is sent to peers that asks for answers.
    func asked(_ recipient: Recipient, for message: PeerMessage) {
        floods?.asked(recipient, for: message)
    }

    /// What the peer sent whose message is handled is what no correct one sends.
    func invalid() {
        if let sender { floods?.invalid(of: sender, now: now) }
    }
}

/// What a processor did in a run.
public struct ProcessorUsage: Sendable, Hashable {
    /// How long it worked, in nanoseconds.
    public var busyNanoseconds: UInt64 = 0
    /// The part of it that went into checks of signatures and MACs.
    public var checkNanoseconds: UInt64 = 0
    /// Into signing.
    public var signingNanoseconds: UInt64 = 0
    /// Into sending.
    public var sendNanoseconds: UInt64 = 0
    /// Into execution and reads.
    public var executionNanoseconds: UInt64 = 0
    /// How many messages it handled.
    public var messages = 0
    /// How many messages found no room to wait in.
    public var lost = 0
    /// How often a peer was cut off.
    public var cuts = 0

    /// Nothing yet.
    public init() {}

    /// The part that went into receiving: what is left.
    public var receiveNanoseconds: UInt64 {
        busyNanoseconds
            - min(
                busyNanoseconds,
                checkNanoseconds + signingNanoseconds + sendNanoseconds + executionNanoseconds
            )
    }
}
