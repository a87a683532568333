import Aardvark
import StateStore

/// The stock service: an ordered map of byte strings, every operation atomic and in one order at all replicas.
///
/// Operations and results travel as ``KeyValueOperation`` and ``KeyValueResult`` encode them. The empty operation does
/// nothing and has an empty result: the benchmark's null workload, which measures the protocol alone.
public struct KeyValueService: ReplicatedService {
    /// Makes the service. It holds nothing: all its data is in the state it is handed.
    public init() {}

    /// Executes an encoded ``KeyValueOperation`` and returns an encoded ``KeyValueResult``, or nothing for the empty
    /// operation.
    public func execute(_ operation: [UInt8], in context: inout ExecutionContext) -> [UInt8] {
        if operation.isEmpty { return [] }
        switch Self.parse(operation) {
        case .success(let operation): return Self.execute(operation, in: &context.state).encoded
        case .failure(let refusal): return KeyValueResult.refused(refusal).encoded
        }
    }

    /// Answers an encoded operation that is read-only, or one that every replica would refuse; nil for one that could
    /// write.
    public func query(_ operation: [UInt8], in state: borrowing StateView) -> [UInt8]? {
        if operation.isEmpty { return [] }
        switch Self.parse(operation) {
        case .success(let operation): return Self.answer(operation, from: state)?.encoded
        case .failure(let refusal): return KeyValueResult.refused(refusal).encoded
        }
    }

    private static func parse(_ bytes: [UInt8]) -> Result<KeyValueOperation, KeyValueRefusal> {
        guard bytes.count <= KeyValueLimits.operationBytes else { return .failure(.operationTooLong) }
        guard let operation = KeyValueOperation(encoded: bytes) else { return .failure(.malformed) }
        do {
            try operation.validate()
        } catch {
            return .failure(error.refusal)
        }
        return .success(operation)
    }

    private static func execute(_ operation: KeyValueOperation, in state: inout ServiceState) -> KeyValueResult {
        do {
            switch operation {
            case .get(let key):
                return .value(state.get(key))
            case .scan(let range, let limit):
                return scan(range, limit: Int(limit), in: state.view)
            case .count:
                return .count(UInt64(state.count))
            case .put(let key, let value):
                try state.put(key, value)
                return .stored
            case .delete(let key):
                return .deleted(existed: state.delete(key))
            case .compareAndSwap(let key, let expected, let replacement):
                let current = state.get(key)
                guard current == expected else { return .mismatch(current: current) }
                if let replacement {
                    try state.put(key, replacement)
                } else {
                    state.delete(key)
                }
                return .swapped
            case .increment(let key, let amount):
                return try increment(key, by: amount, in: &state)
            }
        } catch {
            switch error {
            case .keyTooLong: return .refused(.keyTooLong)
            case .valueTooLong: return .refused(.valueTooLong)
            }
        }
    }

    private static func increment(
        _ key: [UInt8],
        by amount: Int64,
        in state: inout ServiceState
    ) throws(StateRefusal) -> KeyValueResult {
        var number: Int64 = 0
        if let value = state.get(key) {
            guard let parsed = DecimalNumber.parse(value) else { return .refused(.notANumber) }
            number = parsed
        }
        let (sum, overflow) = number.addingReportingOverflow(amount)
        guard !overflow else { return .refused(.overflow) }
        try state.put(key, DecimalNumber.format(sum))
        return .number(sum)
    }

    /// The answer to a read-only operation; nil when the operation is not read-only.
    private static func answer(_ operation: KeyValueOperation, from state: borrowing StateView) -> KeyValueResult? {
        switch operation {
        case .get(let key): .value(state.get(key))
        case .scan(let range, let limit): scan(range, limit: Int(limit), in: state)
        case .count: .count(UInt64(state.count))
        case .put, .delete, .compareAndSwap, .increment: nil
        }
    }

    /// Collects entries until the limit or the size of a result is reached. One entry of the largest size always fits,
    /// so that a scan makes progress.
    private static func scan(_ range: KeyRange, limit: Int, in state: borrowing StateView) -> KeyValueResult {
        var entries: [StateEntry] = []
        var next: [UInt8]?
        var bytes = KeyValueResult.entriesOverhead
        state.scan(range) { key, value in
            bytes += KeyValueResult.entryOverhead + key.count + value.count
            guard entries.count < limit, bytes <= KeyValueLimits.resultBytes else {
                next = key
                return .stop
            }
            entries.append(StateEntry(key: key, value: value))
            return .more
        }
        return .entries(entries, next: next)
    }
}

/// Whole numbers of 64 bits with a sign, as the values of counters are written: decimal digits, a minus sign where
/// needed, no plus sign and no leading zero. A number has one form only.
enum DecimalNumber {
    private static let longest = 20

    static func parse(_ text: [UInt8]) -> Int64? {
        guard text.count <= longest, let number = Int64(String(decoding: text, as: UTF8.self)) else { return nil }
        return format(number) == text ? number : nil
    }

    static func format(_ number: Int64) -> [UInt8] {
        Array(String(number).utf8)
    }
}
