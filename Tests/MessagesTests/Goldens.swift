import Foundation
import Messages
import Testing

@testable import Cryptography

/// A message or a derivation with fixed inputs, and the byte strings that belong to it, by name.
struct Golden: Sendable, CustomTestStringConvertible {
    let name: String
    let about: String
    /// Which decoder takes the part `message`; nil when none does.
    let decoder: Decoder?
    let parts: [(name: String, bytes: [UInt8])]

    var testDescription: String { name }

    /// The encoded message of a golden that has a decoder.
    func message() throws -> [UInt8] { try part("message") }

    func part(_ name: String) throws -> [UInt8] {
        try #require(parts.first { $0.name == name }?.bytes, "\(self.name) has no part \(name)")
    }

    // MARK: Files

    /// Rewrites the golden files, and the examples of the article, instead of comparing.
    static let isRewriting = ProcessInfo.processInfo.environment["REWRITE_GOLDEN"] == "1"

    private static let folder = URL(filePath: #filePath).deletingLastPathComponent()

    static let article =
        folder
        .deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Sources/Messages/Messages.docc/WireFormat.md")

    var file: URL { Self.folder.appending(path: "Golden/\(name).hex") }

    static func fileNames() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.appending(path: "Golden").path())
    }

    /// A sentence, then each part: its name, and its bytes in lines of 32.
    var text: String {
        var lines = ["# \(about)"]
        for part in parts {
            lines.append(part.name)
            for start in stride(from: 0, to: part.bytes.count, by: 32) {
                lines.append("    " + Hexadecimal.encode(part.bytes[start..<min(start + 32, part.bytes.count)]))
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    // MARK: The goldens

    static let all: [Golden] = {
        do {
            let fixtures = try Fixtures()
            return try requests(fixtures) + administration(fixtures) + replies(fixtures) + reads() + ordering(fixtures)
                + viewChange(fixtures) + evidence(fixtures)
                + status() + channel(fixtures)
        } catch {
            Issue.record("no goldens: \(error)")
            return []
        }
    }()

    static let messages = all.filter { $0.decoder != nil }

    static func named(_ name: String) throws -> Golden {
        try #require(all.first { $0.name == name })
    }

    private static func requests(_ fixtures: Fixtures) throws -> [Golden] {
        let bundle = [Fixtures.put, [], Fixtures.get]
        let requests = [
            (
                "request-open-session", "Client 7 opens a session; signed.",
                fixtures.request(number: 0, operations: [])
            ),
            ("request-signature", "Client 7's request 1, with one operation; signed.", fixtures.request()),
            (
                "request-mac-vector", "The same request with a vector of MACs, one for each of 4 replicas.",
                fixtures.request(authenticator: try fixtures.macs())
            ),
            (
                "request-bundle", "Client 7's request 2, with three operations, the second of them empty; signed.",
                fixtures.request(number: 2, operations: bundle)
            ),
            ("request-administration", "Administrator 0 adds client 8; signed.", fixtures.administration),
        ]
        return requests.map { name, about, request in
            Golden(
                name: name,
                about: about,
                decoder: .client,
                parts: [
                    ("message", request.bytes),
                    ("digest", request.digest.bytes),
                    ("signed-bytes", SignedBytes.request(request.digest, cluster: fixtures.cluster)),
                    ("envelope-digest", request.envelopeDigest.bytes),
                ].filter { $0.0 != "signed-bytes" || request.scheme == .signature }
            )
        }
    }

    private static func administration(_ fixtures: Fixtures) -> [Golden] {
        let key = fixtures.otherClient.publicKey
        let client = ClientID(8)
        let operations: [(String, AdministrationOperation)] = [
            ("add", .add(nil, key)), ("add-numbered", .add(client, key)), ("replace-key", .replaceKey(client, key)),
            ("remove", .remove(client)), ("list", .list(from: client)),
        ]
        let clients = [
            ClientKey(ClientID(7), fixtures.client.publicKey), ClientKey(client, key, epoch: KeyEpoch(2)),
        ]
        let results: [(String, AdministrationResult)] = [
            ("added", .added(client, .genesis)), ("key-replaced", .keyReplaced(client, KeyEpoch(1))),
            ("removed", .removed(client)), ("exists", .exists(client)), ("unknown", .unknown(client)),
            ("key-in-use", .keyInUse(ClientID(administrator: 0))), ("full", .full), ("malformed", .malformed),
            ("clients", .clients(clients, isComplete: true)),
        ]
        return [
            Golden(
                name: "administration",
                about: "What an administrator can ask for.",
                decoder: nil,
                parts: operations.map { ($0, $1.encoded) }
            ),
            Golden(
                name: "administration-results",
                about: "What became of it.",
                decoder: nil,
                parts: results.map { ($0, $1.encoded) }
            ),
        ]
    }

    private static func replies(_ fixtures: Fixtures) -> [Golden] {
        let later = Canonical.integer(Fixtures.session.rawValue + 1_000_000)
        let replies = [
            ("reply-session-opened", "The session is open.", fixtures.reply(.sessionOpened, number: 0, results: [])),
            (
                "reply-executed", "Request 2 was executed; three results, the second of them empty.",
                fixtures.reply(.executed, number: 2, results: [[2], [], [1, 1, 5, 0, 0, 0] + Array("value".utf8)])
            ),
            (
                "reply-session-outdated", "A later session is open.",
                fixtures.reply(.sessionOutdated, number: 1, results: [later])
            ),
            (
                "reply-other-key-epoch", "The client's key is of epoch 2.",
                fixtures.reply(.otherKeyEpoch, number: 0, results: [[2, 0, 0, 0]])
            ),
            (
                "reply-results-too-large", "Request 1 was executed, its results do not fit.",
                fixtures.reply(.resultsTooLarge, number: 1, results: [])
            ),
            (
                "reply-tentative-digest", "Request 3 was executed tentatively; another replica sends its long result.",
                Reply(
                    view: View(5),
                    sequence: SequenceNumber(300),
                    isTentative: true,
                    content: Reply.Payload(
                        session: Fixtures.session,
                        number: RequestNumber(3),
                        outcome: .executed,
                        results: [[UInt8](repeating: 7, count: 100)]
                    ).summary
                )
            ),
        ]
        return replies.map { name, about, reply in
            Golden(
                name: name,
                about: about,
                decoder: .answer,
                parts: [("message", reply.encoded)] + (reply.payload.map { [("payload", $0.bytes)] } ?? [])
            )
        }
    }

    private static func reads() -> [Golden] {
        let tag: UInt64 = 9
        let result = [1, 1, 5, 0, 0, 0] + Array("value".utf8)
        let answers: [(String, String, ReadReply.Outcome)] = [
            ("read-reply-result", "The whole result of a read.", .result(result)),
            ("read-reply-digest", "The digest of the same result.", .digest(Digest.of(result))),
            ("read-reply-refused", "The read must be ordered.", .refused),
        ]
        let read = ReadRequest(tag: tag, wantsResult: true, operation: Fixtures.get)
        return [
            Golden(
                name: "read",
                about: "A read-only operation, with its whole result wanted.",
                decoder: .client,
                parts: [("message", ClientMessage.read(read).encoded)]
            )
        ]
            + answers.map { name, about, outcome in
                let reply = ReadReply(tag: tag, outcome: outcome)
                return Golden(
                    name: name,
                    about: about,
                    decoder: .answer,
                    parts: [("message", ReplicaAnswer.readReply(reply).encoded)]
                )
            }
    }

    private static func ordering(_ fixtures: Fixtures) throws -> [Golden] {
        let batch = fixtures.batch
        let checkpoint = fixtures.checkpoint()
        let view = View(5)
        let sequence = SequenceNumber(300)
        func golden(
            _ name: String,
            _ about: String,
            _ message: PeerMessage,
            _ parts: [(String, [UInt8])] = []
        ) -> Golden {
            Golden(name: name, about: about, decoder: .peer, parts: [("message", message.encoded)] + parts)
        }
        return [
            golden(
                "pre-prepare",
                "A proposal of two requests of client 7.",
                .prePrepare(PrePrepare(view: view, sequence: sequence, batch: batch)),
                [("batch-digest", batch.digest.bytes)]
            ),
            golden(
                "digest-pre-prepare",
                "The same proposal by the digests of its requests.",
                .digestPrePrepare(DigestPrePrepare(PrePrepare(view: view, sequence: sequence, batch: batch)))
            ),
            golden(
                "prepare",
                "A vote of the first phase.",
                .vote(Vote(.prepare, view: view, sequence: sequence, digest: batch.digest))
            ),
            golden(
                "commit",
                "A vote of the second phase.",
                .vote(Vote(.commit, view: view, sequence: sequence, digest: batch.digest))
            ),
            golden(
                "checkpoint",
                "Replica 2's signed word about its state.",
                .checkpoint(Unverified(checkpoint)),
                [
                    (
                        "signed-bytes",
                        SignedBytes.checkpoint(
                            checkpoint.sequence,
                            root: checkpoint.root,
                            by: checkpoint.replica,
                            cluster: fixtures.cluster
                        )
                    )
                ]
            ),
            golden(
                "forward",
                "A request with a vector of MACs, handed to the primary.",
                .forward(Forward(try fixtures.request(authenticator: fixtures.macs())))
            ),
            golden(
                "signed-forward",
                "A signed request, handed to the primary by replica 2 in view 5.",
                .forward(Forward(fixtures.request(), endorsement: fixtures.endorsement(of: fixtures.request()))),
                [
                    (
                        "signed-bytes",
                        SignedBytes.forward(
                            fixtures.request(),
                            by: ReplicaID(2),
                            in: view,
                            cluster: fixtures.cluster
                        )
                    )
                ]
            ),
            golden(
                "catch-up",
                "A question for what came after 300, of a replica that is in view 5.",
                .catchUp(
                    CatchUp(
                        view: view,
                        standing: .active,
                        executed: sequence,
                        stable: SequenceNumber(256),
                        prepared: SequenceNumber(301)
                    )
                )
            ),
            golden(
                "idle",
                "The primary of view 5 has proposed nothing beyond 300.",
                .idle(Idle(view: view, through: sequence))
            ),
            golden("ping", "A question for an answer.", .ping(Ping(isAnswer: false, number: 300))),
        ]
    }

    private static func evidence(_ fixtures: Fixtures) -> [Golden] {
        [
            Golden(
                name: "evidence-bad-forward",
                about: "Replica 2 has forwarded a request that client 7 has not signed.",
                decoder: nil,
                parts: [("file", fixtures.badForward.encoded)]
            ),
            Golden(
                name: "evidence-conflicting-requests",
                about: "Client 7 has signed two requests numbered 1.",
                decoder: nil,
                parts: [("file", fixtures.conflict.encoded)]
            ),
        ]
    }

    private static func viewChange(_ fixtures: Fixtures) throws -> [Golden] {
        let viewChange = fixtures.viewChange()
        let newView = fixtures.newView()
        let sequence = SequenceNumber(300)
        let digest = fixtures.batch.digest
        func golden(
            _ name: String,
            _ about: String,
            _ message: PeerMessage,
            _ parts: [(String, [UInt8])] = []
        ) -> Golden {
            Golden(name: name, about: about, decoder: .peer, parts: [("message", message.encoded)] + parts)
        }
        return [
            golden(
                "view-change",
                "Replica 3 leaves view 5 and says what it holds.",
                .viewChange(Unverified(viewChange)),
                [
                    ("signed-bytes", viewChange.signedBytes(cluster: fixtures.cluster)),
                    ("digest", viewChange.digest.bytes),
                ]
            ),
            golden(
                "new-view",
                "Replica 2 begins view 6 with one batch and the null batch.",
                .newView(Unverified(newView)),
                [("signed-bytes", newView.signedBytes(cluster: fixtures.cluster))]
            ),
            golden("fetch-batch", "A question for a batch.", .fetch(Fetch(.batch(sequence, digest)))),
            golden(
                "fetch-view-change",
                "A question for a VIEW-CHANGE that NEW-VIEW names.",
                .fetch(Fetch(.viewChange(View(6), ReplicaID(3), viewChange.digest)))
            ),
            golden(
                "fetch-requests",
                "A question for the first and the third request of a batch.",
                .fetch(Fetch(.requests(sequence, digest, [0, 2])))
            ),
            golden(
                "requests",
                "A request in answer to such a question.",
                .requests(
                    BatchRequests(sequence: sequence, digest: digest, requests: [fixtures.batch.requests[0]])
                )
            ),
            golden(
                "batch",
                "The answer to a question for a batch.",
                .batch(BatchBody(sequence: sequence, batch: fixtures.batch))
            ),
            golden("committed", "The batch is committed.", .committed(Committed(sequence, digest))),
            golden(
                "certificate",
                "The certificate of checkpoint 256.",
                .certificate(Unverified(try fixtures.certificate()))
            ),
        ]
    }

    private static func status() -> [Golden] {
        let tag: UInt64 = 0x0102_0304_0506_0708
        return [
            Golden(
                name: "status-query",
                about: "A question for a replica's status.",
                decoder: .client,
                parts: [("message", ClientMessage.statusQuery(tag).encoded)]
            ),
            Golden(
                name: "status-report",
                about: "Replica 2's status.",
                decoder: .answer,
                parts: [("message", ReplicaAnswer.status(tag, Fixtures.status).encoded)]
            ),
        ]
    }

    /// Client 7 connects to the clients' endpoint of replica 2; each end sends one frame.
    private static func channel(_ fixtures: Fixtures) throws -> [Golden] {
        let replicaKey = fixtures.replicas[2]
        let client = LocalIdentity(cluster: fixtures.cluster, identity: .client(7), key: fixtures.client)
        let replica = LocalIdentity(cluster: fixtures.cluster, identity: .replica(2), key: replicaKey)
        let atClient = try #require(
            PairwiseKeyCache(local: client).keys(of: replica.identity, publicKey: replicaKey.publicKey)
        )
        let atReplica = try #require(
            PairwiseKeyCache(local: replica).keys(of: client.identity, publicKey: fixtures.client.publicKey)
        )
        let clientSecret = try #require(EphemeralSecret(Array(repeating: 0x31, count: 32)))
        let replicaSecret = try #require(EphemeralSecret(Array(repeating: 0x32, count: 32)))
        var initiator = HandshakeInitiator(
            local: client,
            peer: replica.identity,
            endpoint: .clients,
            keys: atClient,
            ephemeral: clientSecret
        )
        var responder = HandshakeResponder(
            local: replica,
            endpoint: .clients,
            ephemeral: { replicaSecret },
            admission: { _ in .admitted(atReplica) }
        )
        _ = try responder.receive(Array(initiator.hello[..<10]))
        guard case .send(let accept) = try responder.receive(Array(initiator.hello[10...])) else { return [] }
        _ = try initiator.receive([accept[0]])
        guard case .established(let clientKeys, let finish) = try initiator.receive(Array(accept[1...])),
            case .established(let replicaKeys, _) = try responder.receive(finish)
        else { return [] }
        let shared = try #require(clientSecret.agree(with: replicaSecret.publicKey))
        let transcript = Digest.of(initiator.hello + accept)
        func derived(_ label: [UInt8]) -> [UInt8] {
            shared.derive(context: Handshake.labelled(label, transcript)).bytes
        }
        let request = frame(of: [fixtures.request().bytes])
        let answers = frame(of: [
            fixtures.reply(.sessionOpened, number: 0, results: []).encoded,
            fixtures.reply(.resultsTooLarge, number: 1, results: []).encoded,
        ])
        var sealedRequest: [UInt8] = []
        try clientKeys.sealing.seal(request, appendingTo: &sealedRequest)
        var sealedAnswers: [UInt8] = []
        try replicaKeys.sealing.seal(answers, appendingTo: &sealedAnswers)
        #expect(try replicaKeys.opening.open(sealedRequest) == request)
        #expect(try clientKeys.opening.open(sealedAnswers) == answers)
        return [
            Golden(
                name: "identities",
                about: "Public keys of client 7 and replica 2, and the secret that the two share.",
                decoder: nil,
                parts: [
                    ("client", fixtures.client.publicKey.bytes),
                    ("replica", replicaKey.publicKey.bytes),
                    ("pairwise-key", atClient.pairwiseKey.secret.bytes),
                ]
            ),
            Golden(
                name: "handshake",
                about: "Client 7 connects to the clients' endpoint of replica 2.",
                decoder: nil,
                parts: [
                    ("hello", initiator.hello),
                    ("accept", accept),
                    ("finish", finish),
                    ("refused", try #require(responder.refusal(for: .wrongVersion(2)))),
                    ("shared", shared.bytes),
                    ("transcript", transcript.bytes),
                    ("initiator-key", derived(Handshake.initiatorLabel)),
                    ("responder-key", derived(Handshake.responderLabel)),
                ]
            ),
            Golden(
                name: "frames",
                about: "The first frame in each direction after that handshake.",
                decoder: nil,
                parts: [
                    ("request-plaintext", request), ("request", sealedRequest),
                    ("replies-plaintext", answers), ("replies", sealedAnswers),
                ]
            ),
        ]
    }

    private static func frame(of messages: [[UInt8]]) -> [UInt8] {
        var plaintext: [UInt8] = []
        for message in messages {
            plaintext.append(lengthPrefixed: message)
        }
        return plaintext
    }
}

extension SecretBytes {
    /// The secret itself, of fixed test keys only.
    var bytes: [UInt8] {
        unsafe withBytes { pointer in (0..<count).map { unsafe pointer[$0] } }
    }
}
