import Foundation

/// Reading and creating small files, with errors that an operator understands.
///
/// The calls to `open` are the one unsafe construct here: Foundation can neither create a file with a mode nor say why it could not
/// open one.
package enum FileAccess {
    /// Reads a whole file.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - what: What the file is to the operator, such as "cluster file".
    ///   - mostBytes: The largest size that is accepted.
    /// - Returns: The file's bytes.
    /// - Throws: What stood in the way.
    package static func read(_ path: String, what: String, mostBytes: Int) throws(OperatorError) -> [UInt8] {
        let handle = try open(path, what: what)
        defer { try? handle.close() }
        var bytes: [UInt8] = []
        do {
            while bytes.count <= mostBytes, let chunk = try handle.read(upToCount: 64 << 10), !chunk.isEmpty {
                bytes.append(contentsOf: chunk)
            }
        } catch {
            throw OperatorError(.inputOutput, "\(path): the \(what) cannot be read: \(reason(of: error))")
        }
        guard bytes.count <= mostBytes else {
            throw OperatorError(.malformedData, "\(path): the \(what) is larger than \(mostBytes) bytes")
        }
        return bytes
    }

    /// Opens a file for reading.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - what: What the file is to the operator, such as "cluster file".
    /// - Returns: A handle that the caller closes.
    /// - Throws: What stood in the way.
    package static func open(_ path: String, what: String) throws(OperatorError) -> FileHandle {
        let descriptor = unsafe Foundation.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            let code = errno
            throw OperatorError(
                code == ENOENT ? .noInput : code == EACCES ? .noPermission : .inputOutput,
                "\(path): the \(what) cannot be opened: \(reason(ofCode: code))"
            )
        }
        return FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    }

    /// Creates a file that must not exist yet.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - what: What the file is to the operator, such as "key file".
    ///   - mode: The permission bits it is created with; at no time has it others.
    /// - Returns: A handle for writing that the caller closes.
    /// - Throws: What stood in the way.
    package static func create(_ path: String, what: String, mode: UInt32) throws(OperatorError) -> FileHandle {
        let descriptor = unsafe Foundation.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t(mode))
        guard descriptor >= 0 else {
            let code = errno
            let sentence =
                code == EEXIST
                ? "the \(what) exists already and is not overwritten"
                : "the \(what) cannot be created: \(reason(ofCode: code))"
            throw OperatorError(code == EACCES ? .noPermission : .cannotCreate, "\(path): \(sentence)")
        }
        return FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    }

    /// Creates a file that must not exist yet, with its contents, and makes them durable.
    ///
    /// - Throws: What stood in the way.
    package static func create(
        _ path: String,
        what: String,
        mode: UInt32,
        contents: String
    ) throws(OperatorError) {
        try create(path, what: what, mode: mode, contents: Array(contents.utf8))
    }

    private static func create(
        _ path: String,
        what: String,
        mode: UInt32,
        contents: [UInt8]
    ) throws(OperatorError) {
        let handle = try create(path, what: what, mode: mode)
        do {
            try handle.write(contentsOf: contents)
            try handle.synchronize()
            try handle.close()
        } catch {
            throw OperatorError(.inputOutput, "\(path): the \(what) cannot be written: \(reason(of: error))")
        }
    }

    /// Creates a file that must not exist yet, as a whole: after a crash it is not there, or has all of its contents.
    ///
    /// - Throws: What stood in the way.
    package static func createAtOnce(
        _ path: String,
        what: String,
        mode: UInt32,
        contents: [UInt8]
    ) throws(OperatorError) {
        let draft = "\(path).draft"
        // Of a process that ended in between.
        try? FileManager.default.removeItem(atPath: draft)
        try create(draft, what: what, mode: mode, contents: contents)
        do {
            try FileManager.default.moveItem(atPath: draft, toPath: path)
        } catch {
            throw OperatorError(.cannotCreate, "\(path): the \(what) cannot be created: \(reason(of: error))")
        }
    }

    /// Creates a directory, and those above it, unless it is there.
    ///
    /// - Throws: What stood in the way.
    package static func createDirectory(_ path: String, mode: UInt32) throws(OperatorError) {
        do {
            try FileManager.default.createDirectory(
                atPath: path,
                withIntermediateDirectories: true,
                attributes: [.posixPermissions: NSNumber(value: mode)]
            )
        } catch {
            throw OperatorError(.cannotCreate, "\(path): the directory cannot be created: \(reason(of: error))")
        }
    }

    /// Whether there is a file or directory of this name.
    package static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: path)
    }

    /// The permission bits of a file.
    ///
    /// - Returns: nil when they cannot be seen.
    package static func permissions(_ path: String) -> UInt32? {
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        return (attributes?[.posixPermissions] as? NSNumber)?.uint32Value
    }

    /// The size of a file in bytes.
    ///
    /// - Returns: nil when it cannot be seen, or the path is no ordinary file.
    package static func size(_ path: String) -> UInt64? {
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        guard attributes?[.type] as? FileAttributeType == .typeRegular else { return nil }
        return (attributes?[.size] as? NSNumber)?.uint64Value
    }

    /// The error code of binding to an address that is not this machine's.
    package static var addressNotAvailable: Int32 { EADDRNOTAVAIL }

    /// Whether this error code of binding means that the port is another's: in use, or reserved for the superuser.
    package static func isTaken(_ code: Int32) -> Bool { code == EADDRINUSE || code == EACCES }

    /// Why the operating system refused, in a few words.
    package static func reason(ofCode code: Int32) -> String {
        switch code {
        case ENOENT: "there is no such file or directory"
        case EACCES, EPERM: "permission denied"
        case EISDIR: "it is a directory"
        case ENOTDIR: "a part of the path is not a directory"
        case ENOSPC: "no space is left on the device"
        case EROFS: "the file system is read-only"
        case EMFILE, ENFILE: "too many files are open"
        case EADDRINUSE: "the address is in use"
        case EADDRNOTAVAIL: "the address is not one of this machine's"
        default: "the operating system answers with error \(code)"
        }
    }

    /// Why a call into Foundation failed, in a few words.
    package static func reason(of error: any Error) -> String {
        var current: NSError? = error as NSError
        while let next = current {
            if next.domain == NSPOSIXErrorDomain, let code = Int32(exactly: next.code) { return reason(ofCode: code) }
            current = next.userInfo[NSUnderlyingErrorKey] as? NSError
        }
        return switch (error as? CocoaError)?.code {
        case .fileReadNoSuchFile?, .fileNoSuchFile?: reason(ofCode: ENOENT)
        case .fileReadNoPermission?, .fileWriteNoPermission?: reason(ofCode: EACCES)
        case .fileWriteOutOfSpace?: reason(ofCode: ENOSPC)
        default: error.localizedDescription
        }
    }
}
