import Cryptography
import StateStore
import Testing

struct ServiceStateTests {
    @Test func `a service sees and changes its own keyspace only`() throws {
        let store = InMemoryStateStore()
        store.put([1], at: [5], in: .system)
        var state = ServiceState(of: store)
        let before = (value: state.get([5]), count: state.count)
        #expect(before.value == nil)
        #expect(before.count == 0)
        try state.put([5], [2])
        let after = (value: state.get([5]), viewed: state.view.get([5]), entries: state.entries(.all, limit: 10))
        #expect(after.value == [2])
        #expect(after.viewed == [2])
        #expect(after.entries == [StateEntry(key: [5], value: [2])])
        #expect(store.value(of: [5], in: .system) == [1])
        let deleted = (first: state.delete([5]), second: state.delete([5]))
        #expect(deleted.first)
        #expect(!deleted.second)
        #expect(store.value(of: [5], in: .system) == [1])
    }

    @Test func `what is too long is refused and changes nothing`() throws {
        let store = InMemoryStateStore()
        var state = ServiceState(of: store)
        let key = [UInt8](repeating: 1, count: StateLimits.keyBytes)
        let value = [UInt8](repeating: 2, count: StateLimits.serviceValueBytes)
        try state.put(key, value)
        let longKey = refusal(of: key + [1], [1], by: &state)
        #expect(longKey == .keyTooLong(bytes: 1025))
        let longValue = refusal(of: [1], value + [1], by: &state)
        #expect(longValue == .valueTooLong(bytes: value.count + 1))
        #expect(store.count(in: .service) == 1)
        #expect(store.value(of: key, in: .service) == value)
        store.put([UInt8](repeating: 3, count: StateLimits.systemValueBytes), at: key, in: .system)
        var model = Model()
        model.set(key, to: value, in: .service)
        model.set(key, to: [UInt8](repeating: 3, count: StateLimits.systemValueBytes), in: .system)
        #expect(store.checkpoint(1) == model.root)
    }

    private func refusal(of key: [UInt8], _ value: [UInt8], by state: inout ServiceState) -> StateRefusal? {
        do {
            try state.put(key, value)
            return nil
        } catch {
            return error
        }
    }

    @Test func `entries stop at the limit`() throws {
        let store = InMemoryStateStore()
        var state = ServiceState(of: store)
        for number in UInt8(0)..<20 {
            try state.put([number], [number])
        }
        let entries = [0, -1, 3].map { state.entries(.all, limit: $0).map(\.key) }
        #expect(entries == [[], [], [[0], [1], [2]]])
        let last = state.view.entries(KeyRange(from: [18]), limit: 9)
        #expect(last.map(\.key) == [[18], [19]])
    }

    @Test(
        arguments: [
            ([], nil),
            ([1], [2]),
            ([1, 255], [2]),
            ([255], nil),
            ([255, 255], nil),
            ([0, 255, 255], [1]),
            ([7, 0], [7, 1]),
        ] as [([UInt8], [UInt8]?)]
    )
    func `a prefix ends where its successor begins`(prefix: [UInt8], end: [UInt8]?) {
        #expect(KeyRange(prefix: prefix) == KeyRange(from: prefix, to: end))
    }
}
