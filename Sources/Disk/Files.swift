import Invariants

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// Why the operating system refused.
package struct FileError: Error, Hashable, Sendable {
    /// The number of the reason, as in `errno`.
    package let code: CInt

    /// The reason in the system's words.
    package var reason: String { String(cString: strerror(code)) }

    package var isMissing: Bool { code == ENOENT || code == ENOTDIR }
    package var isForbidden: Bool { code == EACCES || code == EPERM || code == EROFS }
    package var isFull: Bool { code == ENOSPC || code == EDQUOT || code == EFBIG }

    /// Throws the reason of a call that has just failed, when it has.
    @discardableResult
    static func check(_ result: CInt) throws(FileError) -> CInt {
        guard result >= 0 else { throw FileError(code: errno) }
        return result
    }
}

/// Directories.
package enum Directory {
    /// Makes a directory that only its owner may enter.
    package static func create(_ path: String) throws(FileError) {
        try FileError.check(mkdir(path, 0o700))
    }

    /// The names in a directory, without `.` and `..`.
    package static func names(in path: String) throws(FileError) -> [String] {
        guard let stream = opendir(path) else { throw FileError(code: errno) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: pointer.pointee)) {
                    String(cString: $0)
                }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Removes a directory of files with everything in it.
    package static func remove(_ path: String) throws(FileError) {
        for name in try names(in: path) { try FileError.check(unlink("\(path)/\(name)")) }
        try FileError.check(rmdir(path))
    }

    /// Gives a directory or a file another name and makes that durable.
    ///
    /// - Parameters:
    ///   - parent: The directory in which both names are.
    package static func rename(_ old: String, to new: String, in parent: String) throws(FileError) {
        try FileError.check(renameFile(old, new))
        let descriptor = try FileError.check(open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
        defer { close(descriptor) }
        try FileError.check(fsync(descriptor))
    }
}

/// Files by their paths.
package enum Files {
    /// Whether a path leads to something that is not a directory.
    package static func isFile(_ path: String) throws(FileError) -> Bool {
        try status(path).st_mode & S_IFMT != S_IFDIR
    }

    /// Whether there is anything of that name.
    package static func exists(_ path: String) throws(FileError) -> Bool {
        do {
            _ = try status(path)
            return true
        } catch {
            if error.isMissing { return false }
            throw error
        }
    }

    /// The bytes of all files in a directory.
    package static func byteCount(in directory: String) throws(FileError) -> UInt64 {
        var bytes: UInt64 = 0
        for name in try Directory.names(in: directory) {
            bytes += UInt64(clamping: try status("\(directory)/\(name)").st_size)
        }
        return bytes
    }

    /// Removes a file.
    package static func remove(_ path: String) throws(FileError) {
        try FileError.check(unlink(path))
    }

    /// Whether another process has a lock on a file; false when there is none of that name.
    ///
    /// A lock of this very process is not seen, and is lost by the question, as POSIX has it.
    package static func isLockedByAnother(_ path: String) throws(FileError) -> Bool {
        let descriptor: CInt
        do {
            descriptor = try FileError.check(open(path, O_RDONLY | O_CLOEXEC))
        } catch {
            if error.isMissing { return false }
            throw error
        }
        defer { close(descriptor) }
        var lock = flock()
        lock.l_type = Int16(F_WRLCK)
        lock.l_whence = Int16(SEEK_SET)
        try FileError.check(fcntl(descriptor, F_GETLK, &lock))
        return lock.l_type != Int16(F_UNLCK)
    }

    private static func status(_ path: String) throws(FileError) -> stat {
        var status = stat()
        try FileError.check(stat(path, &status))
        return status
    }
}

/// The system's `rename`, by a name that ``Directory`` does not have.
private func renameFile(_ old: String, _ new: String) -> CInt {
    rename(old, new)
}

/// A file that is read and written in place.
package final class DiskFile: Sendable {
    private let descriptor: CInt

    /// How to open a file.
    package enum Access: Sendable {
        /// It must not exist yet, and is made so that only its owner may read it.
        case create
        case readOnly
        case readWrite

        fileprivate var flags: CInt {
            switch self {
            case .create: O_RDWR | O_CREAT | O_EXCL
            case .readOnly: O_RDONLY
            case .readWrite: O_RDWR
            }
        }
    }

    /// Opens a file.
    package init(_ path: String, _ access: Access) throws(FileError) {
        descriptor = try FileError.check(open(path, access.flags | O_CLOEXEC, 0o600))
    }

    /// The file's size in bytes; nil when it was removed.
    package var size: Int? {
        get throws(FileError) {
            var status = stat()
            try FileError.check(fstat(descriptor, &status))
            return status.st_nlink == 0 ? nil : Int(status.st_size)
        }
    }

    deinit {
        close(descriptor)
    }

    /// Up to `count` bytes from `offset` on; fewer at the end of the file.
    package func read(_ count: Int, at offset: Int) throws(FileError) -> [UInt8] {
        var result = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            result = pread(descriptor, buffer.baseAddress, count, off_t(offset))
            filled = max(result, 0)
        }
        guard result >= 0 else { throw FileError(code: errno) }
        return bytes
    }

    /// Writes bytes at `offset`.
    package func write(_ bytes: [UInt8], at offset: Int) throws(FileError) {
        let result = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(offset)) }
        guard result == bytes.count else { throw FileError(code: result < 0 ? errno : ENOSPC) }
    }

    /// Makes what was written durable.
    package func sync() throws(FileError) {
        try FileError.check(fsync(descriptor))
    }
}
