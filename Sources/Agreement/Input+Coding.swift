import Cryptography
import Messages

/// The encoding of an input in a recording: a kind (u8), the fields in the order of the case, and last whatever fills the rest, which is
/// a message as on the wire where there is one. Integers are little-endian.
extension Input {
    private enum Kind: UInt8 {
        case message = 1
        case request
        case read
        case peerConnected
        case turnEnded
        case timePassed
        case requestChecked
        case batchChecked
        case checkpointVerified
        case viewChangeVerified
        case newViewVerified
        case executed
        case checkpointTaken
        case stateInstalled
        case certificateVerified
        case startLearning
        case forwardRefused
    }

    /// The most bytes of one result or of one of the entries: the engine cuts off too long results itself.
    private static let mostElementBytes = Recording.mostInputBytes

    // MARK: Encoding

    func append(to bytes: inout [UInt8]) {
        func begin(_ kind: Kind) { bytes.append(kind.rawValue) }
        switch self {
        case .message(let message, let peer):
            begin(.message)
            bytes.append(peer.rawValue)
            bytes.append(contentsOf: message.encoded)
        case .request(let request):
            begin(.request)
            bytes.append(contentsOf: request.claim.bytes)
        case .read(let read, let client):
            begin(.read)
            bytes.append(littleEndian: client.rawValue)
            bytes.append(contentsOf: read.encoded)
        case .peerConnected(let peer):
            begin(.peerConnected)
            bytes.append(peer.rawValue)
        case .turnEnded:
            begin(.turnEnded)
        case .timePassed:
            begin(.timePassed)
        case .requestChecked(let request, let source):
            begin(.requestChecked)
            Self.append(source, to: &bytes)
            bytes.append(request == nil ? 0 : 1)
            if let request { bytes.append(contentsOf: request.value.bytes) }
        case .forwardRefused(let evidence):
            begin(.forwardRefused)
            bytes.append(contentsOf: evidence.encoded)
        case .batchChecked(let place, let isValid):
            begin(.batchChecked)
            bytes.append(littleEndian: place.view.rawValue)
            bytes.append(littleEndian: place.sequence.rawValue)
            place.digest.append(to: &bytes)
            bytes.append(littleEndian: place.executed.rawValue)
            bytes.append(isValid ? 1 : 0)
        case .checkpointVerified(let checkpoint):
            begin(.checkpointVerified)
            bytes.append(contentsOf: checkpoint.value.encoded)
        case .certificateVerified(let certificate):
            begin(.certificateVerified)
            bytes.append(contentsOf: certificate.value.encoded)
        case .startLearning:
            begin(.startLearning)
        case .viewChangeVerified(let viewChange, let peer):
            begin(.viewChangeVerified)
            bytes.append(peer.rawValue)
            bytes.append(contentsOf: viewChange.value.encoded)
        case .newViewVerified(let newView, let peer):
            begin(.newViewVerified)
            bytes.append(peer.rawValue)
            bytes.append(contentsOf: newView.value.encoded)
        case .executed(let sequence, let results):
            begin(.executed)
            bytes.append(littleEndian: sequence.rawValue)
            Self.append(results, to: &bytes)
        case .checkpointTaken(let sequence, let root):
            begin(.checkpointTaken)
            bytes.append(littleEndian: sequence.rawValue)
            root.append(to: &bytes)
        case .stateInstalled(let sequence, let records):
            begin(.stateInstalled)
            bytes.append(littleEndian: sequence.rawValue)
            Self.append(records, to: &bytes)
        }
    }

    private static func append(_ source: RequestSource, to bytes: inout [UInt8]) {
        switch source {
        case .client(let client):
            bytes.append(0)
            bytes.append(littleEndian: client.rawValue)
        case .forwarded(let peer):
            bytes.append(1)
            bytes.append(peer.rawValue)
        }
    }

    private static func append(_ results: [[[UInt8]]], to bytes: inout [UInt8]) {
        bytes.append(littleEndian: UInt32(results.count))
        for request in results {
            bytes.append(littleEndian: UInt32(request.count))
            for result in request { bytes.append(lengthPrefixed: result) }
        }
    }

    static func append(_ records: [SystemRecord], to bytes: inout [UInt8]) {
        bytes.append(littleEndian: UInt32(records.count))
        for record in records {
            bytes.append(lengthPrefixed: record.key)
            bytes.append(record.value == nil ? 0 : 1)
            if let value = record.value { bytes.append(lengthPrefixed: value) }
        }
    }

    // MARK: Decoding

    /// Reads the input that is the rest of `source` after `start`.
    ///
    /// The encoding vouches for what it calls verified: it is for replaying what a replica has recorded, never for what a peer sent.
    ///
    /// - Throws: `MalformedMessage` for bytes that no recorder writes.
    init(decoding source: [UInt8], from start: Int) throws(MalformedMessage) {
        var reader = ByteReader(source, in: start..<source.count)
        let number = try reader.readUInt8()
        guard let kind = Kind(rawValue: number) else { throw .unknownType(number) }
        switch kind {
        case .message, .checkpointVerified, .certificateVerified, .viewChangeVerified, .newViewVerified:
            self = try Self.message(kind, &reader, source)
        case .request, .read:
            self = try Self.clientMessage(kind, &reader, source)
        case .requestChecked:
            self = try Self.requestChecked(&reader, source)
        case .forwardRefused:
            self = .forwardRefused(try Evidence(decoding: Array(source[reader.position...])))
        case .peerConnected:
            self = .peerConnected(try reader.readReplica())
            try reader.finish()
        case .turnEnded:
            self = .turnEnded
            try reader.finish()
        case .timePassed:
            self = .timePassed
            try reader.finish()
        case .startLearning:
            self = .startLearning
            try reader.finish()
        case .batchChecked:
            let place = BatchPlace(
                view: View(try reader.readUInt64()),
                sequence: SequenceNumber(try reader.readUInt64()),
                digest: try reader.readDigest(),
                executed: SequenceNumber(try reader.readUInt64())
            )
            self = .batchChecked(place, valid: try reader.readFlag())
            try reader.finish()
        case .executed:
            self = .executed(SequenceNumber(try reader.readUInt64()), results: try Self.readResults(&reader))
            try reader.finish()
        case .checkpointTaken:
            self = .checkpointTaken(SequenceNumber(try reader.readUInt64()), root: try reader.readDigest())
            try reader.finish()
        case .stateInstalled:
            self = .stateInstalled(SequenceNumber(try reader.readUInt64()), records: try Self.readRecords(&reader))
            try reader.finish()
        }
    }

    private static func message(
        _ kind: Kind,
        _ reader: inout ByteReader,
        _ source: [UInt8]
    ) throws(MalformedMessage) -> Input {
        // Whose word a CHECKPOINT is stands in it, as in a certificate; all others came from a peer.
        let isSelfContained = kind == .checkpointVerified || kind == .certificateVerified
        let peer = isSelfContained ? nil : try reader.readReplica()
        let message = try PeerMessage(decoding: source, in: reader.position..<source.count)
        switch (kind, peer, message) {
        case (.message, _, .stateRequest), (.message, _, .stateAnswer):
            throw .badField(.kind)
        case (.message, let peer?, let message):
            return .message(message, from: peer)
        case (.checkpointVerified, _, .checkpoint(let checkpoint)):
            return .checkpointVerified(Verified(vouchingFor: checkpoint.claim))
        case (.certificateVerified, _, .certificate(let certificate)):
            return .certificateVerified(Verified(vouchingFor: certificate.claim))
        case (.viewChangeVerified, let peer?, .viewChange(let viewChange)):
            return .viewChangeVerified(Verified(vouchingFor: viewChange.claim), from: peer)
        case (.newViewVerified, let peer?, .newView(let newView)):
            return .newViewVerified(Verified(vouchingFor: newView.claim), from: peer)
        default:
            throw .badField(.kind)
        }
    }

    private static func clientMessage(
        _ kind: Kind,
        _ reader: inout ByteReader,
        _ source: [UInt8]
    ) throws(MalformedMessage) -> Input {
        let client = kind == .read ? ClientID(try reader.readUInt32()) : nil
        switch (try ClientMessage(decoding: source, in: reader.position..<source.count), client) {
        case (.request(let request), nil): return .request(request)
        case (.read(let read), let client?): return .read(read, from: client)
        default: throw .badField(.kind)
        }
    }

    private static func requestChecked(
        _ reader: inout ByteReader,
        _ source: [UInt8]
    ) throws(MalformedMessage) -> Input {
        let origin: RequestSource =
            try reader.readFlag()
            ? .forwarded(by: reader.readReplica()) : .client(ClientID(reader.readUInt32()))
        guard try reader.readFlag() else {
            try reader.finish()
            return .requestChecked(nil, from: origin)
        }
        let request = try Request(decoding: source, in: reader.position..<source.count)
        return .requestChecked(Verified(vouchingFor: request), from: origin)
    }

    private static func readResults(_ reader: inout ByteReader) throws(MalformedMessage) -> [[[UInt8]]] {
        let requests = try readCount(&reader, most: MessageLimits.requestsPerBatch, eachAtLeast: 4, .batch)
        var results: [[[UInt8]]] = []
        results.reserveCapacity(requests)
        for _ in 0..<requests {
            let operations = try readCount(&reader, most: MessageLimits.operationsPerRequest, eachAtLeast: 4, .bundle)
            var request: [[UInt8]] = []
            request.reserveCapacity(operations)
            for _ in 0..<operations { request.append(try reader.readBytes(limit: mostElementBytes, .result)) }
            results.append(request)
        }
        return results
    }

    static func readRecords(_ reader: inout ByteReader) throws(MalformedMessage) -> [SystemRecord] {
        let count = try readCount(&reader, most: .max, eachAtLeast: 5, .state)
        var records: [SystemRecord] = []
        records.reserveCapacity(count)
        for _ in 0..<count {
            let key = try reader.readBytes(limit: mostElementBytes, .state)
            let value = try reader.readFlag() ? reader.readBytes(limit: mostElementBytes, .state) : nil
            records.append(SystemRecord(key: key, value: value))
        }
        return records
    }

    /// Reads how many elements follow, which is no more than there are bytes for.
    static func readCount(
        _ reader: inout ByteReader,
        most: Int,
        eachAtLeast bytes: Int,
        _ field: MalformedMessage.StaticField
    ) throws(MalformedMessage) -> Int {
        let count = Int(try reader.readUInt32())
        guard count <= most else { throw .overLimit(field) }
        guard count <= reader.remaining / bytes else { throw .truncated }
        return count
    }
}
