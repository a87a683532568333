import Agreement
import Cryptography
import Messages

/// The simulated shell round a client's engine, whatever the client is for: the very engine of the real one, its timer, and its links.
class ClientShell {
    let node: Int
    let id: ClientID
    unowned let world: World
    private(set) var engine: ClientEngine
    private(set) var session: UInt64 = 1
    private var effects: [ClientEngine.Effect] = []
    private var timer: UInt64?

    init(node: Int, id: ClientID, in world: World) {
        self.node = node
        self.id = id
        self.world = world
        engine = Self.engine(of: id, generation: 0, in: world.scenario)
    }

    private static func engine(of id: ClientID, generation: Int, in scenario: Scenario) -> ClientEngine {
        var configuration = ClientEngine.Configuration(
            size: scenario.keys.size,
            client: id,
            window: min(scenario.load.window, scenario.limits.clientWindow),
            bundle: scenario.load.bundle,
            dissemination: scenario.switches.dissemination,
            retransmissionNanoseconds: scenario.load.retransmission
        )
        scenario.options.configureClient(&configuration)
        return ClientEngine(
            configuration: configuration,
            authenticator: scenario.keys.authenticator(of: id, generation: generation)
        )
    }

    var now: Instant { Instant(nanoseconds: world.now) }

    /// Starts again with another key, as another process would: nothing is left of the one before.
    func startAgain(generation: Int) {
        engine = Self.engine(of: id, generation: generation, in: world.scenario)
        effects.removeAll()
        timer = nil
        session += 1
    }

    // MARK: What each kind of client makes of it

    /// A request was made, or is sent again.
    func made(_ request: Request) {}

    /// A request leaves for a replica.
    func send(_ request: Request, to replica: ReplicaID) {
        world.send(.request(Unverified(request)), from: self, to: replica)
    }

    /// An operation has its result.
    func completed(_ ticket: Int, _ result: [UInt8]) {}

    /// An operation has none, and will have none.
    func lost(_ ticket: Int) {}

    /// Its session is over, and it never opens another one.
    func sessionEnded() {}

    // MARK: Inputs

    func open() {
        engine.open(SessionID(session), now: now, into: &effects)
        drain()
    }

    func submit(_ operation: [UInt8], ticket: Int) {
        engine.submit(operation, ticket: UInt64(ticket))
    }

    func submitRead(_ operation: [UInt8], ticket: Int) {
        engine.submitRead(operation, ticket: UInt64(ticket))
    }

    func flush() {
        engine.flush(now: now, into: &effects)
        drain()
    }

    func receive(_ answer: ReplicaAnswer, from replica: ReplicaID) {
        switch answer {
        case .reply(let reply): engine.receive(reply, from: replica, into: &effects)
        case .readReply(let reply): engine.receive(reply, from: replica, into: &effects)
        case .status: break
        }
        flush()
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
            made(request)
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
        case .completed(let ticket, let result): completed(Int(ticket), result)
        case .resultTooLarge(let ticket), .superseded(let ticket): lost(Int(ticket))
        case .sessionEnded: sessionEnded()
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
