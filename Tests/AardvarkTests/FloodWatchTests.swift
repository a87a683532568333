import Agreement
import Cryptography
import Messages
import Testing

@testable import Aardvark

/// What counts as flooding, and when nobody is cut off.
struct FloodWatchTests {
    private static let peer = ReplicaID(1)
    private static let now = Instant(nanoseconds: 1_000_000_000_000)
    private static let vote = PeerMessage.vote(
        Vote(.commit, view: View(0), sequence: SequenceNumber(5), digest: .zero)
    )

    private let size: ClusterSize
    private var watch: FloodWatch
    /// More repetitions than an answer to a CATCH-UP has, and then more offences than the budget has.
    private let expected: Int
    private let budget = 1_000

    init() throws {
        size = try #require(ClusterSize(replicas: 4))
        let limits = Limits()
        expected = 4 * limits.catchUpBatches + limits.pastBatchesPerAnswer
        var flooding = RobustnessLimits().flooding
        flooding.offenceBudget = UInt64(budget)
        watch = FloodWatch(size: size, replica: ReplicaID(0), limits: limits, flooding: flooding)
        for peer in size.members.dropFirst() { watch.setDown(peer, false) }
    }

    /// The engine drops a message of the peer.
    private mutating func drop(_ reason: DropReason, _ message: PeerMessage = vote, times: Int = 1) {
        for _ in 0..<times {
            watch.begins(message, from: Self.peer, high: SequenceNumber(256), now: Self.now)
            watch.note(.dropped(reason), areRequestsSigned: true, now: Self.now)
            watch.ends()
        }
    }

    @Test mutating func `a peer that repeats itself is cut off, not one that says again what it was asked for`() {
        drop(.duplicateVote, times: expected)
        #expect(watch.offences.isEmpty)
        drop(.duplicateVote, times: 10)
        #expect(watch.offences == [.duplicate: 10])
        let catchUp = CatchUp(view: View(0), standing: .active, executed: .zero, stable: .zero, prepared: .zero)
        watch.asked(.others, for: .catchUp(catchUp))
        drop(.duplicateVote, times: expected)
        #expect(watch.offences == [.duplicate: 10])
        drop(.duplicateVote, times: budget)
        #expect(watch.cutPeers.contains(Self.peer) && watch.cuts == 1)
        #expect(watch.offencesOfPeer == [0, UInt64(budget + 10), 0, 0])
        #expect(watch.deadline != nil)
    }

    @Test mutating func `late votes and those of other views are no offence`() {
        for reason in [.otherView, .outsideWindow, .tooEarly, .uselessCheckpoint, .uselessViewChange] as [DropReason] {
            drop(reason, times: 2 * budget)
        }
        #expect(watch.offences.isEmpty)
    }

    @Test mutating func `bulk that nobody asked for counts, late answers do not`() {
        watch.setDown(Self.peer, true)
        watch.setDown(Self.peer, false)
        let fetch = Fetch(.batch(SequenceNumber(3), .zero))
        watch.asked(.replica(Self.peer), for: .fetch(fetch))
        drop(.uselessFetch, times: expected + 1)
        #expect(watch.offences.isEmpty)
        drop(.uselessFetch)
        #expect(watch.offences == [.unsolicitedBulk: 1])
    }

    @Test mutating func `numbers far ahead of everybody's count`() {
        let far = PeerMessage.vote(
            Vote(.commit, view: View(0), sequence: SequenceNumber(1_000_000), digest: .zero)
        )
        drop(.outsideWindow, far, times: 3)
        #expect(watch.offences == [.farOutsideWindow: 3])
    }

    @Test mutating func `what clients do is nobody else's offence`() {
        watch.note(.dropped(.badAuthentication), areRequestsSigned: true, now: Self.now)
        #expect(watch.offences.isEmpty)
        drop(.badAuthentication)
        #expect(watch.offences == [.invalid: 1])
        // A wrong MAC says nothing of whoever handed the request on.
        watch.begins(Self.vote, from: Self.peer, high: SequenceNumber(256), now: Self.now)
        watch.note(.dropped(.badAuthentication), areRequestsSigned: false, now: Self.now)
        watch.note(.accused(Self.peer, .forgedRequest), areRequestsSigned: false, now: Self.now)
        #expect(watch.offences == [.invalid: 1])
    }

    @Test mutating func `nobody is cut off while another peer is down`() {
        watch.setDown(ReplicaID(2), true)
        for _ in 0..<(3 * budget) { watch.invalid(of: Self.peer, now: Self.now) }
        #expect(watch.cutPeers.count == 0)
        watch.setDown(ReplicaID(2), false)
        watch.invalid(of: Self.peer, now: Self.now)
        #expect(watch.cutPeers.contains(Self.peer))
        _ = watch.takeChanges()
        watch.setDown(ReplicaID(2), true)
        #expect(watch.takeChanges() == [.lifted(Self.peer)])
    }

    @Test(arguments: [Event.stalled(SequenceNumber(1)), .leftView(for: View(1), because: .silent)])
    mutating func `the cut of a peer that offends no more is lifted when this replica may hear too little`(
        event: Event
    ) {
        for _ in 0...budget { watch.invalid(of: Self.peer, now: Self.now) }
        watch.note(event, areRequestsSigned: true, now: Self.now.advanced(byNanoseconds: 500_000_000))
        #expect(watch.cutPeers.contains(Self.peer))
        watch.note(event, areRequestsSigned: true, now: Self.now.advanced(byNanoseconds: 1_500_000_000))
        #expect(watch.cutPeers.count == 0)
    }
}
