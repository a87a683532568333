import Cryptography
import Invariants
import Messages
import TestSupport
import Testing

@testable import Agreement

/// The choice of what a new view starts from, against a second implementation, and against the known bugs of others.
struct NewViewChoiceTests {
    private typealias Claim = Word.Claim

    /// A word with its VIEW-CHANGE, which is made once.
    private struct Member {
        let word: Word
        let viewChange: ViewChange

        init(_ word: Word) {
            self.word = word
            viewChange = word.viewChange(by: 0)
        }
    }

    // MARK: Comparison

    private func decide(_ members: [ViewChange], _ reference: ReferenceChoice) throws -> Choice? {
        let size = try #require(ClusterSize(faults: reference.faults))
        let choice = NewViewChoice.decide(members, size: size, digestsPerNumber: reference.batchesPerNumber)
        return try choice.map { choice in
            Choice(
                start: choice.start.rawValue,
                batches: try choice.chosen.map { digest in
                    try #require(digest == Word.digest(Int(digest[0])) ? Int(digest[0]) : nil)
                }
            )
        }
    }

    private func decide(_ words: [Word], _ reference: ReferenceChoice = ReferenceChoice()) throws -> Choice? {
        try decide(words.enumerated().map { $1.viewChange(by: $0) }, reference)
    }

    /// Compares all sets of `count` members, in which a word may come several times; gives how often each answer came.
    private func compareAll(
        _ members: [Member],
        count: Int,
        _ reference: ReferenceChoice
    ) throws -> [Choice?: Int] {
        var answers: [Choice?: Int] = [:]
        var indices = Array(repeating: 0, count: count)
        while true {
            let chosen = indices.map { members[$0] }
            let expected = reference.choice(chosen.map(\.word))
            let answer = try decide(chosen.map(\.viewChange), reference)
            if answer != expected {
                Issue.record(
                    "\(String(describing: answer)) for \(chosen.map(\.word)), not \(String(describing: expected))"
                )
                return answers
            }
            answers[answer, default: 0] += 1
            guard let position = indices.lastIndex(where: { $0 < members.count - 1 }) else { return answers }
            let next = indices[position] + 1
            for index in position..<count { indices[index] = next }
        }
    }

    /// Everything that a replica may say of one number with these views and two batches.
    private func claims(_ number: UInt64, views: UInt64) -> [(prepared: [Claim], prePrepared: [Claim])] {
        let none: [Claim] = []
        let prepared = [none] + (0..<views).flatMap { view in [1, 2].map { [Claim(number, $0, view)] } }
        let ofBatch = [1, 2].map { batch in [none] + (0..<views).map { [Claim(number, batch, $0)] } }
        let prePrepared = ofBatch[0].flatMap { first in ofBatch[1].map { first + $0 } }
        return prepared.flatMap { prepared in prePrepared.map { (prepared, $0) } }
    }

    @Test(arguments: [2, 4])
    func `Three members, one number, three views: all sets`(batchesPerNumber: Int) throws {
        // Q says something of the batches in P, or nothing: that leaves out most of what only liars say.
        let words = claims(1, views: 3).filter { claims in
            claims.prepared.allSatisfy { prepared in claims.prePrepared.contains { $0.batch == prepared.batch } }
        }
        let members =
            words.map { Member(Word(prepared: $0.prepared, prePrepared: $0.prePrepared)) } + [Member(Word(stable: 1))]
        let answers = try compareAll(members, count: 3, ReferenceChoice(batchesPerNumber: batchesPerNumber))
        let seen = Set(answers.keys)
        #expect(seen.isSuperset(of: [nil, Choice(start: 0, batches: [1]), Choice(start: 0, batches: [2])]))
        #expect(seen.contains(Choice(start: 1, batches: [])))
        #expect(seen.contains(Choice(start: 0, batches: [0])) == (batchesPerNumber == 2))
    }

    @Test func `Four members, one number, two views: all sets`() throws {
        let words = claims(1, views: 2).filter { $0.prePrepared.count < 2 || !$0.prepared.isEmpty }
        let members =
            words.map { Member(Word(prepared: $0.prepared, prePrepared: $0.prePrepared)) } + [Member(Word(stable: 1))]
        let answers = try compareAll(members, count: 4, ReferenceChoice())
        #expect(answers.count >= 5)
    }

    @Test func `Three members, two numbers: all sets`() throws {
        func few(_ number: UInt64) -> [(prepared: [Claim], prePrepared: [Claim])] {
            let (early, late, other) = (Claim(number, 1, 0), Claim(number, 1, 1), Claim(number, 2, 1))
            return [([], []), ([early], [early]), ([late], [late]), ([other], [early, other]), ([], [other])]
        }
        let first = few(1)
        let second = few(2)
        var members = first.flatMap { first in
            second.map { second in
                Member(Word(prepared: first.0 + second.0, prePrepared: first.1 + second.1))
            }
        }
        members += second.map { Member(Word(stable: 1, prepared: $0.0, prePrepared: $0.1)) }
        members.append(Member(Word(stable: 2)))
        let answers = try compareAll(members, count: 3, ReferenceChoice(batchesPerNumber: 2))
        #expect(answers.count >= 12)
    }

    @Test(arguments: [1, 2, 3])
    func `Random sets of members, in any order`(faults: Int) throws {
        var random = SplitMix64(seed: UInt64(faults))
        var decided = 0
        for _ in 0..<6000 {
            let reference = ReferenceChoice(faults: faults, batchesPerNumber: 1 + random.below(4))
            let views = 1 + random.below(3)
            let batches = 1 + random.below(3)
            let numbers = 1 + random.below(3)
            var words = (0..<2 * faults + random.below(faults + 2)).map { _ in
                Self.word(&random, views: views, batches: batches, numbers: numbers)
            }
            let expected = reference.choice(words)
            #expect(try decide(words, reference) == expected, "\(words)")
            for index in words.indices {
                words.swapAt(index, index + random.below(words.count - index))
            }
            #expect(try decide(words, reference) == expected, "another order of \(words)")
            decided += expected == nil ? 0 : 1
        }
        #expect((1000..<5500).contains(decided), "the universe is lopsided: \(decided)")
    }

    /// Claims that hang together in most cases, so that a choice is possible, and do not in some.
    private static func word(_ random: inout SplitMix64, views: Int, batches: Int, numbers: Int) -> Word {
        var word = Word(stable: UInt64(random.chance(20) ? random.below(numbers + 1) : 0))
        for number in UInt64(1)...UInt64(numbers) {
            let claim = Claim(number, random.below(batches) + 1, UInt64(random.below(views)))
            if random.chance(60) { word.prepared.append(claim) }
            if random.chance(85) { word.prePrepared.append(claim) }
            while random.chance(40) {
                word.prePrepared.append(Claim(number, random.below(batches + 1), UInt64(random.below(views))))
            }
        }
        if random.chance(95) {
            word.prepared.removeAll { $0.number <= word.stable }
            word.prePrepared.removeAll { $0.number <= word.stable }
        }
        return word
    }

    @Test func `Fewer than 2f + 1 members decide nothing`() throws {
        for faults in 1...3 {
            let reference = ReferenceChoice(faults: faults)
            let words = Array(repeating: Word(stable: 7), count: 2 * faults + 1)
            #expect(try decide(Array(words.dropLast()), reference) == nil)
            #expect(try decide(words, reference) == Choice(start: 7, batches: []))
        }
    }

    // MARK: Known bugs of published implementations

    @Test func `A claim about another number is no claim about this one`() throws {
        let first = Claim(1, 1, 0)
        let second = Claim(2, 2, 1)
        let words = Array(repeating: Word(prepared: [first, second], prePrepared: [first, second]), count: 3)
        #expect(try decide(words) == Choice(start: 0, batches: [1, 2]))
        // The wrong rule executes batch 2 twice, and batch 1 never.
        #expect(ReferenceChoice(looksAtOneNumberOnly: false).choice(words) == Choice(start: 0, batches: [2, 2]))
        // The same where nothing was prepared at a number between two.
        let gap = Array(repeating: Word(prepared: [second], prePrepared: [second]), count: 3)
        #expect(try decide(gap) == Choice(start: 0, batches: [0, 2]))
        #expect(ReferenceChoice(looksAtOneNumberOnly: false).choice(gap) == Choice(start: 0, batches: [2, 2]))
    }

    @Test func `Several elements of one Q are one member's word`() throws {
        // A liar makes up batch 3, which nobody holds.
        let liar = Word(prepared: [Claim(1, 3, 1)], prePrepared: [Claim(1, 3, 1), Claim(1, 3, 2)])
        let words = [liar, Word(), Word(), Word()]
        #expect(try decide(words) == Choice(start: 0, batches: [0]))
        #expect(ReferenceChoice(countsMembers: false).choice(words) == Choice(start: 0, batches: [3]))
        // Batch 1 may have committed in view 0; the liar would have batch 3 in its place.
        let held = Word(prepared: [Claim(1, 1, 0)], prePrepared: [Claim(1, 1, 0)])
        let committed = [liar, held, held, Word()]
        #expect(try decide(committed) == Choice(start: 0, batches: [1]))
        #expect(ReferenceChoice(countsMembers: false).choice(committed) == Choice(start: 0, batches: [3]))
    }

    @Test func `A member that has forgotten a number does not say that nothing prepared there`() throws {
        // Number 1 committed; member 0 has a stable checkpoint there and no longer says what it was.
        let words = [Word(stable: 1), Word(), Word()]
        #expect(ReferenceChoice().batch(at: 1, words) == nil)
        #expect(ReferenceChoice(asksForThoseBelow: false).batch(at: 1, words) == 0)
        // So an implementation that starts below the highest checkpoint, as PBFT may, executes the null batch there. This one starts
        // at the highest, since each comes with its certificate: it has nothing to choose at number 1.
        let later = [Word(stable: 1), Word(), Word(prepared: [Claim(2, 2, 0)], prePrepared: [Claim(2, 2, 0)])]
        let wrong = ReferenceChoice(asksForThoseBelow: false, testsA2: false)
        #expect(wrong.choice(later, after: 0)?.batch(at: 1) == 0)
        #expect(ReferenceChoice(testsA2: false).choice(later, after: 0) == nil)
        let held = Word(stable: 1, prepared: [Claim(2, 2, 0)], prePrepared: [Claim(2, 2, 0)])
        #expect(try decide([held, Word(), later[2]]) == Choice(start: 1, batches: [2]))
        #expect(try decide(words) == Choice(start: 1, batches: []))
    }

    @Test func `The null batch needs 2f + 1 members that prepared nothing there, a batch f + 1 that hold it`() throws {
        let alone = Word(prepared: [Claim(1, 1, 0)])
        #expect(try decide([alone, Word(), Word()]) == nil)
        #expect(try decide([alone, Word(), Word(), Word()]) == Choice(start: 0, batches: [0]))
        let held = Word(prePrepared: [Claim(1, 1, 0)])
        #expect(try decide([alone, held, Word()]) == nil)
        #expect(try decide([alone, held, held]) == Choice(start: 0, batches: [1]))
        // A Q of an earlier view than P's does not vouch for it.
        let later = Word(prepared: [Claim(1, 1, 1)])
        #expect(try decide([later, held, held]) == nil)
    }

    @Test func `A number at which a Q is full is decided`() throws {
        let full = Word(prePrepared: (1...4).map { Claim(2, $0, UInt64($0)) })
        #expect(try decide([full, Word(), Word()]) == Choice(start: 0, batches: [0, 0]))
        let oneLess = Word(prePrepared: (1...3).map { Claim(2, $0, UInt64($0)) } + [Claim(1, 1, 0), Claim(2, 1, 5)])
        #expect(try decide([oneLess, Word(), Word()]) == Choice(start: 0, batches: []))
    }
}
