import Cryptography
import Foundation
import Messages
import Testing

struct GoldenTests {
    @Test(arguments: Golden.all)
    func `The bytes are those of the golden file`(golden: Golden) throws {
        if Golden.isRewriting {
            try golden.text.write(to: golden.file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: golden.file, encoding: .utf8) == golden.text)
    }

    @Test func `Every golden file belongs to a golden`() throws {
        let known = Set(Golden.all.map(\.file.lastPathComponent))
        #expect(known.count == 43)
        #expect(try known.isSuperset(of: Golden.fileNames()))
    }

    @Test(arguments: Golden.messages)
    func `A golden message decodes and encodes to itself, and arrives at one place only`(golden: Golden) throws {
        let bytes = try golden.message()
        for decoder in Decoder.allCases {
            if decoder == golden.decoder {
                #expect(try decoder.reencoded(bytes) == bytes)
                #expect(try decoder.encoded(bytes) == bytes)
            } else {
                #expect(throws: MalformedMessage.unknownType(bytes[0])) { try decoder.reencoded(bytes) }
            }
        }
    }

    @Test(arguments: Golden.messages)
    func `A message in the middle of a buffer decodes like one alone`(golden: Golden) throws {
        let bytes = try golden.message()
        let decoder = try #require(golden.decoder)
        for (before, after) in [(1, 0), (0, 1), (3, 5), (4096, 4096)] {
            let buffer = Array(repeating: 0xaa, count: before) + bytes + Array(repeating: 0xbb, count: after)
            let range = before..<before + bytes.count
            #expect(try decoder.reencoded(buffer, in: range) == bytes)
            #expect(try decoder.encoded(buffer, in: range) == bytes)
        }
    }

    @Test func `Digests of a request do not depend on where it stood`() throws {
        for name in ["request-signature", "request-mac-vector", "request-open-session", "request-bundle"] {
            let golden = try Golden.named(name)
            let bytes = try golden.message()
            let request = try Request(decoding: [9, 9] + bytes + [9], in: 2..<2 + bytes.count)
            #expect(request.bytes == bytes)
            #expect(try request.digest.bytes == golden.part("digest"))
            #expect(try request.envelopeDigest.bytes == golden.part("envelope-digest"))
        }
    }

    @Test func `A request's fields come back`() throws {
        let golden = try Golden.named("request-bundle")
        let bytes = try golden.message()
        let request = try Request(decoding: bytes, in: 0..<bytes.count)
        #expect(request.client == ClientID(7))
        #expect(request.session == Fixtures.session)
        #expect(request.number == RequestNumber(2))
        #expect(request.kind == .ordered)
        #expect(request.operations == [Fixtures.put, [], Fixtures.get])
        #expect(request.operationCount == 3)
        #expect(request.scheme == .signature)
        #expect(request.signature != nil)
        #expect(request.mac(for: ReplicaID(0)) == nil)
    }

    @Test func `The authentication is no part of a request's digest but of its envelope's`() throws {
        let signed = try Golden.named("request-signature")
        let maced = try Golden.named("request-mac-vector")
        #expect(try signed.part("digest") == maced.part("digest"))
        #expect(try signed.part("envelope-digest") != maced.part("envelope-digest"))
    }

    @Test func `A batch's digest names its time, its requests, their order and their authentication`() throws {
        let fixtures = try Fixtures()
        let batch = fixtures.batch
        let time = Timestamp(nanoseconds: batch.time.nanoseconds + 1)
        let maced = fixtures.request(authenticator: try fixtures.macs())
        let others = [
            Batch(time: time, requests: batch.requests),
            Batch(time: batch.time, requests: batch.requests.reversed()),
            Batch(time: batch.time, requests: [batch.requests[0]]),
            Batch(time: batch.time, requests: [maced, batch.requests[1]]),
        ]
        #expect(Set(others.map(\.digest) + [batch.digest]).count == 5)
        let message = try Golden.named("pre-prepare").message()
        guard case .prePrepare(let decoded) = try PeerMessage(decoding: message, in: 0..<message.count) else {
            Issue.record("not a PRE-PREPARE")
            return
        }
        #expect(decoded.batch.digest == batch.digest)
        #expect(decoded.batch.encodedByteCount == message.count - 17)
    }

    @Test func `Replies with one payload and different places are equal where it counts`() throws {
        let fixtures = try Fixtures()
        let first = fixtures.reply(.executed, number: 1, results: [[1]])
        let second = Reply(view: View(6), sequence: SequenceNumber(301), content: first.content)
        let bytes = second.encoded
        guard case .reply(let decoded) = try ReplicaAnswer(decoding: bytes, in: 0..<bytes.count) else {
            Issue.record("not a REPLY")
            return
        }
        #expect(decoded.payload == first.payload)
        #expect(decoded.view == View(6))
        #expect(decoded.sequence == SequenceNumber(301))
        #expect(fixtures.reply(.executed, number: 1, results: [[2]]).payload != first.payload)
        #expect(fixtures.reply(.executed, number: 2, results: [[1]]).payload != first.payload)
    }
}
