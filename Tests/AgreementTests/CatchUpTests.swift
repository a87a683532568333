import Agreement
import Cryptography
import Messages
import Testing

/// Messages that were lost are said again when the receiver asks (PBFT's status messages, TOCS 2002 section 5.2).
struct CatchUpTests {
    private typealias Node = TestCluster.Node

    private static let stall = Limits().stallNanoseconds

    private static func isPrePrepare(_ body: TestCluster.Body) -> Bool {
        if case .peer(.prePrepare) = body { true } else { false }
    }

    private static func isCheckpoint(_ body: TestCluster.Body) -> Bool {
        if case .peer(.checkpoint) = body { true } else { false }
    }

    private static func isBetweenReplicas(_ link: TestCluster.Link) -> Bool {
        if case (.replica, .replica) = (link.from, link.to) { true } else { false }
    }

    @Test func `messages lost on one link are made up for`() {
        for (from, to) in [(0, 2), (1, 2), (2, 0), (2, 3)] as [(UInt8, UInt8)] {
            let cluster = TestCluster(limits: .large)
            cluster.crashed = [([1, 3] as [UInt8]).first { $0 != from && $0 != to } ?? 1]
            cluster.openSessions()
            cluster.filter = { link, _ in
                link.from == .replica(from) && link.to == .replica(to) ? .drop : .deliver
            }
            cluster.run(["a"])
            #expect(cluster.client(1).results.isEmpty, "three live replicas need every link")
            cluster.filter = { _, _ in .deliver }
            cluster.advance(by: 2 * Self.stall)
            #expect(cluster.client(1).results == [1: "1:a"], "\(from) to \(to)")
            #expect(cluster.live.allSatisfy { $0.operations == ["a"] }, "\(from) to \(to)")
        }
    }

    @Test func `a PRE-PREPARE that f + 1 backups missed is sent again`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.filter = { link, body in
            Self.isPrePrepare(body) && (link.to == .replica(1) || link.to == .replica(3)) ? .drop : .deliver
        }
        cluster.run(["a"])
        #expect(cluster.replicas.allSatisfy { $0.operations.isEmpty })
        cluster.filter = { _, _ in .deliver }
        cluster.advance(by: 2 * Self.stall)
        #expect(cluster.replicas.allSatisfy { $0.operations == ["a"] })
    }

    @Test func `a PRE-PREPARE that nobody got is sent again`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.filter = { _, body in Self.isPrePrepare(body) ? .drop : .deliver }
        cluster.run(["a"])
        cluster.filter = { _, _ in .deliver }
        cluster.advance(by: 2 * Self.stall)
        #expect(cluster.client(1).results == [1: "1:a"])
    }

    @Test func `a replica that was cut off catches up when its links come up`() {
        let cluster = TestCluster(limits: .large)
        cluster.openSessions()
        cluster.filter = { link, _ in
            link.from == .replica(3) || link.to == .replica(3) ? .drop : .deliver
        }
        cluster.run((1...10).map { "op\($0)" })
        #expect(cluster[3].operations.isEmpty)
        cluster.filter = { _, _ in .deliver }
        for peer: UInt8 in 0...2 { cluster[3].peerConnected(peer) }
        cluster.deliverAll()
        #expect(cluster[3].operations == cluster[0].operations)
        #expect(cluster[3].root == cluster[0].root)
    }

    @Test func `after a long cut everybody is asked soon when the first link is back, not when a grown pause is over`()
    {
        let cluster = TestCluster(limits: .large)
        cluster.openSessions()
        cluster.filter = { link, body in
            let isProposal = Self.isPrePrepare(body)
            return Self.isBetweenReplicas(link) && link.to == .replica(3) && !isProposal ? .drop : .deliver
        }
        cluster.run(["a"])
        cluster.advance(by: 1_000_000_000)
        #expect(cluster[3].operations.isEmpty)
        cluster.filter = { _, _ in .deliver }
        cluster[3].peerConnected(0)
        cluster.advance(by: 2 * Self.stall)
        #expect(cluster[3].operations == ["a"])
    }

    @Test func `a replica that missed several batches notices by any later one`() {
        let cluster = TestCluster(limits: .large)
        cluster.openSessions()
        cluster.filter = { link, _ in Self.isBetweenReplicas(link) && link.to == .replica(3) ? .drop : .deliver }
        cluster.run((1...5).map { "op\($0)" })
        cluster.filter = { _, _ in .deliver }
        cluster.run(["last"], ticket: 6)
        #expect(cluster[3].operations.isEmpty)
        cluster.advance(by: 2 * Self.stall)
        #expect(cluster[3].operations == cluster[0].operations)
    }

    @Test func `a replica that is further behind than one answer goes is brought up by several`() {
        var limits = Limits.large
        limits.catchUpBatches = 3
        let cluster = TestCluster(limits: limits)
        cluster.openSessions()
        cluster.filter = { link, _ in Self.isBetweenReplicas(link) && link.to == .replica(3) ? .drop : .deliver }
        cluster.run((1...10).map { "op\($0)" })
        cluster.filter = { _, _ in .deliver }
        cluster.run(["last"], ticket: 11)
        cluster.advance(by: 20 * Self.stall)
        #expect(cluster[3].operations == cluster[0].operations)
    }

    @Test func `a replica that hears of no later batch goes on asking while f + 1 peers say that they are ahead`() {
        var limits = Limits.large
        limits.catchUpBatches = 3
        let cluster = TestCluster(limits: limits)
        cluster.openSessions()
        cluster.filter = { link, _ in Self.isBetweenReplicas(link) && link.to == .replica(3) ? .drop : .deliver }
        cluster.run((1...10).map { "op\($0)" })
        cluster.filter = { _, _ in .deliver }
        cluster.connect(3)
        cluster.advance(by: 10 * Self.stall)
        #expect(cluster[3].operations == cluster[0].operations)
    }

    @Test func `one peer that says it is far ahead does not keep a replica asking`() throws {
        let replica = TestReplica(3, keys: Keys())
        replica.receive(.catchUp(.question(after: SequenceNumber(.max))), from: 1)
        #expect(try #require(replica.deadline).nanoseconds == replica.time + Limits.small.longestStallNanoseconds)
        replica.receive(.catchUp(.question(after: SequenceNumber(2))), from: 2)
        #expect(try #require(replica.deadline).nanoseconds == replica.time + Limits.small.stallNanoseconds)
    }

    @Test func `CHECKPOINTs that were lost are sent again before the water mark stops the service`() {
        let cluster = TestCluster()
        cluster.crashed = [3]
        cluster.openSessions()
        cluster.filter = { link, body in Self.isCheckpoint(body) && link.from == .replica(2) ? .drop : .deliver }
        for number: UInt64 in 1...10 { cluster.run(["op\(number)"], ticket: number) }
        #expect(
            cluster[0].executed == SequenceNumber(8) && cluster[0].stable == .zero,
            "stopped at the high water mark"
        )
        cluster.filter = { _, _ in .deliver }
        cluster.advance(by: 10 * Self.stall)
        #expect(cluster.client(1).results.count == 10)
    }

    @Test func `a CHECKPOINT that only one replica missed is sent to it although the others have it stable`() {
        let cluster = TestCluster()
        cluster.crashed = [3]
        cluster.openSessions()
        cluster.filter = { link, body in Self.isCheckpoint(body) && link.to == .replica(2) ? .drop : .deliver }
        for number: UInt64 in 1...10 { cluster.run(["op\(number)"], ticket: number) }
        #expect(cluster[0].stable == SequenceNumber(8) && cluster[2].stable == .zero)
        cluster.filter = { _, _ in .deliver }
        cluster.advance(by: 10 * Self.stall)
        #expect(cluster.client(1).results.count == 10)
        #expect(cluster[2].stable == SequenceNumber(8))
    }

    @Test func `an idle replica makes up for a lost CHECKPOINT without new requests`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.filter = { link, body in Self.isCheckpoint(body) && link.to == .replica(2) ? .drop : .deliver }
        for number: UInt64 in 1...4 { cluster.run(["op\(number)"], ticket: number) }
        #expect(cluster[1].stable == SequenceNumber(4) && cluster[2].stable == .zero)
        cluster.filter = { _, _ in .deliver }
        cluster.advance(by: 2 * Self.stall)
        #expect(cluster[2].stable == SequenceNumber(4))
    }

    @Test func `while nothing is owed a replica asks at the longest pause only, and finds what was lost last`() {
        let cluster = TestCluster(limits: .large)
        cluster.openSessions()
        cluster.run(["a", "b"])
        #expect(cluster.replicas.allSatisfy { $0.deadline?.nanoseconds ?? 0 >= cluster.time + 7_000_000_000 })
        cluster.filter = { link, _ in Self.isBetweenReplicas(link) && link.to == .replica(3) ? .drop : .deliver }
        cluster.run(["lost"], ticket: 3)
        cluster.filter = { _, _ in .deliver }
        #expect(cluster[3].operations == ["a", "b"])
        cluster.advance(by: 10_000_000_000)
        #expect(cluster[3].operations == ["a", "b", "lost"])
        #expect(!cluster[3].events.contains { if case .stalled = $0 { true } else { false } })
    }

    @Test func `the pauses between questions double up to their bound and start anew after progress`() throws {
        let keys = Keys()
        var limits = Limits.small
        limits.stallNanoseconds = 100
        limits.longestStallNanoseconds = 500
        let replica = TestReplica(1, keys: keys, limits: limits)
        let prePrepare = PrePrepare.proposal(1, [keys.opening(1)])
        replica.receive(.prePrepare(prePrepare), from: 0)
        var pauses: [UInt64] = []
        for _ in 0..<5 {
            let due = try #require(replica.deadline).nanoseconds
            pauses.append(due - replica.time)
            replica.time = due - 1
            replica.passTime()
            #expect(replica.sentCatchUps.count == pauses.count - 1, "not before its time")
            replica.time = due
            replica.passTime()
            #expect(replica.sentCatchUps.count == pauses.count)
        }
        #expect(pauses == [100, 200, 400, 500, 500])
        #expect(replica.sentVotes(.prepare).count == 6, "each question says again what others may have missed")
        replica.agree(on: prePrepare)
        #expect(try #require(replica.deadline).nanoseconds - replica.time == 500, "nothing is owed")
        replica.receive(.prePrepare(.proposal(2, [keys.request(1, number: 1)])), from: 0)
        #expect(try #require(replica.deadline).nanoseconds - replica.time == 100)
    }

    @Test func `a peer is answered at most once in a while, and any number that it names is harmless`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        replica.agree(on: .proposal(1, [keys.opening(1)]))
        replica.outbox = []
        replica.receive(.catchUp(CatchUp.question(after: .zero)), from: 2)
        replica.receive(.catchUp(CatchUp.question(after: .zero)), from: 2)
        #expect(replica.sentVotes(.prepare).count == 1 && replica.sentVotes(.commit).count == 1)
        #expect(replica.dropped(.needlessCatchUp) == 1)
        replica.receive(.catchUp(CatchUp.question(after: .zero)), from: 3)
        #expect(replica.sentVotes(.prepare).count == 2, "each peer has its own allowance")
        replica.outbox = []
        for named: UInt64 in [1, 8, 9, .max - 1, .max] {
            replica.time += Limits.small.catchUpNanoseconds
            replica.receive(.catchUp(CatchUp.question(after: SequenceNumber(named))), from: 2)
        }
        #expect(replica.outbox.isEmpty)
    }

    @Test func `the primary says its PRE-PREPARE again and nobody else does`() {
        let keys = Keys()
        let primary = TestReplica(0, keys: keys)
        primary.order([keys.opening(1)])
        primary.outbox = []
        primary.receive(.catchUp(CatchUp.question(after: .zero)), from: 2)
        #expect(primary.sentPrePrepares.count == 1 && primary.sentVotes(.prepare).isEmpty)
        #expect(primary.sentVotes(.commit).count == 1)
        #expect(primary.outbox.allSatisfy { $0.recipient == .replica(ReplicaID(2)) })
    }

    @Test func `answers to one peer are bounded in bytes, and one longer answer goes alone`() {
        let keys = Keys()
        var limits = Limits.large
        let proposals = (1...6).map { number in
            PrePrepare.proposal(number, [number == 1 ? keys.opening(1) : keys.request(1, number: number - 1)])
        }
        limits.answerBytes = 1
        let primary = TestReplica(0, keys: keys, limits: limits)
        for proposal in proposals { primary.order(proposal.batch.requests) }
        primary.outbox = []
        func ask(_ peer: UInt8) {
            primary.receive(.catchUp(.question(after: .zero)), from: peer)
        }
        ask(2)
        #expect(primary.sentPrePrepares.count == 1 && primary.dropped(.overAllowance) == 1)
        let digest = primary.sentPrePrepares[0].batch.digest
        for peer: UInt8 in [2, 3] {
            for _ in 0..<3 { primary.receive(.fetch(Fetch(.batch(SequenceNumber(1), digest))), from: peer) }
        }
        #expect(primary.sentBatches.count == 2, "each peer has its own, beside what a CATCH-UP brings")
        primary.time += limits.catchUpNanoseconds
        primary.receive(.fetch(Fetch(.batch(SequenceNumber(1), digest))), from: 2)
        #expect(primary.sentBatches.count == 3)
    }

    @Test func `a number counts as committed when f + 1 peers say so, each on its own channel, in whatever view`() {
        let keys = Keys()
        let proposal = PrePrepare.proposal(1, [keys.opening(1)])
        let digest = proposal.batch.digest
        let lie = PrePrepare.proposal(1, [keys.opening(2)]).batch
        func said(_ digest: Digest) -> PeerMessage { .committed(Committed(SequenceNumber(1), digest)) }
        let replica = TestReplica(3, keys: keys)
        for _ in 0..<5 { replica.receive(said(lie.digest), from: 2) }
        replica.receive(.batch(BatchBody(sequence: SequenceNumber(1), batch: lie)), from: 2)
        replica.receive(said(digest), from: 0)
        #expect(replica.batches.isEmpty, "f of each")
        replica.receive(said(digest), from: 2)
        #expect(replica.accusations(.equivocation, of: 2) == 1 && replica.batches.isEmpty, "the first word counts")
        replica.receive(said(digest), from: 1)
        let wanted = Fetch.Subject.batch(SequenceNumber(1), digest)
        #expect(replica.sentFetches.map(\.subject) == [wanted], "whose word made it certain is asked at once")
        replica.time += Self.stall
        replica.passTime()
        #expect(replica.sentFetches.map(\.subject) == [wanted, wanted], "all are asked when it does not answer")
        replica.receive(.batch(BatchBody(sequence: SequenceNumber(1), batch: proposal.batch)), from: 2)
        #expect(replica.batches.count == 1)
        // It passes that on to those that are behind, and only that it is committed: it never voted.
        replica.outbox = []
        replica.receive(.catchUp(.question(after: .zero)), from: 1)
        #expect(replica.sentCommitted == [Committed(SequenceNumber(1), digest)])
        #expect(replica.sentVotes(.prepare).isEmpty && replica.sentVotes(.commit).isEmpty)
    }

    @Test func `a replica that the primary leaves out while f others are silent keeps up`() {
        let cluster = TestCluster(limits: .large)
        cluster.openSessions()
        // The primary is faulty: towards replica 3 it is silent. So 3 hears COMMITs of two replicas.
        cluster.filter = { link, _ in link.from == .replica(0) && link.to == .replica(3) ? .drop : .deliver }
        cluster.run((1...5).map { "op\($0)" })
        #expect(cluster[3].operations.isEmpty)
        cluster.advance(by: 3 * Self.stall)
        #expect(cluster[3].operations == cluster[0].operations)
    }

    @Test func `a number counts as committed on the COMMITs of 2f + 1 replicas, whoever sent the batch`() {
        let keys = Keys()
        let proposal = PrePrepare.proposal(1, [keys.opening(1)])
        let digest = proposal.batch.digest
        let lie = PrePrepare.proposal(1, [keys.opening(2)]).batch
        let replica = TestReplica(3, keys: keys)
        // f liars alone, however often they say it, and whatever they hand over.
        for _ in 0..<5 {
            replica.receive(.commit, 1, lie.digest, from: [2])
            replica.receive(.batch(BatchBody(sequence: SequenceNumber(1), batch: lie)), from: 2)
        }
        replica.receive(.commit, 1, digest, from: [0, 1])
        #expect(replica.batches.isEmpty, "2f say so, which may be f correct ones")
        let other = TestReplica(3, keys: keys)
        other.receive(.commit, 1, digest, from: [0, 1, 2])
        other.receive(.batch(BatchBody(sequence: SequenceNumber(1), batch: lie)), from: 2)
        #expect(other.batches.isEmpty, "another batch does not have the digest")
        other.receive(.batch(BatchBody(sequence: SequenceNumber(1), batch: proposal.batch)), from: 2)
        #expect(other.batches.count == 1)
    }

    @Test func `an answer covers no more batches than its bound`() {
        let keys = Keys()
        var limits = Limits.large
        limits.catchUpBatches = 2
        let replica = TestReplica(1, keys: keys, limits: limits)
        replica.agree(on: .proposal(1, [keys.opening(1)]))
        for number: UInt64 in 1...5 { replica.agree(on: .proposal(number + 1, [keys.request(1, number: number)])) }
        replica.outbox = []
        replica.receive(.catchUp(CatchUp.question(after: SequenceNumber(1))), from: 2)
        #expect(replica.sentVotes(.prepare).map(\.sequence.rawValue) == [2, 3])
    }

    @Test func `a message beyond the high water mark makes a replica ask`() {
        let keys = Keys()
        for sequence: UInt64 in [9, 12, .max] {
            let replica = TestReplica(1, keys: keys)
            replica.receive(
                .vote(Vote(.commit, view: View(0), sequence: SequenceNumber(sequence), digest: .zero)),
                from: 2
            )
            #expect(replica.deadline != nil)
            replica.time += Self.stall
            replica.passTime()
            #expect(replica.sentCatchUps == [CatchUp.question(after: .zero)])
        }
    }
}
