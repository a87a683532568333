import Agreement
import Messages
import Testing

/// The client's side: f + 1 matching replies make a result (PBFT section 4.1), whatever f liars say.
struct ClientEngineTests {
    private let keys = Keys()

    private static func reply(
        _ number: UInt64,
        _ results: [String],
        session: UInt64 = 1,
        outcome: Reply.Outcome = .executed,
        view: UInt64 = 0,
        sequence: UInt64 = 1
    ) -> Reply {
        let payload = Reply.Payload(
            session: SessionID(session),
            number: RequestNumber(number),
            outcome: outcome,
            results: results.map { Array($0.utf8) }
        )
        return Reply(view: View(view), sequence: SequenceNumber(sequence), payload: payload)
    }

    private func opened(_ keys: Keys? = nil, window: Int = 1, bundle: Int = 1) -> TestClient {
        let keys = keys ?? self.keys
        let client = TestClient(1, keys: keys, window: window, bundle: bundle)
        client.open()
        for replica in 0...UInt8(keys.size.faults) {
            client.receive(Self.reply(0, [], outcome: .sessionOpened), from: replica)
        }
        client.outbox = []
        return client
    }

    @Test func `nothing is sent before the session is open`() {
        let client = TestClient(1, keys: keys)
        client.submit("a", ticket: 1)
        client.flush()
        #expect(client.outbox.isEmpty)
        client.open()
        client.flush()
        #expect(client.outbox.map(\.request.kind) == [.openSession])
        client.receive(Self.reply(0, [], outcome: .sessionOpened), from: 0)
        client.flush()
        #expect(client.outbox.count == 1 && client.opened.isEmpty)
        client.receive(Self.reply(0, [], outcome: .sessionOpened), from: 1)
        client.flush()
        #expect(client.outbox.map(\.request.number.rawValue) == [0, 1])
    }

    @Test(arguments: [1, 2])
    func `exactly f + 1 matching replies of different replicas make a result`(faults: Int) {
        let keys = Keys(faults: faults)
        // 0: silent, 1: the right result, 2: a lie, 3: another lie.
        var combinations: [[Int]] = [[]]
        for _ in keys.size.members { combinations = combinations.flatMap { list in (0...3).map { list + [$0] } } }
        let texts = ["", "right", "lie", "other"]
        for choice in combinations.enumerated() where faults == 1 || choice.offset % 37 == 0 {
            let client = opened(keys)
            client.submit("a", ticket: 1)
            client.flush()
            var counts = [0, 0, 0, 0]
            var expected: String?
            for (replica, vote) in choice.element.enumerated() where vote > 0 {
                client.receive(Self.reply(1, [texts[vote]]), from: UInt8(replica))
                counts[vote] += 1
                if expected == nil, counts[vote] == faults + 1 { expected = texts[vote] }
            }
            #expect(client.results[1] == expected, "\(choice.element)")
        }
    }

    @Test func `replies match whatever their views and sequence numbers are`() {
        let client = opened()
        client.submit("a", ticket: 1)
        client.flush()
        client.receive(Self.reply(1, ["r"], view: 3, sequence: 7), from: 2)
        client.receive(Self.reply(1, ["r"], view: 4, sequence: 9), from: 3)
        #expect(client.results[1] == "r")
    }

    @Test func `a replica has one vote a request, its latest word`() {
        let client = opened()
        client.submit("a", ticket: 1)
        client.flush()
        for _ in 0..<5 { client.receive(Self.reply(1, ["lie"]), from: 3) }
        client.receive(Self.reply(1, ["right"]), from: 0)
        client.receive(Self.reply(1, ["right"]), from: 0)
        #expect(client.results.isEmpty)
        client.receive(Self.reply(1, ["right"]), from: 3)
        #expect(client.results[1] == "right")
        client.receive(Self.reply(1, ["right"]), from: 2)
        #expect(client.completions == [1], "a late reply completes nothing again")
    }

    @Test func `replies to other sessions, numbers and kinds count nothing`() {
        let client = opened()
        client.submit("a", ticket: 1)
        client.flush()
        for replica: UInt8 in 0...3 {
            client.receive(Self.reply(1, ["r"], session: 2), from: replica)
            client.receive(Self.reply(2, ["r"]), from: replica)
            client.receive(Self.reply(0, [], outcome: .sessionOpened), from: replica)
        }
        #expect(client.results.isEmpty && client.unanswered == 1)
        client.receive(Self.reply(1, ["r"]), from: 0)
        client.receive(Self.reply(1, ["r"]), from: 1)
        #expect(client.results[1] == "r")
    }

    @Test func `the view is the (f + 1)-th highest that replicas named`() {
        let client = opened()
        #expect(client.view == View(0))
        client.receive(Self.reply(9, [], view: 1_000), from: 3)
        #expect(client.view == View(0), "never one replica's word")
        client.receive(Self.reply(9, [], view: 2), from: 1)
        #expect(client.view == View(2))
        client.receive(Self.reply(9, [], view: 1), from: 1)
        #expect(client.view == View(2), "views only grow")
        client.receive(Self.reply(9, [], view: 5), from: 0)
        #expect(client.view == View(5))
        client.submit("a", ticket: 1)
        client.flush()
        #expect(client.outbox.map(\.to) == [ReplicaID(1)], "the primary of view 5")
    }

    @Test func `at most W requests are outstanding, and one bundle carries what fits`() {
        let client = opened(window: 2, bundle: 3)
        for ticket: UInt64 in 1...10 { client.submit("op\(ticket)", ticket: ticket) }
        client.flush()
        #expect(client.outbox.map(\.request.operationCount) == [3, 3])
        #expect(client.unanswered == 10)
        // The second is answered first: the window stays shut until the lowest number is answered.
        for replica: UInt8 in 0...1 { client.receive(Self.reply(2, ["4", "5", "6"]), from: replica) }
        client.flush()
        #expect(client.outbox.count == 2 && client.completions == [4, 5, 6])
        for replica: UInt8 in 0...1 { client.receive(Self.reply(1, ["1", "2", "3"]), from: replica) }
        client.flush()
        #expect(client.outbox.map(\.request.number.rawValue) == [1, 2, 3, 4])
        #expect(client.outbox.map(\.request.operationCount) == [3, 3, 3, 1])
    }

    @Test func `a bundle stays under the longest request`() {
        let client = opened(window: 4, bundle: 64)
        let operation = String(repeating: "x", count: 900 << 10)
        for ticket: UInt64 in 1...5 { client.submit(operation, ticket: ticket) }
        client.flush()
        #expect(client.outbox.map(\.request.operationCount) == [2, 2, 1])
        #expect(client.outbox.allSatisfy { $0.request.bytes.count <= MessageLimits.requestBytes })
    }

    @Test func `the longest operation fits a request`() {
        let client = opened()
        client.submit(String(repeating: "x", count: MessageLimits.operationBytes), ticket: 1)
        client.flush()
        #expect(client.outbox.count == 1)
    }

    @Test func `f + 1 replies that no correct replica gives complete nothing`() {
        let client = opened(bundle: 2)
        client.submit("a", ticket: 1)
        client.submit("b", ticket: 2)
        client.flush()
        for replica: UInt8 in 0...1 { client.receive(Self.reply(1, ["only one"]), from: replica) }
        #expect(client.completions.isEmpty && client.unanswered == 2)
    }

    @Test func `a result that is too large is said to be so for each operation`() {
        let client = opened(bundle: 2)
        client.submit("a", ticket: 1)
        client.submit("b", ticket: 2)
        client.flush()
        client.receive(Self.reply(1, [], outcome: .resultsTooLarge), from: 0)
        #expect(client.tooLarge.isEmpty)
        client.receive(Self.reply(1, [], outcome: .resultsTooLarge), from: 1)
        #expect(client.tooLarge == [1, 2] && client.unanswered == 0)
    }

    @Test func `an unanswered request goes to every replica, with doubling pauses of at most 32 times the first`()
        throws
    {
        let client = opened()
        client.submit("a", ticket: 1)
        client.flush()
        #expect(client.outbox.map(\.to) == [ReplicaID(0)])
        var pauses: [UInt64] = []
        for attempt in 1...8 {
            let due = try #require(client.deadline).nanoseconds
            pauses.append((due - client.time) / 100_000_000)
            client.time = due - 1
            client.passTime()
            #expect(client.outbox.count == attempt)
            client.time = due
            client.passTime()
            #expect(client.outbox.count == attempt + 1 && client.outbox.last?.to == nil)
        }
        #expect(pauses == [1, 2, 4, 8, 16, 32, 32, 32])
        #expect(Set(client.outbox.map(\.request.envelopeDigest)).count == 1, "the same bytes each time")
        for replica: UInt8 in 0...1 { client.receive(Self.reply(1, ["r"]), from: replica) }
        #expect(client.deadline == nil)
    }

    @Test func `a refused session can be opened above the current one, and its operations wait`() {
        var current: [UInt8] = []
        current.append(littleEndian: UInt64(7))
        let payload = Reply.Payload(
            session: SessionID(3),
            number: .opening,
            outcome: .sessionOutdated,
            results: [current]
        )
        let client = TestClient(1, keys: keys)
        client.submit("a", ticket: 1)
        client.open(3)
        client.receive(Reply(view: View(0), sequence: .zero, payload: payload), from: 3)
        #expect(client.refusedFor.isEmpty, "one replica's word refuses nothing")
        client.receive(Reply(view: View(0), sequence: .zero, payload: payload), from: 1)
        #expect(client.refusedFor == [SessionID(7)] && client.isClosed && client.superseded.isEmpty && !client.isEnded)
        client.open(8)
        for replica: UInt8 in 0...1 {
            client.receive(Self.reply(0, [], session: 8, outcome: .sessionOpened), from: replica)
        }
        client.flush()
        #expect(client.outbox.last?.request.session == SessionID(8))
        #expect(client.outbox.last?.request.number == RequestNumber(1))
    }

    @Test func `a client whose identity opened a later session loses its operations and says so`() {
        let client = opened(window: 2)
        for ticket: UInt64 in 1...4 { client.submit("op\(ticket)", ticket: ticket) }
        client.flush()
        var current: [UInt8] = []
        current.append(littleEndian: UInt64(9))
        let payload = Reply.Payload(
            session: SessionID(1),
            number: RequestNumber(2),
            outcome: .sessionOutdated,
            results: [current]
        )
        for replica: UInt8 in 0...1 {
            client.receive(Reply(view: View(0), sequence: .zero, payload: payload), from: replica)
        }
        #expect(client.superseded.sorted() == [1, 2, 3, 4])
        #expect(client.isClosed && client.unanswered == 0 && client.deadline == nil && client.isEnded)
    }

    @Test func `an idle client that is connected again asks whether its session is current, and ends if f + 1 deny it`()
    {
        let client = opened()
        client.outbox = []
        client.connected(2)
        #expect(client.outbox.map(\.to) == [ReplicaID(2)])
        #expect(client.outbox.map(\.request.kind) == [.openSession] && client.outbox[0].request.session == SessionID(1))
        let denial = Self.reply(0, [], outcome: .sessionOutdated)
        client.receive(denial, from: 3)
        client.receive(Self.reply(0, [], outcome: .sessionOpened), from: 0)
        client.receive(denial, from: 3)
        #expect(!client.isEnded && !client.isClosed, "one replica's word ends nothing")
        client.receive(denial, from: 2)
        #expect(client.isEnded && client.isClosed)
    }

    @Test func `a client with requests under way sends those to a replica that it is connected to again`() {
        let client = opened(window: 2)
        client.submit("a", ticket: 1)
        client.flush()
        client.outbox = []
        client.connected(client.view.primary(in: keys.size).rawValue)
        #expect(client.outbox.map(\.request.number) == [RequestNumber(1)])
    }

    @Test func `two clients with one identity: the later session wins, and the earlier is told`() {
        let cluster = TestCluster()
        cluster.openSessions()
        let rival = keys.opening(1, session: 2)
        cluster[0].receive(rival)
        cluster.deliverAll()
        cluster.run(["a"])
        cluster.advance(by: 100_000_000)
        #expect(cluster.client(1).superseded == [1])
        #expect(cluster.replicas.allSatisfy { $0.operations.isEmpty })
    }

    @Test func `an operation can be withdrawn until it is sent`() {
        let client = opened()
        client.submit("a", ticket: 1)
        client.submit("b", ticket: 2)
        client.flush()
        #expect(!client.withdraw(1) && client.withdraw(2) && !client.withdraw(2))
        for replica: UInt8 in 0...1 { client.receive(Self.reply(1, ["r"]), from: replica) }
        client.flush()
        #expect(client.outbox.count == 1 && client.unanswered == 0)
    }

    @Test func `f liars in a cluster cannot make a result`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.filter = { link, body in
            if case .reply = body, link.from != .replica(3) { return .drop }
            return .deliver
        }
        cluster.client(1).submit("a", ticket: 1)
        cluster.deliverAll()
        for _ in 0..<5 { cluster.client(1).receive(Self.reply(1, ["lie"]), from: 3) }
        #expect(cluster.client(1).results.isEmpty)
        cluster.filter = { _, _ in .deliver }
        cluster.advance(by: 100_000_000)
        #expect(cluster.client(1).results == [1: "1:a"])
    }
}
