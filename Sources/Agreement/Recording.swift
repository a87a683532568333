import Cryptography
import Messages

/// A signature that the engine asked its `Signer` for.
public struct RecordedSignature: Sendable, Hashable {
    /// The digest of what was signed.
    public let message: Digest
    /// The signature.
    public let signature: Signature

    /// Notes a signature.
    public init(of message: [UInt8], _ signature: Signature) {
        self.message = Digest.of(message)
        self.signature = signature
    }

    private init(message: Digest, signature: Signature) {
        self.message = message
        self.signature = signature
    }

    static func append(_ signatures: [RecordedSignature], to bytes: inout [UInt8]) {
        bytes.append(littleEndian: UInt16(signatures.count))
        for signed in signatures {
            signed.message.append(to: &bytes)
            signed.signature.append(to: &bytes)
        }
    }

    static func read(_ reader: inout ByteReader) throws(MalformedMessage) -> [RecordedSignature] {
        var signatures: [RecordedSignature] = []
        for _ in 0..<(try reader.readUInt16()) {
            let message = try reader.readDigest()
            signatures.append(RecordedSignature(message: message, signature: try reader.readSignature()))
        }
        return signatures
    }
}

/// An input of an engine with all that its outcome depends on, and what it brought forth.
public struct RecordedInput: Sendable {
    /// What the shell's clocks said.
    public let now: ClockReading
    /// The input.
    public let input: Input
    /// What the engine signed.
    public let signatures: [RecordedSignature]
    /// How many effects the input had.
    public let effects: UInt32
    /// The beginning of the running digest of all effects up to here.
    public let digest: UInt64

    func append(to bytes: inout [UInt8]) -> Bool {
        var body: [UInt8] = []
        body.append(littleEndian: now.monotonic.nanoseconds)
        body.append(littleEndian: now.wall.nanoseconds)
        body.append(littleEndian: effects)
        body.append(littleEndian: digest)
        RecordedSignature.append(signatures, to: &body)
        input.append(to: &body)
        guard body.count <= Recording.mostInputBytes else { return false }
        bytes.append(littleEndian: UInt32(body.count))
        bytes.append(littleEndian: ~UInt32(body.count))
        bytes.append(littleEndian: Recording.checksum(body))
        bytes.append(contentsOf: body)
        return true
    }
}

/// Why a recording cannot be read, or not on from here. The description is one sentence without a full stop.
public enum RecordingError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The bytes do not begin as a recording does.
    case notARecording
    /// The format is not ``Recording/version``.
    case otherFormat(UInt16)
    /// The header is damaged, or ends before its end.
    case damagedHeader
    /// The recording has a setting that this engine has not, or lacks one that it has: another version of the engine made it.
    case otherSettings(String)
    /// An input (counted from 1) is damaged; it begins so many bytes after the start of the file.
    case damagedInput(UInt64, offset: UInt64)

    /// What is wrong, in one sentence without a full stop.
    public var description: String {
        switch self {
        case .notARecording:
            "this is not a recording of a replica"
        case .otherFormat(let version):
            "the recording has format \(version), and this program reads format \(Recording.version) only"
        case .damagedHeader:
            "the header of the recording is damaged"
        case .otherSettings(let name):
            "the recording and this program do not have the same settings (\(name)): another version of the program made it"
        case .damagedInput(let number, let offset):
            "input \(number), at byte \(offset), is damaged; the \(number - 1) inputs before it are readable"
        }
    }
}

/// The file of a replica's inputs: what it was told at its start, then each ``RecordedInput``, in their order.
///
/// Header: 8 bytes that say what the file is, the format's version (u16), the length of the rest (u32), a checksum (u64), then: cluster
/// (32 bytes), number of replicas and the replica's own (u8 each), the number of settings (u8) and each with its length, name and value
/// (u64), the number of clients (u32) and each (u32, the epoch of its key as u32, and the key), and what it went on from: 0 (u8) for the
/// initial state, or 1, the batch that the state contained last (u64), the number of the engine's entries (u32) and each (key and, after
/// a byte 1, value; or 0), the number of log records (u32) and each, the number of checkpoints (u32) and each (u64 and root), and the
/// number of signatures (u16) and each, as in an input. What has no fixed length has its length (u32) before it.
///
/// Input: the length of the body (u32), its complement, a checksum of the body (u64), and the body: what the clocks said (u64 each), the
/// number of effects (u32), the digest (u64), the number of signatures (u16) and each (digest and signature), and the input. Integers are
/// little-endian; a checksum is the beginning of the digest of what it covers. The replica's keys are not in it; what clients asked for
/// is.
public enum Recording {
    /// The version of the format that is written and read here.
    public static let version: UInt16 = 4

    /// The longest header, and the longest body of an input, in bytes.
    public static let mostInputBytes = 1 << 30

    static let magic = Array("AARDVREC".utf8)
    static let headerPrefixBytes = 8 + 2 + 4 + 8
    static let inputPrefixBytes = 4 + 4 + 8

    static func checksum(_ bytes: [UInt8]) -> UInt64 { Digest.of(bytes).prefix }
}

/// Turns a replica's inputs into the bytes of a recording.
public struct RecordingWriter: Sendable {
    private var digest = EffectDigest()

    /// Begins a recording, whose header comes first.
    public init() {}

    /// The bytes that a recording begins with; nil when they are more than ``Recording/mostInputBytes``.
    public static func header(of start: RecordedStart) -> [UInt8]? {
        var body: [UInt8] = []
        start.append(to: &body)
        guard body.count <= Recording.mostInputBytes else { return nil }
        var bytes = Recording.magic
        bytes.append(littleEndian: Recording.version)
        bytes.append(littleEndian: UInt32(body.count))
        bytes.append(littleEndian: Recording.checksum(body))
        return bytes + body
    }

    /// Appends an input and what came of it.
    ///
    /// - Parameters:
    ///   - input: The input.
    ///   - now: What the clocks said.
    ///   - signatures: What the engine signed.
    ///   - effects: What the input brought forth.
    ///   - bytes: The recording.
    /// - Returns: false when the input is longer than ``Recording/mostInputBytes``, so that the recording has to end before it.
    public mutating func append(
        _ input: Input,
        now: ClockReading,
        signatures: [RecordedSignature],
        effects: ArraySlice<Effect>,
        to bytes: inout [UInt8]
    ) -> Bool {
        digest.add(effects)
        let recorded = RecordedInput(
            now: now,
            input: input,
            signatures: signatures,
            effects: UInt32(effects.count),
            digest: digest.prefix
        )
        return recorded.append(to: &bytes)
    }
}

/// Reads a recording that is handed to it piece by piece. No length in it is believed beyond the bytes that are there.
public struct RecordingReader: Sendable {
    private var bytes: [UInt8] = []
    private var position = 0

    /// How many inputs were read.
    public private(set) var inputs: UInt64 = 0
    /// How many bytes were read and understood.
    public private(set) var offset: UInt64 = 0

    /// Begins before the header.
    public init() {}

    /// How many bytes were handed in and not read yet: at the end of the file, those of an input that was not written to its end.
    public var unread: Int { bytes.count - position }

    /// Takes the next piece of the recording.
    public mutating func feed(_ piece: some Collection<UInt8>) {
        if position == bytes.count {
            bytes.removeAll(keepingCapacity: true)
            position = 0
        } else if position >= 1 << 20, position >= bytes.count / 2 {
            bytes.removeFirst(position)
            position = 0
        }
        bytes.append(contentsOf: piece)
    }

    private mutating func take(_ count: Int) {
        position += count
        offset += UInt64(count)
    }

    /// Reads the header.
    ///
    /// - Returns: How the run began; nil when more bytes are needed.
    public mutating func readHeader() throws(RecordingError) -> RecordedStart? {
        let known = min(unread, Recording.magic.count)
        guard bytes[position..<(position + known)].elementsEqual(Recording.magic.prefix(known)) else {
            throw .notARecording
        }
        guard unread >= Recording.headerPrefixBytes else { return nil }
        let prefix = try headerPrefix()
        guard prefix.version == Recording.version else { throw .otherFormat(prefix.version) }
        guard prefix.length <= Recording.mostInputBytes else { throw .damagedHeader }
        guard unread - Recording.headerPrefixBytes >= prefix.length else { return nil }
        let start = position + Recording.headerPrefixBytes
        let body = Array(bytes[start..<(start + prefix.length)])
        guard Recording.checksum(body) == prefix.checksum else { throw .damagedHeader }
        let found = try RecordedStart(decoding: body)
        take(Recording.headerPrefixBytes + prefix.length)
        return found
    }

    private func headerPrefix() throws(RecordingError) -> (version: UInt16, length: Int, checksum: UInt64) {
        var reader = ByteReader(bytes, in: (position + Recording.magic.count)..<bytes.count)
        do throws(MalformedMessage) {
            return (try reader.readUInt16(), Int(try reader.readUInt32()), try reader.readUInt64())
        } catch {
            throw .damagedHeader
        }
    }

    /// Reads the next input, after the header.
    ///
    /// - Returns: The input; nil when more bytes are needed.
    public mutating func next() throws(RecordingError) -> RecordedInput? {
        guard unread >= Recording.inputPrefixBytes else { return nil }
        let found: (input: RecordedInput, length: Int)?
        do throws(MalformedMessage) {
            found = try decodeNext()
        } catch {
            throw .damagedInput(inputs + 1, offset: offset)
        }
        guard let found else { return nil }
        take(found.length)
        inputs += 1
        return found.input
    }

    private func decodeNext() throws(MalformedMessage) -> (input: RecordedInput, length: Int)? {
        var reader = ByteReader(bytes, in: position..<bytes.count)
        let length = try reader.readUInt32()
        // A length that cannot be trusted would look like a recording that ends early.
        guard try reader.readUInt32() == ~length, length <= Recording.mostInputBytes else { throw .badField(.kind) }
        let checksum = try reader.readUInt64()
        guard reader.remaining >= Int(length) else { return nil }
        let body = Array(bytes[reader.position..<(reader.position + Int(length))])
        guard Recording.checksum(body) == checksum else { throw .badField(.kind) }
        return (try Self.input(body), Recording.inputPrefixBytes + Int(length))
    }

    private static func input(_ body: [UInt8]) throws(MalformedMessage) -> RecordedInput {
        var reader = ByteReader(body)
        let monotonic = Instant(nanoseconds: try reader.readUInt64())
        let wall = Timestamp(nanoseconds: try reader.readUInt64())
        let effects = try reader.readUInt32()
        let digest = try reader.readUInt64()
        let signatures = try RecordedSignature.read(&reader)
        return RecordedInput(
            now: ClockReading(monotonic: monotonic, wall: wall),
            input: try Input(decoding: body, from: reader.position),
            signatures: signatures,
            effects: effects,
            digest: digest
        )
    }
}
