import Messages

/// The clients whose next request is long.
///
/// A client that is given a turn like the others would take as much of everybody's time with each request as hundreds of theirs. So its
/// request counts as several, as its length says, and waits until some other client has had as many since; or for so long that whoever
/// watches this primary would find it unfair.
struct LongQueue: Sendable {
    private struct Place: Sendable {
        let due: Instant
        let round: UInt64
        let client: Int
    }

    /// By the time, then in the order in which they came.
    private var places: [Place] = []
    /// How many requests of the client that was served most were ordered while there were long ones, and who had one in this round.
    private var round: UInt64 = 0
    private var served: Set<Int> = []

    var count: Int { places.count }

    mutating func insert(_ client: Int, turns: UInt64, due: Instant) {
        var low = 0
        var high = places.count
        while low < high {
            let middle = (low + high) / 2
            if places[middle].due <= due { low = middle + 1 } else { high = middle }
        }
        places.insert(Place(due: due, round: round + turns, client: client), at: low)
    }

    /// A request that is not long is ordered.
    mutating func noteServed(_ client: Int) {
        guard !places.isEmpty, !served.insert(client).inserted else { return }
        round += 1
        served = [client]
    }

    /// The place of the first client whose turn it is, and whether it has waited as long as it may.
    func next(now: Instant) -> (place: Int, client: Int, isOverdue: Bool)? {
        if let first = places.first, first.due <= now { return (0, first.client, true) }
        return places.firstIndex { $0.round <= round }.map { ($0, places[$0].client, false) }
    }

    /// The place of the first client, whoever's turn it is.
    var first: (place: Int, client: Int)? { places.first.map { (0, $0.client) } }

    mutating func remove(_ place: Int) { places.remove(at: place) }
}

extension Limits {
    /// As how many requests one counts: 0 unless it is long.
    func turns(of request: Request) -> UInt64 {
        request.bytes.count > longRequestBytes ? UInt64(request.bytes.count / longRequestBytes) : 0
    }

    /// For how long a request may wait at a primary that serves others meanwhile, in nanoseconds: 0 unless it is long, and never so long
    /// that a backup suspects the primary for it.
    func patience(with request: Request) -> UInt64 {
        guard turns(of: request) > 0 else { return 0 }
        let bytes = UInt64(request.bytes.count)
        return min(bytes * 1_000_000_000 / UInt64(longRequestBytesPerSecond), viewChangeNanoseconds / 2)
    }
}

/// What the primary puts into a batch.
extension ClientTable {
    /// A batch that is being filled.
    private struct Filling {
        let limits: Limits
        let most: Int
        var requests: [Request] = []
        var bytes = 0
        var longBytes = 0

        /// Whether a request fits beside those that are not long.
        func takes(_ request: Request) -> Bool {
            let short = bytes - longBytes
            guard requests.count < most else { return false }
            if requests.isEmpty { return true }
            return short + request.bytes.count <= limits.batchBytes
                && bytes + request.bytes.count <= MessageLimits.batchBytes - (64 << 10)
        }

        /// Whether a long request fits beside other long ones.
        func takesLong(_ request: Request) -> Bool {
            guard requests.count < most else { return false }
            return requests.isEmpty || longBytes + request.bytes.count <= limits.batchBytes
        }

        mutating func add(_ request: Request, isLong: Bool) {
            requests.append(request)
            bytes += request.bytes.count
            if isLong { longBytes += request.bytes.count }
        }
    }

    /// Takes the requests of the next batch: one of each waiting client in turn, each client's in its own order, so that no client can
    /// fill batches alone.
    ///
    /// A long request comes first when it is its turn, and else only when nobody's short ones wait or are being served. While one that has
    /// waited as long as it may does not fit, no short one is taken: whoever watches this primary sees that nobody is preferred.
    ///
    /// - Parameters:
    ///   - most: The most requests.
    ///   - limits: The most bytes; a single longer request is taken alone.
    ///   - isServing: Whether requests that are not long are under way.
    ///   - now: The time.
    mutating func takeBatch(requests most: Int, limits: Limits, isServing: Bool, now: Instant) -> [Request] {
        sortOutLong(limits, now)
        var filling = Filling(limits: limits, most: most)
        while let (place, position, isOverdue) = longQueue.next(now: now) {
            if takeLong(place, position, into: &filling) { continue }
            if isOverdue { return filling.requests }
            break
        }
        while let position = queue.first {
            guard let request = nextToPropose(position) else {
                leaveQueue(position)
                continue
            }
            if limits.turns(of: request) > 0 {
                sortOutLong(limits, now)
                continue
            }
            guard filling.takes(request) else { break }
            leaveQueue(position)
            take(request, of: position)
            filling.add(request, isLong: false)
            longQueue.noteServed(position)
            enqueueIfReady(position)
        }
        if filling.requests.isEmpty, !isServing {
            while let (place, position) = longQueue.first, takeLong(place, position, into: &filling) {
                sortOutLong(limits, now)
            }
        }
        return filling.requests
    }

    /// Moves those at the head of the queue whose next request is long.
    private mutating func sortOutLong(_ limits: Limits, _ now: Instant) {
        while let position = queue.first, let request = nextToPropose(position) {
            let turns = limits.turns(of: request)
            guard turns > 0 else { return }
            queue.removeFirst()
            let due = now.advanced(byNanoseconds: limits.patience(with: request))
            longQueue.insert(position, turns: turns, due: due)
        }
    }

    private mutating func takeLong(_ place: Int, _ position: Int, into filling: inout Filling) -> Bool {
        if let request = nextToPropose(position) {
            guard filling.takesLong(request) else { return false }
            take(request, of: position)
            filling.add(request, isLong: true)
        }
        longQueue.remove(place)
        entries[position].isQueued = false
        enqueueIfReady(position)
        return true
    }

    private mutating func leaveQueue(_ position: Int) {
        queue.removeFirst()
        entries[position].isQueued = false
    }

    private mutating func take(_ request: Request, of position: Int) {
        if request.kind == .openSession {
            entries[position].isOpeningProposed = true
        } else {
            entries[position].nextProposal += 1
        }
    }
}
