/// Something that the operator of a cluster has to put right: a busy port, an unreadable key, a malformed file.
///
/// It holds one clear sentence for a person and the exit code for a script. It never stands for a bug of this program and never
/// for the misbehaviour of a peer.
public struct OperatorError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What kind of error it is, as the exit codes of BSD's `sysexits.h`.
    public enum Kind: Int32, Sendable {
        /// The command line asks for something that does not exist or does not fit together.
        case usage = 64

        /// Input data is malformed.
        case malformedData = 65

        /// An input file does not exist.
        case noInput = 66

        /// The cluster, or too much of it, cannot be reached.
        case unavailable = 69

        /// An output file cannot be created, or exists already.
        case cannotCreate = 73

        /// Reading or writing failed half-way.
        case inputOutput = 74

        /// The operating system or this program's own safety checks forbid it.
        case noPermission = 77

        /// The cluster file says something that cannot be.
        case configuration = 78
    }

    /// What kind of error it is.
    public let kind: Kind

    /// What is wrong, in one sentence without a full stop.
    public let sentence: String

    /// Describes an error.
    ///
    /// - Parameters:
    ///   - kind: What kind of error it is.
    ///   - sentence: What is wrong, in one sentence without a full stop, with the file and the field where there is one.
    public init(_ kind: Kind, _ sentence: String) {
        self.kind = kind
        self.sentence = sentence
    }

    /// The process's exit code for this error, 64 to 78.
    public var exitCode: Int32 { kind.rawValue }

    /// The sentence.
    public var description: String { sentence }
}
