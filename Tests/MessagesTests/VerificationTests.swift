import Cryptography
import Messages
import Testing

struct RequestVerificationTests {
    private let fixtures: Fixtures

    init() throws {
        fixtures = try Fixtures()
    }

    private func verifier(
        replica: UInt8 = 0,
        cluster: ClusterID? = nil
    ) -> RequestVerifier {
        RequestVerifier(
            cluster: cluster ?? fixtures.cluster,
            replica: ReplicaID(replica),
            key: fixtures.replicas[Int(replica)]
        )
    }

    /// Whether a verifier takes a request, under its client's key unless told otherwise.
    private func accepts(_ verifier: RequestVerifier, _ request: Request, under key: PublicKey? = nil) -> Bool {
        let own = request.client == ClientID(8) ? fixtures.otherClient : fixtures.client
        let check = RequestCheck(Unverified(request), under: key ?? own.publicKey)
        return verifier.verify(check)?.value.envelopeDigest == request.envelopeDigest
    }

    private func otherCluster() throws -> ClusterID {
        try #require(ClusterID(Array(1...32)))
    }

    @Test func `Every replica accepts the client's signature and its own MAC`() throws {
        for replica in UInt8(0)..<4 {
            let verifier = verifier(replica: replica)
            #expect(accepts(verifier, fixtures.request()))
            #expect(accepts(verifier, fixtures.request(number: 0, operations: [])))
            #expect(accepts(verifier, fixtures.request(number: 9, operations: [[], [1], [2, 3]])))
            #expect((verifier.signaturesChecked, verifier.macsChecked) == (3, 0))
            #expect(accepts(verifier, fixtures.request(authenticator: try fixtures.macs())))
            #expect((verifier.signaturesChecked, verifier.macsChecked) == (3, 1))
        }
    }

    @Test func `The wrong signer is refused`() throws {
        let forged = fixtures.request(authenticator: .signature(fixtures.otherClient, cluster: fixtures.cluster))
        #expect(!accepts(verifier(), forged))
        let byReplica = fixtures.request(authenticator: .signature(fixtures.replicas[1], cluster: fixtures.cluster))
        #expect(!accepts(verifier(), byReplica))
        let forgedVector = fixtures.request(authenticator: try fixtures.macs(of: fixtures.otherClient))
        #expect(!accepts(verifier(), forgedVector))
    }

    @Test func `A request for another cluster is refused`() throws {
        let other = try otherCluster()
        #expect(!accepts(verifier(), fixtures.request(authenticator: .signature(fixtures.client, cluster: other))))
        #expect(!accepts(verifier(), fixtures.request(authenticator: try fixtures.macs(cluster: other))))
        #expect(!accepts(verifier(cluster: other), fixtures.request()))
        #expect(!accepts(verifier(cluster: other), fixtures.request(authenticator: try fixtures.macs())))
    }

    @Test func `A client's next key does not take what the one before has authenticated, nor the other way round`()
        throws
    {
        let verifier = verifier()
        for authenticator in [nil, try fixtures.macs()] {
            let request = fixtures.request(authenticator: authenticator)
            #expect(accepts(verifier, request))
            #expect(!accepts(verifier, request, under: fixtures.otherClient.publicKey))
            #expect(accepts(verifier, request))
        }
        let next = fixtures.request(authenticator: try fixtures.macs(of: fixtures.otherClient))
        #expect(accepts(verifier, next, under: fixtures.otherClient.publicKey))
        #expect(!accepts(verifier, next))
    }

    @Test func `A client whose key is no point of the curve is refused`() throws {
        for byte in [UInt8(0), 2, 0xff] {
            let key = try #require(PublicKey(Array(repeating: byte, count: 32)))
            let verifier = verifier()
            #expect(!accepts(verifier, fixtures.request(), under: key))
            #expect(!accepts(verifier, fixtures.request(authenticator: try fixtures.macs()), under: key))
        }
    }

    @Test func `One client's signature is not good for another's request`() throws {
        // Client 8 takes what client 7 signed and puts its own number there.
        var bytes = fixtures.request().bytes
        bytes[1] = 8
        let stolen = try Request(decoding: bytes, in: 0..<bytes.count)
        #expect(stolen.client == ClientID(8))
        #expect(!accepts(verifier(), stolen))
        var vector = fixtures.request(authenticator: try fixtures.macs()).bytes
        vector[1] = 8
        #expect(!accepts(verifier(), try Request(decoding: vector, in: 0..<vector.count)))
    }

    @Test func `Every changed bit of a signed request is refused`() {
        let bytes = fixtures.request(operations: [[1], [2]]).bytes
        let verifier = verifier()
        forEveryBit(of: bytes) { changed, _ in
            guard let request = try? Request(decoding: changed, in: 0..<changed.count) else { return }
            #expect(!accepts(verifier, request))
        }
        #expect(verifier.signaturesChecked > 500)
    }

    @Test func `Every changed bit of a request with MACs is refused, but for the other replicas' entries`() throws {
        let bytes = fixtures.request(authenticator: try fixtures.macs()).bytes
        let verifier = verifier(replica: 2)
        let macs = bytes.count - 4 * MAC.byteCount
        let others = Set(macs..<macs + 2 * MAC.byteCount).union(macs + 3 * MAC.byteCount..<bytes.count)
        forEveryBit(of: bytes) { changed, index in
            guard let request = try? Request(decoding: changed, in: 0..<changed.count) else { return }
            #expect(accepts(verifier, request) == others.contains(index))
        }
    }

    @Test func `A MAC that is wrong for one replica only is refused by that replica only`() throws {
        var bytes = fixtures.request(authenticator: try fixtures.macs()).bytes
        bytes[bytes.count - 2 * MAC.byteCount] ^= 1
        let request = try Request(decoding: bytes, in: 0..<bytes.count)
        #expect((0..<4).map { accepts(verifier(replica: $0), request) } == [true, true, false, true])
    }

    @Test func `A vector without an entry for the replica is refused`() throws {
        let request = fixtures.request(authenticator: try fixtures.macs())
        let fifth = RequestVerifier(
            cluster: fixtures.cluster,
            replica: ReplicaID(4),
            key: fixtures.replicas[0]
        )
        #expect(!accepts(fifth, request))
        #expect(fifth.macsChecked == 0)
    }
}

struct CheckpointVerificationTests {
    private let fixtures: Fixtures

    init() throws {
        fixtures = try Fixtures()
    }

    private func accepts(_ checkpoint: Checkpoint, by replica: Int = 2, cluster: ClusterID? = nil) -> Bool {
        let unverified = Unverified(checkpoint)
        let key = fixtures.replicas[replica].publicKey
        return unverified.verified(by: key, cluster: cluster ?? fixtures.cluster)?.value == checkpoint
    }

    @Test func `The signature of the replica that it names is good, no other`() throws {
        let checkpoint = fixtures.checkpoint()
        #expect((0..<4).map { accepts(checkpoint, by: $0) } == [false, false, true, false])
        let other = try #require(ClusterID(Array(1...32)))
        #expect(!accepts(checkpoint, cluster: other))
    }

    @Test func `Every changed bit of a checkpoint is refused`() {
        forEveryBit(of: fixtures.checkpoint().encoded) { changed, _ in
            if case .checkpoint(let message) = try? PeerMessage(decoding: changed, in: 0..<changed.count) {
                #expect(!accepts(message.claim))
            }
        }
    }

    @Test func `A request's signature and a checkpoint's are not interchangeable`() throws {
        let digest = Digest.of([1])
        let request = SignedBytes.request(digest, cluster: fixtures.cluster)
        let checkpoint = SignedBytes.checkpoint(.zero, root: digest, by: ReplicaID(0), cluster: fixtures.cluster)
        #expect(request.starts(with: Array("aardvark request".utf8)))
        #expect(checkpoint.starts(with: Array("aardvark checkpoint".utf8)))
        let signature = fixtures.client.sign(request)
        #expect(fixtures.client.publicKey.isValid(signature, for: request))
        #expect(!fixtures.client.publicKey.isValid(signature, for: checkpoint))
    }
}

struct ViewChangeVerificationTests {
    private let fixtures: Fixtures
    private let size: ClusterSize

    init() throws {
        fixtures = try Fixtures()
        size = try #require(ClusterSize(replicas: Fixtures.size))
    }

    private func key(of replica: ReplicaID) -> PublicKey? {
        replica.index < fixtures.replicas.count ? fixtures.replicas[replica.index].publicKey : nil
    }

    private func accepts(_ message: ViewChange, cluster: ClusterID? = nil) -> Bool {
        Unverified(message).verified(size: size, cluster: cluster ?? fixtures.cluster, publicKey: key)?.value == message
    }

    private func accepts(_ message: NewView, by replica: Int = 2, cluster: ClusterID? = nil) -> Bool {
        let key = fixtures.replicas[replica].publicKey
        return Unverified(message).verified(by: key, cluster: cluster ?? fixtures.cluster)?.value == message
    }

    @Test func `A signed VIEW-CHANGE with a certificate is accepted, in its cluster only`() throws {
        #expect(accepts(fixtures.viewChange()))
        let other = try #require(ClusterID(Array(1...32)))
        #expect(!accepts(fixtures.viewChange(), cluster: other))
    }

    @Test func `Every changed byte of a VIEW-CHANGE is refused`() {
        let bytes = fixtures.viewChange().encoded
        for index in bytes.indices {
            var changed = bytes
            changed[index] ^= 1 << (index % 8)
            if case .viewChange(let message) = try? PeerMessage(decoding: changed, in: 0..<changed.count) {
                #expect(!accepts(message.claim), "byte \(index)")
            }
        }
    }

    private func accepts(_ message: CheckpointCertificate, cluster: ClusterID? = nil) -> Bool {
        Unverified(message).verified(size: size, cluster: cluster ?? fixtures.cluster, publicKey: key)?.value == message
    }

    @Test func `A certificate by itself is accepted in its cluster only`() throws {
        let certificate = try fixtures.certificate()
        #expect(accepts(certificate))
        let other = try #require(ClusterID(Array(1...32)))
        #expect(!accepts(certificate, cluster: other))
        #expect(CheckpointCertificate([]) == nil)
    }

    @Test func `A certificate is 2f + 1 different replicas' word for one root at the stable checkpoint`() throws {
        let good = [fixtures.checkpoint(256, by: 0), fixtures.checkpoint(256, by: 1), fixtures.checkpoint(256, by: 2)]
        let otherRoot = Checkpoint(
            SequenceNumber(256),
            root: Digest.of([1]),
            by: ReplicaID(2),
            cluster: fixtures.cluster,
            signer: fixtures.replicas[2]
        )
        let otherSigner = Checkpoint(
            SequenceNumber(256),
            root: good[0].root,
            by: ReplicaID(2),
            cluster: fixtures.cluster,
            signer: fixtures.replicas[3]
        )
        #expect(accepts(fixtures.viewChange(certificate: good)))
        #expect(accepts(fixtures.viewChange(certificate: good + [fixtures.checkpoint(256, by: 3)])))
        for bad in [
            [], Array(good.dropLast()), [good[0], good[1], good[1]], good + [good[0]],
            [good[0], good[1], fixtures.checkpoint(257, by: 2)], [good[0], good[1], otherRoot],
            [good[0], good[1], otherSigner],
        ] {
            #expect(!accepts(fixtures.viewChange(certificate: bad)))
            if !bad.isEmpty { #expect(!accepts(try fixtures.certificate(bad))) }
        }
        let another = [
            fixtures.checkpoint(384, by: 0), fixtures.checkpoint(384, by: 1), fixtures.checkpoint(384, by: 2),
        ]
        #expect(!accepts(fixtures.viewChange(certificate: another)))
    }

    @Test func `The initial state has no certificate`() {
        func viewChange(certificate: [Checkpoint]) -> ViewChange {
            ViewChange(
                view: View(1),
                replica: ReplicaID(0),
                stable: .zero,
                certificate: certificate,
                prepared: [],
                prePrepared: [],
                cluster: fixtures.cluster,
                signer: fixtures.replicas[0]
            )
        }
        #expect(accepts(viewChange(certificate: [])))
        #expect(!accepts(viewChange(certificate: (0..<3).map { fixtures.checkpoint(0, by: $0) })))
    }

    @Test func `A NEW-VIEW is good by the key of its primary only, in its cluster only`() throws {
        #expect((0..<4).map { accepts(fixtures.newView(), by: $0) } == [false, false, true, false])
        let other = try #require(ClusterID(Array(1...32)))
        #expect(!accepts(fixtures.newView(), cluster: other))
    }

    @Test func `Every changed bit of a NEW-VIEW is refused`() {
        forEveryBit(of: fixtures.newView().encoded) { changed, _ in
            if case .newView(let message) = try? PeerMessage(decoding: changed, in: 0..<changed.count) {
                #expect(!accepts(message.claim))
            }
        }
    }
}

/// Calls `body` with a copy for every bit, in which that bit is changed, and with the index of its byte.
private func forEveryBit(of bytes: [UInt8], _ body: ([UInt8], Int) -> Void) {
    for index in bytes.indices {
        for bit in 0..<8 {
            var changed = bytes
            changed[index] ^= 1 << bit
            body(changed, index)
        }
    }
}
