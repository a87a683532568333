import Cryptography
import Messages
import Testing

/// Every bound on a length or a count: what is at the bound is taken, what is over it refused by its own error.
struct LimitTests {
    /// A request of client 7 with a signature of zeros, which decoding does not look at.
    private func request(
        kind: UInt8 = 1,
        number: UInt64 = 1,
        count: UInt16,
        body: [UInt8],
        authentication: [UInt8] = [1] + [UInt8](repeating: 0, count: 64)
    ) -> [UInt8] {
        [0x01] + Canonical.integer(UInt32(7)) + Canonical.integer(UInt32(0))
            + Canonical.integer(Fixtures.session.rawValue)
            + Canonical.integer(number) + [kind, 0] + Canonical.integer(count) + body + authentication
    }

    private func operations(_ lengths: [Int]) -> [UInt8] {
        var body: [UInt8] = []
        for length in lengths {
            body.append(lengthPrefixed: [UInt8](repeating: 3, count: length))
        }
        return body
    }

    private func decode(_ bytes: [UInt8]) throws(MalformedMessage) -> Request {
        try Request(decoding: bytes, in: 0..<bytes.count)
    }

    private func prePrepare(count: UInt16, requests: [UInt8]) -> [UInt8] {
        [0x10] + Array(repeating: 0, count: 24) + Canonical.integer(count) + requests
    }

    private func reply(count: UInt16, results: [UInt8]) -> [UInt8] {
        [0x81] + Array(repeating: 0, count: 34) + Canonical.integer(count) + results
    }

    /// A status report's beginning, up to the number of connected peers.
    private let reportHeader: [UInt8] = [0x82] + Array(repeating: 0, count: 51)

    // MARK: Requests

    @Test func `An operation at the limit is taken, one byte more is refused`() throws {
        let limit = MessageLimits.operationBytes
        #expect(limit == 1_048_576 + 4096)
        let largest = try decode(request(count: 1, body: operations([limit])))
        #expect(largest.operations.map(\.count) == [limit])
        let tooLarge = request(count: 1, body: operations([limit + 1]))
        #expect(throws: MalformedMessage.overLimit(.operation)) { try decode(tooLarge) }
        let fixtures = try Fixtures()
        let made = fixtures.request(operations: [[UInt8](repeating: 3, count: limit)])
        #expect(try decode(made.bytes).digest == made.digest)
    }

    @Test func `An operation that claims four gigabytes is refused by its length`() throws {
        let body = [UInt8](repeating: 0xff, count: 4)
        #expect(throws: MalformedMessage.overLimit(.operation)) { try decode(request(count: 1, body: body)) }
    }

    @Test func `A bundle has at most 64 operations`() throws {
        let full = try decode(request(count: 64, body: operations(Array(repeating: 1, count: 64))))
        #expect(full.operationCount == 64)
        #expect(full.operations == Array(repeating: [3], count: 64))
        for count in [65, 256, 0xffff] {
            let tooMany = request(count: UInt16(count), body: operations(Array(repeating: 1, count: min(count, 65))))
            #expect(throws: MalformedMessage.overLimit(.bundle)) { try decode(tooMany) }
        }
        let fixtures = try Fixtures()
        let made = fixtures.request(operations: Array(repeating: [3], count: 64))
        #expect(try decode(made.bytes).operationCount == 64)
    }

    @Test func `A request at the limit is taken, one byte more is refused`() throws {
        let overhead = request(count: 2, body: operations([0, 0])).count
        let half = MessageLimits.operationBytes
        let rest = MessageLimits.requestBytes - overhead - half
        let largest = request(count: 2, body: operations([half, rest]))
        #expect(largest.count == MessageLimits.requestBytes)
        #expect(try decode(largest).operations.map(\.count) == [half, rest])
        let tooLarge = request(count: 2, body: operations([half, rest + 1]))
        #expect(throws: MalformedMessage.overLimit(.request)) { try decode(tooLarge) }
    }

    @Test func `Only the opening request is empty and has number 0`() throws {
        #expect(try decode(request(kind: 0, number: 0, count: 0, body: [])).kind == .openSession)
        for bytes in [
            request(kind: 0, number: 1, count: 0, body: []),
            request(kind: 0, number: 0, count: 1, body: operations([1])),
            request(kind: 1, number: 0, count: 1, body: operations([1])),
            request(kind: 1, number: 1, count: 0, body: []),
            request(kind: 2, number: 1, count: 1, body: operations([1])),
            request(kind: 3, number: 1, count: 1, body: operations([1])),
        ] {
            #expect(throws: MalformedMessage.badField(.kind)) { try decode(bytes) }
        }
    }

    @Test func `Administrators' requests, and no others, are of the kind of administration`() throws {
        func byAdministrator(kind: UInt8, number: UInt64, count: UInt16, body: [UInt8]) -> [UInt8] {
            var bytes = request(kind: kind, number: number, count: count, body: body)
            bytes[4] |= 0x80
            return bytes
        }
        let good = try decode(byAdministrator(kind: 2, number: 1, count: 1, body: operations([1])))
        #expect(good.kind == .administration && good.client.isAdministrator)
        #expect(try decode(byAdministrator(kind: 0, number: 0, count: 0, body: [])).kind == .openSession)
        for bytes in [
            byAdministrator(kind: 1, number: 1, count: 1, body: operations([1])),
            byAdministrator(kind: 2, number: 0, count: 0, body: []),
            byAdministrator(kind: 2, number: 0, count: 1, body: operations([1])),
        ] {
            #expect(throws: MalformedMessage.badField(.kind)) { try decode(bytes) }
        }
    }

    @Test func `A vector has a MAC for each replica of some cluster`() throws {
        for count in UInt8.min...UInt8.max {
            let vector = [2, count] + [UInt8](repeating: 5, count: 16 * Int(count))
            let bytes = request(count: 1, body: operations([1]), authentication: vector)
            if ClusterSize(replicas: Int(count)) != nil {
                let request = try decode(bytes)
                #expect(request.mac(for: ReplicaID(count - 1)) != nil)
                #expect(request.mac(for: ReplicaID(count)) == nil)
            } else {
                #expect(throws: MalformedMessage.badField(.scheme)) { try decode(bytes) }
            }
        }
        for scheme in [0, 3, 0xff] as [UInt8] {
            let authentication = [scheme] + Array(repeating: 0, count: 64)
            let bytes = request(count: 1, body: operations([1]), authentication: authentication)
            #expect(throws: MalformedMessage.badField(.scheme)) { try decode(bytes) }
        }
    }

    @Test func `Making a request over a bound is a bug that stops the process`() async {
        await #expect(processExitsWith: .failure) {
            _ = try Fixtures().request(operations: [[UInt8](repeating: 0, count: MessageLimits.operationBytes + 1)])
        }
        await #expect(processExitsWith: .failure) {
            _ = try Fixtures().request(operations: Array(repeating: [], count: 65))
        }
        await #expect(processExitsWith: .failure) {
            _ = try Fixtures().request(number: 0, operations: [[]])
        }
        await #expect(processExitsWith: .failure) {
            _ = Batch(time: .zero, requests: [])
        }
    }

    // MARK: Batches

    @Test func `A batch has 1 to 4096 requests`() throws {
        let one = Canonical.prefixed(request(count: 1, body: operations([0])))
        func decode(_ count: UInt16, holding held: Int) throws(MalformedMessage) -> PeerMessage {
            let bytes = prePrepare(count: count, requests: Array(repeatElement(one, count: held).joined()))
            return try PeerMessage(decoding: bytes, in: 0..<bytes.count)
        }
        guard case .prePrepare(let full) = try decode(4096, holding: 4096) else {
            Issue.record("not a PRE-PREPARE")
            return
        }
        #expect(full.batch.requests.count == 4096)
        #expect(throws: MalformedMessage.overLimit(.batch)) { try decode(0, holding: 0) }
        #expect(throws: MalformedMessage.overLimit(.batch)) { try decode(4097, holding: 4097) }
        #expect(throws: MalformedMessage.overLimit(.batch)) { try decode(0xffff, holding: 1) }
        #expect(throws: MalformedMessage.truncated) { try decode(2, holding: 1) }
        #expect(throws: MalformedMessage.trailingBytes) { try decode(1, holding: 2) }
    }

    @Test func `A batch at the limit of bytes is taken, one byte more is refused`() throws {
        let overhead = request(count: 1, body: operations([0])).count
        let header = 10 + 3 * (4 + overhead)
        let last = MessageLimits.batchBytes - header - 2 * MessageLimits.operationBytes
        for extra in [0, 1] {
            var requests: [UInt8] = []
            for length in [MessageLimits.operationBytes, MessageLimits.operationBytes, last + extra] {
                requests.append(lengthPrefixed: request(count: 1, body: operations([length])))
            }
            let bytes = prePrepare(count: 3, requests: requests)
            #expect(bytes.count == 17 + MessageLimits.batchBytes + extra)
            if extra == 0 {
                #expect(try Decoder.peer.encoded(bytes) == bytes)
            } else {
                #expect(throws: MalformedMessage.overLimit(.batch)) { try Decoder.peer.encoded(bytes) }
            }
        }
    }

    @Test func `A request in a batch has a request's bounds`() throws {
        let claimed = Canonical.integer(UInt32(MessageLimits.requestBytes + 1))
        for length in [claimed, [0xff, 0xff, 0xff, 0xff]] {
            let bytes = prePrepare(count: 1, requests: length)
            #expect(throws: MalformedMessage.overLimit(.request)) { try Decoder.peer.encoded(bytes) }
        }
        let other = prePrepare(count: 1, requests: Canonical.prefixed([0x02] + Array(repeating: 0, count: 100)))
        #expect(throws: MalformedMessage.unknownType(0x02)) { try Decoder.peer.encoded(other) }
    }

    @Test func `A checkpoint names one of at most 64 replicas`() throws {
        var bytes = try Golden.named("checkpoint").message()
        for replica in UInt8.min...UInt8.max {
            bytes[1] = replica
            if replica < 64 {
                #expect(try Decoder.peer.encoded(bytes) == bytes)
            } else {
                #expect(throws: MalformedMessage.badField(.replica)) { try Decoder.peer.encoded(bytes) }
            }
        }
    }

    // MARK: View changes

    /// A VIEW-CHANGE with the given counts and bodies and a signature of zeros.
    private func viewChange(
        certificate: [UInt8] = [0],
        prepared: (UInt32, [UInt8]) = (0, []),
        prePrepared: (UInt32, [UInt8]) = (0, [])
    ) -> [UInt8] {
        [0x16] + Array(repeating: 0, count: 17) + certificate + Canonical.integer(prepared.0) + prepared.1
            + Canonical.integer(prePrepared.0) + prePrepared.1 + Array(repeating: 0, count: 64)
    }

    @Test func `A VIEW-CHANGE has at most 8192 elements in P, eight times as many in Q`() throws {
        let limits = (p: MessageLimits.preparedClaims, q: MessageLimits.prePreparedClaims)
        #expect(limits == (8192, 65_536))
        func claims(_ count: Int) -> (UInt32, [UInt8]) {
            (UInt32(count), [UInt8](repeating: 1, count: 48 * count))
        }
        let full = viewChange(prepared: claims(limits.p), prePrepared: claims(limits.q))
        #expect(full.count <= SealedFrame.maximumPlaintextByteCount - 4)
        guard case .viewChange(let decoded) = try PeerMessage(decoding: full, in: 0..<full.count) else {
            Issue.record("not a VIEW-CHANGE")
            return
        }
        #expect(decoded.claim.prepared.count == limits.p)
        #expect(decoded.claim.prePrepared.count == limits.q)
        #expect(decoded.claim.encoded == full)
        for bytes in [
            viewChange(prepared: claims(limits.p + 1)), viewChange(prepared: (.max, [])),
            viewChange(prePrepared: claims(limits.q + 1)), viewChange(prePrepared: (.max, [])),
        ] {
            #expect(throws: MalformedMessage.overLimit(.claims)) { try Decoder.peer.encoded(bytes) }
        }
        // The count is held against the bytes that are there before memory is taken for it.
        for bytes in [viewChange(prepared: (8192, [])), viewChange(prePrepared: (65_536, []))] {
            #expect(throws: MalformedMessage.truncated) { try Decoder.peer.encoded(bytes) }
        }
    }

    @Test func `A certificate has at most 64 signatures, and nothing but checkpoints in it`() throws {
        let checkpoint = Canonical.prefixed(try Golden.named("checkpoint").message())
        for count in [1, 64, 65, 255] {
            let certificate = [UInt8(count)] + Array(repeatElement(checkpoint, count: count).joined())
            for bytes in [viewChange(certificate: certificate), [0x1e] + certificate] {
                if count <= 64 {
                    #expect(try Decoder.peer.reencoded(bytes) == bytes)
                } else {
                    #expect(throws: MalformedMessage.overLimit(.certificate)) { try Decoder.peer.encoded(bytes) }
                }
            }
        }
        let tooLong = viewChange(certificate: [1, 0xff, 0xff, 0xff, 0xff])
        #expect(throws: MalformedMessage.overLimit(.certificate)) { try Decoder.peer.encoded(tooLong) }
        var other = checkpoint
        other[4] = 0x12
        for part in [other, [0, 0, 0, 0]] {
            for bytes in [viewChange(certificate: [1] + part), [0x1e, 1] + part, [0x1e, 0]] {
                #expect(throws: MalformedMessage.badField(.certificate)) { try Decoder.peer.encoded(bytes) }
            }
        }
    }

    @Test func `A NEW-VIEW names at most 64 members and 8192 batches`() throws {
        func newView(members: Int, held: Int, batches: UInt32, digests: Int) -> [UInt8] {
            [0x17] + Array(repeating: 0, count: 8) + [UInt8(members)] + Array(repeating: 1, count: 33 * held)
                + Array(repeating: 0, count: 8) + Canonical.integer(batches)
                + Array(repeating: 0, count: 32 * digests + 64)
        }
        let limit = MessageLimits.preparedClaims
        let full = newView(members: 64, held: 64, batches: UInt32(limit), digests: limit)
        #expect(try Decoder.peer.encoded(full) == full)
        let manyMembers = newView(members: 65, held: 65, batches: 0, digests: 0)
        #expect(throws: MalformedMessage.overLimit(.certificate)) { try Decoder.peer.encoded(manyMembers) }
        for batches in [UInt32(limit + 1), .max] {
            let bytes = newView(members: 1, held: 1, batches: batches, digests: limit + 1)
            #expect(throws: MalformedMessage.overLimit(.claims)) { try Decoder.peer.encoded(bytes) }
        }
        let short = newView(members: 1, held: 1, batches: UInt32(limit), digests: 0)
        #expect(throws: MalformedMessage.truncated) { try Decoder.peer.encoded(short) }
    }

    @Test(arguments: [("view-change", 9), ("new-view", 10), ("fetch-view-change", 10)])
    func `What is said of a replica is said of one of at most 64`(name: String, offset: Int) throws {
        var bytes = try Golden.named(name).message()
        for replica in UInt8.min...UInt8.max {
            bytes[offset] = replica
            if replica < 64 {
                #expect(try Decoder.peer.encoded(bytes) == bytes)
            } else {
                #expect(throws: MalformedMessage.badField(.replica)) { try Decoder.peer.encoded(bytes) }
            }
        }
    }

    @Test
    func
        `A FETCH has one of three subjects, a CATCH-UP's sender one of three standings, and a PING is an answer or not`()
        throws
    {
        for (name, offset, first, field) in [
            ("fetch-batch", 1, 3, .kind), ("catch-up", 9, 3, .flag), ("ping", 1, 2, .flag),
        ]
            as [(String, Int, UInt8, MalformedMessage.StaticField)]
        {
            var bytes = try Golden.named(name).message()
            for value in first...UInt8.max {
                bytes[offset] = value
                #expect(throws: MalformedMessage.badField(field)) { try Decoder.peer.encoded(bytes) }
            }
        }
    }

    @Test func `Places in a FETCH grow, and there is at least one`() throws {
        let bytes = try Golden.named("fetch-requests").message()
        for places in [[], [2, 0], [1, 1]] as [[UInt16]] {
            let other =
                bytes[..<42] + Canonical.integer(UInt16(places.count)) + places.flatMap { Canonical.integer($0) }
            #expect(throws: MalformedMessage.self) { try Decoder.peer.encoded(Array(other)) }
        }
        let too = bytes[..<42] + Canonical.integer(UInt16(4097)) + (0..<4097).flatMap { Canonical.integer(UInt16($0)) }
        #expect(throws: MalformedMessage.overLimit(.batch)) { try Decoder.peer.encoded(Array(too)) }
    }

    @Test func `A proposal by digests names 1 to 4096 requests, and a part of a batch has as many`() throws {
        for (name, offset) in [("digest-pre-prepare", 25), ("requests", 41)] {
            let bytes = try Golden.named(name).message()
            for count in [0, 4097, 0xffff] as [UInt16] {
                let other = bytes[..<offset] + Canonical.integer(count) + bytes[(offset + 2)...]
                #expect(throws: MalformedMessage.overLimit(.batch)) { try Decoder.peer.encoded(Array(other)) }
            }
        }
    }

    @Test func `A batch by itself has a batch's bounds`() throws {
        var bytes = try Golden.named("batch").message()
        #expect(Array(bytes[9...]) == Array(try Golden.named("pre-prepare").message()[17...]))
        for count in [0, 4097, 0xffff] as [UInt16] {
            bytes.replaceSubrange(17..<19, with: Canonical.integer(count))
            #expect(throws: MalformedMessage.overLimit(.batch)) { try Decoder.peer.encoded(bytes) }
        }
        let long = [UInt8](repeating: 0, count: MessageLimits.batchBytes + 1)
        #expect(throws: MalformedMessage.overLimit(.batch)) { try Decoder.peer.encoded(Array(bytes[..<9]) + long) }
    }

    @Test(arguments: [0x1a, 0x1b] as [UInt8])
    func `What the state store says has a bound and is passed on as it is`(type: UInt8) throws {
        for count in [0, 1, MessageLimits.stateBytes] {
            let bytes = [type] + [UInt8](repeating: 7, count: count)
            #expect(try Decoder.peer.encoded([9] + bytes + [9], in: 1..<bytes.count + 1) == bytes)
            #expect(try Decoder.peer.reencoded(bytes) == bytes)
        }
        let long = [type] + [UInt8](repeating: 7, count: MessageLimits.stateBytes + 1)
        #expect(throws: MalformedMessage.overLimit(.state)) { try Decoder.peer.encoded(long) }
    }

    // MARK: Reads

    @Test func `A read's operation and result have the bounds of ordered ones`() throws {
        let limit = MessageLimits.operationBytes
        for (header, decoder, field) in [
            ([0x03] + Array(repeating: 0, count: 9), Decoder.client, MalformedMessage.StaticField.operation),
            ([0x83] + Array(repeating: 0, count: 9), Decoder.answer, .result),
        ] as [([UInt8], Decoder, MalformedMessage.StaticField)] {
            let largest = header + Canonical.prefixed([UInt8](repeating: 3, count: limit))
            #expect(try decoder.encoded(largest) == largest)
            let tooLarge = header + Canonical.prefixed([UInt8](repeating: 3, count: limit + 1))
            #expect(throws: MalformedMessage.overLimit(field)) { try decoder.encoded(tooLarge) }
            let huge = header + [0xff, 0xff, 0xff, 0xff]
            #expect(throws: MalformedMessage.overLimit(field)) { try decoder.encoded(huge) }
        }
    }

    @Test func `A read asks for the result or its digest, and has one of three outcomes`() throws {
        var read = try Golden.named("read").message()
        for value in UInt8(2)...UInt8.max {
            read[9] = value
            #expect(throws: MalformedMessage.badField(.flag)) { try Decoder.client.encoded(read) }
        }
        var reply = try Golden.named("read-reply-refused").message()
        for value in UInt8(3)...UInt8.max {
            reply[9] = value
            #expect(throws: MalformedMessage.badField(.outcome)) { try Decoder.answer.encoded(reply) }
        }
    }

    // MARK: Answers

    @Test func `A result at the limit is taken, one byte more is refused`() throws {
        let limit = MessageLimits.resultBytes
        let largest = reply(count: 1, results: operations([limit]))
        #expect(try Decoder.answer.encoded(largest) == largest)
        let tooLarge = reply(count: 1, results: operations([limit + 1]))
        #expect(throws: MalformedMessage.overLimit(.result)) { try Decoder.answer.encoded(tooLarge) }
        let huge = reply(count: 1, results: [0xff, 0xff, 0xff, 0xff])
        #expect(throws: MalformedMessage.overLimit(.result)) { try Decoder.answer.encoded(huge) }
    }

    @Test func `A reply has at most 64 results and a known outcome`() throws {
        let full = reply(count: 64, results: operations(Array(repeating: 1, count: 64)))
        #expect(try Decoder.answer.encoded(full) == full)
        for count in [65, 0xffff] as [UInt16] {
            let bytes = reply(count: count, results: operations(Array(repeating: 1, count: 65)))
            #expect(throws: MalformedMessage.overLimit(.bundle)) { try Decoder.answer.encoded(bytes) }
        }
        for outcome in UInt8.min...UInt8.max {
            var bytes = reply(count: 0, results: [])
            bytes[34] = outcome
            if outcome < 5 {
                #expect(try Decoder.answer.reencoded(bytes) == bytes)
            } else {
                #expect(throws: MalformedMessage.badField(.outcome)) { try Decoder.answer.encoded(bytes) }
            }
        }
    }

    @Test func `A reply's payload at the limit is taken, one byte more is refused`() throws {
        let half = MessageLimits.resultBytes
        let rest = MessageLimits.replyPayloadBytes - 19 - 8 - half
        let largest = reply(count: 2, results: operations([half, rest]))
        #expect(largest.count == 18 + MessageLimits.replyPayloadBytes)
        #expect(try Decoder.answer.encoded(largest) == largest)
        let tooLarge = reply(count: 2, results: operations([half, rest + 1]))
        #expect(throws: MalformedMessage.overLimit(.reply)) { try Decoder.answer.encoded(tooLarge) }
    }

    @Test func `A status report names at most 64 peers and 256 counters`() throws {
        for peers in UInt8.min...UInt8.max {
            let bytes = reportHeader + [peers] + Array(repeating: 1, count: Int(peers)) + [0, 0]
            if peers <= 64 {
                #expect(try Decoder.answer.reencoded(bytes) == bytes)
            } else {
                #expect(throws: MalformedMessage.overLimit(.peers)) { try Decoder.answer.reencoded(bytes) }
            }
        }
        for count in [255, 256, 257, 0xffff] {
            let counters = [UInt8](repeating: 0, count: 10 * count)
            let bytes = reportHeader + [0] + Canonical.integer(UInt16(count)) + counters
            if count <= 256 {
                #expect(try Decoder.answer.reencoded(bytes) == bytes)
            } else {
                #expect(throws: MalformedMessage.overLimit(.counters)) { try Decoder.answer.reencoded(bytes) }
            }
        }
    }

    @Test func `A number in a status report is a counter or a gauge`() throws {
        for kind in UInt8.min...UInt8.max {
            let bytes = reportHeader + [0, 1, 0, 0] + Canonical.integer(UInt64(7)) + [kind]
            if kind <= 1 {
                #expect(try Decoder.answer.reencoded(bytes) == bytes)
            } else {
                #expect(throws: MalformedMessage.badField(.counters)) { try Decoder.answer.reencoded(bytes) }
            }
        }
    }

    @Test(arguments: [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf8, 0x88, 0x80, 0x80]] as [[UInt8]])
    func `A name that is not UTF-8 is refused`(name: [UInt8]) throws {
        let counter = [UInt8(name.count)] + name + Array(repeating: 0, count: 9)
        let bytes = reportHeader + [0, 1, 0] + counter
        #expect(throws: MalformedMessage.badField(.text)) { try Decoder.answer.reencoded(bytes) }
    }

    @Test(arguments: ["", "é", "e\u{301}", "🐜", String(repeating: "x", count: 255)])
    func `A name comes back byte for byte`(name: String) throws {
        var status = Fixtures.status
        status.counters = [.init(name, .max)]
        let bytes = ReplicaAnswer.status(1, status).encoded
        guard case .status(1, let decoded) = try ReplicaAnswer(decoding: bytes, in: 0..<bytes.count) else {
            Issue.record("not a status report")
            return
        }
        #expect(decoded.counters.map { Array($0.name.utf8) } == [Array(name.utf8)])
        #expect(decoded == status)
    }

    @Test(arguments: ["x", "é", "語", "🐜"])
    func `A name that is too long is cut between characters`(character: Character) throws {
        var status = Fixtures.status
        for length in 253...256 {
            status.protocolName = String(repeating: "x", count: length) + String(repeating: character, count: 3)
            let bytes = ReplicaAnswer.status(1, status).encoded
            guard case .status(_, let decoded) = try ReplicaAnswer(decoding: bytes, in: 0..<bytes.count) else {
                Issue.record("not a status report")
                return
            }
            #expect(status.protocolName.hasPrefix(decoded.protocolName))
            #expect((252...255).contains(decoded.protocolName.utf8.count))
        }
    }
}

struct ByteReaderTests {
    @Test func `Integers are little-endian`() throws {
        var reader = ByteReader([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
        #expect(try reader.readUInt8() == 1)
        #expect(try reader.readUInt16() == 0x0302)
        #expect(try reader.readUInt32() == 0x0706_0504)
        #expect(try reader.readUInt64() == 0x0f0e_0d0c_0b0a_0908)
        try reader.finish()
        var written: [UInt8] = []
        written.append(littleEndian: UInt16(0x0201))
        written.append(littleEndian: UInt32(0x0605_0403))
        written.append(littleEndian: UInt64(0x0e0d_0c0b_0a09_0807))
        #expect(written == Array(1...14))
    }

    @Test func `No read goes past the end of the range`() {
        let bytes = [UInt8](repeating: 1, count: 200)
        let reads: [(Int, (inout ByteReader) throws(MalformedMessage) -> Void)] = [
            (1, { reader throws(MalformedMessage) in _ = try reader.readUInt8() }),
            (2, { reader throws(MalformedMessage) in _ = try reader.readUInt16() }),
            (4, { reader throws(MalformedMessage) in _ = try reader.readUInt32() }),
            (8, { reader throws(MalformedMessage) in _ = try reader.readUInt64() }),
            (32, { reader throws(MalformedMessage) in _ = try reader.readDigest() }),
            (64, { reader throws(MalformedMessage) in _ = try reader.readSignature() }),
            (9, { reader throws(MalformedMessage) in try reader.skip(9) }),
        ]
        for (width, read) in reads {
            for available in 0...width {
                var reader = ByteReader(bytes, in: 3..<3 + available)
                if available == width {
                    #expect(throws: Never.self) { try read(&reader) }
                    #expect(reader.remaining == 0)
                    #expect(reader.position == 3 + width)
                } else {
                    #expect(throws: MalformedMessage.truncated) { try read(&reader) }
                }
            }
        }
    }

    @Test func `A byte string's bound is checked before its length`() throws {
        var bytes: [UInt8] = []
        bytes.append(lengthPrefixed: [7, 8, 9])
        for (limit, range) in [(3, 0..<7), (100, 0..<7)] {
            var reader = ByteReader(bytes, in: range)
            #expect(try reader.readBytes(limit: limit, .text) == [7, 8, 9])
        }
        var short = ByteReader(bytes, in: 0..<6)
        #expect(throws: MalformedMessage.truncated) { try short.readRange(limit: 3, .text) }
        var bounded = ByteReader(bytes)
        #expect(throws: MalformedMessage.overLimit(.text)) { try bounded.readRange(limit: 2, .text) }
        var huge = ByteReader([0xff, 0xff, 0xff, 0xff])
        #expect(throws: MalformedMessage.overLimit(.text)) { try huge.readBytes(limit: 1 << 20, .text) }
        var backwards = ByteReader(bytes)
        #expect(throws: MalformedMessage.truncated) { try backwards.skip(-1) }
    }

    @Test func `A range is clamped to the bytes`() {
        for range in [-5..<3, 0..<100, 50..<60, -9 ..< -3] {
            let reader = ByteReader([1, 2, 3], in: range)
            #expect(reader.remaining <= 3)
            #expect((0...3).contains(reader.position))
        }
    }
}
