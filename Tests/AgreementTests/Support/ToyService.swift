import Cryptography
import Messages

/// A service whose every result and whose state depend on all that was executed before, in which order and at which agreed time.
struct ToyService {
    /// An operation that was executed.
    struct Step: Hashable {
        let client: ClientID
        let operation: [UInt8]
        let time: Timestamp
    }

    private(set) var steps: [Step] = []
    private(set) var digest = Digest.zero

    /// The result is the position in the order and the operation; `big:N` gives N zero bytes instead.
    mutating func execute(_ operation: [UInt8], of client: ClientID, at time: Timestamp) -> [UInt8] {
        steps.append(Step(client: client, operation: operation, time: time))
        var bytes = digest.bytes
        bytes.append(littleEndian: client.rawValue)
        bytes.append(littleEndian: time.nanoseconds)
        digest = Digest.of(bytes + operation)
        let text = String(decoding: operation, as: UTF8.self)
        if text.hasPrefix("big:"), let count = Int(text.dropFirst(4)) {
            return Array(repeating: 0, count: count)
        }
        return Self.result(position: steps.count, text)
    }

    static func result(position: Int, _ operation: String) -> [UInt8] {
        Array("\(position):\(operation)".utf8)
    }
}
