/// IDLE: the primary has proposed nothing beyond a number, so that its silence is no reason to replace it (Aardvark section 5.3 has it
/// send empty PRE-PREPAREs instead, which are ordered). It is not ordered and rests on nothing.
public struct Idle: Hashable, Sendable {
    static let type: UInt8 = 0x20

    /// The view whose primary the sender is.
    public let view: View
    /// The last number that it has proposed, or that its NEW-VIEW has chosen.
    public let through: SequenceNumber

    /// Says that nothing beyond `through` is proposed in `view`.
    public init(view: View, through: SequenceNumber) {
        self.view = view
        self.through = through
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        view = View(try reader.readUInt64())
        through = SequenceNumber(try reader.readUInt64())
        try reader.finish()
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = [Self.type]
        bytes.append(littleEndian: view.rawValue)
        bytes.append(littleEndian: through.rawValue)
        return bytes
    }
}

/// PING: asks a peer for an answer, or is one: the time between is the round trip to it.
public struct Ping: Hashable, Sendable {
    static let type: UInt8 = 0x21

    /// Whether it answers the receiver's PING with this number.
    public let isAnswer: Bool
    /// A number that its first sender makes of use to itself.
    public let number: UInt64

    /// Makes a question or an answer.
    public init(isAnswer: Bool, number: UInt64) {
        self.isAnswer = isAnswer
        self.number = number
    }

    init(decoding source: [UInt8], in range: Range<Int>) throws(MalformedMessage) {
        var reader = ByteReader(source, in: range)
        _ = try reader.readUInt8()
        isAnswer = try reader.readFlag()
        number = try reader.readUInt64()
        try reader.finish()
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = [Self.type, isAnswer ? 1 : 0]
        bytes.append(littleEndian: number)
        return bytes
    }
}
