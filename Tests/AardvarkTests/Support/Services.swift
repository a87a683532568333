import Aardvark
import Dispatch
import StateStore
import Synchronization

/// Answers each operation with itself, but holds ``hold`` until it is opened: then something is surely under way.
final class GatedEcho: ReplicatedService {
    static let hold = Array("hold".utf8)

    private let gate = DispatchSemaphore(value: 0)
    private let held = AsyncStream.makeStream(of: Void.self)

    func execute(_ operation: [UInt8], in context: inout ExecutionContext) -> [UInt8] {
        if operation == Self.hold {
            held.continuation.yield()
            gate.wait()
            gate.signal()
        }
        return operation
    }

    func query(_ operation: [UInt8], in state: borrowing StateView) -> [UInt8]? { nil }

    /// Returns when a replica holds an operation.
    func waitUntilHeld() async {
        for await _ in held.stream { return }
    }

    /// Lets everything go, from now on.
    func open() {
        gate.signal()
    }
}

/// Answers with as many bytes as the operation's length times 1 MiB.
struct LargeAnswers: ReplicatedService {
    func execute(_ operation: [UInt8], in context: inout ExecutionContext) -> [UInt8] {
        Array(repeating: 7, count: operation.count << 20)
    }

    func query(_ operation: [UInt8], in state: borrowing StateView) -> [UInt8]? { nil }
}
