import Cryptography
import Messages

/// A short form of a message: for the digest of a run and for people. The one place that has to know every kind.
struct MessageSummary {
    let name: String
    let view: UInt64?
    let sequence: UInt64?
    let tag: UInt64
    let note: String?

    init(_ name: String, view: UInt64? = nil, sequence: UInt64? = nil, tag: UInt64 = 0, note: String? = nil) {
        self.name = name
        self.view = view
        self.sequence = sequence
        self.tag = tag
        self.note = note
    }

    init(_ message: PeerMessage) {
        switch message {
        case .prePrepare(let said):
            self.init("PRE-PREPARE", said.view, said.sequence, said.batch.digest.prefix)
        case .digestPrePrepare(let said):
            self.init("PRE-PREPARE", said.view, said.sequence, said.digest.prefix)
        case .vote(let said):
            self.init(said.phase == .prepare ? "PREPARE" : "COMMIT", said.view, said.sequence, said.digest.prefix)
        case .checkpoint(let said):
            self.init("CHECKPOINT", nil, said.claim.sequence, said.claim.root.prefix)
        case .forward(let said):
            self.init("FORWARD", tag: said.request.claim.digest.prefix)
        case .catchUp(let said):
            self.init("CATCH-UP", said.view, said.executed, 0)
        case .viewChange(let said):
            let claim = said.claim
            let note = "of \(claim.replica), P \(claim.prepared.count), Q \(claim.prePrepared.count)"
            self.init(
                "VIEW-CHANGE",
                view: claim.view.rawValue,
                sequence: claim.stable.rawValue,
                tag: claim.digest.prefix,
                note: note
            )
        case .newView(let said):
            let claim = said.claim
            let note = "\(claim.chosen.count) chosen"
            self.init(
                "NEW-VIEW",
                view: claim.view.rawValue,
                sequence: claim.start.rawValue,
                tag: Digest.of(claim.encoded).prefix,
                note: note
            )
        case .fetch(let said):
            switch said.subject {
            case .batch(let sequence, let digest): self.init("FETCH", nil, sequence, digest.prefix)
            case .viewChange(let view, _, let digest): self.init("FETCH", view, nil, digest.prefix)
            case .requests(let sequence, let digest, _): self.init("FETCH", nil, sequence, digest.prefix)
            }
        case .batch(let said):
            self.init("BATCH", nil, said.sequence, said.batch.digest.prefix)
        case .requests(let said):
            self.init("REQUESTS", nil, said.sequence, said.digest.prefix)
        case .committed(let said):
            self.init("COMMITTED", nil, said.sequence, said.digest.prefix)
        case .certificate(let said):
            self.init("CERTIFICATE", nil, said.claim.sequence, said.claim.root.prefix)
        case .idle(let said):
            self.init("IDLE", said.view, said.through, 0)
        case .ping(let said):
            self.init(said.isAnswer ? "PONG" : "PING", tag: said.number)
        case .stateRequest(let body):
            self.init("STATE?", tag: Digest.of(body).prefix)
        case .stateAnswer(let body):
            self.init("STATE", tag: Digest.of(body).prefix)
        }
    }

    init(_ message: ClientMessage) {
        switch message {
        case .request(let said):
            let claim = said.claim
            self.init("REQUEST", tag: claim.digest.prefix, note: "\(claim.client) \(claim.session) \(claim.number)")
        case .read(let said):
            self.init("READ", tag: said.tag, note: said.wantsResult ? "whole" : nil)
        case .statusQuery(let tag):
            self.init("STATUS?", tag: tag)
        }
    }

    init(_ answer: ReplicaAnswer) {
        switch answer {
        case .reply(let said):
            self.init(
                "REPLY",
                view: said.view.rawValue,
                sequence: said.sequence.rawValue,
                tag: said.number.rawValue,
                note:
                    "\(said.number) \(said.payload.map { "\($0.outcome)" } ?? "digest")\(said.isTentative ? " tentative" : "")"
            )
        case .readReply(let said):
            self.init("READ-REPLY", tag: said.tag)
        case .status(let tag, _):
            self.init("STATUS", tag: tag)
        }
    }

    private init(_ name: String, _ view: View?, _ sequence: SequenceNumber?, _ tag: UInt64) {
        self.init(name, view: view?.rawValue, sequence: sequence?.rawValue, tag: tag)
    }

    var text: String {
        var parts = [Trace.column(name, 12)]
        if let view { parts.append("v\(view)") }
        if let sequence { parts.append("n\(sequence)") }
        if tag != 0 { parts.append(Trace.tag(tag)) }
        if let note { parts.append(note) }
        return parts.joined(separator: " ")
    }
}

/// What happened in a run: a digest of all of it, and lines for people if they are wanted.
struct Trace {
    /// Says what the columns of the lines are.
    static let legend = """
        time        virtual milliseconds since the start
        who         r0 r1 ... replicas (r2' is the second copy of a twin), c1 c2 ... clients, -- the environment
        what        <  received from       x  lost on the way to     /  refused by the channel
                    *  executed            #  checkpoint taken       =  checkpoint stable
                    +  record durable      !  noted by the engine    ?  asked by a client
                    .  answered            ~  the environment changes
        v n         view and sequence number; the hexadecimal digits begin a digest
        """

    private let write: ((String) -> Void)?
    private(set) var digest: UInt64 = 0x6A09_E667_F3BC_C908

    /// - Parameter write: Takes each line; nil for none.
    init(write: ((String) -> Void)?) {
        self.write = write
    }

    var isOn: Bool { write != nil }

    /// Adds something to the digest.
    mutating func mix(_ value: UInt64) {
        digest = (digest ^ value) &* 0x9FB2_1C65_1E98_DF25
        digest ^= digest >> 29
    }

    func line(_ time: UInt64, _ who: @autoclosure () -> String, _ mark: Character, _ text: @autoclosure () -> String) {
        guard let write else { return }
        write("\(Self.stamp(time))  \(Self.column(who(), 4)) \(mark) \(text())")
    }

    /// A time in nanoseconds as a column of milliseconds.
    static func stamp(_ time: UInt64) -> String {
        let micros = time / 1_000
        let fraction = String(micros % 1_000)
        let zeros = String(repeating: "0", count: 3 - fraction.count)
        return column("\(micros / 1_000).\(zeros)\(fraction)", 10, right: true)
    }

    static func column(_ text: String, _ width: Int, right: Bool = false) -> String {
        let fill = String(repeating: " ", count: max(width - text.count, 0))
        return right ? fill + text : text + fill
    }

    static func tag(_ prefix: UInt64) -> String {
        let hex = String(prefix >> 32, radix: 16)
        return String(repeating: "0", count: 8 - hex.count) + hex
    }
}
