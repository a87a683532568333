import Agreement
import Messages

/// One client engine with a hand-turned shell round it.
final class TestClient {
    let id: ClientID
    private var engine: ClientEngine
    private var effects: [ClientEngine.Effect] = []

    /// Nanoseconds of the clock.
    var time: UInt64 = 1_000_000_000
    /// What it wants to send, and to whom; nil for every replica.
    var outbox: [(request: Request, to: ReplicaID?)] = []
    /// The reads that it wants to send, and the replica that is asked for the whole result.
    private(set) var sentReads: [(read: ReadRequest, whole: ReplicaID)] = []
    /// The results by ticket, as text.
    private(set) var results: [UInt64: String] = [:]
    /// The same for an administrator.
    private(set) var administrationResults: [UInt64: AdministrationResult] = [:]
    private(set) var completions: [UInt64] = []
    private(set) var tooLarge: [UInt64] = []
    private(set) var superseded: [UInt64] = []
    private(set) var isEnded = false
    private(set) var opened: [SessionID] = []
    private(set) var refusedFor: [SessionID] = []

    convenience init(
        _ id: UInt32,
        keys: Keys,
        window: Int = 1,
        bundle: Int = 1,
        retransmission: UInt64 = 100_000_000
    ) {
        self.init(ClientID(id), keys: keys, window: window, bundle: bundle, retransmission: retransmission)
    }

    init(
        _ id: ClientID,
        keys: Keys,
        generation: Int = 0,
        window: Int = 1,
        bundle: Int = 1,
        retransmission: UInt64 = 100_000_000
    ) {
        self.id = id
        engine = ClientEngine(
            configuration: ClientEngine.Configuration(
                size: keys.size,
                client: id,
                window: window,
                bundle: bundle,
                dissemination: keys.switches.dissemination,
                retransmissionNanoseconds: retransmission
            ),
            authenticator: keys.authenticator(of: id, generation: generation)
        )
    }

    var deadline: Instant? { engine.deadline }
    var unanswered: Int { engine.unanswered }
    var view: View { engine.view }
    var isClosed: Bool { engine.isClosed }
    var retransmissions: UInt64 { engine.retransmissions }

    private var now: Instant { Instant(nanoseconds: time) }

    func open(_ session: UInt64 = 1) {
        engine.open(SessionID(session), now: now, into: &effects)
        drain()
    }

    func submit(_ operation: String, ticket: UInt64) {
        engine.submit(Array(operation.utf8), ticket: ticket)
    }

    func submit(_ operation: AdministrationOperation, ticket: UInt64) {
        engine.submit(operation.encoded, ticket: ticket)
    }

    func submitRead(_ operation: String, ticket: UInt64) {
        engine.submitRead(Array(operation.utf8), ticket: ticket)
    }

    func receive(_ reply: ReadReply, from replica: UInt8) {
        engine.receive(reply, from: ReplicaID(replica), into: &effects)
        drain()
    }

    func withdraw(_ ticket: UInt64) -> Bool {
        engine.withdraw(ticket: ticket)
    }

    func flush() {
        engine.flush(now: now, into: &effects)
        drain()
    }

    func receive(_ reply: Reply, from replica: UInt8) {
        engine.receive(reply, from: ReplicaID(replica), into: &effects)
        drain()
    }

    func connected(_ replica: UInt8) {
        engine.connected(ReplicaID(replica), into: &effects)
        drain()
    }

    func passTime() {
        engine.timePassed(now: now, into: &effects)
        drain()
    }

    private func drain() {
        for effect in effects {
            switch effect {
            case .sendToPrimary(let request, let primary): outbox.append((request, primary))
            case .sendToAll(let request): outbox.append((request, nil))
            case .sendRead(let read, let whole): sentReads.append((read, whole))
            case .sessionOpened(let session): opened.append(session)
            case .sessionRefused(let current): refusedFor.append(current)
            case .completed(let ticket, let result):
                results[ticket] = String(decoding: result, as: UTF8.self)
                if id.isAdministrator { administrationResults[ticket] = try? AdministrationResult(decoding: result) }
                completions.append(ticket)
            case .resultTooLarge(let ticket): tooLarge.append(ticket)
            case .superseded(let ticket): superseded.append(ticket)
            case .sessionEnded: isEnded = true
            }
        }
        effects.removeAll()
    }
}
