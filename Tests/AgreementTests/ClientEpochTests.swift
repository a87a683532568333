import Agreement
import Messages
import Testing

/// A client comes to know the epoch of its key from f + 1 replicas when it opens a session, and from no fewer.
struct ClientEpochTests {
    private static let keys = Keys()

    private static func reply(
        _ number: UInt64,
        _ outcome: Reply.Outcome,
        epoch: UInt32? = nil,
        result: [UInt8]? = nil
    ) -> Reply {
        let bytes = epoch.map { epoch in (0..<4).map { UInt8(truncatingIfNeeded: epoch >> (8 * $0)) } } ?? result
        let payload = Reply.Payload(
            session: SessionID(1),
            number: RequestNumber(number),
            outcome: outcome,
            results: bytes.map { [$0] } ?? []
        )
        return Reply(view: View(0), sequence: .zero, payload: payload)
    }

    private static func open(_ client: TestClient) {
        for replica: UInt8 in [0, 1] { client.receive(reply(0, .sessionOpened), from: replica) }
        client.outbox = []
    }

    @Test func `f + 1 replicas name the epoch, and the opening goes out again with it, to all and at once`() {
        let client = TestClient(1, keys: Self.keys)
        client.open()
        #expect(client.outbox.map(\.to) == [ReplicaID(0)] && client.outbox[0].request.keyEpoch == .genesis)
        client.receive(Self.reply(0, .otherKeyEpoch, epoch: 3), from: 0)
        #expect(client.outbox.count == 2 && client.outbox[1].to == nil, "the others are asked whether they say so too")
        #expect(client.outbox[1].request.keyEpoch == .genesis)
        client.receive(Self.reply(0, .otherKeyEpoch, epoch: 3), from: 0)
        #expect(client.outbox.count == 2)
        client.receive(Self.reply(0, .otherKeyEpoch, epoch: 3), from: 2)
        #expect(client.outbox.count == 3 && client.outbox[2].to == nil)
        #expect(client.outbox[2].request.keyEpoch == KeyEpoch(3) && client.outbox[2].request.session == SessionID(1))
        // What others still say of the first one changes nothing.
        client.receive(Self.reply(0, .otherKeyEpoch, epoch: 3), from: 1)
        client.receive(Self.reply(0, .otherKeyEpoch, epoch: 3), from: 3)
        #expect(client.outbox.count == 3 && client.opened.isEmpty)
        Self.open(client)
        #expect(client.opened == [SessionID(1)])
        client.submit("a", ticket: 1)
        client.flush()
        #expect(client.outbox.map(\.request.keyEpoch) == [KeyEpoch(3)])
    }

    @Test func `one replica alone, or two that differ, or an epoch that is over, teach nothing`() {
        let client = TestClient(1, keys: Self.keys)
        client.open()
        for replica: UInt8 in [0, 0, 1, 2, 3] {
            client.receive(Self.reply(0, .otherKeyEpoch, epoch: UInt32(replica) + 1), from: replica)
        }
        for replica: UInt8 in [0, 1, 2] { client.receive(Self.reply(0, .otherKeyEpoch, epoch: 0), from: replica) }
        for replica: UInt8 in [0, 1, 2] { client.receive(Self.reply(0, .otherKeyEpoch, result: [7]), from: replica) }
        #expect(client.outbox.allSatisfy { $0.request.keyEpoch == .genesis } && client.outbox.count == 2)
        Self.open(client)
        #expect(client.opened == [SessionID(1)])
    }

    @Test func `a later epoch in an open session ends it, and a single refusal there sends nothing`() {
        let client = TestClient(1, keys: Self.keys)
        client.open()
        Self.open(client)
        client.submit("a", ticket: 1)
        client.flush()
        client.submit("b", ticket: 2)
        client.outbox = []
        client.receive(Self.reply(1, .otherKeyEpoch, epoch: 1), from: 0)
        client.receive(Self.reply(1, .otherKeyEpoch, epoch: 0), from: 1)
        client.receive(Self.reply(1, .otherKeyEpoch, epoch: 0), from: 2)
        #expect(client.superseded.isEmpty && client.outbox.isEmpty && !client.isClosed)
        client.receive(Self.reply(1, .otherKeyEpoch, epoch: 1), from: 2)
        #expect(client.superseded == [1, 2] && client.isClosed && client.results.isEmpty)
    }

    @Test func `a session number that is too low is found out without waiting`() {
        let client = TestClient(1, keys: Self.keys)
        client.open()
        let refusal = Self.reply(0, .sessionOutdated, result: [8, 0, 0, 0, 0, 0, 0, 0])
        client.receive(refusal, from: 0)
        #expect(client.outbox.count == 2 && client.outbox[1].to == nil)
        client.receive(refusal, from: 3)
        #expect(client.refusedFor == [SessionID(8)])
    }
}
