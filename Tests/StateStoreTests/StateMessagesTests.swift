import Cryptography
import StateStore
import TestSupport
import Testing

/// Answers written by hand from the documented encoding.
enum TransferBytes {
    static func littleEndian(_ value: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    static func answer(_ number: UInt64, _ nodes: [StateNode]) -> [UInt8] {
        littleEndian(Int(truncatingIfNeeded: number), 8) + [1] + nodes.flatMap(node)
    }

    static func node(_ node: StateNode) -> [UInt8] {
        switch node {
        case .branch(let branch):
            [0] + littleEndian(Int(branch.bitmap), 2) + branch.children.flatMap(\.bytes)
        case .leaf(let keyspace, let entry):
            [keyspace == .system ? 1 : 2] + littleEndian(entry.key.count, 2) + littleEndian(entry.value.count, 4)
                + entry.key + entry.value
        }
    }
}

struct StateMessagesTests {
    private static func request(_ subtrees: [(head: UInt8, packed: [UInt8])], budget: Int = 1000) -> [UInt8] {
        TransferBytes.littleEndian(7, 8) + TransferBytes.littleEndian(128, 8)
            + TransferBytes.littleEndian(budget, 4) + TransferBytes.littleEndian(subtrees.count, 2)
            + subtrees.flatMap { [$0.head] + $0.packed }
    }

    private static func store() -> InMemoryStateStore {
        var random = SplitMix64(seed: 3)
        var twin = Twin()
        twin.fill(0..<100, &random)
        _ = twin.store.checkpoint(128)
        return twin.store
    }

    @Test func `a request has the documented encoding`() throws {
        let bytes = Self.request([(0x80, []), (3, [0x1F, 0x20]), (0x82, [0x00])])
        let request = try #require(StateRequest(encoded: bytes))
        #expect(request.number == 7)
        #expect(request.checkpoint == 128)
        #expect(request.budget == 1000)
        #expect(request.subtrees.map(\.path.steps) == [[], [1, 15, 2], [0, 0]])
        #expect(request.subtrees.map(\.isWhole) == [true, false, true])
        #expect(request.encoded == bytes)
        for end in bytes.indices {
            #expect(StateRequest(encoded: Array(bytes[..<end])) == nil)
        }
        #expect(StateRequest(encoded: bytes + [0]) == nil)
    }

    @Test func `requests out of bounds are refused`() {
        let root: (UInt8, [UInt8]) = (0, [])
        #expect(StateRequest(encoded: Self.request([])) == nil)
        #expect(StateRequest(encoded: Self.request([root], budget: 0)) == nil)
        #expect(StateRequest(encoded: Self.request([root], budget: StateTransferLimits.answerBudget)) != nil)
        #expect(StateRequest(encoded: Self.request([root], budget: StateTransferLimits.answerBudget + 1)) == nil)
        // A left-over half that is not 0 would be a second encoding.
        #expect(StateRequest(encoded: Self.request([(1, [0x10])])) != nil)
        #expect(StateRequest(encoded: Self.request([(1, [0x11])])) == nil)
        let deepest = Array(repeating: UInt8(0x11), count: 32)
        #expect(StateRequest(encoded: Self.request([(64, deepest)])) != nil)
        #expect(StateRequest(encoded: Self.request([(65, deepest + [0x10])])) == nil)
        let most = Array(repeating: (UInt8(64), deepest), count: StateTransferLimits.requestPaths)
        #expect(StateRequest(encoded: Self.request(most)) != nil)
        #expect(Self.request(most).count == StateTransferLimits.requestBytes)
        #expect(StateRequest(encoded: Self.request(Array(repeating: root, count: 1025))) == nil)
    }

    @Test func `an answer has the documented encoding and one only`() throws {
        let store = Self.store()
        let request = try #require(StateRequest(encoded: Self.request([(0x80, [])], budget: 4000)))
        let answer = store.answer(to: request)
        guard case .nodes(let nodes) = answer.content else {
            Issue.record("no nodes")
            return
        }
        let bytes = TransferBytes.answer(7, nodes)
        #expect(answer.encoded == bytes)
        #expect(StateAnswer(encoded: bytes) == answer)
        for end in bytes.indices {
            // Cut between two nodes it is a shorter answer.
            if let shorter = StateAnswer(encoded: Array(bytes[..<end])) {
                #expect(shorter.encoded == Array(bytes[..<end]))
            }
        }
        let gone = store.answer(to: try #require(StateRequest(encoded: [1] + Self.request([(0, [])]).dropFirst())))
        #expect(gone.number == 1)
        let head = TransferBytes.littleEndian(7, 8)
        #expect(StateAnswer(encoded: head + [0])?.content == .gone)
        #expect(StateAnswer(encoded: head + [0, 0]) == nil)
        #expect(StateAnswer(encoded: head + [1])?.content == .nodes([]))
        #expect(StateAnswer(encoded: head + [2]) == nil)
    }

    @Test func `answers out of bounds are refused`() {
        let head = TransferBytes.littleEndian(7, 8)
        func leaf(_ tag: UInt8, key: Int, value: Int) -> [UInt8] {
            head + [1, tag] + TransferBytes.littleEndian(key, 2) + TransferBytes.littleEndian(value, 4)
                + Array(repeating: 0, count: key + value)
        }
        #expect(StateAnswer(encoded: leaf(1, key: 1024, value: StateLimits.systemValueBytes)) != nil)
        #expect(StateAnswer(encoded: leaf(1, key: 1024, value: StateLimits.systemValueBytes + 1)) == nil)
        #expect(StateAnswer(encoded: leaf(2, key: 0, value: StateLimits.serviceValueBytes)) != nil)
        #expect(StateAnswer(encoded: leaf(2, key: 0, value: StateLimits.serviceValueBytes + 1)) == nil)
        #expect(StateAnswer(encoded: leaf(2, key: 1025, value: 0)) == nil)
        #expect(StateAnswer(encoded: leaf(3, key: 0, value: 0)) == nil)
        // A branch without children, and a length that no byte follows.
        #expect(StateAnswer(encoded: head + [1, 0, 0, 0]) == nil)
        #expect(StateAnswer(encoded: head + [1, 2, 0, 0, 255, 255, 15, 0]) == nil)
        let empty = [UInt8]([2, 0, 0, 0, 0, 0, 0])
        let many = { (count: Int) in head + [1] + Array(repeating: empty, count: count).joined() }
        #expect(StateAnswer(encoded: many(StateTransferLimits.answerNodes)) != nil)
        #expect(StateAnswer(encoded: many(StateTransferLimits.answerNodes + 1)) == nil)
    }

    @Test func `mutated messages are refused or have another meaning, and never stop the process`() throws {
        var random = SplitMix64(seed: 21)
        let store = Self.store()
        let requestBytes = Self.request([(0x80, []), (3, [0x1F, 0x20]), (0x82, [0x00])], budget: 4000)
        let answerBytes = store.answer(to: try #require(StateRequest(encoded: requestBytes))).encoded
        for _ in 0..<20_000 {
            for (place, original) in [requestBytes, answerBytes].enumerated() {
                var bytes = original
                for _ in 0...random.below(3) {
                    // Near the start as often as anywhere else.
                    let index = random.below(2) == 0 ? random.below(30) : random.below(bytes.count)
                    bytes[min(index, bytes.count - 1)] = random.bytes(1)[0]
                }
                if place == 0, let request = StateRequest(encoded: bytes) {
                    #expect(request.encoded == bytes)
                    let answer = store.answer(to: request)
                    if answer.content == .gone { #expect(request.checkpoint != 128) }
                }
                if place == 1, let answer = StateAnswer(encoded: bytes) {
                    #expect(answer.encoded == bytes)
                }
            }
        }
    }

    @Test func `an answer ends at the budget, at the most nodes, or where a path leads nowhere`() throws {
        let store = Self.store()
        func nodes(_ bytes: [UInt8]) throws -> [StateNode] {
            guard case .nodes(let nodes) = store.answer(to: try #require(StateRequest(encoded: bytes))).content else {
                return []
            }
            return nodes
        }
        #expect(try nodes(Self.request([(0x80, [])], budget: 1)).count == 1)
        #expect(try nodes(Self.request([(0, [])], budget: 100_000)).count == 1)
        #expect(try nodes(Self.request([(0x80, [])], budget: 100_000)).count == store.walk(checkpoint: 128).nodes)
        #expect(try nodes(Self.request([(0, []), (60, Array(repeating: 0, count: 30)), (0, [])])).count == 1)
        // The largest request for the same tree again and again still has a bounded answer.
        let all = Self.request(Array(repeating: (0x80, []), count: 1024), budget: StateTransferLimits.answerBudget)
        #expect(try nodes(all).count == StateTransferLimits.answerNodes)
    }
}
