import Cryptography
import Messages
import Testing

@testable import Agreement

/// Read-only requests outside the order (PBFT section 5.1.3, with the fence that Berger, Reiser and Bessani's attack calls for).
struct ReadTests {
    private static let read = ReadRequest(tag: 1, wantsResult: true, operation: [1])

    @Test(arguments: [0, 32, 33])
    func `a short result comes whole from everybody, a long one from the replica that was asked`(bytes: Int) {
        let result = [UInt8](repeating: 7, count: bytes)
        for wantsResult in [true, false] {
            let read = ReadRequest(tag: 5, wantsResult: wantsResult, operation: [1])
            let isWhole = wantsResult || bytes <= 32
            let expected: ReadReply.Outcome = isWhole ? .result(result) : .digest(Digest.of(result))
            #expect(ReadReply(to: read, result: result) == ReadReply(tag: 5, outcome: expected))
        }
    }

    @Test func `an idle replica answers at once`() {
        let replica = TestReplica(1, keys: Keys())
        replica.receive(Self.read)
        #expect(replica.queries.map(\.read) == [Self.read])
    }

    @Test func `an answer waits until what it shows is durably prepared here, and for nothing later`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        let first = PrePrepare.proposal(1, [keys.opening(1)])
        replica.receive(.prePrepare(first), from: 0)
        replica.receive(.prepare, 1, first.batch.digest, from: [2])
        let prepared = UInt64(replica.journal.count)
        replica.receive(.commit, 1, first.batch.digest, from: [0, 2])
        replica.receive(.prePrepare(PrePrepare.proposal(2, [keys.request(1, number: 1)])), from: 0)
        replica.receive(Self.read)
        #expect(replica.queries.map(\.after.rawValue) == [prepared])
        #expect(replica.journal.count > prepared)
    }

    @Test func `a stranger's read is dropped`() {
        let replica = TestReplica(1, keys: Keys())
        replica.receive(Self.read, client: 99)
        #expect(replica.queries.isEmpty && replica.dropped(.unknownClient) == 1)
    }

    @Test func `a read waits for what was prepared when it came, and for nothing later`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        let first = PrePrepare.proposal(1, [keys.opening(1)])
        replica.receive(.prePrepare(first), from: 0)
        replica.receive(Self.read)
        #expect(replica.queries.count == 1, "pre-prepared is not prepared")
        replica.receive(.prepare, 1, first.batch.digest, from: [2])
        replica.receive(ReadRequest(tag: 2, wantsResult: true, operation: [1]))
        #expect(replica.queries.count == 1, "prepared and not executed")
        let second = PrePrepare.proposal(2, [keys.request(1, number: 1)])
        replica.receive(.prePrepare(second), from: 0)
        replica.receive(.prepare, 2, second.batch.digest, from: [2])
        replica.receive(.commit, 1, first.batch.digest, from: [0, 2])
        #expect(replica.executed == SequenceNumber(1))
        #expect(replica.queries.map(\.read.tag) == [1, 2])
    }

    @Test func `the fence outlives a restart`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        let first = PrePrepare.proposal(1, [keys.opening(1)])
        replica.receive(.prePrepare(first), from: 0)
        replica.receive(.prepare, 1, first.batch.digest, from: [2])
        replica.restart()
        replica.receive(Self.read)
        #expect(replica.queries.isEmpty)
        replica.receive(.commit, 1, first.batch.digest, from: [0, 2])
        #expect(replica.queries.count == 1)
    }

    @Test func `waiting reads are bounded`() {
        var limits = Limits.small
        limits.waitingReads = 2
        let keys = Keys()
        let replica = TestReplica(1, keys: keys, limits: limits)
        let first = PrePrepare.proposal(1, [keys.opening(1)])
        replica.receive(.prePrepare(first), from: 0)
        replica.receive(.prepare, 1, first.batch.digest, from: [2])
        for tag: UInt64 in 1...5 { replica.receive(ReadRequest(tag: tag, wantsResult: false, operation: [])) }
        #expect(replica.dropped(.tooManyReads) == 3)
    }

    // MARK: The client's side

    private static func client(faults: Int = 1) -> TestClient {
        let client = TestClient(1, keys: Keys(faults: faults))
        client.open()
        for replica: UInt8 in 0...UInt8(faults) {
            let payload = Reply.Payload(session: SessionID(1), number: .opening, outcome: .sessionOpened, results: [])
            client.receive(Reply(view: View(0), sequence: SequenceNumber(1), payload: payload), from: replica)
        }
        client.outbox = []
        client.submitRead("get", ticket: 7)
        client.flush()
        return client
    }

    private static let old = Array("old".utf8)
    private static let new = Array("new".utf8)

    private static func whole(_ result: [UInt8]) -> ReadReply { ReadReply(tag: 1, outcome: .result(result)) }
    private static func digest(_ result: [UInt8]) -> ReadReply {
        ReadReply(tag: 1, outcome: .digest(Digest.of(result)))
    }

    @Test func `2f + 1 equal answers make a result, 2f do not`() {
        let client = Self.client()
        client.receive(Self.whole(Self.new), from: 1)
        client.receive(Self.digest(Self.new), from: 2)
        client.receive(Self.digest(Self.new), from: 2)
        #expect(client.results.isEmpty)
        client.receive(Self.digest(Self.new), from: 3)
        #expect(client.results[7] == "new")
        #expect(client.outbox.isEmpty, "nothing was ordered")
    }

    @Test func `a whole result that does not match the digests is no result`() {
        let client = Self.client()
        client.receive(Self.whole(Self.old), from: 1)
        for replica: UInt8 in [0, 2, 3] { client.receive(Self.digest(Self.new), from: replica) }
        client.flush()
        #expect(client.results.isEmpty)
        #expect(client.outbox.count == 1, "it is ordered instead")
    }

    @Test func `answers that differ make an ordinary request of the read`() {
        let client = Self.client()
        client.receive(Self.whole(Self.new), from: 1)
        client.receive(Self.digest(Self.old), from: 2)
        client.flush()
        #expect(client.outbox.isEmpty, "three may still agree")
        client.receive(Self.digest(Self.old), from: 3)
        client.receive(Self.digest(Self.new), from: 0)
        client.flush()
        #expect(client.outbox.map { $0.request.operations } == [[Array("get".utf8)]])
    }

    @Test func `f refusals are ignored, f + 1 make an ordinary request`() {
        let client = Self.client()
        client.receive(ReadReply(tag: 1, outcome: .refused), from: 0)
        client.flush()
        #expect(client.outbox.isEmpty)
        client.receive(ReadReply(tag: 1, outcome: .refused), from: 1)
        client.flush()
        #expect(client.outbox.count == 1)
    }

    @Test func `silence makes an ordinary request after a while`() {
        let client = Self.client()
        client.time += 200_000_000
        client.passTime()
        #expect(client.outbox.count == 1)
        #expect(client.unanswered == 1)
    }
}
