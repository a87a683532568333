import Aardvark
import KeyValueService
import Messages
import StateStore
import Testing

/// The service over a store of its own, called as a replica calls it.
private struct Fixture {
    let store = InMemoryStateStore()
    let service = KeyValueService()

    func raw(_ operation: [UInt8]) -> [UInt8] {
        var context = ExecutionContext(client: ClientID(1), time: .zero, state: ServiceState(of: store))
        return service.execute(operation, in: &context)
    }

    func query(_ operation: [UInt8]) -> [UInt8]? {
        service.query(operation, in: StateView(of: store))
    }

    func execute(_ operation: KeyValueOperation) -> KeyValueResult? {
        KeyValueResult(encoded: raw(operation.encoded))
    }

    func value(_ key: String) -> String? {
        store.value(of: Array(key.utf8), in: .service).map { String(decoding: $0, as: UTF8.self) }
    }

    func set(_ key: String, _ value: String) {
        store.put(Array(value.utf8), at: Array(key.utf8), in: .service)
    }
}

private func bytes(_ text: String) -> [UInt8] {
    Array(text.utf8)
}

struct ServiceTests {
    private let fixture = Fixture()

    @Test func `the empty operation has an empty result`() {
        #expect(fixture.raw([]) == [])
        #expect(fixture.query([]) == [])
        #expect(fixture.store.count(in: .service) == 0)
    }

    @Test func `get, put, delete and count`() {
        #expect(fixture.execute(.get(key: [1])) == .value(nil))
        #expect(fixture.execute(.put(key: [1], value: [])) == .stored)
        #expect(fixture.execute(.get(key: [1])) == .value([]))
        #expect(fixture.execute(.put(key: [1], value: [5])) == .stored)
        #expect(fixture.execute(.put(key: [2], value: [6])) == .stored)
        #expect(fixture.execute(.get(key: [1])) == .value([5]))
        #expect(fixture.execute(.count) == .count(2))
        #expect(fixture.execute(.delete(key: [1])) == .deleted(existed: true))
        #expect(fixture.execute(.delete(key: [1])) == .deleted(existed: false))
        #expect(fixture.execute(.count) == .count(1))
    }

    @Test func `compare-and-swap acts only on what was expected`() {
        let key = bytes("k")
        #expect(
            fixture.execute(.compareAndSwap(key: key, expected: [1], replacement: [2])) == .mismatch(current: nil)
        )
        #expect(fixture.store.count(in: .service) == 0)
        #expect(fixture.execute(.compareAndSwap(key: key, expected: nil, replacement: [])) == .swapped)
        // An empty value is a value: not the same as no key.
        #expect(
            fixture.execute(.compareAndSwap(key: key, expected: nil, replacement: [3])) == .mismatch(current: [])
        )
        #expect(fixture.execute(.compareAndSwap(key: key, expected: [], replacement: [4])) == .swapped)
        #expect(
            fixture.execute(.compareAndSwap(key: key, expected: [5], replacement: nil)) == .mismatch(current: [4])
        )
        #expect(fixture.execute(.get(key: key)) == .value([4]))
        #expect(fixture.execute(.compareAndSwap(key: key, expected: [4], replacement: nil)) == .swapped)
        #expect(fixture.execute(.get(key: key)) == .value(nil))
        #expect(fixture.execute(.compareAndSwap(key: key, expected: nil, replacement: nil)) == .swapped)
        #expect(fixture.store.count(in: .service) == 0)
    }

    @Test func `increment counts from zero and writes decimal text`() {
        #expect(fixture.execute(.increment(key: bytes("n"), by: 5)) == .number(5))
        #expect(fixture.value("n") == "5")
        #expect(fixture.execute(.increment(key: bytes("n"), by: -7)) == .number(-2))
        #expect(fixture.value("n") == "-2")
        #expect(fixture.execute(.increment(key: bytes("n"), by: 2)) == .number(0))
        #expect(fixture.value("n") == "0")
    }

    @Test func `increment refuses to leave the 64 bits and keeps the value`() {
        fixture.set("n", "\(Int64.max)")
        #expect(fixture.execute(.increment(key: bytes("n"), by: 1)) == .refused(.overflow))
        #expect(fixture.value("n") == "9223372036854775807")
        #expect(fixture.execute(.increment(key: bytes("n"), by: .min)) == .number(-1))
        fixture.set("n", "\(Int64.min)")
        #expect(fixture.execute(.increment(key: bytes("n"), by: -1)) == .refused(.overflow))
        #expect(fixture.execute(.increment(key: bytes("n"), by: .max)) == .number(-1))
        #expect(fixture.execute(.increment(key: bytes("new"), by: .min)) == .number(.min))
    }

    @Test(arguments: ["", " ", "x", "1 ", " 1", "+1", "01", "-0", "-", "1.0", "0x1", "9223372036854775808", "١"])
    func `increment refuses what is no canonical number`(text: String) {
        fixture.set("n", text)
        #expect(fixture.execute(.increment(key: bytes("n"), by: 1)) == .refused(.notANumber))
        #expect(fixture.value("n") == text)
    }

    @Test func `a scan returns its range in order and says where to go on`() {
        for key in ["b", "a", "c", "ab", "aa"] {
            fixture.set(key, key)
        }
        let all = ["a", "aa", "ab", "b", "c"].map { StateEntry(key: bytes($0), value: bytes($0)) }
        #expect(fixture.execute(.scan(.all, limit: 10)) == .entries(all, next: nil))
        #expect(fixture.execute(.scan(.all, limit: 5)) == .entries(all, next: nil))
        #expect(fixture.execute(.scan(.all, limit: 2)) == .entries(Array(all[..<2]), next: bytes("ab")))
        #expect(
            fixture.execute(.scan(KeyRange(from: bytes("ab")), limit: 2))
                == .entries(Array(all[2..<4]), next: bytes("c"))
        )
        #expect(fixture.execute(.scan(KeyRange(prefix: bytes("a")), limit: 9)) == .entries(Array(all[..<3]), next: nil))
        let backwards = KeyRange(from: bytes("c"), to: bytes("a"))
        #expect(fixture.execute(.scan(backwards, limit: 9)) == .entries([], next: nil))
    }

    @Test func `a scan of large values goes on piece by piece and misses none`() throws {
        let longestKeys = (0..<5).map { [UInt8](repeating: UInt8($0), count: KeyValueLimits.keyBytes) }
        for (number, key) in longestKeys.enumerated() {
            let count = number < 3 ? KeyValueLimits.valueBytes : 1000
            #expect(fixture.execute(.put(key: key, value: [UInt8](repeating: 7, count: count))) == .stored)
        }
        var seen: [[UInt8]] = []
        var from: [UInt8]? = []
        var pieces = 0
        while let start = from, pieces < 10 {
            let encoded = fixture.raw(KeyValueOperation.scan(KeyRange(from: start), limit: 100).encoded)
            #expect(encoded.count <= KeyValueLimits.resultBytes)
            guard case .entries(let entries, let next) = try #require(KeyValueResult(encoded: encoded)) else {
                Issue.record("a scan was not answered with entries")
                return
            }
            seen += entries.map(\.key)
            from = next
            pieces += 1
        }
        #expect(seen == longestKeys)
        #expect(pieces == 4)
    }

    @Test func `a value of 1 MiB works and one byte more does not`() {
        let value = [UInt8](repeating: 3, count: 1_048_576)
        let key = [UInt8](repeating: 4, count: 1024)
        #expect(fixture.execute(.put(key: key, value: value)) == .stored)
        #expect(fixture.execute(.get(key: key)) == .value(value))
        #expect(fixture.raw(KeyValueOperation.get(key: key).encoded).count <= KeyValueLimits.resultBytes)
        #expect(fixture.execute(.put(key: key, value: value + [0])) == .refused(.valueTooLong))
        #expect(fixture.execute(.put(key: key + [0], value: [])) == .refused(.keyTooLong))
        #expect(fixture.execute(.put(key: [], value: [])) == .refused(.keyEmpty))
        #expect(fixture.execute(.get(key: key)) == .value(value))
        #expect(fixture.execute(.count) == .count(1))
    }

    /// An operation that breaks a limit; the test's log shows the limit and not the megabytes.
    struct Refused: CustomTestStringConvertible {
        let operation: KeyValueOperation
        let error: KeyValueLimitError
        var testDescription: String { error.description }
    }

    static let refused: [Refused] =
        ([
            (.get(key: []), .keyEmpty),
            (.delete(key: []), .keyEmpty),
            (.increment(key: [], by: 1), .keyEmpty),
            (.get(key: [UInt8](repeating: 1, count: 1025)), .keyTooLong(bytes: 1025)),
            (.compareAndSwap(key: [], expected: nil, replacement: nil), .keyEmpty),
            (
                .put(key: [1], value: [UInt8](repeating: 1, count: 1_048_577)),
                .valueTooLong(bytes: 1_048_577)
            ),
            (
                .compareAndSwap(key: [1], expected: [UInt8](repeating: 1, count: 1_048_577), replacement: nil),
                .valueTooLong(bytes: 1_048_577)
            ),
            (
                .compareAndSwap(key: [1], expected: nil, replacement: [UInt8](repeating: 1, count: 1_048_577)),
                .valueTooLong(bytes: 1_048_577)
            ),
            (
                .compareAndSwap(
                    key: [1],
                    expected: [UInt8](repeating: 1, count: 1_000_000),
                    replacement: [UInt8](repeating: 1, count: 1_000_000)
                ),
                .operationTooLong(bytes: 2_000_016)
            ),
            (.scan(.all, limit: 0), .scanLimit(entries: 0)),
            (.scan(.all, limit: 10_001), .scanLimit(entries: 10_001)),
            (.scan(KeyRange(from: [], to: [UInt8](repeating: 1, count: 1025)), limit: 1), .keyTooLong(bytes: 1025)),
        ] as [(KeyValueOperation, KeyValueLimitError)]).map { Refused(operation: $0, error: $1) }

    @Test(arguments: refused)
    func `client and replica refuse the same operations`(refused: Refused) {
        #expect(throws: refused.error) { try refused.operation.validate() }
        #expect(fixture.execute(refused.operation) == .refused(refused.error.refusal))
        #expect(fixture.store.count(in: .service) == 0)
    }

    @Test func `bytes that are no operation are refused`() {
        let malformed = KeyValueResult.refused(.malformed).encoded
        for operation in [[0], [8], [255], [1], [7, 0], [2, 1, 0, 0, 0, 5]] as [[UInt8]] {
            #expect(fixture.raw(operation) == malformed)
            #expect(fixture.query(operation) == malformed)
        }
        let long = [UInt8](repeating: 7, count: KeyValueLimits.operationBytes + 1)
        #expect(fixture.raw(long) == KeyValueResult.refused(.operationTooLong).encoded)
    }

    @Test(arguments: EncodingTests.operations)
    func `a query answers what is read-only as execution does and nothing else`(
        operation: KeyValueOperation,
        text: String
    ) {
        fixture.set("k", "41")
        let writes = (try? operation.validate()) != nil && !operation.isReadOnly
        let before = fixture.store.checkpoint(1)
        let answer = fixture.query(operation.encoded)
        #expect(fixture.store.checkpoint(2) == before)
        if writes {
            #expect(answer == nil)
        } else {
            #expect(answer == fixture.raw(operation.encoded))
            #expect(fixture.store.checkpoint(3) == before)
        }
    }
}
