import Agreement
import Cryptography
import Messages

/// Names a request: what may take effect once.
struct RequestName: Hashable, Sendable {
    let client: ClientID
    let session: SessionID
    let number: RequestNumber

    init(_ request: Request) {
        client = request.client
        session = request.session
        number = request.number
    }
}

/// Watches what correct replicas and clients do. It knows everything, and believes only what it sees them do.
struct Oracle {
    /// A batch as the first correct replica executed it; all others have to do the same.
    private struct Batch {
        let time: Timestamp
        let requests: [Digest]
        var results: [[[UInt8]]]?
    }

    private struct Progress {
        var session = SessionID(0)
        var number: UInt64 = 0
    }

    private struct Said: Hashable {
        let replica: ReplicaID
        let phase: UInt8
        let view: UInt64
        let sequence: UInt64
    }

    private let keys: KeyRing
    private let correctClients: Set<ClientID>
    private var directory: ClientDirectory
    /// Batch n at place n - 1.
    private var history: [Batch] = []
    private var progress: [ClientID: Progress] = [:]
    private var made: [RequestName: Digest] = [:]
    private var results: [RequestName: [[UInt8]]] = [:]
    /// The results of the administrator's requests, which are the engine's own.
    private var administered: [RequestName: [[UInt8]]] = [:]
    /// What correct clients took before a correct replica had computed it for good.
    private var taken: [RequestName: [(operation: Int, result: [UInt8])]] = [:]
    /// The place of each request's first operation in the order of all operations.
    private var places: [RequestName: UInt64] = [:]
    private var operations: UInt64 = 0
    /// The operations of faulty clients that took effect.
    private(set) var foreign: [HistoryEntry] = []
    private var roots: [SequenceNumber: Digest] = [:]
    private var said: [Said: Digest] = [:]
    /// By replica: the highest view that it said VIEW-CHANGE for.
    private var leftFor: [UInt64]
    private var ballots: Ballots

    init(
        keys: KeyRing,
        correctReplicas: Set<ReplicaID>,
        correctClients: Set<ClientID>,
        newcomers: Set<ClientID> = []
    ) {
        self.keys = keys
        self.correctClients = correctClients.union([keys.administrator])
        directory = ClientDirectory(keys.genesis(without: newcomers))
        leftFor = Array(repeating: 0, count: keys.size.replicas)
        ballots = Ballots(size: keys.size, correct: correctReplicas)
    }

    /// How many batches were executed somewhere.
    var batches: Int { history.count }

    // MARK: Clients

    /// A correct client made a request.
    mutating func made(_ request: Request) {
        made[RequestName(request)] = request.digest
    }

    /// A correct client took a result of one of its operations.
    ///
    /// On tentative replies it may do so before any correct replica knows that the batch is committed; then the result is judged when
    /// one executes it for good.
    mutating func took(_ result: [UInt8], of name: RequestName, operation: Int) -> Violation? {
        guard let computed = results[name] else {
            taken[name, default: []].append((operation, result))
            return nil
        }
        return judge(result, of: name, operation: operation, computed)
    }

    /// At the end of a run: a result that a correct client took and that no correct replica has come to.
    var unfounded: Violation? {
        guard let name = taken.keys.sorted(by: { ($0.client, $0.number) < ($1.client, $1.number) }).first else {
            return nil
        }
        return Violation(
            .rightResults,
            "\(name.client) took a result of \(name.number), which no correct replica executed"
        )
    }

    private func judge(_ result: [UInt8], of name: RequestName, operation: Int, _ computed: [[UInt8]]) -> Violation? {
        guard computed.indices.contains(operation), computed[operation] == result else {
            return Violation(
                .rightResults,
                "\(name.client) took another result of \(name.number) than the replicas computed"
            )
        }
        return nil
    }

    /// Where the operations of a request stand in the order of all; nil when it took no effect yet.
    func place(of name: RequestName) -> UInt64? { places[name] }

    // MARK: Execution

    /// A correct replica is about to execute a batch.
    mutating func executes(_ execution: Execution, at replica: ReplicaID) -> Violation? {
        let place = Int(execution.sequence.rawValue) - 1
        let requests = execution.requests.map(\.digest)
        if place < history.count {
            guard history[place].time == execution.time, history[place].requests == requests else {
                return Violation(
                    .oneHistory,
                    "\(replica) executes another batch at \(execution.sequence) than others did"
                )
            }
            return ballots.executes(execution.sequence, at: replica)
        }
        guard place == history.count else {
            return Violation(
                .oneHistory,
                "\(replica) executes \(execution.sequence) before anybody executed the one before it"
            )
        }
        if let violation = ballots.executes(execution.sequence, at: replica) { return violation }
        if let last = history.last, execution.time < last.time {
            return Violation(.monotone, "the agreed time goes back at \(execution.sequence)")
        }
        history.append(Batch(time: execution.time, requests: requests, results: nil))
        for request in execution.requests {
            if let violation = takesEffect(request, at: execution.sequence) { return violation }
        }
        return nil
    }

    private mutating func takesEffect(_ request: Request, at sequence: SequenceNumber) -> Violation? {
        let name = RequestName(request)
        guard let key = directory.key(of: request) else {
            return Violation(
                .onlyRealRequests,
                "\(name.client) \(name.session) \(name.number) takes effect at \(sequence) with a key that is not the client's there"
            )
        }
        var state = progress[name.client] ?? Progress()
        switch request.kind {
        case .openSession:
            guard request.session > state.session else {
                return Violation(
                    .exactlyOnce,
                    "\(name.client) \(name.session) is opened at \(sequence) after \(state.session)"
                )
            }
            state = Progress(session: request.session, number: 0)
        case .ordered, .administration:
            guard request.session == state.session, request.number.rawValue == state.number + 1 else {
                return Violation(
                    .exactlyOnce,
                    "\(name.client) \(name.session) \(name.number) takes effect at \(sequence) after \(state.session) #\(state.number)"
                )
            }
            state.number += 1
        }
        progress[name.client] = state
        places[name] = operations
        if request.kind == .administration { administered[name] = directory.carryOut(request.operations) }
        if !correctClients.contains(name.client) {
            for (place, operation) in request.operations.enumerated() {
                guard let operation = RegisterOperation(decoding: operation) else { continue }
                let hint = operations + UInt64(place)
                foreign.append(HistoryEntry(operation, called: 0, returned: nil, result: 0, hint: hint))
            }
        }
        operations += UInt64(request.operationCount)
        if correctClients.contains(name.client) {
            guard made[name] == request.digest else {
                return Violation(
                    .onlyRealRequests,
                    "\(name.client) never made \(name.session) \(name.number), executed at \(sequence)"
                )
            }
        } else if keys.scheme == .signature, !keys.isValid(request, under: key, at: ReplicaID(0)) {
            return Violation(
                .onlyRealRequests,
                "\(name.client) never signed \(name.session) \(name.number), executed at \(sequence)"
            )
        }
        return nil
    }

    /// A correct replica has executed a batch.
    mutating func executed(_ execution: Execution, results computed: [[[UInt8]]], at replica: ReplicaID) -> Violation? {
        let place = Int(execution.sequence.rawValue) - 1
        guard let known = history[place].results else {
            history[place].results = computed
            for (request, results) in zip(execution.requests, computed) {
                let name = RequestName(request)
                let all = administered[name] ?? results
                self.results[name] = all
                for early in taken.removeValue(forKey: name) ?? [] {
                    if let violation = judge(early.result, of: name, operation: early.operation, all) {
                        return violation
                    }
                }
            }
            return nil
        }
        guard known == computed else {
            return Violation(.sameState, "\(replica) computed other results at \(execution.sequence) than others did")
        }
        return nil
    }

    /// A correct replica has computed the root of its state.
    mutating func took(root: Digest, at sequence: SequenceNumber, by replica: ReplicaID) -> Violation? {
        guard let known = roots[sequence] else {
            roots[sequence] = root
            return nil
        }
        guard known == root else {
            return Violation(.sameState, "\(replica) computed another root at \(sequence) than others did")
        }
        return nil
    }

    // MARK: Words

    /// A correct replica says something that binds it.
    mutating func says(_ message: PeerMessage, by replica: ReplicaID) -> Violation? {
        switch message {
        case .prePrepare(let word):
            ballots.proposes(word.view, word.sequence, word.batch.digest)
            return bind(replica, 0, word.view, word.sequence, word.batch.digest, "PRE-PREPARE")
        case .vote(let word):
            let isPrepare = word.phase == .prepare
            let contradiction = bind(
                replica,
                isPrepare ? 1 : 2,
                word.view,
                word.sequence,
                word.digest,
                isPrepare ? "PREPARE" : "COMMIT"
            )
            return contradiction ?? ballots.votes(word, by: replica)
        case .viewChange(let word) where word.claim.replica == replica:
            let claims = word.claim.prePrepared.map { (UInt8(1), $0) } + word.claim.prepared.map { (UInt8(2), $0) }
            for (phase, claim) in claims {
                if let violation = admit(replica, phase, claim) { return violation }
            }
            leftFor[replica.index] = max(leftFor[replica.index], word.claim.view.rawValue)
            return bind(replica, 4, word.claim.view, .zero, word.claim.digest, "VIEW-CHANGE")
        case .newView(let word) where word.claim.view.primary(in: keys.size) == replica:
            ballots.begins(word.claim)
            return bind(replica, 5, word.claim.view, .zero, Digest.of(word.claim.encoded), "NEW-VIEW")
        case .checkpoint(let word) where word.claim.replica == replica:
            return bind(replica, 3, View(0), word.claim.sequence, word.claim.root, "CHECKPOINT")
        default:
            return nil
        }
    }

    /// A correct replica's VIEW-CHANGE claims a vote. It may say that vote later, if a power loss has kept it from saying it before: the
    /// choice of a new view counts what the VIEW-CHANGE claims as voted for, so the vote adds nothing to it. Claims of views that it had
    /// left before come too late for that, and none may name another batch than the vote that was said.
    private mutating func admit(_ replica: ReplicaID, _ phase: UInt8, _ claim: BatchClaim) -> Violation? {
        let key = Said(
            replica: replica,
            phase: phase,
            view: claim.view.rawValue,
            sequence: claim.sequence.rawValue
        )
        if let before = said[key], before != claim.digest {
            return Violation(
                .noContradiction,
                "\(replica) claims another vote for \(claim.view) \(claim.sequence) than it cast"
            )
        }
        if claim.view.rawValue >= leftFor[replica.index] { said[key] = claim.digest }
        return nil
    }

    private mutating func bind(
        _ replica: ReplicaID,
        _ phase: UInt8,
        _ view: View,
        _ sequence: SequenceNumber,
        _ digest: Digest,
        _ name: String
    ) -> Violation? {
        let key = Said(replica: replica, phase: phase, view: view.rawValue, sequence: sequence.rawValue)
        guard let before = said.updateValue(digest, forKey: key) else {
            // It may say again what it said before it left a view, and cast no new vote. A PRE-PREPARE of what NEW-VIEW chose is no vote.
            guard phase == 1 || phase == 2, view.rawValue < leftFor[replica.index] else { return nil }
            return Violation(
                .noContradiction,
                "\(replica) says \(name) for \(view) \(sequence) after VIEW-CHANGE for v\(leftFor[replica.index])"
            )
        }
        if before == digest { return nil }
        return Violation(.noContradiction, "\(replica) says two different \(name) for \(view) \(sequence)")
    }

    /// A correct replica is about to fetch a state.
    func fetches(_ sequence: SequenceNumber, root: Digest, at replica: ReplicaID) -> Violation? {
        guard let known = roots[sequence], known != root else { return nil }
        return Violation(
            .certificates,
            "\(replica) fetches another state of \(sequence) than correct replicas computed"
        )
    }

    /// A correct replica begins a view.
    func begins(_ newView: NewView, with members: [ViewChange], at replica: ReplicaID) -> Violation? {
        let replicas = Set(members.filter { $0.view == newView.view }.map(\.replica))
        guard replicas.count >= keys.size.quorum else {
            return Violation(
                .certificates,
                "\(replica) begins \(newView.view) with VIEW-CHANGEs of \(replicas.count), but \(keys.size.quorum) make one"
            )
        }
        return nil
    }

    /// A correct replica took a checkpoint as stable.
    func stabilised(_ sequence: SequenceNumber, certificate: [Checkpoint], by replica: ReplicaID) -> Violation? {
        var signers = VoteSet()
        for checkpoint in certificate
        where checkpoint.sequence == sequence && checkpoint.root == roots[sequence] && keys.isValid(checkpoint) {
            signers.insert(checkpoint.replica)
        }
        guard signers.count >= keys.size.quorum else {
            return Violation(
                .certificates,
                "\(replica) takes \(sequence) as stable on \(signers.count) good signatures, but \(keys.size.quorum) make a certificate"
            )
        }
        return nil
    }
}
