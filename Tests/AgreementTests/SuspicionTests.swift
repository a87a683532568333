import Messages
import Testing

@testable import Agreement

/// A replica leaves its view by itself only while it hears enough peers for a view change.
struct SuspicionTests {
    private static let second: UInt64 = 1_000_000_000

    /// A cluster as one of the protocols runs it.
    private static func cluster(_ switches: ProtocolSwitches) -> TestCluster {
        var limits = Limits.small
        limits.stallNanoseconds = second / 4
        let cluster = TestCluster(keys: Keys(switches: switches), limits: limits)
        for replica in cluster.replicas { cluster.connect(replica.id.rawValue) }
        cluster.openSessions()
        return cluster
    }

    /// Lets nothing through between these replicas and the others. Clients reach all.
    private static func cut(_ members: Set<UInt8>, _ cluster: TestCluster) {
        cluster.filter = { link, _ in
            guard case .replica(let from) = link.from, case .replica(let to) = link.to else { return .deliver }
            return members.contains(from) == members.contains(to) ? .deliver : .drop
        }
    }

    private static func heal(_ cluster: TestCluster) {
        cluster.filter = { _, _ in .deliver }
        cluster.settle()
    }

    @Test(arguments: [ProtocolSwitches.pbft, .aardvark])
    func `a replica that was cut off is in the others' view when it is back`(switches: ProtocolSwitches) {
        let cluster = Self.cluster(switches)
        Self.cut([3], cluster)
        cluster.run(["a"])
        // A request that only the lonely one has makes its request timer run.
        cluster[3].receive(cluster.keys.request(2, number: 1, ["b"]))
        cluster.advance(by: 30 * Self.second)
        #expect(cluster[3].view == View(0) && cluster[3].isActive)
        #expect(cluster.replicas.allSatisfy { $0.view == View(0) })
        Self.heal(cluster)
        cluster.run(["c"], ticket: 2)
        // By now the view may have lasted as long as one may; then all have left it.
        #expect(Set(cluster.replicas.map(\.view)).count == 1)
        #expect(cluster.replicas.allSatisfy { $0.isActive && $0.operations == ["a", "b", "c"] })
    }

    @Test(arguments: [ProtocolSwitches.pbft, .aardvark])
    func `two halves stay in their view, and go on in it when they are one again`(switches: ProtocolSwitches) {
        let cluster = Self.cluster(switches)
        Self.cut([2, 3], cluster)
        cluster.run(["a"])
        cluster.advance(by: 30 * Self.second)
        #expect(cluster.client(1).results[1] == nil)
        #expect(cluster.replicas.allSatisfy { $0.view == View(0) && $0.isActive })
        Self.heal(cluster)
        #expect(cluster.client(1).results[1] != nil)
        #expect(cluster.replicas.allSatisfy { $0.view == View(0) && $0.isActive && $0.operations == ["a"] })
    }

    @Test func `a suspicion asks for a sign of life, and goes with the view when 2f peers give one`() {
        let replica = Self.waiting()
        replica.time += Limits().viewChangeNanoseconds
        replica.passTime()
        #expect(Self.asked(replica) == 3)
        replica.receive(.ping(Ping(isAnswer: false, number: 1)), from: 2)
        replica.receive(.ping(Ping(isAnswer: false, number: 2)), from: 2)
        replica.endTurn()
        #expect(replica.view == View(0), "one peer is not enough, whatever it says")
        replica.receive(.ping(Ping(isAnswer: false, number: 1)), from: 3)
        replica.endTurn()
        #expect(replica.view == View(1))
    }

    @Test func `who was not heard for long is no reason to leave: the primary has its time again`() {
        let replica = Self.waiting()
        let timeout = Limits().viewChangeNanoseconds
        replica.time += timeout
        replica.passTime()
        replica.time += Limits().stallNanoseconds + 1
        Self.hear(replica)
        #expect(replica.view == View(0))
        replica.time += timeout - 1
        Self.hear(replica)
        #expect(replica.view == View(0))
        replica.time += 1
        replica.passTime()
        #expect(replica.view == View(0))
        Self.hear(replica)
        #expect(replica.view == View(1))
    }

    @Test func `a slow network delays a suspicion, and does not keep a faulty primary`() {
        let replica = Self.waiting()
        var cycles = 0
        while replica.view == View(0), cycles < 10 {
            cycles += 1
            replica.time += Limits().viewChangeNanoseconds
            replica.passTime()
            // Every answer takes longer than a suspicion may.
            replica.time += 5 * Limits().stallNanoseconds
            Self.hear(replica)
        }
        #expect(replica.view == View(1) && cycles == 4)
    }

    @Test func `a request that is executed in the meantime ends the suspicion`() {
        let replica = Self.waiting()
        replica.time += Limits().viewChangeNanoseconds
        replica.passTime()
        let digest = PrePrepare.proposal(1, [replica.keys.opening(1)]).batch.digest
        replica.receive(.prepare, 1, digest, from: [2, 3])
        replica.receive(.commit, 1, digest, from: [0, 2])
        Self.hear(replica)
        #expect(replica.executed == SequenceNumber(1))
        #expect(replica.view == View(0))
    }

    @Test func `a replica that fetches a state does not judge while the others go on`() {
        let cluster = Self.cluster(.unwatched)
        Self.cut([3], cluster)
        cluster.run((1...20).map { "op\($0)" })
        cluster.filter = { _, body in
            // What the others' primary has executed long ago, for all that this one can know.
            if case .peer(.forward) = body { .drop } else { .deliver }
        }
        cluster.connect(3)
        cluster.advance(by: 3 * Self.second)
        #expect(cluster[3].stateWanted != nil)
        cluster[3].receive(cluster.keys.request(2, number: 1, ["late"]))
        for round in 0..<10 {
            cluster.run((1...8).map { "more\($0)" }, ticket: UInt64(100 + 10 * round))
            cluster.advance(by: Self.second)
        }
        #expect(cluster[3].view == View(0) && cluster[3].isActive)
        // The others have stopped: they may need it.
        cluster.advance(by: 10 * Self.second)
        #expect(cluster[3].view > View(0))
    }

    /// A backup that waits for the execution of a batch.
    private static func waiting() -> TestReplica {
        let replica = TestReplica(1, keys: Keys())
        replica.receive(.prePrepare(.proposal(1, [replica.keys.opening(1)])), from: 0)
        replica.endTurn()
        _ = replica.takeOutbox()
        return replica
    }

    private static func asked(_ replica: TestReplica) -> Int {
        replica.takeOutbox().count {
            if case .ping(let ping) = $0.message { !ping.isAnswer } else { false }
        }
    }

    private static func hear(_ replica: TestReplica) {
        for peer: UInt8 in [2, 3] { replica.receive(.ping(Ping(isAnswer: false, number: 1)), from: peer) }
        replica.endTurn()
    }
}
