import Cryptography

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
        /// The store has the state of this checkpoint now.
        case installed(UInt64)
    }

    private let store: any AuthenticatedStore
    private let peers: [Int]
    private let limits: StateFetch.Limits
    private var fetch: StateFetch?
    private var target: UInt64?
    /// When a fetch that found nobody to ask begins again.
    private var retry: UInt64?

    /// Whether everything was fetched: the owner calls ``install(now:)`` as soon as nothing else works on the state.
    public private(set) var isComplete = false

    /// How long to wait before the same peers are asked again, when none of them had the state.
    private static let retryNanoseconds: UInt64 = 500_000_000

    /// Makes the part of a replica that fetches nothing yet.
    ///
    /// - Parameters:
    ///   - store: The replica's state.
    ///   - peers: The numbers of the other replicas.
    ///   - limits: How much to ask for at once and how long to wait.
    public init(store: any AuthenticatedStore, peers: [Int], limits: StateFetch.Limits = StateFetch.Limits()) {
        self.store = store
        self.peers = peers
        self.limits = limits
    }

    /// When ``timePassed(now:)`` wants to be called, in nanoseconds of the owner's monotonic clock; nil for never.
    public var deadline: UInt64? {
        guard let due = fetch?.deadline, let retry else { return fetch?.deadline ?? retry }
        return min(due, retry)
    }

    /// Fetches the state of a checkpoint; a fetch that is under way goes on with the new target.
    ///
    /// - Parameters:
    ///   - checkpoint: The number of the checkpoint.
    ///   - root: The certified root of its state.
    ///   - now: The owner's monotonic clock, in nanoseconds.
    ///   - first: The number of the first question, larger than any before: no answer to an earlier fetch, or to an earlier process, is
    ///     taken for one to this. The time of day does.
    public func begin(_ checkpoint: UInt64, root: Digest, now: UInt64, numberedFrom first: UInt64) -> [Step] {
        let wanted = StateFetch.Target(checkpoint: checkpoint, root: root)
        target = checkpoint
        isComplete = false
        if fetch == nil {
            fetch = StateFetch(of: wanted, into: store, from: peers, numberedFrom: first, limits: limits)
            return steps(fetch?.advance(to: now), now)
        }
        return steps(fetch?.retarget(to: wanted, at: now), now)
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
        return steps(effects, now)
    }

    /// A peer has answered.
    public func onAnswer(_ body: [UInt8], from peer: Int, now: UInt64) -> [Step] {
        steps(fetch?.onAnswer(encoded: body, from: peer, at: now), now)
    }

    /// A peer asks for parts of a state.
    public func onRequest(_ body: [UInt8], from peer: Int) -> [Step] {
        guard let request = StateRequest(encoded: body) else { return [] }
        return [.answer(store.answer(to: request).encoded, to: peer)]
    }

    /// Puts what was fetched into the store.
    public func install(now: UInt64) -> [Step] {
        isComplete = false
        guard let outcome = fetch?.install(), let target else { return [] }
        if case .incomplete = outcome { return steps(fetch?.advance(to: now), now) }
        fetch = nil
        retry = nil
        if case .installed = outcome { return [.installed(target)] }
        return []
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
        return steps
    }
}
