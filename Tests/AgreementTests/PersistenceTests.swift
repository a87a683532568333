import Agreement
import Messages
import Testing

/// Durable before it is said: the records that a message rests on come before it (PBFT's recovery rules, made explicit by positions).
struct PersistenceTests {
    private let keys = Keys()

    @Test func `a PRE-PREPARE and a PREPARE leave after their pre-prepared record is durable`() {
        for id: UInt8 in [0, 1] {
            let replica = TestReplica(id, keys: keys)
            replica.syncsAtOnce = false
            if id == 0 {
                replica.receive(keys.opening(1))
                replica.endTurn()
            } else {
                replica.receive(.prePrepare(.proposal(1, [keys.opening(1)])), from: 0)
            }
            guard case .prePrepared(let recorded) = replica.journal.first, replica.journal.count == 1 else {
                Issue.record("the first record is the pre-prepared batch with its content")
                continue
            }
            #expect(recorded.batch.requests.map(\.digest) == [keys.opening(1).digest])
            #expect(replica.outbox.isEmpty)
            replica.sync()
            #expect(replica.outbox.count == 1)
        }
    }

    @Test func `a COMMIT and a reply leave after the prepared record is durable, the PREPARE before it`() {
        let replica = TestReplica(1, keys: keys)
        replica.syncsAtOnce = false
        let prePrepare = PrePrepare.proposal(1, [keys.opening(1)])
        replica.agree(on: prePrepare)
        #expect(replica.executed == SequenceNumber(1), "execution of a committed batch needs no sync")
        #expect(replica.outbox.isEmpty && replica.replies.isEmpty, "nothing leaves while the sync is held back")
        guard replica.journal.count == 2, case .prepared(let view, let sequence, let digest) = replica.journal[1] else {
            Issue.record("the second record says that the batch is prepared")
            return
        }
        #expect(view == View(0) && sequence == SequenceNumber(1) && digest == prePrepare.batch.digest)
        replica.sync(records: 1)
        #expect(replica.sentVotes(.prepare).count == 1)
        #expect(replica.sentVotes(.commit).isEmpty && replica.replies.isEmpty)
        replica.sync(records: 2)
        #expect(replica.sentVotes(.commit).count == 1)
        #expect(replica.replies.count == 1)
    }

    @Test func `a CHECKPOINT and what is said again leave after all that was recorded before`() {
        let replica = TestReplica(1, keys: keys)
        replica.syncsAtOnce = false
        replica.agree(on: .proposal(1, [keys.opening(1)]))
        for number: UInt64 in 1...3 {
            replica.agree(on: .proposal(number + 1, [keys.request(1, number: number)]))
        }
        #expect(replica.checkpointsTaken == [SequenceNumber(4)])
        replica.sync(records: replica.journal.count - 1)
        #expect(replica.sentCheckpoints.isEmpty)
        // COMMITTED too: the COMMIT that completes the quorum may be this replica's own.
        replica.receive(.catchUp(CatchUp.question(after: SequenceNumber(3))), from: 2)
        #expect(!replica.outbox.contains { $0.recipient == .replica(ReplicaID(2)) })
        replica.sync()
        #expect(replica.sentCheckpoints.count >= 1)
        #expect(replica.sentCommitted.map(\.sequence) == [SequenceNumber(4)])
    }

    @Test func `a cluster whose disks are slow agrees when they are done`() {
        let cluster = TestCluster(keys: keys)
        for replica in cluster.replicas { replica.syncsAtOnce = false }
        cluster.client(1).open()
        cluster.deliverAll()
        #expect(cluster.client(1).opened.isEmpty)
        for _ in 0..<4 {
            for replica in cluster.replicas { replica.sync() }
            cluster.deliverAll()
        }
        #expect(cluster.client(1).opened == [SessionID(1)])
    }
}
