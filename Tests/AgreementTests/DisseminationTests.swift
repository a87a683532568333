import Messages
import Testing

@testable import Agreement

/// Requests that clients send to every replica, and proposals that name them (PBFT section 5.1.5).
struct DisseminationTests {
    private static let switches: [ProtocolSwitches] = [ProtocolSwitches.pbft, .unwatched].map {
        var switches = $0
        switches.dissemination = .all
        return switches
    }

    private func named(_ proposal: PrePrepare) -> PeerMessage {
        PeerMessage.prePrepare(proposal).disseminated(.all)
    }

    @Test(arguments: switches)
    func `a cluster orders what its clients send to all, each request checked once`(switches: ProtocolSwitches) {
        let cluster = TestCluster(keys: Keys(switches: switches), window: 4)
        var carried = 0
        var named = 0
        var forwarded = 0
        cluster.filter = { _, body in
            switch body {
            case .peer(.prePrepare): carried += 1
            case .peer(.digestPrePrepare): named += 1
            case .peer(.forward): forwarded += 1
            default: break
            }
            return .deliver
        }
        cluster.openSessions()
        cluster.run((1...20).map { "op\($0)" })
        #expect(cluster.client(1).completions.count == 20)
        #expect(Set(cluster.replicas.map(\.root)).count == 1)
        #expect(cluster.replicas.allSatisfy { $0.checkedRequests == 22 })
        #expect(carried == 0 && named > 0, "proposals name requests")
        #expect(forwarded == 0, "and nobody hands them to the primary")
    }

    @Test func `a proposal waits for a request that is not here, and is voted for when its client sends it`() {
        let keys = Keys(switches: Self.switches[1])
        let replica = TestReplica(1, keys: keys)
        let opening = keys.opening(1)
        replica.receive(named(.proposal(1, [opening, keys.opening(2)])), from: 0)
        replica.receive(opening)
        #expect(replica.sentVotes(.prepare).isEmpty && replica.journal.isEmpty)
        replica.receive(keys.opening(2))
        #expect(replica.sentVotes(.prepare).count == 1 && replica.checkedRequests == 2)
    }

    @Test func `what does not come is asked of the primary, by its places only`() throws {
        let keys = Keys(clients: 3, switches: Self.switches[1])
        let replica = TestReplica(1, keys: keys)
        let openings = (1...3).map { keys.opening($0) }
        replica.receive(openings[1])
        let proposal = PrePrepare.proposal(1, openings)
        replica.receive(named(proposal), from: 0)
        replica.outbox = []
        replica.time = try #require(replica.deadline).nanoseconds
        replica.passTime()
        let asked = replica.takeOutbox()
        guard case .fetch(let fetch) = asked.first?.message else {
            Issue.record("no FETCH")
            return
        }
        #expect(fetch.subject == .requests(SequenceNumber(1), proposal.batch.digest, [0, 2]))
        #expect(asked.first?.recipient == .replica(ReplicaID(0)))
        let digest = proposal.batch.digest
        let wrong = BatchRequests(sequence: SequenceNumber(1), digest: digest, requests: [keys.request(1, number: 1)])
        replica.receive(.requests(wrong), from: 3)
        #expect(replica.sentVotes(.prepare).isEmpty)
        let answer = BatchRequests(sequence: SequenceNumber(1), digest: digest, requests: [openings[0], openings[2]])
        replica.receive(.requests(answer), from: 3)
        #expect(replica.sentVotes(.prepare).map(\.digest) == [digest])
        #expect(replica.checkedRequests == 3, "what came otherwise is checked too")
    }

    @Test func `the primary serves what it proposed, and nothing that is not there`() {
        let keys = Keys(switches: Self.switches[1])
        let primary = TestReplica(0, keys: keys)
        primary.receive(keys.opening(1))
        primary.endTurn()
        let digest = primary.sentPrePrepares[0].batch.digest
        primary.outbox = []
        primary.receive(.fetch(Fetch(.requests(SequenceNumber(1), digest, [0]))), from: 2)
        guard case .requests(let answer) = primary.takeOutbox().first?.message else {
            Issue.record("no REQUESTS")
            return
        }
        #expect(answer.requests.map(\.envelopeDigest) == [keys.opening(1).envelopeDigest])
        for places in [[1], [0, 1], [4095]] as [[UInt16]] {
            primary.receive(.fetch(Fetch(.requests(SequenceNumber(1), digest, places))), from: 2)
        }
        primary.receive(.fetch(Fetch(.requests(SequenceNumber(2), digest, [0]))), from: 2)
        #expect(primary.takeOutbox().isEmpty && primary.dropped(.uselessFetch) == 4)
    }

    @Test func `a forged request that the primary names and serves is its fault`() {
        let keys = Keys(switches: Self.switches[1])
        let replica = TestReplica(1, keys: keys)
        let forged = keys.request(1, number: 0, [], spoiledFor: Set(keys.size.members))
        let proposal = PrePrepare.proposal(1, [forged])
        replica.receive(named(proposal), from: 0)
        let answer = BatchRequests(sequence: SequenceNumber(1), digest: proposal.batch.digest, requests: [forged])
        replica.receive(.requests(answer), from: 0)
        #expect(replica.accusations(.forgedRequest, of: 0) == 1)
        #expect(replica.sentVotes(.prepare).isEmpty)
    }

    @Test func `two proposals for one number are equivocation, and the first one stands`() {
        let keys = Keys(switches: Self.switches[1])
        let replica = TestReplica(1, keys: keys)
        replica.receive(named(.proposal(1, [keys.opening(1)])), from: 0)
        replica.receive(named(.proposal(1, [keys.opening(2)])), from: 0)
        #expect(replica.accusations(.equivocation, of: 0) == 1)
        replica.receive(keys.opening(2))
        #expect(replica.sentVotes(.prepare).isEmpty)
        replica.receive(keys.opening(1))
        #expect(replica.sentVotes(.prepare).count == 1)
    }

    @Test func `a request that only backups have is handed to the primary before it is suspected`() {
        let cluster = TestCluster(keys: Keys(switches: Self.switches[1]))
        cluster.filter = { link, body in
            if case .request = body, link.to == .replica(0) { return .drop }
            return .deliver
        }
        for client in cluster.clients { client.open(1) }
        cluster.deliverAll()
        cluster.advance(by: 10_000_000_000)
        #expect(cluster.clients.allSatisfy { $0.opened == [SessionID(1)] })
        #expect(cluster.replicas.allSatisfy { $0.view == View(0) })
    }

    @Test func `a new primary proposes what the clients sent to all without hearing of it again`() {
        let cluster = TestCluster(keys: Keys(switches: Self.switches[1]))
        cluster.openSessions()
        cluster.crashed = [0]
        var forwarded = 0
        cluster.filter = { _, body in
            if case .peer(.forward) = body { forwarded += 1 }
            return .deliver
        }
        cluster.run(["kept"])
        for replica in cluster.live { replica.suspect() }
        cluster.deliverAll()
        #expect(cluster.client(1).results[1] != nil)
        #expect(cluster.client(1).retransmissions == 0)
        #expect(forwarded == 0)
    }
}
