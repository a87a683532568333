import Testing

@testable import Cryptography

/// Replica 2 and client 7 of one cluster, and what each knows of the other.
struct Ends {
    let replica: LocalIdentity
    let client: LocalIdentity
    let replicaAtClient: KnownIdentity
    let clientAtReplica: KnownIdentity

    init(clientVersion: UInt16 = Handshake.protocolVersion) throws {
        let cluster = try #require(ClusterID(Array(repeating: 5, count: 32)))
        let replicaKey = try #require(SigningKey(seed: Array(repeating: 1, count: 32)))
        let clientKey = try #require(SigningKey(seed: Array(repeating: 2, count: 32)))
        replica = LocalIdentity(cluster: cluster, identity: .replica(2), key: replicaKey)
        client = LocalIdentity(
            cluster: cluster,
            identity: .client(7),
            key: clientKey,
            protocolVersion: clientVersion
        )
        replicaAtClient = try #require(
            PairwiseKeyCache(local: client).keys(of: .replica(2), publicKey: replicaKey.publicKey)
        )
        clientAtReplica = try #require(
            PairwiseKeyCache(local: replica).keys(of: .client(7), publicKey: clientKey.publicKey)
        )
    }

    func initiator(
        local: LocalIdentity? = nil,
        peer: Identity = .replica(2),
        endpoint: EndpointPurpose = .clients,
        keys: KnownIdentity? = nil
    ) throws -> HandshakeInitiator {
        HandshakeInitiator(
            local: local ?? client,
            peer: peer,
            endpoint: endpoint,
            keys: keys ?? replicaAtClient,
            ephemeral: try #require(EphemeralSecret(Array(repeating: 3, count: 32)))
        )
    }

    func responder(endpoint: EndpointPurpose = .clients, admission: Admission? = nil) throws -> HandshakeResponder {
        let ephemeral = try #require(EphemeralSecret(Array(repeating: 4, count: 32)))
        let known = clientAtReplica
        return HandshakeResponder(
            local: replica,
            endpoint: endpoint,
            ephemeral: { ephemeral },
            admission: { admission ?? ($0 == .client(7) ? .admitted(known) : .unknown) }
        )
    }

    /// All three messages of a handshake that succeeds.
    func messages() throws -> (hello: [UInt8], accept: [UInt8], finish: [UInt8]) {
        var initiator = try initiator()
        var responder = try responder()
        let accept = try sent(by: feed(initiator.hello, to: &responder))
        let finish = try established(by: feed(accept, to: &initiator)).sending
        return (initiator.hello, accept, finish)
    }
}

/// A handshake's end, of either kind.
protocol HandshakeEnd {
    var wanted: Int { get }
    mutating func receive(_ bytes: [UInt8]) throws(HandshakeError) -> HandshakeStep
}

extension HandshakeInitiator: HandshakeEnd {}
extension HandshakeResponder: HandshakeEnd {}

/// Feeds a whole message to an end, in the pieces that it asks for.
func feed(_ message: [UInt8], to end: inout some HandshakeEnd) throws(HandshakeError) -> HandshakeStep {
    var rest = message[...]
    while true {
        let piece = rest.prefix(end.wanted)
        rest = rest.dropFirst(end.wanted)
        let step = try end.receive(Array(piece))
        guard case .needMore = step else { return step }
    }
}

/// The bytes of a step that sends.
func sent(by step: HandshakeStep) throws -> [UInt8] {
    guard case .send(let bytes) = step else { throw HandshakeError.malformed }
    return bytes
}

/// The keys of a step that establishes, and the bytes that it sends.
func established(by step: HandshakeStep) throws -> (keys: ChannelKeys, sending: [UInt8]) {
    guard case .established(let keys, let sending) = step else { throw HandshakeError.malformed }
    return (keys, sending)
}

/// The refusal that a responder sends for `error`, as the initiator reports it.
func reported(_ error: HandshakeError, by responder: HandshakeResponder, to initiator: inout HandshakeInitiator) throws
    -> HandshakeError
{
    let message = try #require(responder.refusal(for: error))
    return try #require(throws: HandshakeError.self) { try feed(message, to: &initiator) }
}

struct HandshakeTests {
    @Test func `Two ends that know each other agree on keys for both directions`() throws {
        let ends = try Ends()
        var initiator = try ends.initiator()
        var responder = try ends.responder()
        let accept = try sent(by: feed(initiator.hello, to: &responder))
        #expect(responder.claimant == .client(7))
        let (clientKeys, finish) = try established(by: feed(accept, to: &initiator))
        let (replicaKeys, nothing) = try established(by: feed(finish, to: &responder))
        #expect(nothing.isEmpty)
        #expect(clientKeys.peer == .replica(2))
        #expect(replicaKeys.peer == .client(7))
        for text in [[1, 2, 3], [], [UInt8](repeating: 9, count: 100_000)] as [[UInt8]] {
            var frame: [UInt8] = []
            try clientKeys.sealing.seal(text, appendingTo: &frame)
            #expect(try replicaKeys.opening.open(frame) == text)
            frame = []
            try replicaKeys.sealing.seal(text, appendingTo: &frame)
            #expect(try clientKeys.opening.open(frame) == text)
        }
    }

    @Test func `The directions have different keys`() throws {
        let ends = try Ends()
        var initiator = try ends.initiator()
        var responder = try ends.responder()
        let (keys, _) = try established(by: feed(sent(by: feed(initiator.hello, to: &responder)), to: &initiator))
        var frame: [UInt8] = []
        try keys.sealing.seal([1], appendingTo: &frame)
        #expect(throws: SealedFrameError.notAuthentic) { try keys.opening.open(frame) }
    }

    @Test func `The messages have their documented sizes and beginnings`() throws {
        let messages = try Ends().messages()
        #expect(messages.hello.count == 102)
        #expect(messages.accept.count == 97)
        #expect(messages.finish.count == 65)
        #expect(messages.hello.starts(with: Array("aardvark".utf8) + [2, 0] + Array(repeating: 5, count: 32)))
        #expect(messages.hello[42..<54] == [2, 7, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0])
        #expect(messages.accept.first == 1)
        #expect(messages.finish.first == 3)
    }

    @Test func `Every changed bit of HELLO is refused`() throws {
        let ends = try Ends()
        let hello = try ends.messages().hello
        for index in hello.indices {
            for bit in 0..<8 {
                var changed = hello
                changed[index] ^= 1 << bit
                var responder = try ends.responder()
                #expect(throws: HandshakeError.self) { try feed(changed, to: &responder) }
                #expect(responder.wanted == 0)
                #expect(throws: HandshakeError.malformed) { try responder.receive(hello) }
            }
        }
    }

    @Test func `Every changed byte of ACCEPT is refused`() throws {
        let ends = try Ends()
        let accept = try ends.messages().accept
        for index in accept.indices {
            var changed = accept
            changed[index] ^= 0x10
            var initiator = try ends.initiator()
            #expect(throws: HandshakeError.self) { try feed(changed, to: &initiator) }
            #expect(initiator.wanted == 0)
        }
    }

    @Test func `Every changed byte of FINISH is refused`() throws {
        let ends = try Ends()
        let messages = try ends.messages()
        for index in messages.finish.indices {
            var changed = messages.finish
            changed[index] ^= 0x10
            var responder = try ends.responder()
            _ = try feed(messages.hello, to: &responder)
            #expect(throws: HandshakeError.self) { try feed(changed, to: &responder) }
            #expect(responder.wanted == 0)
        }
    }

    @Test func `Every truncation of a message is refused`() throws {
        let ends = try Ends()
        let messages = try ends.messages()
        for count in messages.hello.indices {
            var responder = try ends.responder()
            #expect(throws: HandshakeError.malformed) { try feed(Array(messages.hello[..<count]), to: &responder) }
        }
        for count in messages.accept.indices {
            var initiator = try ends.initiator()
            #expect(throws: HandshakeError.malformed) { try feed(Array(messages.accept[..<count]), to: &initiator) }
        }
        for count in messages.finish.indices {
            var responder = try ends.responder()
            _ = try feed(messages.hello, to: &responder)
            #expect(throws: HandshakeError.malformed) { try feed(Array(messages.finish[..<count]), to: &responder) }
        }
        for count in 0..<4 {
            var initiator = try ends.initiator()
            #expect(throws: HandshakeError.malformed) { try feed(Array([2, 1, 0, 0][..<count]), to: &initiator) }
        }
    }

    @Test func `A replayed HELLO gets no further than ACCEPT, even with the FINISH that was right then`() throws {
        let ends = try Ends()
        let messages = try ends.messages()
        let known = ends.clientAtReplica
        // Another connection: the responder's ephemeral key is another one.
        var responder = HandshakeResponder(local: ends.replica, endpoint: .clients) { _ in .admitted(known) }
        _ = try sent(by: feed(messages.hello, to: &responder))
        #expect(throws: HandshakeError.badSignature(.client(7))) { try feed(messages.finish, to: &responder) }
    }

    @Test func `A replayed ACCEPT is refused`() throws {
        let ends = try Ends()
        let accept = try ends.messages().accept
        var initiator = HandshakeInitiator(
            local: ends.client,
            peer: .replica(2),
            endpoint: .clients,
            keys: ends.replicaAtClient
        )
        #expect(throws: HandshakeError.badSignature(.replica(2))) { try feed(accept, to: &initiator) }
    }

    @Test func `Another version is named to both ends`() throws {
        var initiator = try Ends(clientVersion: 9).initiator()
        var responder = try Ends().responder()
        #expect(throws: HandshakeError.wrongVersion(9)) { try feed(initiator.hello, to: &responder) }
        let error = try reported(.wrongVersion(9), by: responder, to: &initiator)
        #expect(error == .refused(.version, version: Handshake.protocolVersion))
    }

    @Test func `Another cluster, replica or endpoint is refused, each with its own error`() throws {
        let ends = try Ends()
        let cluster = try #require(ClusterID(Array(repeating: 6, count: 32)))
        let local = LocalIdentity(cluster: cluster, identity: .client(7), key: ends.client.key)
        let cases: [(HandshakeInitiator, HandshakeError, HandshakeRefusal)] = try [
            (ends.initiator(local: local), .wrongCluster, .cluster),
            (ends.initiator(peer: .replica(1)), .wrongResponder, .responder),
            (ends.initiator(peer: .client(2)), .wrongResponder, .responder),
            (ends.initiator(endpoint: .peer(0)), .wrongEndpoint, .endpoint),
            (ends.initiator(endpoint: .peer(255)), .wrongEndpoint, .endpoint),
        ]
        for (initiator, expected, refusal) in cases {
            var initiator = initiator
            var responder = try ends.responder()
            #expect(throws: expected) { try feed(initiator.hello, to: &responder) }
            #expect(responder.claimant == nil)
            let error = try reported(expected, by: responder, to: &initiator)
            #expect(error == .refused(refusal, version: Handshake.protocolVersion))
        }
    }

    @Test func `A stranger, and a known name with a stranger's key, are refused`() throws {
        let ends = try Ends()
        let stranger = LocalIdentity(cluster: ends.client.cluster, identity: .client(8), key: .random())
        let impostor = LocalIdentity(cluster: ends.client.cluster, identity: .client(7), key: .random())
        for (local, expected) in [
            (stranger, HandshakeError.unknownIdentity(.client(8))), (impostor, .badMAC(.client(7))),
        ] {
            let keys = PairwiseKeyCache(local: local).keys(of: .replica(2), publicKey: ends.replica.key.publicKey)
            var initiator = try ends.initiator(local: local, keys: keys)
            var responder = try ends.responder()
            #expect(throws: expected) { try feed(initiator.hello, to: &responder) }
            _ = try reported(expected, by: responder, to: &initiator)
        }
    }

    @Test func `A stranger costs the responder no ephemeral key`() throws {
        let ends = try Ends()
        let impostor = LocalIdentity(cluster: ends.client.cluster, identity: .client(7), key: .random())
        let keys = PairwiseKeyCache(local: impostor).keys(of: .replica(2), publicKey: ends.replica.key.publicKey)
        let initiator = try ends.initiator(local: impostor, keys: keys)
        let known = ends.clientAtReplica
        var made = 0
        var responder = HandshakeResponder(
            local: ends.replica,
            endpoint: .clients,
            ephemeral: {
                made += 1
                return .random()
            },
            admission: { _ in .admitted(known) }
        )
        #expect(throws: HandshakeError.badMAC(.client(7))) { try feed(initiator.hello, to: &responder) }
        #expect(made == 0)
    }

    @Test func `What the owner does not admit is refused`() throws {
        let ends = try Ends()
        let cases: [(Admission, HandshakeError)] = [
            (.unknown, .unknownIdentity(.client(7))),
            (.notAllowed, .notAllowed(.client(7))),
            (.noRoom, .noRoom(.client(7))),
        ]
        for (admission, expected) in cases {
            var responder = try ends.responder(admission: admission)
            let hello = try ends.initiator().hello
            #expect(throws: expected) { try feed(hello, to: &responder) }
        }
    }

    @Test func `An endpoint for a replica is for that replica only, and replicas do not come as clients`() throws {
        let ends = try Ends()
        let hello = try ends.initiator(endpoint: .peer(1)).hello
        var responder = try ends.responder(endpoint: .peer(1))
        #expect(throws: HandshakeError.notAllowed(.client(7))) { try feed(hello, to: &responder) }

        let replica = LocalIdentity(cluster: ends.client.cluster, identity: .replica(3), key: ends.client.key)
        for endpoint in [EndpointPurpose.clients, .peer(1)] {
            let hello = try ends.initiator(local: replica, endpoint: endpoint).hello
            var responder = try ends.responder(endpoint: endpoint, admission: .admitted(ends.clientAtReplica))
            #expect(throws: HandshakeError.notAllowed(.replica(3))) { try feed(hello, to: &responder) }
        }
        let right = try ends.initiator(local: replica, endpoint: .peer(3)).hello
        var willing = try ends.responder(endpoint: .peer(3), admission: .admitted(ends.clientAtReplica))
        _ = try sent(by: feed(right, to: &willing))
    }

    @Test func `An impostor of the responder is refused`() throws {
        let ends = try Ends()
        var initiator = try ends.initiator()
        // It knows the pairwise key, say from a stolen file, but not the replica's identity key.
        let impostor = LocalIdentity(cluster: ends.client.cluster, identity: .replica(2), key: .random())
        let known = ends.clientAtReplica
        var responder = HandshakeResponder(local: impostor, endpoint: .clients) { _ in .admitted(known) }
        let accept = try sent(by: feed(initiator.hello, to: &responder))
        #expect(throws: HandshakeError.badSignature(.replica(2))) { try feed(accept, to: &initiator) }
    }

    @Test func `An ephemeral key of small order is refused`() throws {
        let ends = try Ends()
        var hello = try ends.initiator().hello
        hello.replaceSubrange(54..<86, with: repeatElement(0, count: 32))
        var resealed = Array(hello[..<86])
        Handshake.helloMAC(of: resealed, under: ends.replicaAtClient.pairwiseKey).append(to: &resealed)
        var responder = try ends.responder()
        #expect(throws: HandshakeError.badEphemeralKey(.client(7))) { try feed(resealed, to: &responder) }
    }

    @Test func `Garbage is refused at the first byte that cannot be ours`() throws {
        let ends = try Ends()
        var responder = try ends.responder()
        #expect(throws: HandshakeError.notAardvark) { try responder.receive(Array("GET / HTTP".utf8)) }
        #expect(responder.refusal(for: .notAardvark) == nil)
        for kind in UInt8.min...UInt8.max where kind != 1 && kind != 2 {
            var initiator = try ends.initiator()
            #expect(throws: HandshakeError.notAardvark) { try initiator.receive([kind]) }
        }
    }

    @Test func `Every refusal reads back, and an unknown reason is one without a name`() throws {
        let ends = try Ends()
        for reason in UInt8.min...UInt8.max {
            var initiator = try ends.initiator()
            let error = #expect(throws: HandshakeError.self) { try feed([2, reason, 3, 4], to: &initiator) }
            let expected = HandshakeRefusal(rawValue: reason) ?? .unspecified
            #expect(error == .refused(expected, version: 0x0403))
            #expect(error?.description.isEmpty == false)
        }
    }

    @Test func `The cache gives new keys when an identity's public key changes`() throws {
        let ends = try Ends()
        let cache = PairwiseKeyCache(local: ends.replica)
        let digest = Digest.of([1])
        let first = try #require(cache.keys(of: .client(1), publicKey: SigningKey.random().publicKey))
        let again = try #require(cache.keys(of: .client(1), publicKey: first.publicKey))
        #expect(first.pairwiseKey.authenticate(digest) == again.pairwiseKey.authenticate(digest))
        let second = try #require(cache.keys(of: .client(1), publicKey: SigningKey.random().publicKey))
        #expect(first.pairwiseKey.authenticate(digest) != second.pairwiseKey.authenticate(digest))
        #expect(cache.keys(of: .client(1), publicKey: try #require(PublicKey(Array(repeating: 0, count: 32)))) == nil)
    }
}
