import Agreement
import Cryptography
import Messages
import Testing

/// PRE-PREPARE, PREPARE and COMMIT (PBFT section 4.2): the quorums, and what is refused.
struct ThreePhaseTests {
    /// How a peer votes in an exhaustive run.
    private enum Choice: CaseIterable {
        case silent
        case matching
        case other
    }

    private static let otherDigest = Digest.of([1])

    /// Every way in which `voters` peers can vote.
    private static func choices(_ voters: Int) -> [[Choice]] {
        (0..<voters).reduce([[]]) { lists, _ in lists.flatMap { list in Choice.allCases.map { list + [$0] } } }
    }

    private static func cast(
        _ phase: Vote.Phase,
        _ votes: [Choice],
        of peers: [UInt8],
        _ digest: Digest,
        at replica: TestReplica
    ) {
        for (peer, choice) in zip(peers, votes) {
            switch choice {
            case .silent: break
            case .matching: replica.receive(phase, 1, digest, from: [peer])
            case .other: replica.receive(phase, 1, otherDigest, from: [peer])
            }
        }
    }

    /// A replica that holds the proposal with number 1, as primary or as backup, and the digest of it.
    private static func proposed(at id: UInt8, keys: Keys) -> (TestReplica, PrePrepare) {
        let replica = TestReplica(id, keys: keys)
        let prePrepare = PrePrepare.proposal(1, [keys.opening(1)])
        if replica.isPrimary {
            replica.receive(keys.opening(1))
            replica.endTurn()
        } else {
            replica.receive(.prePrepare(prePrepare), from: 0)
        }
        return (replica, prePrepare)
    }

    @Test(arguments: [1, 2])
    func `a replica is prepared with exactly 2f matching PREPAREs of different backups`(faults: Int) throws {
        let keys = Keys(faults: faults)
        for id: UInt8 in [0, 1] {
            let backups = keys.size.members.map(\.rawValue).filter { $0 != id && $0 != 0 }
            for votes in Self.choices(backups.count) {
                let (replica, prePrepare) = Self.proposed(at: id, keys: keys)
                Self.cast(.prepare, votes, of: backups, prePrepare.batch.digest, at: replica)
                let own = id == 0 ? 0 : 1
                let isPrepared = votes.count { $0 == .matching } + own >= 2 * faults
                #expect(replica.sentVotes(.commit).count == (isPrepared ? 1 : 0), "r\(id) \(votes)")
            }
        }
    }

    @Test(arguments: [1, 2])
    func `a prepared batch is committed with exactly 2f + 1 matching COMMITs, the own one included`(faults: Int) {
        let keys = Keys(faults: faults)
        for id: UInt8 in [0, 1] {
            let peers = keys.size.members.map(\.rawValue).filter { $0 != id }
            for votes in Self.choices(peers.count) {
                let (replica, prePrepare) = Self.proposed(at: id, keys: keys)
                let digest = prePrepare.batch.digest
                replica.receive(.prepare, 1, digest, from: peers.filter { $0 != 0 })
                Self.cast(.commit, votes, of: peers, digest, at: replica)
                let isCommitted = votes.count { $0 == .matching } + 1 >= 2 * faults + 1
                #expect(replica.executed.rawValue == (isCommitted ? 1 : 0), "r\(id) \(votes)")
            }
        }
    }

    @Test(arguments: [1, 2])
    func `votes that come before the PRE-PREPARE count as those after it do`(faults: Int) {
        let keys = Keys(faults: faults)
        let peers = keys.size.members.map(\.rawValue).filter { $0 != 1 }
        let prePrepare = PrePrepare.proposal(1, [keys.opening(1)])
        let digest = prePrepare.batch.digest
        for votes in Self.choices(peers.count) {
            let replica = TestReplica(1, keys: keys)
            Self.cast(.commit, votes, of: peers, digest, at: replica)
            replica.receive(.prepare, 1, digest, from: Array(peers.filter { $0 != 0 }.prefix(2 * faults - 1)))
            #expect(replica.executed == .zero, "nothing is executed without its PRE-PREPARE")
            #expect(replica.outbox.isEmpty)
            replica.receive(.prePrepare(prePrepare), from: 0)
            #expect(replica.sentVotes(.prepare).count == 1)
            #expect(replica.sentVotes(.commit).count == 1)
            let isCommitted = votes.count { $0 == .matching } + 1 >= 2 * faults + 1
            #expect(replica.executed.rawValue == (isCommitted ? 1 : 0), "\(votes)")
        }
    }

    @Test func `2f + 1 COMMITs of others execute a batch whose PREPAREs were missed, 2f do not`() {
        let keys = Keys()
        let (replica, prePrepare) = Self.proposed(at: 1, keys: keys)
        replica.receive(.commit, 1, prePrepare.batch.digest, from: [0, 2])
        #expect(replica.executed == .zero)
        replica.receive(.commit, 1, prePrepare.batch.digest, from: [3])
        #expect(replica.executed == SequenceNumber(1))
        #expect(replica.sentVotes(.commit).isEmpty, "it is not prepared here, and this replica does not say so")
    }

    @Test func `a replica that the primary leaves out fetches what commits from the others`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.filter = { link, body in
            if case .peer(.prePrepare) = body, link.to == .replica(3) { return .drop }
            return .deliver
        }
        cluster.run(["a", "b"])
        #expect(cluster[3].operations.isEmpty)
        cluster.advance(by: 1_000_000_000)
        #expect(cluster[3].operations == ["a", "b"])
    }

    @Test func `a second vote of one replica counts nothing`() {
        let keys = Keys(faults: 2)
        let (replica, prePrepare) = Self.proposed(at: 1, keys: keys)
        let digest = prePrepare.batch.digest
        replica.receive(.prepare, 1, digest, from: [2, 2, 2, 3, 3])
        #expect(replica.sentVotes(.commit).isEmpty)
        #expect(replica.dropped(.duplicateVote) == 3)
        replica.receive(.prepare, 1, digest, from: [4])
        #expect(replica.sentVotes(.commit).count == 1)
        replica.receive(.commit, 1, digest, from: [0, 2, 3, 3, 3, 3])
        #expect(replica.executed == .zero)
        replica.receive(.commit, 1, digest, from: [4])
        #expect(replica.executed == SequenceNumber(1))
    }

    @Test func `the first vote stands and a different second one is equivocation`() {
        let keys = Keys()
        for phase in [Vote.Phase.prepare, .commit] {
            let (replica, prePrepare) = Self.proposed(at: 1, keys: keys)
            if phase == .commit { replica.receive(.prepare, 1, prePrepare.batch.digest, from: [2]) }
            replica.receive(phase, 1, Self.otherDigest, from: [3])
            replica.receive(phase, 1, prePrepare.batch.digest, from: [3])
            #expect(replica.accusations(.equivocation, of: 3) == 1)
            if phase == .prepare {
                #expect(replica.sentVotes(.commit).isEmpty)
            } else {
                replica.receive(.commit, 1, prePrepare.batch.digest, from: [0])
                #expect(replica.executed == .zero)
            }
            replica.receive(phase, 1, Self.otherDigest, from: [3])
            #expect(replica.accusations(.equivocation, of: 3) == 1, "repeating a vote is no equivocation")
        }
    }

    @Test func `a PREPARE of the primary is refused and its COMMIT counts`() {
        let keys = Keys()
        let (replica, prePrepare) = Self.proposed(at: 1, keys: keys)
        replica.receive(.prepare, 1, prePrepare.batch.digest, from: [0])
        #expect(replica.sentVotes(.commit).isEmpty)
        #expect(replica.dropped(.wrongRole) == 1)
        replica.receive(.prepare, 1, prePrepare.batch.digest, from: [3])
        replica.receive(.commit, 1, prePrepare.batch.digest, from: [0, 3])
        #expect(replica.executed == SequenceNumber(1))
    }

    @Test func `only the primary of the view proposes`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        replica.receive(.prePrepare(.proposal(1, [keys.opening(1)])), from: 2)
        replica.receive(.prePrepare(.proposal(1, [keys.opening(1)], view: 4)), from: 0)
        #expect(replica.outbox.isEmpty && replica.journal.isEmpty)
        #expect(replica.dropped(.wrongRole) == 1)
        let primary = TestReplica(0, keys: keys)
        primary.receive(.prePrepare(.proposal(1, [keys.opening(1)])), from: 1)
        #expect(primary.outbox.isEmpty && primary.dropped(.wrongRole) == 1)
    }

    @Test func `votes of other views count nothing`() {
        let keys = Keys()
        let (replica, prePrepare) = Self.proposed(at: 1, keys: keys)
        replica.receive(.prepare, 1, prePrepare.batch.digest, from: [2, 3], view: 1)
        #expect(replica.sentVotes(.commit).isEmpty)
    }

    @Test func `at most one PRE-PREPARE is accepted for a view and a number, and a second is equivocation`() {
        let keys = Keys()
        let (replica, prePrepare) = Self.proposed(at: 1, keys: keys)
        replica.receive(.prePrepare(prePrepare), from: 0)
        #expect(replica.accusations(.equivocation, of: 0) == 0, "the same proposal again is a retransmission")
        let other = PrePrepare.proposal(1, [keys.opening(2)])
        replica.receive(.prePrepare(other), from: 0)
        #expect(replica.accusations(.equivocation, of: 0) == 1)
        #expect(replica.sentVotes(.prepare).map(\.digest) == [prePrepare.batch.digest])
        replica.receive(.prepare, 1, other.batch.digest, from: [2, 3])
        replica.receive(.commit, 1, other.batch.digest, from: [0, 2, 3])
        #expect(replica.sentVotes(.commit).isEmpty && replica.executed == .zero)
    }

    @Test func `a second PRE-PREPARE is refused while the first waits for its verdict`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        replica.checksAtOnce = false
        let first = PrePrepare.proposal(1, [keys.opening(1)])
        replica.receive(.prePrepare(first), from: 0)
        replica.receive(.prePrepare(.proposal(1, [keys.opening(2)])), from: 0)
        #expect(replica.accusations(.equivocation, of: 0) == 1)
        replica.releaseChecks()
        #expect(replica.sentVotes(.prepare).map(\.digest) == [first.batch.digest])
    }

    @Test func `a batch that committed before its proposal came is executed without waiting for the verdict`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        replica.checksAtOnce = false
        let proposal = PrePrepare.proposal(1, [keys.opening(1)])
        replica.receive(.commit, 1, proposal.batch.digest, from: [0, 2, 3])
        #expect(replica.executed == .zero, "without the content")
        replica.receive(.prePrepare(proposal), from: 0)
        #expect(replica.executed == SequenceNumber(1))
    }

    @Test func `proposals and votes count from just above the low to the high water mark`() {
        let keys = Keys()
        for sequence: UInt64 in [0, 1, 8, 9, .max] {
            let replica = TestReplica(1, keys: keys)
            let prePrepare = PrePrepare.proposal(sequence, [keys.opening(1)])
            replica.receive(.prePrepare(prePrepare), from: 0)
            replica.receive(.prepare, sequence, prePrepare.batch.digest, from: [2])
            let isInside = (1...8).contains(sequence)
            #expect(replica.sentVotes(.prepare).count == (isInside ? 1 : 0), "\(sequence)")
            #expect(replica.sentVotes(.commit).count == (isInside ? 1 : 0), "\(sequence)")
            #expect(replica.dropped(.outsideWindow) == (isInside ? 0 : 2), "\(sequence)")
        }
    }

    @Test func `batches are executed in order however they commit`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        let requests = [keys.opening(1), keys.request(1, number: 1, ["a"]), keys.request(1, number: 2, ["b"])]
        let proposals = requests.enumerated().map { PrePrepare.proposal(UInt64($0.offset) + 1, [$0.element]) }
        replica.agree(on: proposals[2])
        replica.agree(on: proposals[1])
        #expect(replica.batches.isEmpty)
        replica.agree(on: proposals[0])
        #expect(replica.batches.map(\.sequence.rawValue) == [1, 2, 3])
        #expect(replica.operations == ["a", "b"])
    }

    @Test func `a batch with the other protocol's authentication is the primary's fault`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        let other = Keys(switches: .pbft)
        replica.receive(.prePrepare(.proposal(1, [other.opening(1)])), from: 0)
        #expect(replica.outbox.isEmpty && replica.accusations(.batchOverLimits, of: 0) == 1)
        replica.receive(other.opening(1))
        #expect(replica.dropped(.wrongScheme) == 1 && replica.checkedRequests == 0)
    }

    @Test func `the signature of a request that was checked before is not checked again in a batch`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        replica.receive(keys.opening(1))
        #expect(replica.checkedRequests == 1)
        replica.receive(.prePrepare(.proposal(1, [keys.opening(1), keys.opening(2)])), from: 0)
        #expect(replica.checkedRequests == 2, "only the other client's is new")
        #expect(replica.sentVotes(.prepare).count == 1)
    }

    @Test func `a request with the digest of a checked one but another signature is checked`() {
        let keys = Keys()
        let replica = TestReplica(1, keys: keys)
        replica.receive(keys.opening(1))
        let forged = keys.request(1, number: 0, [], spoiledFor: [ReplicaID(1)])
        replica.receive(.prePrepare(.proposal(1, [forged])), from: 0)
        #expect(replica.accusations(.forgedRequest, of: 0) == 1)
        #expect(replica.sentVotes(.prepare).isEmpty)
    }
}
