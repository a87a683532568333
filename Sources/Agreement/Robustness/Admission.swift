import Cryptography
import Messages

/// Who may ask for what, where clients sign their requests (Aardvark section 5.1): the tests of a request in the order in which the
/// defence lies, cheapest first, and the blame for what only the signature shows.
///
/// | step | test | otherwise | where |
/// | --- | --- | --- | --- |
/// | a | the sender is not blacklisted | discard | here |
/// | b | the sender's MAC is right, and the request is its own or forwarded | discard, blame nobody | the channel |
/// | c | the number is inside the client's window | resend a cached reply, once in a slot; or discard | ``ClientTable``, and here |
/// | d | it was not verified before | discard: it was handed to the primary of this view | ``ClientTable`` |
/// | e | the client's signature is right | discard, and blacklist the sender | here |
///
/// The MAC of step b is the channel's: a frame whose MAC is wrong closes its connection and never gets here. What gets here has a
/// ``RequestSource``, which is the identity at the other end of the channel, never the one that a message claims. So nobody can be framed.
///
/// A value of this type remembers who is blacklisted and what was resent. Both are bounded by the number of clients in the client table,
/// for which a request gets past step c, and of replicas.
struct Admission: Sendable {
    /// The back-off of one cached reply.
    private struct Slot: Sendable {
        let request: WatchedRequest
        let end: Instant
        let nanoseconds: UInt64
    }

    private let window: Int
    private let limits: RobustnessLimits.Resending
    /// By client: the replies that were sent again, each at its number modulo the window.
    private var slots: [ClientID: [Slot?]] = [:]
    private var clients: Set<ClientID> = []
    private var replicas = VoteSet()
    /// Against whom there is evidence.
    private var accused: Set<Identity> = []
    private var accusedClients = 0

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
    func isBlacklisted(_ source: RequestSource) -> Bool {
        switch source {
        case .client(let client): clients.contains(client)
        case .forwarded(let replica): replicas.contains(replica)
        }
    }

    /// How many clients and replicas are blacklisted.
    var blacklisted: (clients: Int, replicas: Int) { (clients.count, replicas.count) }

    /// Who is blacklisted: clients before these replicas, each in the order of their numbers.
    func blacklist(of members: some Sequence<ReplicaID>) -> [RequestSource] {
        clients.sorted().map { .client($0) } + members.filter(replicas.contains).map { .forwarded(by: $0) }
    }

    /// Step c: exponential back-off (Aardvark section 5.1). A cached reply is sent again at once, and then once in each of slots that
    /// double, whoever asks.
    mutating func mayResend(_ request: WatchedRequest, now: Instant) -> Bool {
        var own = slots[request.client] ?? Array(repeating: nil, count: window)
        let place = Int(request.number.rawValue % UInt64(window))
        var length = limits.shortestSlotNanoseconds
        if let slot = own[place], slot.request == request {
            guard now >= slot.end else { return false }
            length = min(2 * slot.nanoseconds, limits.longestSlotNanoseconds)
        }
        own[place] = Slot(request: request, end: now.advanced(byNanoseconds: length), nanoseconds: length)
        slots[request.client] = own
        return true
    }

    /// Step e: the signature of a request is wrong, by the key of the epoch that it names. Its sender is blacklisted, because it should
    /// have known: a client has its key, and a replica checks what it forwards.
    mutating func blame(_ source: RequestSource) {
        switch source {
        case .client(let client): clients.insert(client)
        case .forwarded(let replica): replicas.insert(replica)
        }
    }

    /// Against how many there is evidence.
    var accusedParties: Int { accused.count }

    /// Whether evidence against somebody adds anything: there is none yet, and room for one more.
    func wantsEvidence(against identity: Identity) -> Bool {
        !accused.contains(identity) && (identity.role == .replica || accusedClients < Replica.mostAccusedClients)
    }

    /// There is evidence against somebody.
    ///
    /// - Returns: Whether it adds anything.
    mutating func noteEvidence(against identity: Identity) -> Bool {
        guard wantsEvidence(against: identity) else { return false }
        accused.insert(identity)
        if identity.role != .replica { accusedClients += 1 }
        return true
    }

    /// A client was taken out of the client table, or has a new key: nothing is remembered of it.
    mutating func forget(_ client: ClientID) {
        slots[client] = nil
        clients.remove(client)
    }
}
