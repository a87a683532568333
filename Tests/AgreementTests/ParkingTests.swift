import Agreement
import Cryptography
import Messages
import Testing

/// A batch that fails a test of this replica alone (its MAC entry, its clock) waits for f other backups to vouch for it; a batch with a
/// wrong signature is never accepted. Also the agreed time.
struct ParkingTests {
    private static let tolerance = Limits().clockToleranceNanoseconds
    private static let now: UInt64 = 100_000_000_000

    private static func backup(_ keys: Keys) -> TestReplica {
        let replica = TestReplica(1, keys: keys)
        replica.time = now
        return replica
    }

    @Test(arguments: [1, 2])
    func `a batch that fails only my MAC entry is accepted with f matching PREPAREs of other backups`(faults: Int) {
        let keys = Keys(faults: faults, switches: .pbft)
        let spoiled = keys.request(1, number: 0, [], spoiledFor: [ReplicaID(1)])
        let prePrepare = PrePrepare.proposal(1, [spoiled], time: Self.now)
        for early in [false, true] {
            let replica = Self.backup(keys)
            let vouching = (2..<UInt8(2 + faults)).map { $0 }
            if early {
                replica.receive(.prepare, 1, prePrepare.batch.digest, from: vouching.dropLast())
            }
            replica.receive(.prePrepare(prePrepare), from: 0)
            #expect(replica.outbox.isEmpty && replica.journal.isEmpty)
            if !early {
                replica.receive(.prepare, 1, prePrepare.batch.digest, from: vouching.dropLast())
            }
            // The primary is a voice already, and another batch's votes vouch for nothing.
            replica.receive(.prepare, 1, prePrepare.batch.digest, from: [0])
            replica.receive(.prepare, 1, .zero, from: [UInt8(keys.size.replicas - 1)])
            #expect(replica.outbox.isEmpty)
            replica.receive(.prepare, 1, prePrepare.batch.digest, from: [vouching[faults - 1]])
            #expect(replica.sentVotes(.prepare).map(\.digest) == [prePrepare.batch.digest])
            #expect(replica.events.allSatisfy { if case .accused = $0 { false } else { true } }, "nobody is blamed")
        }
    }

    @Test func `PREPAREs that came before suffice to accept what would be parked`() {
        let keys = Keys(switches: .pbft)
        let prePrepare = PrePrepare.proposal(
            1,
            [keys.request(1, number: 0, [], spoiledFor: [ReplicaID(1)])],
            time: Self.now
        )
        let replica = Self.backup(keys)
        replica.receive(.prepare, 1, prePrepare.batch.digest, from: [3])
        replica.receive(.prePrepare(prePrepare), from: 0)
        #expect(replica.sentVotes(.prepare).count == 1)
    }

    @Test func `a parked batch that 2f + 1 others commit is executed, and never voted for`() {
        let keys = Keys(switches: .pbft)
        let prePrepare = PrePrepare.proposal(
            1,
            [keys.request(1, number: 0, [], spoiledFor: [ReplicaID(1)])],
            time: Self.now
        )
        let replica = Self.backup(keys)
        replica.receive(.prePrepare(prePrepare), from: 0)
        replica.receive(.commit, 1, prePrepare.batch.digest, from: [0, 2])
        #expect(replica.executed == .zero)
        replica.receive(.commit, 1, prePrepare.batch.digest, from: [3])
        #expect(replica.executed == SequenceNumber(1))
        #expect(replica.sentVotes(.prepare).isEmpty && replica.sentVotes(.commit).isEmpty)
    }

    @Test func `a request with a good MAC for me is accepted whatever the others' entries are`() {
        let keys = Keys(switches: .pbft)
        let request = keys.request(1, number: 0, [], spoiledFor: [ReplicaID(0), ReplicaID(2), ReplicaID(3)])
        let replica = Self.backup(keys)
        replica.receive(.prePrepare(.proposal(1, [request], time: Self.now)), from: 0)
        #expect(replica.sentVotes(.prepare).count == 1)
    }

    @Test func `a batch with a wrong signature is never accepted, whoever votes for it, and the primary is accused`() {
        let keys = Keys()
        let forged = keys.request(1, number: 0, [], spoiledFor: [ReplicaID(1)])
        let prePrepare = PrePrepare.proposal(1, [keys.opening(2), forged], time: Self.now)
        let replica = Self.backup(keys)
        replica.receive(.prepare, 1, prePrepare.batch.digest, from: [2])
        replica.receive(.prePrepare(prePrepare), from: 0)
        replica.receive(.prepare, 1, prePrepare.batch.digest, from: [3])
        replica.receive(.commit, 1, prePrepare.batch.digest, from: [0, 2, 3])
        #expect(replica.outbox.isEmpty && replica.journal.isEmpty && replica.executed == .zero)
        #expect(replica.accusations(.forgedRequest, of: 0) == 1)
    }

    @Test(arguments: [ProtocolSwitches.pbft, .unwatched])
    func `a batch too far from my clock, either way, is parked and accepted when vouched for`(
        switches: ProtocolSwitches
    ) {
        let keys = Keys(switches: switches)
        let cases: [(time: UInt64, isParked: Bool)] = [
            (Self.now - Self.tolerance - 1, true), (Self.now - Self.tolerance, false), (Self.now, false),
            (Self.now + Self.tolerance, false), (Self.now + Self.tolerance + 1, true), (.max, true),
        ]
        for (time, isParked) in cases {
            let replica = Self.backup(keys)
            let prePrepare = PrePrepare.proposal(1, [keys.opening(1)], time: time)
            replica.receive(.prePrepare(prePrepare), from: 0)
            #expect(replica.sentVotes(.prepare).isEmpty == isParked, "\(time)")
            replica.receive(.prepare, 1, prePrepare.batch.digest, from: [2])
            #expect(replica.sentVotes(.prepare).count == 1, "\(time)")
        }
    }

    @Test func `a second proposal for a parked one's number is equivocation`() {
        let keys = Keys()
        let replica = Self.backup(keys)
        replica.receive(.prePrepare(.proposal(1, [keys.opening(1)], time: 1)), from: 0)
        replica.receive(.prePrepare(.proposal(1, [keys.opening(1)], time: Self.now)), from: 0)
        #expect(replica.accusations(.equivocation, of: 0) == 1 && replica.outbox.isEmpty)
    }

    @Test func `the agreed time is the later of the previous and the proposed, so it never goes back`() {
        let keys = Keys()
        let replica = Self.backup(keys)
        let second: UInt64 = 1_000_000_000
        let times = [Self.now, Self.now - second, Self.now + second, Self.now]
        replica.agree(on: .proposal(1, [keys.opening(1)], time: times[0]))
        for number: UInt64 in 1...3 {
            replica.agree(on: .proposal(number + 1, [keys.request(1, number: number)], time: times[Int(number)]))
        }
        let agreed = [Self.now, Self.now, Self.now + second, Self.now + second]
        #expect(replica.batches.map(\.time.nanoseconds) == agreed)
        #expect(replica.service.steps.map(\.time.nanoseconds) == Array(agreed.dropFirst()))
    }

    @Test func `a primary whose clock is far off is replaced, and the request is executed in the next view`() {
        let cluster = TestCluster()
        cluster.setTime(Self.now)
        cluster.openSessions()
        cluster.setTime(Self.now + 2 * Self.tolerance)
        cluster[0].wallOffset = -50_000_000_000
        cluster.run(["a"])
        #expect(cluster.client(1).results.isEmpty)
        cluster.advance(by: 10_000_000_000)
        #expect(cluster.client(1).results[1] == "1:a")
        #expect(cluster[1].view == View(1))
    }

    @Test func `a backup with a wrong clock follows the others`() {
        let cluster = TestCluster()
        cluster.setTime(Self.now)
        cluster[3].wallOffset = 3_600_000_000_000
        cluster.openSessions()
        cluster.run(["a", "b"])
        #expect(cluster[3].operations == ["a", "b"])
        #expect(cluster[3].batches.map(\.time) == cluster[1].batches.map(\.time))
    }
}
