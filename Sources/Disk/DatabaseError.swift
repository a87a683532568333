/// Why the database refused.
package struct DatabaseError: Error, Hashable, Sendable {
    /// What kind of reason it is.
    package enum Kind: Hashable, Sendable {
        /// The files do not fit together, or a checksum is wrong.
        case corruption
        /// Another process, or this one, has the database open.
        case locked
        /// The disk, or the operator's quota on it, is full.
        case full
        /// The operating system forbids it.
        case forbidden
        /// Anything else that the disk refused.
        case inputOutput
    }

    /// What kind of reason it is.
    package let kind: Kind

    /// The library's own words, on one line.
    package let message: String

    /// Sorts the library's words by what they mean to an operator.
    init(_ message: String) {
        self.message = message.split(whereSeparator: \.isNewline).joined(separator: " ")
        let isLocked =
            message.contains("lock hold by current process")
            || (message.contains("/LOCK") && message.contains("Resource temporarily unavailable"))
        if isLocked {
            kind = .locked
        } else if message.hasPrefix("Corruption") || message.hasPrefix("Invalid argument")
            || message.hasPrefix("NotFound") || message.contains("No such file or directory")
        {
            kind = .corruption
        } else if ["No space left on device", "Disk quota exceeded", "File too large"].contains(
            where: message.contains
        ) {
            kind = .full
        } else if ["Permission denied", "Operation not permitted", "Read-only file system"].contains(
            where: message.contains
        ) {
            kind = .forbidden
        } else {
            kind = .inputOutput
        }
    }
}
