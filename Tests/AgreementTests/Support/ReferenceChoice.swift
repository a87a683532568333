import Agreement
import Cryptography
import Invariants
import Messages

/// What one member of S says, in small numbers: batches are named 1, 2, 3 …, and 0 is the null batch.
struct Word: Hashable {
    struct Claim: Hashable {
        let number: UInt64
        let batch: Int
        let view: UInt64

        init(_ number: UInt64, _ batch: Int, _ view: UInt64) {
            self.number = number
            self.batch = batch
            self.view = view
        }
    }

    var stable: UInt64 = 0
    var prepared: [Claim] = []
    var prePrepared: [Claim] = []

    static func digest(_ batch: Int) -> Digest {
        guard let digest = Digest([UInt8(batch)] + Array(repeating: 0, count: 31)) else {
            invariantViolated("a digest has 32 bytes")
        }
        return digest
    }

    /// The same as a VIEW-CHANGE. Its certificate and its signature were checked before the choice, which does not look at them.
    func viewChange(by replica: Int) -> ViewChange {
        func claims(_ claims: [Claim]) -> [BatchClaim] {
            claims.map { BatchClaim(SequenceNumber($0.number), Self.digest($0.batch), View($0.view)) }
                .sorted { ($0.sequence, $0.digest) < ($1.sequence, $1.digest) }
        }
        guard let cluster = ClusterID(Array(repeating: 7, count: 32)) else {
            invariantViolated("a cluster identifier has 32 bytes")
        }
        return ViewChange(
            view: View(9),
            replica: ReplicaID(UInt8(replica)),
            stable: SequenceNumber(stable),
            certificate: [],
            prepared: claims(prepared),
            prePrepared: claims(prePrepared),
            cluster: cluster,
            signer: NoSigner()
        )
    }
}

/// Signs nothing, at no cost.
private struct NoSigner: Signer {
    func sign(_ message: [UInt8]) -> Signature {
        guard let signature = Signature(Array(repeating: 0, count: 64)) else {
            invariantViolated("a signature has 64 bytes")
        }
        return signature
    }
}

/// What a new view starts from, in small numbers.
struct Choice: Hashable {
    let start: UInt64
    let batches: [Int]

    /// The batch at a number after the start; nil after the last one chosen.
    func batch(at number: UInt64) -> Int? {
        number > start && number - start <= UInt64(batches.count) ? batches[Int(number - start) - 1] : nil
    }
}

/// PBFT's choice of a new view's batches, a second time: slow, and written down as the rule reads (TOCS 2002 section 4.4).
///
/// The flags break it in the ways in which published implementations are broken, or take a condition away.
struct ReferenceChoice {
    /// f.
    var faults = 1
    /// M: a Q with so many batches at one number is full there.
    var batchesPerNumber = 4
    /// Whether claims about other numbers are left out.
    var looksAtOneNumberOnly = true
    /// Whether A2 counts members, rather than elements of their Qs.
    var countsMembers = true
    /// Whether A1 and B ask for members with h < n only.
    var asksForThoseBelow = true
    /// Whether A1 is tested.
    var testsA1 = true
    /// Whether A2 is tested.
    var testsA2 = true

    private var quorum: Int { 2 * faults + 1 }

    func choice(_ words: [Word]) -> Choice? {
        guard words.count >= quorum, let start = words.map(\.stable).max() else { return nil }
        return choice(words, after: start)
    }

    func choice(_ words: [Word], after start: UInt64) -> Choice? {
        var numbers = words.flatMap { $0.prepared.map(\.number) }
        for word in words {
            for claim in word.prePrepared {
                let batches = word.prePrepared.filter { $0.number == claim.number }.map(\.batch)
                if Set(batches).count >= batchesPerNumber { numbers.append(claim.number) }
            }
        }
        var batches: [Int] = []
        var number = start + 1
        while let last = numbers.max(), number <= last {
            guard let batch = batch(at: number, words) else { return nil }
            batches.append(batch)
            number += 1
        }
        return Choice(start: start, batches: batches)
    }

    /// The batch at one number; nil means that more members are needed.
    func batch(at number: UInt64, _ words: [Word]) -> Int? {
        func isAboutNumber(_ claim: Word.Claim) -> Bool { claim.number == number || !looksAtOneNumberOnly }
        let below = words.filter { $0.stable < number || !asksForThoseBelow }
        let candidates = words.flatMap(\.prepared).filter(isAboutNumber)
        let good = candidates.filter { candidate in
            let inAgreement = below.filter { word in
                word.prepared.filter(isAboutNumber).allSatisfy {
                    $0.view < candidate.view || ($0.view == candidate.view && $0.batch == candidate.batch)
                }
            }
            let vouching = words.map { word in
                let claims = word.prePrepared.filter {
                    isAboutNumber($0) && $0.batch == candidate.batch && $0.view >= candidate.view
                }
                return countsMembers ? min(claims.count, 1) : claims.count
            }
            return (inAgreement.count >= quorum || !testsA1)
                && (vouching.reduce(0, +) >= faults + 1 || !testsA2)
        }
        if let view = good.map(\.view).max() {
            return good.filter { $0.view == view }.map(\.batch).min()
        }
        let without = below.filter { !$0.prepared.contains(where: isAboutNumber) }
        return without.count >= quorum ? 0 : nil
    }
}
