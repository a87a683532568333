import Cryptography
import KeyValueService
import StateStore
import Testing

/// The encodings byte for byte: the text is hexadecimal, spaces stand between fields.
struct EncodingTests {
    private static func bytes(_ text: String) -> [UInt8]? {
        Hexadecimal.decode(text.filter { $0 != " " })
    }

    static let operations: [(KeyValueOperation, String)] = [
        (.get(key: [0x6B]), "01 01000000 6b"),
        (.put(key: [0x6B], value: [1, 2]), "02 01000000 6b 02000000 0102"),
        (.put(key: [], value: []), "02 00000000 00000000"),
        (.delete(key: [0x6B, 0]), "03 02000000 6b00"),
        (.compareAndSwap(key: [0x6B], expected: nil, replacement: [7]), "04 01000000 6b 00 01 01000000 07"),
        (.compareAndSwap(key: [0x6B], expected: [7], replacement: nil), "04 01000000 6b 01 01000000 07 00"),
        (.increment(key: [0x6B], by: -2), "05 01000000 6b feffffffffffffff"),
        (.increment(key: [0x6B], by: 258), "05 01000000 6b 0201000000000000"),
        (.scan(.all, limit: 10), "06 00000000 00 0a000000"),
        (.scan(KeyRange(from: [1], to: [2, 3]), limit: 256), "06 01000000 01 01 02000000 0203 00010000"),
        (.count, "07"),
    ]

    static let results: [(KeyValueResult, String)] = [
        (.value(nil), "01 00"),
        (.value([9]), "01 01 01000000 09"),
        (.stored, "02"),
        (.deleted(existed: false), "03 00"),
        (.deleted(existed: true), "03 01"),
        (.swapped, "04"),
        (.mismatch(current: nil), "05 00"),
        (.mismatch(current: []), "05 01 00000000"),
        (.number(-1), "06 ffffffffffffffff"),
        (.entries([], next: nil), "07 00000000 00"),
        (
            .entries([StateEntry(key: [1], value: [2, 3])], next: [4]),
            "07 01000000 01000000 01 02000000 0203 01 01000000 04"
        ),
        (.count(3), "08 0300000000000000"),
        (.refused(.malformed), "09 01"),
        (.refused(.overflow), "09 08"),
    ]

    @Test(arguments: operations)
    func `operations have their golden bytes`(operation: KeyValueOperation, text: String) throws {
        let bytes = try #require(Self.bytes(text))
        #expect(operation.encoded == bytes)
        #expect(KeyValueOperation(encoded: bytes) == operation)
    }

    @Test(arguments: results)
    func `results have their golden bytes`(result: KeyValueResult, text: String) throws {
        let bytes = try #require(Self.bytes(text))
        #expect(result.encoded == bytes)
        #expect(KeyValueResult(encoded: bytes) == result)
    }

    /// Every truncation, every extension by a byte and every change of a byte.
    private static func damaged(_ bytes: [UInt8]) -> [[UInt8]] {
        var variants = (0..<bytes.count).map { Array(bytes.prefix($0)) }
        variants += [bytes + [0], bytes + [1]]
        for place in bytes.indices {
            for change in UInt8(1)...255 {
                var variant = bytes
                variant[place] ^= change
                variants.append(variant)
            }
        }
        return variants
    }

    @Test(arguments: operations)
    func `damaged operations are rejected or mean what they say`(operation: KeyValueOperation, text: String) throws {
        let bytes = try #require(Self.bytes(text))
        for length in 0..<bytes.count {
            #expect(KeyValueOperation(encoded: Array(bytes.prefix(length))) == nil)
        }
        for variant in Self.damaged(bytes) {
            if let decoded = KeyValueOperation(encoded: variant) {
                #expect(decoded.encoded == variant)
                #expect(decoded != operation)
            }
        }
    }

    @Test(arguments: results)
    func `damaged results are rejected or mean what they say`(result: KeyValueResult, text: String) throws {
        let bytes = try #require(Self.bytes(text))
        for length in 0..<bytes.count {
            #expect(KeyValueResult(encoded: Array(bytes.prefix(length))) == nil)
        }
        for variant in Self.damaged(bytes) {
            if let decoded = KeyValueResult(encoded: variant) {
                #expect(decoded.encoded == variant)
                #expect(decoded != result)
            }
        }
    }

    @Test func `a count of entries that the bytes cannot hold is rejected`() {
        #expect(KeyValueResult(encoded: [7, 0xFF, 0xFF, 0xFF, 0xFF, 0]) == nil)
        #expect(KeyValueResult(encoded: [7, 1, 0, 0, 0, 0]) == nil)
        #expect(KeyValueOperation(encoded: [1, 0xFF, 0xFF, 0xFF, 0xFF, 0]) == nil)
    }

    @Test func `every refusal has its code`() {
        for refusal in KeyValueRefusal.allCases {
            #expect(KeyValueResult(encoded: [9, refusal.rawValue]) == .refused(refusal))
        }
        #expect(KeyValueResult(encoded: [9, 0]) == nil)
        #expect(KeyValueResult(encoded: [9, 9]) == nil)
    }
}
