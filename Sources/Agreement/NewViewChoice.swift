import Cryptography
import Messages

/// What a new view starts from: PBFT's decision procedure (TOCS 2002 section 4.4, figure 4), over exactly the VIEW-CHANGEs that NEW-VIEW
/// names. The new primary and every backup run it; it reads nothing but its arguments.
struct NewViewChoice: Hashable, Sendable {
    /// The highest stable checkpoint among the members.
    let start: SequenceNumber
    /// The batches of the numbers after ``start``, without gaps; `Digest.zero` is the null batch.
    let chosen: [Digest]

    /// Decides.
    ///
    /// - Parameters:
    ///   - members: VIEW-CHANGEs for one view, of different replicas, whose signatures and certificates are good.
    ///   - size: The cluster.
    ///   - digestsPerNumber: M: how many fresh digests a correct replica admits at one number.
    /// - Returns: nil when more VIEW-CHANGEs are needed.
    static func decide(
        _ members: [ViewChange],
        size: ClusterSize,
        digestsPerNumber: Int,
        mutations: Mutations = Mutations()
    ) -> NewViewChoice? {
        guard members.count >= mutations.quorum(of: size, unless: .beginsViewsWithFewer),
            let start = members.map(\.stable).max()
        else { return nil }
        var last = start
        for member in members {
            for claim in member.prepared where claim.sequence > last { last = claim.sequence }
            last = max(last, fullest(member.prePrepared, digestsPerNumber))
        }
        var chosen: [Digest] = []
        var sequence = start
        while sequence < last {
            sequence = sequence.next
            guard let digest = choose(sequence, members, size, mutations) else { return nil }
            chosen.append(digest)
        }
        return NewViewChoice(start: start, chosen: chosen)
    }

    /// The highest number at which a Q names as many digests as a replica admits: it could take no further one there, so the number must
    /// be decided.
    private static func fullest(_ prePrepared: [BatchClaim], _ digestsPerNumber: Int) -> SequenceNumber {
        var highest = SequenceNumber.zero
        var current = SequenceNumber.zero
        var digests: Set<Digest> = []
        for claim in prePrepared {
            if claim.sequence != current {
                current = claim.sequence
                digests = []
            }
            digests.insert(claim.digest)
            if digests.count >= digestsPerNumber { highest = max(highest, current) }
        }
        return highest
    }

    private static func choose(
        _ sequence: SequenceNumber,
        _ members: [ViewChange],
        _ size: ClusterSize,
        _ mutations: Mutations
    ) -> Digest? {
        let below = members.filter { $0.stable < sequence }
        var candidates: [BatchClaim] = []
        for member in members {
            // Claims about other numbers say nothing about this one: a published implementation forgets this filter.
            candidates.append(
                contentsOf: member.prepared.filter {
                    $0.sequence == sequence || mutations.contains(.takesPreparedOfOtherNumbers)
                }
            )
        }
        candidates.sort { $0.view > $1.view || ($0.view == $1.view && $0.digest < $1.digest) }
        for candidate in candidates
        where isUncontested(candidate, below, size, mutations) && isVouchedFor(candidate, members, size, mutations) {
            return candidate.digest
        }
        // B: so many have prepared nothing here that nothing can have committed.
        let without = below.filter { member in !member.prepared.contains { $0.sequence == sequence } }
        return without.count >= size.quorum || mutations.contains(.nullOtherwise) ? .zero : nil
    }

    /// A1: 2f + 1 members that have not yet made this number stable prepared nothing there that conflicts.
    private static func isUncontested(
        _ candidate: BatchClaim,
        _ below: [ViewChange],
        _ size: ClusterSize,
        _ mutations: Mutations
    ) -> Bool {
        if mutations.contains(.ignoresConflicts) { return true }
        return below.filter { member in
            member.prepared.allSatisfy { claim in
                claim.sequence != candidate.sequence || claim.view < candidate.view
                    || (claim.view == candidate.view && claim.digest == candidate.digest)
            }
        }.count >= size.quorum
    }

    /// A2: f + 1 members, each counted once, pre-prepared it in that view or later, so a correct one did and holds the batch.
    private static func isVouchedFor(
        _ candidate: BatchClaim,
        _ members: [ViewChange],
        _ size: ClusterSize,
        _ mutations: Mutations
    ) -> Bool {
        if mutations.contains(.ignoresVouchers) { return true }
        var vouchers = 0
        for member in members {
            let claims = member.prePrepared.count { claim in
                claim.sequence == candidate.sequence && claim.digest == candidate.digest && claim.view >= candidate.view
            }
            vouchers += mutations.contains(.countsClaimsAsMembers) ? claims : min(claims, 1)
        }
        return vouchers >= size.weakQuorum
    }
}
