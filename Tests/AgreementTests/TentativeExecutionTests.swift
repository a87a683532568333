import Messages
import Testing

@testable import Agreement

/// Execution of what is prepared and not yet known to be committed, and its rollback (PBFT section 5.1.2).
struct TentativeExecutionTests {
    private let keys = Keys(switches: .pbft)

    /// A backup that holds batch 1, prepared, with these requests.
    private func prepared(_ requests: [Request], syncsAtOnce: Bool = true) -> (TestReplica, PrePrepare) {
        let replica = TestReplica(1, keys: keys)
        replica.syncsAtOnce = syncsAtOnce
        let proposal = PrePrepare.proposal(1, requests)
        replica.receive(.prePrepare(proposal), from: 0)
        replica.receive(.prepare, 1, proposal.batch.digest, from: [2, 3])
        return (replica, proposal)
    }

    private func commit(_ proposal: PrePrepare, at replica: TestReplica) {
        replica.receive(.commit, proposal.sequence.rawValue, proposal.batch.digest, from: [0, 2, 3])
    }

    @Test func `a prepared batch is answered tentatively, once P is durable, and executed for good when it commits`() {
        let (replica, proposal) = prepared([keys.opening(1), keys.request(1, number: 1, ["a"])], syncsAtOnce: false)
        #expect(replica.operations == ["a"])
        #expect(replica.executed == .zero && replica.batches.isEmpty && replica.records.isEmpty)
        replica.sync(records: replica.journal.count - 1)
        #expect(replica.replies.isEmpty, "P is not durable")
        replica.sync()
        #expect(replica.replies.map(\.reply.isTentative) == [true, true])
        replica.replies = []
        commit(proposal, at: replica)
        replica.sync()
        #expect(replica.executed == SequenceNumber(1))
        #expect(replica.batches.map(\.requests.count) == [2])
        #expect(replica.operations == ["a"], "once")
        #expect(replica.replies.isEmpty, "what was answered is not answered again unasked")
    }

    @Test func `aardvark answers nothing before it is committed`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        let proposal = PrePrepare.proposal(1, [keys.opening(1)])
        replica.receive(.prePrepare(proposal), from: 0)
        replica.receive(.prepare, 1, proposal.batch.digest, from: [2, 3])
        #expect(replica.replies.isEmpty && replica.tentative == nil)
        commit(proposal, at: replica)
        #expect(replica.replies.map(\.reply.isTentative) == [false])
    }

    @Test func `only the batch after the last committed one is executed tentatively`() {
        let replica = TestReplica(1, keys: keys)
        let first = PrePrepare.proposal(1, [keys.opening(1)])
        let second = PrePrepare.proposal(2, [keys.request(1, number: 1, ["a"])])
        for proposal in [first, second] {
            replica.receive(.prePrepare(proposal), from: 0)
            replica.receive(.prepare, proposal.sequence.rawValue, proposal.batch.digest, from: [2, 3])
        }
        #expect(replica.tentative?.execution.sequence == SequenceNumber(1))
        #expect(replica.replies.map(\.reply.sequence.rawValue) == [1])
        commit(first, at: replica)
        #expect(replica.tentative?.execution.sequence == SequenceNumber(2))
        #expect(replica.replies.map(\.reply.sequence.rawValue) == [1, 2])
        #expect(replica.batches.map(\.sequence.rawValue) == [1])
        commit(second, at: replica)
        #expect(replica.batches.map(\.sequence.rawValue) == [1, 2])
    }

    @Test func `duplicates in a tentative batch take no effect`() {
        let request = keys.request(1, number: 1, ["a"])
        let (replica, proposal) = prepared([keys.opening(1), request, request, keys.request(1, number: 3, ["c"])])
        #expect(replica.operations == ["a"])
        commit(proposal, at: replica)
        #expect(replica.operations == ["a"] && replica.batches.map(\.requests.count) == [2])
    }

    @Test func `a client that asks again is answered with the commit, or from the cache after it`() {
        let request = keys.request(1, number: 1, ["a"])
        let replica = TestReplica(1, keys: keys)
        replica.agree(on: .proposal(1, [keys.opening(1)]))
        replica.receive(request)
        replica.replies = []
        let proposal = PrePrepare.proposal(2, [request])
        replica.receive(.prePrepare(proposal), from: 0)
        replica.receive(.prepare, 2, proposal.batch.digest, from: [2, 3])
        #expect(replica.replies.map(\.reply.isTentative) == [true])
        replica.replies = []
        replica.receive(request)
        replica.receive(request)
        #expect(replica.replies.isEmpty)
        commit(proposal, at: replica)
        #expect(replica.replies.map(\.reply.isTentative) == [false])
        replica.replies = []
        replica.receive(request)
        #expect(replica.replies.map(\.reply.isTentative) == [false])
        #expect(replica.replies.first?.reply.payload != nil, "a cached reply is whole")
    }

    @Test func `a read that comes during a tentative execution waits for the commit`() {
        let (replica, proposal) = prepared([keys.opening(1)])
        replica.receive(ReadRequest(tag: 1, wantsResult: true, operation: [1]))
        #expect(replica.queries.isEmpty)
        commit(proposal, at: replica)
        #expect(replica.queries.count == 1)
    }

    @Test func `a batch that only one replica prepared is taken back, and the history is that of the others`() {
        let cluster = TestCluster(keys: keys, limits: .large)
        cluster.openSessions()
        // Replica 3 alone hears PREPAREs, and nobody hears a COMMIT.
        cluster.filter = { link, body in
            guard case .peer(.vote(let vote)) = body else { return .deliver }
            return vote.phase == .prepare && link.to == .replica(3) ? .deliver : .drop
        }
        cluster.run(["lost"])
        #expect(cluster[3].operations == ["lost"])
        #expect((0..<3).allSatisfy { cluster[$0].operations.isEmpty })
        // The others begin a view without it, in which another client's request comes first.
        cluster.crashed = [3]
        cluster.filter = { _, _ in .deliver }
        cluster.run(["first"], client: 2)
        for replica in cluster.live { replica.suspect() }
        cluster.deliverAll()
        cluster.advance(by: 10_000_000_000)
        cluster.crashed = []
        cluster.advance(by: 30_000_000_000)
        #expect(cluster[3].events.contains(.rolledBack(SequenceNumber(2))))
        #expect(Set(cluster.replicas.map(\.root)).count == 1)
        #expect(cluster[3].operations == cluster[1].operations)
        #expect(cluster[3].operations.count == 2)
    }

    @Test func `replies of a batch that a view change moves are those of its new place`() {
        let cluster = TestCluster(keys: keys)
        cluster.openSessions()
        cluster.filter = { _, body in
            if case .peer(.vote(let vote)) = body, vote.phase == .commit { return .drop }
            return .deliver
        }
        cluster.run(["kept"])
        #expect(cluster.client(1).results[1] != nil, "2f + 1 tentative replies are enough")
        #expect(cluster.replicas.allSatisfy { $0.tentative != nil })
        cluster.filter = { _, _ in .deliver }
        for replica in cluster.live { replica.suspect() }
        cluster.deliverAll()
        #expect(cluster.replicas.allSatisfy { $0.operations == ["kept"] && $0.tentative == nil })
        #expect(cluster.replicas.allSatisfy { $0.events.contains(.rolledBack(SequenceNumber(2))) })
        #expect(cluster.replicas.allSatisfy { $0.batches.count == 2 })
    }
}

/// What the client takes for a result when replies are tentative, or digests (PBFT section 5.1).
struct ReplyTallyTests {
    private let size = Keys().size

    private func reply(
        _ text: String,
        view: UInt64 = 0,
        sequence: UInt64 = 1,
        isTentative: Bool = false,
        isDigest: Bool = false
    ) -> Reply {
        let payload = Reply.Payload(
            session: SessionID(1),
            number: RequestNumber(1),
            outcome: .executed,
            results: [Array(text.utf8)]
        )
        return Reply(
            view: View(view),
            sequence: SequenceNumber(sequence),
            isTentative: isTentative,
            content: isDigest ? payload.summary : .whole(payload)
        )
    }

    private func results(_ replies: [Reply]) -> [Bool] {
        var tally = ReplyTally()
        return replies.enumerated().map { index, reply in
            tally.count(reply, from: ReplicaID(UInt8(index)), of: size) != nil
        }
    }

    @Test func `2f + 1 tentative replies of one view and number are needed, f + 1 committed ones of any`() {
        let tentative = reply("a", isTentative: true)
        #expect(results([tentative, tentative, tentative]) == [false, false, true])
        #expect(results([reply("a"), reply("a", view: 3, sequence: 9)]) == [false, true])
        #expect(results([tentative, reply("a"), tentative]) == [false, false, true])
        #expect(results([tentative, tentative, reply("a", view: 1)]) == [false, false, false])
        #expect(results([tentative, tentative, reply("a", view: 1, isTentative: true)]) == [false, false, false])
        #expect(results([tentative, tentative, reply("a", sequence: 2, isTentative: true)]) == [false, false, false])
        #expect(
            results([tentative, tentative, reply("b", isTentative: true), tentative]) == [false, false, false, true]
        )
    }

    @Test func `a digest counts for its payload, and a result needs the payload too`() {
        let long = String(repeating: "x", count: 100)
        let digest = reply(long, isDigest: true)
        #expect(results([digest, digest, reply(long)]) == [false, false, true])
        #expect(results([reply(long), digest]) == [false, true])
        #expect(results([digest, reply(long + "!"), digest]) == [false, false, false])
        #expect(results([digest, reply("a"), digest, reply(long)]) == [false, false, false, true])
        var tally = ReplyTally()
        _ = tally.count(digest, from: ReplicaID(0), of: size)
        #expect(!tally.lacksPayload(size))
        _ = tally.count(digest, from: ReplicaID(1), of: size)
        #expect(tally.lacksPayload(size))
        #expect(tally.count(reply(long), from: ReplicaID(1), of: size) != nil)
        #expect(!tally.lacksPayload(size))
    }

    @Test func `a replica's last reply counts, and only once`() {
        var tally = ReplyTally()
        for _ in 0..<4 { #expect(tally.count(reply("a"), from: ReplicaID(0), of: size) == nil) }
        #expect(tally.count(reply("b"), from: ReplicaID(0), of: size) == nil)
        #expect(tally.count(reply("a"), from: ReplicaID(1), of: size) == nil)
        #expect(tally.count(reply("a"), from: ReplicaID(0), of: size) != nil)
    }

    @Test func `a replica that is not heard of is not asked for results until it is`() {
        var repliers = Repliers(size: size)
        func named(_ count: Int) -> [Int] { (0..<count).map { _ in repliers.next().index } }
        for _ in 0..<100 {
            repliers.completed()
            for replica: UInt8 in [0, 1, 3] { repliers.heard(ReplicaID(replica)) }
        }
        #expect(Set(named(200)) == [0, 1, 3])
        repliers.heard(ReplicaID(2))
        #expect(Set(named(8)) == [0, 1, 2, 3])
        for _ in 0..<100 { repliers.completed() }
        #expect(size.contains(repliers.next()), "somebody is asked even when nobody is heard of")
    }

    @Test func `a replier that keeps results back is left out, longer each time, and comes back`() {
        var repliers = Repliers(size: size)
        #expect(Set((0..<4).map { _ in repliers.next() }).count == 4)
        func absences() -> Int {
            var count = 0
            while repliers.next() != ReplicaID(2) { count += 1 }
            return count
        }
        repliers.avoid(ReplicaID(2))
        let first = absences()
        repliers.avoid(ReplicaID(2))
        let second = absences()
        #expect(first >= 60 && second >= 2 * first - 8)
        for replica in size.members { repliers.avoid(replica) }
        #expect(size.contains(repliers.next()), "somebody is asked all the same")
    }
}
