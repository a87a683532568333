import Agreement
import Messages
import Testing

@testable import Aardvark

/// What waits where, and who is served, without sockets and with a clock that the test turns.
struct IsolatedIngressTests {
    /// A connection of which the frames are in memory.
    private final class Frames: FrameSource {
        private var frames: [[UInt8]]
        /// How long each takes to open.
        private let opening: UInt64
        private var opened: UInt64 = 0

        init(_ frames: [[UInt8]], opening: UInt64 = 0) {
            self.frames = frames.reversed()
            self.opening = opening
        }

        var count: Int { frames.count }

        func nextFrame() -> [UInt8]? {
            guard let frame = frames.popLast() else { return nil }
            opened += opening
            return frame
        }

        func takeOpeningNanoseconds() -> UInt64 {
            defer { opened = 0 }
            return opened
        }

        func add(_ frame: [UInt8]) { frames.insert(frame, at: 0) }
    }

    private static let checkpointType: UInt8 = 0x13
    private static let forwardType: UInt8 = 0x14
    private static let catchUpType: UInt8 = 0x15

    /// A frame of messages, each of one byte: its type.
    private static func frame(_ types: [UInt8]) -> [UInt8] {
        types.flatMap { [1, 0, 0, 0, $0] as [UInt8] }
    }

    private static func makeIngress(
        _ change: (inout RobustnessLimits.Scheduling) -> Void = { _ in },
        clock: @escaping () -> Instant = { Instant(nanoseconds: 0) }
    ) throws -> IsolatedQueues {
        var limits = RobustnessLimits().scheduling
        change(&limits)
        let size = try #require(ClusterSize(replicas: 4))
        return IsolatedQueues(size: size, limits: limits, clientMessages: 1, clock: clock)
    }

    /// The types of the messages of a part.
    private func types(_ part: IsolatedQueues.Part) -> [UInt8] {
        part.messages.prefix(part.count).map { part.frame[$0.lowerBound] }
    }

    @Test func `each message of a frame waits in the queue of its kind, in its order`() throws {
        let ingress = try Self.makeIngress()
        let peer = ReplicaID(1)
        let mixed: [UInt8] = [0x11, 0x12, Self.forwardType, 0x12, Self.catchUpType, Self.catchUpType, 0x11]
        ingress.open(Frames([Self.frame(mixed), Self.frame([0x13])]), of: peer, as: ConnectionID(1))
        ingress.readable(peer)
        ingress.takeIn()
        var taken: [IngressQueue: [UInt8]] = [:]
        while let (queue, part) = ingress.nextPart(includingClients: true) { taken[queue, default: []] += types(part) }
        #expect(taken[.agreement(peer)] == [0x11, 0x12, 0x12, 0x11, 0x13])
        #expect(taken[.forwards(peer)] == [Self.forwardType])
        #expect(taken[.bulk(peer)] == [Self.catchUpType, Self.catchUpType])
        #expect(ingress.bytes == 0 && ingress.count == 0)
    }

    @Test func `a peer whose messages are dear does not delay those of another`() throws {
        let ingress = try Self.makeIngress()
        // Each of these costs as much as a signature check, and there are more of them than one round pays for.
        let flood = (0..<1_000).map { _ in Self.frame([Self.checkpointType]) }
        ingress.open(Frames(flood), of: ReplicaID(1), as: ConnectionID(1))
        let victim = Frames([])
        ingress.open(victim, of: ReplicaID(2), as: ConnectionID(2))
        ingress.readable(ReplicaID(1))
        for round in 1...50 {
            victim.add(Self.frame([0x12]))
            ingress.readable(ReplicaID(2))
            ingress.takeIn()
            var before = 0
            while let (queue, _) = ingress.nextPart(includingClients: true) {
                if queue == .agreement(ReplicaID(2)) {
                    ingress.charge(1_000, to: queue)
                    break
                }
                ingress.charge(50_000, to: queue)
                before += 1
            }
            #expect(before <= 1, "in round \(round)")
            // Between two votes there is time for some of the flood, which is thus in debt.
            for _ in 0..<4 {
                guard let (queue, _) = ingress.nextPart(includingClients: true) else { break }
                ingress.charge(50_000, to: queue)
            }
        }
    }

    @Test func `agreement within its share is not behind clients that flood`() throws {
        let ingress = try Self.makeIngress()
        for client in 10..<30 as Range<UInt64> {
            let frames = Frames((0..<100).map { _ in Self.frame([1]) })
            #expect(ingress.open(frames, as: ConnectionID(client)))
            ingress.readable(ConnectionID(client))
        }
        let peer = Frames([])
        ingress.open(peer, of: ReplicaID(3), as: ConnectionID(3))
        for _ in 0..<30 {
            peer.add(Self.frame([0x11]))
            ingress.readable(ReplicaID(3))
            ingress.takeIn()
            let first = try #require(ingress.nextPart(includingClients: true))
            #expect(first.queue == .agreement(ReplicaID(3)))
            ingress.charge(5_000, to: first.queue)
            for _ in 0..<3 {
                guard let (queue, _) = ingress.nextPart(includingClients: true) else { break }
                ingress.charge(60_000, to: queue)
            }
        }
    }

    @Test func `what is dear to open alone is left where it is while others wait`() throws {
        let ingress = try Self.makeIngress()
        let flood = Frames((0..<1_000).map { _ in Self.frame([Self.forwardType]) }, opening: 100_000)
        ingress.open(flood, of: ReplicaID(1), as: ConnectionID(1))
        ingress.readable(ReplicaID(1))
        let longRequests = Frames((0..<1_000).map { _ in Self.frame([1]) }, opening: 100_000)
        #expect(ingress.open(longRequests, as: ConnectionID(8)))
        ingress.readable(ConnectionID(8))
        #expect(ingress.open(Frames([Self.frame([1])]), as: ConnectionID(9)))
        ingress.readable(ConnectionID(9))
        for _ in 0..<10 { ingress.takeIn() }
        // One round is worth 250 microseconds of the peer's agreement, and 50 of a client's.
        #expect((1...5).contains(1_000 - flood.count))
        #expect((1...3).contains(1_000 - longRequests.count))
        // When nothing else is left to do, all of it is taken.
        while ingress.hasWork(includingClients: true) {
            ingress.takeIn()
            while ingress.nextPart(includingClients: true) != nil {}
        }
        #expect(flood.count == 0 && longRequests.count == 0)
    }

    @Test
    func `a full queue leaves the frames of its own connection where they are, and takes them when there is room`()
        throws
    {
        let ingress = try Self.makeIngress {
            $0.agreementMessages = 8
            $0.clientMessages = 4
        }
        let flood = Frames((0..<100).map { _ in Self.frame([0x11]) })
        ingress.open(flood, of: ReplicaID(1), as: ConnectionID(1))
        ingress.readable(ReplicaID(1))
        let client = Frames((0..<100).map { _ in Self.frame([1]) })
        #expect(ingress.open(client, as: ConnectionID(9)))
        ingress.readable(ConnectionID(9))
        ingress.takeIn()
        #expect(ingress.count == 12)
        // One frame is in hand, and no more was taken, however often it is tried.
        for _ in 0..<3 { ingress.takeIn() }
        #expect(flood.count == 100 - 9 && client.count == 100 - 5)

        var handled: [IngressQueue: Int] = [:]
        while ingress.hasWork(includingClients: true) {
            while let (queue, _) = ingress.nextPart(includingClients: true) { handled[queue, default: 0] += 1 }
            ingress.takeIn()
        }
        #expect(handled == [.agreement(ReplicaID(1)): 100, .client(ConnectionID(9)): 100])
        #expect(ingress.dropped == 0)
    }

    @Test func `forwards and bulk that find no room are dropped, and agreement on the same connection goes on`() throws
    {
        let ingress = try Self.makeIngress {
            $0.forwardMessages = 4
            $0.bulkMessages = 4
        }
        let types =
            Array(repeating: Self.forwardType, count: 20) + Array(repeating: Self.catchUpType, count: 20) + [0x12]
        ingress.open(Frames([Self.frame(types)]), of: ReplicaID(1), as: ConnectionID(1))
        ingress.readable(ReplicaID(1))
        ingress.takeIn()
        #expect(ingress.dropped == 32)
        var handled: [IngressQueue: Int] = [:]
        while let (queue, _) = ingress.nextPart(includingClients: true) { handled[queue, default: 0] += 1 }
        #expect(handled == [.agreement(ReplicaID(1)): 1, .forwards(ReplicaID(1)): 4, .bulk(ReplicaID(1)): 4])
    }

    @Test func `memory is bounded whatever is sent`() throws {
        let ingress = try Self.makeIngress {
            $0.agreementBytes = 100_000
            $0.forwardBytes = 100_000
            $0.bulkBytes = 100_000
        }
        let types: [UInt8] = [0x11, Self.forwardType, Self.catchUpType]
        let long = Self.frame((0..<10_000).map { types[$0 % 3] })
        ingress.open(Frames(Array(repeating: long, count: 100)), of: ReplicaID(1), as: ConnectionID(1))
        ingress.readable(ReplicaID(1))
        for _ in 0..<1_000 { ingress.takeIn() }
        // The last frame of each kind overshoots.
        #expect(ingress.bytes <= 3 * (100_000 + long.count + 128))
    }

    @Test func `clients wait while there is no room for their requests`() throws {
        let ingress = try Self.makeIngress()
        #expect(ingress.open(Frames([Self.frame([1])]), as: ConnectionID(9)))
        ingress.readable(ConnectionID(9))
        ingress.takeIn()
        #expect(ingress.nextPart(includingClients: false) == nil)
        #expect(!ingress.hasWork(includingClients: false) && ingress.hasWork(includingClients: true))
        ingress.open(Frames([Self.frame([0x11])]), of: ReplicaID(1), as: ConnectionID(1))
        ingress.readable(ReplicaID(1))
        ingress.takeIn()
        #expect(ingress.nextPart(includingClients: false)?.queue == .agreement(ReplicaID(1)))
        #expect(ingress.nextPart(includingClients: false) == nil)
        #expect(ingress.nextPart(includingClients: true)?.queue == .client(ConnectionID(9)))
    }

    @Test func `what a closed client had waiting is gone, what a closed peer had waiting is handled`() throws {
        let ingress = try Self.makeIngress()
        #expect(ingress.open(Frames([Self.frame([1])]), as: ConnectionID(9)))
        ingress.open(Frames([Self.frame([0x11])]), of: ReplicaID(1), as: ConnectionID(1))
        ingress.readable(ConnectionID(9))
        ingress.readable(ReplicaID(1))
        ingress.takeIn()
        ingress.close(ConnectionID(9))
        ingress.close(ConnectionID(1), of: ReplicaID(1))
        // A later frame of either is nobody's.
        ingress.readable(ConnectionID(9))
        ingress.readable(ReplicaID(1))
        ingress.takeIn()
        let last = try #require(ingress.nextPart(includingClients: true))
        #expect(last.queue == .agreement(ReplicaID(1)) && last.part.connection == ConnectionID(1))
        #expect(!ingress.hasWork(includingClients: true))
    }

    @Test func `a peer that used up its share is taken in where nothing else can be served`() throws {
        let ingress = try Self.makeIngress()
        #expect(ingress.open(Frames([Self.frame([0x01])]), as: ConnectionID(9)))
        ingress.readable(ConnectionID(9))
        ingress.takeIn()
        let peer = Frames([Self.frame([0x11])])
        ingress.open(peer, of: ReplicaID(1), as: ConnectionID(1))
        ingress.charge(10_000_000, to: .agreement(ReplicaID(1)))
        // The client's request waits, and there is no room for it until agreement goes on.
        ingress.readable(ReplicaID(1))
        ingress.takeIn(includingClients: false)
        #expect(peer.count == 0)
        #expect(ingress.nextPart(includingClients: false)?.queue == .agreement(ReplicaID(1)))
    }

    @Test func `a client that had more than its turn is served again while a peer floods`() throws {
        var time: UInt64 = 1_000_000_000
        let ingress = try Self.makeIngress(clock: { Instant(nanoseconds: time) })
        let flood = Frames((0..<10_000).map { _ in Self.frame([0x11]) })
        ingress.open(flood, of: ReplicaID(1), as: ConnectionID(1))
        ingress.readable(ReplicaID(1))
        let client = Frames([Self.frame([0x01])])
        #expect(ingress.open(client, as: ConnectionID(9)))
        ingress.readable(ConnectionID(9))
        ingress.charge(20_000_000, to: .client(ConnectionID(9)))
        let start = time
        var servedAt: UInt64?
        while servedAt == nil, flood.count > 0 {
            ingress.takeIn()
            guard let (queue, _) = ingress.nextPart(includingClients: true) else { break }
            if queue == .client(ConnectionID(9)) { servedAt = time }
            time += 100_000
            ingress.charge(100_000, to: queue)
        }
        // It owes 20 ms, and all clients together have a tenth of the time.
        let waited = try #require(servedAt) - start
        #expect(waited > 0 && waited < 300_000_000, "\(waited) ns")
    }

    @Test(arguments: [false, true])
    func `a client that no answer comes to gets a hundredth of the time, one that is answered all that it wants`(
        isAnswered: Bool
    ) throws {
        var time: UInt64 = 1_000_000_000
        let ingress = try Self.makeIngress(clock: { Instant(nanoseconds: time) })
        let flood = Frames((0..<100_000).map { _ in Self.frame([0x01]) })
        let other = Frames([])
        var flooder = ConnectionID(1)
        #expect(ingress.open(flood, as: flooder) && ingress.open(other, as: ConnectionID(100)))
        ingress.readable(flooder)
        var spent: UInt64 = 0
        var served = 0
        func serve(until end: UInt64) throws {
            while time < end {
                other.add(Self.frame([0x01]))
                ingress.readable(ConnectionID(100))
                ingress.takeIn()
                while let (queue, _) = ingress.nextPart(includingClients: true) {
                    let isFlood = queue == .client(flooder)
                    if isFlood { spent += 100_000 } else { served += 1 }
                    time += 100_000
                    ingress.charge(100_000, to: queue)
                    if isAnswered || !isFlood, case .client(let client) = queue { ingress.answered(client) }
                }
                if !ingress.hasWork(includingClients: true) {
                    try #require(ingress.deadline.map { $0 > Instant(nanoseconds: time) } == true)
                }
                time += 100_000
            }
        }
        // What it may send at once, and what waits in its queue then.
        try serve(until: time + 500_000_000)
        let first = spent
        #expect(first <= 1_300 * 100_000 || isAnswered)
        // To connect again does not help.
        let allowance = ingress.close(flooder)
        #expect((allowance == nil) == isAnswered)
        flooder = ConnectionID(2)
        #expect(ingress.open(flood, as: flooder, allowance: allowance))
        ingress.readable(flooder)
        spent = 0
        served = 0
        try serve(until: time + 2_000_000_000)
        #expect(isAnswered ? spent > 500_000_000 : (10_000_000...40_000_000).contains(spent), "\(spent) ns of 2 s")
        #expect(served > (isAnswered ? 100 : 2_000))
        #expect((ingress.rests > 0) == !isAnswered)
    }

    @Test func `what waits of a peer that is cut off keeps nobody else's messages in their connection`() throws {
        // Time passes with every look at the clock, so that to take in costs something.
        var time: UInt64 = 1_000_000_000
        let ingress = try Self.makeIngress(clock: {
            time += 50
            return Instant(nanoseconds: time)
        })
        let flood = Frames((0..<10_000).map { _ in Self.frame([0x11]) })
        let other = Frames([])
        let client = Frames([])
        #expect(ingress.open(client, as: ConnectionID(9)))
        ingress.open(flood, of: ReplicaID(1), as: ConnectionID(1))
        ingress.open(other, of: ReplicaID(2), as: ConnectionID(2))
        ingress.readable(ReplicaID(1))
        ingress.takeIn()
        var cut = VoteSet()
        cut.insert(ReplicaID(1))
        ingress.setCut(cut)
        var served: [IngressQueue: Int] = [:]
        for turn in 0..<10_000 {
            if turn % 1_000 == 0 {
                // It is far beyond its share, and so is the other one.
                ingress.charge(10_000_000, to: .agreement(ReplicaID(1)))
                ingress.charge(10_000_000, to: .agreement(ReplicaID(2)))
                other.add(Self.frame([0x11]))
                ingress.readable(ReplicaID(2))
                ingress.charge(10_000_000, to: .client(ConnectionID(9)))
                client.add(Self.frame([0x01]))
                ingress.readable(ConnectionID(9))
            }
            ingress.takeIn()
            while let (queue, _) = ingress.nextPart(includingClients: true) {
                served[queue, default: 0] += 1
                time += 10_000
                ingress.charge(10_000, to: queue)
            }
            time += 7_000
            if turn % 1_000 == 10 { try #require(other.count == 0 && client.count == 0) }
        }
        #expect(served[.agreement(ReplicaID(2))] == 10)
        // Its debts of 10 ms are a second of rest each: it is served after that.
        time += 10_000_000_000
        ingress.takeIn()
        #expect(ingress.nextPart(includingClients: true)?.queue == .agreement(ReplicaID(1)))
    }

    @Test func `a peer that is cut off gets a hundredth of the time, also while nobody else wants any`() throws {
        var time: UInt64 = 1_000_000_000
        let ingress = try Self.makeIngress(clock: { Instant(nanoseconds: time) })
        let flood = Frames((0..<100_000).map { _ in Self.frame([0x11]) })
        let other = Frames([])
        ingress.open(flood, of: ReplicaID(1), as: ConnectionID(1))
        ingress.open(other, of: ReplicaID(2), as: ConnectionID(2))
        ingress.readable(ReplicaID(1))
        // Some of it waits already when its sender is cut off.
        ingress.takeIn()
        var cut = VoteSet()
        cut.insert(ReplicaID(1))
        ingress.setCut(cut)
        var spent: UInt64 = 0
        let end = time + 1_000_000_000
        while time < end {
            other.add(Self.frame([0x11]))
            ingress.readable(ReplicaID(2))
            while ingress.hasWork(includingClients: true) {
                ingress.takeIn()
                while let (queue, _) = ingress.nextPart(includingClients: true) {
                    if queue == .agreement(ReplicaID(1)) { spent += 100_000 }
                    time += 100_000
                    ingress.charge(100_000, to: queue)
                }
            }
            #expect(other.count == 0)
            try #require(ingress.deadline.map { $0 > Instant(nanoseconds: time) } == true)
            time += 50_000
        }
        #expect((8_000_000...12_000_000).contains(spent), "1 % of a second")
        ingress.setCut(VoteSet())
        #expect(ingress.hasWork(includingClients: true) && ingress.deadline == nil)
    }
}
