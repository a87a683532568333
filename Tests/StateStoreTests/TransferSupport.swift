import Cryptography
import StateStore
import TestSupport
import Testing

/// A random state and the store that holds it, changed together.
struct Twin {
    let store: InMemoryStateStore
    var model = Model()

    init(checkpointsKept: Int = 4) {
        store = InMemoryStateStore(checkpointsKept: checkpointsKept)
    }

    mutating func set(_ key: [UInt8], to value: [UInt8]?, in keyspace: Keyspace = .service) {
        if let value {
            store.put(value, at: key, in: keyspace)
        } else {
            store.delete(key, in: keyspace)
        }
        model.set(key, to: value, in: keyspace)
    }

    /// Writes and deletes out of `keys` keys.
    mutating func change(_ count: Int, keys: Int, _ random: inout SplitMix64) {
        for _ in 0..<count {
            let number = random.below(keys)
            let value = random.below(3) == 0 ? nil : random.bytes(random.below(30))
            set(Twin.key(number), to: value, in: number % 5 == 0 ? .system : .service)
        }
    }

    mutating func fill(_ numbers: Range<Int>, _ random: inout SplitMix64) {
        for number in numbers {
            set(Twin.key(number), to: random.bytes(8), in: number % 5 == 0 ? .system : .service)
        }
    }

    static func key(_ number: Int) -> [UInt8] {
        [UInt8(truncatingIfNeeded: number), UInt8(truncatingIfNeeded: number >> 8), 7]
    }

    /// The store has exactly the model's entries, now and for the checkpoint.
    func expectAgreement(atCheckpoint number: UInt64) {
        for keyspace in Keyspace.allCases {
            #expect(store.entries(in: keyspace) == model.entries(.all, in: keyspace))
            #expect(store.count(in: keyspace) == model.count(in: keyspace))
        }
        #expect(store.root(ofCheckpoint: number) == model.root)
        #expect(store.lastCheckpoint == number)
        #expect(store.walk(checkpoint: number).entries == model.walked)
    }

    /// The store goes on as one that had the state by executing, and holds no node too many or too few.
    mutating func expectSoundness(after number: UInt64, _ random: inout SplitMix64) {
        for next in (number + 1)...(number + 3) {
            change(60, keys: 500, &random)
            #expect(store.checkpoint(next) == model.root)
        }
        store.releaseCheckpoints(before: number + 3)
        let walk = store.walk(checkpoint: number + 3)
        #expect(walk.isSound)
        #expect(walk.entries == model.walked)
        #expect(store.heldNodes == walk.nodes)
    }
}

extension InMemoryStateStore {
    /// The digests of all nodes of a checkpoint's tree.
    func digests(ofCheckpoint number: UInt64) -> Set<Digest> {
        var digests: Set<Digest> = []
        var open: [[UInt8]] = [[]]
        while let steps = open.popLast() {
            guard let path = SubtreePath(steps), let node = node(at: path, inCheckpoint: number) else { continue }
            digests.insert(node.digest)
            if case .branch(let branch) = node {
                open += (UInt8(0)..<16).filter { branch.child(at: $0) != nil }.map { steps + [$0] }
            }
        }
        return digests
    }
}

/// A fetch and its sources in virtual time. All messages go through their encodings.
struct Transfer {
    /// What a source does with a request: the bytes of its answer and the nanoseconds until it is there, or silence.
    typealias Source = (StateRequest) -> (answer: [UInt8], delay: UInt64)?

    struct Delivery {
        let time: UInt64
        let source: Int
        let bytes: [UInt8]
        let request: UInt64
    }

    var fetch: StateFetch
    let store: InMemoryStateStore
    var sources: [Source]
    let limits: StateFetch.Limits
    var now: UInt64 = 1_000_000
    var deliveries: [Delivery] = []
    var effects: [StateFetch.Effect] = []
    var requested = Array(repeating: 0, count: 16)
    /// The requests that count as in flight, with their sources.
    var open: [UInt64: Int] = [:]

    init(
        _ target: StateFetch.Target,
        into store: InMemoryStateStore,
        _ sources: [Source],
        limits: StateFetch.Limits = StateFetch.Limits()
    ) {
        self.store = store
        self.sources = sources
        self.limits = limits
        fetch = StateFetch(
            of: target,
            into: store,
            from: Array(sources.indices),
            numberedFrom: .max - 3,
            limits: limits
        )
    }

    /// Makes what was fetched the store's state, some steps at a time.
    mutating func install() -> StateFetch.Installation {
        let outcome = fetch.beginInstall()
        if case .begun = outcome {
            while !store.advanceInstall(keys: 7, bytes: 100) {}
        }
        return outcome
    }

    var accused: Set<Int> {
        Set(
            effects.compactMap { effect in
                if case .accuse(let source, _) = effect { return source }
                return nil
            }
        )
    }

    mutating func take(_ new: [StateFetch.Effect]) throws {
        effects += new
        for effect in new {
            switch effect {
            case .send(let request, let source): try send(request, to: source)
            case .timedOut(let source), .accuse(let source, _), .gone(let source):
                open = open.filter { $0.value != source }
            case .stalled, .complete: break
            }
        }
    }

    private mutating func send(_ request: StateRequest, to source: Int) throws {
        let decoded = try #require(StateRequest(encoded: request.encoded))
        #expect(decoded == request)
        #expect(request.encoded.count <= StateTransferLimits.requestBytes)
        #expect(request.subtrees.count <= limits.pathsPerRequest)
        requested[source] += 1
        open[request.number] = source
        #expect(open.count { $0.value == source } <= limits.requestsPerSource)
        #expect(open.count <= limits.requestsInFlight)
        guard let (answer, delay) = sources[source](decoded) else { return }
        #expect(answer.count <= StateTransferLimits.answerBytes)
        let place = deliveries.firstIndex { $0.time > now + delay } ?? deliveries.count
        let delivery = Delivery(time: now + delay, source: source, bytes: answer, request: request.number)
        deliveries.insert(delivery, at: place)
    }

    /// Goes on until the fetch is complete, or nothing can happen any more, or `steps` things happened.
    mutating func run(steps: Int = 100_000) throws {
        if effects.isEmpty {
            try take(fetch.advance(to: now))
        }
        for _ in 0..<steps {
            if fetch.isComplete { return }
            if let next = deliveries.first, fetch.deadline.map({ next.time < $0 }) ?? true {
                deliveries.removeFirst()
                now = next.time
                open[next.request] = nil
                try take(fetch.onAnswer(encoded: next.bytes, from: next.source, at: now))
            } else if let deadline = fetch.deadline {
                now = deadline
                try take(fetch.advance(to: now))
            } else {
                return
            }
        }
    }

    /// Loses what is on its way.
    mutating func lose() {
        deliveries = []
        open = [:]
    }

    /// An honest source with a store.
    static func honest(_ store: InMemoryStateStore, delay: UInt64 = 1000) -> Source {
        { (store.answer(to: $0).encoded, delay) }
    }

    static var silent: Source { { _ in nil } }
}
