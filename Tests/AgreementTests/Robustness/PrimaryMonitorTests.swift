import Messages
import TestSupport
import Testing

@testable import Agreement

/// When a primary is replaced for what it says and orders: heartbeat, progress, IDLE, fairness, and the one back-off.
struct PrimaryMonitorTests {
    private static let millisecond = MonitoredCluster.millisecond
    private static let second = MonitoredCluster.second

    /// A cluster in which throughput is never the reason: views last longer than the tests.
    private static func cluster(_ behaviour: PrimaryBehaviour, faults: Int = 1) -> MonitoredCluster {
        var thresholds = RobustnessLimits.Monitoring()
        thresholds.graceNanoseconds = 3_600 * second
        return MonitoredCluster(faults: faults, thresholds: thresholds, behaviours: [behaviour])
    }

    // MARK: Heartbeat

    @Test func `a silent primary is replaced after a heartbeat and the allowance for a pause`() throws {
        var behaviour = PrimaryBehaviour()
        behaviour.saysIdle = false
        behaviour.mostBatches = 3
        var cluster = Self.cluster(behaviour)
        cluster.run(views: 1)
        let end = try #require(cluster.ended.first)
        // The third batch came after 21 ms.
        #expect(end.suspicion == .silent && end.nanoseconds == 161 * Self.millisecond)
        cluster.monitor.enteredView(
            isPrimary: false,
            chosen: .zero,
            committed: .zero,
            executed: .zero,
            high: SequenceNumber(256),
            now: cluster.now
        )
        let late = try #require(cluster.monitor.deadline)
        _ = cluster.monitor.timePassed(now: late)
        #expect(cluster.monitor.suspicion == .silent && cluster.monitor.deadline == nil, "there is nothing more to say")
    }

    @Test func `a primary with nothing to order is not replaced while it says so`() {
        var behaviour = PrimaryBehaviour()
        behaviour.mostBatches = 0
        var cluster = Self.cluster(behaviour)
        cluster.run(until: 60 * Self.second)
        #expect(cluster.ended.isEmpty)
    }

    @Test func `pauses of 100 ms of the primary are no reason, ones of 200 ms or too many are`() throws {
        var cluster = Self.cluster(PrimaryBehaviour())
        for pause: UInt64 in 1...10 {
            let start = pause * 6 * Self.second
            cluster.primaryPauses.append(start..<(start + 100 * Self.millisecond))
        }
        cluster.run(until: 65 * Self.second)
        #expect(cluster.ended.isEmpty)

        cluster.primaryPauses = [70 * Self.second..<70_200 * Self.millisecond]
        cluster.run(until: 75 * Self.second)
        #expect(cluster.ended.map(\.suspicion) == [.silent])

        var often = Self.cluster(PrimaryBehaviour())
        for pause: UInt64 in 4...20 {
            let start = pause * Self.second / 2
            often.primaryPauses.append(start..<(start + 100 * Self.millisecond))
        }
        often.run(until: 11 * Self.second)
        let first = try #require(often.ended.first)
        #expect(first.suspicion == .silent && first.nanoseconds < 3 * Self.second)
    }

    @Test(arguments: [UInt64(30), 100, 1_000, 30_000])
    func `this replica's own pauses are not the primary's fault`(milliseconds: UInt64) {
        var cluster = Self.cluster(PrimaryBehaviour())
        for pause: UInt64 in 1...3 {
            let start = pause * 31 * Self.second
            cluster.ownPauses.append(start..<(start + milliseconds * Self.millisecond))
        }
        cluster.run(until: 130 * Self.second)
        #expect(cluster.ended.isEmpty)
    }

    @Test func `a replica that is always late still notices a silent primary`() throws {
        var behaviour = PrimaryBehaviour()
        behaviour.saysIdle = false
        behaviour.mostBatches = 20
        var cluster = Self.cluster(behaviour)
        // It runs for 1 ms of every 100.
        for turn: UInt64 in 10...100 {
            cluster.ownPauses.append((turn * 100 + 1) * Self.millisecond..<(turn + 1) * 100 * Self.millisecond)
        }
        cluster.run(views: 1, until: 10 * Self.second)
        let end = try #require(cluster.ended.first)
        #expect(end.suspicion == .silent && end.nanoseconds < Self.second)
    }

    @Test func `a primary that delays each batch a little more than a heartbeat uses its allowance up`() throws {
        var behaviour = PrimaryBehaviour()
        behaviour.saysIdle = false
        behaviour.gap = { _, _ in 45 * Self.millisecond }
        var cluster = Self.cluster(behaviour)
        cluster.run(views: 1)
        let end = try #require(cluster.ended.first)
        #expect(end.suspicion == .silent && end.nanoseconds < 2 * Self.second)
        behaviour.gap = { _, _ in 39 * Self.millisecond }
        var below = Self.cluster(behaviour)
        below.run(until: 60 * Self.second)
        #expect(below.ended.isEmpty, "below it is for the throughput to notice")
    }

    @Test func `a slow disk is no reason, because IDLE does not wait for it`() {
        var cluster = Self.cluster(PrimaryBehaviour())
        cluster.diskInterval = 150 * Self.millisecond
        cluster.commitDelay = 160 * Self.millisecond
        cluster.run(until: 60 * Self.second)
        #expect(cluster.ended.isEmpty)
    }

    @Test func `an IDLE with an old number is no sign of life, and one with a number never proposed not for long`()
        throws
    {
        var behaviour = PrimaryBehaviour()
        behaviour.mostBatches = 4
        var cluster = Self.cluster(behaviour)
        cluster.run(until: cluster.time + 50 * Self.millisecond)
        for _ in 0..<30 where cluster.monitor.suspicion == nil {
            cluster.behaviours[0].saysIdle = false
            cluster.monitor.idle(through: SequenceNumber(3), now: cluster.now)
            cluster.run(views: 1, until: cluster.time + 10 * Self.millisecond)
        }
        #expect(cluster.ended.first?.suspicion == .silent)

        behaviour.idleAhead = 1
        var liar = Self.cluster(behaviour)
        liar.run(views: 1)
        let end = try #require(liar.ended.first)
        #expect(end.suspicion == .stuck(SequenceNumber(5)) && end.nanoseconds < 450 * Self.millisecond)
    }

    // MARK: Progress

    @Test func `with a full pipeline no heartbeat is owed, but progress is`() throws {
        var behaviour = PrimaryBehaviour()
        behaviour.saysIdle = false
        behaviour.gap = { _, _ in Self.millisecond }
        var cluster = Self.cluster(behaviour)
        cluster.commitDelay = 300 * Self.millisecond
        cluster.run(until: 5 * Self.second)
        #expect(cluster.ended.isEmpty)
        cluster.commitDelay = 500 * Self.millisecond
        cluster.run(views: 1)
        let end = try #require(cluster.ended.first)
        guard case .stuck = end.suspicion else {
            Issue.record("\(end.suspicion)")
            return
        }
    }

    @Test func `a primary that leaves out a number is stuck at it`() throws {
        var behaviour = PrimaryBehaviour()
        behaviour.skips = [20]
        var cluster = Self.cluster(behaviour)
        cluster.run(views: 1)
        let end = try #require(cluster.ended.first)
        #expect(end.suspicion == .stuck(SequenceNumber(20)) && end.nanoseconds < 700 * Self.millisecond)
    }

    @Test func `nothing is owed at the high water mark, and only progress before what NEW-VIEW chose is executed`() {
        var monitor = Self.monitor()
        let start = Instant(nanoseconds: Self.second)
        func enter(chosen: UInt64, executed: UInt64, high: UInt64) {
            monitor.enteredView(
                isPrimary: false,
                chosen: SequenceNumber(chosen),
                committed: SequenceNumber(executed),
                executed: SequenceNumber(executed),
                high: SequenceNumber(high),
                now: start
            )
        }
        enter(chosen: 256, executed: 256, high: 256)
        #expect(monitor.deadline == nil)
        monitor.stable(high: SequenceNumber(384), now: start)
        #expect(monitor.deadline == start.advanced(byNanoseconds: 140 * Self.millisecond))
        enter(chosen: 10, executed: 8, high: 256)
        #expect(monitor.deadline == start.advanced(byNanoseconds: 400 * Self.millisecond))
        let later = start.advanced(byNanoseconds: 300 * Self.millisecond)
        monitor.committed(through: SequenceNumber(10), now: later)
        for number: UInt64 in 9...10 {
            monitor.executed(SequenceNumber(number), requests: 1, operations: 1, isCatchUp: false, now: later)
        }
        #expect(monitor.deadline == later.advanced(byNanoseconds: 140 * Self.millisecond), "the heartbeat starts now")
    }

    private static func monitor(faults: Int = 1, thresholds: RobustnessLimits.Monitoring = .init()) -> PrimaryMonitor {
        MonitoredCluster(faults: faults, thresholds: thresholds).monitor
    }

    // MARK: Forwarded requests

    @Test func `an idle primary that ignores a forwarded request is replaced after 10 heartbeats`() throws {
        var behaviour = PrimaryBehaviour()
        behaviour.mostBatches = 5
        var cluster = Self.cluster(behaviour)
        cluster.run(until: 2 * Self.second)
        cluster.forward(1)
        let forwarded = cluster.time
        cluster.run(views: 1)
        let end = try #require(cluster.ended.first)
        #expect(end.suspicion == .idle(MonitoredCluster.name(1, 1)))
        #expect(cluster.repeats == [MonitoredCluster.name(1, 1)], "the first one may have been lost")
        let waited = cluster.time - forwarded
        #expect(waited >= 400 * Self.millisecond && waited < 440 * Self.millisecond)
    }

    @Test func `a long sleep after forwarding does not make an idle primary guilty`() {
        var behaviour = PrimaryBehaviour()
        behaviour.mostBatches = 5
        var cluster = Self.cluster(behaviour)
        cluster.run(until: 2 * Self.second)
        cluster.forward(1)
        cluster.ownPauses = [cluster.time..<cluster.time + 9 * Self.second]
        cluster.run(until: cluster.time + 9 * Self.second + 150 * Self.millisecond)
        #expect(cluster.ended.isEmpty)
    }

    @Test func `a client that is starved for ever is noticed although its request never executes`() throws {
        var behaviour = PrimaryBehaviour()
        behaviour.clients = { [2 + UInt32($0 % 20)] }
        var cluster = Self.cluster(behaviour)
        cluster.run(until: 2 * Self.second)
        cluster.forward(1)
        let forwarded = cluster.time
        cluster.run(views: 1)
        let end = try #require(cluster.ended.first)
        #expect(end.suspicion == .unfair(MonitoredCluster.name(1, 1)))
        // k after 10 ms, 8 batches of the pipeline, 20 clients once and one of them twice, at 10 ms a batch.
        #expect(cluster.time - forwarded < 320 * Self.millisecond)
    }

    @Test(arguments: 0..<8)
    func `a primary that takes clients in turn is never unfair, however many ask and whatever the load`(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let clients = 2 + random.below(60)
        let perBatch = 1 + random.below(8)
        var monitor = Self.monitor()
        var queue: [UInt32] = []
        var numbers = [UInt64](repeating: 1, count: clients)
        var time = Self.second
        var forwards = 0
        for sequence: UInt64 in 1...2_000 {
            time += UInt64(1 + random.below(6)) * Self.millisecond
            // Every client asks again as soon as it is served; the primary hears of it within 10 ms.
            for client in 0..<clients where !queue.contains(UInt32(client)) && random.chance(60) {
                queue.append(UInt32(client))
                if random.chance(30) {
                    monitor.forwarded(
                        MonitoredCluster.name(UInt32(client), numbers[client]),
                        now: Instant(nanoseconds: time)
                    )
                    forwards += 1
                }
            }
            _ = monitor.timePassed(now: Instant(nanoseconds: time))
            let batch = queue.prefix(perBatch)
            queue.removeFirst(batch.count)
            let names = batch.map { MonitoredCluster.name($0, numbers[Int($0)]) }
            for client in batch { numbers[Int(client)] += 1 }
            monitor.proposed(SequenceNumber(sequence), now: Instant(nanoseconds: time))
            monitor.ordered(names, at: SequenceNumber(sequence), now: Instant(nanoseconds: time))
            monitor.committed(through: SequenceNumber(sequence), now: Instant(nanoseconds: time))
            monitor.stable(high: SequenceNumber(sequence + 256), now: Instant(nanoseconds: time))
            #expect(monitor.suspicion == nil)
        }
        #expect(forwards > 100)
    }

    // MARK: The one back-off

    @Test func `views that execute nothing double all bounds, and 16 batches take one doubling back`() {
        var behaviour = PrimaryBehaviour()
        (behaviour.mostBatches, behaviour.saysIdle) = (0, false)
        var cluster = Self.cluster(behaviour)
        cluster.run(views: 13)
        let heartbeats = cluster.ended.map { ($0.nanoseconds / Self.millisecond - 100) / 40 }
        #expect(heartbeats == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024])
        #expect(cluster.monitor.heartbeat == 1024 * 40 * Self.millisecond)
        #expect(cluster.monitor.fairnessDelay == 1024 * 10 * Self.millisecond)
        cluster.behaviours = [PrimaryBehaviour()]
        cluster.run(until: cluster.time + 20 * 10 * Self.millisecond)
        #expect(cluster.monitor.backOff.factor == 512)
        cluster.run(until: cluster.time + 2 * Self.second)
        #expect(cluster.monitor.heartbeat == 40 * Self.millisecond)
    }

    @Test func `one executed batch keeps a view from doubling anything`() {
        var behaviour = PrimaryBehaviour()
        (behaviour.mostBatches, behaviour.saysIdle) = (1, false)
        var cluster = Self.cluster(behaviour)
        cluster.run(views: 6)
        #expect(cluster.monitor.backOff.factor == 1)
    }

    @Test func `however slowly batches commit, views last long enough for some, again and again`() {
        var cluster = Self.cluster(PrimaryBehaviour())
        cluster.commitDelay = 7 * Self.second
        cluster.run(until: 600 * Self.second)
        let productive = cluster.ended.drop { $0.executed == 0 }.map { $0.executed > 0 }
        #expect(productive.count > 10)
        // Every 16 batches the bounds are tried at half, so that a view may fail in between, but never two.
        #expect(!zip(productive, productive.dropFirst()).contains { !$0 && !$1 })
        let executed = cluster.ended.reduce(0) { $0 + $1.executed }
        #expect(executed > 600 / 7 * 8 / 2, "half of what the pipeline allows")
    }

    // MARK: Wide area networks

    @Test(arguments: 1...4)
    func `heartbeats scale with a round trip that f liars cannot inflate`(faults: Int) {
        var random = SplitMix64(seed: UInt64(faults))
        for _ in 0..<200 {
            var monitor = Self.monitor(faults: faults)
            var peers = (1...3 * faults).map { ReplicaID(UInt8($0)) }
            for index in peers.indices { peers.swapAt(index, random.below(peers.count)) }
            let liars = Set(peers.prefix(faults))
            var slowest: UInt64 = 0
            for peer in peers.shuffledBy(&random) {
                let honest = UInt64(1 + random.below(200)) * Self.millisecond
                if !liars.contains(peer) { slowest = max(slowest, honest) }
                monitor.roundTrip(liars.contains(peer) ? .max : honest, to: peer)
                #expect(monitor.heartbeat <= 40 * Self.millisecond + 2 * slowest)
            }
            #expect(monitor.heartbeat == 40 * Self.millisecond + 2 * slowest, "the liars are above all correct ones")
            #expect(monitor.fairnessDelay == 10 * Self.millisecond + slowest)
        }
    }

    @Test func `a primary far away is not suspected once the round trips are known`() {
        for isKnown in [false, true] {
            var behaviour = PrimaryBehaviour()
            behaviour.saysIdle = false
            // With one batch at a time, each comes a round trip after the last.
            behaviour.gap = { _, _ in 180 * Self.millisecond }
            var cluster = Self.cluster(behaviour)
            for peer: UInt8 in 1...3 where isKnown {
                cluster.monitor.roundTrip(150 * Self.millisecond, to: ReplicaID(peer))
            }
            cluster.run(until: 20 * Self.second)
            #expect(cluster.ended.isEmpty == isKnown)
        }
    }

    // MARK: The primary's own side, and states in which nothing is judged

    @Test func `the primary says IDLE each half heartbeat, and suspects nobody`() {
        var monitor = Self.monitor()
        var now = Instant(nanoseconds: 5 * Self.second)
        monitor.enteredView(
            isPrimary: true,
            chosen: SequenceNumber(7),
            committed: SequenceNumber(7),
            executed: SequenceNumber(7),
            high: SequenceNumber(256),
            now: now
        )
        var said: [UInt64] = []
        for _ in 0..<200 {
            #expect(monitor.deadline == now)
            let due = monitor.timePassed(now: now)
            said.append(due.idle?.rawValue ?? 0)
            monitor.forwarded(MonitoredCluster.name(1, 1), now: now)
            if said.count == 100 { monitor.proposed(SequenceNumber(8), now: now) }
            now = now.advanced(byNanoseconds: 20 * Self.millisecond)
        }
        #expect(said == Array(repeating: 7, count: 100) + Array(repeating: 8, count: 100))
        #expect(monitor.suspicion == nil && monitor.watchedRequests == 0)
        monitor.leftView(now: now)
        #expect(monitor.deadline == nil)
    }

    @Test func `a replica that fetches state judges nobody until it has it`() {
        var behaviour = PrimaryBehaviour()
        (behaviour.mostBatches, behaviour.saysIdle) = (3, false)
        var cluster = Self.cluster(behaviour)
        cluster.monitor.setSuspended(true, now: cluster.now)
        cluster.forward(1)
        cluster.run(until: 20 * Self.second)
        #expect(cluster.ended.isEmpty && cluster.monitor.deadline == nil)
        let start = cluster.time
        cluster.monitor.setSuspended(false, now: cluster.now)
        cluster.run(views: 1)
        #expect(cluster.ended.map(\.suspicion) == [.silent], "everything starts anew then")
        #expect(cluster.time - start < 200 * Self.millisecond)
    }

    @Test func `nothing is watched in no view`() {
        var monitor = Self.monitor()
        let now = Instant(nanoseconds: 2 * Self.second)
        monitor.forwarded(MonitoredCluster.name(1, 1), now: now)
        #expect(monitor.watchedRequests == 1)
        monitor.leftView(now: now)
        monitor.forwarded(MonitoredCluster.name(1, 1), now: now)
        monitor.proposed(SequenceNumber(9), now: now)
        monitor.idle(through: SequenceNumber(9), now: now)
        monitor.executed(SequenceNumber(9), requests: 1, operations: 1, isCatchUp: false, now: now)
        #expect(monitor.watchedRequests == 0 && monitor.deadline == nil && monitor.suspicion == nil)
    }
}

extension Array {
    fileprivate func shuffledBy(_ random: inout SplitMix64) -> [Element] {
        var copy = self
        for index in copy.indices { copy.swapAt(index, random.below(copy.count)) }
        return copy
    }
}
