import Agreement
import Cryptography
import Messages
import Testing

/// What a replica holds stays within its bounds, and the measure of it sees what is held.
struct FootprintTests {
    @Test func `a replica that is flooded holds what its bounds say, and that is seen`() throws {
        let keys = Keys()
        var limits = Limits.small
        limits.earlyMessages = 5
        limits.waitingReads = 3
        let replica = TestReplica(1, keys: keys, limits: limits)
        func used(_ name: String) throws -> Int {
            try #require(replica.footprint.parts.first { $0.name == name }, "\(name) is measured").used
        }
        #expect(replica.footprint.parts.allSatisfy { $0.used == 0 })
        for sequence: UInt64 in 1...8 {
            replica.receive(.prePrepare(.proposal(sequence, [keys.opening(2)], view: 3)), from: 3)
        }
        #expect(try used("early messages of a peer") == 5)
        #expect(try used("bytes of early messages of a peer") > 5 * 64)
        replica.agree(on: .proposal(1, [keys.opening(1)]))
        for number: UInt64 in 2...200 { replica.receive(keys.request(1, number: number)) }
        #expect(try used("requests of a client") == 127)
        #expect(try used("bytes of requests of a client") > 127 * 40)
        for sequence: UInt64 in 1...9 {
            let word = keys.checkpoint(SequenceNumber(sequence * 4), root: .zero, by: ReplicaID(3))
            replica.receive(.checkpoint(Unverified(word)), from: 3)
        }
        #expect(try used("CHECKPOINTs of a replica") == 3)
        // Prepared and not committed: reads wait for it.
        let next = PrePrepare.proposal(2, [keys.request(1, number: 1)])
        replica.receive(.prePrepare(next), from: 0)
        replica.receive(.prepare, 2, next.batch.digest, from: [2, 3])
        for tag: UInt64 in 1...9 { replica.receive(ReadRequest(tag: tag, wantsResult: true, operation: [1])) }
        #expect(try used("waiting reads") == 3)
        #expect(try used("digests in Q at a number") == 1 && used("digests voted for at a number") == 1)
        #expect(replica.footprint.excess == nil)
    }
}
