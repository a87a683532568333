import Aardvark
import Cryptography
import NIOCore
import NIOPosix

/// A connection to a replica's endpoint without the library's own code, to send what it would never send.
final class RawConnection {
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private var received: [UInt8] = []

    private init(
        _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>,
        _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    ) {
        self.inbound = inbound.makeAsyncIterator()
        self.outbound = outbound
    }

    /// Connects, calls `body`, and closes.
    static func with<Result>(
        _ endpoint: ClusterFile.Endpoint,
        _ body: (RawConnection) async throws -> Result
    ) async throws -> Result {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: endpoint.host, port: endpoint.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await body(RawConnection(inbound, outbound))
        }
    }

    /// Sends bytes. A replica that closed the connection already does not hear them.
    func send(_ bytes: [UInt8]) async {
        try? await outbound.write(ByteBuffer(bytes: bytes))
    }

    /// The next bytes; fewer when the replica closes the connection before.
    func read(_ count: Int) async -> [UInt8] {
        while received.count < count, let more = await next() { received += more }
        defer { received.removeFirst(min(count, received.count)) }
        return Array(received.prefix(count))
    }

    /// Whatever comes until the replica closes the connection.
    func readToEnd() async -> [UInt8] {
        while let more = await next() { received += more }
        return received
    }

    /// A connection that is reset has ended too.
    private func next() async -> [UInt8]? {
        guard let buffer = try? await inbound.next() else { return nil }
        return Array(buffer.readableBytesView)
    }

    /// Shakes hands.
    ///
    /// - Throws: When the replica refuses.
    func shakeHands(_ initiator: HandshakeInitiator) async throws -> ChannelKeys {
        var initiator = initiator
        await send(initiator.hello)
        while true {
            switch try initiator.receive(await read(initiator.wanted)) {
            case .needMore: continue
            case .send(let bytes): await send(bytes)
            case .established(let keys, let bytes):
                await send(bytes)
                return keys
            }
        }
    }
}

extension SealingKey {
    /// A frame with these messages.
    func frame(_ messages: [UInt8]...) throws -> [UInt8] {
        try sealed(messages.flatMap { Self.length($0.count) + $0 })
    }

    /// A frame with this plaintext.
    func sealed(_ plaintext: [UInt8]) throws -> [UInt8] {
        var frame: [UInt8] = []
        try seal(plaintext, appendingTo: &frame)
        return frame
    }

    /// A length as frames have it: 4 bytes, little-endian.
    static func length(_ count: Int) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }
    }
}
