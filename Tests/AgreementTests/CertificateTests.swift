import Cryptography
import Messages
import Testing

@testable import Agreement

/// A stable checkpoint's certificate as one unit: what brings a replica up that is beyond the others' logs, whatever faulty signers said
/// to it before (PBFT section 4.3).
struct CertificateTests {
    private let keys = Keys()

    private func certificate(_ sequence: UInt64, root: Digest, by signers: [UInt8]) throws -> CheckpointCertificate {
        let words = signers.map { keys.checkpoint(SequenceNumber(sequence), root: root, by: ReplicaID($0)) }
        return try #require(CheckpointCertificate(words))
    }

    private func send(_ certificate: CheckpointCertificate, from peer: UInt8, to replica: TestReplica) {
        replica.receive(.certificate(Unverified(certificate)), from: peer)
    }

    /// A replica that asked for what it missed.
    private func asking() -> TestReplica {
        let replica = TestReplica(1, keys: keys)
        for peer: UInt8 in [0, 2, 3] { replica.peerConnected(peer) }
        replica.outbox = []
        return replica
    }

    private let root = Digest.of([1])

    @Test func `a certificate counts although a faulty signer's other words fill its place`() throws {
        let replica = asking()
        // Replica 3 signs something else for 16, and something far ahead.
        for (sequence, root) in [(UInt64(16), Digest.of([9])), (400, Digest.of([8]))] {
            let word = keys.checkpoint(SequenceNumber(sequence), root: root, by: ReplicaID(3))
            replica.receive(.checkpoint(Unverified(word)), from: 3)
        }
        for signer: UInt8 in [0, 2, 3] {
            let word = keys.checkpoint(SequenceNumber(16), root: root, by: ReplicaID(signer))
            replica.receive(.checkpoint(Unverified(word)), from: 0)
        }
        #expect(replica.stable == .zero, "one by one they do not make a quorum")
        send(try certificate(16, root: root, by: [0, 2, 3]), from: 0, to: replica)
        #expect(replica.stable == SequenceNumber(16) && replica.stateWanted == SequenceNumber(16))
    }

    @Test func `a replica that adopts a checkpoint asks at once what came after it`() throws {
        let replica = asking()
        send(try certificate(16, root: root, by: [0, 2, 3]), from: 0, to: replica)
        #expect(replica.sentCatchUps.map(\.executed) == [SequenceNumber(16)])
        #expect(replica.executed == .zero)
    }

    @Test func `an earlier state than the wanted one is taken, and the newest certified one fetched`() throws {
        let replica = asking()
        send(try certificate(16, root: root, by: [0, 2, 3]), from: 0, to: replica)
        send(try certificate(32, root: root, by: [0, 2, 3]), from: 2, to: replica)
        send(try certificate(36, root: root, by: [0, 2, 3]), from: 3, to: replica)
        #expect(replica.stable == SequenceNumber(32) && replica.stateWanted == SequenceNumber(32))
        replica.install([:], of: SequenceNumber(16))
        #expect(replica.executed == SequenceNumber(16))
        #expect(replica.stable == SequenceNumber(36) && replica.stateWanted == SequenceNumber(36))
        replica.install([:], of: SequenceNumber(40))
        #expect(replica.executed == SequenceNumber(16), "nothing beyond what is wanted is taken")
        replica.install([:])
        #expect(replica.executed == SequenceNumber(36))
    }

    @Test func `a replica takes its own word from before a restart as part of a certificate`() throws {
        let replica = asking()
        send(try certificate(16, root: root, by: [0, 1, 2]), from: 2, to: replica)
        #expect(replica.stable == SequenceNumber(16))
        let other = asking()
        for signer: UInt8 in [0, 1, 2] {
            let word = keys.checkpoint(SequenceNumber(16), root: root, by: ReplicaID(signer))
            other.receive(.checkpoint(Unverified(word)), from: 0)
        }
        #expect(other.stable == SequenceNumber(16))
    }

    @Test func `within the marks a certificate waits for the own execution, and is adopted when nothing moves`() throws
    {
        let replica = asking()
        send(try certificate(8, root: root, by: [0, 2, 3]), from: 0, to: replica)
        #expect(replica.stable == .zero)
        replica.time += Limits.small.stallNanoseconds
        replica.passTime()
        #expect(replica.stable == SequenceNumber(8) && replica.stateWanted == SequenceNumber(8))
    }

    @Test func `a certificate for the own root makes it stable, one for another shows the damage`() throws {
        for isDamaged in [false, true] {
            let replica = asking()
            replica.agree(on: .proposal(1, [keys.opening(1)]))
            for number: UInt64 in 1...3 { replica.agree(on: .proposal(number + 1, [keys.request(1, number: number)])) }
            let own = try #require(replica.sentCheckpoints.first?.root)
            send(try certificate(4, root: isDamaged ? root : own, by: [0, 2, 3]), from: 0, to: replica)
            #expect(replica.stable == (isDamaged ? .zero : SequenceNumber(4)))
            #expect(replica.events.contains(.diverged(SequenceNumber(4))) == isDamaged)
        }
    }

    @Test func `a peer sends one certificate for each question, and only a later one is looked at`() throws {
        let replica = asking()
        let bad = CheckpointCertificate(
            [0, 2, 2].map { keys.checkpoint(SequenceNumber(16), root: root, by: ReplicaID($0)) }
        )
        send(try #require(bad), from: 3, to: replica)
        #expect(replica.stable == .zero && replica.dropped(.uselessCheckpoint) == 0)
        send(try certificate(16, root: root, by: [0, 2, 3]), from: 3, to: replica)
        #expect(replica.stable == .zero && replica.dropped(.uselessCheckpoint) == 1, "it had its turn")
        send(try certificate(7, root: root, by: [0, 2, 3]), from: 0, to: replica)
        #expect(replica.dropped(.uselessCheckpoint) == 2, "no checkpoint is there")
        send(try certificate(16, root: root, by: [0, 2, 3]), from: 0, to: replica)
        #expect(replica.stable == SequenceNumber(16))
        send(try certificate(16, root: root, by: [0, 2, 3]), from: 2, to: replica)
        #expect(replica.dropped(.uselessCheckpoint) == 3)
        let unasked = TestReplica(1, keys: keys)
        send(try certificate(16, root: root, by: [0, 2, 3]), from: 0, to: unasked)
        #expect(unasked.stable == .zero && unasked.dropped(.uselessCheckpoint) == 1)
    }

    @Test func `the certificate goes to those that have an earlier one`() {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.run((1...10).map { "op\($0)" })
        let replica = cluster[0]
        let stable = replica.stable
        #expect(stable > .zero)
        for (held, isSent) in [(SequenceNumber.zero, true), (stable, false)] {
            replica.time += Limits.small.catchUpNanoseconds
            replica.outbox = []
            let question = CatchUp(view: View(0), standing: .active, executed: held, stable: held, prepared: held)
            replica.receive(.catchUp(question), from: 2)
            #expect(replica.sentCertificates.map(\.sequence) == (isSent ? [stable] : []))
        }
    }
}
