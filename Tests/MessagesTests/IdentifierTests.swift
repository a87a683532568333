import Messages
import Testing

struct ClusterSizeTests {
    @Test func `A size is 3f + 1 with 1 to 21 faults, and nothing else`() {
        for faults in -3...100 {
            let size = ClusterSize(faults: faults)
            #expect((size != nil) == (1...21).contains(faults))
            if let size { #expect(size.replicas == 3 * faults + 1) }
        }
        for replicas in -10...1000 {
            let size = ClusterSize(replicas: replicas)
            #expect((size != nil) == (replicas >= 4 && replicas <= 64 && (replicas - 1) % 3 == 0))
            if let size { #expect(size.replicas == replicas) }
        }
        #expect(ClusterSize(replicas: .min) == nil)
        #expect(ClusterSize(replicas: .max) == nil)
        #expect(ClusterSize(faults: .min) == nil)
        #expect(ClusterSize(faults: .max) == nil)
    }

    @Test(arguments: 1...ClusterSize.mostFaults)
    func `Quorums meet in a correct replica and can be had without the faulty ones`(faults: Int) throws {
        let size = try #require(ClusterSize(faults: faults))
        #expect(2 * size.quorum - size.replicas > faults)
        #expect(size.replicas - faults >= size.quorum)
        #expect(size.weakQuorum == faults + 1)
        #expect(size.quorum + size.weakQuorum > size.replicas)
        // No smaller set will do.
        #expect(2 * (size.quorum - 1) - size.replicas <= faults)
    }

    @Test(arguments: 1...ClusterSize.mostFaults)
    func `The members are the replicas that exist`(faults: Int) throws {
        let size = try #require(ClusterSize(faults: faults))
        #expect(size.members.map(\.index) == Array(0..<size.replicas))
        for number in UInt8.min...UInt8.max {
            #expect(size.contains(ReplicaID(number)) == (Int(number) < size.replicas))
        }
    }

    @Test(arguments: 1...ClusterSize.mostFaults)
    func `Every replica is primary in its turn`(faults: Int) throws {
        let size = try #require(ClusterSize(faults: faults))
        for start in [0, 1_000_000, UInt64.max - 63] {
            for view in start...(start + 63) {
                let expected = UInt8(view % UInt64(size.replicas))
                #expect(View(view).primary(in: size) == ReplicaID(expected))
            }
        }
    }
}

struct IdentifierTests {
    @Test func `Identifiers are ordered by their numbers`() {
        #expect(ReplicaID(1) < ReplicaID(2))
        #expect(ClientID(1) < ClientID(256))
        #expect(View(255) < View(256))
        #expect(SequenceNumber.zero.next == SequenceNumber(1))
        #expect(SessionID(1) < SessionID(.max))
        #expect(RequestNumber.opening < RequestNumber(1))
        #expect(Timestamp.zero < Timestamp(nanoseconds: 1))
    }

    @Test func `Identifiers say what they are`() {
        #expect("\(ReplicaID(2)) \(ClientID(7)) \(View(3)) \(SequenceNumber(42))" == "r2 c7 v3 n42")
        #expect("\(SessionID(9)) \(RequestNumber(12)) \(Timestamp(nanoseconds: 5))" == "s9 #12 5ns")
    }
}
