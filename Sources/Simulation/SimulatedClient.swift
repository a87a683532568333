import Adversary
import Agreement
import Cryptography
import Messages

/// A client that works on the registers, and, if it is faulty, behaviours between it and the network.
final class SimulatedClient: ClientShell {
    private struct Operation {
        let operation: RegisterOperation
        let called: UInt64
        var returned: UInt64?
        var result: UInt64 = 0
        /// The request that carries it, once it is made, and its place there.
        var carrier: (name: RequestName, place: Int)?
    }

    let isCorrect: Bool
    /// The key that it uses; nil while it is no client of the cluster.
    private(set) var key: PublicKey?

    private var stack: ClientBehaviourStack
    private var random: RandomStream
    private var operations: [Operation] = []
    private var unansweredCount = 0
    private var abandonedCount = 0
    /// Whether it will think at once.
    private var isThinking = false
    /// Whether the administrator has set out to change its key: it may lose operations with the one that it has.
    var isUnderChange = false

    init(node: Int, id: ClientID, behaviours: [any ClientBehaviour], isCorrect: Bool, in world: World) {
        self.isCorrect = isCorrect
        let scenario = world.scenario
        let keys = scenario.keys
        key = scenario.newcomers.contains(id) ? nil : keys.publicKey(of: id)
        random = RandomStream(seed: scenario.seed, stream: 3_000 + UInt64(node))
        let faulty = FaultyClient(
            client: id,
            size: keys.size,
            victim: keys.clients.first ?? id,
            random: RandomStream(seed: scenario.seed, stream: 4_000 + UInt64(node)),
            authenticator: { keys.authenticator(of: id, spoiledFor: $0) }
        )
        stack = ClientBehaviourStack(behaviours, of: faulty)
        super.init(node: node, id: id, in: world)
    }

    /// How many operations were submitted and have no result.
    var unanswered: Int { unansweredCount }
    /// How many operations have a result.
    var answered: Int { operations.count - unansweredCount - abandonedCount }
    /// When operations were answered.
    var answers: [UInt64] { operations.compactMap(\.returned) }
    var isOpen: Bool { !engine.isClosed }
    var periods: [UInt64?] { stack.periods }

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

    private var load: Scenario.Load { world.scenario.load }

    // MARK: Inputs

    /// Gets a key from the administrator, and starts again with it.
    func take(generation: Int) {
        stop()
        key = world.scenario.keys.publicKey(of: id, generation: generation)
        startAgain(generation: generation)
        open()
    }

    /// Stops: its key is void. What it waits for has no result that it could get.
    func stop() {
        key = nil
        abandonedCount += unansweredCount
        unansweredCount = 0
        startAgain(generation: 0)
    }

    /// Submits some operations, unless enough wait already.
    func think() {
        isThinking = false
        let most = load.window * load.bundle
        if !engine.isClosed, unansweredCount < most, isOnDuty {
            let free = most - unansweredCount
            for _ in 0..<(load.isClosedLoop ? free : random.within(1...free)) {
                let ticket = operations.count
                let operation = draw()
                operations.append(Operation(operation: operation, called: world.now))
                unansweredCount += 1
                if operation.kind == .read, random.chance(perMille: load.fastReadsPerMille) {
                    submitRead(operation.encoded, ticket: ticket)
                } else {
                    submit(operation.encoded, ticket: ticket)
                }
            }
            flush()
        }
        // Otherwise a result makes it think again.
        guard !load.isClosedLoop || engine.isClosed || !isOnDuty else { return }
        world.schedule(.think(node), after: random.within(load.think))
    }

    private func thinkSoon() {
        guard load.isClosedLoop, !isThinking else { return }
        isThinking = true
        world.schedule(.think(node), after: 0)
    }

    /// Whether the client takes part at this time: in a spike all do in the middle only.
    private var isOnDuty: Bool {
        guard load.isSpike else { return true }
        let clients = world.scenario.keys.clients.count
        let fifth = Int(world.now / max(world.scenario.end / 5, 1))
        return Int(id.rawValue) <= [1, (clients + 1) / 2, clients, (clients + 1) / 2, 1][min(fifth, 4)]
    }

    private func draw() -> RegisterOperation {
        let register = UInt8(random.below(load.registers))
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

    func behaviourTimePassed(_ index: Int) {
        stack.timePassed(index, in: engine.view)
        speak()
    }

    // MARK: Effects

    /// A request was made, or is sent again.
    override func made(_ request: Request) {
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

    override func lost(_ ticket: Int) {
        if isUnderChange {
            abandonedCount += 1
        } else if isCorrect {
            world.report(
                Violation(.rightResults, "\(id) is told that its operation \(ticket) has no result"),
                at: id
            )
        }
        unansweredCount -= 1
        thinkSoon()
    }

    override func sessionEnded() {
        if isCorrect, !isUnderChange {
            world.report(Violation(.rightResults, "\(id) is told that its session is over"), at: id)
        }
    }

    override func completed(_ ticket: Int, _ result: [UInt8]) {
        operations[ticket].returned = world.now
        operations[ticket].result = RegisterService.value(of: result) ?? 0
        unansweredCount -= 1
        thinkSoon()
        world.happened(self, ".", operations[ticket].result, "operation \(ticket)")
        // A read outside the order has no place in it: the check of linearizability judges it.
        guard isCorrect, let carrier = operations[ticket].carrier else { return }
        world.report(world.oracle.took(result, of: carrier.name, operation: carrier.place), at: id)
    }

    override func send(_ request: Request, to replica: ReplicaID) {
        let left = stack.pass(request, to: replica, in: engine.view)
        speak()
        if let left { super.send(left, to: replica) }
    }

    private func speak() {
        for parcel in stack.takeParcels() {
            world.send(.request(Unverified(parcel.request)), from: self, to: parcel.replica)
        }
    }
}
