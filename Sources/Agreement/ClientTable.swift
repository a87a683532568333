import Cryptography
import Invariants
import Messages

/// What a replica knows of one client. The first part is replicated: it changes at execution only, the same everywhere.
struct ClientEntry: Sendable {
    let client: ClientID

    // Replicated.
    /// The key that its requests are authenticated with; nil for a client that was removed.
    var key: PublicKey?
    /// The epoch of the key, or of the last one.
    var epoch = KeyEpoch.genesis
    var session = SessionID(0)
    /// The number of the session's last executed request.
    var executed: UInt64 = 0
    /// The replies to the last W requests, each at its number modulo W.
    var replies: [(reply: Reply.Payload, sequence: SequenceNumber)?] = []

    // This replica's own.
    /// Checked requests of the current session, each at its number modulo the length.
    var pending: [Verified<Request>?] = []
    /// Whether each of them was forwarded in this view, at the same places.
    var isForwarded: [Bool] = []
    /// A checked request to open a later session.
    var opening: Verified<Request>?
    var isOpeningForwarded = false
    /// The primary's: the request to open a session is in a batch of this view.
    var isOpeningProposed = false
    var pendingBytes = 0
    /// The primary's: the number of the next request to put into a batch.
    var nextProposal: UInt64 = 1
    /// The primary's: whether the client stands in the queue of those with a request to propose.
    var isQueued = false
    /// Whether the client stands in the queue of those with a request to watch.
    var isWatched = false

    init(_ client: ClientID, _ key: PublicKey?, _ epoch: KeyEpoch) {
        self.client = client
        self.key = key
        self.epoch = epoch
    }

    /// Forgets what waits to be ordered: it takes no effect any more.
    mutating func discardPending() {
        pending = []
        opening = nil
        isOpeningProposed = false
        pendingBytes = 0
        nextProposal = executed + 1
    }

    /// The bytes of the requests that wait.
    var heldBytes: Int {
        pending.reduce(opening?.value.bytes.count ?? 0) { $0 + ($1?.value.bytes.count ?? 0) }
    }

    func pending(_ number: RequestNumber) -> Verified<Request>? {
        guard !pending.isEmpty, let found = pending[Int(number.rawValue % UInt64(pending.count))],
            found.value.number == number
        else { return nil }
        return found
    }

    func reply(to number: RequestNumber) -> (reply: Reply.Payload, sequence: SequenceNumber)? {
        guard !replies.isEmpty, let found = replies[Int(number.rawValue % UInt64(replies.count))],
            found.reply.number == number
        else { return nil }
        return found
    }
}

/// A request by name, as the request timer watches it.
struct WatchedRequest: Hashable, Sendable {
    let client: ClientID
    let session: SessionID
    let number: RequestNumber
}

extension WatchedRequest {
    init(_ request: Request) {
        self.init(client: request.client, session: request.session, number: request.number)
    }
}

/// The clients and what they have asked: exactly-once execution (PBFT section 4.1), the reply cache, and the requests that wait.
struct ClientTable: Sendable {
    /// What to do with a request that arrived.
    enum Admission {
        /// It is new: check its authentication, with this key.
        case check(PublicKey)
        /// It waits here already, checked.
        case waiting(Verified<Request>)
        /// Another one with its number waits here, checked: if this one is signed with this key too, its client is faulty.
        case conflicting(PublicKey)
        /// It was executed: send this again.
        case answered(AddressedReply)
        /// It names what is not current: tell its client what is.
        case outdated(AddressedReply)
        /// Drop it.
        case drop(DropReason)
    }

    let window: Int
    /// The most clients, administrators and removed clients together.
    let identities: Int
    private let pendingBytes: Int
    let mutations: Mutations
    /// Those that are known in the initial state.
    let genesis: [ClientKey]
    var entries: [ClientEntry] = []
    /// The place of each client, administrator and removed client.
    var index: [ClientID: Int] = [:]
    var queue = FirstInFirstOut<Int>()
    /// The clients whose next request is long.
    var longQueue = LongQueue()
    private var watched = FirstInFirstOut<Int>()

    init(clients: [ClientKey], limits: Limits, mutations: Mutations = Mutations()) {
        invariant(clients.count <= limits.identities, "more clients from the start than there may be")
        self.mutations = mutations
        window = limits.clientWindow
        identities = limits.identities
        pendingBytes = limits.clientPendingBytes
        genesis = clients
        for known in clients { insert(known.client, known.key, known.epoch) }
    }

    /// Takes in somebody who is not known yet.
    mutating func insert(_ client: ClientID, _ key: PublicKey?, _ epoch: KeyEpoch) {
        invariant(index[client] == nil, "a client that is known already")
        index[client] = entries.count
        entries.append(ClientEntry(client, key, epoch))
    }

    /// The key of a client or an administrator; nil when there is none of this name.
    func key(of client: ClientID) -> PublicKey? {
        index[client].flatMap { entries[$0].key }
    }

    /// How many clients have a request to propose.
    var queuedClients: Int { queue.count + longQueue.count }

    /// The cheap tests of a request that come before any cryptography (2 x W numbers ahead are taken, because a client goes on when
    /// f + 1 replicas have answered, which this one may not be among).
    func admission(of request: Request, in view: View) -> Admission {
        guard let position = index[request.client] else { return .drop(.unknownClient) }
        let entry = entries[position]
        guard let key = entry.key else { return .drop(.unknownClient) }
        if request.keyEpoch != entry.epoch {
            return .outdated(refusal(of: request, .otherKeyEpoch, entry.epoch.rawValue, view))
        }
        if request.session < entry.session {
            return .outdated(refusal(of: request, .sessionOutdated, entry.session.rawValue, view))
        }
        if request.kind == .openSession {
            if let opening = entry.opening, opening.value.digest == request.digest { return .waiting(opening) }
            if request.session > entry.session { return .check(key) }
        }
        // Session 0 is the state before the first one: nothing can be asked in it.
        guard request.session == entry.session, entry.session > SessionID(0) else { return .drop(.otherSession) }
        if request.number.rawValue <= entry.executed {
            guard let cached = entry.reply(to: request.number) else { return .drop(.duplicateRequest) }
            return .answered(
                AddressedReply(
                    client: entry.client,
                    reply: Reply(view: view, sequence: cached.sequence, payload: cached.reply)
                )
            )
        }
        guard request.number.rawValue - entry.executed <= UInt64(2 * window) else { return .drop(.outsideClientWindow) }
        if let pending = entry.pending(request.number) {
            return pending.value.digest == request.digest ? .waiting(pending) : .conflicting(key)
        }
        // The next executable one is always taken: those behind it, which may fill the bound, cannot go before it does.
        guard request.number.rawValue == entry.executed + 1 || entry.pendingBytes + request.bytes.count <= pendingBytes
        else { return .drop(.clientBytes) }
        return .check(key)
    }

    /// Tells a client what is current instead of what its request names.
    private func refusal<Number: FixedWidthInteger>(
        of request: Request,
        _ outcome: Reply.Outcome,
        _ current: Number,
        _ view: View
    ) -> AddressedReply {
        let bytes = (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: current >> (8 * $0)) }
        let payload = Reply.Payload(
            session: request.session,
            number: request.number,
            outcome: outcome,
            results: [bytes]
        )
        return AddressedReply(client: request.client, reply: Reply(view: view, sequence: .zero, payload: payload))
    }

    /// Whether this very request, authentication included, was checked here before.
    func wasChecked(_ request: Request) -> Bool {
        guard let position = index[request.client] else { return false }
        let known = request.kind == .openSession ? entries[position].opening : entries[position].pending(request.number)
        return known?.value.envelopeDigest == request.envelopeDigest
            || (known != nil && mutations.contains(.trustsKnownNumber))
    }

    /// What shows that a client has signed two requests of one number: this one, which was checked with its present key, and the one that
    /// waits here.
    func conflict(of request: Request) -> Evidence? {
        guard let position = index[request.client], let key = entries[position].key,
            request.keyEpoch == entries[position].epoch,
            let known = entries[position].pending(request.number)?.value, known.contradicts(request)
        else { return nil }
        return Evidence(.conflictingRequests(known, request), clientKey: key)
    }

    /// A checked request that a proposal names, if it waits here.
    func held(_ reference: DigestPrePrepare.Reference) -> Request? {
        guard let position = index[reference.client] else { return nil }
        let known =
            reference.number == .opening ? entries[position].opening : entries[position].pending(reference.number)
        return known?.value.envelopeDigest == reference.envelope ? known?.value : nil
    }

    /// A checked request that waits here.
    func pending(_ name: WatchedRequest) -> Verified<Request>? {
        guard let position = index[name.client] else { return nil }
        let found = name.number == .opening ? entries[position].opening : entries[position].pending(name.number)
        return found?.value.session == name.session ? found : nil
    }

    /// The primary of the view has proposed a request: it counts as acted on, like those in ``takeBatch(requests:bytes:)``. Called in the
    /// order of the proposals.
    ///
    /// - Returns: Whether it takes effect there, as far as is known before the batches before it are executed.
    mutating func noteProposed(_ request: Request) -> Bool {
        guard let position = index[request.client], isCurrent(request, position) else { return false }
        switch request.kind {
        case .openSession:
            guard request.session > entries[position].session else { return false }
            if let opening = entries[position].opening, opening.value.session <= request.session {
                entries[position].isOpeningProposed = true
            }
        case .ordered, .administration:
            guard request.session == entries[position].session,
                request.number.rawValue == entries[position].nextProposal
            else { return false }
            entries[position].nextProposal += 1
        }
        return true
    }

    /// The client's next executable request, if it waits here and no proposal of the view has it.
    func unproposedNext(of client: ClientID) -> Verified<Request>? {
        guard let position = index[client] else { return nil }
        if let opening = entries[position].opening, !entries[position].isOpeningProposed { return opening }
        let number = entries[position].executed + 1
        return entries[position].nextProposal == number ? entries[position].pending(RequestNumber(number)) : nil
    }

    /// Keeps a checked request until it is executed. Its admission was ``Admission/check`` just now.
    mutating func keep(_ request: Verified<Request>) {
        guard let position = index[request.value.client] else { return }
        if request.value.kind == .openSession {
            entries[position].pendingBytes -= entries[position].opening?.value.bytes.count ?? 0
            entries[position].opening = request
            entries[position].isOpeningForwarded = false
            entries[position].isOpeningProposed = false
        } else {
            if entries[position].pending.isEmpty {
                entries[position].pending = Array(repeating: nil, count: 2 * window)
                entries[position].isForwarded = Array(repeating: false, count: 2 * window)
            }
            let place = Int(request.value.number.rawValue % UInt64(2 * window))
            entries[position].pendingBytes -= entries[position].pending[place]?.value.bytes.count ?? 0
            entries[position].pending[place] = request
            entries[position].isForwarded[place] = false
        }
        entries[position].pendingBytes += request.value.bytes.count
        enqueueIfReady(position)
        watchIfNext(position)
    }

    /// Notes that a request that waits here is forwarded.
    ///
    /// - Returns: false when it was already, in this view.
    mutating func noteForwarded(_ request: Request) -> Bool {
        guard let position = index[request.client] else { return false }
        if request.kind == .openSession {
            defer { entries[position].isOpeningForwarded = true }
            return !entries[position].isOpeningForwarded
        }
        guard !entries[position].isForwarded.isEmpty else { return false }
        let place = Int(request.number.rawValue % UInt64(entries[position].isForwarded.count))
        defer { entries[position].isForwarded[place] = true }
        return !entries[position].isForwarded[place]
    }

    /// Everything that waits may be forwarded again.
    mutating func forgetForwards() {
        for position in entries.indices {
            entries[position].isOpeningForwarded = false
            entries[position].isForwarded = entries[position].isForwarded.map { _ in false }
        }
    }

    /// The request that has waited longest among those that could be executed next, each client's first: what the request timer watches
    /// (PBFT section 4.4). A number that leaves a gap is not watched, or a client could have correct primaries replaced.
    mutating func longestWaiting() -> WatchedRequest? {
        while let position = watched.first {
            if let request = nextToExecute(position) { return WatchedRequest(request) }
            watched.removeFirst()
            entries[position].isWatched = false
        }
        return nil
    }

    private func nextToExecute(_ position: Int) -> Request? {
        entries[position].opening?.value
            ?? entries[position].pending(RequestNumber(entries[position].executed + 1))?.value
    }

    mutating func watchIfNext(_ position: Int) {
        guard !entries[position].isWatched, nextToExecute(position) != nil else { return }
        entries[position].isWatched = true
        watched.append(position)
    }

    /// A client's request was executed: it goes to the end of the queue of those that wait.
    private mutating func rewatch(_ position: Int) {
        if entries[position].isWatched, watched.first == position {
            watched.removeFirst()
            entries[position].isWatched = false
        }
        watchIfNext(position)
    }

    /// A new view begins: everything that is not executed is to be proposed again, but for what NEW-VIEW chose.
    mutating func enterView(chosen batches: [Batch]) {
        forgetForwards()
        queue = FirstInFirstOut<Int>()
        longQueue = LongQueue()
        for position in entries.indices {
            entries[position].isQueued = false
            entries[position].isOpeningProposed = false
            entries[position].nextProposal = entries[position].executed + 1
        }
        for request in batches.flatMap(\.requests) {
            guard let position = index[request.client] else { continue }
            if request.kind == .openSession {
                if entries[position].opening?.value.digest == request.digest {
                    entries[position].isOpeningProposed = true
                }
            } else if request.keyEpoch == entries[position].epoch, request.session == entries[position].session,
                request.number.rawValue == entries[position].nextProposal
            {
                entries[position].nextProposal += 1
            }
        }
        for position in entries.indices {
            enqueueIfReady(position)
        }
    }

    /// The checked requests that wait here, for the primary of a new view.
    var waiting: [Verified<Request>] {
        entries.flatMap { entry in
            (entry.opening.map { [$0] } ?? [])
                + entry.pending.compactMap { $0 }.sorted { $0.value.number < $1.value.number }
        }
    }

    mutating func enqueueIfReady(_ position: Int) {
        guard !entries[position].isQueued else { return }
        let hasNext = entries[position].pending(RequestNumber(entries[position].nextProposal)) != nil
        guard hasNext || (entries[position].opening != nil && !entries[position].isOpeningProposed) else { return }
        entries[position].isQueued = true
        queue.append(position)
    }

    func nextToPropose(_ position: Int) -> Request? {
        let entry = entries[position]
        if let opening = entry.opening, !entry.isOpeningProposed { return opening.value }
        return entry.pending(RequestNumber(entry.nextProposal))?.value
    }

    /// How far a client has come: all that decides whether its next request takes effect.
    private struct Progress {
        var session: SessionID
        var executed: UInt64

        /// Decides whether a request takes effect here, and if so counts it. Exactly once, in the client's own order: the rule of safety
        /// of PBFT section 4.1, the same at every replica because only executed requests change what it reads.
        mutating func advance(by request: Request, _ mutations: Mutations) -> Bool {
            switch request.kind {
            case .openSession:
                guard request.session > session else { return false }
                self = Progress(session: request.session, executed: 0)
            case .ordered, .administration:
                let number = request.number.rawValue
                guard request.session == session || mutations.contains(.ignoresSessions), session > SessionID(0),
                    number == executed + 1 || (number > executed && mutations.contains(.executesGaps))
                        || (number <= executed && mutations.contains(.executesAgain))
                else { return false }
                executed = max(executed, number)
            }
            return true
        }
    }

    /// Whether a request is authenticated with the key that its client has at this point of the order. It was checked with the key of its
    /// epoch, whenever that was and whoever did: so a revoked key's requests take effect nowhere.
    func isCurrent(_ request: Request, _ position: Int) -> Bool {
        entries[position].key != nil && request.keyEpoch == entries[position].epoch
    }

    private func progress(_ position: Int) -> Progress {
        Progress(session: entries[position].session, executed: entries[position].executed)
    }

    /// The requests of a batch that would take effect now, in their order; nothing is counted.
    func effective(_ requests: [Request]) -> [Request] {
        var reached: [Int: Progress] = [:]
        return requests.filter { request in
            guard let position = index[request.client], isCurrent(request, position) else { return false }
            return reached[position, default: progress(position)].advance(by: request, mutations)
        }
    }

    /// Decides whether a request of a committed batch takes effect, and if so counts it as executed.
    mutating func begin(_ request: Request) -> Bool {
        guard let position = index[request.client], isCurrent(request, position) else { return false }
        var progress = progress(position)
        guard progress.advance(by: request, mutations) else { return false }
        entries[position].session = progress.session
        entries[position].executed = progress.executed
        switch request.kind {
        case .openSession:
            entries[position].replies = Array(repeating: nil, count: window)
            entries[position].pending = []
            entries[position].isForwarded = []
            entries[position].nextProposal = 1
            entries[position].pendingBytes = 0
            if let opening = entries[position].opening, opening.value.session <= request.session {
                entries[position].opening = nil
            } else {
                entries[position].pendingBytes = entries[position].opening?.value.bytes.count ?? 0
            }
        case .ordered, .administration:
            removePending(position, request.number)
            if entries[position].nextProposal <= entries[position].executed {
                entries[position].nextProposal = entries[position].executed + 1
                enqueueIfReady(position)
            }
        }
        rewatch(position)
        return true
    }

    private mutating func removePending(_ position: Int, _ number: RequestNumber) {
        guard let pending = entries[position].pending(number) else { return }
        entries[position].pendingBytes -= pending.value.bytes.count
        entries[position].pending[Int(number.rawValue % UInt64(entries[position].pending.count))] = nil
    }

    /// Adds what is held to a footprint.
    func add(to footprint: inout Footprint, _ limits: Limits) {
        let requests = entries.map { $0.pending.count { $0 != nil } + ($0.opening == nil ? 0 : 1) }
        footprint.add("requests of a client", requests.max() ?? 0, atMost: 2 * window + 1)
        // The next executable request and the opening of a session are taken beyond the bound.
        footprint.add(
            "bytes of requests of a client",
            entries.map(\.heldBytes).max() ?? 0,
            atMost: pendingBytes + 2 * MessageLimits.requestBytes
        )
        footprint.add("bytes counted wrongly", entries.count { $0.heldBytes != $0.pendingBytes }, atMost: 0)
        footprint.add("replies to a client", entries.map(\.replies.count).max() ?? 0, atMost: window)
        footprint.add("clients in a queue", max(queue.count + longQueue.count, watched.count), atMost: entries.count)
    }
}
