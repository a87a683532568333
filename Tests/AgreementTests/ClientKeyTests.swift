import Cryptography
import Messages
import Testing

@testable import Agreement

/// Clients' keys are replicated state: an epoch a key, requests good in their epoch only, and verdicts by the keys as of the batch before
/// (this project's own: PBFT takes the clients' keys as given).
struct ClientKeyTests {
    private static let signed = Keys(generations: 3)
    private static let protocols = [Keys(generations: 3), Keys(switches: .pbft, generations: 3)]

    private static func opening(_ keys: Keys) -> Request {
        Request(
            client: Keys.administrator,
            session: SessionID(1),
            number: .opening,
            operations: [],
            authenticator: keys.authenticator(of: Keys.administrator)
        )
    }

    /// A backup that executes each list as a batch.
    private func executing(_ batches: [[Request]], _ keys: Keys, limits: Limits = .large) -> TestReplica {
        let replica = TestReplica(1, keys: keys, limits: limits)
        for (index, requests) in batches.enumerated() {
            replica.agree(on: .proposal(UInt64(index) + 1, requests))
        }
        #expect(replica.executed.rawValue == UInt64(batches.count))
        return replica
    }

    private static func isBlamed(_ replica: TestReplica) -> Bool {
        replica.events.contains { if case .accused = $0 { true } else { false } }
    }

    private static func newKey(of client: UInt32, _ generation: Int = 1) -> PublicKey {
        Keys.key(of: ClientID(client), generation)
    }

    // MARK: Verdicts

    @Test(arguments: protocols)
    func `a client that the batch before takes in is unknown until that is executed, and nobody is blamed`(keys: Keys) {
        let added = keys.administration(number: 1, [.add(ClientID(3), Self.newKey(of: 3, 0))])
        let first = PrePrepare.proposal(1, [Self.opening(keys), added])
        let second = PrePrepare.proposal(2, [keys.opening(3)])
        let replica = TestReplica(1, keys: keys, limits: .large)
        replica.receive(.prePrepare(second), from: 0)
        #expect(replica.sentVotes(.prepare).isEmpty && !Self.isBlamed(replica))
        replica.agree(on: first)
        #expect(replica.sentVotes(.prepare).map(\.sequence.rawValue) == [1, 2])
        #expect(!Self.isBlamed(replica))
        replica.agree(on: second)
        #expect(replica.executed.rawValue == 2 && replica.key(of: 3) == Self.newKey(of: 3, 0))
    }

    @Test func `the verdict on a wrong signature waits for the batch before, and then the primary is blamed`() {
        let keys = Self.signed
        let forged = PrePrepare.proposal(2, [keys.request(2, number: 0, [], spoiledFor: [ReplicaID(1)])])
        let unknown = PrePrepare.proposal(2, [keys.opening(3)])
        let early = PrePrepare.proposal(2, [keys.request(2, number: 0, [], epoch: 1, generation: 1)])
        for bad in [forged, unknown, early] {
            let replica = TestReplica(1, keys: keys, limits: .large)
            replica.receive(.prePrepare(bad), from: 0)
            replica.receive(.prepare, 2, bad.batch.digest, from: [2, 3])
            #expect(replica.sentVotes(.prepare).isEmpty && !Self.isBlamed(replica))
            replica.agree(on: .proposal(1, [keys.opening(1)]))
            #expect(replica.accusations(.forgedRequest, of: 0) == 1)
            #expect(replica.sentVotes(.prepare).map(\.sequence.rawValue) == [1])
        }
    }

    @Test func `a verdict that was asked for before the batch before was executed is asked for again`() {
        let keys = Self.signed
        let change = keys.administration(number: 1, [.replaceKey(ClientID(2), Self.newKey(of: 2))])
        let third = PrePrepare.proposal(3, [keys.request(2, number: 0, [], spoiledFor: [ReplicaID(1)])])
        let replica = TestReplica(1, keys: keys, limits: .large)
        replica.agree(on: .proposal(1, [Self.opening(keys)]))
        replica.checksAtOnce = false
        replica.receive(.prePrepare(third), from: 0)
        replica.checksAtOnce = true
        replica.agree(on: .proposal(2, [change]))
        // The verdict on the third is still to come: it was asked for with the old key, by which the proof is wrong.
        replica.releaseChecks()
        #expect(!Self.isBlamed(replica))
        #expect(replica.sentVotes(.prepare).map(\.sequence.rawValue) == [1, 2, 3], "an outdated request is a no-op")
        replica.agree(on: third)
        #expect(replica.batches.last?.requests.isEmpty == true)
    }

    @Test func `with MACs a doubted batch is accepted when f others vouch for it, and parked when it stays wrong`() {
        let keys = Self.protocols[1]
        let spoiled = PrePrepare.proposal(2, [keys.request(2, number: 0, [], spoiledFor: [ReplicaID(1)])])
        for vouchedEarly in [true, false] {
            let replica = TestReplica(1, keys: keys, limits: .large)
            replica.receive(.prePrepare(spoiled), from: 0)
            #expect(replica.sentVotes(.prepare).isEmpty)
            if !vouchedEarly {
                replica.agree(on: .proposal(1, [keys.opening(1)]))
                #expect(replica.sentVotes(.prepare).count == 1)
            }
            replica.receive(.prepare, 2, spoiled.batch.digest, from: [2])
            #expect(replica.sentVotes(.prepare).last?.sequence == SequenceNumber(2))
            #expect(!Self.isBlamed(replica))
        }
    }

    @Test(arguments: protocols)
    func `a request of an epoch that is over is accepted unseen, and takes no effect`(keys: Keys) {
        let change = keys.administration(number: 1, [.replaceKey(ClientID(1), Self.newKey(of: 1))])
        let replica = executing([[keys.opening(1), Self.opening(keys), change]], keys)
        let checked = replica.checkedRequests
        let old = [
            keys.request(1, number: 1, ["old"]), keys.request(1, number: 2, ["forged"], spoiledFor: [ReplicaID(1)]),
            keys.opening(1, session: 9),
        ]
        replica.agree(on: .proposal(2, old))
        #expect(replica.executed.rawValue == 2 && replica.checkedRequests == checked && !Self.isBlamed(replica))
        #expect(replica.operations.isEmpty && replica.batches.last?.requests.isEmpty == true)
    }

    // MARK: Execution

    @Test(arguments: protocols)
    func `a change takes effect at its place in the batch`(keys: Keys) {
        let first = keys.request(1, number: 1, ["before"])
        let second = keys.request(1, number: 2, ["after"])
        for change in [AdministrationOperation.remove(ClientID(1)), .replaceKey(ClientID(1), Self.newKey(of: 1))] {
            let administration = keys.administration(number: 1, [change])
            let replica = executing([[keys.opening(1), Self.opening(keys), first, administration, second]], keys)
            #expect(replica.operations == ["before"])
            #expect(replica.batches[0].requests.map(\.kind) == [.openSession, .openSession, .ordered, .administration])
        }
    }

    @Test(arguments: protocols)
    func `a replaced key goes on where the one before was, and only the new one`(keys: Keys) {
        let change = keys.administration(number: 1, [.replaceKey(ClientID(1), Self.newKey(of: 1))])
        let replica = executing(
            [
                [keys.opening(1), keys.request(1, number: 1, ["a"]), Self.opening(keys), change],
                [keys.request(1, number: 2, ["old"]), keys.request(1, number: 2, ["b"], epoch: 1, generation: 1)],
                [keys.request(1, number: 1, ["again"], epoch: 1, generation: 1)],
            ],
            keys
        )
        #expect(replica.operations == ["a", "b"] && replica.changedClients == [ClientID(1)])
        #expect(replica.key(of: 1) == Self.newKey(of: 1))
    }

    @Test func `a removed client leaves its session and epoch behind, so that nothing is executed again`() {
        let keys = Self.signed
        let old = [keys.opening(1, session: 5), keys.request(1, session: 5, number: 1, ["a"])]
        let again = { (epoch: UInt32) in
            [
                keys.request(1, session: 5, number: 0, [], epoch: epoch),
                keys.request(1, session: 5, number: 1, ["a"], epoch: epoch),
                keys.request(1, session: 4, number: 0, [], epoch: epoch),
            ]
        }
        let replica = executing(
            [
                old + [Self.opening(keys), keys.administration(number: 1, [.remove(ClientID(1))])], old,
                // The very key that it had.
                [keys.administration(number: 2, [.add(ClientID(1), Self.newKey(of: 1, 0))])], old, again(1),
                [
                    keys.request(1, session: 6, number: 0, [], epoch: 1),
                    keys.request(1, session: 6, number: 1, ["b"], epoch: 1),
                ],
            ],
            keys
        )
        #expect(replica.operations == ["a", "b"])
        #expect(replica.changedClients == [ClientID(1), ClientID(1)])
        #expect(replica.key(of: 1) == Self.newKey(of: 1, 0))
    }

    @Test func `what a client asked for before it was removed is neither proposed nor watched`() {
        let keys = Self.signed
        for change in [AdministrationOperation.remove(ClientID(1)), .replaceKey(ClientID(1), Self.newKey(of: 1))] {
            for id: UInt8 in [0, 1] {
                let replica = TestReplica(id, keys: keys, limits: .large)
                let peers: [UInt8] = [0, 1, 2, 3].filter { $0 != id }
                let batch = PrePrepare.proposal(1, [keys.opening(1), Self.opening(keys)])
                let next = PrePrepare.proposal(2, [keys.administration(number: 1, [change])])
                for prePrepare in [batch, next] {
                    if id == 0 {
                        for request in prePrepare.batch.requests { replica.receive(request) }
                        replica.endTurn()
                        if prePrepare.sequence.rawValue == 2 { replica.receive(keys.request(1, number: 1, ["waits"])) }
                    } else {
                        if prePrepare.sequence.rawValue == 2 { replica.receive(keys.request(1, number: 1, ["waits"])) }
                        replica.receive(.prePrepare(prePrepare), from: 0)
                    }
                    let digest = id == 0 ? replica.sentPrePrepares.last?.batch.digest : prePrepare.batch.digest
                    let votes = digest ?? .zero
                    replica.receive(.prepare, prePrepare.sequence.rawValue, votes, from: peers.filter { $0 != 0 })
                    replica.receive(.commit, prePrepare.sequence.rawValue, votes, from: peers)
                }
                #expect(replica.executed.rawValue == 2)
                replica.endTurn()
                #expect(replica.sentPrePrepares.count == (id == 0 ? 2 : 0))
                replica.time += 10 * Limits().viewChangeNanoseconds
                replica.passTime()
                #expect(replica.view == View(0), "nobody is suspected for what takes no effect")
            }
        }
    }

    @Test func `a batch of an administrator is not executed before it is committed`() {
        let keys = Self.protocols[1]
        let replica = TestReplica(1, keys: keys, limits: .large)
        replica.agree(on: .proposal(1, [Self.opening(keys), keys.opening(1)]))
        let change = PrePrepare.proposal(2, [keys.administration(number: 1, [.remove(ClientID(1))])])
        replica.replies = []
        replica.receive(.prePrepare(change), from: 0)
        replica.receive(.prepare, 2, change.batch.digest, from: [2, 3])
        #expect(replica.replies.isEmpty && replica.key(of: 1) != nil)
        replica.receive(.commit, 2, change.batch.digest, from: [0, 2])
        #expect(replica.replies.count == 1 && replica.replies.allSatisfy { !$0.reply.isTentative })
        #expect(replica.key(of: 1) == nil)
    }

    // MARK: Results

    @Test func `every result that an administrator can get`() throws {
        let keys = Self.signed
        var limits = Limits.large
        limits.identities = 5
        let key = { (generation: Int) in Self.newKey(of: 40, generation) }
        let cases: [(AdministrationOperation, AdministrationResult)] = [
            (.add(ClientID(7), key(0)), .added(ClientID(7), .genesis)),
            (.add(ClientID(7), key(1)), .exists(ClientID(7))),
            (.add(nil, key(0)), .keyInUse(ClientID(7))),
            (.add(nil, Keys.key(of: Keys.administrator)), .keyInUse(Keys.administrator)),
            (.add(nil, key(1)), .added(ClientID(0), .genesis)), (.add(ClientID(9), key(2)), .full),
            (.add(nil, key(2)), .full),
            (.replaceKey(ClientID(9), key(2)), .unknown(ClientID(9))),
            (.replaceKey(ClientID(7), key(1)), .keyInUse(ClientID(0))),
            (.replaceKey(ClientID(7), key(2)), .keyReplaced(ClientID(7), KeyEpoch(1))),
            (.remove(ClientID(9)), .unknown(ClientID(9))), (.remove(ClientID(7)), .removed(ClientID(7))),
            (.remove(ClientID(7)), .unknown(ClientID(7))), (.replaceKey(ClientID(7), key(0)), .unknown(ClientID(7))),
            // There is no room for another, but for one that was there there is.
            (.add(ClientID(7), key(2)), .added(ClientID(7), KeyEpoch(2))),
            (
                .list(from: ClientID(1)),
                .clients(
                    [
                        ClientKey(ClientID(1), Self.newKey(of: 1, 0)), ClientKey(ClientID(2), Self.newKey(of: 2, 0)),
                        ClientKey(ClientID(7), key(2), epoch: KeyEpoch(2)),
                    ],
                    isComplete: true
                )
            ),
        ]
        let requests = cases.enumerated().map { keys.administration(number: UInt64($0.offset) + 1, [$0.element.0]) }
        let replica = executing([[Self.opening(keys)] + requests], keys, limits: limits)
        let payloads = replica.replies.compactMap(\.reply.payload).dropFirst()
        for (payload, expected) in zip(payloads, cases) {
            let result = try #require(payload.results.first)
            #expect(try AdministrationResult(decoding: result) == expected.1, "\(expected.0)")
        }
        #expect(payloads.count == cases.count)
    }

    @Test func `a bundle is carried out in its order, and what has no meaning in it changes nothing`() throws {
        let keys = Self.signed
        let add = AdministrationOperation.add(nil, Self.newKey(of: 40, 0))
        let bundle = Request(
            client: Keys.administrator,
            session: SessionID(1),
            number: RequestNumber(1),
            operations: [add.encoded, [], [9], add.encoded, AdministrationOperation.remove(ClientID(0)).encoded],
            authenticator: keys.authenticator(of: Keys.administrator)
        )
        let replica = executing([[Self.opening(keys), bundle]], keys)
        let results = try #require(replica.replies.last?.reply.payload?.results)
        #expect(
            try results.map { try AdministrationResult(decoding: $0) }
                == [
                    .added(ClientID(0), .genesis), .malformed, .malformed, .keyInUse(ClientID(0)),
                    .removed(ClientID(0)),
                ]
        )
        #expect(replica.changedClients == [ClientID(0), ClientID(0)] && replica.key(of: 0) == nil)
    }

    // MARK: Admission

    @Test func `who uses a key of another epoch is told the current one, and a removed client nothing`() {
        let keys = Self.signed
        let change = keys.administration(
            number: 1,
            [.replaceKey(ClientID(1), Self.newKey(of: 1)), .remove(ClientID(2))]
        )
        let replica = executing([[Self.opening(keys), keys.opening(2), change]], keys)
        replica.replies = []
        let checked = replica.checkedRequests
        for (epoch, generation) in [(0, 0), (2, 2)] as [(UInt32, Int)] {
            replica.receive(keys.request(1, session: 3, number: 0, [], epoch: epoch, generation: generation))
        }
        let payloads = replica.replies.compactMap(\.reply.payload)
        #expect(
            payloads.map(\.outcome) == [.otherKeyEpoch, .otherKeyEpoch]
                && payloads.allSatisfy { $0.results == [[1, 0, 0, 0]] }
        )
        replica.receive(keys.request(2, number: 1, ["x"]))
        replica.receive(ReadRequest(tag: 1, wantsResult: true, operation: []), client: 2)
        #expect(replica.dropped(.unknownClient) == 2 && replica.replies.count == 2 && replica.queries.isEmpty)
        #expect(replica.checkedRequests == checked, "no cryptography is spent on it")
        replica.receive(keys.request(1, session: 3, number: 0, [], epoch: 1, generation: 1))
        #expect(replica.checkedRequests == checked + 1)
    }

    // MARK: The whole

    @Test(arguments: protocols)
    func `a cluster takes in, re-keys and shuts out clients while it runs`(keys: Keys) {
        let cluster = TestCluster(keys: keys, limits: .large, withAdministrator: true)
        cluster.openSessions()
        cluster.run(["a"])
        #expect(
            cluster.administer(.replaceKey(ClientID(1), Self.newKey(of: 1))) == .keyReplaced(ClientID(1), KeyEpoch(1))
        )
        // The old process with the old key ends; one with the new key starts, and comes to know the epoch by itself.
        cluster.client(1).submit("old", ticket: 2)
        cluster.deliverAll()
        cluster.advance(by: 1_000_000_000)
        #expect(cluster.client(1).results[2] == nil && cluster.client(1).superseded == [2])
        cluster.clients[0] = TestClient(ClientID(1), keys: keys, generation: 1)
        cluster.setTime(cluster.time)
        cluster.client(1).open(2)
        cluster.client(1).submit("b", ticket: 1)
        cluster.deliverAll()
        #expect(cluster.client(1).results[1] == "2:b", "without waiting for a time-out")
        #expect(cluster.administer(.remove(ClientID(2))) == .removed(ClientID(2)))
        cluster.client(2).submit("c", ticket: 1)
        cluster.advance(by: 10_000_000_000)
        #expect(cluster.client(2).results.isEmpty)
        #expect(cluster.replicas.allSatisfy { $0.operations == ["a", "b"] && $0.view == View(0) })
        #expect(Set(cluster.replicas.map(\.root)).count == 1)
    }

    @Test func `keys survive a restart, and come with a fetched state`() throws {
        let keys = Self.signed
        let cluster = TestCluster(keys: keys, withAdministrator: true)
        cluster.openSessions()
        #expect(cluster.administer(.replaceKey(ClientID(1), Self.newKey(of: 1))) != nil)
        #expect(cluster.administer(.add(ClientID(3), Self.newKey(of: 3, 0))) != nil)
        #expect(cluster.administer(.remove(ClientID(2))) != nil)
        for _ in 0..<12 { #expect(cluster.administer(.list(from: ClientID(0))) != nil) }
        let replica = cluster[1]
        #expect(replica.stable > TestReplica(2, keys: keys).high)
        replica.restart()
        let records = replica.records
        #expect(replica.key(of: 1) == Self.newKey(of: 1) && replica.key(of: 2) == nil)
        #expect(replica.key(of: 3) == Self.newKey(of: 3, 0))
        // Another that knows nothing of it but what it is handed.
        let newcomer = TestReplica(2, keys: keys)
        let stable = replica.stable
        for peer: UInt8 in [0, 1, 3] {
            let checkpoint = keys.checkpoint(stable, root: .zero, by: ReplicaID(peer))
            newcomer.receive(.checkpoint(Unverified(checkpoint)), from: peer)
        }
        #expect(newcomer.stateWanted == stable)
        newcomer.install(records)
        #expect(newcomer.key(of: 1) == Self.newKey(of: 1) && newcomer.key(of: 2) == nil)
        #expect(newcomer.key(of: 3) == Self.newKey(of: 3, 0))
        #expect(newcomer.changedClients == [ClientID(1), ClientID(2), ClientID(3)])
    }

    @Test func `the list that a replica is told at its start counts for the first batch only`() {
        let replica = executing([[Self.signed.opening(1)]], Self.signed)
        // Told of a third client now, and of no second one.
        let told = Keys(clients: 3).genesis.filter { $0.client != ClientID(2) }
        var table = ClientTable(clients: told, limits: .large)
        #expect(table.key(of: ClientID(3)) != nil)
        let records = replica.records.map { SystemRecord(key: $0.key, value: $0.value) }
        #expect(table.restore(records).changed == [ClientID(2), ClientID(3)])
        #expect(table.key(of: ClientID(3)) == nil && table.key(of: ClientID(2)) == Self.newKey(of: 2, 0))
        #expect(table.key(of: Keys.administrator) == Keys.key(of: Keys.administrator))
        #expect(table.restore([]).changed == [ClientID(2), ClientID(3)], "an empty state is the initial one")
        #expect(table.key(of: ClientID(3)) != nil && table.key(of: ClientID(2)) == nil)
    }
}
