import Cryptography
import NIOCore
import NIOEmbedded
import Testing

@testable import Transport

/// A listener and the far end of one connection to it, without sockets and with a clock turned by hand.
private final class EmbeddedConnection {
    let recorder = Recorder()
    let channel = EmbeddedChannel()
    let cluster = TestCluster()
    let listener: Listener
    var initiator: HandshakeInitiator
    var keys: ChannelKeys?

    init(limits: TransportLimits = .standard) throws {
        let local = try cluster.local(.replica(0))
        listener = Listener(
            Listener.Configuration(host: "127.0.0.1", port: 0, purpose: .clients, limits: limits),
            local: local,
            eventLoop: channel.eventLoop,
            delegate: recorder,
            admission: cluster.admission(at: local)
        )
        let client = try cluster.local(.client(1))
        initiator = HandshakeInitiator(
            local: client,
            peer: .replica(0),
            endpoint: .clients,
            keys: try cluster.known(.replica(0), by: client)
        )
        try listener.accept(channel)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    }

    /// Feeds bytes in pieces of this length, each in a read of its own.
    func feed(_ bytes: [UInt8], pieces: Int = .max) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            try channel.writeInbound(ByteBuffer(bytes: rest.prefix(pieces)))
            rest = rest.dropFirst(pieces)
        }
    }

    func sent() throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) { bytes += Array(buffer.readableBytesView) }
        return bytes
    }

    /// Shakes hands; returns FINISH without feeding it.
    func finish(pieces: Int = .max) throws -> [UInt8] {
        try feed(initiator.hello, pieces: pieces)
        let accept = try sent()
        _ = try initiator.receive([accept[0]])
        guard case .established(let keys, let finish) = try initiator.receive(Array(accept[1...])) else { return [] }
        self.keys = keys
        return finish
    }

    func frame(_ messages: [[UInt8]]) throws -> [UInt8] {
        var frame: [UInt8] = []
        try #require(keys).sealing.seal(plaintext(messages), appendingTo: &frame)
        return frame
    }

    func end() {
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }
}

/// Counts the reads that reach the socket.
private final class ReadCounter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    var count = 0

    func read(context: ChannelHandlerContext) {
        count += 1
        context.read()
    }
}

struct EmbeddedTests {
    @Test(arguments: [1, 2, 3, 5, 7, 64, 101, 1000])
    func `Bytes may arrive in pieces of any length`(pieces: Int) throws {
        let connection = try EmbeddedConnection()
        let finish = try connection.finish(pieces: pieces)
        let long = [UInt8](repeating: 6, count: 3000)
        let frames = try connection.frame([[1], [2, 3]]) + connection.frame([long]) + connection.frame([[4]])
        try connection.feed(finish + frames, pieces: pieces)
        #expect(connection.recorder.messages == [[1], [2, 3], long, [4]])
        #expect(connection.recorder.opened.count == 1)
        #expect(connection.recorder.refusals.isEmpty)
        connection.end()
    }

    @Test func `One read that brings many frames is reported once`() throws {
        let connection = try EmbeddedConnection()
        let finish = try connection.finish()
        let frames = try (0..<10).flatMap { try connection.frame([[UInt8($0)]]) }
        try connection.feed(finish + frames)
        #expect(connection.recorder.readableCount == 1)
        #expect(connection.recorder.messages.count == 10)
        try connection.feed(connection.frame([[1]]).dropLast())
        #expect(connection.recorder.readableCount == 1)
        connection.end()
    }

    @Test func `A flush is one write, and what was not flushed is not written`() throws {
        let connection = try EmbeddedConnection()
        try connection.feed(connection.finish())
        let link = try #require(connection.recorder.opened.first)
        for round in 0..<3 {
            for number in 0..<100 { link.send([UInt8(round), UInt8(number)]) }
            #expect(try connection.channel.readOutbound(as: ByteBuffer.self) == nil)
            link.flush()
            let buffer = try #require(try connection.channel.readOutbound(as: ByteBuffer.self))
            #expect(try connection.channel.readOutbound(as: ByteBuffer.self) == nil)
            let text = try #require(connection.keys).opening.open(Array(buffer.readableBytesView))
            #expect(MessageRanges(text).map { Array(text[$0]) } == (0..<100).map { [UInt8(round), $0] })
        }
        link.flush()
        #expect(try connection.channel.readOutbound(as: ByteBuffer.self) == nil)
        connection.end()
    }

    @Test func `A sender that is slow in the handshake is cut off in time, whatever it sends`() throws {
        let limits = TransportLimits(handshakeTimeout: .seconds(5))
        for isSendingHello in [false, true] {
            let connection = try EmbeddedConnection(limits: limits)
            let finish = isSendingHello ? try connection.finish() : connection.initiator.hello
            for byte in finish.prefix(40) {
                try connection.feed([byte])
                connection.channel.embeddedEventLoop.advanceTime(by: .milliseconds(120))
            }
            #expect(connection.recorder.refusals.isEmpty)
            connection.channel.embeddedEventLoop.advanceTime(by: .milliseconds(199))
            #expect(connection.channel.isActive)
            connection.channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
            #expect(connection.recorder.refusals == [.timedOut])
            #expect(!connection.channel.isActive)
            #expect(connection.listener.handshakeCount == 0)
            connection.end()
        }
    }

    @Test func `An open link has no time-out`() throws {
        let connection = try EmbeddedConnection()
        try connection.feed(connection.finish())
        connection.channel.embeddedEventLoop.advanceTime(by: .hours(1))
        #expect(connection.channel.isActive)
        #expect(connection.recorder.closed.isEmpty)
        connection.end()
    }

    @Test func `A link whose frames are not taken stops reading, and goes on when half of them were`() throws {
        let connection = try EmbeddedConnection(limits: TransportLimits(inboundBytes: 1000))
        let counter = ReadCounter()
        try connection.channel.pipeline.syncOperations.addHandler(counter, position: .first)
        try connection.feed(connection.finish())
        connection.recorder.isTaking = false
        let link = try #require(connection.recorder.opened.first)
        connection.channel.read()
        let before = counter.count
        // Each frame takes 204 bytes and 64 for its bookkeeping.
        for _ in 0..<3 { try connection.feed(connection.frame([Array(repeating: 1, count: 200)])) }
        connection.channel.read()
        #expect(counter.count > before)
        try connection.feed(connection.frame([Array(repeating: 1, count: 200)]))
        #expect(link.inboundBytes == 4 * 268)
        let paused = counter.count
        connection.channel.read()
        connection.channel.read()
        #expect(counter.count == paused)
        for _ in 0..<2 { _ = link.nextFrame() }
        #expect(counter.count == paused)
        _ = link.nextFrame()
        #expect(counter.count == paused + 1)
        _ = link.nextFrame()
        #expect(link.nextFrame() == nil)
        #expect(counter.count == paused + 1)
        #expect(link.inboundBytes == 0)
        connection.end()
    }

    @Test func `What a closing peer leaves in the socket is bounded too`() throws {
        let connection = try EmbeddedConnection(limits: TransportLimits(inboundBytes: 1000))
        try connection.feed(connection.finish())
        connection.recorder.isTaking = false
        let message = [UInt8](repeating: 1, count: 1 << 20)
        for _ in 0..<20 where connection.channel.isActive { try connection.feed(connection.frame([message])) }
        connection.channel.embeddedEventLoop.run()
        #expect(connection.recorder.closed.map(\.reason) == [.inboundOverflow])
        #expect(try #require(connection.recorder.opened.first).inboundBytes < 10 << 20)
        connection.end()
    }

    @Test func `The delegate may close the link from inside any call`() throws {
        for isClosingWhenOpened in [false, true] {
            let connection = try EmbeddedConnection()
            let close = { (link: Link) in link.close(.local("enough")) }
            if isClosingWhenOpened {
                connection.recorder.onOpened = close
            } else {
                connection.recorder.onReadable = close
            }
            let finish = try connection.finish()
            try connection.feed(finish + connection.frame([[1]]) + connection.frame([[2]]))
            connection.channel.embeddedEventLoop.run()
            #expect(connection.recorder.closed.map(\.reason) == [.local("enough")])
            #expect(connection.recorder.messages == (isClosingWhenOpened ? [] : [[1], [2]]))
            #expect(connection.listener.links.isEmpty)
            connection.end()
        }
    }

    @Test func `An identity that was revoked during the handshake gets no link`() throws {
        let recorder = Recorder()
        let channel = EmbeddedChannel()
        let cluster = TestCluster()
        let local = try cluster.local(.replica(0))
        var isRevoked = false
        let admit = cluster.admission(at: local)
        let listener = Listener(
            Listener.Configuration(host: "127.0.0.1", port: 0, purpose: .clients),
            local: local,
            eventLoop: channel.eventLoop,
            delegate: recorder
        ) { identity in
            isRevoked ? .unknown : admit(identity)
        }
        try listener.accept(channel)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        let client = try cluster.local(.client(1))
        var initiator = HandshakeInitiator(
            local: client,
            peer: .replica(0),
            endpoint: .clients,
            keys: try cluster.known(.replica(0), by: client)
        )
        try channel.writeInbound(ByteBuffer(bytes: initiator.hello))
        isRevoked = true
        let accept = try #require(try channel.readOutbound(as: ByteBuffer.self))
        _ = try initiator.receive([1])
        let step = try initiator.receive(Array(accept.readableBytesView.dropFirst()))
        guard case .established(_, let finish) = step else {
            Issue.record("no FINISH")
            return
        }
        try channel.writeInbound(ByteBuffer(bytes: finish))
        #expect(recorder.opened.isEmpty)
        #expect(recorder.refusals == [.handshake(.noRoom(.client(1)))])
        #expect(!channel.isActive)
        #expect(listener.handshakeCount == 0)
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }
}
