import Cryptography
import Disk
import Messages
import StateStore

/// The state of a stable checkpoint in one file, with the signatures of 2f + 1 replicas that it is that state.
///
/// Whoever has the cluster file can check it, offline and without trusting anybody who had it in his hands: the root is computed from the
/// entries again, and the certificate names the root. Nothing in it is of one replica only, so any of the cluster can take it up.
///
/// Integers are little-endian. The file begins with `aardvark backup`, its format (u32), the cluster (32 bytes), the sequence number
/// (u64), the Merkle root, the number of the system's and of the service's entries (u64 each), the number of signatures (u8), and the
/// CHECKPOINT messages with their lengths (u32) before them. All entries follow, as leaves in the answers of a state transfer, in the
/// order of their paths in the Merkle tree.
public struct Backup: Sendable {
    /// The version of the file's format.
    public static let format: UInt32 = 1

    private static let magic = Array("aardvark backup".utf8)
    private static let mostHeaderBytes = 64 << 10
    private static let chunkBytes = 1 << 20

    /// Where it is.
    public let path: String
    /// The cluster whose state it holds.
    public let cluster: ClusterID
    /// The last batch in the state.
    public let sequence: SequenceNumber
    /// The Merkle root of the state.
    public let root: Digest
    /// The CHECKPOINTs of 2f + 1 replicas.
    public let certificate: [Checkpoint]
    /// The number of the engine's own entries.
    public let systemEntries: UInt64
    /// The number of the service's entries.
    public let serviceEntries: UInt64
    /// The bytes of the file.
    public let byteCount: UInt64
    /// Where the first entry begins.
    private let start: Int

    /// Whether there is a file at `path`, as opposed to a directory.
    public static func isFile(at path: String) throws(StoreError) -> Bool {
        try withFiles(at: path) { () throws(FileError) in try Files.isFile(path) }
    }

    /// Reads the beginning of a backup.
    ///
    /// - Throws: When it cannot be read, or is no backup.
    public init(at path: String) throws(StoreError) {
        let (bytes, size) = try withFiles(at: path) { () throws(FileError) in
            let file = try DiskFile(path, .readOnly)
            return (try file.read(Self.mostHeaderBytes, at: 0), try file.size ?? 0)
        }
        self.path = path
        byteCount = UInt64(size)
        guard bytes.starts(with: Self.magic) else { throw StoreError(.damaged, "\(path): this is no backup") }
        var reader = ByteReader(bytes, in: Self.magic.count..<bytes.count)
        do {
            let version = try reader.readUInt32()
            guard version == Self.format else {
                throw StoreError(
                    .otherFormat,
                    "\(path): the backup has format \(version); this version of the program reads format \(Self.format)"
                )
            }
            guard let cluster = ClusterID(try reader.readDigest().bytes) else { throw MalformedMessage.truncated }
            self.cluster = cluster
            sequence = SequenceNumber(try reader.readUInt64())
            root = try reader.readDigest()
            systemEntries = try reader.readUInt64()
            serviceEntries = try reader.readUInt64()
            var certificate: [Checkpoint] = []
            for _ in 0..<(try reader.readUInt8()) {
                let part = try reader.readRange(limit: Self.mostHeaderBytes, .certificate)
                guard case .checkpoint(let checkpoint) = try PeerMessage(decoding: bytes, in: part) else {
                    throw MalformedMessage.badField(.certificate)
                }
                certificate.append(checkpoint.claim)
            }
            self.certificate = certificate
            start = reader.position
        } catch let error as StoreError {
            throw error
        } catch {
            throw .damagedBackup(path, "its beginning cannot be read")
        }
    }

    /// Refuses a backup of another cluster, or one that 2f + 1 replicas did not sign.
    func checkCertificate(_ keys: ReplicaKeys) throws(StoreError) {
        guard cluster == keys.cluster else {
            throw StoreError(.foreign, "\(path): the backup is of another cluster (\(cluster))")
        }
        if let problem = keys.problem(with: certificate, for: root, at: sequence) {
            throw .damagedBackup(path, "its certificate \(problem)")
        }
    }

    /// Reads everything, computes the root from the entries, and holds the certificate against the keys of the replicas.
    ///
    /// - Parameters:
    ///   - keys: The keys of the cluster's replicas.
    ///   - progress: Called now and then with the number of entries read so far.
    /// - Throws: What is not what was written, or that the backup is of another cluster.
    public func verify(
        _ keys: ReplicaKeys,
        progress: (UInt64) -> Void = { _ in }
    ) throws(StoreError) -> StoreFindings {
        try checkCertificate(keys)
        var builder = MerkleRootBuilder()
        var done: UInt64 = 0
        try readEntries { keyspace, entry throws(StoreError) in
            guard builder.add(entry, in: keyspace) else { throw outOfOrder }
            done += 1
            if done.isMultiple(of: 1024) { progress(done) }
        }
        guard builder.finish() == root else { throw wrongRoot }
        return StoreFindings(
            entries: done,
            checkpoints: [sequence.rawValue],
            certificate: .holds(sequence.rawValue)
        )
    }

    var outOfOrder: StoreError { .damagedBackup(path, "its entries are out of order") }
    var wrongRoot: StoreError { .damagedBackup(path, "its entries do not have the root that was signed") }

    /// Visits all entries in the order of the file.
    func readEntries(_ visit: (Keyspace, StateEntry) throws(StoreError) -> Void) throws(StoreError) {
        let file = try withFiles(at: path) { [path] () throws(FileError) in try DiskFile(path, .readOnly) }
        var counts: (system: UInt64, service: UInt64) = (0, 0)
        var buffer: [UInt8] = []
        var position = 0
        var offset = start
        while true {
            if let length = StateNode.leafLength(buffer[position...]), position + length <= buffer.count {
                guard
                    case .leaf(let keyspace, let entry) = StateNode(
                        encoded: Array(buffer[position..<position + length])
                    )
                else { throw .damagedBackup(path, "an entry cannot be read") }
                switch keyspace {
                case .system: counts.system += 1
                case .service: counts.service += 1
                }
                position += length
                try visit(keyspace, entry)
                continue
            }
            let chunk = try withFiles(at: path) { [offset] () throws(FileError) in
                try file.read(Self.chunkBytes, at: offset)
            }
            offset += chunk.count
            buffer.removeFirst(position)
            position = 0
            // An entry is longer than what is kept of it here by one chunk at most.
            guard !chunk.isEmpty, buffer.count < StateLimits.systemValueBytes + Self.chunkBytes else { break }
            buffer.append(contentsOf: chunk)
        }
        guard buffer.isEmpty, counts == (systemEntries, serviceEntries) else {
            throw .damagedBackup(path, "it is cut off, or has more than it should")
        }
    }

    // MARK: Writing

    private static func header(
        _ checkpoint: RocksStateStore.Checkpoint,
        _ cluster: ClusterID,
        _ certificate: [Checkpoint]
    )
        -> [UInt8]
    {
        var bytes = magic
        bytes.append(littleEndian: format)
        cluster.append(to: &bytes)
        bytes.append(littleEndian: checkpoint.number)
        checkpoint.root.append(to: &bytes)
        bytes.append(littleEndian: UInt64(checkpoint.counts.system))
        bytes.append(littleEndian: UInt64(checkpoint.counts.service))
        bytes.append(UInt8(truncatingIfNeeded: certificate.count))
        for checkpoint in certificate { bytes.append(lengthPrefixed: checkpoint.encoded) }
        return bytes
    }

    /// Writes a new file.
    ///
    /// - Parameters:
    ///   - path: The file, which does not exist.
    ///   - reader: The store.
    ///   - checkpoint: The stable checkpoint in it.
    ///   - certificate: The certificate of that.
    fileprivate static func write(
        to path: String,
        from reader: StoreReader,
        _ checkpoint: RocksStateStore.Checkpoint,
        _ certificate: [Checkpoint],
        _ progress: (UInt64) -> Void
    ) throws(StoreError) {
        let file = try withFiles(at: path) { () throws(FileError) in try DiskFile(path, .create) }
        var buffer = header(checkpoint, reader.owner.cluster, certificate)
        var offset = 0
        func flush() throws(StoreError) {
            try withFiles(at: path) { () throws(FileError) in try file.write(buffer, at: offset) }
            offset += buffer.count
            buffer.removeAll(keepingCapacity: true)
        }
        if let tree = checkpoint.tree {
            var audit = TreeAudit(of: reader.nodes, at: reader.path)
            var done: UInt64 = 0
            try audit.check(tree, besides: nil) { leaf throws(StoreError) in
                StateNode.leaf(leaf.key.keyspace, StateEntry(key: leaf.key.bytes, value: leaf.value)).append(
                    to: &buffer
                )
                if buffer.count >= chunkBytes { try flush() }
                done += 1
                if done.isMultiple(of: 1024) { progress(done) }
            }
        }
        try flush()
        try withFiles(at: path) { () throws(FileError) in try file.sync() }
    }
}

extension StoreReader {
    /// Writes the state of the stable checkpoint and its certificate to a new file, which is there as a whole or not at all.
    ///
    /// - Parameters:
    ///   - path: The file, which does not exist yet.
    ///   - keys: The keys of the cluster's replicas.
    ///   - progress: Called now and then with the number of entries written so far.
    /// - Throws: When there is no stable checkpoint with its state, something in it is not what was written, or the disk refuses.
    public func backUp(
        to path: String,
        _ keys: ReplicaKeys,
        progress: (UInt64) -> Void = { _ in }
    ) throws(StoreError) -> Backup {
        try checkCluster(keys)
        switch try verifyCertificate(keys) {
        case .holds: break
        case .none:
            throw StoreError(
                .notReady,
                "\(self.path): there is no stable checkpoint yet, so nothing that 2f + 1 replicas vouch for"
            )
        case .ofStateNotHere(let number):
            throw StoreError(
                .notReady,
                "\(self.path): the state of the stable checkpoint \(number) was still being fetched; back up another replica"
            )
        }
        guard let (sequence, certificate) = certified,
            let checkpoint = checkpoints.last(where: { $0.number == sequence.rawValue })
        else { throw .damaged(self.path, "the stable checkpoint is gone") }
        let isTaken = try withFiles(at: path) { () throws(FileError) in try Files.exists(path) }
        guard !isTaken else {
            throw StoreError(.exists, "\(path): the file exists already and is not overwritten")
        }
        let unfinished = "\(path).new"
        try withFiles(at: unfinished) { () throws(FileError) in
            if try Files.exists(unfinished) { try Files.remove(unfinished) }
        }
        do {
            try Backup.write(to: unfinished, from: self, checkpoint, certificate, progress)
            try withFiles(at: path) { () throws(FileError) in
                try Directory.rename(unfinished, to: path, in: DurableStore.parent(of: path))
            }
        } catch {
            try? Files.remove(unfinished)
            throw error
        }
        return try Backup(at: path)
    }
}
