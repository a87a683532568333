/// One operation of a workload: one or two operations of the service that the load generator sends for it.
public struct WorkloadOperation: Sendable {
    /// What the operation does, by YCSB's names; the raw values are the names in reports.
    public enum Kind: String, CaseIterable, Hashable, Sendable {
        /// An empty operation.
        case null

        /// One record is read.
        case read

        /// One existing record is written.
        case update

        /// A new record is written.
        case insert

        /// Up to 100 records are read in the order of their keys.
        case scan

        /// One record is read and then written.
        case readModifyWrite = "read_modify_write"

        /// Whether its first operation changes nothing, so that it need not be ordered.
        public var beginsReadOnly: Bool {
            switch self {
            case .read, .scan, .readModifyWrite: true
            case .null, .update, .insert: false
            }
        }
    }

    /// What it does.
    public let kind: Kind

    /// The encoded operation for the service.
    public let bytes: [UInt8]

    /// The encoded operation that is sent when the first one has succeeded; only read-modify-write has one.
    public let continuation: [UInt8]?

    /// The record that it inserts; nil for every other kind.
    public let inserted: UInt64?

    /// Describes an operation.
    public init(_ kind: Kind, _ bytes: [UInt8], continuation: [UInt8]? = nil, inserted: UInt64? = nil) {
        self.kind = kind
        self.bytes = bytes
        self.continuation = continuation
        self.inserted = inserted
    }
}

/// Where one client of a load generator gets its operations from. Its client calls it from one thread at a time.
public protocol OperationSource: Sendable {
    /// Makes the next operation.
    ///
    /// - Returns: nil when there are no more.
    mutating func next() -> WorkloadOperation?

    /// Looks at the service's result of an operation or of its continuation, once.
    ///
    /// - Returns: nil when the result is what a correct service answers; otherwise a short name of what is wrong, one
    ///   of a few.
    func fault(in result: [UInt8], of operation: WorkloadOperation, isContinuation: Bool) -> String?

    /// Called once for each operation when it has ended.
    ///
    /// - Parameters:
    ///   - operation: The operation.
    ///   - succeeded: Whether it has a result without a fault; if not, it may have been executed or not.
    mutating func end(_ operation: WorkloadOperation, succeeded: Bool)
}

/// How an operation that was submitted has ended.
public enum OperationOutcome: Sendable {
    /// The service's result.
    case result([UInt8])

    /// There is no result: the client gave up. The kind is a short name of the reason, one of a few.
    case failure(kind: String)
}

/// Something that a load generator sends operations through: a client, or a stand-in for one.
public protocol OperationSubmitter: Sendable {
    /// Sends one operation.
    ///
    /// - Parameters:
    ///   - operation: The encoded operation.
    ///   - isReadOnly: Whether it changes nothing, so that it need not be ordered.
    ///   - completion: Called exactly once, on any thread, and with a result only after this call has returned (a
    ///     failure may come earlier): the load generator submits the next operation from there, so a result from inside
    ///     would recurse without end.
    func perform(
        _ operation: [UInt8],
        isReadOnly: Bool,
        completion: @escaping @Sendable (OperationOutcome) -> Void
    )
}
