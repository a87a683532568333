import Cryptography
import Messages
import Testing

struct AdministrationTests {
    private static func key(_ byte: UInt8) throws -> PublicKey {
        try #require(PublicKey(Array(repeating: byte, count: 32)))
    }

    private static func operations() throws -> [AdministrationOperation] {
        let last = ClientID(ClientID.mostNumber)
        return [
            .add(nil, try key(1)), .add(ClientID(0), try key(2)), .add(last, try key(0xff)),
            .replaceKey(ClientID(7), try key(3)), .remove(last), .list(from: ClientID(256)),
        ]
    }

    private static func results() throws -> [AdministrationResult] {
        let clients = [ClientKey(ClientID(1), try key(1)), ClientKey(ClientID(9), try key(2), epoch: KeyEpoch(.max))]
        return [
            .added(ClientID(8), KeyEpoch(3)), .keyReplaced(ClientID(8), KeyEpoch(.max)), .removed(ClientID(8)),
            .exists(ClientID(8)), .unknown(ClientID(8)), .keyInUse(ClientID(8)), .keyInUse(ClientID(administrator: 3)),
            .full, .malformed, .clients([], isComplete: true), .clients(clients, isComplete: false),
        ]
    }

    @Test func `operations and results come back from their encodings, and from no prefix or extension of them`() throws
    {
        for operation in try Self.operations() {
            let bytes = operation.encoded
            #expect(try AdministrationOperation(decoding: bytes) == operation)
            for count in bytes.indices {
                #expect(throws: MalformedMessage.truncated) {
                    try AdministrationOperation(decoding: Array(bytes[..<count]))
                }
            }
            #expect(throws: MalformedMessage.trailingBytes) { try AdministrationOperation(decoding: bytes + [0]) }
        }
        for result in try Self.results() {
            let bytes = result.encoded
            #expect(try AdministrationResult(decoding: bytes) == result)
            for count in bytes.indices {
                #expect(throws: MalformedMessage.truncated) {
                    try AdministrationResult(decoding: Array(bytes[..<count]))
                }
            }
            #expect(throws: MalformedMessage.trailingBytes) { try AdministrationResult(decoding: bytes + [0]) }
        }
    }

    @Test func `whatever one byte is changed to, the encoding stays the only one`() throws {
        for original in try Self.operations().map(\.encoded) {
            var bytes = original
            for index in bytes.indices {
                for value in UInt8.min...UInt8.max {
                    bytes[index] = value
                    if let decoded = try? AdministrationOperation(decoding: bytes) { #expect(decoded.encoded == bytes) }
                }
                bytes[index] = original[index]
            }
        }
        for original in try Self.results().map(\.encoded) {
            var bytes = original
            for index in bytes.indices {
                for value in UInt8.min...UInt8.max {
                    bytes[index] = value
                    if let decoded = try? AdministrationResult(decoding: bytes) { #expect(decoded.encoded == bytes) }
                }
                bytes[index] = original[index]
            }
        }
    }

    @Test func `who the administrators are cannot be changed`() throws {
        let number = Array(Canonical.integer(ClientID(administrator: 0).rawValue))
        let key = [UInt8](repeating: 1, count: 32)
        for bytes in [[1] + number + key, [2] + number + key, [3] + number, [4] + number] {
            #expect(throws: MalformedMessage.badField(.client)) { try AdministrationOperation(decoding: bytes) }
        }
    }

    @Test func `a list is bounded before it takes memory`() throws {
        let most = UInt32(MessageLimits.clientsPerList)
        #expect(throws: MalformedMessage.overLimit(.clients)) {
            try AdministrationResult(decoding: [8, 1] + Canonical.integer(most + 1))
        }
        #expect(throws: MalformedMessage.truncated) {
            try AdministrationResult(decoding: [8, 1] + Canonical.integer(most))
        }
        let key = try Self.key(4)
        let full = (0..<most).map { ClientKey(ClientID($0), key) }
        let encoded = AdministrationResult.clients(full, isComplete: true).encoded
        #expect(encoded.count <= MessageLimits.resultBytes)
        #expect(try AdministrationResult(decoding: encoded) == .clients(full, isComplete: true))
    }

    @Test func `clients and administrators share a space of numbers without meeting`() {
        let administrator = ClientID(administrator: 7)
        #expect(administrator.isAdministrator && !ClientID(7).isAdministrator)
        #expect(administrator != ClientID(7) && ClientID(ClientID.mostNumber) < ClientID(administrator: 0))
        #expect("\(administrator) \(ClientID(7))" == "a7 c7")
        for identity in [Identity.client(7), .administrator(7), .client(ClientID.mostNumber)] {
            #expect(ClientID(identity)?.identity == identity)
        }
        #expect(ClientID(.replica(1)) == nil)
        #expect(ClientID(.client(ClientID.mostNumber + 1)) == nil && ClientID(.administrator(.max)) == nil)
    }
}
