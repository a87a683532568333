/// One of the two parts of the state: what the engine keeps for itself and what belongs to the service.
public enum Keyspace: UInt8, Hashable, Sendable, CaseIterable {
    /// The engine's own replicated tables: replies, clients, agreed time.
    case system = 0

    /// The entries of the replicated service.
    case service = 1
}

/// Bounds on what the state holds.
public enum StateLimits {
    /// The most bytes a key may have. A key may be empty.
    public static let keyBytes = 1024

    /// The most bytes a value of the service may have: 1 MiB for the user's own bytes, 4 KiB for what a service adds to
    /// them.
    public static let serviceValueBytes = (1 << 20) + 4096

    /// The most bytes a value of the engine's own tables may have.
    public static let systemValueBytes = 2 << 20

    /// The most bytes a value may have in `keyspace`.
    public static func valueBytes(in keyspace: Keyspace) -> Int {
        switch keyspace {
        case .system: systemValueBytes
        case .service: serviceValueBytes
        }
    }
}

/// Why the state does not take an entry of a service. The same entry is refused at every replica.
public enum StateRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// The key has this many bytes, more than ``StateLimits/keyBytes``.
    case keyTooLong(bytes: Int)

    /// The value has this many bytes, more than ``StateLimits/serviceValueBytes``.
    case valueTooLong(bytes: Int)

    /// One sentence that names the limit.
    public var description: String {
        switch self {
        case .keyTooLong(let bytes):
            "the key has \(bytes) bytes; the state takes at most \(StateLimits.keyBytes)"
        case .valueTooLong(let bytes):
            "the value has \(bytes) bytes; the state takes at most \(StateLimits.serviceValueBytes)"
        }
    }
}

/// A half-open range of keys in the order of their bytes: `from` is in it, `to` is not.
public struct KeyRange: Hashable, Sendable {
    /// Every key.
    public static let all = KeyRange(from: [])

    /// The smallest key that can be in the range.
    public var from: [UInt8]

    /// The first key past the range; nil when the range has no upper end.
    public var to: [UInt8]?

    /// The keys from `from` up to but not including `to`; none when `to` is not above `from`.
    public init(from: [UInt8], to: [UInt8]? = nil) {
        self.from = from
        self.to = to
    }

    /// The keys that begin with `prefix`.
    public init(prefix: [UInt8]) {
        from = prefix
        // The first key past them: the prefix without its trailing 0xFF bytes, its last byte one higher.
        var end = prefix
        while end.last == 0xFF {
            end.removeLast()
        }
        if let last = end.last {
            end[end.count - 1] = last + 1
            to = end
        } else {
            to = nil
        }
    }
}

/// A key with its value.
public struct StateEntry: Hashable, Sendable {
    /// The key's bytes.
    public let key: [UInt8]

    /// The value's bytes.
    public let value: [UInt8]

    /// Pairs a key with its value.
    public init(key: [UInt8], value: [UInt8]) {
        self.key = key
        self.value = value
    }
}

/// What the visitor of a scan wants after an entry.
public enum ScanStep: Sendable {
    /// The next entry, if there is one.
    case more

    /// No further entry.
    case stop
}
