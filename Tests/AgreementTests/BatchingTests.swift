import Agreement
import Messages
import Testing

/// How the primary makes batches: bounds, pipeline, water marks, and fairness among clients (PBFT section 4.1, Aardvark section 4).
struct BatchingTests {
    private static func primary(_ keys: Keys, _ change: (inout Limits) -> Void = { _ in }) -> TestReplica {
        var limits = Limits.small
        change(&limits)
        return TestReplica(0, keys: keys, limits: limits)
    }

    /// Opens a session of each client by one agreed batch.
    private static func open(_ replica: TestReplica) {
        for client in replica.keys.clients { replica.receive(replica.keys.opening(client.rawValue)) }
        replica.endTurn()
        for prePrepare in replica.sentPrePrepares { replica.agree(on: prePrepare) }
        replica.outbox = []
        replica.replies = []
    }

    private static func content(_ prePrepare: PrePrepare) -> [String] {
        prePrepare.batch.requests.map { "\($0.client.rawValue)#\($0.number.rawValue)" }
    }

    @Test func `everything that waits at the end of a turn is one batch`() {
        let keys = Keys(clients: 3)
        let replica = Self.primary(keys)
        for client: UInt32 in 1...3 { replica.receive(keys.opening(client)) }
        #expect(replica.sentPrePrepares.isEmpty)
        replica.endTurn()
        #expect(replica.sentPrePrepares.map { $0.batch.requests.count } == [3])
        replica.endTurn()
        #expect(replica.sentPrePrepares.count == 1, "an empty turn proposes nothing")
    }

    @Test func `no more than the pipeline's depth is proposed and not executed`() {
        let keys = Keys(clients: 1)
        let replica = Self.primary(keys) {
            $0.pipelineDepth = 3
            $0.batchRequests = 1
        }
        Self.open(replica)
        for number: UInt64 in 1...6 { replica.receive(keys.request(1, number: number)) }
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(\.sequence.rawValue) == [2, 3, 4])
        // A later batch that commits first frees nothing: it is not executed.
        replica.agree(on: replica.sentPrePrepares[1])
        replica.endTurn()
        #expect(replica.sentPrePrepares.count == 3)
        replica.agree(on: replica.sentPrePrepares[0])
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(\.sequence.rawValue) == [2, 3, 4, 5, 6])
    }

    @Test func `nothing is proposed beyond the high water mark until a checkpoint is stable`() {
        let keys = Keys(clients: 1)
        let replica = Self.primary(keys) { $0.batchRequests = 1 }
        Self.open(replica)
        for number: UInt64 in 1...10 { replica.receive(keys.request(1, number: number)) }
        replica.endTurn()
        for prePrepare in replica.sentPrePrepares { replica.agree(on: prePrepare) }
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(\.sequence.rawValue) == Array(2...8))
        let checkpoint = replica.sentCheckpoints[0]
        for peer: UInt8 in [1, 2] {
            let other = keys.checkpoint(checkpoint.sequence, root: checkpoint.root, by: ReplicaID(peer))
            replica.receive(.checkpoint(Unverified(other)), from: peer)
        }
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(\.sequence.rawValue) == Array(2...11))
    }

    @Test func `a replica that is to misbehave makes its batches small for as long as it is told to`() {
        let keys = Keys(clients: 1)
        let replica = Self.primary(keys) { $0.batchRequests = 4 }
        Self.open(replica)
        replica.proposeAtMost(1)
        for number: UInt64 in 1...2 { replica.receive(keys.request(1, number: number)) }
        replica.endTurn()
        replica.proposeAtMost(9)
        for number: UInt64 in 3...7 { replica.receive(keys.request(1, number: number)) }
        replica.endTurn()
        #expect(
            replica.sentPrePrepares.map { $0.batch.requests.count } == [1, 1, 4, 1],
            "never more than its limits say"
        )
        for prePrepare in replica.sentPrePrepares { replica.agree(on: prePrepare) }
        replica.proposeAtMost(nil)
        for number: UInt64 in 8...10 { replica.receive(keys.request(1, number: number)) }
        replica.endTurn()
        #expect(replica.sentPrePrepares.last?.batch.requests.count == 3)
    }

    @Test func `a flood of one client does not fill batches`() {
        let keys = Keys(clients: 3)
        let replica = Self.primary(keys) { $0.batchRequests = 4 }
        Self.open(replica)
        for number: UInt64 in 1...20 { replica.receive(keys.request(1, number: number)) }
        replica.receive(keys.request(2, number: 1))
        replica.receive(keys.request(3, number: 1))
        replica.receive(keys.request(3, number: 2))
        replica.endTurn()
        #expect(Self.content(replica.sentPrePrepares[0]) == ["1#1", "2#1", "3#1", "1#2"])
        #expect(Self.content(replica.sentPrePrepares[1]) == ["3#2", "1#3", "1#4", "1#5"])
    }

    @Test func `requests of a client go into batches in their order, whatever order they came in`() {
        let keys = Keys(clients: 1)
        let replica = Self.primary(keys)
        Self.open(replica)
        replica.receive(keys.request(1, number: 3))
        replica.receive(keys.request(1, number: 2))
        replica.endTurn()
        #expect(replica.sentPrePrepares.isEmpty, "a gap is waited for")
        replica.receive(keys.request(1, number: 1))
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(Self.content) == [["1#1", "1#2", "1#3"]])
    }

    @Test func `a batch ends before its bound of bytes, and a longer request is a batch of its own`() {
        let keys = Keys(clients: 3)
        let short = String(repeating: "s", count: 100)
        let long = String(repeating: "l", count: 1_000)
        let replica = Self.primary(keys) { $0.batchBytes = 500 }
        Self.open(replica)
        replica.receive(keys.request(1, number: 1, [short]))
        replica.receive(keys.request(2, number: 1, [long]))
        replica.receive(keys.request(3, number: 1, [short]))
        replica.receive(keys.request(3, number: 2, [short]))
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(Self.content) == [["1#1"], ["2#1"], ["3#1", "3#2"]])
    }

    private static let long = String(repeating: "l", count: 64 << 10)
    /// For how long one of those waits for others.
    private static let patience: UInt64 = 63_000_000

    @Test
    func `long requests of one client wait while others' short ones are served, and no longer than their length says`()
    {
        let keys = Keys(clients: 2)
        let replica = Self.primary(keys)
        Self.open(replica)
        for number: UInt64 in 1...3 { replica.receive(keys.request(1, number: number, [Self.long])) }
        replica.receive(keys.request(2, number: 1))
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(Self.content) == [["2#1"]])
        // It is not executed yet: the long ones have not waited long enough.
        replica.receive(keys.request(2, number: 2))
        replica.time += Self.patience / 4
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(Self.content) == [["2#1"], ["2#2"]])
        replica.time += Self.patience
        replica.receive(keys.request(2, number: 3))
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(Self.content).last == ["1#1", "2#3"], "the first of them is due")
        replica.time += Self.patience / 4
        replica.receive(keys.request(2, number: 4))
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(Self.content).last == ["2#4"], "and the next waits as long")
        // When nothing short is under way, nobody gains by their waiting.
        for prePrepare in replica.sentPrePrepares { replica.agree(on: prePrepare) }
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(Self.content).last == ["1#2", "1#3"])
    }

    @Test func `a long request counts as many, and has its turn when another client has had as many`() {
        let keys = Keys(clients: 3)
        let replica = Self.primary(keys) { $0.logWindow = 64 }
        Self.open(replica)
        replica.receive(keys.request(1, number: 1, [Self.long]))
        var turns = 0
        while !replica.sentPrePrepares.contains(where: { Self.content($0).contains("1#1") }), turns < 100 {
            turns += 1
            // The other one asks half as often.
            replica.receive(keys.request(2, number: UInt64(turns)))
            if turns.isMultiple(of: 2) { replica.receive(keys.request(3, number: UInt64(turns / 2))) }
            replica.endTurn()
            // One batch is always under way.
            for prePrepare in replica.sentPrePrepares.dropLast().suffix(1) { replica.agree(on: prePrepare) }
        }
        #expect(turns == 9, "64 KiB are 8 turns after the first")
    }

    @Test func `while a long request that is due does not fit no short one is preferred to it`() {
        let keys = Keys(clients: 4)
        let replica = Self.primary(keys) { $0.batchBytes = 100 << 10 }
        Self.open(replica)
        for client: UInt32 in 1...3 { replica.receive(keys.request(client, number: 1, [Self.long])) }
        replica.receive(keys.request(4, number: 1))
        replica.endTurn()
        replica.time += Self.patience
        replica.receive(keys.request(4, number: 2))
        replica.endTurn()
        #expect(replica.sentPrePrepares.map(Self.content) == [["4#1"], ["1#1"], ["2#1"], ["3#1", "4#2"]])
    }

    @Test func `a client's waiting bytes are bounded, but its next request is always taken`() {
        let keys = Keys(clients: 2)
        let replica = Self.primary(keys) {
            $0.clientPendingBytes = MessageLimits.requestBytes
            $0.longRequestBytes = .max
        }
        Self.open(replica)
        let half = String(repeating: "h", count: MessageLimits.requestBytes / 2 - 200)
        replica.receive(keys.request(1, number: 2, [half]))
        replica.receive(keys.request(1, number: 3, [half]))
        replica.receive(keys.request(1, number: 4, [half]))
        #expect(replica.dropped(.clientBytes) == 1)
        replica.receive(keys.request(2, number: 1))
        // Without this one the client could never go on: what it has waiting cannot be executed before.
        replica.receive(keys.request(1, number: 1, [half]))
        replica.endTurn()
        #expect(replica.dropped(.clientBytes) == 1)
        #expect(replica.sentPrePrepares.flatMap(Self.content).sorted() == ["1#1", "1#2", "1#3", "2#1"])
        for prePrepare in replica.sentPrePrepares { replica.agree(on: prePrepare) }
        replica.receive(keys.request(1, number: 4, [half]))
        replica.receive(keys.request(1, number: 5, [half]))
        #expect(replica.dropped(.clientBytes) == 1, "what was executed frees its bytes")
    }

    @Test func `limits are checked against each other`() {
        #expect(Limits().problem == nil)
        #expect(Limits.small.problem == nil)
        let wrong: [(inout Limits) -> Void] = [
            { $0.checkpointInterval = 0 }, { $0.checkpointInterval = .max }, { $0.logWindow = 255 },
            { $0.logWindow = .max }, { $0.pipelineDepth = 0 }, { $0.pipelineDepth = 257 },
            { $0.batchRequests = 0 }, { $0.batchRequests = MessageLimits.requestsPerBatch + 1 },
            { $0.batchBytes = 0 }, { $0.batchBytes = 2 << 20 + 1 }, { $0.batchBytes = .max },
            { $0.clientWindow = 0 }, { $0.clientWindow = 65 },
            { $0.clientPendingBytes = MessageLimits.requestBytes - 1 }, { $0.stallNanoseconds = 0 },
            { $0.longRequestBytes = 0 }, { $0.longRequestBytesPerSecond = 1 }, { $0.pastBatches = -1 },
            { $0.longestStallNanoseconds = 1 }, { $0.catchUpBatches = 0 },
        ]
        for (place, change) in wrong.enumerated() {
            var limits = Limits()
            change(&limits)
            #expect(limits.problem != nil, "\(place)")
        }
    }

    @Test func `the longest batch that the limits allow has an encoding that fits its bound`() throws {
        let keys = Keys(clients: 3)
        let replica = Self.primary(keys) { $0.batchBytes = 2 << 20 }
        Self.open(replica)
        let operation = String(repeating: "x", count: 1 << 20)
        replica.receive(keys.request(1, number: 1, [operation]))
        replica.receive(keys.request(2, number: 1, [String(repeating: "x", count: 1 << 20 - 1_000)]))
        replica.receive(keys.request(3, number: 1, [operation]))
        replica.endTurn()
        #expect(
            replica.sentPrePrepares.map(Self.content) == [["2#1", "1#1"], ["3#1"]],
            "the shorter one is due first"
        )
        for prePrepare in replica.sentPrePrepares {
            let bytes = prePrepare.encoded
            guard case .prePrepare(let decoded) = try PeerMessage(decoding: bytes, in: 0..<bytes.count) else {
                Issue.record("a PRE-PREPARE is decoded as one")
                continue
            }
            #expect(decoded.batch.digest == prePrepare.batch.digest)
        }
    }
}
