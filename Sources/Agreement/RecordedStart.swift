import Cryptography
import Messages

/// How the recorded run of a replica began.
public struct RecordedStart: Sendable {
    /// What the replica was told.
    public let configuration: ReplicaConfiguration
    /// What it went on from; nil for the initial state.
    public let recovery: Recovery?
    /// What it signed before its first input.
    public let signatures: [RecordedSignature]

    /// Describes the beginning of a run.
    public init(
        of configuration: ReplicaConfiguration,
        recovering recovery: Recovery? = nil,
        signatures: [RecordedSignature] = []
    ) {
        self.configuration = configuration
        self.recovery = recovery
        self.signatures = signatures
    }
}

extension RecordedStart {
    func append(to body: inout [UInt8]) {
        body.append(contentsOf: configuration.cluster.bytes)
        body.append(UInt8(configuration.size.replicas))
        body.append(configuration.replica.rawValue)
        RecordingSettings.append(configuration.switches, configuration.limits, to: &body)
        body.append(littleEndian: UInt32(configuration.clients.count))
        for client in configuration.clients {
            body.append(littleEndian: client.client.rawValue)
            body.append(littleEndian: client.epoch.rawValue)
            body.append(contentsOf: client.key.bytes)
        }
        body.append(recovery == nil ? 0 : 1)
        recovery?.append(to: &body)
        RecordedSignature.append(signatures, to: &body)
    }

    init(decoding body: [UInt8]) throws(RecordingError) {
        guard body.count >= ClusterID.byteCount, let cluster = ClusterID(Array(body.prefix(ClusterID.byteCount))) else {
            throw .damagedHeader
        }
        var reader = ByteReader(body, in: ClusterID.byteCount..<body.count)
        let members = try Self.members(&reader)
        let (switches, limits) = try RecordingSettings.read(&reader)
        guard limits.problem == nil else { throw .damagedHeader }
        do throws(MalformedMessage) {
            configuration = ReplicaConfiguration(
                size: members.size,
                replica: members.replica,
                cluster: cluster,
                switches: switches,
                limits: limits,
                clients: try Self.clients(&reader)
            )
            recovery = try reader.readFlag() ? Recovery(&reader) : nil
            signatures = try RecordedSignature.read(&reader)
            try reader.finish()
        } catch {
            throw .damagedHeader
        }
    }

    private static func members(
        _ reader: inout ByteReader
    ) throws(RecordingError) -> (size: ClusterSize, replica: ReplicaID) {
        do throws(MalformedMessage) {
            let count = Int(try reader.readUInt8())
            let replica = try reader.readReplica()
            guard let size = ClusterSize(replicas: count), size.contains(replica) else { throw .badField(.replica) }
            return (size, replica)
        } catch {
            throw .damagedHeader
        }
    }

    private static func clients(_ reader: inout ByteReader) throws(MalformedMessage) -> [ClientKey] {
        let count = try Input.readCount(&reader, most: .max, eachAtLeast: 8 + PublicKey.byteCount, .clients)
        var clients: [ClientKey] = []
        clients.reserveCapacity(count)
        for _ in 0..<count {
            let client = ClientID(try reader.readUInt32())
            let epoch = KeyEpoch(try reader.readUInt32())
            clients.append(ClientKey(client, try reader.readPublicKey(), epoch: epoch))
        }
        return clients
    }
}

extension Recovery {
    fileprivate func append(to body: inout [UInt8]) {
        body.append(littleEndian: executed.rawValue)
        Input.append(records, to: &body)
        body.append(littleEndian: UInt32(log.count))
        for record in log { body.append(lengthPrefixed: record.encoded) }
        body.append(littleEndian: UInt32(checkpoints.count))
        for checkpoint in checkpoints {
            body.append(littleEndian: checkpoint.sequence.rawValue)
            checkpoint.root.append(to: &body)
        }
    }

    fileprivate init(_ reader: inout ByteReader) throws(MalformedMessage) {
        executed = SequenceNumber(try reader.readUInt64())
        records = try Input.readRecords(&reader)
        var log: [LogRecord] = []
        for _ in 0..<(try Input.readCount(&reader, most: .max, eachAtLeast: 4, .state)) {
            log.append(try LogRecord(decoding: try reader.readBytes(limit: LogRecord.mostBytes, .state)))
        }
        self.log = log
        var checkpoints: [OwnCheckpoint] = []
        for _ in 0..<(try Input.readCount(&reader, most: .max, eachAtLeast: 8 + Digest.byteCount, .state)) {
            let sequence = SequenceNumber(try reader.readUInt64())
            checkpoints.append(OwnCheckpoint(sequence: sequence, root: try reader.readDigest()))
        }
        self.checkpoints = checkpoints
    }
}
