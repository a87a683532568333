import Messages

/// What becomes of a request that arrived, in `aardvark` (Aardvark section 5.1): the tests in the order in which the defence lies, cheapest
/// first, and the blame for what only the signature shows.
///
/// | step | test | otherwise |
/// | --- | --- | --- |
/// | a | the sender is not blacklisted | discard |
/// | b | the sender's MAC is right, and the request is its own or forwarded | discard, blame nobody |
/// | c | the number is inside the client's window | resend a cached reply, once in a slot; or discard |
/// | d | it was not verified before | act again in a new view, without checking again; or discard |
/// | e | the client's signature is right | discard, and blacklist the sender |
///
/// The MAC of step b is the channel's: a frame whose MAC is wrong closes its connection and never gets here. What gets here has a
/// ``Sender``, which is the identity at the other end of the channel, never the one that a message claims. So nobody can be framed.
///
/// A value of this type remembers who is blacklisted, what was forwarded and what was resent. All of it is bounded by the number of
/// clients in the client table, for which a request gets past step c, and of replicas.
struct Admission: Sendable {
    /// The identity at the other end of an authenticated channel: the only one that may be blamed for what comes out of it.
    enum Sender: Hashable, Sendable {
        /// A client's own channel.
        case client(ClientID)
        /// A peer's, which forwards the request.
        case replica(ReplicaID)
    }

    /// What the client table says of a request's session and number.
    enum Standing: Hashable, Sendable {
        /// Inside the window, and not known to be good: it is new.
        case new
        /// This very request was verified before and waits to be ordered.
        case verified(isNext: Bool)
        /// It was executed, and its reply is kept.
        case answered
        /// Outside the window, of another session, a second request under the number of one that waits, or executed long ago.
        case useless
    }

    /// What is to be done with a request.
    enum Verdict: Hashable, Sendable {
        /// Check its signature, and tell the outcome to ``Admission/blame(_:for:isOwnEpoch:)`` when it is wrong.
        case check
        /// Forward the verified request, and watch it.
        case act
        /// Send the cached reply.
        case resend
        /// Nothing.
        case discard(Discard)
    }

    /// Why a request is discarded. Each reason is a counter.
    enum Discard: String, Hashable, Sendable, CaseIterable {
        /// Step a.
        case blacklisted
        /// Step b: it came over another client's channel.
        case foreign
        /// Step c: nothing can become of it.
        case useless
        /// Step c: the reply was sent again a short time ago.
        case resentAlready = "resent_already"
        /// Step d: it was acted on in this view.
        case actedOnAlready = "acted_on_already"
    }

    /// The back-off of one cached reply.
    private struct Slot: Sendable {
        let request: WatchedRequest
        let end: Instant
        let nanoseconds: UInt64
    }

    private struct Client: Sendable {
        /// The last request of this client that was forwarded here, and in which view.
        var forwarded: (request: WatchedRequest, view: View)?
        /// The replies that were sent again, each at its number modulo the window.
        private var slots: [Slot?] = []

        /// Exponential back-off (Aardvark section 5.1): a cached reply is sent again at once, and then once in each of slots that double.
        mutating func mayResend(
            _ request: WatchedRequest,
            window: Int,
            limits: RobustnessLimits.Resending,
            now: Instant
        ) -> Bool {
            if slots.isEmpty { slots = Array(repeating: nil, count: window) }
            let place = Int(request.number.rawValue % UInt64(window))
            var length = limits.shortestSlotNanoseconds
            if let slot = slots[place], slot.request == request {
                guard now >= slot.end else { return false }
                length = min(2 * slot.nanoseconds, limits.longestSlotNanoseconds)
            }
            slots[place] = Slot(request: request, end: now.advanced(byNanoseconds: length), nanoseconds: length)
            return true
        }
    }

    private let window: Int
    private let limits: RobustnessLimits.Resending
    private var clients: [ClientID: Client] = [:]

    /// Clients whose own channel here is closed to requests and reads.
    private(set) var blacklistedClients: Set<ClientID> = []
    /// Replicas whose forwards are not taken.
    private(set) var blacklistedReplicas = VoteSet()

    /// - Parameters:
    ///   - window: W; see ``Limits/clientWindow``.
    ///   - limits: Of limits without a ``RobustnessLimits/problem``.
    init(window: Int, limits: RobustnessLimits.Resending) {
        self.window = window
        self.limits = limits
    }

    /// Step a for everything that a sender may ask for: whether it is closed off. For a client this is its own channel, nothing else: what
    /// another replica forwards is ordered whoever its client is, or one client could make correct primaries look unfair. For a replica
    /// it is what it forwards, never its protocol messages.
    func isBlacklisted(_ sender: Sender) -> Bool {
        switch sender {
        case .client(let client): blacklistedClients.contains(client)
        case .replica(let replica): blacklistedReplicas.contains(replica)
        }
    }

    /// Steps a to d.
    ///
    /// - Parameters:
    ///   - request: What the request claims to be.
    ///   - sender: Over whose channel it came.
    ///   - standing: What the client table says of it.
    ///   - view: The view in which this replica is active; nil when it is in none, or is its primary: then what is verified is queued
    ///     already, and never forwarded.
    ///   - now: The monotonic clock.
    mutating func judge(
        _ request: WatchedRequest,
        from sender: Sender,
        standing: Standing,
        backupIn view: View?,
        now: Instant
    ) -> Verdict {
        if isBlacklisted(sender) { return .discard(.blacklisted) }
        if case .client(let client) = sender, client != request.client { return .discard(.foreign) }
        switch standing {
        case .useless:
            return .discard(.useless)
        case .answered:
            let mayResend = clients[request.client, default: Client()]
                .mayResend(request, window: window, limits: limits, now: now)
            return mayResend ? .resend : .discard(.resentAlready)
        case .verified(let isNext):
            // What a peer forwards to a backup is the primary's to act on.
            guard isNext, case .client = sender, let view, mayForward(request, in: view) else {
                return .discard(.actedOnAlready)
            }
            return .act
        case .new:
            return .check
        }
    }

    /// Whether a verified request may be forwarded to the primary now: once in a view. It counts as forwarded then.
    ///
    /// Called for the client's next executable request only, so that requests of one session come in their order.
    mutating func mayForward(_ request: WatchedRequest, in view: View) -> Bool {
        if let last = clients[request.client]?.forwarded, last.view == view, last.request.session == request.session,
            last.request.number >= request.number
        {
            return false
        }
        clients[request.client, default: Client()].forwarded = (request, view)
        return true
    }

    /// Step e: the signature of a request is wrong. Its sender is blacklisted, because it should have known.
    ///
    /// - Parameters:
    ///   - sender: Over whose channel the request came.
    ///   - scheme: How it is authenticated. A MAC that is wrong for me says nothing of whoever handed it on, nor a MAC vector of its client.
    ///   - isOwnEpoch: Whether the signature was judged under the key of the epoch that the request names. A forwarder that is ahead or
    ///     behind in the list of keys is not to blame.
    /// - Returns: Whether the sender is blacklisted for it.
    mutating func blame(_ sender: Sender, for scheme: Request.Scheme, isOwnEpoch: Bool) -> Bool {
        guard scheme == .signature, isOwnEpoch else { return false }
        switch sender {
        case .client(let client): blacklistedClients.insert(client)
        case .replica(let replica): blacklistedReplicas.insert(replica)
        }
        return true
    }

    /// A client was taken out of the client table, or has a new key: nothing is remembered of it.
    mutating func forget(_ client: ClientID) {
        clients[client] = nil
        blacklistedClients.remove(client)
    }
}
