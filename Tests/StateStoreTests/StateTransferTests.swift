import Cryptography
import TestSupport
import Testing

@testable import StateStore

/// The owner's side of a fetch: messages, retries, and when the state is installed.
struct StateTransferTests {
    private func twins() -> (local: Twin, remote: Twin, root: StateFetch.Target?) {
        var random = SplitMix64(seed: 5)
        var remote = Twin()
        remote.fill(0..<50, &random)
        let root = remote.store.checkpoint(4)
        return (Twin(), remote, StateFetch.Target(checkpoint: 4, root: root))
    }

    @Test func `A peer that has the state is asked, and the owner says when it is installed`() throws {
        let (local, remote, target) = twins()
        let wanted = try #require(target)
        let server = StateTransfer(store: remote.store, peers: [0])
        let transfer = StateTransfer(store: local.store, peers: [2])
        #expect(transfer.deadline == nil)
        var steps = transfer.begin(4, root: wanted.root, now: 1_000, numberedFrom: 77)
        var isInstalled = false
        while !steps.isEmpty {
            switch steps.removeFirst() {
            case .ask(let question, let peer):
                #expect(peer == 2)
                for case .answer(let body, let asker) in server.onRequest(question, from: 0, now: 2_000) {
                    #expect(asker == 0)
                    steps += transfer.onAnswer(body, from: 2, now: 2_000)
                }
            case .installed(let checkpoint):
                #expect(checkpoint == 4)
                isInstalled = true
            case .installing:
                #expect(!transfer.isComplete)
            case .answer, .accuse:
                Issue.record("neither was asked for")
            }
            if steps.isEmpty, transfer.isComplete {
                #expect(local.store.lastCheckpoint == nil, "nothing is installed before the owner wants it")
                steps += transfer.install(keys: 7, bytes: .max, now: 3_000)
            }
            // An entry takes three steps.
            for slice in 2...22 where transfer.isInstalling {
                #expect(local.store.lastCheckpoint == nil, "half of it is no state")
                transfer.release(before: 4)
                #expect(transfer.begin(9, root: wanted.root, now: 3_000, numberedFrom: 99).isEmpty)
                steps += transfer.install(keys: 7, bytes: .max, now: 3_000)
                #expect(transfer.isInstalling == (slice < 22))
            }
        }
        #expect(isInstalled)
        #expect(!transfer.isComplete)
        #expect(transfer.deadline == nil)
        #expect(local.store.root(ofCheckpoint: 4) == wanted.root)
    }

    @Test func `Peers without the state are asked again after a while`() throws {
        let (local, _, target) = twins()
        let wanted = try #require(target)
        let empty = StateTransfer(store: Twin().store, peers: [0])
        let transfer = StateTransfer(store: local.store, peers: [2])
        var questions = 0
        func deliver(_ steps: [StateTransfer.Step], now: UInt64) {
            for case .ask(let question, of: let peer) in steps {
                questions += 1
                for case .answer(let body, to: _) in empty.onRequest(question, from: 0, now: 2_000) {
                    deliver(transfer.onAnswer(body, from: peer, now: now), now: now)
                }
            }
        }
        deliver(transfer.begin(4, root: wanted.root, now: 1_000, numberedFrom: 1), now: 1_000)
        let first = questions
        #expect(first > 0)
        let due = try #require(transfer.deadline)
        deliver(transfer.timePassed(now: due - 1), now: due - 1)
        #expect(questions == first)
        deliver(transfer.timePassed(now: due), now: due)
        #expect(questions > first)
        #expect(!transfer.isComplete)
    }

    /// Three replicas whose state goes on to a new stable checkpoint with each message, and one that fetches.
    private final class Service {
        var twins: [Twin] = (0..<3).map { _ in Twin() }
        var servers: [StateTransfer] = []
        var stable: UInt64 = 0
        var root = Digest.zero
        var now: UInt64 = 1_000
        var random = SplitMix64(seed: 8)
        /// The servers that answer.
        var serving = 0..<3

        init(entries: Int) {
            servers = twins.map { StateTransfer(store: $0.store, peers: [9]) }
            for index in twins.indices {
                var same = SplitMix64(seed: 3)
                twins[index].fill(0..<entries, &same)
            }
            advance(writes: 0, entries: entries)
        }

        func advance(writes: Int, entries: Int) {
            stable += 128
            now += 1_000_000
            let changes = (0..<writes).map { _ in (Twin.key(random.below(entries)), random.bytes(8)) }
            for index in twins.indices {
                for (key, value) in changes { twins[index].set(key, to: value) }
                root = twins[index].store.checkpoint(stable)
                servers[index].release(before: stable)
            }
        }

        func answers(to question: [UInt8], of peer: Int) -> [[UInt8]] {
            servers[peer].onRequest(question, from: 9, now: now).compactMap { step in
                if case .answer(let body, to: 9) = step { return body }
                return nil
            }
        }
    }

    @Test func `A fetch comes to its end though the state goes on to another checkpoint with each answer`() {
        let entries = 8_000
        let service = Service(entries: entries)
        let local = Twin()
        var limits = StateFetch.Limits()
        limits.answerBudget = 16_384
        let transfer = StateTransfer(store: local.store, peers: [0, 1, 2], limits: limits)
        let first = service.stable
        var steps = transfer.begin(first, root: service.root, now: service.now, numberedFrom: 1)
        var installed: [UInt64] = []
        var questions: [Int] = [0]
        while installed.count < 3, questions.reduce(0, +) < 2_000 {
            if steps.isEmpty, transfer.isComplete || transfer.isInstalling {
                steps = transfer.install(keys: 5_000, bytes: .max, now: service.now)
                if transfer.isInstalling { continue }
            }
            guard !steps.isEmpty else { break }
            switch steps.removeFirst() {
            case .ask(let question, let peer):
                questions[questions.count - 1] += 1
                for body in service.answers(to: question, of: peer) {
                    steps += transfer.onAnswer(body, from: peer, now: service.now)
                }
                service.advance(writes: 2, entries: entries)
                steps += transfer.begin(service.stable, root: service.root, now: service.now, numberedFrom: 1)
            case .installed(let checkpoint):
                installed.append(checkpoint)
                questions.append(0)
                #expect(local.store.lastCheckpoint == checkpoint)
                steps += transfer.begin(service.stable, root: service.root, now: service.now, numberedFrom: 1)
            case .installing: break
            case .answer, .accuse: Issue.record("neither was asked for")
            }
        }
        #expect(installed.count == 3)
        #expect(installed.first == first, "the first target was fetched, not the newest of each moment")
        #expect(questions[2] < questions[0], "and what is left is a small difference: \(questions)")
    }

    @Test func `A state that peers have dropped is given up for the later one`() {
        let service = Service(entries: 50)
        let local = Twin()
        let transfer = StateTransfer(store: local.store, peers: [0, 1, 2])
        let lost = transfer.begin(service.stable, root: service.root, now: service.now, numberedFrom: 1)
        for _ in 0..<8 { service.advance(writes: 5, entries: 50) }
        #expect(transfer.begin(service.stable, root: service.root, now: service.now, numberedFrom: 1).isEmpty)
        var steps = lost
        while !steps.isEmpty {
            if case .ask(let question, let peer) = steps.removeFirst() {
                for body in service.answers(to: question, of: peer) {
                    steps += transfer.onAnswer(body, from: peer, now: service.now)
                }
            }
        }
        #expect(transfer.isComplete)
        _ = transfer.install(keys: .max, bytes: .max, now: service.now)
        #expect(local.store.lastCheckpoint == service.stable)
    }

    @Test func `When one peer alone still has a state, it is waited for some seconds and no longer`() throws {
        let service = Service(entries: 5_000)
        let local = Twin()
        var limits = StateFetch.Limits()
        limits.answerBudget = 4_096
        let transfer = StateTransfer(store: local.store, peers: [0, 1, 2], limits: limits)
        // The first answer comes; from then on the peers 1 and 2 say that the state is gone, and peer 0 nothing.
        var steps = transfer.begin(service.stable, root: service.root, now: service.now, numberedFrom: 1)
        var later: UInt64?
        while !steps.isEmpty {
            guard case .ask(let question, let peer) = steps.removeFirst() else { continue }
            let request = try #require(StateRequest(encoded: question))
            #expect(later.map { request.checkpoint < $0 } ?? true, "not before its time")
            if peer == 0, later != nil { continue }
            for body in service.answers(to: question, of: peer) {
                steps += transfer.onAnswer(body, from: peer, now: service.now)
            }
            if later == nil {
                for _ in 0..<8 { service.advance(writes: 5, entries: 5_000) }
                later = service.stable
                steps += transfer.begin(service.stable, root: service.root, now: service.now, numberedFrom: 1)
            }
        }
        var asked: [UInt64: UInt64] = [:]
        for _ in 0..<6 {
            let due = try #require(transfer.deadline)
            for case .ask(let question, _) in transfer.timePassed(now: due) {
                let checkpoint = try #require(StateRequest(encoded: question)).checkpoint
                asked[checkpoint] = asked[checkpoint] ?? due
            }
        }
        let turned = try #require(later.flatMap { asked[$0] }, "\(asked), wanted \(later ?? 0)")
        #expect(turned > 4_000_000_000 && turned < 4_100_000_000)
    }

    @Test func `A checkpoint is kept for a peer that fetches it, one for each, and not for ever`() throws {
        var random = SplitMix64(seed: 6)
        var twin = Twin()
        let server = StateTransfer(store: twin.store, peers: [1, 2])
        func question(_ checkpoint: UInt64) throws -> [UInt8] {
            let subtree = StateRequest.Subtree(.root, isWhole: false)
            let request = StateRequest(number: 1, checkpoint: checkpoint, budget: 100, subtrees: [subtree])
            return try #require(request).encoded
        }
        func advance(to checkpoint: UInt64) {
            twin.change(20, keys: 100, &random)
            _ = twin.store.checkpoint(checkpoint)
            server.release(before: checkpoint)
        }
        for checkpoint in UInt64(1)...3 { advance(to: checkpoint) }
        _ = server.onRequest(try question(3), from: 1, now: 0)
        _ = server.onRequest(try question(3), from: 7, now: 0)
        #expect(twin.store.heldCheckpoints == [3])
        for checkpoint in UInt64(4)...9 { advance(to: checkpoint) }
        _ = server.onRequest(try question(9), from: 2, now: 5_000_000_000)
        _ = server.onRequest(try question(2), from: 2, now: 5_000_000_000)
        #expect(twin.store.heldCheckpoints == [3, 9], "what is not here is not kept, nor one before that is fetched")
        #expect(twin.store.root(ofCheckpoint: 3) != nil)
        // Peer 1 falls silent, peer 2 asks for ever.
        var now: UInt64 = 5_000_000_000
        var last: UInt64 = 0
        while twin.store.heldCheckpoints.contains(9), now < 1_000_000_000_000 {
            now = min(now + 9_000_000_000, try #require(server.deadline))
            _ = server.timePassed(now: now)
            if !twin.store.heldCheckpoints.contains(3), last == 0 { last = now }
            _ = server.onRequest(try question(9), from: 2, now: now)
        }
        #expect(last == 10_000_000_000)
        #expect(now == 305_000_000_000)
        advance(to: 10)
        advance(to: 11)
        #expect(twin.store.root(ofCheckpoint: 9) == nil)
    }

    @Test func `a checkpoint is kept for a peer until that one has its state`() throws {
        var random = SplitMix64(seed: 8)
        var twin = Twin()
        let server = StateTransfer(store: twin.store, peers: [1, 2])
        twin.change(20, keys: 100, &random)
        _ = twin.store.checkpoint(3)
        let subtree = StateRequest.Subtree(.root, isWhole: false)
        let question = try #require(StateRequest(number: 1, checkpoint: 3, budget: 100, subtrees: [subtree])).encoded
        for peer in 1...2 { _ = server.onRequest(question, from: peer, now: 0) }
        server.onCheckpoint(3, of: 1)
        #expect(twin.store.heldCheckpoints == [3], "peer 2 fetches it too")
        server.onCheckpoint(2, of: 2)
        #expect(twin.store.heldCheckpoints == [3], "an earlier state is not it")
        server.onCheckpoint(4, of: 2)
        #expect(twin.store.heldCheckpoints.isEmpty)
    }

    @Test func `Peers are served no faster than the rate, and no more questions wait than a fetch asks`() throws {
        var random = SplitMix64(seed: 7)
        var twin = Twin()
        twin.fill(0..<2_000, &random)
        _ = twin.store.checkpoint(1)
        let server = StateTransfer(store: twin.store, peers: [1, 2], servingRate: 10_000)
        let subtree = StateRequest.Subtree(.root, isWhole: true)
        let request = StateRequest(number: 1, checkpoint: 1, budget: 5_000, subtrees: [subtree])
        let question = try #require(request).encoded
        var bytes = 0
        var answers: [Int: Int] = [:]
        func count(_ steps: [StateTransfer.Step]) {
            for case .answer(let body, let peer) in steps {
                bytes += body.count
                answers[peer, default: 0] += 1
            }
        }
        count(server.onRequest(question, from: 1, now: 1_000))
        #expect(answers == [1: 1], "the first goes at once")
        for _ in 0..<20 {
            for peer in [1, 2] { count(server.onRequest(question, from: peer, now: 1_000)) }
        }
        #expect(answers == [1: 1])
        var now: UInt64 = 1_000
        while answers.values.reduce(0, +) < 9 {
            let before = bytes
            let due = try #require(server.deadline)
            count(server.timePassed(now: due - 1))
            #expect(bytes == before)
            count(server.timePassed(now: due))
            now = due
            #expect(UInt64(before) * 1_000_000_000 / 10_000 <= now)
        }
        #expect(answers == [1: 5, 2: 4])
    }

    @Test func `No slice of an install is large, and while the service is in use there is a pause after each`() throws {
        let remote = Twin()
        for key in UInt8(0)..<20 {
            remote.store.put([UInt8](repeating: key, count: 10_000), at: [key], in: .service)
        }
        let root = remote.store.checkpoint(4)
        let server = StateTransfer(store: remote.store, peers: [0])
        let transfer = StateTransfer(store: Twin().store, peers: [2])
        /// Fetches a checkpoint.
        func fetch(_ checkpoint: UInt64, _ root: Digest, now: UInt64) {
            var steps = transfer.begin(checkpoint, root: root, now: now, numberedFrom: now)
            while !steps.isEmpty {
                guard case .ask(let question, _) = steps.removeFirst() else { continue }
                for case .answer(let body, _) in server.onRequest(question, from: 0, now: now) {
                    steps += transfer.onAnswer(body, from: 2, now: now)
                }
            }
        }
        fetch(4, root, now: 1_000)
        var slices = 0
        var now: UInt64 = 2_000
        repeat {
            transfer.noteUse(now: now)
            _ = transfer.install(keys: .max, bytes: 30_000, now: now)
            slices += 1
            #expect(transfer.isSliceDue(now: now) == transfer.isInstalling)
            transfer.sliceEnded(from: now, to: now + 100)
            guard transfer.isInstalling else { break }
            #expect(transfer.deadline == now + 400)
            #expect(!transfer.isSliceDue(now: now + 399))
            now += 400
            #expect(transfer.isSliceDue(now: now))
        } while slices < 100
        #expect(slices == 7, "three entries in each, and two in the last")
        #expect(!transfer.isInstalling)
        #expect(transfer.deadline == nil)

        remote.store.put([UInt8](repeating: 1, count: 10_000), at: [99], in: .service)
        remote.store.put([UInt8](repeating: 2, count: 10_000), at: [98], in: .service)
        fetch(5, remote.store.checkpoint(5), now: now)
        transfer.noteUse(now: now)
        _ = transfer.install(keys: .max, bytes: 1, now: now)
        transfer.sliceEnded(from: now, to: now + 100)
        #expect(transfer.isSliceDue(now: now + 100), "what the service has changed since is not put off")
    }

    @Test func `An install writes at a quarter of the rate, and does not pause for a service that is not in use`()
        throws
    {
        let (local, remote, target) = twins()
        let wanted = try #require(target)
        let server = StateTransfer(store: remote.store, peers: [0])
        let transfer = StateTransfer(store: local.store, peers: [2], servingRate: 1_000_000)
        var steps = transfer.begin(4, root: wanted.root, now: 1_000, numberedFrom: 77)
        while !steps.isEmpty {
            guard case .ask(let question, _) = steps.removeFirst() else { continue }
            for case .answer(let body, _) in server.onRequest(question, from: 0, now: 2_000) {
                steps += transfer.onAnswer(body, from: 2, now: 2_000)
            }
        }
        transfer.noteUse(now: 2_000)
        _ = transfer.install(keys: 120, bytes: .max, now: 3_000)
        let written = UInt64(local.store.installedBytes)
        #expect(written > 0, "of 50 entries, 20 are merged")
        transfer.sliceEnded(from: 3_000, to: 3_000)
        #expect(!transfer.isSliceDue(now: 2_999 + written * 4_000))
        #expect(transfer.isSliceDue(now: 3_000 + written * 4_000))
        _ = transfer.install(keys: 1, bytes: .max, now: 200_002_000)
        transfer.sliceEnded(from: 3_000, to: 200_002_000)
        #expect(transfer.isSliceDue(now: 200_002_000))
    }

    @Test func `What is no question is not answered`() {
        let transfer = StateTransfer(store: Twin().store, peers: [1])
        #expect(transfer.onRequest([1, 2, 3], from: 1, now: 5).isEmpty)
        #expect(transfer.onAnswer([1, 2, 3], from: 1, now: 5).isEmpty, "nor listened to when nothing was asked")
    }
}
