import Disk
import Messages
import StateStore

/// Parts of a state that is being fetched, in a file beside the database, so that a replica that is killed meanwhile does not fetch them
/// again.
///
/// Nothing rests on the file: who reads it takes a part for what its digests say, as one from another replica. So it is never synced, a
/// damaged part is one that nobody wants, what looks like no part is the end, and what cannot be written is left out.
///
/// A part is its length (u32) and its bytes.
struct StagedParts {
    static let fileName = "staged"
    /// More than the nodes of an answer take with their paths.
    private static let mostBytes = 4 << 20
    private static let lengthBytes = 4

    private let path: String
    private var file: DiskFile?
    private var end = 0
    private var hasFailed = false

    /// The parts beside the store in a directory; nothing is read or made yet.
    init(in path: String) {
        self.path = "\(path)/\(Self.fileName)"
    }

    /// Hands out the parts, oldest first. The next one comes after the last that was handed out.
    mutating func visit(_ visit: ([UInt8]) -> ScanStep) {
        end = 0
        if file == nil { file = try? DiskFile(path, .readWrite) }
        while let part = part(at: end) {
            end += Self.lengthBytes + part.count
            if case .stop = visit(part) { return }
        }
    }

    private func part(at offset: Int) -> [UInt8]? {
        guard let bytes = try? file?.read(Self.lengthBytes, at: offset) else { return nil }
        var reader = ByteReader(bytes)
        guard let length = try? reader.readUInt32(), (1...Self.mostBytes).contains(Int(length)),
            let part = try? file?.read(Int(length), at: offset + Self.lengthBytes), part.count == Int(length)
        else { return nil }
        return part
    }

    /// Adds a part. After the first that cannot be written there are none.
    mutating func append(_ part: [UInt8]) {
        guard !hasFailed, (1...Self.mostBytes).contains(part.count) else { return }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.lengthBytes + part.count)
        bytes.append(littleEndian: UInt32(part.count))
        bytes.append(contentsOf: part)
        do {
            try opened().write(bytes, at: end)
            end += bytes.count
        } catch {
            // The disk is full, for instance: its owner needs the room more.
            hasFailed = true
            discard()
        }
    }

    private mutating func opened() throws(FileError) -> DiskFile {
        if let file { return file }
        let opened = try DiskFile(path, try Files.exists(path) ? .readWrite : .create)
        file = opened
        return opened
    }

    /// Drops all parts.
    mutating func discard() {
        file = nil
        end = 0
        // Nothing that is left there does any harm.
        try? Files.remove(path)
    }
}
