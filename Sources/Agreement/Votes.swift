import Cryptography
import Invariants
import Messages

/// A set of replicas in one machine word.
public struct VoteSet: Hashable, Sendable {
    private var bits: UInt64 = 0

    /// The empty set.
    public init() {}

    private init(bits: UInt64) { self.bits = bits }

    /// How many replicas are in the set.
    public var count: Int { bits.nonzeroBitCount }

    /// Whether a replica is in the set.
    public func contains(_ replica: ReplicaID) -> Bool {
        bits & Self.bit(replica) != 0
    }

    /// Puts a replica into the set.
    ///
    /// - Returns: false when it was there already: a second vote of one replica counts once.
    @discardableResult
    public mutating func insert(_ replica: ReplicaID) -> Bool {
        let bit = Self.bit(replica)
        defer { bits |= bit }
        return bits & bit == 0
    }

    /// Takes a replica out of the set, if it is there.
    public mutating func remove(_ replica: ReplicaID) {
        bits &= ~Self.bit(replica)
    }

    /// The replicas of both sets.
    func union(_ other: VoteSet) -> VoteSet { VoteSet(bits: bits | other.bits) }

    /// The replicas that are not in the other set.
    func subtracting(_ other: VoteSet) -> VoteSet { VoteSet(bits: bits & ~other.bits) }

    /// Whether no replica is in both sets.
    package func isDisjoint(with other: VoteSet) -> Bool { bits & other.bits == 0 }

    /// Whether every replica of this set is in the other one.
    package func isSubset(of other: VoteSet) -> Bool { bits & ~other.bits == 0 }

    private static func bit(_ replica: ReplicaID) -> UInt64 {
        invariant(replica.rawValue < 64, "a replica number over the largest cluster")
        return 1 << UInt64(replica.rawValue)
    }
}

/// The votes of one phase for one sequence number in one view: at most one of each replica, counted by the digest that it names.
struct VoteTally: Sendable {
    /// Who voted, for whatever digest.
    private(set) var voters = VoteSet()

    // Correct replicas name one digest, so a second one is rare and a list beats a dictionary.
    private var sets: [(digest: Digest, votes: VoteSet)] = []

    /// How many digests are voted for.
    var digests: Int { sets.count }

    /// Counts a vote.
    ///
    /// - Returns: false when the replica has voted before; its first vote stands.
    @discardableResult
    mutating func add(_ digest: Digest, from replica: ReplicaID) -> Bool {
        guard voters.insert(replica) else { return false }
        for index in sets.indices where sets[index].digest == digest {
            sets[index].votes.insert(replica)
            return true
        }
        var votes = VoteSet()
        votes.insert(replica)
        sets.append((digest, votes))
        return true
    }

    /// The digest that has so many votes, f + 1 at least; nil when there is none. Correct replicas do not give so many to two.
    func digest(with count: Int) -> Digest? {
        for set in sets where set.votes.count >= count {
            return set.digest
        }
        return nil
    }

    /// The replicas that voted for others than a digest.
    func votersAgainst(_ digest: Digest) -> VoteSet { voters.subtracting(votes(for: digest)) }

    /// The replicas that voted for a digest.
    func votes(for digest: Digest) -> VoteSet {
        for set in sets where set.digest == digest {
            return set.votes
        }
        return VoteSet()
    }
}
