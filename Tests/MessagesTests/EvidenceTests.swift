import Messages
import Testing

@testable import Cryptography

/// What proves misbehaviour to a third party, and what does not.
struct EvidenceTests {
    private let fixtures: Fixtures

    init() throws { fixtures = try Fixtures() }

    /// What a verifier with the cluster file finds.
    private enum Finding: Equatable {
        case flaw(Evidence.Flaw)
        case standing(Evidence.Standing)
    }

    private func finding(_ evidence: Evidence) -> Finding {
        let flaw = evidence.flaw(in: fixtures.cluster) { replica in
            replica.index < Fixtures.size ? fixtures.replicas[replica.index].publicKey : nil
        }
        if let flaw { return .flaw(flaw) }
        do throws(Evidence.Flaw) {
            return .standing(
                try evidence.standing { client in
                    client == ClientID(7) ? fixtures.client.publicKey : nil
                }
            )
        } catch {
            return .flaw(error)
        }
    }

    private func endorsement(of request: Request, by replica: UInt8 = 2, signer: UInt8? = nil) -> Forward.Endorsement {
        Forward.Endorsement(
            of: request,
            by: ReplicaID(replica),
            in: View(5),
            cluster: fixtures.cluster,
            signer: fixtures.replicas[Int(signer ?? replica)]
        )
    }

    private func request(
        epoch: UInt32 = 0,
        number: UInt64 = 1,
        session: SessionID = Fixtures.session,
        _ operation: [UInt8] = Fixtures.put,
        by signer: SigningKey,
        cluster: ClusterID? = nil
    ) -> Request {
        Request(
            client: ClientID(7),
            keyEpoch: KeyEpoch(epoch),
            session: session,
            number: RequestNumber(number),
            operations: [operation],
            authenticator: .signature(signer, cluster: cluster ?? fixtures.cluster)
        )
    }

    // MARK: Against a replica

    @Test func `a forward of what its client has not signed is proven against the forwarder`() {
        let evidence = fixtures.badForward
        #expect(evidence.accused == .replica(2) && evidence.forwarder == ReplicaID(2))
        #expect(finding(evidence) == .standing(.proven))
    }

    @Test func `a correct forwarder cannot be framed`() throws {
        let good = fixtures.request()
        let bad = request(by: fixtures.otherClient)
        let key = fixtures.client.publicKey
        // It has forwarded what was good, so all that others have is its signature of that.
        let word = endorsement(of: good)
        #expect(finding(Evidence(.badForward(good, word), clientKey: key)) == .flaw(.goodRequest))
        #expect(finding(Evidence(.badForward(bad, word), clientKey: key)) == .flaw(.notEndorsed))
        let forged = endorsement(of: bad, signer: 1)
        #expect(finding(Evidence(.badForward(bad, forged), clientKey: key)) == .flaw(.notEndorsed))
        // Another key makes every signature wrong, but the cluster file has the right one.
        let otherKey = fixtures.otherClient.publicKey
        #expect(finding(Evidence(.badForward(good, word), clientKey: otherKey)) == .flaw(.otherKey))
        // The signature of one request under the same name, with other bytes after it.
        var bytes = good.bytes
        bytes[bytes.count - 1] ^= 1
        let spoiled = try Request(decoding: bytes, in: 0..<bytes.count)
        #expect(spoiled.digest == good.digest)
        #expect(finding(Evidence(.badForward(spoiled, word), clientKey: key)) == .flaw(.notEndorsed))
        // A vector of MACs says nothing to anybody else.
        let macs = fixtures.request(authenticator: try fixtures.macs())
        #expect(finding(Evidence(.badForward(macs, endorsement(of: macs)), clientKey: key)) == .flaw(.unsigned))
        let stranger = Evidence(.badForward(bad, endorsement(of: bad, by: 5, signer: 1)), clientKey: key)
        #expect(finding(stranger) == .flaw(.noMember))
    }

    @Test func `evidence of a later key epoch says that it rests on the key in it`() {
        let later = request(epoch: 1, by: fixtures.client)
        let evidence = Evidence(.badForward(later, endorsement(of: later)), clientKey: fixtures.otherClient.publicKey)
        #expect(finding(evidence) == .standing(.restsOnKey(ClientID(7), KeyEpoch(1))))
    }

    // MARK: Against a client

    @Test func `two signed requests of one number are proven against their client`() {
        #expect(fixtures.conflict.accused == .client(7) && fixtures.conflict.forwarder == nil)
        #expect(finding(fixtures.conflict) == .standing(.proven))
    }

    @Test func `a client cannot be framed by replicas, whatever it has signed once`() throws {
        let (client, key) = (fixtures.client, fixtures.client.publicKey)
        let first = request(by: client)
        let foreign = try #require(ClusterID(Array(repeating: 9, count: 32)))
        let others: [(Request, Evidence.Flaw)] = [
            (first, .noConflict),
            (request(number: 2, Fixtures.get, by: client), .noConflict),
            (request(epoch: 1, Fixtures.get, by: client), .noConflict),
            (request(session: SessionID(1), Fixtures.get, by: client), .noConflict),
            (fixtures.request(operations: [Fixtures.get], authenticator: try fixtures.macs()), .noConflict),
            (request(Fixtures.get, by: fixtures.otherClient), .notSigned),
            (request(Fixtures.get, by: fixtures.replicas[0]), .notSigned),
            (request(Fixtures.get, by: client, cluster: foreign), .notSigned),
        ]
        for (second, flaw) in others {
            #expect(finding(Evidence(.conflictingRequests(first, second), clientKey: key)) == .flaw(flaw))
            #expect(finding(Evidence(.conflictingRequests(second, first), clientKey: key)) == .flaw(flaw))
        }
        let forger = fixtures.replicas[0]
        let made = (request(by: forger), request(Fixtures.get, by: forger))
        let forgery = Evidence(.conflictingRequests(made.0, made.1), clientKey: forger.publicKey)
        #expect(finding(forgery) == .flaw(.otherKey))
        let opening = (fixtures.request(number: 0, operations: []), request(by: client))
        #expect(!opening.0.contradicts(opening.0) && !opening.0.contradicts(opening.1))
    }

    // MARK: Files

    @Test func `evidence is the same after its encoding, and each changed byte is noticed`() throws {
        for evidence in [fixtures.badForward, fixtures.conflict] {
            let bytes = evidence.encoded
            #expect(try Evidence(decoding: bytes).encoded == bytes)
            for end in 0..<bytes.count {
                #expect(throws: MalformedMessage.self) { try Evidence(decoding: Array(bytes[..<end])) }
            }
            #expect(throws: MalformedMessage.trailingBytes) { try Evidence(decoding: bytes + [0]) }
            for index in bytes.indices {
                var changed = bytes
                changed[index] ^= 0x41
                guard let read = try? Evidence(decoding: changed) else { continue }
                #expect(finding(read) != .standing(.proven), "byte \(index)")
            }
        }
    }

    @Test func `evidence over its bound is refused before memory is taken`() {
        var bytes = Array(fixtures.conflict.encoded.prefix(8 + 2 + 1 + 32))
        bytes.append(littleEndian: UInt32(MessageLimits.requestBytes + 1))
        #expect(throws: MalformedMessage.overLimit(.request)) { try Evidence(decoding: bytes) }
        let long = Array(repeating: UInt8(0), count: Evidence.mostBytes + 1)
        #expect(throws: MalformedMessage.overLimit(.request)) { try Evidence(decoding: long) }
    }
}
