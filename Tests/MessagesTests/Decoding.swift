import Cryptography
import Messages

/// The three places at which messages arrive.
enum Decoder: String, CaseIterable, Sendable {
    case peer
    case client
    case answer

    /// Decodes, and encodes again from the decoded fields.
    func reencoded(_ bytes: [UInt8], in range: Range<Int>? = nil) throws(MalformedMessage) -> [UInt8] {
        let range = range ?? 0..<bytes.count
        switch self {
        case .peer:
            return Canonical.bytes(try PeerMessage(decoding: bytes, in: range))
        case .client:
            return Canonical.bytes(try ClientMessage(decoding: bytes, in: range))
        case .answer:
            return Canonical.bytes(try ReplicaAnswer(decoding: bytes, in: range))
        }
    }

    /// The same by the messages' own encoders, which may keep the bytes that came in.
    func encoded(_ bytes: [UInt8], in range: Range<Int>? = nil) throws(MalformedMessage) -> [UInt8] {
        let range = range ?? 0..<bytes.count
        switch self {
        case .peer: return try PeerMessage(decoding: bytes, in: range).encoded
        case .client: return try ClientMessage(decoding: bytes, in: range).encoded
        case .answer: return try ReplicaAnswer(decoding: bytes, in: range).encoded
        }
    }
}

/// A second encoder, which uses the public fields only: a field that a decoder reads wrong shows as different bytes.
enum Canonical {
    static func bytes(_ message: PeerMessage) -> [UInt8] {
        switch message {
        case .prePrepare(let message):
            return [0x10] + integer(message.view.rawValue) + integer(message.sequence.rawValue)
                + Self.bytes(message.batch)
        case .digestPrePrepare(let message):
            var bytes = [0x1c] + integer(message.view.rawValue) + integer(message.sequence.rawValue)
            bytes += integer(message.time.nanoseconds) + integer(UInt16(message.references.count))
            for reference in message.references {
                bytes += integer(reference.client.rawValue) + integer(reference.session.rawValue)
                bytes += integer(reference.number.rawValue) + reference.envelope.bytes
            }
            return bytes
        case .requests(let message):
            var bytes = [0x1d] + integer(message.sequence.rawValue) + message.digest.bytes
            bytes += integer(UInt16(message.requests.count))
            for request in message.requests {
                bytes += prefixed(Self.bytes(request))
            }
            return bytes
        case .vote(let vote):
            let type: UInt8 = vote.phase == .prepare ? 0x11 : 0x12
            return [type] + integer(vote.view.rawValue) + integer(vote.sequence.rawValue) + vote.digest.bytes
        case .checkpoint(let message):
            return Self.bytes(message.claim)
        case .forward(let message):
            let request = Self.bytes(message.request.claim)
            guard let word = message.endorsement else { return [0x14] + request }
            return [0x22, word.forwarder.rawValue] + integer(word.view.rawValue) + word.signature.bytes + request
        case .catchUp(let message):
            return [0x15] + integer(message.view.rawValue) + [message.standing.rawValue]
                + integer(message.executed.rawValue) + integer(message.stable.rawValue)
                + integer(message.prepared.rawValue)
        case .viewChange(let message):
            return Self.bytes(message.claim)
        case .newView(let message):
            return Self.bytes(message.claim)
        case .fetch(let message):
            switch message.subject {
            case .batch(let sequence, let digest):
                return [0x18, 0] + integer(sequence.rawValue) + digest.bytes
            case .viewChange(let view, let replica, let digest):
                return [0x18, 1] + integer(view.rawValue) + [replica.rawValue] + digest.bytes
            case .requests(let sequence, let digest, let places):
                return [0x18, 2] + integer(sequence.rawValue) + digest.bytes + integer(UInt16(places.count))
                    + places.flatMap { integer($0) }
            }
        case .batch(let message):
            return [0x19] + integer(message.sequence.rawValue) + Self.bytes(message.batch)
        case .committed(let message):
            return [0x1f] + integer(message.sequence.rawValue) + message.digest.bytes
        case .certificate(let message):
            return [0x1e] + bytes(message.claim.checkpoints)
        case .idle(let message):
            return [0x20] + integer(message.view.rawValue) + integer(message.through.rawValue)
        case .ping(let message):
            return [0x21, message.isAnswer ? 1 : 0] + integer(message.number)
        case .stateRequest(let body):
            return [0x1a] + body
        case .stateAnswer(let body):
            return [0x1b] + body
        }
    }

    static func bytes(_ batch: Batch) -> [UInt8] {
        var bytes = integer(batch.time.nanoseconds) + integer(UInt16(batch.requests.count))
        for request in batch.requests {
            bytes += prefixed(Self.bytes(request))
        }
        return bytes
    }

    static func bytes(_ claim: Checkpoint) -> [UInt8] {
        [0x13, claim.replica.rawValue] + integer(claim.sequence.rawValue) + claim.root.bytes + claim.signature.bytes
    }

    static func bytes(_ certificate: [Checkpoint]) -> [UInt8] {
        certificate.reduce(into: [UInt8(certificate.count)]) { $0 += prefixed(bytes($1)) }
    }

    static func bytes(_ message: ViewChange) -> [UInt8] {
        var bytes = [0x16] + integer(message.view.rawValue) + [message.replica.rawValue]
        bytes += integer(message.stable.rawValue) + Self.bytes(message.certificate)
        for claims in [message.prepared, message.prePrepared] {
            bytes += integer(UInt32(claims.count))
            for claim in claims {
                bytes += integer(claim.sequence.rawValue) + claim.digest.bytes + integer(claim.view.rawValue)
            }
        }
        return bytes + message.signature.bytes
    }

    static func bytes(_ message: NewView) -> [UInt8] {
        var bytes = [0x17] + integer(message.view.rawValue) + [UInt8(message.members.count)]
        for member in message.members {
            bytes += [member.replica.rawValue] + member.digest.bytes
        }
        bytes += integer(message.start.rawValue) + integer(UInt32(message.chosen.count))
        for digest in message.chosen {
            bytes += digest.bytes
        }
        return bytes + message.signature.bytes
    }

    static func bytes(_ message: ClientMessage) -> [UInt8] {
        switch message {
        case .request(let request): Self.bytes(request.claim)
        case .read(let read):
            [0x03] + integer(read.tag) + [read.wantsResult ? 1 : 0] + prefixed(read.operation)
        case .statusQuery(let tag): [0x02] + integer(tag)
        }
    }

    static func bytes(_ message: ReplicaAnswer) -> [UInt8] {
        switch message {
        case .reply(let reply):
            let header = integer(reply.view.rawValue) + integer(reply.sequence.rawValue)
            let flag: UInt8 = reply.isTentative ? 1 : 0
            return switch reply.content {
            case .whole(let payload): [0x81, flag] + header + bytes(payload)
            case .digest(let session, let number, let digest):
                [0x81, flag + 2] + header + integer(session.rawValue) + integer(number.rawValue) + digest.bytes
            }
        case .readReply(let reply):
            let header = [0x83] + integer(reply.tag)
            return switch reply.outcome {
            case .result(let result): header + [0] + prefixed(result)
            case .digest(let digest): header + [1] + digest.bytes
            case .refused: header + [2]
            }
        case .status(let tag, let status):
            var bytes = [0x82] + integer(tag) + [status.replica.rawValue] + text(status.protocolName)
            bytes += integer(status.view.rawValue) + [status.primary.rawValue]
            for mark in [status.executed, status.stable, status.low, status.high] {
                bytes += integer(mark.rawValue)
            }
            bytes += [UInt8(status.connectedPeers.count)] + status.connectedPeers.map(\.rawValue)
            bytes += integer(UInt16(status.counters.count))
            for counter in status.counters {
                bytes += text(counter.name) + integer(counter.value) + [counter.kind.rawValue]
            }
            return bytes
        }
    }

    private static func kind(of request: Request) -> UInt8 {
        switch request.kind {
        case .openSession: 0
        case .ordered: 1
        case .administration: 2
        }
    }

    static func bytes(_ request: Request) -> [UInt8] {
        var bytes = [0x01] + integer(request.client.rawValue) + integer(request.keyEpoch.rawValue)
        bytes += integer(request.session.rawValue) + integer(request.number.rawValue)
        bytes += [kind(of: request), request.replier.rawValue]
        bytes += integer(UInt16(request.operationCount))
        for operation in request.operations {
            bytes += prefixed(operation)
        }
        if let signature = request.signature {
            return bytes + [1] + signature.bytes
        }
        var macs: [UInt8] = []
        var count: UInt8 = 0
        while let mac = request.mac(for: ReplicaID(count)) {
            mac.append(to: &macs)
            count += 1
        }
        return bytes + [2, count] + macs
    }

    static func bytes(_ payload: Reply.Payload) -> [UInt8] {
        let outcome: UInt8 =
            switch payload.outcome {
            case .executed: 0
            case .sessionOpened: 1
            case .sessionOutdated: 2
            case .resultsTooLarge: 3
            case .otherKeyEpoch: 4
            }
        let results = payload.results
        var bytes = integer(payload.session.rawValue) + integer(payload.number.rawValue) + [outcome]
        bytes += integer(UInt16(results.count))
        for result in results {
            bytes += prefixed(result)
        }
        return bytes
    }

    static func integer<Integer: FixedWidthInteger>(_ value: Integer) -> [UInt8] {
        (0..<Integer.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    static func prefixed(_ bytes: [UInt8]) -> [UInt8] {
        integer(UInt32(bytes.count)) + bytes
    }

    private static func text(_ text: String) -> [UInt8] {
        [UInt8(text.utf8.count)] + Array(text.utf8)
    }
}
