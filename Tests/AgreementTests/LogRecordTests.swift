import Cryptography
import Messages
import TestSupport
import Testing

@testable import Agreement

/// The log's records as bytes, and what a restart makes of a log that was shortened.
struct LogRecordTests {
    /// What the replicas of a cluster have logged over stable checkpoints and two view changes, null batches among it.
    private static func journals() -> [LogRecord] {
        let cluster = TestCluster()
        cluster.openSessions()
        cluster.run((1...9).map { "op\($0)" })
        for replica in cluster.replicas { replica.suspect() }
        cluster.deliverAll()
        cluster.run(["after"], ticket: 10)
        for replica in cluster.replicas { replica.suspect() }
        cluster.deliverAll()
        let null = PrePrepare(view: View(3), sequence: SequenceNumber(20), batch: .null)
        return cluster.replicas.flatMap(\.journal) + [.prePrepared(null), .learning(true), .learning(false)]
    }

    @Test func `every kind of record is read back as it was written, and from nothing less or more`() throws {
        var kinds: Set<UInt8> = []
        for record in Self.journals() {
            let bytes = record.encoded
            try kinds.insert(#require(bytes.first))
            let decoded = try LogRecord(decoding: bytes)
            #expect(decoded.encoded == bytes)
            #expect(decoded.sequence == record.sequence)
            #expect(throws: MalformedMessage.self) { try LogRecord(decoding: bytes + [0]) }
            #expect(throws: MalformedMessage.self) { try LogRecord(decoding: Array(bytes.dropLast())) }
        }
        #expect(kinds == [1, 2, 3, 4, 5, 6, 7])
        #expect(throws: MalformedMessage.self) { try LogRecord(decoding: []) }
        #expect(throws: MalformedMessage.self) { try LogRecord(decoding: [8]) }
    }

    @Test func `other bytes are refused or are the encoding of another record`() throws {
        var random = SplitMix64(seed: 3)
        for record in Self.journals() {
            for _ in 0..<20 {
                var bytes = record.encoded
                bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
                guard let decoded = try? LogRecord(decoding: bytes) else { continue }
                #expect(decoded.encoded == bytes)
            }
        }
    }

    /// Batches up to 12 are pre-prepared, and those up to 10 prepared, when 8 becomes stable; K = 4, L = 8.
    private static func backup() -> TestReplica {
        let replica = TestReplica(1, keys: Keys())
        let keys = replica.keys
        func stabilise(_ sequence: UInt64) {
            guard let root = replica.sentCheckpoints.last?.root else { return }
            for peer: UInt8 in [2, 3] {
                let checkpoint = keys.checkpoint(SequenceNumber(sequence), root: root, by: ReplicaID(peer))
                replica.receive(.checkpoint(Unverified(checkpoint)), from: peer)
            }
        }
        for sequence in UInt64(1)...12 {
            let request = sequence == 1 ? keys.opening(1) : keys.request(1, number: sequence - 1)
            let prePrepare = PrePrepare.proposal(sequence, [request])
            switch sequence {
            case ...8: replica.agree(on: prePrepare)
            case 9, 10:
                replica.receive(.prePrepare(prePrepare), from: 0)
                replica.receive(.prepare, sequence, prePrepare.batch.digest, from: [2])
            default: replica.receive(.prePrepare(prePrepare), from: 0)
            }
            if sequence == 4 { stabilise(4) }
        }
        stabilise(8)
        return replica
    }

    @Test func `claims that precede the record of the stable checkpoint outlive a restart from a shortened log`() throws
    {
        let replica = Self.backup()
        #expect(replica.stable == SequenceNumber(8))
        // What a disk keeps that forgets what 8 has made needless.
        replica.restart { record in
            if case .stable(let sequence, certificate: _) = record { return sequence == SequenceNumber(8) }
            return record.sequence.map { $0 > SequenceNumber(8) } ?? true
        }
        #expect(replica.stable == SequenceNumber(8) && replica.executed == SequenceNumber(8))
        replica.suspect()
        let said = try #require(replica.sentViewChanges.last)
        #expect(said.stable == SequenceNumber(8))
        #expect(said.prepared.map(\.sequence.rawValue) == [9, 10])
        #expect(said.prePrepared.map(\.sequence.rawValue) == [9, 10, 11, 12])
    }
}
