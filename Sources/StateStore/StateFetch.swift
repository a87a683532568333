import Cryptography
import Invariants

/// Fetches the state of a certified checkpoint from several sources, of which any but one may lie, be slow or silent.
///
/// It performs no I/O, reads no clock and draws no random number: answers and instants go in, ``Effect``s come out. Each
/// node is verified against the digest in its parent, the root against the certificate, before anything below it is
/// asked for. Where the local checkpoint has the same subtree, nothing is fetched; where it has a branch too, or an earlier
/// target had, one node a path, so that only what differs is sent; elsewhere whole subtrees, as much as one answer holds.
/// The store is changed only once ``beginInstall()`` is called, slice by slice, and counts as changed when the last is in.
///
/// What was verified is staged in the store too, up to ``Limits/retainedBytes``: a fetch of any target begins with what an earlier process
/// has staged, each node by the digest that it is computed to have.
///
/// Memory: the nodes in which the wanted state differs from the local one, which a source cannot add to; those of earlier
/// targets, within ``Limits/retainedBytes``; and the requests in flight, each with at most
/// ``StateTransferLimits/answerBytes`` on its way.
public struct StateFetch {
    private let store: any AuthenticatedStore
    private let limits: Limits
    private var target: Target
    private var difference: StateDifference
    /// Verified nodes of earlier targets, which this one may have too.
    private var retained: [Digest: StateDifference.Verified] = [:]
    private var retainedBytes = 0
    /// The digests of those and of some that are in use again, oldest first.
    private var retainedOrder: [Digest] = []
    /// Where earlier targets had branches that were verified: this one will have most of what is below them.
    private var knownBranches: Set<SubtreePath> = []
    /// How much the store was given to stage.
    private var stagedBytes = 0

    /// What is to be asked for, the next part last.
    private var wanted: [StateDifference.Part] = []
    /// Fewer than a dozen, so they are searched one by one.
    private var inFlight: [InFlight] = []
    private var nextNumber: UInt64
    private var sources: [StateSource]
    private var hasher = MerkleHasher()
    private var isEndReported = false
    private var isStallReported = false

    /// Counts of what was done so far, over all targets.
    public private(set) var progress = Progress()

    private struct InFlight {
        let number: UInt64
        /// The place in ``sources``.
        let source: Int
        let parts: [StateDifference.Part]
        let sentAt: UInt64
        let deadline: UInt64
    }

    /// Prepares a fetch; ``advance(to:)`` begins it.
    ///
    /// - Parameters:
    ///   - target: The wanted state, by a certificate.
    ///   - store: The local state. It may go on changing; what it gets after its last checkpoint is lost in the end.
    ///   - sources: Names of those that may have the state, each once; to be asked in this order at first.
    ///   - first: The number of the first request; the next ones follow. None of them was used before, by earlier fetches
    ///     and before a restart too, or a late answer to another request would look like a wrong one: a random number
    ///     or the time serves.
    ///   - limits: How much to ask for at once and how long to wait; limits that make no sense break an invariant.
    public init(
        of target: Target,
        into store: any AuthenticatedStore,
        from sources: [Int],
        numberedFrom first: UInt64,
        limits: Limits = Limits()
    ) {
        limits.check()
        self.store = store
        self.limits = limits
        self.target = target
        nextNumber = first
        self.sources = []
        difference = StateDifference(from: store)
        for source in sources where !self.sources.contains(where: { $0.name == source }) {
            self.sources.append(StateSource(name: source))
        }
        takeUpStaged()
        begin()
    }

    // MARK: Inputs

    /// Replaces overdue sources and sends what can be sent. Called once to begin, and then whenever ``deadline`` comes.
    ///
    /// - Parameter now: Nanoseconds of a clock that does not go back; the same clock in all calls.
    public mutating func advance(to now: UInt64) -> [Effect] {
        var effects: [Effect] = []
        restartWithoutBase()
        for place in sources.indices where inFlight.contains(where: { $0.source == place && $0.deadline <= now }) {
            takeBack(from: place)
            sources[place].onTimeout()
            effects.append(.timedOut(source: sources[place].name))
        }
        settle(at: now, &effects)
        return effects
    }

    /// When to call ``advance(to:)`` next, in nanoseconds; nil when nothing is in flight.
    public var deadline: UInt64? { inFlight.map(\.deadline).min() }

    /// Takes in an answer as it was sent. Nothing is decoded for a source that owes no answer.
    public mutating func onAnswer(encoded bytes: [UInt8], from source: Int, at now: UInt64) -> [Effect] {
        guard let place = sources.firstIndex(where: { $0.name == source && $0.inFlight > 0 }) else { return [] }
        if let answer = StateAnswer(encoded: bytes) {
            return onAnswer(answer, from: source, at: now)
        }
        restartWithoutBase()
        var effects = [drop(place, for: .malformed)]
        settle(at: now, &effects)
        return effects
    }

    /// Takes in an answer. One that was not asked for, or came too late, has no effect.
    public mutating func onAnswer(_ answer: StateAnswer, from source: Int, at now: UInt64) -> [Effect] {
        var effects: [Effect] = []
        restartWithoutBase()
        let place = inFlight.firstIndex { $0.number == answer.number && sources[$0.source].name == source }
        guard let place else { return effects }
        let request = inFlight.remove(at: place)
        sources[request.source].inFlight -= 1
        switch answer.content {
        case .gone:
            sources[request.source].isGone = true
            takeBack(request)
            takeBack(from: request.source)
            effects.append(.gone(source: source))
        case .nodes(let nodes):
            let bytes = progress.bytes
            if let fault = takeIn(nodes, for: request) {
                effects.append(drop(request.source, for: fault))
            } else {
                let elapsed = now > request.sentAt ? now - request.sentAt : 0
                sources[request.source].onAnswer(after: elapsed, bytes: progress.bytes - bytes)
            }
        }
        settle(at: now, &effects)
        return effects
    }

    /// Adds a source, or takes one back in that was removed or had no such checkpoint. One that was accused stays out.
    public mutating func addSource(_ source: Int, at now: UInt64) -> [Effect] {
        var effects: [Effect] = []
        restartWithoutBase()
        if let place = sources.firstIndex(where: { $0.name == source }) {
            sources[place].isAway = false
            sources[place].isGone = false
        } else {
            sources.append(StateSource(name: source))
        }
        settle(at: now, &effects)
        return effects
    }

    /// Asks a source no more, since its link is gone for instance; what it was asked for, others are asked.
    public mutating func removeSource(_ source: Int, at now: UInt64) -> [Effect] {
        var effects: [Effect] = []
        restartWithoutBase()
        if let place = sources.firstIndex(where: { $0.name == source }) {
            sources[place].isAway = true
            takeBack(from: place)
        }
        settle(at: now, &effects)
        return effects
    }

    /// Goes on with another state, a newer one as a rule. What was verified is not fetched again where the new state has
    /// it too; answers still on their way are lost.
    public mutating func retarget(to target: Target, at now: UInt64) -> [Effect] {
        var effects: [Effect] = []
        self.target = target
        for place in sources.indices {
            sources[place].isGone = false
        }
        restart()
        settle(at: now, &effects)
        return effects
    }

    /// How many sources may still have the state: none of them sent something wrong, said that it is gone, or was removed.
    public var usableSources: Int { sources.count { $0.isUsable } }

    /// Whether all that differs was fetched and verified.
    public var isComplete: Bool { wanted.isEmpty && inFlight.isEmpty }

    /// Has the store begin to make the fetched state its own, with a checkpoint of the target's number, when ``isComplete``: the caller
    /// goes on with ``AuthenticatedStore/advanceInstall(keys:bytes:)``.
    ///
    /// Nothing is hashed or written for that, but each entry that differs is gone through. The fetch is over then.
    public mutating func beginInstall() -> Installation {
        if let begun = store.lastCheckpointBegun, begun >= target.checkpoint { return .overtaken }
        restartWithoutBase()
        guard isComplete else { return .incomplete }
        let changes = difference.changes()
        guard difference.hasBase else { return .incomplete }
        store.beginInstall(changes, onto: difference.base, asCheckpoint: target.checkpoint, root: target.root)
        return .begun(changes: changes.count)
    }

    private mutating func drop(_ place: Int, for fault: Fault) -> Effect {
        sources[place].isDropped = true
        takeBack(from: place)
        return .accuse(source: sources[place].name, fault)
    }

    // MARK: Parts

    /// Starts anew when the local checkpoint that the fetch compares with was dropped meanwhile.
    private mutating func restartWithoutBase() {
        if !difference.hasBase {
            restart()
        }
    }

    private mutating func restart() {
        retain(difference.verified)
        inFlight = []
        wanted = []
        for place in sources.indices {
            sources[place].inFlight = 0
        }
        difference = StateDifference(from: store)
        begin()
    }

    /// Keeps verified nodes for the next target, at the expense of the oldest of earlier ones.
    private mutating func retain(_ nodes: [StateDifference.Verified]) {
        retainedOrder.removeAll { retained[$0] == nil }
        for verified in nodes where retained.updateValue(verified, forKey: verified.digest) == nil {
            retainedOrder.append(verified.digest)
            retainedBytes += verified.node.encodedSize
        }
        var dropped = 0
        while retainedBytes > limits.retainedBytes {
            guard let verified = retained.removeValue(forKey: retainedOrder[dropped]) else {
                invariantViolated("retained node is not in the order of their ages")
            }
            retainedBytes -= verified.node.encodedSize
            dropped += 1
        }
        retainedOrder.removeFirst(dropped)
        knownBranches = Set(retained.values.lazy.compactMap(\.branchPath))
    }

    /// Keeps what an earlier process has staged as if it were of an earlier target.
    private mutating func takeUpStaged() {
        let most = limits.retainedBytes
        var (bytes, nodes) = (0, [StateDifference.Verified]())
        store.visitStaged { part in
            bytes += part.count
            nodes += StateDifference.Verified.staged(in: part, &hasher) ?? []
            return bytes < most ? .more : .stop
        }
        stagedBytes = bytes
        retain(nodes)
    }

    private mutating func stage(_ nodes: [StateDifference.Verified]) {
        guard !nodes.isEmpty, stagedBytes < limits.retainedBytes else { return }
        var part: [UInt8] = []
        for node in nodes { node.append(to: &part) }
        stagedBytes += part.count
        store.stage(part)
    }

    private mutating func begin() {
        isEndReported = false
        if let root = difference.start(at: target.root) {
            want(root)
        }
    }

    /// Notes that a part is to be fetched, or goes on below it at once where its node is known.
    private mutating func want(_ part: StateDifference.Part) {
        var open = [part]
        while var part = open.popLast() {
            if case .same = part.local { continue }
            if !retained.isEmpty, let verified = retained.removeValue(forKey: part.digest) {
                retainedBytes -= verified.node.encodedSize
                progress.reusedNodes += 1
                open.append(contentsOf: difference.take(verified.node, for: part).reversed())
            } else {
                if knownBranches.contains(part.path) {
                    part.isWhole = false
                }
                wanted.append(part)
            }
        }
    }

    private var isTrusting: Bool {
        #if DEBUG
            limits.trustsSources
        #else
            false
        #endif
    }

    /// Verifies the nodes of an answer and takes in those that are right, up to the first that is not.
    ///
    /// - Returns: What is wrong with the answer; nil when it is as a correct source sends it.
    private mutating func takeIn(_ nodes: [StateNode], for request: InFlight) -> Fault? {
        var open = Array(request.parts.reversed())
        var size = 0
        var fault: Fault?
        var fetched: [StateDifference.Verified] = []
        for node in nodes {
            guard let part = open.last else {
                fault = .tooLong
                break
            }
            guard hasher.digest(of: node) == part.digest || isTrusting else {
                fault = .wrongNode
                break
            }
            open.removeLast()
            size += node.encodedSize
            progress.nodes += 1
            fetched.append(StateDifference.Verified(node, of: part))
            let below = difference.take(node, for: part).reversed()
            if part.isWhole {
                open.append(contentsOf: below)
            } else {
                for part in below {
                    want(part)
                }
            }
        }
        progress.bytes += UInt64(size)
        stage(fetched)
        // A correct source ends an answer early only when it is full; a drop at a time would take forever.
        if fault == nil, !open.isEmpty, size < limits.answerBudget, nodes.count < StateTransferLimits.answerNodes {
            fault = .tooShort
        }
        for part in open {
            want(part)
        }
        return fault
    }

    private mutating func takeBack(_ request: InFlight) {
        for part in request.parts.reversed() {
            want(part)
        }
    }

    private mutating func takeBack(from place: Int) {
        for request in inFlight where request.source == place {
            takeBack(request)
        }
        inFlight.removeAll { $0.source == place }
        sources[place].inFlight = 0
    }

    // MARK: Requests

    /// Sends what can be sent, and says when there is nothing left to do or nobody left to ask.
    private mutating func settle(at now: UInt64, _ effects: inout [Effect]) {
        while !wanted.isEmpty, inFlight.count < limits.requestsInFlight, let place = bestSource() {
            effects.append(send(to: place, at: now))
        }
        let isStalled = !wanted.isEmpty && inFlight.isEmpty
        if isStalled, !isStallReported {
            effects.append(.stalled)
        }
        isStallReported = isStalled
        if isComplete, !isEndReported {
            isEndReported = true
            effects.append(.complete)
        }
    }

    private mutating func send(to place: Int, at now: UInt64) -> Effect {
        // An even share for each request that may still go out, to this source: the last one takes all that is left, so that what is
        // below it is not asked for piece by piece.
        let free = min(limits.requestsInFlight - inFlight.count, limits.requestsPerSource - sources[place].inFlight)
        let count = min(limits.pathsPerRequest, (wanted.count + free - 1) / free)
        let parts = Array(wanted.suffix(count).reversed())
        wanted.removeLast(count)
        let request = StateRequest(
            number: nextNumber,
            checkpoint: target.checkpoint,
            budget: limits.answerBudget,
            subtrees: parts.map { StateRequest.Subtree($0.path, isWhole: $0.isWhole) }
        )
        guard let request else { invariantViolated("request beyond its own limits") }
        let wait = sources[place].patience(limits.answerTimeout)
        let (deadline, isTooLate) = now.addingReportingOverflow(wait)
        inFlight.append(
            InFlight(
                number: nextNumber,
                source: place,
                parts: parts,
                sentAt: now,
                deadline: isTooLate ? .max : deadline
            )
        )
        sources[place].inFlight += 1
        nextNumber &+= 1
        progress.requests += 1
        return .send(request, to: sources[place].name)
    }

    /// The source that would answer first, by what is known, or nil when it is best to wait until that one has time.
    private func bestSource() -> Int? {
        var best: Int?
        for place in sources.indices where sources[place].isUsable {
            if best.map({ sources[place].rank < sources[$0].rank }) ?? true {
                best = place
            }
        }
        return best.flatMap { sources[$0].inFlight < limits.requestsPerSource ? $0 : nil }
    }
}
