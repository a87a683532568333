/// Bounds on what the key-value service stores and answers.
public enum KeyValueLimits {
    /// The most bytes a key may have; the fewest are 1.
    public static let keyBytes = 1024

    /// The most bytes a value may have: 1 MiB.
    public static let valueBytes = 1 << 20

    /// The most bytes an encoded operation may have.
    public static let operationBytes = valueBytes + 4096

    /// The most bytes an encoded result may have.
    public static let resultBytes = valueBytes + 4096

    /// The most entries a scan returns at once.
    public static let scanEntries = 10_000
}

/// Why an operation cannot be sent: it breaks a bound that every replica would refuse it for.
public enum KeyValueLimitError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The key is empty.
    case keyEmpty

    /// A key or an end of a range has this many bytes, more than ``KeyValueLimits/keyBytes``.
    case keyTooLong(bytes: Int)

    /// A value has this many bytes, more than ``KeyValueLimits/valueBytes``.
    case valueTooLong(bytes: Int)

    /// The encoded operation has this many bytes, more than ``KeyValueLimits/operationBytes``.
    case operationTooLong(bytes: Int)

    /// A scan asks for this many entries: none, or more than ``KeyValueLimits/scanEntries``.
    case scanLimit(entries: UInt32)

    /// One sentence that names the limit.
    public var description: String {
        switch self {
        case .keyEmpty:
            "the key is empty; a key has 1 to \(KeyValueLimits.keyBytes) bytes"
        case .keyTooLong(let bytes):
            "the key has \(bytes) bytes; the limit is \(KeyValueLimits.keyBytes)"
        case .valueTooLong(let bytes):
            "the value has \(bytes) bytes; the limit is \(KeyValueLimits.valueBytes)"
        case .operationTooLong(let bytes):
            "the operation has \(bytes) bytes in all; the limit is \(KeyValueLimits.operationBytes)"
        case .scanLimit(let entries):
            "the scan asks for \(entries) entries; the limits are 1 and \(KeyValueLimits.scanEntries)"
        }
    }

    /// How a replica refuses the same operation.
    public var refusal: KeyValueRefusal {
        switch self {
        case .keyEmpty: .keyEmpty
        case .keyTooLong: .keyTooLong
        case .valueTooLong: .valueTooLong
        case .operationTooLong: .operationTooLong
        case .scanLimit: .scanLimit
        }
    }
}

/// Why the service refused an operation; the state is as before then. The raw values are the codes in the encoding.
public enum KeyValueRefusal: UInt8, Error, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    /// The bytes are no operation of this service.
    case malformed = 1

    /// The key is empty.
    case keyEmpty = 2

    /// A key is longer than ``KeyValueLimits/keyBytes``.
    case keyTooLong = 3

    /// A value is longer than ``KeyValueLimits/valueBytes``.
    case valueTooLong = 4

    /// The operation is longer than ``KeyValueLimits/operationBytes``.
    case operationTooLong = 5

    /// A scan asks for no entry, or for more than ``KeyValueLimits/scanEntries``.
    case scanLimit = 6

    /// The value to increment is not a decimal number of 64 bits with a sign.
    case notANumber = 7

    /// The sum does not fit into 64 bits with a sign.
    case overflow = 8

    /// One sentence for the user.
    public var description: String {
        switch self {
        case .malformed: "the operation is malformed"
        case .keyEmpty: "the key is empty"
        case .keyTooLong: "the key is longer than \(KeyValueLimits.keyBytes) bytes"
        case .valueTooLong: "the value is longer than \(KeyValueLimits.valueBytes) bytes"
        case .operationTooLong: "the operation is longer than \(KeyValueLimits.operationBytes) bytes"
        case .scanLimit: "a scan returns 1 to \(KeyValueLimits.scanEntries) entries at once"
        case .notANumber: "the value is not a whole number of 64 bits"
        case .overflow: "the sum does not fit into 64 bits"
        }
    }
}
