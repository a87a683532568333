import Agreement
import Messages
import Testing

/// A view ends at once when its own primary leaves it, and soon when its primary never begins it.
struct AbdicationTests {
    private static func leaves(_ replica: TestReplica, _ reason: ViewChangeReason) -> [View] {
        replica.events.compactMap {
            if case .leftView(let view, because: reason) = $0 { view } else { nil }
        }
    }

    @Test(arguments: [ProtocolSwitches.pbft, .aardvark])
    func `a primary that leaves its view takes all with it, whomever it tells`(switches: ProtocolSwitches) {
        let cluster = TestCluster(keys: Keys(switches: switches))
        cluster.openSessions()
        let change = cluster.viewChange(of: 0, for: 1)
        cluster[2].receive(.viewChange(Unverified(change)), from: 0)
        cluster.deliverAll()
        #expect(Self.leaves(cluster[2], .abdicated) == [View(1)])
        #expect(cluster.replicas.allSatisfy { $0.view == View(1) && $0.isActive })
        cluster.run(["next"])
        #expect(cluster.client(1).results.count == 1)
    }

    @Test func `a backup that leaves takes nobody with it, however far it goes`() {
        let cluster = TestCluster()
        cluster.openSessions()
        for view: UInt64 in [1, 2, 9] {
            let change = cluster.viewChange(of: 3, for: view)
            cluster[2].receive(.viewChange(Unverified(change)), from: 3)
        }
        cluster.deliverAll()
        #expect(cluster.replicas.allSatisfy { $0.view == View(0) && $0.isActive })
    }

    @Test func `the turn of a primary that is in a later view already is passed over`() {
        let cluster = TestCluster()
        cluster.openSessions()
        let change = cluster.viewChange(of: 1, for: 9)
        for replica in [0, 2, 3] { cluster[replica].receive(.viewChange(Unverified(change)), from: 1) }
        cluster.crashed = [1]
        cluster[2].suspect()
        cluster[3].suspect()
        cluster.deliverAll()
        #expect(cluster.live.allSatisfy { $0.view == View(2) && $0.isActive })
    }

    @Test func `a primary that lacks the state of its view gives it away, once for what it has executed`() {
        var limits = Limits.small
        limits.pastBatches = 64
        let cluster = TestCluster(limits: limits)
        cluster.openSessions()
        cluster.filter = { link, _ in link.from == .replica(1) || link.to == .replica(1) ? .drop : .deliver }
        for number in 1...24 { cluster.run(["op\(number)"], ticket: UInt64(number)) }
        // It is back, but does not get what it missed.
        cluster.filter = { link, body in
            if link.to == .replica(1), case .peer(.committed) = body { .drop } else { .deliver }
        }
        cluster.connect(1)
        cluster[2].suspect()
        cluster[3].suspect()
        cluster.deliverAll()
        #expect(Self.leaves(cluster[1], .behind) == [View(2)])
        #expect(cluster.replicas.allSatisfy { $0.view == View(2) && $0.isActive })
        cluster.run(["served"], ticket: 25)
        #expect(cluster.client(1).results.count == 25)
        // Were all of them behind, somebody would have to begin all the same.
        for _ in 3...5 {
            for replica in [0, 2, 3] { cluster[replica].suspect() }
            cluster.deliverAll()
        }
        #expect(Self.leaves(cluster[1], .behind) == [View(2)])
        #expect(cluster.replicas.allSatisfy { $0.view == View(5) && $0.isActive })
    }

    @Test func `a watched primary does not have seconds to begin its view, one of PBFT has T`() {
        for (switches, waits) in [(ProtocolSwitches.aardvark, UInt64(1_000_000_000)), (.pbft, 2_100_000_000)] {
            let cluster = TestCluster(keys: Keys(switches: switches))
            cluster.openSessions()
            cluster.crashed = [1]
            for replica in [0, 2, 3] { cluster[replica].suspect() }
            cluster.deliverAll()
            #expect(cluster.live.allSatisfy { $0.view == View(1) && !$0.isActive })
            cluster.advance(by: waits / 2)
            #expect(cluster.live.allSatisfy { $0.view == View(1) && !$0.isActive })
            cluster.advance(by: waits / 2)
            #expect(cluster.live.allSatisfy { $0.view == View(2) && $0.isActive })
        }
    }
}
