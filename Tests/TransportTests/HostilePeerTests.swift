import Cryptography
import NIOCore
import Testing

@testable import Transport

@Suite(.timeLimit(.minutes(1)))
struct HostilePeerTests {
    /// Connects as client 1, sends what `makeBytes` makes of the link's key, and returns why the listener closed the
    /// link.
    @LoopActor private func reasonForClosing(
        limits: TransportLimits = .standard,
        _ makeBytes: (SealingKey) throws -> [UInt8]
    ) async throws -> LinkCloseReason {
        let fixture = try Fixture(limits: limits)
        let server = fixture.server
        let port = try await fixture.start()
        // Another client, to see that the others are unharmed.
        let other = Recorder()
        try fixture.dial(port, as: .client(2), recorder: other)
        await other.wait { other.opened.count == 1 }

        let raw = try await RawConnection.open(port: port)
        let keys = try await raw.shakeHands(fixture.initiator())
        raw.send(try makeBytes(keys.sealing))
        await raw.wait { raw.isClosed }
        await server.wait { !server.closed.isEmpty }

        let reason = try #require(server.closed.first).reason
        #expect(server.closed.first?.link.peer == .client(1))
        other.opened.first?.send([42])
        other.opened.first?.flush()
        await server.wait { server.messages.contains([42]) }
        try await fixture.stop()
        return reason
    }

    @LoopActor @Test func `A replayed frame closes the link`() async throws {
        let reason = try await reasonForClosing { key in
            var frame: [UInt8] = []
            try key.seal(plaintext([[1]]), appendingTo: &frame)
            return frame + frame
        }
        #expect(reason == .badFrame(.notAuthentic))
    }

    @LoopActor @Test func `A changed frame closes the link`() async throws {
        let reason = try await reasonForClosing { key in
            var frame: [UInt8] = []
            try key.seal(plaintext([[1]]), appendingTo: &frame)
            frame[8] ^= 1
            return frame
        }
        #expect(reason == .badFrame(.notAuthentic))
    }

    @LoopActor
    @Test(arguments: [UInt32.max, UInt32(SealedFrame.maximumPlaintextByteCount + SealedFrame.tagByteCount + 1)])
    func `A frame that says it is too long closes the link before it arrives`(length: UInt32) async throws {
        let reason = try await reasonForClosing { _ in
            (0..<4).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) }
        }
        #expect(reason == .badFrame(.tooLong))
    }

    @LoopActor @Test func `A frame too short for a tag closes the link`() async throws {
        #expect(try await reasonForClosing { _ in [15, 0, 0, 0] } == .badFrame(.tooShort))
    }

    @LoopActor @Test func `Garbage closes the link`() async throws {
        let reason = try await reasonForClosing { _ in [40, 0, 0, 0] + (0..<40) }
        #expect(reason == .badFrame(.notAuthentic))
    }

    @LoopActor
    @Test(
        arguments: [
            [],
            [0, 0, 0],
            [0, 0, 0, 0],
            [1, 0, 0, 0],
            [2, 0, 0, 0, 7],
            [1, 0, 0, 0, 7, 9],
            [0xff, 0xff, 0xff, 0xff, 7],
            [0xff, 0xff, 0xff, 0x7f, 7],
            [1, 0, 0, 0, 7, 0, 0, 0, 0],
        ] as [[UInt8]]
    )
    func `An authentic frame that is not made of whole messages closes the link`(text: [UInt8]) async throws {
        let reason = try await reasonForClosing { key in
            var frame: [UInt8] = []
            try key.seal(text, appendingTo: &frame)
            return frame
        }
        #expect(reason == .malformedFrame)
    }

    @LoopActor @Test func `Half a frame and then the end of the connection is no frame`() async throws {
        let fixture = try Fixture()
        let server = fixture.server
        let port = try await fixture.start()
        let raw = try await RawConnection.open(port: port)
        let keys = try await raw.shakeHands(fixture.initiator())
        var frame: [UInt8] = []
        try keys.sealing.seal(plaintext([[1, 2, 3]]), appendingTo: &frame)
        raw.send(frame.dropLast())
        raw.close()
        await server.wait { !server.closed.isEmpty }
        #expect(server.messages.isEmpty)
        #expect(server.closed.first?.reason == .remote)
        try await fixture.stop()
    }

    @LoopActor @Test func `Another cluster, version or key is refused, counted at the listener and told to the dialer`()
        async throws
    {
        let cluster = TestCluster()
        let version = Handshake.protocolVersion
        let elsewhere = TestCluster(cluster: ClusterID(Array(repeating: 6, count: 32)))
        let cases: [(LocalIdentity, HandshakeError, HandshakeRefusal)] = [
            (try elsewhere.local(.client(1)), .wrongCluster, .cluster),
            (try cluster.local(.client(1), version: 77), .wrongVersion(77), .version),
            (try cluster.local(.client(1), key: .random()), .badMAC(.client(1)), .key),
            (try cluster.local(.client(100)), .unknownIdentity(.client(100)), .unknownIdentity),
        ]
        for (local, atListener, atDialer) in cases {
            let fixture = try Fixture()
            let (server, client) = (fixture.server, fixture.client)
            let port = try await fixture.start()
            let dialer = try fixture.dial(port, local: local)
            await client.wait { !client.refusals.isEmpty }
            dialer.stop()
            #expect(server.refusals.first == .handshake(atListener))
            #expect(client.refusals.first == .handshake(.refused(atDialer, version: version)))
            #expect(server.opened.isEmpty)
            #expect(client.opened.isEmpty)
            try await fixture.stop()
        }
    }

    @LoopActor @Test func `A dialer refuses a listener that does not hold the replica's key`() async throws {
        let cluster = TestCluster()
        let impostor = LocalIdentity(
            cluster: try #require(cluster.cluster),
            identity: .replica(0),
            key: .random()
        )
        let fixture = try Fixture(local: impostor)
        let (server, client) = (fixture.server, fixture.client)
        let port = try await fixture.start()
        let dialer = try fixture.dial(port)
        await client.wait { !client.refusals.isEmpty }
        dialer.stop()
        #expect(server.refusals.first == .handshake(.badMAC(.client(1))))
        #expect(client.opened.isEmpty)
        try await fixture.stop()
    }

    @LoopActor @Test func `Where too much waits in all links together, the one with most of it is closed`() async throws
    {
        let fixture = try Fixture(maximumBytes: 1 << 20)
        let server = fixture.server
        server.isTaking = false
        let port = try await fixture.start()
        var senders: [Link] = []
        for number: UInt32 in 1...3 {
            let recorder = Recorder()
            try fixture.dial(
                port,
                as: .client(number),
                backOff: BackOff(shortest: .seconds(60), longest: .seconds(60)),
                recorder: recorder
            )
            await recorder.wait { recorder.opened.count == 1 }
            senders += recorder.opened
        }
        func send(_ kibibytes: Int, from place: Int) async {
            let before = fixture.listener.links.values.map(\.inboundBytes).reduce(0, +)
            senders[place].send(Array(repeating: 7, count: kibibytes << 10))
            senders[place].flush()
            await server.wait {
                !server.closed.isEmpty
                    || fixture.listener.links.values.map(\.inboundBytes).reduce(0, +) >= before + kibibytes << 10
            }
        }
        await send(250, from: 0)
        await send(200, from: 1)
        await send(250, from: 0)
        #expect(server.closed.isEmpty && fixture.listener.heldBytes >= 700 << 10)
        // Half a frame takes the memory of a whole one.
        let half = try await RawConnection.open(port: port)
        let keys = try await half.shakeHands(fixture.initiator(as: .client(4)))
        var frame: [UInt8] = []
        try keys.sealing.seal(plaintext([Array(repeating: 1, count: 200 << 10)]), appendingTo: &frame)
        half.send(Array(frame.prefix(100)))
        await send(220, from: 2)
        await server.wait { !server.closed.isEmpty }
        #expect(server.closed.map(\.link.peer) == [.client(1)])
        #expect(server.closed.first?.reason == .largestOfTooMuch)
        half.send(Array(frame.dropFirst(100)))
        // Everybody else goes on, and what is taken is counted no more.
        await server.wait { fixture.listener.links[.client(4)].map { $0.inboundBytes > 200 << 10 } ?? false }
        #expect(Set(fixture.listener.links.keys) == [.client(2), .client(3), .client(4)])
        for link in fixture.listener.links.values { server.take(from: link) }
        #expect(server.messages.map(\.count).sorted() == [200 << 10, 200 << 10, 220 << 10])
        #expect(fixture.listener.heldBytes < 3 * Link.heldByteStep)
        try await fixture.stop()
    }

    @LoopActor @Test func `Silent connections are bounded and do not keep others out`() async throws {
        let fixture = try Fixture(maximumHandshakes: 4)
        let server = fixture.server
        let port = try await fixture.start()
        var silent: [RawConnection] = []
        for _ in 0..<20 {
            silent.append(try await RawConnection.open(port: port))
            #expect(fixture.listener.handshakeCount <= 4)
        }
        await server.wait { server.refusals.count == 16 }
        #expect(server.refusals.allSatisfy { $0 == .tooManyHandshakes })
        #expect(fixture.listener.handshakeCount == 4)
        for connection in silent[..<16] { await connection.wait { connection.isClosed } }
        try fixture.dial(port)
        await server.wait { server.opened.count == 1 }
        try await fixture.stop()
    }

    @LoopActor @Test func `An address that floods with silent connections displaces its own`() async throws {
        let fixture = try Fixture(maximumHandshakes: 4)
        let server = fixture.server
        let port = try await fixture.start()
        // Slow, and from another address than the flood.
        let slow = try await RawConnection.open(port: port, from: "127.0.0.2")
        var flood: [RawConnection] = []
        for _ in 0..<20 { flood.append(try await RawConnection.open(port: port)) }
        await server.wait { server.refusals.count == 17 }
        #expect(!slow.isClosed)
        _ = try await slow.shakeHands(fixture.initiator())
        await server.wait { server.opened.count == 1 }
        #expect(server.opened.first?.peer == .client(1))
        #expect(fixture.listener.handshakeCount == 3)
        for connection in flood[..<17] { await connection.wait { connection.isClosed } }
        try await fixture.stop()
    }

    @LoopActor @Test
    func `When all handshakes under way are those of known identities, a further connection is closed`() async throws {
        let fixture = try Fixture(maximumHandshakes: 2)
        let server = fixture.server
        let port = try await fixture.start()
        var halfway: [RawConnection] = []
        for number in 1...2 {
            let connection = try await RawConnection.open(port: port)
            connection.send(try fixture.initiator(as: .client(UInt32(number))).hello)
            await connection.wait { connection.received.count == 97 }
            halfway.append(connection)
        }
        let late = try await RawConnection.open(port: port)
        await late.wait { late.isClosed }
        #expect(server.refusals == [.tooManyHandshakes])
        #expect(halfway.allSatisfy { !$0.isClosed })
        try await fixture.stop()
    }

    @LoopActor @Test func `A known client that shakes hands again and again is refused after a while`() async throws {
        let fixture = try Fixture()
        let server = fixture.server
        let port = try await fixture.start()
        var refusal: HandshakeError?
        // Far more than the budget allows, however fast or slow this machine is.
        for _ in 0..<2000 where refusal == nil {
            let connection = try await RawConnection.open(port: port)
            do {
                _ = try await connection.shakeHands(fixture.initiator())
            } catch let error as HandshakeError {
                refusal = error
            }
            connection.close()
        }
        #expect(refusal == .refused(.noRoom, version: Handshake.protocolVersion))
        let other = try await RawConnection.open(port: port)
        _ = try await other.shakeHands(fixture.initiator(as: .client(2)))
        await server.wait { server.opened.last?.peer == .client(2) }
        try await fixture.stop()
    }

    @LoopActor @Test func `A reader that takes nothing stops the sender, and loses nothing when it goes on`()
        async throws
    {
        let bound = 1 << 20
        let fixture = try Fixture(limits: TransportLimits(inboundBytes: bound))
        let (server, client) = (fixture.server, fixture.client)
        server.isTaking = false
        let port = try await fixture.start()
        let count = 400
        let limits = TransportLimits(outboundBytes: 64 << 20)
        client.onOpened = { link in
            for number in 0..<count { link.send([UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 100_000)) }
            link.flush()
        }
        try fixture.dial(port, limits: limits)
        await server.wait { server.mostInboundBytes > bound }
        let sender = try #require(client.opened.first)
        #expect(sender.isOpen)
        #expect(sender.outboundBytes > 0)
        server.isTaking = true
        server.take(from: try #require(server.opened.first))
        await server.wait { server.messages.count == count }
        for (number, message) in server.messages.enumerated() {
            #expect(message.count == 100_000 && message.first == UInt8(truncatingIfNeeded: number))
        }
        // What one read of the socket may add: its buffer, and the frame that it completes.
        #expect(server.mostInboundBytes < bound + 3 * Link.softFrameByteCount)
        #expect(sender.outboundBytes == 0)
        try await fixture.stop()
    }

    @LoopActor @Test func `A peer that reads nothing is cut off when too much waits for it`() async throws {
        let fixture = try Fixture(limits: TransportLimits(inboundBytes: 1))
        let (server, client) = (fixture.server, fixture.client)
        server.isTaking = false
        let port = try await fixture.start()
        let dialer = try fixture.dial(port, limits: TransportLimits(outboundBytes: 0))
        await server.wait { server.opened.count == 1 }
        await client.wait { client.opened.count == 1 }
        let sender = try #require(client.opened.first)
        let message = [UInt8](repeating: 1, count: 100_000)
        var most = 0
        while sender.isOpen {
            sender.send(message)
            sender.flush()
            most = max(most, sender.outboundBytes)
            await Task.yield()
        }
        await client.wait { !client.closed.isEmpty }
        dialer.stop()
        #expect(client.closed.first?.reason == .outboundOverflow)
        #expect(most <= SealedFrame.maximumPlaintextByteCount + 1000)
        // What the kernel holds lies before the end of the connection.
        server.isTaking = true
        server.take(from: try #require(server.opened.first))
        await server.wait { !server.closed.isEmpty }
        try await fixture.stop()
    }
}
