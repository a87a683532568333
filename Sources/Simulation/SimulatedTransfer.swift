import Agreement
import Cryptography
import Messages
import StateStore

/// A replica's part in state transfer: asks peers for the state of a stable checkpoint, and answers them. As the real replica's shell
/// does it, but the installation waits for the end of an execution that is under way.
final class SimulatedTransfer {
    /// What the owner has to do next.
    enum Step {
        /// Send this to a peer.
        case send(PeerMessage, to: ReplicaID)
        /// The peer sent what no correct replica sends.
        case accuse(ReplicaID, StateFetch.Fault)
        /// The store has the state of this checkpoint now.
        case installed(SequenceNumber)
    }

    private let store: any AuthenticatedStore
    private let peers: [ReplicaID]
    private var fetch: StateFetch?
    private var target: SequenceNumber?
    /// When a fetch that found nobody to ask begins again.
    private var retry: Instant?

    /// Everything was fetched; the owner installs it when it executes nothing.
    private(set) var isComplete = false

    /// How long to wait before the same peers are asked again, when none of them had the state.
    private static let retryNanoseconds: UInt64 = 500_000_000

    init(store: any AuthenticatedStore, peers: [ReplicaID]) {
        self.store = store
        self.peers = peers
    }

    /// When ``timePassed(now:)`` wants to be called; nil for never.
    var deadline: Instant? {
        let due = fetch?.deadline.map { Instant(nanoseconds: $0) }
        guard let due, let retry else { return due ?? retry }
        return min(due, retry)
    }

    /// Fetches the state of a checkpoint; one that is under way goes on with the new target.
    func begin(_ sequence: SequenceNumber, root: Digest, now reading: ClockReading) -> [Step] {
        let now = reading.monotonic
        let wanted = StateFetch.Target(checkpoint: sequence.rawValue, root: root)
        target = sequence
        if fetch == nil {
            // Numbered from the time, so that no answer to an earlier fetch, or to an earlier process, is taken for one to this.
            fetch = StateFetch(
                of: wanted,
                into: store,
                from: peers.map(\.index),
                numberedFrom: reading.wall.nanoseconds
            )
            return steps(fetch?.advance(to: now.nanoseconds), now)
        }
        return steps(fetch?.retarget(to: wanted, at: now.nanoseconds), now)
    }

    /// ``deadline`` has come.
    func timePassed(now: Instant) -> [Step] {
        var effects: [StateFetch.Effect] = []
        if let due = retry, due <= now {
            retry = nil
            for peer in peers {
                effects += fetch?.addSource(peer.index, at: now.nanoseconds) ?? []
            }
        }
        effects += fetch?.advance(to: now.nanoseconds) ?? []
        return steps(effects, now)
    }

    /// A peer has answered.
    func onAnswer(_ body: [UInt8], from peer: ReplicaID, now: Instant) -> [Step] {
        steps(fetch?.onAnswer(encoded: body, from: peer.index, at: now.nanoseconds), now)
    }

    /// A peer asks for parts of a state.
    func onRequest(_ body: [UInt8], from peer: ReplicaID) -> [Step] {
        guard let request = StateRequest(encoded: body) else { return [] }
        return [.send(.stateAnswer(store.answer(to: request).encoded), to: peer)]
    }

    private func steps(_ effects: [StateFetch.Effect]?, _ now: Instant) -> [Step] {
        var steps: [Step] = []
        var left = effects ?? []
        while !left.isEmpty {
            switch left.removeFirst() {
            case .send(let request, let source):
                steps.append(.send(.stateRequest(request.encoded), to: ReplicaID(UInt8(source))))
            case .accuse(let source, let fault):
                steps.append(.accuse(ReplicaID(UInt8(source)), fault))
            case .timedOut, .gone:
                break
            case .stalled:
                retry = now.advanced(byNanoseconds: Self.retryNanoseconds)
            case .complete:
                isComplete = true
            }
        }
        return steps
    }

    /// Puts what was fetched into the store.
    func install(now: Instant) -> [Step] {
        isComplete = false
        guard let outcome = fetch?.install(), let sequence = target else { return [] }
        switch outcome {
        case .installed:
            fetch = nil
            retry = nil
            return [.installed(sequence)]
        case .overtaken:
            fetch = nil
            retry = nil
            return []
        case .incomplete:
            return steps(fetch?.advance(to: now.nanoseconds), now)
        }
    }
}
