import Testing

@testable import Cryptography

struct SealedFrameTests {
    private let secret = SecretBytes(Array(0..<32))

    private func frames(_ plaintexts: [[UInt8]]) throws -> [[UInt8]] {
        let key = SealingKey(key: secret)
        return try plaintexts.map { plaintext in
            var frame: [UInt8] = []
            try key.seal(plaintext, appendingTo: &frame)
            return frame
        }
    }

    @Test func `A frame is its length, the ciphertext and the tag`() throws {
        let frame = try frames([[1, 2, 3]])[0]
        #expect(frame.count == 3 + SealedFrame.overheadByteCount)
        #expect(frame[..<4] == [19, 0, 0, 0])
        let nonce = try #require(AEAD.Nonce(Array(repeating: 0, count: 12)))
        #expect(
            Array(frame[4...]) == AEAD.seal([1, 2, 3], associated: [19, 0, 0, 0], nonce: nonce, key: Array(0..<32))
        )
    }

    @Test func `The nonce of a frame is four zero bytes and its number`() throws {
        let key = SealingKey(key: secret, counter: 0x0102_0304_0506_0708)
        var frame: [UInt8] = []
        try key.seal([7], appendingTo: &frame)
        let nonce = try #require(AEAD.Nonce([0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]))
        #expect(Array(frame[4...]) == AEAD.seal([7], associated: [17, 0, 0, 0], nonce: nonce, key: Array(0..<32)))
    }

    @Test func `Frames open in order, whatever lies before them in the buffer`() throws {
        let key = SealingKey(key: secret)
        let opening = OpeningKey(key: secret)
        var output: [UInt8] = [42]
        var starts: [Int] = []
        for length in 0..<200 {
            starts.append(output.count)
            try key.seal(Array(repeating: UInt8(length), count: length), appendingTo: &output)
        }
        #expect(output[0] == 42)
        for length in 0..<200 {
            let end = length + 1 < starts.count ? starts[length + 1] : output.count
            let plaintext = try opening.open(Array(output[starts[length]..<end]))
            #expect(plaintext == Array(repeating: UInt8(length), count: length))
        }
    }

    @Test func `Sealing in place gives the same frame`() throws {
        let plaintext = Array("some bytes".utf8)
        let expected = try frames([plaintext])[0]
        var bytes = [7, 7] + [UInt8](repeating: 1, count: 4) + plaintext + [UInt8](repeating: 2, count: 16)
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        try SealingKey(key: secret).sealInPlace(&raw, from: 2)
        #expect(bytes == [7, 7] + expected)
    }

    @Test func `Sealing in place refuses what has no room for a frame`() throws {
        let key = SealingKey(key: secret)
        var bytes = [UInt8](repeating: 0, count: 30)
        for offset in [-1, 11, 30, 31, .max, .min] {
            var span = bytes.mutableSpan
            var raw = unsafe span.mutableBytes
            var error: SealedFrameError?
            do throws(SealedFrameError) { try key.sealInPlace(&raw, from: offset) } catch let thrown { error = thrown }
            #expect(error == .tooShort)
        }
        #expect(bytes.allSatisfy { $0 == 0 })
    }

    @Test func `Every changed bit of a frame is refused, and the right frame still opens after it`() throws {
        let frame = try frames([[1, 2, 3]])[0]
        let opening = OpeningKey(key: secret)
        for index in frame.indices {
            for bit in 0..<8 {
                var changed = frame
                changed[index] ^= 1 << bit
                #expect(throws: SealedFrameError.self) { try opening.open(changed) }
            }
        }
        #expect(try opening.open(frame) == [1, 2, 3])
    }

    @Test func `Every truncation and every longer frame is refused`() throws {
        let frame = try frames([[1, 2, 3]])[0]
        let opening = OpeningKey(key: secret)
        for count in frame.indices {
            #expect(throws: SealedFrameError.tooShort) { try opening.open(Array(frame[..<count])) }
        }
        #expect(throws: SealedFrameError.tooLong) { try opening.open(frame + [0]) }
    }

    @Test func `Replayed, reordered and dropped frames are refused`() throws {
        let sealed = try frames([[1], [2], [3]])
        let opening = OpeningKey(key: secret)
        #expect(throws: SealedFrameError.notAuthentic) { try opening.open(sealed[1]) }
        #expect(try opening.open(sealed[0]) == [1])
        #expect(throws: SealedFrameError.notAuthentic) { try opening.open(sealed[0]) }
        #expect(throws: SealedFrameError.notAuthentic) { try opening.open(sealed[2]) }
        #expect(try opening.open(sealed[1]) == [2])
    }

    @Test func `A length field is bounded before memory is taken`() throws {
        let longest = UInt32(SealedFrame.maximumPlaintextByteCount + SealedFrame.tagByteCount)
        #expect(try SealedFrame.byteCount(lengthField: longest) == Int(longest) + 4)
        #expect(try SealedFrame.byteCount(lengthField: 16) == 20)
        #expect(throws: SealedFrameError.tooLong) { try SealedFrame.byteCount(lengthField: longest + 1) }
        #expect(throws: SealedFrameError.tooLong) { try SealedFrame.byteCount(lengthField: .max) }
        #expect(throws: SealedFrameError.tooShort) { try SealedFrame.byteCount(lengthField: 15) }
        #expect(throws: SealedFrameError.tooLong) {
            try OpeningKey(key: secret).open([0xff, 0xff, 0xff, 0xff] + Array(repeating: 0, count: 16))
        }
    }

    @Test func `The longest plaintext is sealed and opened, a longer one is refused`() throws {
        let longest = [UInt8](repeating: 3, count: SealedFrame.maximumPlaintextByteCount)
        let key = SealingKey(key: secret)
        var frame: [UInt8] = []
        #expect(throws: SealedFrameError.tooLong) { try key.seal(longest + [0], appendingTo: &frame) }
        #expect(frame.isEmpty)
        try key.seal(longest, appendingTo: &frame)
        #expect(try OpeningKey(key: secret).open(frame) == longest)
    }

    @Test func `A key whose numbers are used up seals and opens no more`() throws {
        let key = SealingKey(key: secret, counter: .max - 1)
        let opening = OpeningKey(key: secret, counter: .max - 1)
        var frame: [UInt8] = []
        try key.seal([1], appendingTo: &frame)
        #expect(try opening.open(frame) == [1])
        #expect(throws: SealedFrameError.counterExhausted) { try key.seal([1], appendingTo: &frame) }
        #expect(throws: SealedFrameError.counterExhausted) { try opening.open(frame) }
    }
}
