import Agreement
import Cryptography
import Messages
import Testing

/// What a replica keeps of others' misbehaviour, where requests are signed.
struct EvidenceKeepingTests {
    private let keys = Keys()

    private func openedCluster(_ keys: Keys) -> TestCluster {
        let cluster = TestCluster(keys: keys, limits: Limits())
        cluster.openSessions()
        return cluster
    }

    private func accused(_ replica: TestReplica) -> [String] {
        replica.evidence.filter { keys.flaw(of: $0) == nil }.map { "\($0.accused)" }
    }

    @Test func `a bad forward gives evidence against its forwarder, once`() {
        let primary = openedCluster(keys)[0]
        let bad = keys.request(1, number: 1, spoiledFor: [ReplicaID(0)])
        primary.receive(keys.forward(bad, by: 2), from: 2)
        primary.receive(keys.forward(keys.request(2, number: 1, spoiledFor: [ReplicaID(0)]), by: 2), from: 2)
        #expect(accused(primary) == ["replica 2"])
        #expect(primary.events.contains(.blacklisted(.forwarded(by: ReplicaID(2)))))
        #expect(primary.evidence.first?.request.digest == bad.digest)
    }

    @Test func `a good forward gives none, and every correct replica endorses what it forwards`() {
        let cluster = openedCluster(keys)
        var endorsed = 0
        cluster.filter = { link, body in
            guard case .peer(.forward(let forward)) = body else {
                return link.from == .client(1) && link.to == .replica(0) ? .drop : .deliver
            }
            let word = forward.endorsement
            guard let word, link.from == .replica(word.forwarder.rawValue) else { return .drop }
            let request = forward.request.claim
            let own = keys.endorsement(of: request, by: word.forwarder.rawValue, in: word.view)
            if own == word { endorsed += 1 }
            return .deliver
        }
        cluster.run(["a"])
        cluster.advance(by: 100_000_000)
        #expect(cluster.client(1).results == [1: "1:a"] && endorsed == 3)
        #expect(cluster.replicas.allSatisfy { $0.evidence.isEmpty })
    }

    @Test func `a forward without its forwarder's word, or with another's, is not looked at`() {
        let primary = openedCluster(keys)[0]
        let checked = primary.checkedRequests
        let bad = keys.request(1, number: 1, spoiledFor: [ReplicaID(0)])
        primary.receive(.forward(Forward(bad)), from: 2)
        primary.receive(keys.forward(bad, by: 3), from: 2)
        #expect(primary.checkedRequests == checked && primary.dropped(.wrongScheme) == 2 && primary.evidence.isEmpty)
    }

    @Test func `a forwarder that signs something else is blacklisted, and what there is of it proves nothing`() {
        let primary = openedCluster(keys)[0]
        let bad = keys.request(1, number: 1, spoiledFor: [ReplicaID(0)])
        let word = keys.endorsement(of: keys.request(1, number: 1), by: 2)
        primary.receive(.forward(Forward(bad, endorsement: word)), from: 2)
        #expect(primary.events.contains(.blacklisted(.forwarded(by: ReplicaID(2)))))
        #expect(primary.evidence.map { keys.flaw(of: $0) } == [.notEndorsed])
    }

    @Test func `a request of another key epoch is judged by nobody`() {
        let primary = openedCluster(keys)[0]
        let early = keys.request(1, number: 1, epoch: 1, spoiledFor: [ReplicaID(0)])
        primary.receive(keys.forward(early, by: 2), from: 2)
        #expect(primary.evidence.isEmpty && !primary.events.contains(.blacklisted(.forwarded(by: ReplicaID(2)))))
    }

    @Test(arguments: [true, false])
    func `two signed requests of one number give evidence against their client, and cost one more check`(
        isForwarded: Bool
    ) {
        let primary = openedCluster(keys)[0]
        // Number 2 waits for number 1.
        primary.receive(keys.request(1, number: 2, ["a"]))
        let checked = primary.checkedRequests
        for operation in ["b", "c", "d"] {
            let other = keys.request(1, number: 2, [operation])
            if isForwarded {
                primary.receive(keys.forward(other, by: 3), from: 3)
            } else {
                primary.receive(other)
            }
        }
        #expect(accused(primary) == ["client 1"] && primary.checkedRequests == checked + 1)
        #expect(primary.dropped(.duplicateRequest) == 3)
        #expect(!primary.events.contains { if case .blacklisted = $0 { true } else { false } })
    }

    @Test func `a forged second request is held against whoever sent it`() {
        let primary = openedCluster(keys)[0]
        primary.receive(keys.request(1, number: 2, ["a"]))
        primary.receive(keys.forward(keys.request(1, number: 2, ["b"], spoiledFor: [ReplicaID(0)]), by: 3), from: 3)
        #expect(accused(primary) == ["replica 3"])
        #expect(primary.events.contains(.blacklisted(.forwarded(by: ReplicaID(3)))))
    }

    @Test func `a client that tells the primary another request than a backup is found out by the backup`() {
        let cluster = openedCluster(keys)
        cluster.filter = { _, body in if case .peer(.forward) = body { .drop } else { .deliver } }
        cluster[2].receive(keys.request(1, number: 1, ["a"]))
        cluster[0].receive(keys.request(1, number: 1, ["b"]))
        cluster.deliverAll()
        #expect(cluster.replicas.allSatisfy { $0.operations == ["b"] })
        #expect(accused(cluster[2]) == ["client 1"])
        #expect(accused(cluster[1]).isEmpty && accused(cluster[3]).isEmpty)
    }

    @Test func `evidence against clients is bounded`() {
        let keys = Keys(clients: Replica.mostAccusedClients + 3)
        let primary = openedCluster(keys)[0]
        for client in keys.clients {
            primary.receive(keys.request(client.rawValue, number: 2, ["a"]))
            primary.receive(keys.request(client.rawValue, number: 2, ["b"]))
        }
        #expect(primary.evidence.count == Replica.mostAccusedClients)
        primary.receive(keys.forward(keys.request(1, number: 1, spoiledFor: [ReplicaID(0)]), by: 2), from: 2)
        #expect(primary.evidence.last?.accused == .replica(2), "there is always room for replicas")
    }

    @Test func `where requests are not signed nothing is evidence, and forwards are not endorsed`() {
        let keys = Keys(switches: .pbft)
        let cluster = openedCluster(keys)
        let primary = cluster[0]
        primary.receive(keys.forward(keys.request(1, number: 1, spoiledFor: [ReplicaID(0)]), by: 2), from: 2)
        primary.receive(keys.request(1, number: 2, ["a"]))
        let checked = primary.checkedRequests
        primary.receive(keys.request(1, number: 2, ["b"]))
        #expect(primary.evidence.isEmpty && primary.checkedRequests == checked)
        let backup = cluster[2]
        backup.receive(keys.request(2, number: 1))
        let forwards = backup.outbox.compactMap { if case .forward(let forward) = $0.message { forward } else { nil } }
        #expect(forwards.count == 1 && forwards.first?.endorsement == nil)
    }
}
