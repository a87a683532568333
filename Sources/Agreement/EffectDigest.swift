import Cryptography
import Messages

/// A running digest of all effects of a replica: two runs with the same digest asked for the same things in the same order.
struct EffectDigest {
    private(set) var value = Digest.zero

    /// The part of the digest that a recording holds.
    var prefix: UInt64 { value.prefix }

    /// Adds the effects of one input. Where there are none, nothing changes.
    mutating func add(_ effects: ArraySlice<Effect>) {
        guard !effects.isEmpty else { return }
        var bytes = value.bytes
        for effect in effects { Self.append(effect, to: &bytes) }
        value = Digest.of(bytes)
    }

    private static func append(_ effect: Effect, to bytes: inout [UInt8]) {
        switch effect {
        case .persist(let record, let position):
            bytes.append(1)
            bytes.append(littleEndian: position.rawValue)
            append(record, to: &bytes)
        case .send(let message, let recipient, let position):
            bytes.append(2)
            if case .replica(let peer) = recipient { bytes.append(peer.rawValue) } else { bytes.append(.max) }
            bytes.append(littleEndian: position.rawValue)
            append(message, to: &bytes)
        case .reply(let replies, let position):
            bytes.append(3)
            bytes.append(littleEndian: position.rawValue)
            for addressed in replies {
                bytes.append(littleEndian: addressed.client.rawValue)
                bytes.append(lengthPrefixed: addressed.reply.encoded)
            }
        case .checkRequest(let check, let source):
            bytes.append(4)
            if case .forwarded(let peer) = source { bytes.append(peer.rawValue) } else { bytes.append(.max) }
            append(check, to: &bytes)
        case .checkBatch(let place, let checks):
            bytes.append(5)
            append(place.view, place.sequence, place.digest, to: &bytes)
            bytes.append(littleEndian: place.executed.rawValue)
            for check in checks { append(check, to: &bytes) }
        case .checkCheckpoint(let checkpoint):
            bytes.append(6)
            bytes.append(contentsOf: checkpoint.claim.encoded)
        case .checkViewChange(let viewChange, let peer):
            bytes.append(7)
            bytes.append(peer.rawValue)
            bytes.append(contentsOf: viewChange.claim.encoded)
        case .checkNewView(let newView, let peer):
            bytes.append(8)
            bytes.append(peer.rawValue)
            bytes.append(contentsOf: newView.claim.encoded)
        case .checkCertificate(let certificate):
            bytes.append(18)
            bytes.append(contentsOf: certificate.claim.encoded)
        default:
            appendLocal(effect, to: &bytes)
        }
    }

    private static func append(_ check: RequestCheck, to bytes: inout [UInt8]) {
        check.request.claim.digest.append(to: &bytes)
        bytes.append(contentsOf: check.key.bytes)
    }

    /// What is between the replica and its own state.
    private static func appendLocal(_ effect: Effect, to bytes: inout [UInt8]) {
        switch effect {
        case .persist, .send, .reply, .checkRequest, .checkBatch, .checkCheckpoint, .checkCertificate,
            .checkViewChange, .checkNewView:
            break
        case .fetchState(let sequence, let root):
            bytes.append(9)
            append(sequence, root, to: &bytes)
        case .execute(let execution):
            bytes.append(10)
            bytes.append(littleEndian: execution.sequence.rawValue)
            bytes.append(littleEndian: execution.time.nanoseconds)
            bytes.append(execution.isTentative ? 1 : 0)
            for request in execution.requests { request.digest.append(to: &bytes) }
        case .confirmExecution(let sequence):
            bytes.append(11)
            bytes.append(littleEndian: sequence.rawValue)
        case .rollBackExecution(let sequence):
            bytes.append(12)
            bytes.append(littleEndian: sequence.rawValue)
        case .query(let read, let client, after: _):
            bytes.append(13)
            bytes.append(littleEndian: client.rawValue)
            bytes.append(contentsOf: read.encoded)
        case .clientsChanged(let clients):
            bytes.append(19)
            for client in clients { bytes.append(littleEndian: client.rawValue) }
        case .record(let records):
            bytes.append(14)
            Input.append(records, to: &bytes)
        case .takeCheckpoint(let sequence):
            bytes.append(15)
            bytes.append(littleEndian: sequence.rawValue)
        case .discardCheckpoints(let sequence, after: _):
            bytes.append(16)
            bytes.append(littleEndian: sequence.rawValue)
        case .keepEvidence(let evidence):
            bytes.append(20)
            bytes.append(lengthPrefixed: evidence.encoded)
        case .note(let event):
            bytes.append(17)
            append(event, to: &bytes)
        }
    }

    /// A message with a batch is named by the batch's digest, which is there already.
    private static func append(_ message: PeerMessage, to bytes: inout [UInt8]) {
        if case .prePrepare(let prePrepare) = message {
            append(prePrepare, to: &bytes)
        } else {
            bytes.append(lengthPrefixed: message.encoded)
        }
    }

    private static func append(_ prePrepare: PrePrepare, to bytes: inout [UInt8]) {
        append(prePrepare.view, prePrepare.sequence, prePrepare.batch.digest, to: &bytes)
    }

    private static func append(_ record: LogRecord, to bytes: inout [UInt8]) {
        if case .prePrepared(let prePrepare) = record {
            append(prePrepare, to: &bytes)
        } else {
            bytes.append(contentsOf: record.encoded)
        }
    }

    private static func append(
        _ view: View,
        _ sequence: SequenceNumber,
        _ digest: Digest,
        to bytes: inout [UInt8]
    ) {
        bytes.append(littleEndian: view.rawValue)
        append(sequence, digest, to: &bytes)
    }

    private static func append(_ sequence: SequenceNumber, _ digest: Digest, to bytes: inout [UInt8]) {
        bytes.append(littleEndian: sequence.rawValue)
        digest.append(to: &bytes)
    }

    private static func append(_ event: Event, to bytes: inout [UInt8]) {
        func add(_ kind: UInt8, _ numbers: UInt64..., name: String = "") {
            bytes.append(kind)
            for number in numbers { bytes.append(littleEndian: number) }
            bytes.append(contentsOf: name.utf8)
        }
        switch event {
        case .dropped(let reason): add(1, name: reason.rawValue)
        case .accused(let peer, let accusation): add(2, UInt64(peer.rawValue), name: accusation.rawValue)
        case .proposed(let sequence, let requests): add(3, sequence.rawValue, UInt64(requests))
        case .rolledBack(let sequence): add(4, sequence.rawValue)
        case .executed(let sequence, let requests, let operations):
            add(5, sequence.rawValue, UInt64(requests), UInt64(operations))
        case .stable(let sequence): add(6, sequence.rawValue)
        case .diverged(let sequence): add(7, sequence.rawValue)
        case .leftView(let view, let reason): add(8, view.rawValue, name: reason.rawValue)
        case .enteredView(let view): add(9, view.rawValue)
        case .fetchesState(let sequence): add(10, sequence.rawValue)
        case .stalled(let sequence): add(11, sequence.rawValue)
        case .learning(let isLearning): add(12, isLearning ? 1 : 0)
        case .blacklisted(.client(let client)): add(13, UInt64(client.rawValue))
        case .blacklisted(.forwarded(let peer)): add(14, UInt64(peer.rawValue))
        }
    }
}
