import Cryptography

/// Bounds on the messages of a state transfer.
public enum StateTransferLimits {
    /// The most subtrees one request may ask for.
    public static let requestPaths = 1024

    /// The most bytes an encoded request has.
    public static let requestBytes = 22 + requestPaths * (1 + MerkleFormat.depth / 2)

    /// The size at which an answer ends: no node is added to one whose nodes have at least this many bytes, or the
    /// number of bytes that the request asks for when that is smaller.
    ///
    /// So an answer has up to this many bytes and one node more, and the largest node fits into ``answerBytes``.
    public static let answerBudget = (1 << 20) - 4096

    /// The most bytes an encoded answer has.
    public static let answerBytes = 3 << 20

    /// The most nodes one answer may have; it bounds the work of an answer with tiny entries.
    public static let answerNodes = 8192
}

/// Asks another replica for nodes of the Merkle tree of a checkpoint.
///
/// Encoding, integers little-endian: number (u64), checkpoint (u64), budget (u32), count of subtrees (u16), and for each
/// its number of steps (u8; the high bit is set when the whole subtree is asked for), and the steps, two a byte, the
/// first in the high half; a half that is left over is 0.
public struct StateRequest: Hashable, Sendable {
    /// What is asked for at one path.
    public struct Subtree: Hashable, Sendable {
        /// Where it starts.
        public let path: SubtreePath

        /// Whether all nodes below are asked for too, and not only the node at the path.
        public let isWhole: Bool

        /// Asks for the node at `path`, and for all below it when `isWhole`.
        public init(_ path: SubtreePath, isWhole: Bool) {
            self.path = path
            self.isWhole = isWhole
        }
    }

    /// Names the request in its answer.
    public let number: UInt64

    /// The checkpoint whose tree is meant.
    public let checkpoint: UInt64

    /// The number of bytes at which the answer is to end, as ``StateTransferLimits/answerBudget`` does: at least 1, at
    /// most that.
    public let budget: Int

    /// What is asked for, in the order of the answer.
    public let subtrees: [Subtree]

    /// - Returns: nil when the budget or the number of subtrees is out of bounds, or there is no subtree.
    init?(number: UInt64, checkpoint: UInt64, budget: Int, subtrees: [Subtree]) {
        guard budget >= 1, budget <= StateTransferLimits.answerBudget else { return nil }
        guard !subtrees.isEmpty, subtrees.count <= StateTransferLimits.requestPaths else { return nil }
        self.number = number
        self.checkpoint = checkpoint
        self.budget = budget
        self.subtrees = subtrees
    }

    /// The request's one encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(22 + subtrees.count * 8)
        bytes.append(integer: number)
        bytes.append(integer: checkpoint)
        bytes.append(integer: UInt32(truncatingIfNeeded: budget))
        bytes.append(integer: UInt16(truncatingIfNeeded: subtrees.count))
        for subtree in subtrees {
            let steps = subtree.path.steps
            bytes.append(UInt8(truncatingIfNeeded: steps.count) | (subtree.isWhole ? 0x80 : 0))
            for place in stride(from: 0, to: steps.count, by: 2) {
                bytes.append(steps[place] << 4 | (place + 1 < steps.count ? steps[place + 1] : 0))
            }
        }
        return bytes
    }

    /// Reads a request.
    ///
    /// - Returns: nil when the bytes are not the encoding of a request within ``StateTransferLimits``.
    public init?(encoded bytes: [UInt8]) {
        guard bytes.count <= StateTransferLimits.requestBytes else { return nil }
        var reader = StateReader(bytes)
        guard let number = reader.integer(UInt64.self), let checkpoint = reader.integer(UInt64.self),
            let budget = reader.integer(UInt32.self), let count = reader.integer(UInt16.self),
            Int(count) <= StateTransferLimits.requestPaths
        else { return nil }
        var subtrees: [Subtree] = []
        subtrees.reserveCapacity(Int(count))
        for _ in 0..<count {
            guard let subtree = Self.subtree(from: &reader) else { return nil }
            subtrees.append(subtree)
        }
        guard reader.isAtEnd else { return nil }
        self.init(number: number, checkpoint: checkpoint, budget: Int(budget), subtrees: subtrees)
    }

    private static func subtree(from reader: inout StateReader) -> Subtree? {
        guard let head = reader.integer(UInt8.self) else { return nil }
        let count = Int(head & 0x7F)
        guard count <= MerkleFormat.depth, let packed = reader.bytes((count + 1) / 2) else { return nil }
        var steps: [UInt8] = []
        steps.reserveCapacity(count + 1)
        for byte in packed {
            steps.append(byte >> 4)
            steps.append(byte & 15)
        }
        if steps.count > count, steps.removeLast() != 0 { return nil }
        return SubtreePath(steps).map { Subtree($0, isWhole: head & 0x80 != 0) }
    }
}

/// Answers a ``StateRequest``.
///
/// Encoding, integers little-endian: number (u64) and kind (u8; 0: gone, 1: nodes). Then the nodes, up to the end. A
/// branch: 0 (u8), bit map (u16), digests (32 bytes each). A leaf: 1 for a key of the system or 2 for one of the service
/// (u8), length of the key (u16), length of the value (u32), key, value.
public struct StateAnswer: Hashable, Sendable {
    /// What a source has to say.
    public enum Content: Hashable, Sendable {
        /// The nodes of the subtrees in the order of the request, each branch directly before what is below it
        /// (pre-order, by rising steps); the answer may end after any node.
        case nodes([StateNode])

        /// The source has no such checkpoint, or not any more.
        case gone
    }

    /// The number of the request.
    public let number: UInt64

    /// What the source has to say.
    public let content: Content

    init(number: UInt64, content: Content) {
        self.number = number
        self.content = content
    }

    /// The answer's one encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        switch content {
        case .gone:
            bytes.append(integer: number)
            bytes.append(0)
        case .nodes(let nodes):
            bytes.reserveCapacity(nodes.reduce(9) { $0 + $1.encodedSize })
            bytes.append(integer: number)
            bytes.append(1)
            for node in nodes {
                node.append(to: &bytes)
            }
        }
        return bytes
    }

    /// Reads an answer.
    ///
    /// - Returns: nil when the bytes are not the encoding of an answer within ``StateTransferLimits`` whose entries are
    ///   within ``StateLimits``.
    public init?(encoded bytes: [UInt8]) {
        guard bytes.count <= StateTransferLimits.answerBytes else { return nil }
        var reader = StateReader(bytes)
        guard let number = reader.integer(UInt64.self), let kind = reader.integer(UInt8.self) else { return nil }
        self.number = number
        switch kind {
        case 0:
            guard reader.isAtEnd else { return nil }
            content = .gone
        case 1:
            var nodes: [StateNode] = []
            while !reader.isAtEnd {
                guard nodes.count < StateTransferLimits.answerNodes, let node = StateNode(from: &reader) else {
                    return nil
                }
                nodes.append(node)
            }
            content = .nodes(nodes)
        default:
            return nil
        }
    }
}

extension StateNode {
    /// The number of bytes that the node adds to an answer.
    var encodedSize: Int {
        switch self {
        case .branch(let branch): 3 + branch.children.count * 32
        case .leaf(_, let entry): 7 + entry.key.count + entry.value.count
        }
    }

    /// Appends the node as an answer has it.
    package func append(to bytes: inout [UInt8]) {
        switch self {
        case .branch(let branch):
            bytes.append(0)
            bytes.append(integer: branch.bitmap)
            for child in branch.children {
                child.append(to: &bytes)
            }
        case .leaf(let keyspace, let entry):
            bytes.append(1 + keyspace.rawValue)
            bytes.append(integer: UInt16(truncatingIfNeeded: entry.key.count))
            bytes.append(integer: UInt32(truncatingIfNeeded: entry.value.count))
            bytes.append(contentsOf: entry.key)
            bytes.append(contentsOf: entry.value)
        }
    }

    /// Reads a node that is all of `bytes`, as an answer has it.
    ///
    /// - Returns: nil when the bytes are not the encoding of a node within ``StateLimits``.
    package init?(encoded bytes: [UInt8]) {
        var reader = StateReader(bytes)
        self.init(from: &reader)
        guard reader.isAtEnd else { return nil }
    }

    /// The length of the encoding of a leaf that begins with these bytes, one of which ``init(encoded:)`` may still make nothing.
    ///
    /// - Returns: nil when there are too few bytes to tell.
    package static func leafLength(_ bytes: ArraySlice<UInt8>) -> Int? {
        guard bytes.count >= 7 else { return nil }
        var reader = StateReader(Array(bytes.prefix(7)))
        guard reader.integer(UInt8.self) != nil, let key = reader.integer(UInt16.self),
            let value = reader.integer(UInt32.self)
        else { return nil }
        return 7 + Int(key) + Int(value)
    }

    fileprivate init?(from reader: inout StateReader) {
        guard let tag = reader.integer(UInt8.self) else { return nil }
        if tag == 0 {
            guard let bitmap = reader.integer(UInt16.self) else { return nil }
            var children: [Digest] = []
            children.reserveCapacity(bitmap.nonzeroBitCount)
            for _ in 0..<bitmap.nonzeroBitCount {
                guard let child = reader.digest() else { return nil }
                children.append(child)
            }
            guard let branch = Branch(bitmap: bitmap, children: children) else { return nil }
            self = .branch(branch)
        } else {
            guard let keyspace = Keyspace(rawValue: tag - 1),
                let keyLength = reader.integer(UInt16.self), Int(keyLength) <= StateLimits.keyBytes,
                let valueLength = reader.integer(UInt32.self),
                Int(valueLength) <= StateLimits.valueBytes(in: keyspace),
                let key = reader.bytes(Int(keyLength)), let value = reader.bytes(Int(valueLength))
            else { return nil }
            self = .leaf(keyspace, StateEntry(key: Array(key), value: Array(value)))
        }
    }
}

extension StateDifference.Verified {
    private static let leafMark: UInt8 = 255

    /// Appends the node as it is staged: the number of steps of a branch's path (u8) and those (u8 each), or 255 for a leaf, then the node as
    /// an answer has it.
    func append(to bytes: inout [UInt8]) {
        if let steps = branchPath?.steps {
            bytes.append(UInt8(truncatingIfNeeded: steps.count))
            bytes.append(contentsOf: steps)
        } else {
            bytes.append(Self.leafMark)
        }
        node.append(to: &bytes)
    }

    /// Reads the nodes of a staged part and computes their digests.
    ///
    /// - Returns: nil when the bytes are not the encoding of nodes. A path that is wrong costs requests and nothing else.
    static func staged(in bytes: [UInt8], _ hasher: inout MerkleHasher) -> [Self]? {
        var reader = StateReader(bytes)
        var nodes: [Self] = []
        while !reader.isAtEnd {
            guard let count = reader.integer(UInt8.self) else { return nil }
            var path: SubtreePath?
            if count != leafMark {
                guard let found = reader.bytes(Int(count)).flatMap({ SubtreePath(Array($0)) }) else { return nil }
                path = found
            }
            guard let node = StateNode(from: &reader) else { return nil }
            nodes.append(Self(node, digest: hasher.digest(of: node), branchPath: path))
        }
        return nodes
    }
}

/// Reads the messages of a state transfer front to back, never past the end.
private struct StateReader {
    private let source: [UInt8]
    private var position = 0

    init(_ source: [UInt8]) {
        self.source = source
    }

    var isAtEnd: Bool { position == source.count }

    /// The next bytes, without a copy; nil when fewer are left.
    mutating func bytes(_ count: Int) -> ArraySlice<UInt8>? {
        guard count <= source.count - position else { return nil }
        defer { position += count }
        return source[position..<(position + count)]
    }

    mutating func integer<Integer: FixedWidthInteger>(_ type: Integer.Type) -> Integer? {
        guard let part = bytes(Integer.bitWidth / 8) else { return nil }
        return part.reversed().reduce(Integer.zero) { ($0 << 8) | Integer(truncatingIfNeeded: $1) }
    }

    mutating func digest() -> Digest? {
        guard let digest = Digest(source, at: position) else { return nil }
        position += Digest.byteCount
        return digest
    }
}

extension [UInt8] {
    /// Appends an integer, its lowest byte first.
    fileprivate mutating func append<Integer: FixedWidthInteger>(integer: Integer) {
        for shift in stride(from: 0, to: Integer.bitWidth, by: 8) {
            append(UInt8(truncatingIfNeeded: integer >> Integer(shift)))
        }
    }
}
