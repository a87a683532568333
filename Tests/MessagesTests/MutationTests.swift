import Messages
import TestSupport
import Testing

/// What an attacker can make of golden messages: it is rejected, or it is the one encoding of what it decodes to.
struct MutationTests {
    /// Feeds bytes to a decoder and gives whether it took them.
    private func take(_ bytes: [UInt8], _ decoder: Decoder, in range: Range<Int>? = nil) -> Bool {
        do throws(MalformedMessage) {
            let canonical = try decoder.reencoded(bytes, in: range)
            if canonical != Array(bytes[range ?? 0..<bytes.count]) {
                Issue.record("\(decoder) took bytes that are not what it decoded: \(bytes)")
            }
            return true
        } catch {
            return false
        }
    }

    @Test(arguments: Golden.messages)
    func `Every truncation is rejected`(golden: Golden) throws {
        let bytes = try golden.message()
        for count in bytes.indices {
            for decoder in Decoder.allCases {
                #expect(!take(Array(bytes[..<count]), decoder))
                // The rest of the message lies behind the range, where a decoder must not look.
                #expect(!take(bytes, decoder, in: 0..<count))
            }
        }
    }

    @Test(arguments: Golden.messages)
    func `Bytes after the message are rejected`(golden: Golden) throws {
        let bytes = try golden.message()
        for decoder in Decoder.allCases {
            for last in UInt8.min...UInt8.max {
                #expect(!take(bytes + [last], decoder))
            }
            #expect(!take(bytes + bytes, decoder))
        }
    }

    @Test(arguments: Golden.messages)
    func `Every change of one byte is rejected or decodes to what it says`(golden: Golden) throws {
        var bytes = try golden.message()
        for index in bytes.indices {
            let original = bytes[index]
            for value in UInt8.min...UInt8.max where value != original {
                bytes[index] = value
                for decoder in Decoder.allCases where decoder == golden.decoder || index == 0 {
                    _ = take(bytes, decoder)
                }
            }
            bytes[index] = original
        }
    }

    @Test(arguments: Golden.messages)
    func `Lengths and counts of all ones anywhere are rejected or decode to what they say`(golden: Golden) throws {
        let bytes = try golden.message()
        for width in [2, 4, 8] where bytes.count >= width {
            for index in 0...(bytes.count - width) {
                var changed = bytes
                changed.replaceSubrange(index..<index + width, with: repeatElement(0xff, count: width))
                for decoder in Decoder.allCases {
                    _ = take(changed, decoder)
                }
            }
        }
    }

    @Test func `Random bytes never trap`() {
        var random = SplitMix64(seed: 1)
        let types: [UInt8] = [0x01, 0x02, 0x03] + Array(0x10...0x22) + [0x81, 0x82, 0x83]
        for _ in 0..<20_000 {
            var bytes = random.bytes(random.below(200))
            if !bytes.isEmpty, random.below(4) > 0 {
                bytes[0] = types[random.below(types.count)]
            }
            for decoder in Decoder.allCases {
                _ = take(bytes, decoder)
            }
        }
    }

    @Test func `Random edits of messages never trap`() throws {
        var random = SplitMix64(seed: 2)
        let messages = try Golden.messages.map { try $0.message() }
        for _ in 0..<10_000 {
            var bytes = messages[random.below(messages.count)]
            for _ in 0...random.below(4) {
                let start = random.below(bytes.count + 1)
                let end = min(bytes.count, start + random.below(9))
                switch random.below(3) {
                case 0:
                    bytes.replaceSubrange(start..<end, with: random.bytes(end - start))
                case 1:
                    bytes.replaceSubrange(start..<end, with: random.bytes(random.below(9)))
                default:
                    let other = messages[random.below(messages.count)]
                    bytes.replaceSubrange(start..<end, with: other[..<random.below(other.count)])
                }
            }
            for decoder in Decoder.allCases {
                _ = take(bytes, decoder)
            }
        }
    }

    @Test func `Ranges outside the bytes are rejected`() throws {
        let bytes: [UInt8] = [0x15, 0, 0, 0, 0, 0, 0, 0, 0]
        for range in [0..<0, 9..<9, 0..<10, 9..<18, 100..<109, -1..<8, -9..<0] {
            for decoder in Decoder.allCases {
                #expect(throws: MalformedMessage.truncated) { try decoder.reencoded(bytes, in: range) }
            }
            #expect(throws: MalformedMessage.self) { try Request(decoding: bytes, in: range) }
            #expect(throws: MalformedMessage.self) { try Reply.Payload(decoding: bytes, in: range) }
        }
        // A range that goes on behind a whole message is not clamped to it.
        for golden in Golden.messages {
            let message = try golden.message()
            for decoder in Decoder.allCases {
                #expect(!take(message, decoder, in: 0..<message.count + 1))
            }
        }
        for name in ["reply-session-opened", "reply-executed"] {
            let payload = try Golden.named(name).part("payload")
            #expect(throws: MalformedMessage.truncated) {
                try Reply.Payload(decoding: payload, in: 0..<payload.count + 1)
            }
        }
    }
}
