import Agreement
import Messages
import Testing

/// Retransmission to every replica and forwarding to the primary (PBFT section 4.1).
struct ForwardingTests {
    private let keys = Keys()

    @Test func `a backup forwards a checked request of a client to the primary, and the primary orders it`() {
        let backup = TestReplica(2, keys: keys)
        backup.receive(keys.opening(1))
        #expect(backup.sentForwards.map(\.digest) == [keys.opening(1).digest])
        #expect(backup.outbox.map(\.recipient) == [.replica(ReplicaID(0))])
        let primary = TestReplica(0, keys: keys)
        primary.receive(keys.forward(keys.opening(1), by: 2), from: 2)
        #expect(primary.checkedRequests == 1, "a forwarded request is checked by the primary itself")
        primary.endTurn()
        #expect(primary.sentPrePrepares.count == 1)
    }

    @Test func `a backup forwards nothing that it could not check`() {
        let backup = TestReplica(2, keys: keys)
        backup.receive(keys.request(1, number: 0, [], spoiledFor: [ReplicaID(2)]))
        #expect(backup.outbox.isEmpty && backup.dropped(.badAuthentication) == 1)
    }

    @Test func `a request that a client sends again to a backup is forwarded once in a view, and checked once`() {
        let backup = TestReplica(2, keys: keys)
        for _ in 0..<3 { backup.receive(keys.opening(1)) }
        #expect(backup.sentForwards.count == 1 && backup.checkedRequests == 1)
        #expect(backup.dropped(.duplicateRequest) == 2)
        backup.agree(on: .proposal(1, [keys.opening(1)]))
        for _ in 0..<3 { for number: UInt64 in 1...2 { backup.receive(keys.request(1, number: number)) } }
        #expect(backup.sentForwards.map(\.number.rawValue) == [0, 1, 2])
        #expect(backup.checkedRequests == 3)
    }

    @Test func `in the next view what waits is forwarded again, to the next primary`() {
        let cluster = TestCluster()
        cluster.openSessions()
        var forwards: [TestCluster.Link: Int] = [:]
        cluster.filter = { link, body in
            guard case .peer(.forward) = body else { return link.to == .replica(0) ? .drop : .deliver }
            forwards[link, default: 0] += 1
            return .drop
        }
        cluster.client(1).submit("a", ticket: 1)
        cluster.deliverAll()
        cluster.advance(by: 1_000_000_000)
        for replica in cluster.replicas where replica.id != ReplicaID(0) { replica.suspect() }
        cluster.filter = { link, body in
            if case .peer(.forward) = body { forwards[link, default: 0] += 1 }
            return .deliver
        }
        cluster.deliverAll()
        #expect(cluster.client(1).results == [1: "1:a"])
        for backup: UInt8 in 1...3 {
            #expect(forwards[.init(from: .replica(backup), to: .replica(0))] == 1)
        }
        for backup: UInt8 in 2...3 {
            #expect(forwards[.init(from: .replica(backup), to: .replica(1))] == 1)
        }
    }

    @Test func `a backup takes no forwards, and the primary forwards nothing`() {
        let backup = TestReplica(2, keys: keys)
        backup.receive(keys.forward(keys.opening(1), by: 3), from: 3)
        #expect(backup.outbox.isEmpty && backup.dropped(.wrongRole) == 1 && backup.checkedRequests == 0)
        let primary = TestReplica(0, keys: keys)
        primary.receive(keys.opening(1))
        primary.receive(keys.opening(1))
        #expect(primary.sentForwards.isEmpty && primary.dropped(.duplicateRequest) == 1)
    }

    @Test func `forwards of one request by every backup are ordered once`() {
        let primary = TestReplica(0, keys: keys)
        for peer: UInt8 in 1...3 {
            primary.receive(keys.forward(keys.opening(1), by: peer), from: peer)
        }
        primary.endTurn()
        #expect(primary.sentPrePrepares.map(\.batch.requests.count) == [1])
    }

    @Test func `a client whose primary does not hear it is served after its time-out`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.filter = { link, _ in
            link.from == .client(1) && link.to == .replica(0) ? .drop : .deliver
        }
        cluster.run(["a"])
        #expect(cluster.client(1).results.isEmpty)
        cluster.advance(by: 100_000_000)
        #expect(cluster.client(1).results == [1: "1:a"])
        #expect(cluster.replicas.allSatisfy { $0.operations == ["a"] })
    }

    @Test func `replies that were lost come from the reply cache`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.filter = { link, _ in link.to == .client(1) ? .drop : .deliver }
        cluster.run(["a"])
        cluster.filter = { _, _ in .deliver }
        let batches = cluster[0].batches.count
        cluster.advance(by: 100_000_000)
        #expect(cluster.client(1).results == [1: "1:a"])
        #expect(cluster[0].batches.count == batches, "nothing was ordered again")
    }

    @Test(arguments: [ProtocolSwitches.pbft, .aardvark])
    func `a long request that only backups have is handed to the primary once, when it should have proposed it`(
        switches: ProtocolSwitches
    ) {
        let keys = Keys(switches: switches)
        let backup = TestReplica(1, keys: keys, limits: .large)
        backup.agree(on: .proposal(1, [keys.opening(1)]))
        backup.outbox = []
        let request = keys.request(1, number: 1, [String(repeating: "l", count: 256 << 10)])
        backup.receive(request)
        backup.receive(request)
        backup.endTurn()
        #expect(backup.sentForwards.count == 0)
        let end = backup.time + 700_000_000
        while let due = backup.deadline?.nanoseconds, due <= end {
            backup.time = max(due, backup.time)
            backup.passTime()
            backup.endTurn()
            if backup.sentForwards.count > 0 { break }
        }
        #expect(backup.sentForwards.count == 1)
    }
}
