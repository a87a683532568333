import Messages

/// Whether the primary orders every client's requests, as far as this replica sees (Aardvark section 5.3, fairness).
///
/// An executable request that is in no PRE-PREPARE yet is forwarded to the primary and watched. One round trip later k, the highest number
/// proposed, is noted. When two PRE-PREPAREs beyond k + `pipelineDepth` have ordered requests of one same other client and the watched
/// request is still in none, the primary is unfair to its client. Since it is PRE-PREPAREs that are looked at, a request that never
/// executes is noticed as well. At most one request of each client, its next executable one, is watched.
struct FairnessWatch: Sendable {
    private struct Watched: Sendable {
        let request: WatchedRequest
        /// When the request was forwarded, and when it was again.
        let since: Instant
        /// For how long a primary may let it wait for others: as if it were forwarded so much later.
        let patience: UInt64
        var repeatedAt: Instant?
        var noted: SequenceNumber?
    }

    /// The last two PRE-PREPAREs that ordered a client's requests.
    private struct Orders: Sendable {
        var previous: SequenceNumber
        var last: SequenceNumber

        mutating func add(_ sequence: SequenceNumber) {
            if sequence > last {
                previous = last
                last = sequence
            } else if sequence < last {
                previous = max(previous, sequence)
            }
        }
    }

    private struct Twice: Sendable {
        var client: ClientID
        var sequence: SequenceNumber
    }

    private let pipelineDepth: UInt64
    private var watched: [ClientID: Watched] = [:]
    // The watched requests by what happens to them next, each in the order in which they came to that; some are no longer watched.
    private var unnoted = List()
    private var noted = List()
    private var unrepeated = List()
    private var repeated = List()
    /// By client, kept only while something is watched.
    private var orders: [ClientID: Orders] = [:]
    /// The client whose last but one PRE-PREPARE is the latest, and the next such client.
    private var latest: Twice?
    private var second: Twice?

    init(pipelineDepth: Int) {
        self.pipelineDepth = UInt64(pipelineDepth)
    }

    /// How many requests are watched.
    var count: Int { watched.count }

    /// How many requests are kept in lists, some of them no longer watched.
    var listed: Int { unnoted.count + noted.count + unrepeated.count + repeated.count }

    /// The most that ``listed`` can be while so many are watched at most.
    static func mostListed(_ watched: Int) -> Int { 4 * (2 * watched + 65) }

    /// A request was forwarded to the primary, which may let it wait for so many nanoseconds for others.
    mutating func watch(_ request: WatchedRequest, patience: UInt64 = 0, now: Instant) {
        guard watched[request.client]?.request != request else { return }
        watched[request.client] = Watched(
            request: request,
            since: now.advanced(byNanoseconds: patience),
            patience: patience
        )
        unnoted.append(request)
        unrepeated.append(request)
        tidy()
    }

    /// A request with this number was pre-prepared or executed: neither it nor an earlier one of its client is watched any more.
    mutating func end(_ request: WatchedRequest) {
        guard let current = watched[request.client]?.request,
            (current.session, current.number) <= (request.session, request.number)
        else { return }
        watched[request.client] = nil
        if watched.isEmpty { clear() }
    }

    /// Nothing of a client is watched any more.
    mutating func forget(_ client: ClientID) {
        watched[client] = nil
        if watched.isEmpty { clear() }
    }

    /// Nothing is watched any more.
    mutating func clear() {
        self = FairnessWatch(pipelineDepth: Int(pipelineDepth))
    }

    /// Everything that is watched counts as forwarded only now.
    mutating func restart(now: Instant) {
        let entries = watched.values.sorted { $0.request.client < $1.request.client }
        clear()
        for entry in entries {
            watch(entry.request, patience: entry.patience, now: now)
        }
    }

    // MARK: Noting k

    /// When the request that is noted next was forwarded.
    mutating func nextToNote() -> Instant? { Self.since(&unnoted, watched) }

    /// Notes k for the requests that were forwarded until then.
    mutating func note(_ highest: SequenceNumber, forwardedUntil latest: Instant) {
        while let due = nextToNote(), due <= latest, let request = unnoted.first {
            unnoted.removeFirst()
            watched[request.client]?.noted = highest
            noted.append(request)
        }
    }

    /// The requests of a PRE-PREPARE are known.
    ///
    /// - Returns: The request that the primary is unfair to, if there is one.
    mutating func ordered(_ requests: some Sequence<WatchedRequest>, at sequence: SequenceNumber) -> WatchedRequest? {
        guard !watched.isEmpty else { return nil }
        for request in requests {
            end(request)
            guard !watched.isEmpty else { return nil }
            orders[request.client, default: Orders(previous: .zero, last: .zero)].add(sequence)
            guard let previous = orders[request.client]?.previous else { continue }
            rank(Twice(client: request.client, sequence: previous))
        }
        return unfairlyTreated()
    }

    private mutating func rank(_ candidate: Twice) {
        guard let latest else {
            self.latest = candidate
            return
        }
        if candidate.client == latest.client {
            self.latest = candidate
        } else if candidate.sequence > latest.sequence {
            second = latest
            self.latest = candidate
        } else if second.map({ candidate.client == $0.client || candidate.sequence > $0.sequence }) ?? true {
            second = candidate
        }
    }

    private mutating func unfairlyTreated() -> WatchedRequest? {
        Self.since(&noted, watched)
        guard let latest else { return nil }
        // Those noted first have the lowest k. A later one is looked at only when the client that was ordered twice is the first one itself.
        for request in noted {
            guard let entry = watched[request.client], entry.request == request, let k = entry.noted else { continue }
            let bound = k.rawValue.added(pipelineDepth)
            guard latest.sequence.rawValue > bound else { return nil }
            if latest.client != request.client { return request }
            if let second, second.sequence.rawValue > bound { return request }
        }
        return nil
    }

    // MARK: Repeating

    /// When the request that is to be forwarded again next was forwarded.
    mutating func nextToRepeat() -> Instant? { Self.since(&unrepeated, watched) }

    /// Takes the requests that were forwarded until then, to be forwarded again.
    mutating func takeRepeats(forwardedUntil latest: Instant, now: Instant) -> [WatchedRequest] {
        var requests: [WatchedRequest] = []
        while let due = nextToRepeat(), due <= latest, let request = unrepeated.first {
            unrepeated.removeFirst()
            watched[request.client]?.repeatedAt = now
            repeated.append(request)
            requests.append(request)
        }
        return requests
    }

    /// The request that was forwarded twice and waits longest, if both times are long enough ago.
    mutating func waiting(forwardedUntil latest: Instant, repeatedUntil latestRepeat: Instant) -> WatchedRequest? {
        Self.since(&repeated, watched)
        guard let request = repeated.first, let entry = watched[request.client], let repeatedAt = entry.repeatedAt,
            entry.since <= latest, repeatedAt <= latestRepeat
        else { return nil }
        return request
    }

    // MARK: The lists

    private typealias List = FirstInFirstOut<WatchedRequest>

    /// Takes what is no longer watched off the front of a list, and gives the time at which the first of the rest was forwarded.
    @discardableResult
    private static func since(_ list: inout List, _ watched: [ClientID: Watched]) -> Instant? {
        while let request = list.first {
            if let entry = watched[request.client], entry.request == request { return entry.since }
            list.removeFirst()
        }
        return nil
    }

    /// Keeps the lists about as short as what is watched.
    private mutating func tidy() {
        let most = 2 * watched.count + 64
        Self.tidy(&unnoted, most, watched)
        Self.tidy(&noted, most, watched)
        Self.tidy(&unrepeated, most, watched)
        Self.tidy(&repeated, most, watched)
    }

    private static func tidy(_ list: inout List, _ most: Int, _ watched: [ClientID: Watched]) {
        guard list.count > most else { return }
        _ = list.removeAll { watched[$0.client]?.request != $0 }
    }
}
