import Cryptography
import Disk
import Messages

/// How much of the database is durable, in a file beside it.
///
/// The database alone cannot tell a write that was torn by losing power, and that nobody was told of, from a durable one that was
/// damaged or lost later: both look like an end of its log. The mark says how many changes were durable, so less than that is damage.
/// It is written after each sync, and itself synced now and then: after the end of the process it is exact; after losing power it may be
/// some syncs behind, and damage to just those is then taken for a torn end.
///
/// The file has two places, used in turn, so that a torn one leaves the other: the number of changes (u64), the ``Manifest``, and the
/// first 16 bytes of their BLAKE2b-256.
struct DurableMark {
    private static let placeBytes = 4096
    private static let writesPerSync = 64
    private static let checksumBytes = 16
    private static let byteCount = 8 + Manifest.byteCount + checksumBytes
    static let fileName = "durable"

    private let file: DiskFile
    private let path: String
    private var writes = 0
    /// The number of changes that are durable.
    private(set) var changes: UInt64 = 0
    /// The list of files.
    private(set) var manifest: Manifest

    /// Makes the file in a store's directory, with all changes so far.
    init(creatingIn path: String, changes: UInt64) throws(StoreError) {
        self.path = path
        manifest = try Manifest.Watch(in: path).durable
        file = try withFiles(at: path) { () throws(FileError) in
            try DiskFile("\(path)/\(Self.fileName)", .create)
        }
        try advance(to: changes, manifest)
        try advance(to: changes, manifest)
        try sync()
    }

    /// Reads the file of a store's directory, to go on with it or not.
    init(in path: String, _ access: DiskFile.Access) throws(StoreError) {
        self.path = path
        let name = "\(path)/\(Self.fileName)"
        do {
            file = try DiskFile(name, access)
        } catch {
            if error.isMissing { throw .damaged(path, "it lacks the file '\(Self.fileName)'") }
            throw StoreError(error, at: path)
        }
        var latest: (changes: UInt64, manifest: Manifest)?
        for place in 0..<2 {
            let bytes = try withFiles(at: path) { [file] () throws(FileError) in
                try file.read(Self.byteCount, at: place * Self.placeBytes)
            }
            guard let (changes, manifest) = Self.decoded(bytes) else { continue }
            if let latest,
                (latest.changes, latest.manifest.number, latest.manifest.bytes)
                    > (changes, manifest.number, manifest.bytes)
            {
                continue
            }
            latest = (changes, manifest)
            // The next one goes to the other place.
            writes = place + 1
        }
        guard let latest else { throw .damaged(path, "the file '\(Self.fileName)' is not what was written") }
        changes = latest.changes
        manifest = latest.manifest
    }

    /// Notes that so many changes, and so much of the list of files, are durable.
    mutating func advance(to changes: UInt64, _ manifest: Manifest) throws(StoreError) {
        self.changes = max(changes, self.changes)
        self.manifest = manifest
        let bytes = Self.encoded(self.changes, manifest)
        try withFiles(at: path) { () throws(FileError) in try file.write(bytes, at: (writes & 1) * Self.placeBytes) }
        writes += 1
        if writes.isMultiple(of: Self.writesPerSync) { try sync() }
    }

    /// Makes the mark itself durable.
    func sync() throws(StoreError) {
        try withFiles(at: path) { () throws(FileError) in try file.sync() }
    }

    private static func encoded(_ changes: UInt64, _ manifest: Manifest) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: changes)
        manifest.append(to: &bytes)
        let checksum = Digest.of(Array("aardvark mark".utf8) + bytes).bytes
        return bytes + checksum.prefix(checksumBytes)
    }

    private static func decoded(_ bytes: [UInt8]) -> (UInt64, Manifest)? {
        var reader = ByteReader(bytes)
        guard let changes = try? reader.readUInt64(), let manifest = try? Manifest(from: &reader),
            bytes == encoded(changes, manifest)
        else { return nil }
        return (changes, manifest)
    }
}
