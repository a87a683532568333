import Adversary
import Agreement
import Messages

/// A client with a simulated shell round it: the very engine of the real one, a load, and, if it is faulty, behaviours between it and the
/// network.
final class SimulatedClient {
    private struct Operation {
        let operation: RegisterOperation
        let called: UInt64
        var returned: UInt64?
        var result: UInt64 = 0
        /// The request that carries it, once it is made, and its place there.
        var carrier: (name: RequestName, place: Int)?
    }

    let node: Int
    let id: ClientID
    let isCorrect: Bool

    private unowned let world: World
    private var engine: ClientEngine
    private var effects: [ClientEngine.Effect] = []
    private var behaviours: [any ClientBehaviour]
    private var faulty: FaultyClient
    private var random: RandomStream
    private var operations: [Operation] = []
    private var unansweredCount = 0
    private var timer: UInt64?
    private var session: UInt64 = 1

    init(node: Int, id: ClientID, behaviours: [any ClientBehaviour], isCorrect: Bool, in world: World) {
        self.node = node
        self.id = id
        self.isCorrect = isCorrect
        self.world = world
        self.behaviours = behaviours
        let scenario = world.scenario
        let keys = scenario.keys
        engine = ClientEngine(
            configuration: ClientEngine.Configuration(
                size: keys.size,
                client: id,
                window: min(scenario.load.window, scenario.limits.clientWindow),
                bundle: scenario.load.bundle,
                dissemination: scenario.switches.dissemination,
                retransmissionNanoseconds: scenario.load.retransmission
            ),
            authenticator: keys.authenticator(of: id)
        )
        random = RandomStream(seed: scenario.seed, stream: 3_000 + UInt64(node))
        faulty = FaultyClient(
            client: id,
            size: keys.size,
            victim: keys.clients.first ?? id,
            random: RandomStream(seed: scenario.seed, stream: 4_000 + UInt64(node)),
            authenticator: { keys.authenticator(of: id, spoiledFor: $0) }
        )
    }

    /// How many operations were submitted and have no result.
    var unanswered: Int { unansweredCount }
    /// How many operations have a result.
    var answered: Int { operations.count - unansweredCount }
    var isOpen: Bool { !engine.isClosed }
    var periods: [UInt64?] { behaviours.map(\.period) }

    /// What it did, for the check of linearizability.
    var history: [HistoryEntry] {
        operations.compactMap { operation in
            // Without a request it is a read outside the order; without an answer too it was nothing.
            guard operation.carrier != nil || operation.returned != nil else { return nil }
            let hint = operation.carrier.flatMap { carrier in
                world.oracle.place(of: carrier.name).map { $0 + UInt64(carrier.place) }
            }
            return HistoryEntry(
                operation.operation,
                called: operation.called,
                returned: operation.returned,
                result: operation.result,
                hint: hint
            )
        }
    }

    private var now: Instant { Instant(nanoseconds: world.now) }

    // MARK: Inputs

    func open() {
        engine.open(SessionID(session), now: now, into: &effects)
        drain()
    }

    /// Submits some operations, unless enough wait already.
    func think() {
        let load = world.scenario.load
        let most = load.window * load.bundle
        if !engine.isClosed, unansweredCount < most {
            for _ in 0..<random.within(1...(most - unansweredCount)) {
                let ticket = UInt64(operations.count)
                let operation = draw()
                operations.append(Operation(operation: operation, called: world.now))
                unansweredCount += 1
                if operation.kind == .read, random.chance(perMille: load.fastReadsPerMille) {
                    engine.submitRead(operation.encoded, ticket: ticket)
                } else {
                    engine.submit(operation.encoded, ticket: ticket)
                }
            }
            engine.flush(now: now, into: &effects)
            drain()
        }
        world.schedule(.think(node), after: random.within(load.think))
    }

    private func draw() -> RegisterOperation {
        let register = UInt8(random.below(world.scenario.load.registers))
        let tag = UInt64(operations.count)
        // Values of one client's writes are its own, so that it shows which write a read saw.
        let value = UInt64(id.rawValue) << 32 | UInt64(operations.count + 1)
        switch random.below(10) {
        case 0..<4: return RegisterOperation(.read, register: register, tag: tag)
        case 4..<6: return RegisterOperation(.swap, register: register, argument: value, tag: tag)
        case 6..<8: return RegisterOperation(.add, register: register, argument: random.within(1...3), tag: tag)
        default:
            let last = operations.last { $0.operation.register == register && $0.returned != nil }?.result ?? 0
            return RegisterOperation(.compareAndSwap, register: register, argument: value, expected: last, tag: tag)
        }
    }

    func receive(_ answer: ReplicaAnswer, from replica: ReplicaID) {
        switch answer {
        case .reply(let reply): engine.receive(reply, from: replica, into: &effects)
        case .readReply(let reply): engine.receive(reply, from: replica, into: &effects)
        case .status: break
        }
        engine.flush(now: now, into: &effects)
        drain()
    }

    func connected(_ replica: ReplicaID) {
        engine.connected(replica, into: &effects)
        drain()
    }

    func timePassed(_ time: UInt64) {
        guard timer == time else { return }
        timer = nil
        engine.timePassed(now: now, into: &effects)
        drain()
    }

    func behaviourTimePassed(_ index: Int) {
        faulty.view = engine.view
        behaviours[index].timePassed(as: &faulty)
        speak()
    }

    // MARK: Effects

    private func drain() {
        var next = 0
        while next < effects.count {
            let effect = effects[next]
            next += 1
            perform(effect)
        }
        effects.removeAll(keepingCapacity: true)
        setTimer()
    }

    private func perform(_ effect: ClientEngine.Effect) {
        switch effect {
        case .sendToPrimary(let request, let primary):
            made(request)
            send(request, to: primary)
        case .sendToAll(let request):
            if world.scenario.switches.dissemination == .all { made(request) }
            for replica in world.members { send(request, to: replica) }
        case .sendRead(let read, let whole):
            for replica in world.members {
                let wanted = ReadRequest(tag: read.tag, wantsResult: replica == whole, operation: read.operation)
                world.send(.read(wanted), from: self, to: replica)
            }
        case .sessionOpened:
            world.happened(self, ".", session, "session s\(session) is open")
        case .sessionRefused(let current):
            session = current.rawValue == .max ? .max : current.rawValue + 1
            if current.rawValue < .max { engine.open(SessionID(session), now: now, into: &effects) }
        case .completed(let ticket, let result):
            completed(Int(ticket), result)
        case .resultTooLarge(let ticket), .superseded(let ticket):
            if isCorrect {
                world.report(
                    Violation(.rightResults, "\(id) is told that its operation \(ticket) has no result"),
                    at: id
                )
            }
            unansweredCount -= 1
        }
    }

    /// A request was made, or is sent again.
    private func made(_ request: Request) {
        if isCorrect { world.oracle.made(request) }
        for (place, bytes) in request.operations.enumerated() {
            guard let ticket = RegisterOperation(decoding: bytes)?.tag, ticket < operations.count else { continue }
            operations[Int(ticket)].carrier = (RequestName(request), place)
        }
        world.happened(
            self,
            "?",
            request.number.rawValue,
            "\(request.session) \(request.number) \(request.operationCount) operations"
        )
    }

    private func completed(_ ticket: Int, _ result: [UInt8]) {
        operations[ticket].returned = world.now
        operations[ticket].result = RegisterService.value(of: result) ?? 0
        unansweredCount -= 1
        world.happened(self, ".", operations[ticket].result, "operation \(ticket)")
        // A read outside the order has no place in it: the check of linearizability judges it.
        guard isCorrect, let carrier = operations[ticket].carrier else { return }
        world.report(world.oracle.took(result, of: carrier.name, operation: carrier.place), at: id)
    }

    private func send(_ request: Request, to replica: ReplicaID) {
        var request = request
        for index in behaviours.indices {
            faulty.view = engine.view
            switch behaviours[index].send(request, to: replica, as: &faulty) {
            case .pass, .delay: break
            case .drop: return speak()
            case .replace(let other): request = other
            }
        }
        speak()
        world.send(.request(Unverified(request)), from: self, to: replica)
    }

    private func speak() {
        for parcel in faulty.takeParcels() {
            world.send(.request(Unverified(parcel.request)), from: self, to: parcel.replica)
        }
    }

    private func setTimer() {
        guard let deadline = engine.deadline else { return }
        let time = max(deadline.nanoseconds, world.now)
        if let timer, timer <= time { return }
        timer = time
        world.schedule(.clientTimer(node, time), at: time)
    }
}
