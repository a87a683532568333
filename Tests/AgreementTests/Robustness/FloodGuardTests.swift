import Messages
import TestSupport
import Testing

@testable import Agreement

/// The flood guard cuts off who floods, fast or slowly, alone or together with others, and nobody else.
struct FloodGuardTests {
    private static func at(seconds: Double) -> Instant { Instant(nanoseconds: UInt64(seconds * 1e9)) }

    /// The times and numbers of these tests go by a budget of 1000.
    private static func guarded(faults: Int = 1, limits: RobustnessLimits.Flooding = .init()) throws -> FloodGuard {
        var limits = limits
        limits.offenceBudget = 1_000
        return FloodGuard(
            size: try #require(ClusterSize(faults: faults)),
            replica: ReplicaID(0),
            window: 256,
            limits: limits
        )
    }

    /// Offends evenly.
    ///
    /// - Returns: What changed, and when.
    private static func offend(
        _ guardian: inout FloodGuard,
        _ peer: UInt8,
        perSecond: Double,
        from start: Double,
        seconds: Double
    ) -> [(at: Double, change: FloodGuard.Change)] {
        var changes: [(Double, FloodGuard.Change)] = []
        for step in 0..<Int(perSecond * seconds) {
            let time = start + Double(step) / perSecond
            changes += guardian.timePassed(now: at(seconds: time)).map { (time, $0) }
            changes += guardian.count(.invalid, from: ReplicaID(peer), now: at(seconds: time)).map { (time, $0) }
        }
        return changes
    }

    @Test func `a flood is cut off when its budget is used up, and an occasional offence never`() throws {
        var guardian = try Self.guarded()
        let rare = Self.offend(&guardian, 1, perSecond: 20, from: 10, seconds: 600)
        #expect(rare.isEmpty)
        let flood = Self.offend(&guardian, 2, perSecond: 10_000, from: 1000, seconds: 1)
        let first = try #require(flood.first)
        #expect(
            first.change == .cut(ReplicaID(2), until: Self.at(seconds: first.at).advanced(byNanoseconds: 5_000_000_000))
        )
        #expect(first.at > 1000.09 && first.at < 1000.11, "1000 offences at once, and 100 a second")
        #expect(guardian.cutPeers.contains(ReplicaID(2)) && guardian.cutPeers.count == 1)
    }

    @Test func `a flood too slow for the budget is cut off by comparison`() throws {
        var guardian = try Self.guarded()
        let changes = Self.offend(&guardian, 3, perSecond: 50, from: 10, seconds: 45)
        let first = try #require(changes.first)
        #expect(abs(first.at - 50) < 0.1, "after 2000 offences")
        var evenly = try Self.guarded()
        var others: [FloodGuard.Change] = []
        for step in 0..<8_000 {
            // As many of each: nobody stands out, and nobody is above the budget.
            let now = Self.at(seconds: 1 + Double(step) / 60)
            others += evenly.count(.duplicate, from: ReplicaID(UInt8(1 + step % 3)), now: now)
        }
        #expect(others.isEmpty)
    }

    @Test func `f peers that flood together are both cut off, whichever way they do it`() throws {
        for perSecond in [60.0, 20_000] {
            var guardian = try Self.guarded(faults: 2)
            var random = SplitMix64(seed: 7)
            for step in 0..<6_000 {
                let now = Self.at(seconds: 1 + Double(step) / perSecond)
                let peer = random.chance(1) ? UInt8(1 + random.below(6)) : UInt8(4 + step % 2)
                _ = guardian.count(.unsolicitedBulk, from: ReplicaID(peer), now: now)
            }
            #expect(guardian.cutPeers.contains(ReplicaID(4)) && guardian.cutPeers.contains(ReplicaID(5)))
            #expect(guardian.cutPeers.count == 2)
        }
    }

    @Test func `cuts grow from 5 s to 10 minutes, and are forgotten after as long`() throws {
        var guardian = try Self.guarded()
        var now = Self.at(seconds: 100)
        var lengths: [UInt64] = []
        for _ in 0..<10 {
            for _ in 0..<3_000 where guardian.cutPeers.count == 0 {
                for case .cut(_, let until) in guardian.count(.invalid, from: ReplicaID(1), now: now) {
                    lengths.append(until.nanoseconds(since: now) / 1_000_000_000)
                }
            }
            now = try #require(guardian.deadline)
            let lifted = guardian.timePassed(now: now)
            #expect(lifted == [.lifted(ReplicaID(1))] && guardian.deadline == nil)
        }
        #expect(lengths == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600])
        now = now.advanced(byNanoseconds: 600_000_000_000)
        var length: UInt64 = 0
        for _ in 0..<3_000 where length == 0 {
            for case .cut(_, let until) in guardian.count(.invalid, from: ReplicaID(1), now: now) {
                length = until.nanoseconds(since: now)
            }
        }
        #expect(length == 5_000_000_000)
    }

    @Test func `with f peers down nobody is cut off, and one that goes down brings one back`() throws {
        var guardian = try Self.guarded()
        let before = guardian.setDown(ReplicaID(1), true)
        let changes = Self.offend(&guardian, 2, perSecond: 10_000, from: 10, seconds: 1)
        #expect(before.isEmpty && changes.isEmpty)
        _ = guardian.setDown(ReplicaID(1), false)
        let later = Self.offend(&guardian, 2, perSecond: 10_000, from: 20, seconds: 1)
        #expect(!later.isEmpty && guardian.cutPeers.contains(ReplicaID(2)))
        let lifted = guardian.setDown(ReplicaID(3), true)
        #expect(lifted == [.lifted(ReplicaID(2))] && guardian.cutPeers.count == 0)
    }

    @Test func `one that offends much more takes the place of a peer that was unlucky`() throws {
        var guardian = try Self.guarded()
        let unlucky = Self.offend(&guardian, 1, perSecond: 2_000, from: 10, seconds: 0.6)
        #expect(unlucky.count == 1 && guardian.cutPeers.contains(ReplicaID(1)))
        // It behaves from then on; another one floods.
        let changes = Self.offend(&guardian, 2, perSecond: 20_000, from: 14, seconds: 0.5)
        #expect(changes.map(\.change).contains(.lifted(ReplicaID(1))))
        #expect(guardian.cutPeers.contains(ReplicaID(2)) && !guardian.cutPeers.contains(ReplicaID(1)))
    }

    @Test func `where this replica may hear too little, the cuts of those that offend no more are lifted`() throws {
        var guardian = try Self.guarded(faults: 2)
        _ = Self.offend(&guardian, 1, perSecond: 10_000, from: 10, seconds: 1)
        _ = Self.offend(&guardian, 2, perSecond: 10_000, from: 11, seconds: 1)
        #expect(guardian.cutPeers.count == 2)
        let early = guardian.liftQuiet(now: Instant(nanoseconds: 11_900_000_000))
        #expect(early.isEmpty)
        let lifted = guardian.liftQuiet(now: Instant(nanoseconds: 12_500_000_000))
        #expect(lifted == [.lifted(ReplicaID(1))] && guardian.cutPeers.contains(ReplicaID(2)))
        // The budget is whole again, and no more than whole.
        let within = Self.offend(&guardian, 1, perSecond: 10_000, from: 12.5, seconds: 0.09)
        #expect(within.isEmpty)
        let beyond = Self.offend(&guardian, 1, perSecond: 10_000, from: 12.6, seconds: 0.1)
        #expect(beyond.count == 1 && guardian.cutPeers.contains(ReplicaID(1)))
    }

    @Test func `who floods no more is not cut off again for an old flood`() throws {
        var guardian = try Self.guarded()
        _ = Self.offend(&guardian, 1, perSecond: 20_000, from: 10, seconds: 2)
        let end = try #require(guardian.deadline)
        _ = guardian.timePassed(now: end)
        // 20 s after it began, what is remembered of it is gone but for the budget.
        let later = Self.offend(&guardian, 1, perSecond: 10, from: 40, seconds: 100)
        #expect(later.isEmpty)
    }

    // MARK: Far outside the window

    @Test func `only what is a window beyond what a correct peer names is far outside`() throws {
        var guardian = try Self.guarded()
        let high = SequenceNumber(1000)
        func isFar(_ sequence: UInt64, _ peer: UInt8) -> Bool {
            guardian.isFarOutside(SequenceNumber(sequence), from: ReplicaID(peer), high: high)
        }
        let near = [isFar(900, 1), isFar(1000, 1), isFar(1256, 1)]
        #expect(near == [false, false, false])
        let far = [isFar(1257, 1), isFar(.max, 1), isFar(.max - 1, 1)]
        #expect(far == [true, true, true], "a lone voice")
        let second = isFar(5000, 2)
        #expect(!second, "f + 1 voices: one of them is a correct peer's, so it is I who am behind")
        let others = [isFar(5200, 3), isFar(5457, 3), isFar(900, 2)]
        #expect(others == [false, false, false])
        let beyond = [isFar(5713, 1), isFar(5714, 1)]
        #expect(beyond == [false, true])
    }

    @Test(arguments: 1...3)
    func `while this replica is behind, correct peers ahead of it are never far outside, whatever f liars name`(
        faults: Int
    ) throws {
        var random = SplitMix64(seed: UInt64(faults))
        var guardian = try Self.guarded(faults: faults)
        var low: UInt64 = 10_000
        for _ in 0..<5_000 {
            low += UInt64(random.below(3))
            let liar = UInt8(1 + random.below(faults))
            _ = guardian.isFarOutside(SequenceNumber(random.next()), from: ReplicaID(liar), high: SequenceNumber(300))
            let correct = UInt8(faults + 1 + random.below(2 * faults))
            // Correct peers are inside one window of each other.
            let named = SequenceNumber(low + UInt64(random.below(256)))
            let isFar = guardian.isFarOutside(named, from: ReplicaID(correct), high: SequenceNumber(300))
            // Before f + 1 peers were heard of, the first voices may count: the budget is for that.
            if low > 10_100 { #expect(!isFar) }
        }
    }

    @Test(arguments: [(0.2, true), (1.5, false)])
    func `the first to bring the news after an isolation has its cut back when another brings them too`(
        delay: Double,
        isTakenBack: Bool
    ) throws {
        var guardian = try Self.guarded()
        let high = SequenceNumber(300)
        var changes: [FloodGuard.Change] = []
        func name(_ sequence: UInt64, _ peer: UInt8, at seconds: Double) {
            let now = Self.at(seconds: seconds)
            if guardian.isFarOutside(SequenceNumber(sequence), from: ReplicaID(peer), high: high) {
                changes += guardian.count(.farOutsideWindow, from: ReplicaID(peer), now: now)
            }
            changes += guardian.takeBackVouched(high: high, now: now)
        }
        // What one link has held back: three messages of each of a thousand batches.
        for message: UInt64 in 0..<3000 { name(10_000 + message / 3, 1, at: 100 + Double(message) / 1e5) }
        #expect(guardian.cutPeers.contains(ReplicaID(1)))
        changes = []
        name(10_990, 2, at: 100 + delay)
        // What comes true later may be a flood all the same.
        #expect(changes == (isTakenBack ? [.lifted(ReplicaID(1))] : []))
        #expect(guardian.cutPeers.contains(ReplicaID(1)) == !isTakenBack)
        guard isTakenBack else { return }
        // Its budget is whole, but for what the others named at once.
        let later = Self.offend(&guardian, 1, perSecond: 900, from: 101, seconds: 1)
        #expect(later.isEmpty)
    }

    // MARK: Everything together

    @Test(arguments: 0..<10)
    func `never more than f peers are cut off or down, and the changes tell which`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let faults = 1 + random.below(3)
        var guardian = try Self.guarded(faults: faults)
        var cut: Set<ReplicaID> = []
        var down: Set<ReplicaID> = []
        var now: UInt64 = 1_000_000_000
        for _ in 0..<1_000 {
            now += UInt64(random.below(50_000_000))
            let time = Instant(nanoseconds: now)
            let peer = ReplicaID(UInt8(1 + random.below(3 * faults)))
            var changes: [FloodGuard.Change] = []
            switch random.below(100) {
            case 0..<90:
                for _ in 0..<random.below(100) { changes += guardian.count(.invalid, from: peer, now: time) }
            case 90..<94:
                let isDown = random.chance(40)
                changes = guardian.setDown(peer, isDown)
                if isDown { down.insert(peer) } else { down.remove(peer) }
            case 94..<95: changes = guardian.liftQuiet(now: time)
            default: changes = guardian.timePassed(now: time)
            }
            for change in changes {
                switch change {
                case .cut(let peer, let until):
                    let isNew = cut.insert(peer).inserted
                    #expect(isNew && until > time && until <= time.advanced(byNanoseconds: 600_000_000_000))
                case .lifted(let peer):
                    let wasCut = cut.remove(peer)
                    #expect(wasCut != nil)
                }
            }
            #expect(cut.subtracting(down).isEmpty || cut.union(down).count <= faults)
            let told = (0...3 * faults).map { ReplicaID(UInt8($0)) }.filter(guardian.cutPeers.contains)
            #expect(Set(told) == cut)
        }
    }
}
