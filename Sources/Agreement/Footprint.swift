import Messages

/// How much a replica holds of what others can make grow, and the bound of each. A memory that grows beyond its bound is a way to stop a
/// replica, so whoever watches one (the simulator does) looks here.
public struct Footprint: Hashable, Sendable {
    /// One kind of thing that is held.
    public struct Part: Hashable, Sendable {
        /// What it is.
        public let name: String
        /// How many there are, or how many bytes they have.
        public let used: Int
        /// How many there may be.
        public let bound: Int
    }

    /// Every part.
    public private(set) var parts: [Part] = []

    /// A part that is over its bound; nil when none is.
    public var excess: Part? { parts.first { $0.used > $0.bound } }

    mutating func add(_ name: String, _ used: Int, atMost bound: Int) {
        parts.append(Part(name: name, used: used, bound: bound))
    }
}

extension Replica {
    /// How much this replica holds. Looks at everything: not for each message.
    public var footprint: Footprint {
        let limits = configuration.limits
        let replicas = configuration.size.replicas
        var footprint = Footprint()
        footprint.add("early messages of a peer", most(early.map(\.messages.count)), atMost: limits.earlyMessages)
        footprint.add("bytes of early messages of a peer", most(early.map(\.bytes)), atMost: limits.earlyBytes)
        reads.add(to: &footprint, limits)
        clients.add(to: &footprint, limits)
        checkpoints.add(to: &footprint, limits)
        past.add(to: &footprint, limits)
        missed.add(to: &footprint, limits, replicas: replicas)
        primaryWatch?.add(to: &footprint, limits)
        let accusable = replicas + Self.mostAccusedClients
        footprint.add("parties that evidence accuses", admission?.accusedParties ?? 0, atMost: accusable)
        footprint.add("proposals that wait for requests", awaiting.count, atMost: limits.logWindow)
        // Fresh digests at a number are bounded at each correct replica, and NEW-VIEW chooses only what a correct one has pre-prepared.
        let digests = limits.digestsPerNumber * replicas + 1
        var claims = 0
        var bodies = 0
        var votes = 0
        for sequence in log.sequences {
            claims = max(claims, log[sequence].prePreparedClaims.count)
            bodies = max(bodies, log[sequence].bodies.count)
            votes = max(
                votes,
                log[sequence].prepares.digests,
                log[sequence].commits.digests,
                log[sequence].saidCommitted.digests
            )
        }
        footprint.add("digests in Q at a number", claims, atMost: digests)
        footprint.add("batches at a number", bodies, atMost: digests + 1)
        footprint.add("digests voted for at a number", votes, atMost: replicas)
        let pending = pendingNewViews.compactMap { $0?.members.count }
        footprint.add("VIEW-CHANGEs of a NEW-VIEW that is not complete", most(pending), atMost: replicas)
        let claimed = viewChanges.compactMap { $0.map { max($0.prepared.count, $0.prePrepared.count) } }
        footprint.add("claims of a VIEW-CHANGE", most(claimed), atMost: MessageLimits.prePreparedClaims)
        return footprint
    }

    private func most(_ numbers: [Int]) -> Int { numbers.max() ?? 0 }
}

extension WaitingReads {
    fileprivate func add(to footprint: inout Footprint, _ limits: Limits) {
        footprint.add("waiting reads", count, atMost: limits.waitingReads)
        footprint.add("bytes of waiting reads", bytes, atMost: limits.waitingReadBytes)
    }
}
