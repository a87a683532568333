import Agreement
import Cryptography
import Messages
import NIOCore
import NIOPosix
import Synchronization

/// Checks the signatures of requests on threads beside the replica's own, so that agreement goes on meanwhile (Aardvark, section 4,
/// which gives them a processor of their own).
///
/// Proposed batches go before single requests, in parts, so that all threads share the largest one. What waits is bounded by whoever
/// hands in: see ``ReplicaCore/takesRequests`` and ``ReplicaCore/takesMessages``.
final class SignatureWorkers: Sendable {
    /// What came of a check, as the engine is to be told.
    enum Verdict: Sendable {
        case request(Verified<Request>?, of: RequestCheck, from: RequestSource)
        case batch(BatchPlace, isValid: Bool)
    }

    /// What one thread takes at a time.
    private enum Work: Sendable {
        case requests([(check: RequestCheck, source: RequestSource)])
        case part([RequestCheck], of: BatchUnderCheck)
    }

    private struct State {
        var batches: [Work] = []
        var requests: [Work] = []
        var verdicts: [Verdict] = []

        mutating func next() -> Work? {
            if !batches.isEmpty { return batches.removeFirst() }
            return requests.isEmpty ? nil : requests.removeFirst()
        }
    }

    /// How many signatures a thread checks at a time: half a millisecond of work.
    private static let checksPerWork = 12

    /// What one check is taken to cost, in nanoseconds: whoever caused it is charged with it as if it were done on the replica's thread.
    static let checkNanoseconds = Int64(RobustnessLimits.Monitoring().requestWork)

    /// The number of threads.
    let threads: Int
    private let cluster: ClusterID
    private let pool: NIOThreadPool
    private let notify: @Sendable () -> Void
    private let state = Mutex(State())

    /// Starts the threads.
    ///
    /// - Parameters:
    ///   - threads: How many, at least 1.
    ///   - cluster: The cluster that signatures are bound to.
    ///   - notify: Called on one of the threads when there are verdicts to ``take()`` after there were none.
    init(threads: Int, cluster: ClusterID, notify: @escaping @Sendable () -> Void) {
        self.threads = threads
        self.cluster = cluster
        self.notify = notify
        pool = NIOThreadPool(numberOfThreads: threads)
        pool.start()
    }

    /// The number of threads that is best for a replica: the processors that are left when each replica on the machine has one for
    /// agreement; 0 where signatures are best checked between the other work.
    static func recommended(processors: Int, replicasOnMachine: Int) -> Int {
        min(max(processors / max(replicasOnMachine, 1) - 1, 0), 16)
    }

    /// Has requests checked, each by itself.
    func check(_ requests: [(check: RequestCheck, source: RequestSource)]) {
        let work = requests.parts(of: Self.checksPerWork).map { Work.requests($0) }
        state.withLock { $0.requests += work }
        start(work.count)
    }

    /// Has the requests of a proposed batch checked, at least one.
    func check(_ checks: [RequestCheck], of place: BatchPlace) {
        let parts = checks.parts(of: Self.checksPerWork)
        let batch = BatchUnderCheck(place, parts: parts.count)
        let work = parts.map { Work.part($0, of: batch) }
        state.withLock { $0.batches += work }
        start(work.count)
    }

    private func start(_ count: Int) {
        for _ in 0..<count {
            pool.submit { [self] item in
                if item == .active { doNext() }
            }
        }
    }

    /// Takes out the verdicts that are there.
    func take() -> [Verdict] {
        state.withLock { state in
            defer { state.verdicts = [] }
            return state.verdicts
        }
    }

    /// Ends the threads; what waits is not checked any more.
    func stop() async {
        try? await pool.shutdownGracefully()
    }

    // MARK: On the threads

    private func doNext() {
        guard let work = state.withLock({ $0.next() }) else { return }
        let verdicts = verdicts(of: work)
        guard !verdicts.isEmpty else { return }
        let isFirst = state.withLock { state in
            defer { state.verdicts += verdicts }
            return state.verdicts.isEmpty
        }
        if isFirst { notify() }
    }

    private func verdicts(of work: Work) -> [Verdict] {
        switch work {
        case .requests(let requests):
            return requests.map { .request($0.check.verifiedBySignature(in: cluster), of: $0.check, from: $0.source) }
        case .part(let checks, let batch):
            let isValid = checks.allSatisfy { $0.verifiedBySignature(in: cluster) != nil }
            return batch.finishPart(isValid: isValid).map { [.batch(batch.place, isValid: $0)] } ?? []
        }
    }
}

/// A batch of which the parts are checked on several threads.
private final class BatchUnderCheck: Sendable {
    let place: BatchPlace
    private let state: Mutex<(partsLeft: Int, isValid: Bool)>

    init(_ place: BatchPlace, parts: Int) {
        self.place = place
        state = Mutex((parts, true))
    }

    /// Notes that a part was checked.
    ///
    /// - Returns: Whether all of the batch is valid, when this was its last part.
    func finishPart(isValid: Bool) -> Bool? {
        state.withLock { state in
            state.partsLeft -= 1
            state.isValid = state.isValid && isValid
            return state.partsLeft == 0 ? state.isValid : nil
        }
    }
}

extension Array {
    /// The elements in their order, in parts of at most so many.
    fileprivate func parts(of count: Int) -> [[Element]] {
        stride(from: 0, to: self.count, by: count).map { Array(self[$0..<Swift.min($0 + count, self.count)]) }
    }
}
