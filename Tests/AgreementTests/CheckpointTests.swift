import Agreement
import Cryptography
import Messages
import Testing

/// Checkpoints and water marks (PBFT section 4.3).
struct CheckpointTests {
    /// A backup that has executed `batches` batches; K = 4, L = 8.
    private static func backup(_ keys: Keys, executed batches: UInt64) -> TestReplica {
        let replica = TestReplica(1, keys: keys)
        execute(1...batches, at: replica)
        return replica
    }

    private static func execute(_ range: ClosedRange<UInt64>, at replica: TestReplica) {
        let keys = replica.keys
        for sequence in range {
            let request = sequence == 1 ? keys.opening(1) : keys.request(1, number: sequence - 1)
            let prePrepare = PrePrepare.proposal(sequence, [request])
            replica.agree(on: prePrepare)
        }
    }

    private static func send(_ sequence: UInt64, _ root: Digest, from peers: [UInt8], to replica: TestReplica) {
        for peer in peers {
            let checkpoint = replica.keys.checkpoint(SequenceNumber(sequence), root: root, by: ReplicaID(peer))
            replica.receive(.checkpoint(Unverified(checkpoint)), from: peer)
        }
    }

    @Test func `a checkpoint is taken and signed after each K batches`() {
        let replica = Self.backup(Keys(), executed: 8)
        #expect(replica.checkpointsTaken == [SequenceNumber(4), SequenceNumber(8)])
        #expect(replica.sentCheckpoints.map(\.sequence) == [SequenceNumber(4), SequenceNumber(8)])
        #expect(replica.stable == .zero && replica.high == SequenceNumber(8))
    }

    @Test(arguments: [1, 2])
    func `a checkpoint is stable with exactly 2f + 1 matching messages, the own one among them`(faults: Int) throws {
        let keys = Keys(faults: faults)
        let peers = keys.size.members.map(\.rawValue).filter { $0 != 1 }
        // 0: silent, 1: the right root, 2: another root.
        var combinations: [[Int]] = [[]]
        for _ in peers { combinations = combinations.flatMap { list in (0...2).map { list + [$0] } } }
        for choice in combinations where faults == 1 || choice.reduce(0, +) % 3 == 0 {
            let replica = Self.backup(keys, executed: 4)
            let root = try #require(replica.sentCheckpoints.first?.root)
            for (peer, vote) in zip(peers, choice) where vote > 0 {
                Self.send(4, vote == 1 ? root : .zero, from: [peer], to: replica)
            }
            let isStable = choice.count { $0 == 1 } + 1 >= 2 * faults + 1
            #expect(replica.stable.rawValue == (isStable ? 4 : 0), "\(choice)")
            let isDiverged = choice.count { $0 == 2 } >= 2 * faults + 1
            #expect(replica.events.contains(.diverged(SequenceNumber(4))) == isDiverged, "\(choice)")
            guard isStable else { continue }
            #expect(replica.high == SequenceNumber(12))
            #expect(replica.discardedBefore == SequenceNumber(4))
            #expect(replica.certificate.count == 2 * faults + 1)
            #expect(Set(replica.certificate.map(\.replica)).count == 2 * faults + 1)
            #expect(replica.certificate.allSatisfy { $0.root == root && $0.sequence == SequenceNumber(4) })
        }
    }

    @Test func `2f + 1 messages of others move nothing before this replica has come so far, and count when it has`()
        throws
    {
        let keys = Keys()
        let root = try #require(Self.backup(keys, executed: 4).sentCheckpoints.first?.root)
        let replica = Self.backup(keys, executed: 3)
        Self.send(4, root, from: [0, 2, 3], to: replica)
        #expect(replica.stable == .zero)
        Self.execute(4...4, at: replica)
        #expect(replica.stable == SequenceNumber(4))
    }

    @Test func `a damaged state is noted and the water marks stay`() throws {
        let keys = Keys()
        let root = try #require(Self.backup(keys, executed: 4).sentCheckpoints.first?.root)
        let replica = TestReplica(1, keys: keys)
        replica.distortsRoots = true
        Self.execute(1...4, at: replica)
        Self.send(4, root, from: [0, 2, 3], to: replica)
        #expect(replica.events.contains(.diverged(SequenceNumber(4))))
        #expect(replica.stable == .zero)
    }

    @Test func `the stable checkpoint is recorded with its certificate and the log below it is gone`() throws {
        let keys = Keys()
        let replica = Self.backup(keys, executed: 5)
        let root = try #require(replica.sentCheckpoints.first?.root)
        Self.send(4, root, from: [0, 3], to: replica)
        guard case .stable(let sequence, let certificate) = replica.journal.last else {
            Issue.record("the last record is the stable checkpoint")
            return
        }
        #expect(sequence == SequenceNumber(4) && certificate.map(\.replica.rawValue).sorted() == [0, 1, 3])
        replica.outbox = []
        replica.receive(.catchUp(CatchUp.question(after: .zero)), from: 2)
        #expect(replica.sentVotes(.prepare).map(\.sequence) == [SequenceNumber(5)], "only what is above the mark")
        #expect(
            replica.sentCertificates.map { $0.checkpoints.map(\.replica.rawValue).sorted() } == [[0, 1, 3]],
            "the certificate, which anybody may pass on"
        )
        replica.outbox = []
        Self.execute(4...4, at: replica)
        #expect(replica.outbox.isEmpty && replica.batches.count == 5, "at the low mark nothing is voted on")
    }

    @Test func `old, odd, own and badly signed checkpoints are refused, passed on ones count`() throws {
        let keys = Keys()
        let replica = Self.backup(keys, executed: 4)
        let root = try #require(replica.sentCheckpoints.first?.root)
        Self.send(3, root, from: [0], to: replica)
        Self.send(0, root, from: [0], to: replica)
        let own = keys.checkpoint(SequenceNumber(4), root: .zero, by: ReplicaID(1))
        replica.receive(.checkpoint(Unverified(own)), from: 2)
        #expect(replica.dropped(.uselessCheckpoint) == 3)
        let forged = Checkpoint(
            SequenceNumber(4),
            root: root,
            by: ReplicaID(3),
            cluster: keys.cluster,
            signer: CheapSigner.replica(ReplicaID(2))
        )
        replica.receive(.checkpoint(Unverified(forged)), from: 3)
        Self.send(4, root, from: [0, 0, 0], to: replica)
        #expect(replica.dropped(.uselessCheckpoint) == 5, "a repeated one costs no check of its signature")
        #expect(replica.stable == .zero)
        let passedOn = keys.checkpoint(SequenceNumber(4), root: root, by: ReplicaID(2))
        replica.receive(.checkpoint(Unverified(passedOn)), from: 3)
        #expect(replica.stable == SequenceNumber(4))
        let before = replica.dropped(.uselessCheckpoint)
        Self.send(4, root, from: [3], to: replica)
        #expect(replica.dropped(.uselessCheckpoint) == before + 1)
    }

    @Test func `a later stable checkpoint covers an earlier one that lacks a quorum`() throws {
        let replica = Self.backup(Keys(), executed: 8)
        let roots = replica.sentCheckpoints.map(\.root)
        try #require(roots.count == 2)
        Self.send(4, roots[0], from: [0], to: replica)
        Self.send(8, roots[1], from: [0, 2], to: replica)
        #expect(replica.stable == SequenceNumber(8) && replica.high == SequenceNumber(16))
        Self.send(4, roots[0], from: [2], to: replica)
        #expect(replica.stable == SequenceNumber(8))
    }

    @Test func `a cluster runs through many windows, with the same root everywhere`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.run((1...60).map { "op\($0)" })
        #expect(cluster.client(1).results.count == 60)
        for replica in cluster.replicas {
            #expect(replica.operations == (1...60).map { "op\($0)" })
            #expect(replica.stable.rawValue == replica.executed.rawValue / 4 * 4)
            #expect(replica.root == cluster[0].root)
        }
    }
}
