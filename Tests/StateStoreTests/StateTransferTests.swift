import StateStore
import TestSupport
import Testing

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
                for case .answer(let body, let asker) in server.onRequest(question, from: 0) {
                    #expect(asker == 0)
                    steps += transfer.onAnswer(body, from: 2, now: 2_000)
                }
            case .installed(let checkpoint):
                #expect(checkpoint == 4)
                isInstalled = true
            case .answer, .accuse:
                Issue.record("neither was asked for")
            }
            if steps.isEmpty, transfer.isComplete {
                #expect(local.store.lastCheckpoint == nil, "nothing is installed before the owner wants it")
                steps += transfer.install(now: 3_000)
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
                for case .answer(let body, to: _) in empty.onRequest(question, from: 0) {
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

    @Test func `What is no question is not answered`() {
        let transfer = StateTransfer(store: Twin().store, peers: [1])
        #expect(transfer.onRequest([1, 2, 3], from: 1).isEmpty)
        #expect(transfer.onAnswer([1, 2, 3], from: 1, now: 5).isEmpty, "nor listened to when nothing was asked")
    }
}
