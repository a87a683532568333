import Cryptography
import Invariants

/// A replica's part in state transfer: asks peers for the state of a stable checkpoint, and answers them. Its owner sends the messages
/// and says what time it is.
public final class StateTransfer {
    /// What the owner has to do next.
    public enum Step: Sendable {
        /// Send this encoded ``StateRequest`` to a peer.
        case ask([UInt8], of: Int)
        /// Send this encoded ``StateAnswer`` to a peer.
        case answer([UInt8], to: Int)
        /// The peer sent what no correct replica sends.
        case accuse(Int, StateFetch.Fault)
        /// The store begins to take in what was fetched: what was written to it since its last finished checkpoint is gone, and it has
        /// no state that can be read until it is ``installed(_:)``.
        case installing
        /// The store has the state of this checkpoint now.
        case installed(UInt64)
    }

    private let store: any AuthenticatedStore
    private let peers: [Int]
    private let limits: StateFetch.Limits
    private var fetch: StateFetch?
    private var target: StateFetch.Target?
    /// A later state that the owner wants by now: the fetch under way goes on as long as it can, and this one comes after it.
    private var later: StateFetch.Target?
    /// Until when one source is enough to go on with a fetch, though a later state is wanted.
    private var patienceEnd: UInt64 = 0
    /// What peers fetch from here.
    private var holds = CheckpointHolds()
    private var pace: ServingPace
    /// Questions that came before the next answer may be given, oldest first: of each peer as many as a fetch has in flight.
    private var waiting: [(request: StateRequest, peer: Int)] = []
    /// The last checkpoint that the owner needs itself.
    private var needed: UInt64 = 0
    /// When a fetch that found nobody to ask begins again.
    private var retry: UInt64?
    /// How many bytes of values the last slice of an install wrote.
    private var sliceBytes: UInt64 = 0
    /// Until when the next slice of an install waits; nil when it need not.
    private var pauseEnd: UInt64?
    /// When the last install ended.
    private var lastInstall: UInt64?

    /// Of fetches that are over.
    private var earlierBytes: UInt64 = 0

    /// How many bytes of state were fetched and verified so far.
    public var bytesFetched: UInt64 { earlierBytes &+ (fetch?.progress.bytes ?? 0) }

    /// Whether everything was fetched: the owner calls ``install(keys:bytes:now:)`` as soon as nothing else works on the state.
    public private(set) var isComplete = false

    /// Whether the store is taking in what was fetched: the owner calls ``install(keys:bytes:now:)`` again and again, and until then neither reads
    /// entries of the store nor writes them.
    public private(set) var isInstalling = false

    /// How long to wait before the same peers are asked again, when none of them had the state.
    private static let retryNanoseconds: UInt64 = 500_000_000

    /// How long few sources are enough to go on with a fetch, though a later state is wanted: they may all be faulty, and drip.
    private static let patienceNanoseconds: UInt64 = 4_000_000_000

    private static let pausesPerSlice: UInt64 = 3

    /// For how long after an install the next ones belong to the same catching up.
    private static let installSpellNanoseconds: UInt64 = 600_000_000_000

    /// Makes the part of a replica that fetches nothing yet.
    ///
    /// - Parameters:
    ///   - store: The replica's state.
    ///   - peers: The numbers of the other replicas.
    ///   - limits: How much to ask for at once and how long to wait.
    ///   - servingRate: How fast all peers together are served at most, in bytes per second, at least 1; nil for as fast as they ask.
    ///     While the owner executes operations it is a thirty-second, and doubles with each later checkpoint that is asked for.
    public init(
        store: any AuthenticatedStore,
        peers: [Int],
        limits: StateFetch.Limits = StateFetch.Limits(),
        servingRate: UInt64? = nil
    ) {
        invariant(servingRate != 0, "peers that ask for state would never be served")
        pace = ServingPace(rate: servingRate)
        self.store = store
        self.peers = peers
        self.limits = limits
    }

    /// When ``timePassed(now:)`` wants to be called, in nanoseconds of the owner's monotonic clock; nil for never.
    public var deadline: UInt64? {
        let patience = later != nil && !isComplete && hasFewSources ? patienceEnd : nil
        let answer = waiting.isEmpty ? nil : pace.next
        let slice = isInstalling ? pauseEnd : nil
        return [fetch?.deadline, retry, holds.deadline, patience, answer, slice].compactMap { $0 }.min()
    }

    /// Fetches the state of a checkpoint.
    ///
    /// A fetch that is under way is finished and installed first, as long as more peers serve it than may be faulty, or for some seconds:
    /// what is left then is small, while the difference to a target that moves on with each checkpoint might never be fetched.
    ///
    /// - Parameters:
    ///   - checkpoint: The number of the checkpoint.
    ///   - root: The certified root of its state.
    ///   - now: The owner's monotonic clock, in nanoseconds.
    ///   - first: The number of the first question, larger than any before: no answer to an earlier fetch, or to an earlier process, is
    ///     taken for one to this. The time of day does.
    public func begin(_ checkpoint: UInt64, root: Digest, now: UInt64, numberedFrom first: UInt64) -> [Step] {
        let wanted = StateFetch.Target(checkpoint: checkpoint, root: root)
        // What is being installed is whole soon. If that is not enough, the owner says so then.
        if isInstalling { return [] }
        if fetch == nil {
            start(wanted, now)
            fetch = StateFetch(of: wanted, into: store, from: peers, numberedFrom: first, limits: limits)
            return steps(fetch?.advance(to: now), now)
        }
        if let target, target.checkpoint < checkpoint { later = wanted }
        return goOn(now)
    }

    private func start(_ wanted: StateFetch.Target, _ now: UInt64) {
        target = wanted
        later = nil
        isComplete = false
        retry = nil
        let (end, overflow) = now.addingReportingOverflow(Self.patienceNanoseconds)
        patienceEnd = overflow ? .max : end
    }

    /// Whether all that serve the fetch under way may be faulty.
    private var hasFewSources: Bool { (fetch?.usableSources ?? 0) <= peers.count / 3 }

    /// Leaves the target for a later one when too few serve it.
    private func goOn(_ now: UInt64) -> [Step] {
        guard let later, !isComplete, hasFewSources, let usable = fetch?.usableSources else { return [] }
        if usable > 0, now < patienceEnd { return [] }
        start(later, now)
        return steps(fetch?.retarget(to: later, at: now), now)
    }

    /// ``deadline`` has come.
    public func timePassed(now: UInt64) -> [Step] {
        var effects: [StateFetch.Effect] = []
        if let due = retry, due <= now {
            retry = nil
            for peer in peers {
                effects += fetch?.addSource(peer, at: now) ?? []
            }
        }
        effects += fetch?.advance(to: now) ?? []
        if holds.expire(now: now) { store.heldCheckpoints = holds.checkpoints }
        return serve(now) + steps(effects, now)
    }

    /// A peer has answered.
    public func onAnswer(_ body: [UInt8], from peer: Int, now: UInt64) -> [Step] {
        steps(fetch?.onAnswer(encoded: body, from: peer, at: now), now)
    }

    /// A peer asks for parts of a state.
    public func onRequest(_ body: [UInt8], from peer: Int, now: UInt64) -> [Step] {
        guard let request = StateRequest(encoded: body) else { return [] }
        let isHere = peers.contains(peer) && store.root(ofCheckpoint: request.checkpoint) != nil
        if isHere, holds.note(request.checkpoint, of: peer, now: now) { store.heldCheckpoints = holds.checkpoints }
        guard waiting.count(where: { $0.peer == peer }) < limits.requestsPerSource else { return [] }
        waiting.append((request, peer))
        return serve(now)
    }

    /// A peer has signed a checkpoint, so it has that state: what was kept for it to fetch is kept no longer.
    public func onCheckpoint(_ checkpoint: UInt64, of peer: Int) {
        if holds.end(upTo: checkpoint, of: peer) { store.heldCheckpoints = holds.checkpoints }
    }

    /// The owner executed operations, or sees the others order some: for a moment, what peers are served, and what is installed, is time
    /// that the service lacks.
    public func noteUse(now: UInt64) {
        pace.used(now: now)
    }

    /// Answers what waits, as fast as the rate allows: each answer puts the next one off by the time that it takes at that rate.
    private func serve(_ now: UInt64) -> [Step] {
        var answers: [Step] = []
        while pace.next <= now, !waiting.isEmpty {
            let (request, peer) = waiting.removeFirst()
            let answer = store.answer(to: request).encoded
            answers.append(.answer(answer, to: peer))
            // One that is not here is a number that anybody can make up.
            let checkpoint = store.root(ofCheckpoint: request.checkpoint).map { _ in request.checkpoint }
            pace.answered(bytes: answer.count, of: checkpoint, now: now)
        }
        return answers
    }

    /// The owner needs no checkpoint before this one any more. The one that it needed before stays too: a peer that has just learnt of it
    /// may be about to ask for it.
    public func release(before checkpoint: UInt64) {
        // A state that is being installed is of a checkpoint that may be older than what is needed by now.
        if !isInstalling { store.releaseCheckpoints(before: needed) }
        needed = max(needed, checkpoint)
    }

    /// Puts what was fetched into the store, or a part of it. When the owner wants a later state by then, it names it again.
    ///
    /// - Parameters:
    ///   - keys: How many steps to take, at least 1; each entry that differs takes three.
    ///   - bytes: After how many bytes of values that are hashed to end.
    ///   - now: The owner's monotonic clock, in nanoseconds.
    public func install(keys: Int, bytes: Int, now: UInt64) -> [Step] {
        if isInstalling { return goOnInstalling(keys, bytes, now) }
        guard let outcome = fetch?.beginInstall() else { return [] }
        isComplete = false
        switch outcome {
        case .incomplete:
            return steps(fetch?.advance(to: now), now)
        case .begun:
            end()
            later = nil
            isInstalling = true
            return [.installing] + goOnInstalling(keys, bytes, now)
        case .overtaken:
            if let later {
                start(later, now)
                return steps(fetch?.retarget(to: later, at: now), now)
            }
            end()
            store.discardStaged()
            return []
        }
    }

    private func goOnInstalling(_ keys: Int, _ bytes: Int, _ now: UInt64) -> [Step] {
        pauseEnd = nil
        let before = store.installedBytes
        guard let target, store.advanceInstall(keys: keys, bytes: bytes) else {
            sliceBytes = UInt64(store.installedBytes - before)
            return []
        }
        isInstalling = false
        lastInstall = now
        store.discardStaged()
        return [.installed(target.checkpoint)]
    }

    /// The owner has called ``install(keys:bytes:now:)``, which took from `start` to `end`: while the service is in use, the next slice has
    /// to wait three times as long, so that what is installed has a quarter of the time of one processor at most; and no more bytes are
    /// written than at a quarter of the rate at which state is served, since a store on disk writes them several times over, beside this.
    ///
    /// Not so when another state was installed a while ago: then this is what the service has changed since, which has to be here before
    /// it changes again, and is less.
    public func sliceEnded(from start: UInt64, to end: UInt64) {
        guard isInstalling, pace.isInUse(now: end) else { return }
        if let lastInstall, end - min(lastInstall, end) < Self.installSpellNanoseconds { return }
        let (pause, isTooLong) = (end - min(start, end)).multipliedReportingOverflow(by: Self.pausesPerSlice)
        let (due, isNever) = end.addingReportingOverflow(max(pause, pace.installNanoseconds(bytes: sliceBytes)))
        pauseEnd = isTooLong || isNever ? .max : due
    }

    /// Whether the next slice of what is being installed is to come now.
    public func isSliceDue(now: UInt64) -> Bool { isInstalling && pauseEnd.map { $0 <= now } ?? true }

    private func end() {
        earlierBytes = bytesFetched
        fetch = nil
    }

    private func steps(_ effects: [StateFetch.Effect]?, _ now: UInt64) -> [Step] {
        var steps: [Step] = []
        for effect in effects ?? [] {
            switch effect {
            case .send(let request, let source):
                steps.append(.ask(request.encoded, of: source))
            case .accuse(let source, let fault):
                steps.append(.accuse(source, fault))
            case .timedOut, .gone:
                break
            case .stalled:
                let (due, overflow) = now.addingReportingOverflow(Self.retryNanoseconds)
                retry = overflow ? .max : due
            case .complete:
                isComplete = true
            }
        }
        return steps + goOn(now)
    }
}
