import Messages
import StateStore

/// An operation on one of a few 64-bit registers: what simulated clients ask for. The result of each depends on all operations on that
/// register before it, so a wrong order shows.
public struct RegisterOperation: Hashable, Sendable {
    /// What is done.
    public enum Kind: UInt8, Sendable, CaseIterable {
        /// Gives the value.
        case read = 0
        /// Sets the value and gives the one before.
        case swap = 1
        /// Adds to the value and gives the sum.
        case add = 2
        /// Sets the value if it is the expected one, and gives the one before.
        case compareAndSwap = 3
    }

    /// What is done.
    public let kind: Kind
    /// To which register.
    public let register: UInt8
    /// The new value, or what is added.
    public let argument: UInt64
    /// The value that a compare-and-swap expects.
    public let expected: UInt64
    /// The client's name for it, which changes nothing.
    public let tag: UInt64

    /// Describes an operation.
    public init(_ kind: Kind, register: UInt8, argument: UInt64 = 0, expected: UInt64 = 0, tag: UInt64 = 0) {
        self.kind = kind
        self.register = register
        self.argument = argument
        self.expected = expected
        self.tag = tag
    }

    static let byteCount = 26

    init?(decoding bytes: [UInt8]) {
        guard bytes.count == Self.byteCount, let kind = Kind(rawValue: bytes[0]) else { return nil }
        var reader = ByteReader(bytes, in: 2..<bytes.count)
        guard let argument = try? reader.readUInt64(), let expected = try? reader.readUInt64(),
            let tag = try? reader.readUInt64()
        else { return nil }
        self.init(kind, register: bytes[1], argument: argument, expected: expected, tag: tag)
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.byteCount)
        bytes.append(kind.rawValue)
        bytes.append(register)
        bytes.append(littleEndian: argument)
        bytes.append(littleEndian: expected)
        bytes.append(littleEndian: tag)
        return bytes
    }

    /// What the operation does to a register's value: the sequential model of the service.
    public func apply(to value: UInt64) -> (value: UInt64, result: UInt64) {
        switch kind {
        case .read: (value, value)
        case .swap: (argument, value)
        case .add: (value &+ argument, value &+ argument)
        case .compareAndSwap: (value == expected ? argument : value, value)
        }
    }
}

/// The service that simulated replicas run. Its data is in the store, like that of every service.
struct RegisterService {
    /// The result of an operation that is none.
    static let refusal: [UInt8] = [0xFF]

    func execute(_ operation: [UInt8], on store: InMemoryStateStore) -> [UInt8] {
        guard let operation = RegisterOperation(decoding: operation) else { return Self.refusal }
        let before = Self.value(of: operation.register, on: store)
        let (after, result) = operation.apply(to: before)
        if after != before { store.put(Self.encoded(after), at: [operation.register], in: .service) }
        return Self.answer(result, for: operation.register)
    }

    /// Results for every other register are long, so that most replicas send their digests only.
    private static func answer(_ result: UInt64, for register: UInt8) -> [UInt8] {
        encoded(result) + Array(repeating: register, count: register.isMultiple(of: 2) ? 0 : Reply.wholePayloadBytes)
    }

    /// The result of a read; nil for an operation that is not read-only.
    func query(_ operation: [UInt8], on store: InMemoryStateStore) -> [UInt8]? {
        guard let operation = RegisterOperation(decoding: operation), operation.kind == .read else { return nil }
        return Self.answer(Self.value(of: operation.register, on: store), for: operation.register)
    }

    private static func value(of register: UInt8, on store: InMemoryStateStore) -> UInt64 {
        guard let stored = store.value(of: [register], in: .service) else { return 0 }
        var reader = ByteReader(stored)
        return (try? reader.readUInt64()) ?? 0
    }

    private static func encoded(_ value: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: value)
        return bytes
    }

    /// The number in a result; nil for a refusal.
    static func value(of result: [UInt8]) -> UInt64? {
        guard result.count >= 8 else { return nil }
        var reader = ByteReader(result)
        return try? reader.readUInt64()
    }
}
