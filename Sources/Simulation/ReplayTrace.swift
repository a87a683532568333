import Agreement
import Cryptography
import Messages

/// The replay of a recorded run for people: a line for each thing that happened.
public struct ReplayTrace {
    /// Says what the columns of the lines are.
    public static let legend = """
        input       number of the input, from 1
        time        milliseconds since the first input
        what        <  received               >  sent                   .  answered to a client
                    *  executed               #  checkpoint taken       =  checkpoint stable
                    +  log record             !  noted by the engine    ?  check or work asked for
                    @  answer to that         ~  link, turn, timer      -  the run deviates
        v n         view and sequence number; the hexadecimal digits begin a digest
        """

    private let showsAll: Bool
    private let write: (String) -> Void
    private var start: Instant?

    /// - Parameters:
    ///   - showsAll: Every input and effect; otherwise only what the engine finds worth noting, such as view changes.
    ///   - write: Takes each line.
    public init(showsAll: Bool, write: @escaping (String) -> Void) {
        self.showsAll = showsAll
        self.write = write
    }

    /// Shows an input with its effects.
    ///
    /// - Parameters:
    ///   - number: The input's number, from 1.
    ///   - recorded: The input.
    ///   - effects: What it brought forth.
    ///   - deviation: How that differs from the recording.
    ///   - isShown: Whether lines are wanted of this input. Every input is to be handed in, since times count from the first.
    public mutating func add(
        _ number: UInt64,
        _ recorded: RecordedInput,
        effects: [Effect],
        deviation: Replay.Deviation?,
        isShown: Bool
    ) {
        let first = start ?? recorded.now.monotonic
        start = first
        guard isShown || deviation != nil else { return }
        let instant = recorded.now.monotonic
        let time = instant > first ? instant.nanoseconds - first.nanoseconds : 0
        func line(_ mark: Character, _ text: String) {
            write("\(Trace.column("\(number)", 8, right: true)) \(Trace.stamp(time))  \(mark) \(text)")
        }
        if showsAll || deviation != nil {
            let (mark, text) = Self.describe(recorded.input)
            line(mark, text)
        }
        for effect in effects {
            if let (mark, text) = describe(effect) { line(mark, text) }
        }
        if let deviation { line("-", "input \(number) deviates: \(deviation)") }
    }

    private static func describe(_ input: Input) -> (Character, String) {
        switch input {
        case .message(let message, let peer):
            ("<", named(peer.description, MessageSummary(message)))
        case .request(let request):
            ("<", named(request.claim.client.description, MessageSummary(ClientMessage.request(request))))
        case .read(let read, let client):
            ("<", named(client.description, MessageSummary(ClientMessage.read(read))))
        case .peerConnected(let peer): ("~", "connected to \(peer)")
        case .turnEnded: ("~", "turn ends")
        case .timePassed: ("~", "time passes")
        case .requestChecked(let request, let source):
            ("@", "REQUEST \(request.map { name($0.value) } ?? "refused")\(origin(source))")
        case .forwardRefused(let evidence):
            ("@", "REQUEST refused, forwarded by \(evidence.accused)")
        case .batchChecked(let place, let isValid):
            (
                "@",
                "batch \(place.view) \(place.sequence) \(Trace.tag(place.digest.prefix)) \(isValid ? "valid" : "invalid")"
            )
        case .checkpointVerified(let checkpoint):
            ("@", "CHECKPOINT \(checkpoint.value.sequence) of \(checkpoint.value.replica) good")
        case .certificateVerified(let certificate):
            ("@", "CERTIFICATE \(certificate.value.sequence) good")
        case .startLearning: ("~", "starts without its store")
        case .viewChangeVerified(let viewChange, _):
            ("@", "VIEW-CHANGE \(viewChange.value.view) of \(viewChange.value.replica) good")
        case .newViewVerified(let newView, _):
            ("@", "NEW-VIEW \(newView.value.view) good")
        case .executed(let sequence, let results):
            ("*", "\(sequence) \(results.count) requests")
        case .checkpointTaken(let sequence, let root):
            ("#", "\(sequence) \(Trace.tag(root.prefix))")
        case .stateInstalled(let sequence, let records):
            ("#", "state of \(sequence) installed, \(records.count) entries of the engine")
        }
    }

    /// The mark and text of an effect; nil when it is not to be shown.
    private func describe(_ effect: Effect) -> (Character, String)? {
        if case .note(let event) = effect { return describe(event) }
        return showsAll ? Self.describe(effect) : nil
    }

    private func describe(_ event: Agreement.Event) -> (Character, String)? {
        switch event {
        case .stable(let sequence): ("=", "\(sequence) stable")
        case .accused(let peer, let accusation): ("!", "\(peer) accused: \(accusation.rawValue)")
        case .leftView(let view, let reason): ("!", "leaves its view for \(view): \(reason.rawValue)")
        case .enteredView(let view): ("!", "enters \(view)")
        case .diverged(let sequence): ("!", "a quorum has another state at \(sequence)")
        case .fetchesState(let sequence): ("!", "fetches the state of \(sequence)")
        case .learning(let isLearning): ("!", isLearning ? "votes for nothing" : "votes again")
        case .stalled(let sequence): ("!", "nothing moves at \(sequence)")
        case .blacklisted(let source): ("!", "\(source) blacklisted")
        case .rolledBack(let sequence): ("!", "\(sequence) taken back")
        case .dropped(let reason): showsAll ? ("!", "dropped: \(reason.rawValue)") : nil
        case .proposed(let sequence, let requests): showsAll ? ("!", "\(sequence) proposed, \(requests) requests") : nil
        case .executed(let sequence, _, let operations):
            showsAll ? ("!", "\(sequence) committed and executed, \(operations) operations") : nil
        }
    }

    private static func describe(_ effect: Effect) -> (Character, String)? {
        switch effect {
        case .persist(let record, let position): ("+", "\(position.rawValue) \(describe(record))")
        case .send(let message, .replica(let peer), _): (">", named(peer.description, MessageSummary(message)))
        case .send(let message, .others, _): (">", named("all", MessageSummary(message)))
        case .reply(let replies, _):
            (
                ".",
                replies.map { "\($0.client) \(MessageSummary(ReplicaAnswer.reply($0.reply)).text)" }.joined(
                    separator: ", "
                )
            )
        case .checkRequest(let check, let source): ("?", "check REQUEST \(name(check.request.claim))\(origin(source))")
        case .checkBatch(let place, let requests):
            (
                "?",
                "check batch \(place.view) \(place.sequence) \(Trace.tag(place.digest.prefix)), \(requests.count) requests"
            )
        case .checkCheckpoint(let said): ("?", "check CHECKPOINT \(said.claim.sequence) of \(said.claim.replica)")
        case .checkCertificate(let said): ("?", "check CERTIFICATE \(said.claim.sequence)")
        case .checkViewChange(let said, _): ("?", "check VIEW-CHANGE \(said.claim.view) of \(said.claim.replica)")
        case .checkNewView(let said, _): ("?", "check NEW-VIEW \(said.claim.view)")
        case .fetchState(let sequence, let root): ("?", "fetch the state of \(sequence) \(Trace.tag(root.prefix))")
        case .execute(let execution):
            (
                "?",
                "execute \(execution.sequence), \(execution.requests.count) requests\(execution.isTentative ? " tentatively" : "")"
            )
        case .confirmExecution(let sequence): ("*", "\(sequence) confirmed")
        case .rollBackExecution(let sequence): ("*", "\(sequence) taken back")
        case .query(let read, let client, after: _):
            (".", named(client.description, MessageSummary(ClientMessage.read(read))))
        case .clientsChanged(let clients):
            ("#", "clients changed: \(clients.map(\.description).joined(separator: ", "))")
        case .record(let records): ("+", "\(records.count) entries of the engine into the state")
        case .takeCheckpoint(let sequence): ("?", "take checkpoint \(sequence)")
        case .discardCheckpoints(let sequence, after: _): ("#", "before \(sequence) no longer needed")
        case .keepEvidence(let evidence): ("!", "evidence against \(evidence.accused)")
        case .note: nil
        }
    }

    private static func describe(_ record: LogRecord) -> String {
        switch record {
        case .prePrepared(let said): "pre-prepared \(said.view) \(said.sequence) \(Trace.tag(said.batch.digest.prefix))"
        case .prepared(let view, let sequence, let digest): "prepared \(view) \(sequence) \(Trace.tag(digest.prefix))"
        case .viewChange(let own): "view left for \(own.view)"
        case .newView(let newView, members: _): "\(newView.view) entered"
        case .stable(let sequence, certificate: _): "\(sequence) stable"
        case .learning(let isLearning): isLearning ? "votes for nothing" : "votes again"
        }
    }

    private static func named(_ who: String, _ summary: MessageSummary) -> String {
        "\(Trace.column(who, 4)) \(summary.text)"
    }

    private static func name(_ request: Request) -> String {
        "\(request.client) \(request.session) \(request.number) \(Trace.tag(request.digest.prefix))"
    }

    private static func origin(_ source: RequestSource) -> String {
        switch source {
        case .client: ""
        case .forwarded(let peer): " by \(peer)"
        }
    }
}
