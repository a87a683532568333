import Cryptography
import Disk
import Messages

/// How far the database's list of files has come, as the mark holds it.
///
/// The list, RocksDB's MANIFEST, is a log of changes of its own. When its end is lost, or a length in it is damaged, RocksDB goes on with
/// what comes before, and with an older set of files. So the mark has the length and the digest of what was durable of it.
struct Manifest: Equatable {
    static let byteCount = 8 + 8 + Digest.byteCount

    /// The number in the file's name: it grows when a new one takes its place.
    let number: UInt64
    let bytes: UInt64
    let digest: Digest

    func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: number)
        bytes.append(littleEndian: self.bytes)
        digest.append(to: &bytes)
    }

    init(from reader: inout ByteReader) throws(MalformedMessage) {
        number = try reader.readUInt64()
        bytes = try reader.readUInt64()
        digest = try reader.readDigest()
    }

    private init(number: UInt64, bytes: [UInt8]) {
        self.number = number
        self.bytes = UInt64(bytes.count)
        digest = Digest.of(bytes)
    }

    /// Refuses a store whose list of files is not this one, or one that grew out of it, or a later one.
    func check(in path: String) throws(StoreError) {
        let number = try Self.currentNumber(in: path)
        if number > self.number { return }
        guard number == self.number, let length = Int(exactly: bytes) else {
            throw .damaged(path, "the file CURRENT names an earlier list of files")
        }
        let found: [UInt8]
        do {
            found = try DiskFile(Self.path(number, in: path), .readOnly).read(length, at: 0)
        } catch {
            if error.isMissing { throw .damaged(path, "the list of its files is gone") }
            throw StoreError(error, at: path)
        }
        guard Manifest(number: number, bytes: found) == self else {
            throw .damaged(path, "the list of its files is not what was written")
        }
    }

    private static func path(_ number: UInt64, in path: String) -> String {
        let digits = String(number)
        return "\(path)/MANIFEST-\(String(repeating: "0", count: max(0, 6 - digits.count)))\(digits)"
    }

    private static func currentNumber(in path: String) throws(StoreError) -> UInt64 {
        let name: String
        do {
            name = String(decoding: try DiskFile("\(path)/CURRENT", .readOnly).read(64, at: 0), as: UTF8.self)
        } catch {
            if error.isMissing { throw .damaged(path, "it lacks the file CURRENT") }
            throw StoreError(error, at: path)
        }
        guard let number = UInt64(name.drop { $0 != "-" }.dropFirst().prefix { $0.isNumber }) else {
            throw .damaged(path, "the file CURRENT does not name the list of its files")
        }
        return number
    }

    /// Watches the list of an open database.
    struct Watch {
        private let path: String
        private var file: DiskFile
        private var number: UInt64
        private(set) var durable: Manifest

        init(in path: String) throws(StoreError) {
            self.path = path
            number = try Manifest.currentNumber(in: path)
            let name = Manifest.path(number, in: path)
            file = try withFiles(at: path) { () throws(FileError) in try DiskFile(name, .readOnly) }
            durable = Manifest(number: number, bytes: [])
            try refresh()
        }

        /// Takes in what was added to the list, once that is durable.
        mutating func refresh() throws(StoreError) {
            var size = try withFiles(at: path) { () throws(FileError) in try file.size }
            if size == nil {
                number = try Manifest.currentNumber(in: path)
                let name = Manifest.path(number, in: path)
                file = try withFiles(at: path) { () throws(FileError) in try DiskFile(name, .readOnly) }
                size = try withFiles(at: path) { () throws(FileError) in try file.size }
            }
            guard let size, number != durable.number || UInt64(size) != durable.bytes else { return }
            let bytes = try withFiles(at: path) { () throws(FileError) in
                let bytes = try file.read(size, at: 0)
                try file.sync()
                return bytes
            }
            durable = Manifest(number: number, bytes: bytes)
        }
    }
}
