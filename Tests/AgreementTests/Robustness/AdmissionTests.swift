import Messages
import Testing

@testable import Agreement

/// Who may ask for what: the blacklist and the back-off of cached replies as a value, and the steps of admission in the engine.
struct AdmissionTests {
    private static func name(_ client: UInt32, _ number: UInt64, session: UInt64 = 1) -> WatchedRequest {
        WatchedRequest(client: ClientID(client), session: SessionID(session), number: RequestNumber(number))
    }

    private static func at(milliseconds: UInt64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

    private var admission = Admission(window: 8, limits: .init())
    private let keys = Keys()

    // MARK: The blacklist

    @Test mutating func `blame closes the sender's own door and no other`() {
        admission.blame(.client(ClientID(1)))
        #expect(admission.isBlacklisted(.client(ClientID(1))) && !admission.isBlacklisted(.client(ClientID(2))))
        #expect(!admission.isBlacklisted(.forwarded(by: ReplicaID(1))))
        admission.blame(.forwarded(by: ReplicaID(2)))
        #expect(admission.isBlacklisted(.forwarded(by: ReplicaID(2))) && admission.blacklisted == (1, 1))
        admission.forget(ClientID(1))
        #expect(!admission.isBlacklisted(.client(ClientID(1))), "a new key is a new start")
        #expect(admission.isBlacklisted(.forwarded(by: ReplicaID(2))))
    }

    // MARK: Cached replies

    @Test mutating func `a cached reply is sent again once in each of slots that double`() {
        var sent: [UInt64] = []
        for milliseconds: UInt64 in stride(from: 0, through: 60_000, by: 10) {
            if admission.mayResend(Self.name(1, 3), now: Self.at(milliseconds: milliseconds)) {
                sent.append(milliseconds)
            }
        }
        #expect(sent == [0, 100, 300, 700, 1_500, 3_100, 6_300, 12_700, 25_500, 38_300, 51_100])
    }

    @Test mutating func `each reply of a window has slots of its own, and a new request starts anew`() {
        for number: UInt64 in 1...8 {
            let isSent = admission.mayResend(Self.name(1, number), now: Self.at(milliseconds: 0))
            #expect(isSent)
        }
        let again = admission.mayResend(Self.name(1, 2), now: Self.at(milliseconds: 99))
        let inPlace = admission.mayResend(Self.name(1, 10), now: Self.at(milliseconds: 99))
        let other = admission.mayResend(Self.name(2, 10), now: Self.at(milliseconds: 99))
        #expect(!again && inPlace && other)
    }

    // MARK: In the engine

    /// Backup 2 after client 1 has opened its session.
    private func openedCluster(_ keys: Keys) -> TestCluster {
        let cluster = TestCluster(keys: keys, limits: Limits())
        cluster.openSessions()
        return cluster
    }

    @Test(arguments: [0, 2])
    func `a client whose signature is wrong is heard no more on its own channel, and served when another forwards it`(
        place: Int
    ) {
        let cluster = openedCluster(keys)
        let replica = cluster[place]
        let id = replica.id
        replica.receive(keys.request(1, number: 1, spoiledFor: [id]))
        #expect(replica.events.contains(.blacklisted(.client(ClientID(1)))) && replica.dropped(.badAuthentication) == 1)
        let checked = replica.checkedRequests
        replica.receive(keys.request(1, number: 1))
        replica.receive(keys.request(1, number: 2, spoiledFor: [id]))
        let read = ReadRequest(tag: 1, wantsResult: true, operation: [1])
        replica.receive(read, client: 1)
        #expect(replica.checkedRequests == checked && replica.dropped(.blacklisted) == 3 && replica.queries.isEmpty)
        replica.receive(keys.request(2, number: 1))
        #expect(replica.checkedRequests == checked + 1, "others are heard")
        guard replica.isPrimary else { return }
        replica.receive(keys.forward(keys.request(1, number: 1), by: 3), from: 3)
        cluster.deliverAll()
        #expect(cluster.replicas.allSatisfy { $0.operations.count == 2 }, "whoever its client is")
    }

    @Test func `a replica that forwards a wrong signature forwards no more, and still votes`() {
        let cluster = openedCluster(keys)
        let primary = cluster[0]
        primary.receive(keys.forward(keys.request(1, number: 1, spoiledFor: [ReplicaID(0)]), by: 2), from: 2)
        #expect(primary.events.contains(.blacklisted(.forwarded(by: ReplicaID(2)))))
        #expect(!primary.events.contains(.blacklisted(.client(ClientID(1)))), "its client may know nothing of it")
        let checked = primary.checkedRequests
        primary.receive(keys.forward(keys.request(1, number: 1), by: 2), from: 2)
        #expect(primary.checkedRequests == checked && primary.dropped(.blacklisted) == 1)
        // With one replica down, nothing commits without the vote of the blacklisted one.
        cluster.crashed = [3]
        cluster.run(["a"])
        #expect(cluster.client(1).results[1] != nil)
    }

    @Test func `where requests are not signed nobody is blamed`() {
        let keys = Keys(switches: .pbft)
        let cluster = openedCluster(keys)
        let primary = cluster[0]
        let spoiled = keys.request(1, number: 1, spoiledFor: [ReplicaID(0)])
        primary.receive(spoiled)
        primary.receive(keys.forward(spoiled, by: 2), from: 2)
        #expect(primary.dropped(.badAuthentication) == 2 && primary.dropped(.blacklisted) == 0)
        primary.receive(keys.request(1, number: 1))
        cluster.deliverAll()
        #expect(cluster.replicas.allSatisfy { $0.operations.count == 1 })
    }

    @Test func `a flood of repetitions costs few replies, whoever hands them on`() {
        let cluster = openedCluster(keys)
        cluster.run(["a"])
        let primary = cluster[0]
        var replies = 0
        for step in 0..<2_000 {
            primary.time += 1_000_000
            if step % 2 == 0 {
                primary.receive(keys.request(1, number: 1, ["a"]))
            } else {
                primary.receive(keys.forward(keys.request(1, number: 1, ["a"]), by: 2), from: 2)
            }
            replies += primary.replies.count
            primary.replies = []
        }
        // At 0, 100, 300, 700 and 1500 ms.
        #expect(replies == 5 && primary.dropped(.resentAlready) == 1_995)
    }

    @Test func `a client that gets another key is heard again`() throws {
        let keys = Keys(generations: 2)
        let cluster = TestCluster(keys: keys, limits: Limits(), withAdministrator: true)
        cluster.openSessions()
        for replica in cluster.replicas {
            replica.receive(keys.request(1, number: 1, spoiledFor: Set(keys.size.members)))
            #expect(replica.events.contains(.blacklisted(.client(ClientID(1)))))
        }
        let result = cluster.administer(.replaceKey(ClientID(1), Keys.key(of: ClientID(1), 1)))
        #expect(result == .keyReplaced(ClientID(1), KeyEpoch(1)))
        let primary = cluster[0]
        let checked = primary.checkedRequests
        primary.receive(keys.request(1, number: 1, epoch: 1, generation: 1))
        #expect(primary.checkedRequests == checked + 1 && primary.dropped(.blacklisted) == 0)
    }
}
