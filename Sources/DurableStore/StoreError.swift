import Disk

/// Why a store cannot be opened, or cannot go on: something that the operator has to put right.
public struct StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What kind of reason it is.
    public enum Kind: Hashable, Sendable {
        /// There is no store in the directory.
        case missing
        /// There is one where one was to be made.
        case exists
        /// The store belongs to another cluster or another replica.
        case foreign
        /// The store is of a format that this version cannot read.
        case otherFormat
        /// What is on disk is not what was written: bits flipped, files cut or lost.
        case damaged
        /// Another process has the store open.
        case inUse
        /// What is asked for is not in the store yet.
        case notReady
        /// The disk is full.
        case full
        /// The operating system forbids it.
        case forbidden
        /// The disk refused otherwise.
        case inputOutput
    }

    /// What kind of reason it is.
    public let kind: Kind

    /// What is wrong, in one sentence without a full stop.
    public let sentence: String

    /// The sentence.
    public var description: String { sentence }

    init(_ kind: Kind, _ sentence: String) {
        self.kind = kind
        self.sentence = sentence
    }

    init(_ error: DatabaseError, at path: String) {
        switch error.kind {
        case .corruption: self.init(.damaged, "\(path): the store is damaged: \(error.message)")
        case .locked: self.init(.inUse, "\(path): another process has the store open")
        case .full: self.init(.full, "\(path): the disk is full: \(error.message)")
        case .forbidden: self.init(.forbidden, "\(path): the store may not be used: \(error.message)")
        case .inputOutput: self.init(.inputOutput, "\(path): the disk failed: \(error.message)")
        }
    }

    init(_ error: FileError, at path: String) {
        if error.isMissing {
            self.init(.missing, "\(path): there is no such file or directory")
        } else if error.isForbidden {
            self.init(.forbidden, "\(path): the store may not be used: \(error.reason)")
        } else if error.isFull {
            self.init(.full, "\(path): the disk is full: \(error.reason)")
        } else {
            self.init(.inputOutput, "\(path): the disk failed: \(error.reason)")
        }
    }

    static func damagedBackup(_ path: String, _ what: String) -> StoreError {
        StoreError(.damaged, "\(path): the backup is damaged: \(what)")
    }

    static func damaged(_ path: String, _ what: String) -> StoreError {
        StoreError(.damaged, "\(path): the store is damaged: \(what)")
    }
}

/// Does something with the database at `path`, and says which store it is when that fails.
func withDatabase<Result>(
    at path: String,
    _ work: () throws(DatabaseError) -> Result
) throws(StoreError) -> Result {
    do {
        return try work()
    } catch {
        throw StoreError(error, at: path)
    }
}

/// Does something with files of the store at `path`, and says which store it is when that fails.
func withFiles<Result>(at path: String, _ work: () throws(FileError) -> Result) throws(StoreError) -> Result {
    do {
        return try work()
    } catch {
        throw StoreError(error, at: path)
    }
}
