import Agreement
import Messages
import Testing

/// Each number of a session takes effect at most once, in the client's order, whatever is in the batches (PBFT section 4.1), and each
/// request has its reply as long as it is kept.
struct ExactlyOnceTests {
    private let keys = Keys()

    /// A backup that executes each list as a batch.
    private func executing(_ batches: [[Request]], limits: Limits = .large) -> TestReplica {
        let replica = TestReplica(1, keys: keys, limits: limits)
        for (index, requests) in batches.enumerated() {
            replica.agree(on: .proposal(UInt64(index) + 1, requests))
        }
        #expect(replica.executed.rawValue == UInt64(batches.count), "batches of no effect are executed too")
        return replica
    }

    @Test func `a duplicate in one batch or in a later one takes no effect`() {
        let first = keys.request(1, number: 1, ["a"])
        let second = keys.request(1, number: 2, ["b"])
        let replica = executing([[keys.opening(1), first, first], [first, second], [second, first, keys.opening(1)]])
        #expect(replica.operations == ["a", "b"])
        #expect(replica.batches.map(\.requests.count) == [2, 1, 0])
        #expect(replica.replies.count == 3, "only what takes effect is answered")
    }

    @Test func `a number out of order takes no effect, then or later`() {
        let replica = executing([
            [keys.opening(1), keys.request(1, number: 2, ["b"])],
            [keys.request(1, number: 1, ["a"])],
            [keys.request(1, number: 3, ["c"])],
            [keys.request(1, number: 2, ["b"])],
        ])
        #expect(replica.operations == ["a", "b"])
    }

    @Test func `of two requests with one number the first in the order takes effect`() {
        let replica = TestReplica(1, keys: keys)
        replica.agree(on: .proposal(1, [keys.opening(1)]))
        let kept = keys.request(1, number: 1, ["kept here"])
        let ordered = keys.request(1, number: 1, ["ordered"])
        replica.receive(kept)
        replica.receive(ordered)
        #expect(replica.dropped(.duplicateRequest) == 1, "one request a number waits")
        replica.agree(on: .proposal(2, [ordered, kept]))
        replica.agree(on: .proposal(3, [kept, keys.request(1, number: 2, ["next"])]))
        #expect(replica.operations == ["ordered", "next"])
    }

    @Test func `a session is opened once, and a later one makes the earlier void`() {
        let replica = executing([
            [keys.opening(1, session: 5), keys.request(1, session: 5, number: 1, ["a"])],
            [keys.opening(1, session: 5), keys.opening(1, session: 4)],
            [keys.opening(1, session: 9), keys.request(1, session: 5, number: 2, ["old"])],
            [keys.request(1, session: 9, number: 1, ["b"]), keys.request(1, session: 5, number: 2, ["old"])],
            [keys.opening(1, session: 5), keys.request(1, session: 9, number: 2, ["c"])],
        ])
        #expect(replica.operations == ["a", "b", "c"])
        let opened = replica.replies.compactMap(\.reply.payload).filter { $0.outcome == .sessionOpened }
        #expect(opened.map(\.session.rawValue) == [5, 9])
    }

    @Test func `without a session nothing takes effect and nothing traps`() {
        let orphan = keys.request(1, session: 0, number: 1, ["a"])
        let replica = executing([
            [orphan], [keys.opening(1, session: 0)], [keys.request(1, session: 1, number: 1, ["b"])],
        ])
        #expect(replica.operations.isEmpty && replica.replies.isEmpty)
        for id: UInt8 in [0, 1] {
            let replica = TestReplica(id, keys: keys)
            replica.receive(orphan)
            replica.receive(keys.opening(1, session: 0))
            replica.endTurn()
            #expect(replica.outbox.isEmpty && replica.checkedRequests == 0)
            #expect(replica.dropped(.otherSession) == 2)
        }
    }

    @Test func `clients have sessions of their own`() {
        let replica = executing([
            [keys.opening(1, session: 7), keys.opening(2, session: 3)],
            [keys.request(2, session: 3, number: 1, ["b"]), keys.request(1, session: 7, number: 1, ["a"])],
        ])
        #expect(replica.operations == ["b", "a"])
        #expect(replica.service.steps.map(\.client.rawValue) == [2, 1])
    }

    @Test func `a bundle has a reply with one result for each operation`() {
        let replica = executing([[keys.opening(1), keys.request(1, number: 1, ["a", "b", "c"])]])
        let reply = replica.replies.last?.reply
        #expect(reply?.payload?.results.map { String(decoding: $0, as: UTF8.self) } == ["1:a", "2:b", "3:c"])
        #expect(reply?.payload?.outcome == .executed)
        #expect(reply?.sequence == SequenceNumber(1) && reply?.view == View(0))
    }

    @Test func `results that do not fit a reply are executed and said to be too large`() {
        let big = "big:\(MessageLimits.resultBytes)"
        let tooBig = "big:\(MessageLimits.resultBytes + 1)"
        let replica = executing([
            [keys.opening(1), keys.request(1, number: 1, [big])],
            [keys.request(1, number: 2, [tooBig])],
            [keys.request(1, number: 3, [big, big])],
            [keys.request(1, number: 4, ["a"])],
        ])
        let outcomes = replica.replies.map(\.reply.payload?.outcome)
        #expect(outcomes == [.sessionOpened, .executed, .resultsTooLarge, .resultsTooLarge, .executed])
        #expect(replica.operations.count == 5, "the operations took effect all the same")
        replica.replies = []
        replica.receive(keys.request(1, number: 3, [big, big]))
        #expect(replica.replies.map(\.reply.payload?.outcome) == [.resultsTooLarge])
    }

    @Test func `the last W replies are sent again, the same, and older ones are not`() {
        var limits = Limits.large
        limits.clientWindow = 3
        let requests = (1...5).map { keys.request(1, number: $0, ["op\($0)"]) }
        let replica = executing([[keys.opening(1)]] + requests.map { [$0] }, limits: limits)
        let answers = replica.replies.map(\.reply)
        replica.replies = []
        for request in requests { replica.receive(request) }
        #expect(replica.dropped(.duplicateRequest) == 2)
        #expect(replica.replies.map(\.reply.payload) == answers.suffix(3).map(\.payload))
        #expect(replica.replies.map(\.reply.sequence) == answers.suffix(3).map(\.sequence))
        #expect(replica.checkedRequests == 6, "an answered request costs no check")
        #expect(replica.journal.count == 12, "and is not ordered again")
    }

    @Test func `a request of an outdated session is told the current one`() {
        let replica = executing([[keys.opening(1, session: 5)], [keys.opening(1, session: 9)]])
        replica.replies = []
        replica.receive(keys.request(1, session: 5, number: 1))
        replica.receive(keys.opening(1, session: 8))
        #expect(replica.replies.map(\.reply.payload?.outcome) == [.sessionOutdated, .sessionOutdated])
        var current: [UInt8] = []
        current.append(littleEndian: UInt64(9))
        #expect(replica.replies.allSatisfy { $0.reply.payload?.results == [current] })
        replica.receive(keys.request(1, session: 12, number: 1))
        #expect(replica.dropped(.otherSession) == 1, "a session that is not open yet")
    }

    @Test func `the replicated records hold session, progress and replies, the same at every replica`() {
        let batches = [[keys.opening(1)], [keys.request(1, number: 1), keys.request(1, number: 2)], [keys.opening(2)]]
        let one = executing(batches)
        let other = TestReplica(2, keys: keys, limits: .large)
        other.receive(keys.request(1, number: 1, ["not ordered"]))
        for (index, requests) in batches.enumerated() {
            other.agree(on: .proposal(UInt64(index) + 1, requests))
        }
        #expect(one.records == other.records && one.root == other.root)
        // Two clients' and an administrator's keys, two clients' progress, their opening replies, two replies to the first, and the
        // agreed time.
        #expect(one.records.count == 10)
    }

    @Test(arguments: [1, 64])
    func `numbers up to twice the window ahead are kept, those beyond are refused`(window: Int) {
        var limits = Limits.large
        limits.clientWindow = window
        let replica = TestReplica(0, keys: keys, limits: limits)
        replica.order([keys.opening(1)])
        let last = UInt64(2 * window)
        for number in (1...(last + 1)).reversed() {
            replica.receive(keys.request(1, number: number, ["\(number)"]))
        }
        #expect(replica.dropped(.outsideClientWindow) == 1)
        replica.endTurn()
        #expect(replica.sentPrePrepares.last?.batch.requests.map(\.number.rawValue) == Array(1...last))
        replica.receive(keys.request(1, number: .max))
        #expect(replica.dropped(.outsideClientWindow) == 2)
    }

    @Test(arguments: [1, 3, 64])
    func `a client with a window gets every result in order through a cluster`(window: Int) {
        var limits = Limits.small
        limits.clientWindow = window
        let cluster = TestCluster(limits: limits, window: window)
        cluster.openSessions()
        cluster.run((1...100).map { "op\($0)" })
        #expect(cluster.client(1).completions == Array(1...100))
        #expect(cluster[2].operations == (1...100).map { "op\($0)" })
        #expect(cluster.client(1).retransmissions == 0)
    }

    @Test func `everything delivered twice takes effect once`() {
        let cluster = TestCluster(window: 3, bundle: 2)
        cluster.filter = { _, _ in .duplicate }
        cluster.openSessions()
        cluster.run((1...20).map { "op\($0)" })
        cluster.run((1...20).map { "other\($0)" }, client: 2)
        #expect(cluster.client(1).results.count == 20 && cluster.client(2).results.count == 20)
        for replica in cluster.replicas { #expect(replica.operations.count == 40) }
    }

    @Test func `unknown clients and wrong signatures are refused, and nothing of them is kept`() {
        let strangers = Keys(clients: 3)
        let replica = TestReplica(0, keys: keys)
        replica.receive(strangers.opening(3))
        #expect(replica.dropped(.unknownClient) == 1 && replica.checkedRequests == 0)
        replica.receive(keys.request(1, number: 0, [], spoiledFor: [ReplicaID(0)]))
        #expect(replica.dropped(.badAuthentication) == 1)
        replica.endTurn()
        #expect(replica.outbox.isEmpty)
        replica.receive(keys.opening(1))
        replica.endTurn()
        #expect(replica.sentPrePrepares.isEmpty && replica.dropped(.blacklisted) == 1, "its client is blacklisted")
        replica.receive(keys.forward(keys.opening(1), by: 2), from: 2)
        replica.endTurn()
        #expect(replica.sentPrePrepares.count == 1, "a bad request does not stand in a good one's way")
    }

    @Test func `two copies that are checked at once are ordered once`() {
        let replica = TestReplica(0, keys: keys)
        replica.order([keys.opening(1)])
        replica.checksAtOnce = false
        replica.receive(keys.request(1, number: 1))
        replica.receive(keys.request(1, number: 1))
        replica.releaseChecks()
        replica.endTurn()
        #expect(replica.sentPrePrepares.last?.batch.requests.count == 1)
        #expect(replica.dropped(.duplicateRequest) == 1)
    }
}

extension Limits {
    /// The default water marks: far more than these tests order.
    static var large: Limits { Limits() }
}

extension TestReplica {
    /// At a primary: proposes requests as its next batch and agrees on that.
    func order(_ requests: [Request]) {
        for request in requests { receive(request) }
        endTurn()
        guard let prePrepare = sentPrePrepares.last else { return }
        agree(on: prePrepare)
    }
}
