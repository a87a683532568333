import Messages
import TestSupport
import Testing

@testable import Agreement

/// What the scheduler promises of its queues: order, bounds, shares, no starvation, and agreement before client traffic.
struct FairSchedulerTests {
    private static let peers = (1...3).map { ReplicaID(UInt8($0)) }

    // MARK: Order and bounds

    @Test(arguments: 0..<10)
    func
        `every queue is first in first out, nothing is lost or doubled, and something is taken whenever something waits`(
            seed: UInt64
        ) throws
    {
        var random = SplitMix64(seed: seed)
        var run = try ScheduledRun(clients: 5)
        var waiting: [IngressQueue: [Int]] = [:]
        for step in 0..<3_000 {
            if random.chance(55) {
                let queue = run.queues[random.below(run.queues.count)]
                if run.scheduler.enqueue(step, bytes: random.below(3_000), in: queue) {
                    waiting[queue, default: []].append(step)
                }
            } else if let taken = run.scheduler.next() {
                #expect(waiting[taken.queue]?.first == taken.element)
                waiting[taken.queue]?.removeFirst()
                if random.chance(80) { run.scheduler.charge(UInt64(random.below(300_000)), to: taken.queue) }
            } else {
                #expect(waiting.values.allSatisfy { $0.isEmpty })
            }
            #expect(run.scheduler.count == waiting.values.reduce(0) { $0 + $1.count })
            if random.chance(1) {
                var cut = VoteSet()
                cut.insert(Self.peers[random.below(3)])
                run.scheduler.setCut(random.chance(50) ? cut : VoteSet())
            }
            if random.chance(1) {
                let connection = ConnectionID(UInt64(random.below(5)))
                run.scheduler.close(connection)
                waiting[.client(connection)] = nil
                let isOpen = run.scheduler.open(connection)
                #expect(isOpen)
            }
        }
        while let taken = run.scheduler.next() { waiting[taken.queue]?.removeFirst() }
        #expect(waiting.values.allSatisfy { $0.isEmpty } && run.scheduler.count == 0 && run.scheduler.bytes == 0)
    }

    @Test func `memory is bounded whatever anyone sends`() throws {
        var limits = RobustnessLimits.Scheduling()
        (limits.agreementMessages, limits.agreementBytes) = (50, 10_000)
        (limits.forwardMessages, limits.forwardBytes) = (40, 8_000)
        (limits.bulkMessages, limits.bulkBytes) = (30, 6_000)
        (limits.clientMessages, limits.clientBytes, limits.clientConnections) = (20, 4_000, 6)
        var run = try ScheduledRun(clients: 6, limits: limits)
        let extra = run.scheduler.open(ConnectionID(99))
        #expect(!extra, "the seventh connection is refused")
        let mostMessages = 3 * (50 + 40 + 30) + 6 * 20
        let longest = 900
        let mostBytes = 3 * (10_000 + 8_000 + 6_000 + 3 * longest) + 6 * (4_000 + longest)
        var random = SplitMix64(seed: 3)
        var refused: Set<IngressQueue> = []
        for step in 0..<20_000 {
            let queue = run.queues[random.below(run.queues.count)]
            let bytes = step < 10_000 ? random.below(longest) : random.below(20)
            if !run.scheduler.enqueue(step, bytes: bytes, in: queue) { refused.insert(queue) }
            if random.chance(5) { _ = run.scheduler.next() }
            #expect(run.scheduler.count <= mostMessages && run.scheduler.bytes <= mostBytes)
        }
        #expect(refused.count == run.queues.count, "every queue was full at some time")
        let toNobody = run.scheduler.enqueue(1, bytes: 1, in: .client(ConnectionID(99)))
        #expect(!toNobody)
    }

    @Test func `connections that come and go take no memory, and gain nothing by it`() throws {
        var run = try ScheduledRun(clients: 1)
        let steady = IngressQueue.client(ConnectionID(0))
        for round in 1...5_000 {
            let connection = ConnectionID(7)
            let isOpen = run.scheduler.open(connection)
            let isTaken = run.scheduler.enqueue(round, bytes: 10, in: .client(connection))
            #expect(isOpen && isTaken)
            if round % 3 == 0 { _ = run.scheduler.enqueue(round, bytes: 10, in: steady) }
            if round < 5_000 { run.scheduler.close(connection) }
        }
        // The last connection has one message, and one turn for it, however often it was here before.
        run.work = { _ in 50_000 }
        run.serve(count: 2)
        #expect(run.count[steady] == 1 && run.count[.client(ConnectionID(7))] == 1)
    }

    @Test func `a queue that refused says when it is half empty`() throws {
        var limits = RobustnessLimits.Scheduling()
        limits.clientMessages = 10
        var run = try ScheduledRun(clients: 1, limits: limits)
        let queue = IngressQueue.client(ConnectionID(0))
        for step in 0..<10 {
            let isTaken = run.scheduler.enqueue(step, bytes: 1, in: queue)
            #expect(isTaken)
        }
        let first = run.scheduler.next()
        #expect(first?.hasRoomAgain == false)
        let tenth = run.scheduler.enqueue(10, bytes: 1, in: queue)
        let eleventh = run.scheduler.enqueue(11, bytes: 1, in: queue)
        #expect(tenth && !eleventh)
        var answers: [Bool] = []
        while let taken = run.scheduler.next() { answers.append(taken.hasRoomAgain) }
        #expect(answers == [false, false, false, false, true, false, false, false, false, false])
    }

    @Test func `a full queue of one kind leaves the others alone`() throws {
        var run = try ScheduledRun(clients: 2)
        let peer = Self.peers[0]
        for _ in 0..<10_000 {
            _ = run.scheduler.enqueue(0, bytes: 1_000, in: .bulk(peer))
            _ = run.scheduler.enqueue(0, bytes: 1_000, in: .forwards(peer))
            _ = run.scheduler.enqueue(0, bytes: 1_000, in: .client(ConnectionID(0)))
        }
        for queue: IngressQueue in [.agreement(peer), .bulk(Self.peers[1]), .client(ConnectionID(1))] {
            let isTaken = run.scheduler.enqueue(7, bytes: 1_000, in: queue)
            #expect(isTaken)
        }
        let first = run.scheduler.next()
        #expect(first?.element == 7 && first?.queue == .agreement(peer), "bulk never blocks a COMMIT")
    }

    // MARK: Shares

    @Test(arguments: [1, 2, 7], [UInt64(1), 2, 3])
    func `queues that always wait get their guaranteed shares, whatever their messages cost`(faults: Int, seed: UInt64)
        throws
    {
        var random = SplitMix64(seed: seed)
        var run = try ScheduledRun(clients: 4, faults: faults)
        // From cheap votes to what is far dearer than a round's credit.
        let costs = Dictionary(
            uniqueKeysWithValues: run.queues.map {
                ($0, UInt64([10_000, 20_000, 100_000, 1_500_000][random.below(4)]))
            }
        )
        run.work = { costs[$0] ?? 0 }
        run.isAlwaysFull = true
        run.serve(until: 1_000_000_000)
        // Everybody may be ahead by one message, at the cost of all others.
        let overdrafts = Double(costs.values.reduce(0, +)) / Double(run.time)
        for queue in run.queues {
            let share = run.share(of: queue)
            let served = Double(run.served[queue] ?? 0) / Double(run.time)
            let oneMessage = Double(costs[queue] ?? 0) / Double(run.time)
            #expect(
                abs(served - share) < (0.01 + overdrafts) * share + 2 * oneMessage,
                "\(queue) had \(served) in place of \(share)"
            )
        }
    }

    @Test(arguments: 0..<5)
    func `no choice of arrivals and costs takes its share from a queue that always waits`(seed: UInt64) throws {
        var random = SplitMix64(seed: 100 + seed)
        var run = try ScheduledRun(clients: 3)
        let victim = run.queues[random.below(run.queues.count)]
        // All others come and go in bursts, with costs of their choice, and change them on the way.
        var costs: [IngressQueue: UInt64] = [:]
        run.work = { costs[$0] ?? 40_000 }
        let longest = 2_000_000
        var windowStart: (time: UInt64, served: UInt64) = (0, 0)
        for _ in 0..<100_000 where run.time < 1_000_000_000 {
            for queue in run.queues where queue != victim && random.chance(20) {
                costs[queue] = UInt64(random.below(random.chance(10) ? longest : 60_000))
                for _ in 0..<random.below(30) { _ = run.scheduler.enqueue(0, bytes: 100, in: queue) }
            }
            for _ in 0..<11 { _ = run.scheduler.enqueue(0, bytes: 100, in: victim) }
            run.serve(count: 10)
            // In every window of 200 ms: the share, but for what one message of each costs.
            if run.time - windowStart.time > 200_000_000 {
                let served = run.served[victim, default: 0] - windowStart.served
                let due = run.share(of: victim) * Double(run.time - windowStart.time)
                #expect(Double(served) >= due - run.share(of: victim) * Double(16 * longest) - 2_000_000)
                windowStart = (run.time, run.served[victim, default: 0])
            }
        }
        let served = Double(run.served[victim] ?? 0) / Double(run.time)
        #expect(served >= 0.9 * run.share(of: victim))
    }

    @Test func `what is not used is lent, and comes back at once`() throws {
        var run = try ScheduledRun(clients: 1)
        let client = IngressQueue.client(ConnectionID(0))
        run.work = { _ in 50_000 }
        for _ in 0..<100 { _ = run.scheduler.enqueue(0, bytes: 1, in: client) }
        run.serve(count: 50)
        #expect(run.count[client] == 50, "alone it has everything")
        for _ in 0..<30 { _ = run.scheduler.enqueue(0, bytes: 1, in: .agreement(Self.peers[0])) }
        let next = run.scheduler.next()
        #expect(next?.queue == .agreement(Self.peers[0]), "a share that was lent is not used up")
    }

    @Test func `debts are kept while a queue is idle, as long as others wait`() throws {
        var run = try ScheduledRun(clients: 0)
        let (dear, cheap) = (IngressQueue.agreement(Self.peers[0]), IngressQueue.agreement(Self.peers[1]))
        for _ in 0..<400 { _ = run.scheduler.enqueue(0, bytes: 1, in: cheap) }
        _ = run.scheduler.enqueue(0, bytes: 1, in: dear)
        run.work = { $0 == dear ? 10_000_000 : 100_000 }
        run.serve(until: 10_000_000)
        // It comes back with a new message at once, but it has had 10 ms: the other one has as much first.
        _ = run.scheduler.enqueue(0, bytes: 1, in: dear)
        let before = run.served[cheap, default: 0]
        for _ in 0..<1_000 where run.count[dear] == 1 { run.serve(count: 1) }
        #expect(run.served[cheap, default: 0] - before >= 9_000_000)
    }

    @Test func `a pause that is charged to whoever was served does not shut him out for long`() throws {
        var run = try ScheduledRun(clients: 1)
        run.isAlwaysFull = true
        run.work = { _ in 10_000 }
        let unlucky = IngressQueue.agreement(Self.peers[0])
        for _ in 0..<1_000 where run.served[unlucky] == nil { run.serve(count: 1) }
        run.scheduler.charge(10_000_000_000, to: unlucky)
        let before = (run.time, run.served[unlucky, default: 0])
        for _ in 0..<100_000 where run.served[unlucky, default: 0] == before.1 { run.serve(count: 1) }
        #expect(run.time - before.0 < 100_000_000, "20 ms of debt, at a quarter of the time, not 10 s")
    }

    @Test func `messages that cost nothing measurable starve nobody`() throws {
        var run = try ScheduledRun(clients: 3)
        run.isAlwaysFull = true
        run.serve(count: 20_000)
        for queue in run.queues {
            #expect(run.count[queue, default: 0] > 60, "\(queue) starves")
        }
    }

    // MARK: Agreement first

    @Test(arguments: 0..<10)
    func `agreement within its share is never behind clients, forwards, bulk or a peer that floods`(seed: UInt64) throws
    {
        var random = SplitMix64(seed: 200 + seed)
        var run = try ScheduledRun(clients: 8)
        let (correct, flooder) = (IngressQueue.agreement(Self.peers[0]), IngressQueue.agreement(Self.peers[1]))
        run.work = { $0 == correct ? 2_000 : 30_000 }
        run.exempt = [correct]
        run.isAlwaysFull = true
        for _ in 0..<300 {
            run.serve(count: 1 + random.below(40))
            _ = run.scheduler.enqueue(0, bytes: 50, in: correct)
            // At most one message of each other peer goes first, whoever waits.
            var before = 0
            while let taken = run.takeOne(), taken.queue != correct {
                before += 1
                guard case .agreement = taken.queue, before <= 2 else {
                    Issue.record("\(taken.queue) went before agreement within its share")
                    return
                }
            }
        }
        #expect(run.served[flooder, default: 0] > 0)
    }

    @Test func `agreement beyond its share leaves clients theirs`() throws {
        var run = try ScheduledRun(clients: 2)
        run.isAlwaysFull = true
        run.exempt = run.queues.filter {
            switch $0 {
            case .forwards, .bulk: true
            case .agreement, .client: false
            }
        }
        run.work = { _ in 20_000 }
        run.serve(until: 2_000_000_000)
        let clients = (0..<2).reduce(0) { $0 + run.served[.client(ConnectionID(UInt64($1))), default: 0] }
        #expect(Double(clients) / Double(run.time) > 0.11, "10 of 85 parts")
    }

    // MARK: Cutting off

    @Test func `a peer that is cut off keeps a hundredth of its share, and what nobody else wants`() throws {
        var run = try ScheduledRun(clients: 1)
        var cut = VoteSet()
        cut.insert(Self.peers[0])
        run.scheduler.setCut(cut)
        run.isAlwaysFull = true
        run.work = { _ in 20_000 }
        run.serve(until: 2_000_000_000)
        let part = Double(run.served[.agreement(Self.peers[0])] ?? 0) / Double(run.time)
        #expect(part > 0.002 && part < 0.004, "0.25 % of the time, and not nothing")

        var idle = try ScheduledRun(clients: 0)
        idle.scheduler.setCut(cut)
        idle.work = { _ in 20_000 }
        for _ in 0..<100 { _ = idle.scheduler.enqueue(0, bytes: 1, in: .agreement(Self.peers[0])) }
        idle.serve(count: 100)
        #expect(idle.count[.agreement(Self.peers[0])] == 100)

        run.scheduler.setCut(VoteSet())
        run.serve(until: run.time + 100_000_000)
        let before = (run.time, run.served[.agreement(Self.peers[0]), default: 0])
        run.serve(until: run.time + 1_000_000_000)
        let after = Double(run.served[.agreement(Self.peers[0]), default: 0] - before.1) / Double(run.time - before.0)
        #expect(after > 0.24, "its share is back")
    }

    // MARK: Clients

    @Test func `clients share by cost, not by messages`() throws {
        var run = try ScheduledRun(clients: 6)
        let costs: [UInt64] = [10_000, 20_000, 50_000, 50_000, 400_000, 2_000_000]
        run.work = { queue in
            if case .client(let connection) = queue { return costs[Int(connection.rawValue)] }
            return 0
        }
        run.isAlwaysFull = true
        run.exempt = run.queues.filter { if case .client = $0 { false } else { true } }
        run.serve(until: 1_200_000_000)
        for client in 0..<6 {
            let part = Double(run.served[.client(ConnectionID(UInt64(client)))] ?? 0) / Double(run.time)
            #expect(abs(part - 1.0 / 6) < 0.01, "client \(client) had \(part)")
        }
    }
}

/// A processor that does nothing but what the scheduler gives it.
private struct ScheduledRun {
    var scheduler: FairScheduler<Int>
    let queues: [IngressQueue]
    /// What a message of a queue costs, in nanoseconds.
    var work: (IngressQueue) -> UInt64 = { _ in 0 }
    /// Whether every queue that is not exempt always has something waiting.
    var isAlwaysFull = false
    var exempt: [IngressQueue] = []
    var time: UInt64 = 0
    /// By queue, the processor time that it had, and how many messages.
    var served: [IngressQueue: UInt64] = [:]
    var count: [IngressQueue: Int] = [:]
    private let size: ClusterSize
    private let limits: RobustnessLimits.Scheduling
    private let clients: Int
    private var isFilled = false

    init(clients: Int, faults: Int = 1, limits: RobustnessLimits.Scheduling = .init()) throws {
        size = try #require(ClusterSize(faults: faults))
        self.limits = limits
        self.clients = clients
        scheduler = FairScheduler(size: size, limits: limits)
        var queues: [IngressQueue] = []
        for peer in size.members.dropFirst() {
            queues += [.agreement(peer), .forwards(peer), .bulk(peer)]
        }
        for client in 0..<clients {
            let connection = ConnectionID(UInt64(client))
            let isOpen = scheduler.open(connection)
            #expect(isOpen)
            queues.append(.client(connection))
        }
        self.queues = queues
    }

    /// The part of the time that a queue is guaranteed.
    func share(of queue: IngressQueue) -> Double {
        let peers = Double(size.replicas - 1)
        switch queue {
        case .agreement: return 0.75 / peers
        case .forwards: return 0.1 / peers
        case .bulk: return 0.05 / peers
        case .client: return 0.1 / Double(clients)
        }
    }

    mutating func takeOne() -> FairScheduler<Int>.Taken? {
        if isAlwaysFull, !isFilled {
            isFilled = true
            for queue in queues where !exempt.contains(queue) {
                for _ in 0..<3 { _ = scheduler.enqueue(0, bytes: 1, in: queue) }
            }
        }
        guard let taken = scheduler.next() else { return nil }
        if isAlwaysFull, !exempt.contains(taken.queue) {
            _ = scheduler.enqueue(0, bytes: 1, in: taken.queue)
        }
        let own = work(taken.queue)
        scheduler.charge(own, to: taken.queue)
        let cost = own + limits.messageNanoseconds
        time += cost
        served[taken.queue, default: 0] += cost
        count[taken.queue, default: 0] += 1
        return taken
    }

    mutating func serve(count: Int) {
        for _ in 0..<count { _ = takeOne() }
    }

    mutating func serve(until end: UInt64) {
        while time < end, takeOne() != nil {}
    }
}
