import Cryptography
import Invariants

/// A replica's number: 0 to n - 1. View v's primary is replica v mod n (PBFT section 4.1).
public struct ReplicaID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The number itself.
    public let rawValue: UInt8

    /// Names the replica with this number.
    public init(_ rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// The number as an index into arrays that hold one element a replica.
    public var index: Int { Int(rawValue) }

    /// The order of the numbers.
    public static func < (left: ReplicaID, right: ReplicaID) -> Bool { left.rawValue < right.rawValue }

    /// For example `r2`.
    public var description: String { "r\(rawValue)" }
}

/// Who sends requests: a client, or an administrator, whose requests change who the clients are. Administrators have sessions and
/// numbered requests as clients do, so they share the clients' space of numbers: theirs have the highest bit set.
public struct ClientID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The highest number that a client or an administrator may have.
    public static let mostNumber = administratorBit - 1

    private static let administratorBit: UInt32 = 1 << 31

    /// The number as it is on the wire: an administrator's is 2³¹ more than in the cluster file.
    public let rawValue: UInt32

    /// Takes a number from the wire: names the client with this number, or from 2³¹ on an administrator.
    public init(_ rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Names an administrator.
    ///
    /// - Parameter number: At most ``mostNumber``.
    public init(administrator number: UInt32) {
        invariant(number <= Self.mostNumber, "an administrator's number is below 2^31")
        rawValue = number | Self.administratorBit
    }

    /// Names the client or administrator at the other end of a connection.
    ///
    /// - Returns: nil for a replica, and for a number above ``mostNumber``, which nobody has.
    public init?(_ identity: Identity) {
        guard identity.role != .replica, identity.number <= Self.mostNumber else { return nil }
        self = identity.role == .administrator ? Self(administrator: identity.number) : Self(identity.number)
    }

    /// Whether this is an administrator.
    public var isAdministrator: Bool { rawValue >= Self.administratorBit }

    /// The number without the role: as the cluster file has it.
    public var number: UInt32 { rawValue & Self.mostNumber }

    /// The same as an end of a connection.
    public var identity: Identity { Identity(role: isAdministrator ? .administrator : .client, number: number) }

    /// The order of the numbers, clients first.
    public static func < (left: ClientID, right: ClientID) -> Bool { left.rawValue < right.rawValue }

    /// For example `c7`, or `a0` for an administrator.
    public var description: String { "\(isAdministrator ? "a" : "c")\(number)" }
}

/// A view: the span in which one replica is primary (PBFT section 4.1). Views only grow.
public struct View: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The view's number, from 0.
    public let rawValue: UInt64

    /// Names the view with this number.
    public init(_ rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// The replica that is primary in this view: v mod n.
    public func primary(in size: ClusterSize) -> ReplicaID {
        ReplicaID(UInt8(rawValue % UInt64(size.replicas)))
    }

    /// The order of the numbers.
    public static func < (left: View, right: View) -> Bool { left.rawValue < right.rawValue }

    /// For example `v3`.
    public var description: String { "v\(rawValue)" }
}

/// The place of a batch in the order of execution, from 1; 0 stands for the initial state (PBFT section 4.2).
public struct SequenceNumber: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The number before the first batch.
    public static let zero = SequenceNumber(0)

    /// The number itself.
    public let rawValue: UInt64

    /// Names the place with this number.
    public init(_ rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// The place after this one. Numbers from the wire are checked against the water marks first, so this cannot overflow.
    public var next: SequenceNumber { SequenceNumber(rawValue + 1) }

    /// The order of the numbers.
    public static func < (left: SequenceNumber, right: SequenceNumber) -> Bool { left.rawValue < right.rawValue }

    /// For example `n42`.
    public var description: String { "n\(rawValue)" }
}

/// How often a client's key was set: a signature or MAC is good under the key of its epoch only.
public struct KeyEpoch: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The epoch of the keys that a cluster starts with.
    public static let genesis = KeyEpoch(0)

    /// The number itself.
    public let rawValue: UInt32

    /// Names the epoch with this number.
    public init(_ rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// The order of the numbers.
    public static func < (left: KeyEpoch, right: KeyEpoch) -> Bool { left.rawValue < right.rawValue }

    /// For example `k1`.
    public var description: String { "k\(rawValue)" }
}

/// One life of a client: opened by an ordered request, its request numbers start at 1. A later session makes an earlier one void, so
/// that a client that lost its counter neither stalls nor signs one number twice.
public struct SessionID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The session's number; 0 stands for "none opened yet".
    public let rawValue: UInt64

    /// Names the session with this number.
    public init(_ rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// The order of the numbers.
    public static func < (left: SessionID, right: SessionID) -> Bool { left.rawValue < right.rawValue }

    /// For example `s9`.
    public var description: String { "s\(rawValue)" }
}

/// A request's number in its session: 0 opens the session, operations are numbered from 1 without gaps (the timestamp t of PBFT
/// section 4.1, which is a counter).
public struct RequestNumber: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The number of the request that opens a session.
    public static let opening = RequestNumber(0)

    /// The number itself.
    public let rawValue: UInt64

    /// Names the request with this number.
    public init(_ rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// The order of the numbers.
    public static func < (left: RequestNumber, right: RequestNumber) -> Bool { left.rawValue < right.rawValue }

    /// For example `#12`.
    public var description: String { "#\(rawValue)" }
}

/// A point of the time that replicas agree on, in nanoseconds since 1970-01-01 00:00 UTC, without leap seconds.
public struct Timestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Before every proposal.
    public static let zero = Timestamp(nanoseconds: 0)

    /// Nanoseconds since the start of 1970.
    public let nanoseconds: UInt64

    /// Names a point of time.
    public init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    /// The order of time.
    public static func < (left: Timestamp, right: Timestamp) -> Bool { left.nanoseconds < right.nanoseconds }

    /// The nanoseconds in decimal.
    public var description: String { "\(nanoseconds)ns" }
}

/// How many replicas there are, and how many of them must agree (PBFT section 4: n = 3f + 1).
public struct ClusterSize: Hashable, Sendable {
    /// The largest number of faulty replicas that a cluster can be set up for: 3 x 21 + 1 = 64 replicas fit one machine word of votes.
    public static let mostFaults = 21

    /// f: how many replicas may be faulty, at least 1.
    public let faults: Int

    /// The size that tolerates `faults` faulty replicas.
    ///
    /// - Returns: nil unless 1 <= faults <= ``mostFaults``.
    public init?(faults: Int) {
        guard (1...Self.mostFaults).contains(faults) else { return nil }
        self.faults = faults
    }

    /// The size of a cluster with this many replicas.
    ///
    /// - Returns: nil unless the number is 3f + 1 with 1 <= f <= ``mostFaults``.
    public init?(replicas: Int) {
        guard replicas >= 4, replicas % 3 == 1 else { return nil }
        self.init(faults: (replicas - 1) / 3)
    }

    /// n = 3f + 1.
    public var replicas: Int { 3 * faults + 1 }

    /// 2f + 1: two sets of this size share a correct replica.
    public var quorum: Int { 2 * faults + 1 }

    /// f + 1: a set of this size has a correct replica in it.
    public var weakQuorum: Int { faults + 1 }

    /// Every replica, in order.
    public var members: [ReplicaID] { (0..<UInt8(replicas)).map(ReplicaID.init) }

    /// Whether a replica with this number exists.
    public func contains(_ replica: ReplicaID) -> Bool { replica.index < replicas }
}
