import Cryptography
import NIOCore
import NIOPosix
import Testing

@testable import Transport

@Suite(.timeLimit(.minutes(1)))
struct ConnectionTests {
    @LoopActor @Test func `Both ends know each other and exchange messages`() async throws {
        let fixture = try Fixture()
        let (server, client) = (fixture.server, fixture.client)
        let port = try await fixture.start()
        client.onOpened = { link in
            link.send([1])
            link.flush()
        }
        server.onReadable = { link in
            link.send([2])
            link.send([3, 4])
            link.flush()
        }
        let dialer = try fixture.dial(port, as: .client(7))
        await client.wait { client.messages.count == 2 }
        #expect(client.messages == [[2], [3, 4]])
        #expect(server.messages == [[1]])
        let (here, there) = (try #require(server.opened.first), try #require(client.opened.first))
        #expect(here.peer == .client(7))
        #expect(there.peer == .replica(0))
        #expect(here.direction == .accepted)
        #expect(there.direction == .dialled)
        #expect(there.remoteAddress == "127.0.0.1:\(port)")
        #expect(here.remoteAddress.hasPrefix("127.0.0.1:"))
        #expect(dialer.link === there)
        #expect(fixture.listener.links[.client(7)] === here)
        #expect(fixture.listener.handshakeCount == 0)
        try await fixture.stop()
    }

    @LoopActor @Test func `All that a turn sends is one frame, and arrives in order`() async throws {
        let fixture = try Fixture(purpose: .peer(3))
        let (server, client) = (fixture.server, fixture.client)
        let port = try await fixture.start()
        let expected = (0..<1000).map { [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: $0 % 50 + 1) }
        client.onOpened = { link in
            for message in expected { link.send(message) }
            link.flush()
            link.flush()
        }
        try fixture.dial(port, as: .replica(3), purpose: .peer(3))
        await server.wait { server.messages.count >= expected.count }
        #expect(server.messages == expected)
        let (here, there) = (try #require(server.opened.first), try #require(client.opened.first))
        #expect(there.counters.framesOut == 1)
        #expect(there.counters.messagesOut == 1000)
        #expect(here.counters.framesIn == 1)
        #expect(here.counters.messagesIn == 1000)
        #expect(here.counters.bytesIn == there.counters.bytesOut)
        try await fixture.stop()
    }

    @LoopActor @Test func `Much that is sent in a turn is cut into frames between messages`() async throws {
        let fixture = try Fixture()
        let (server, client) = (fixture.server, fixture.client)
        let port = try await fixture.start()
        let expected = (0..<300).map { [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: 10_000 + $0) }
        client.onOpened = { link in
            for message in expected { link.send(message) }
            link.flush()
        }
        try fixture.dial(port)
        await server.wait { server.messages.count >= expected.count }
        #expect(server.messages == expected)
        // 26 messages fit into the 256 KiB after which a frame ends.
        let frames = try #require(client.opened.first).counters.framesOut
        #expect((11...13).contains(frames))
        try await fixture.stop()
    }

    @LoopActor @Test func `The longest message arrives`() async throws {
        let fixture = try Fixture()
        let (server, client) = (fixture.server, fixture.client)
        let port = try await fixture.start()
        let longest = [UInt8](repeating: 8, count: Link.maximumMessageByteCount)
        client.onOpened = { link in
            link.send([1])
            link.send(longest)
            link.send([2])
            link.flush()
        }
        try fixture.dial(port)
        await server.wait { server.messages.count == 3 }
        #expect(server.messages == [[1], longest, [2]])
        try await fixture.stop()
    }

    @LoopActor @Test func `Frames that came before the other end closed can be taken`() async throws {
        let fixture = try Fixture()
        let (server, client) = (fixture.server, fixture.client)
        server.isTaking = false
        let port = try await fixture.start()
        client.onOpened = { link in
            link.send([1, 2, 3])
            link.flush()
            link.close(.local("done"))
            link.send([4])
            link.flush()
        }
        let dialer = try fixture.dial(port)
        await server.wait { !server.closed.isEmpty }
        dialer.stop()
        let (link, reason) = try #require(server.closed.first)
        #expect(reason == .remote)
        server.take(from: link)
        #expect(server.messages == [[1, 2, 3]])
        #expect(client.closed.first?.reason == .local("done"))
        try await fixture.stop()
    }

    @LoopActor @Test func `A closed link is reported in a later turn, once`() async throws {
        let fixture = try Fixture()
        let client = fixture.client
        let port = try await fixture.start()
        var countInside: Int?
        client.onOpened = { link in
            link.close(.local("no"))
            link.close(.local("again"))
            countInside = client.closed.count
        }
        let dialer = try fixture.dial(port)
        await client.wait { !client.closed.isEmpty }
        dialer.stop()
        #expect(countInside == 0)
        #expect(client.closed.map(\.reason) == [.local("no")])
        try await fixture.stop()
        #expect(client.closed.count == 1)
    }

    @LoopActor @Test func `The newest connection of an identity replaces the oldest`() async throws {
        let fixture = try Fixture()
        let (server, client) = (fixture.server, fixture.client)
        let port = try await fixture.start()
        let first = try fixture.dial(port, as: .client(1))
        await server.wait { server.opened.count == 1 }
        await client.wait { client.opened.count == 1 }
        // The second is another process with the same identity; it must not dial again and again against the first.
        let second = try await RawConnection.open(port: port)
        _ = try await second.shakeHands(fixture.initiator(as: .client(1)))
        await server.wait { server.opened.count == 2 }
        #expect(server.closed.first?.reason == .replaced)
        #expect(server.closed.first?.link === server.opened.first)
        #expect(fixture.listener.links[.client(1)] === server.opened[1])
        first.stop()
        try await fixture.stop()
    }

    @LoopActor @Test func `No more links than allowed, but an old one can be replaced`() async throws {
        let fixture = try Fixture(maximumLinks: 1)
        let server = fixture.server
        let port = try await fixture.start()
        let first = try await RawConnection.open(port: port)
        _ = try await first.shakeHands(fixture.initiator(as: .client(1)))
        await server.wait { server.opened.count == 1 }
        let second = try await RawConnection.open(port: port)
        await #expect(throws: HandshakeError.refused(.noRoom, version: Handshake.protocolVersion)) {
            _ = try await second.shakeHands(fixture.initiator(as: .client(2)))
        }
        #expect(server.refusals == [.handshake(.noRoom(.client(2)))])
        let third = try await RawConnection.open(port: port)
        _ = try await third.shakeHands(fixture.initiator(as: .client(1)))
        await server.wait { server.opened.count == 2 }
        #expect(fixture.listener.links.count == 1)
        try await fixture.stop()
    }

    @LoopActor @Test func `A dialer connects again after the listener was restarted`() async throws {
        let fixture = try Fixture()
        let (server, client) = (fixture.server, fixture.client)
        let port = try await fixture.start()
        try fixture.dial(port)
        await server.wait { server.opened.count == 1 }
        await client.wait { client.opened.count == 1 }
        try await fixture.listener.stop().get()
        await client.wait { client.closed.count == 1 && !client.refusals.isEmpty }
        #expect(client.closed.first?.reason == .remote)
        let restarted = try Fixture(port: port)
        _ = try await restarted.start()
        await client.wait { client.opened.count == 2 }
        #expect(client.places.allSatisfy { $0 == .dialer(.replica(0)) })
        try await fixture.stop()
        try await restarted.stop()
        #expect(restarted.listener.links.isEmpty)
    }

    @LoopActor @Test func `A stopped listener closes its links and says so`() async throws {
        let fixture = try Fixture()
        let server = fixture.server
        let port = try await fixture.start()
        let raw = try await RawConnection.open(port: port)
        _ = try await raw.shakeHands(fixture.initiator())
        let silent = try await RawConnection.open(port: port)
        await server.wait { server.opened.count == 1 }
        while fixture.listener.handshakeCount == 0 { await Task.yield() }
        try await fixture.listener.stop().get()
        #expect(server.closed.map(\.reason) == [.stopped])
        #expect(server.refusals == [.stopped])
        await raw.wait { raw.isClosed }
        await silent.wait { silent.isClosed }
        #expect(fixture.listener.boundPort == nil)
    }

    @LoopActor @Test func `A port in use is named in a sentence`() async throws {
        let fixture = try Fixture()
        let port = try await fixture.start()
        let second = try Fixture(port: port)
        let error = await #expect(throws: ListenerError.self) { _ = try await second.start() }
        #expect(error?.problem == .inUse)
        #expect(error?.description == "port \(port) on 127.0.0.1 is already in use")
        try await fixture.stop()
    }

    @LoopActor @Test func `An address of another machine is named in a sentence`() async throws {
        let fixture = try Fixture()
        let listener = Listener(
            Listener.Configuration(host: "192.0.2.1", port: 0, purpose: .clients),
            local: try fixture.cluster.local(.replica(0)),
            eventLoop: LoopActor.loop,
            delegate: fixture.server
        ) { _ in .unknown }
        let error = await #expect(throws: ListenerError.self) { try await listener.start().get() }
        #expect(error?.description == "this machine has no address 192.0.2.1 to listen on")
    }

    @LoopActor @Test func `A dialer whose target does not listen keeps trying`() async throws {
        let fixture = try Fixture()
        let client = fixture.client
        let port = try await fixture.start()
        try await fixture.listener.stop().get()
        let dialer = try fixture.dial(port)
        await client.wait { client.refusals.count == 3 }
        dialer.stop()
        for refusal in client.refusals {
            guard case .unreachable(let text) = refusal else {
                Issue.record("\(refusal)")
                continue
            }
            #expect(text.contains("refused"))
        }
    }

    @LoopActor @Test func `A dialer that waits for long dials at once when it is told to`() async throws {
        let fixture = try Fixture()
        let client = fixture.client
        let port = try await fixture.start()
        try await fixture.listener.stop().get()
        // Longer than the test may take.
        let dialer = try fixture.dial(port, backOff: BackOff(shortest: .seconds(3_600), longest: .seconds(3_600)))
        await client.wait { client.refusals.count == 1 }
        let restarted = try Fixture(port: port)
        _ = try await restarted.start()
        dialer.dialNow()
        await client.wait { client.opened.count == 1 }
        // With a link there is nothing to do.
        dialer.dialNow()
        #expect(dialer.link != nil)
        try await fixture.stop()
        dialer.dialNow()
        #expect(dialer.link == nil)
        try await restarted.stop()
        #expect(client.opened.count == 1)
    }

    @LoopActor @Test func `An attempt to connect that was given up for a newer one leaves one link`() async throws {
        let fixture = try Fixture()
        let (server, client) = (fixture.server, fixture.client)
        let port = try await fixture.start()
        let dialer = try fixture.dial(port, backOff: BackOff(shortest: .seconds(3_600), longest: .seconds(3_600)))
        dialer.dialNow()
        dialer.dialNow()
        await client.wait { client.opened.count == 1 }
        await server.wait { server.opened.count == 1 && server.refusals.count == 2 }
        #expect(server.refusals.allSatisfy { $0 == .closedEarly })
        #expect(client.refusals.isEmpty)
        #expect(dialer.link === client.opened.first)
        #expect(client.closed.isEmpty)
        try await fixture.stop()
    }

    @LoopActor @Test func `While nobody answers a dialer makes a few attempts at a time`() async throws {
        // Once its queue of connections is full, packets that open one are dropped without a word.
        let silent = try await ServerBootstrap(group: LoopActor.loop)
            .serverChannelOption(.backlog, value: 1)
            .serverChannelOption(.autoRead, value: false)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(silent.localAddress?.port)
        var filling: [any Channel] = []
        while let channel = try? await ClientBootstrap(group: LoopActor.loop).connectTimeout(.milliseconds(300))
            .connect(host: "127.0.0.1", port: port).get()
        {
            filling.append(channel)
        }
        let fixture = try Fixture()
        let client = fixture.client
        let limits = TransportLimits(connectTimeout: .seconds(1))
        let dialer = try fixture.dial(port, limits: limits, repeatPause: .milliseconds(1))
        var most = 0
        let told = NIODeadline.now()
        while client.refusals.count < 3 {
            most = max(most, dialer.attempts)
            // Nothing tells that an attempt begins; how long this takes does not matter, since all last a second.
            try await Task.sleep(for: .milliseconds(1))
        }
        #expect(most == Dialer.mostAttempts)
        // However many there were, it told of one in each time that one may take.
        #expect(NIODeadline.now() - told >= .seconds(3))
        #expect(client.refusals == Array(repeating: .unreachable("connecting took too long"), count: 3))
        for channel in filling { try await channel.close().get() }
        try await silent.close().get()
        // Nobody listens any more: it waits, and dials again.
        await client.wait { client.refusals.last != client.refusals.first }
        dialer.stop()
        let listening = try Fixture(port: port)
        _ = try await listening.start()
        try fixture.dial(port, repeatPause: .milliseconds(1))
        await client.wait { client.opened.count == 1 }
        try await fixture.stop()
        try await listening.stop()
    }

    @LoopActor @Test func `Both ends find out when the other one is gone without a word`() async throws {
        let limits = TransportLimits(silenceTimeout: .milliseconds(6_500))
        #expect(limits.silenceTimeout == .seconds(7))
        let fixture = try Fixture(limits: limits)
        let (server, client) = (fixture.server, fixture.client)
        let port = try await fixture.start()
        try fixture.dial(port, limits: limits)
        await server.wait { server.opened.count == 1 }
        await client.wait { client.opened.count == 1 }
        for link in server.opened + client.opened {
            let options = try #require(link.channel?.syncOptions)
            for (option, value) in SocketOptions.forConnections(limits) where option != .tcpOption(.tcp_nodelay) {
                let set = try options.getOption(option)
                #expect(set == value, "\(option)")
            }
            let isPrompt = try options.getOption(.tcpOption(.tcp_nodelay))
            #expect(isPrompt != 0)
            let seconds = try options.getOption(.tcpOption(.secondsBeforeProbes))
            #expect(seconds == 7)
        }
        try await fixture.stop()
    }

    @LoopActor @Test func `A dialer that is stopped while it connects opens nothing`() async throws {
        let fixture = try Fixture()
        let port = try await fixture.start()
        let dialer = try fixture.dial(port)
        dialer.stop()
        dialer.stop()
        let other = Recorder()
        try fixture.dial(port, as: .client(2), recorder: other)
        await other.wait { other.opened.count == 1 }
        #expect(fixture.client.opened.isEmpty)
        try await fixture.stop()
    }

    @LoopActor @Test func `A dialer binds the address that it is told to`() async throws {
        let fixture = try Fixture()
        let server = fixture.server
        let port = try await fixture.start()
        let local = try fixture.cluster.local(.client(4))
        let dialer = Dialer(
            Dialer.Configuration(
                host: "127.0.0.1",
                port: port,
                peer: .replica(0),
                keys: try fixture.cluster.known(.replica(0), by: local),
                purpose: .clients,
                localAddress: "127.0.0.5"
            ),
            local: local,
            eventLoop: LoopActor.loop,
            delegate: fixture.client
        )
        dialer.start()
        await server.wait { server.opened.count == 1 }
        #expect(server.opened.first?.remoteAddress.hasPrefix("127.0.0.5:") == true)
        dialer.stop()
        try await fixture.stop()
    }
}
