import Cryptography
import Messages
import Testing

@testable import Agreement

/// Leaving a view and beginning the next (PBFT section 4.4; TOCS 2002 section 4.4).
struct ViewChangeTests {
    @Test func `a silent primary is replaced, and the request that waited is executed once`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.run(["a"])
        cluster.crashed = [0]
        cluster.run(["b"], ticket: 2)
        cluster.advance(by: 10_000_000_000)
        #expect(cluster.client(1).results[2] != nil)
        for replica in cluster.live {
            #expect(replica.view > View(0))
            #expect(replica.isActive)
            #expect(replica.operations == ["a", "b"])
        }
    }

    @Test func `two silent primaries in a row are replaced when f is 2`() {
        let cluster = TestCluster(keys: Keys(faults: 2))
        cluster.openSessions()
        cluster.crashed = [0, 1]
        cluster.run(["b"])
        cluster.advance(by: 40_000_000_000)
        #expect(cluster.client(1).results[1] != nil)
        #expect(cluster.live.allSatisfy { $0.view == View(2) && $0.isActive })
    }

    @Test func `a batch that was prepared anywhere correct outlives its primary`() {
        let cluster = TestCluster()
        cluster.openSessions()
        // Nobody hears a COMMIT: the batch is prepared at every replica and executed at none.
        cluster.filter = { _, body in
            if case .peer(.vote(let vote)) = body, vote.phase == .commit { return .drop }
            return .deliver
        }
        cluster.run(["kept"])
        #expect(cluster.replicas.allSatisfy { $0.operations.isEmpty })
        cluster.filter = { _, _ in .deliver }
        cluster.crashed = [0]
        for replica in cluster.live { replica.suspect() }
        cluster.deliverAll()
        for replica in cluster.live {
            #expect(replica.view == View(1))
            #expect(replica.operations == ["kept"])
        }
    }

    @Test func `f + 1 suspicions take the others along, one does not`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster[3].suspect()
        cluster.deliverAll()
        #expect(cluster[1].view == View(0))
        #expect(cluster[2].view == View(0))
        cluster[2].suspect()
        cluster.deliverAll()
        #expect(cluster.replicas.allSatisfy { $0.view == View(1) && $0.isActive })
    }

    @Test func `a lone false suspicion does not leave a replica dark`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster[3].suspect()
        cluster.deliverAll()
        cluster.run((1...20).map { "op\($0)" })
        #expect(cluster[3].view == View(1))
        #expect(!cluster[3].isActive)
        #expect(cluster[3].operations.count == 20)
        #expect(cluster[3].stable == cluster[0].stable)
    }

    @Test func `a replica that was away itself blames nobody at its return, but waits only once more`() {
        let replica = TestReplica(1, keys: Keys())
        replica.receive(.prePrepare(.proposal(1, [replica.keys.opening(1)])), from: 0)
        replica.endTurn()
        let timeout = Limits().viewChangeNanoseconds
        replica.time += 10 * timeout
        replica.passTime()
        #expect(replica.view == View(0))
        replica.time += timeout
        replica.passTime()
        for peer: UInt8 in [2, 3] { replica.receive(.ping(Ping(isAnswer: false, number: 1)), from: peer) }
        replica.endTurn()
        #expect(replica.view == View(1))
    }

    @Test func `after leaving a view a replica casts no vote in it`() {
        let replica = TestReplica(1, keys: Keys())
        replica.suspect()
        _ = replica.takeOutbox()
        replica.receive(.prePrepare(.proposal(1, [replica.keys.opening(1)])), from: 0)
        replica.receive(.prepare, 1, PrePrepare.proposal(1, [replica.keys.opening(1)]).batch.digest, from: [2, 3])
        #expect(replica.sentVotes(.prepare).isEmpty)
        #expect(replica.sentVotes(.commit).isEmpty)
    }

    @Test func `a NEW-VIEW that leaves a prepared batch out is refused and its primary accused`() throws {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.filter = { _, body in
            if case .peer(.vote(let vote)) = body, vote.phase == .commit { return .drop }
            return .deliver
        }
        cluster.run(["kept"])
        cluster.crashed = [0, 1]
        cluster[2].suspect()
        cluster[3].suspect()
        let changes = [cluster[2], cluster[3]].flatMap(\.sentViewChanges) + [cluster.viewChange(of: 1, for: 1)]
        let members = changes.sorted { $0.replica < $1.replica }
        let lie = NewView(
            view: View(1),
            members: members.map { NewView.Member($0.replica, $0.digest) },
            start: .zero,
            chosen: [],
            cluster: cluster.keys.cluster,
            signer: CheapSigner.replica(ReplicaID(1))
        )
        for change in members where change.replica != ReplicaID(2) {
            cluster[2].receive(.viewChange(Unverified(change)), from: change.replica.rawValue)
        }
        cluster[2].receive(.newView(Unverified(lie)), from: 1)
        #expect(cluster[2].accusations(.wrongNewView, of: 1) == 1)
        #expect(cluster[2].view == View(2))
    }

    @Test
    func `a NEW-VIEW that is refused is in nobody's way, nor is one that nobody can complete`()
        throws
    {
        let cluster = TestCluster()
        cluster.openSessions()
        // Replica 1 begins its view rightly, but replica 3 hears another beginning, refuses it and is alone in the view after it.
        cluster.filter = { link, body in
            guard link.to == .replica(3), link.from == .replica(1), case .peer(.newView) = body else { return .deliver }
            return .drop
        }
        for replica in cluster.replicas { replica.suspect() }
        cluster.collect()
        let changes = cluster.replicas.prefix(3).map { $0.viewChangeSaid }
        cluster.deliverAll()
        #expect(cluster[0].view == View(1) && cluster[0].isActive && !cluster[3].isActive)
        func lie(_ chosen: [Digest]) throws -> NewView {
            NewView(
                view: View(1),
                members: try changes.map { NewView.Member(try #require($0).replica, try #require($0).digest) },
                start: .zero,
                chosen: chosen,
                cluster: cluster.keys.cluster,
                signer: CheapSigner.replica(ReplicaID(1))
            )
        }
        cluster[3].receive(.newView(Unverified(try lie([.zero, .zero, .zero]))), from: 1)
        #expect(cluster[3].view == View(2) && !cluster[3].isActive)
        // A second one names VIEW-CHANGEs that are nowhere: it stays open, in the place of the peer that handed it over.
        let endless = NewView(
            view: View(1),
            members: (0..<3).map { NewView.Member(ReplicaID($0), .zero) },
            start: .zero,
            chosen: [],
            cluster: cluster.keys.cluster,
            signer: CheapSigner.replica(ReplicaID(1))
        )
        cluster[3].receive(.newView(Unverified(endless)), from: 1)
        cluster.run(["a"])
        cluster.advance(by: 20_000_000_000)
        #expect(cluster.client(1).results == [1: "1:a"])
        #expect(cluster[3].operations == ["a"], "it follows the view that it refused to enter")
    }

    @Test func `a replica that was cut off through a view change joins the view`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.crashed = [3]
        for replica in cluster.live { replica.suspect() }
        cluster.deliverAll()
        cluster.run(["a"])
        cluster.crashed = []
        for peer: UInt8 in [0, 1, 2] { cluster[3].peerConnected(peer) }
        cluster.deliverAll()
        cluster.advance(by: 3_000_000_000)
        #expect(cluster[3].view == View(1))
        #expect(cluster[3].isActive)
        #expect(cluster[3].operations == ["a"])
    }

    @Test func `requests in flight are taken over without the client's help`() {
        let cluster = TestCluster(window: 8)
        cluster.openSessions()
        cluster.filter = { _, body in
            if case .peer(.vote) = body { return .drop }
            return .deliver
        }
        cluster.run(["a", "b", "c"])
        cluster.filter = { _, _ in .deliver }
        for replica in cluster.replicas { replica.suspect() }
        cluster.deliverAll()
        #expect(cluster.client(1).results.count == 3)
        #expect(cluster.client(1).retransmissions == 0)
    }

    @Test func `a VIEW-CHANGE is sent again byte for byte, after a restart too`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.run(["a", "b", "c", "d", "e"])
        let replica = cluster[2]
        replica.suspect()
        let first = replica.sentViewChanges
        _ = replica.takeOutbox()
        replica.restart()
        #expect(replica.view == View(1))
        #expect(!replica.isActive)
        replica.peerConnected(0)
        replica.time += 60_000_000_000
        replica.passTime()
        #expect(first.count == 1)
        #expect(replica.sentViewChanges.first?.encoded == first.first?.encoded)
    }

    @Test func `a replica that restarts stands by its votes`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        let proposal = PrePrepare.proposal(1, [keys.opening(1)])
        replica.receive(.prePrepare(proposal), from: 0)
        #expect(replica.sentVotes(.prepare).count == 1)
        replica.restart()
        replica.receive(.prePrepare(.proposal(1, [keys.opening(2)])), from: 0)
        #expect(replica.sentVotes(.prepare).allSatisfy { $0.digest == proposal.batch.digest })
        #expect(replica.accusations(.equivocation, of: 0) == 1)
    }

    @Test func `a cluster that restarts in the middle goes on`() {
        let cluster = TestCluster(window: 4)
        cluster.openSessions()
        cluster.run((1...21).map { "op\($0)" })
        for replica in cluster.replicas { replica.restart() }
        for replica in cluster.replicas {
            for peer in cluster.replicas where peer.id != replica.id { replica.peerConnected(peer.id.rawValue) }
        }
        cluster.deliverAll()
        cluster.advance(by: 5_000_000_000)
        cluster.run(["after"], ticket: 100)
        cluster.advance(by: 20_000_000_000)
        #expect(cluster.client(1).results[100] != nil)
        #expect(cluster.replicas.allSatisfy { $0.executed == cluster[0].executed })
    }
}

extension TestReplica {
    /// The last VIEW-CHANGE that it made durable.
    var viewChangeSaid: ViewChange? {
        journal.reversed().compactMap { if case .viewChange(let change) = $0 { change } else { nil } }.first
    }

    var sentViewChanges: [ViewChange] {
        outbox.compactMap { if case .viewChange(let change) = $0.message { change.claim } else { nil } }
    }
}

extension TestCluster {
    /// The VIEW-CHANGE of a replica that holds nothing.
    func viewChange(of replica: UInt8, for view: UInt64) -> ViewChange {
        ViewChange(
            view: View(view),
            replica: ReplicaID(replica),
            stable: .zero,
            certificate: [],
            prepared: [],
            prePrepared: [],
            cluster: keys.cluster,
            signer: CheapSigner.replica(ReplicaID(replica))
        )
    }
}
