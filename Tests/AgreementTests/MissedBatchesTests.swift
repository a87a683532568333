import Agreement
import Cryptography
import Messages
import Testing

/// A replica that missed more than its peers' logs hold, but not much more, executes it instead of fetching the state.
struct MissedBatchesTests {
    private static func cluster(_ switches: ProtocolSwitches, kept: Int = 16, bytes: Int = 1 << 20) -> TestCluster {
        var limits = Limits.small
        limits.pastBatches = kept
        limits.pastBytes = bytes
        let cluster = TestCluster(keys: Keys(switches: switches), limits: limits)
        for replica in cluster.replicas { cluster.connect(replica.id.rawValue) }
        cluster.openSessions()
        return cluster
    }

    /// The last replica misses so many batches, one operation each.
    private static func miss(_ count: Int, _ cluster: TestCluster) {
        cluster.filter = { link, _ in
            link.from == .replica(3) || link.to == .replica(3) ? .drop : .deliver
        }
        for number in 1...count { cluster.run(["op\(number)"], ticket: UInt64(number)) }
        #expect(cluster.client(1).results.count == count && cluster[3].operations.isEmpty)
        cluster.filter = { _, _ in .deliver }
    }

    private static let stall = Limits().stallNanoseconds

    @Test(arguments: [ProtocolSwitches.pbft, .aardvark])
    func `what was missed is executed and no state is fetched`(switches: ProtocolSwitches) {
        let cluster = Self.cluster(switches)
        Self.miss(12, cluster)
        #expect(cluster[0].stable.rawValue >= 12, "the others' logs have forgotten the first batches")
        cluster.connect(3)
        cluster.advance(by: Self.stall)
        #expect(cluster[3].operations == cluster[0].operations)
        #expect(cluster[3].stateWanted == nil)
        #expect(cluster[3].stable == cluster[0].stable && cluster[3].root == cluster[0].root)
        #expect(cluster[3].footprint.excess == nil && cluster[0].footprint.excess == nil)
        // It votes as before: with one of the others gone the service goes on.
        cluster.crashed = [1]
        cluster.run(["last"], ticket: 13)
        cluster.advance(by: 4 * Self.stall)
        #expect(cluster.client(1).results.count == 13)
        #expect(cluster[3].operations == cluster[0].operations)
    }

    @Test func `what is just below the low water mark is answered, what is far below it is not`() {
        let cluster = Self.cluster(.pbft, kept: 64)
        Self.miss(20, cluster)
        var answered: Set<UInt64> = []
        cluster.filter = { link, body in
            if link.from == .replica(3), case .reply(let reply) = body { answered.insert(reply.sequence.rawValue) }
            return .deliver
        }
        cluster.connect(3)
        cluster.advance(by: Self.stall)
        #expect(cluster[3].operations == cluster[0].operations)
        #expect(cluster[3].stable.rawValue == 20)
        #expect(answered.contains(20) && answered.contains(13))
        #expect(answered.allSatisfy { $0 > 20 - 8 }, "\(answered.sorted())")
    }

    @Test func `what was missed while the others go on is executed too`() {
        let cluster = Self.cluster(.pbft, kept: 64)
        Self.miss(30, cluster)
        // Each operation moves the others on while the answers are under way.
        for number in 31...50 {
            cluster.client(1).submit("op\(number)", ticket: UInt64(number))
            if number == 31 { cluster.connect(3) }
            cluster.deliverAll()
        }
        cluster.advance(by: 4 * Self.stall)
        #expect(cluster[3].operations == cluster[0].operations && cluster[0].operations.count == 50)
        #expect(cluster[3].stateWanted == nil)
    }

    @Test func `what was missed is made up for in time, not at once, while the others go on`() {
        let cluster = Self.cluster(.pbft, kept: 256)
        Self.miss(120, cluster)
        cluster.connect(3)
        cluster.run((1...4).map { "soon\($0)" }, ticket: 900)
        var executed = [cluster[3].operations.count]
        for round in 0..<10 {
            cluster.run((1...4).map { "more\(round).\($0)" }, ticket: UInt64(1000 + 4 * round))
            cluster.advance(by: 100_000_000)
            executed.append(cluster[3].operations.count)
        }
        #expect(executed[10] > 40 && executed[10] < 120, "half a window each time, and what was added: \(executed)")
        #expect(zip(executed, executed.dropFirst()).allSatisfy { $0.1 - $0.0 <= 4 + 16 }, "\(executed)")
        // Nobody has anything to do: now it may take all there is.
        cluster.advance(by: 1_000_000_000)
        #expect(cluster[3].operations == cluster[0].operations)
        #expect(cluster[3].stateWanted == nil)
    }

    @Test(arguments: [(kept: 8, bytes: 1 << 20), (kept: 0, bytes: 1 << 20), (kept: 64, bytes: 64)])
    func `what nobody has any more is fetched as a state`(bounds: (kept: Int, bytes: Int)) {
        let cluster = Self.cluster(.pbft, kept: bounds.kept, bytes: bounds.bytes)
        Self.miss(20, cluster)
        cluster.connect(3)
        cluster.advance(by: 4 * Self.stall)
        #expect(cluster[3].stateWanted != nil)
        cluster.settle()
        #expect(cluster[3].operations == cluster[0].operations)
        #expect(cluster[3].root == cluster[0].root)
        #expect(cluster.replicas.allSatisfy { $0.footprint.excess == nil })
    }

    @Test func `f peers that lie about what was missed are not believed, and are no reason to stop`() {
        let cluster = Self.cluster(.pbft)
        Self.miss(12, cluster)
        cluster.filter = { link, body in
            if link.from == .replica(1), link.to == .replica(3), case .peer(.committed) = body {
                .drop
            } else {
                .deliver
            }
        }
        for sequence: UInt64 in 2...12 {
            let lie = Committed(SequenceNumber(sequence), .zero)
            cluster[3].receive(.committed(lie), from: 1)
        }
        cluster.connect(3)
        for sequence: UInt64 in 2...12 {
            cluster[3].receive(.committed(Committed(SequenceNumber(sequence), .zero)), from: 1)
        }
        cluster.advance(by: 4 * Self.stall)
        #expect(cluster[3].operations == cluster[0].operations)
        #expect(cluster[3].stateWanted == nil)
    }

    @Test func `a peer that names batches and does not give them holds nobody up for long`() {
        let cluster = Self.cluster(.pbft)
        Self.miss(12, cluster)
        cluster.filter = { link, body in
            if link.from == .replica(1), link.to == .replica(3), case .peer(.batch) = body { .drop } else { .deliver }
        }
        cluster.connect(3)
        #expect(cluster[3].operations.count < cluster[0].operations.count)
        cluster.advance(by: 2 * Self.stall)
        #expect(cluster[3].operations == cluster[0].operations)
        #expect(cluster[3].stateWanted == nil)
    }

    @Test func `when what was missed leads to another state than the certified one the state is fetched`() {
        let cluster = Self.cluster(.pbft)
        Self.miss(12, cluster)
        cluster[3].distortsRoots = true
        cluster.connect(3)
        cluster.advance(by: Self.stall)
        #expect(cluster[3].events.contains { if case .diverged = $0 { true } else { false } })
        for number in 13...40 { cluster.run(["op\(number)"], ticket: UInt64(number)) }
        #expect(cluster[3].stateWanted != nil)
        cluster[3].distortsRoots = false
        cluster.settle()
        #expect(cluster[3].root == cluster[0].root)
    }

    @Test func `after a restart what was executed since the last checkpoint is made up for in the same way`() {
        let cluster = Self.cluster(.pbft)
        Self.miss(12, cluster)
        cluster.connect(3)
        cluster.advance(by: Self.stall)
        cluster[3].restart()
        cluster.connect(3)
        cluster.advance(by: 2 * Self.stall)
        #expect(cluster[3].operations == cluster[0].operations)
        #expect(cluster[3].stateWanted == nil)
    }
}
