import Cryptography
import Messages
import Testing

@testable import Agreement

/// A replica that lost its store votes for nothing until whatever it may have said is past.
struct LearningTests {
    // MARK: What it finds out

    private func report(_ view: UInt64, _ prepared: UInt64, _ standing: CatchUp.Standing = .active) -> CatchUp {
        CatchUp(
            view: View(view),
            standing: standing,
            executed: .zero,
            stable: .zero,
            prepared: SequenceNumber(prepared)
        )
    }

    private func bound(_ reports: [(peer: UInt8, view: UInt64, prepared: UInt64)], faults: Int = 1) throws
        -> Learning.Bound?
    {
        var learning = Learning(size: try #require(ClusterSize(faults: faults)))
        for (peer, view, prepared) in reports { learning.note(report(view, prepared), from: ReplicaID(peer)) }
        return learning.bound
    }

    @Test func `2f + 1 peers have to tell, and f + 1 must have come so far`() throws {
        #expect(try bound([(1, 0, 8), (2, 0, 8)]) == nil)
        #expect(
            try bound([(1, 0, 8), (2, 0, 8), (3, 0, 8)]) == Learning.Bound(view: View(0), stable: SequenceNumber(8))
        )
        // The last is alone at 12, until another gets there.
        #expect(try bound([(1, 3, 8), (2, 3, 4), (3, 3, 12)]) == nil)
        let later = try bound([(1, 3, 8), (2, 3, 4), (3, 3, 12), (2, 4, 13)])
        #expect(later == Learning.Bound(view: View(3), stable: SequenceNumber(12)))
        // It is the first word that bounds: later ones say nothing of the time before.
        let first = try bound([(1, 1, 8), (2, 1, 4), (1, 2, 900), (2, 2, 900), (3, 1, 12)])
        #expect(first == Learning.Bound(view: View(1), stable: SequenceNumber(12)))
    }

    @Test func `a liar among the peers can neither lower the bound nor raise it beyond what is`() throws {
        let size = try #require(ClusterSize(faults: 2))
        for lie: UInt64 in [0, 99, .max] {
            // f - 1 = 1 liar among 6 peers, in every order: the five correct ones prepared 40, 40, 38, 37, 36.
            let words: [(UInt8, UInt64)] = [(1, lie), (2, 40), (3, 40), (4, 38), (5, 37), (6, 36)]
            for turn in words.indices {
                var learning = Learning(size: size)
                for (peer, prepared) in words[turn...] + words[..<turn] {
                    learning.note(report(0, prepared), from: ReplicaID(peer))
                }
                for peer: UInt8 in 2...6 { learning.note(report(0, 40), from: ReplicaID(peer)) }
                let stable = try #require(learning.bound).stable.rawValue
                // Whatever was stable anywhere had prepared at three correct peers.
                #expect((38...40).contains(stable), "\(lie), turn \(turn)")
            }
        }
    }

    @Test func `peers that lost their stores too do not count`() throws {
        var learning = Learning(size: try #require(ClusterSize(faults: 1)))
        for peer: UInt8 in 1...2 { learning.note(report(0, 8), from: ReplicaID(peer)) }
        learning.note(report(0, 8, .learning), from: ReplicaID(3))
        #expect(learning.bound == nil)
    }

    // MARK: What it does

    private static func isVote(_ body: TestCluster.Body) -> Bool {
        switch body {
        case .peer(.prePrepare), .peer(.vote), .peer(.viewChange), .peer(.newView): true
        default: false
        }
    }

    /// A cluster in which a replica has just lost its store, after ten operations, and what it votes for from then on.
    private func clusterWithout(_ replica: UInt8, votes: @escaping () -> Void) -> TestCluster {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.run((1...10).map { "op\($0)" })
        cluster[Int(replica)].loseStore()
        cluster.filter = { link, body in
            if link.from == .replica(replica), Self.isVote(body) { votes() }
            return .deliver
        }
        cluster.connect(replica)
        cluster.settle()
        return cluster
    }

    @Test func `it votes for nothing, and executes what the others commit`() {
        var votes = 0
        let cluster = clusterWithout(3) { votes += 1 }
        cluster.run((11...40).map { "op\($0)" }, ticket: 11)
        cluster.settle()
        #expect(cluster.client(1).results.count == 40)
        #expect(votes == 0 && cluster[3].isLearning)
        #expect(cluster[3].operations == cluster[0].operations && cluster[3].root == cluster[0].root)
        #expect(cluster[3].stable == cluster[0].stable, "checkpoints are the same whoever signs them")
    }

    @Test func `it asks for the VIEW-CHANGEs of its NEW-VIEW until they have come`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.run((1...4).map { "op\($0)" })
        for replica in cluster.replicas.prefix(3) { replica.suspect() }
        cluster.deliverAll()
        cluster[3].loseStore()
        // The answers to its first question are lost, or were too long for what a peer may be sent in a while.
        cluster.filter = { link, body in
            if link.to == .replica(3), case .peer(.viewChange) = body { .drop } else { .deliver }
        }
        cluster.connect(3)
        cluster.settle()
        #expect(cluster[3].view == View(0))
        cluster.filter = { _, _ in .deliver }
        cluster.advance(by: 2 * Limits().longestStallNanoseconds)
        #expect(cluster[3].view == View(1) && cluster[3].isLearning)
    }

    @Test func `it suspects nobody and answers no reads`() {
        let replica = TestReplica(3, keys: Keys())
        replica.loseStore()
        replica.receive(replica.keys.opening(1))
        replica.time += 100_000_000_000
        replica.passTime()
        replica.receive(ReadRequest(tag: 1, wantsResult: true, operation: [1]))
        #expect(replica.queries.isEmpty && replica.dropped(.learning) == 1)
        #expect(replica.sentViewChanges.isEmpty && replica.sentForwards.isEmpty)
        for peer: UInt8 in 0...2 {
            let change = TestCluster().viewChange(of: peer, for: 1)
            replica.receive(.viewChange(Unverified(change)), from: peer)
        }
        #expect(replica.sentViewChanges.isEmpty && replica.view == View(0))
    }

    @Test func `it votes again in a later view, when the others are a window further`() {
        var votes = 0
        let cluster = clusterWithout(3) { votes += 1 }
        // The view first: the numbers that it may have voted for are not past.
        for replica in cluster.replicas.prefix(3) { replica.suspect() }
        cluster.deliverAll()
        #expect(cluster[0].view == View(1) && cluster[3].isLearning && votes == 0)
        let before = cluster[0].executed.rawValue
        var number: UInt64 = 11
        while cluster[3].isLearning, number < 60 {
            cluster.run(["op\(number)"], ticket: number)
            cluster.settle()
            number += 1
        }
        let window = UInt64(Limits.small.logWindow)
        #expect(cluster[3].isActive && cluster[3].view == View(1))
        #expect(cluster[0].executed.rawValue >= before + window)
        // Its votes count: one of the others may fail now.
        votes = 0
        cluster.crashed = [2]
        cluster.run((60...70).map { "op\($0)" }, ticket: 60)
        cluster.advance(by: 1_000_000_000)
        #expect(cluster.client(1).results[70] != nil && votes > 0)
    }

    @Test func `without a later view it learns on, and a restart changes nothing of that`() {
        var votes = 0
        let cluster = clusterWithout(3) { votes += 1 }
        cluster.run((11...40).map { "op\($0)" }, ticket: 11)
        cluster[3].restart()
        #expect(cluster[3].isLearning && !cluster[3].isActive)
        cluster.connect(3)
        cluster.run((41...60).map { "op\($0)" }, ticket: 41)
        cluster.settle()
        #expect(cluster[3].isLearning && votes == 0)
        #expect(cluster[3].operations == cluster[0].operations)
        for replica in cluster.replicas.prefix(3) { replica.suspect() }
        cluster.deliverAll()
        for number: UInt64 in 61...80 {
            cluster.run(["op\(number)"], ticket: number)
            cluster.settle()
        }
        #expect(cluster[3].isActive && votes > 0)
        cluster[3].restart()
        #expect(cluster[3].isActive && cluster[3].view == View(1))
    }

    @Test func `its peers tell it how far they are when it asks`() {
        let peer = TestReplica(1, keys: Keys())
        peer.receive(.catchUp(report(0, 0, .learning)), from: 3)
        #expect(peer.sentCatchUps.count == 1)
        peer.time += Limits.small.catchUpNanoseconds
        peer.receive(.catchUp(report(0, 0, .active)), from: 3)
        #expect(peer.sentCatchUps.count == 1)
    }
}
