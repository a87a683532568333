import Cryptography
import Messages
import TestSupport
import Testing

@testable import Agreement

/// Whole histories of views, in which correct replicas do what the protocol says, at any speed, and f others lie as they like.
///
/// Nothing is sent: a step of a correct replica may happen as soon as the protocol allows it, whatever the network. So PREPAREs and
/// COMMITs of liars are there whenever they help, a lying primary says something else to each replica, and each NEW-VIEW is made from
/// any 2f + 1 or more VIEW-CHANGEs that exist.
private struct History {
    typealias Rule = ([Word]) -> Choice?

    private struct Vote: Hashable {
        let view: UInt64
        let number: UInt64
        let batch: Int
    }

    private struct Correct {
        let index: Int
        var view: UInt64 = 0
        var isActive = true
        var stable: UInt64 = 0
        var prepared: [UInt64: Word.Claim] = [:]
        var prePrepared: [UInt64: [Int: UInt64]] = [:]
        /// What it accepted in its view, and what it has to accept because NEW-VIEW chose it.
        var accepted: [UInt64: Int] = [:]
        var chosen = Choice(start: 0, batches: [])

        var word: Word {
            Word(
                stable: stable,
                prepared: prepared.values.sorted { $0.number < $1.number },
                prePrepared: prePrepared.flatMap { number, views in views.map { Word.Claim(number, $0, $1) } }
            )
        }

        mutating func stabilise(_ number: UInt64) {
            stable = max(stable, number)
            prepared = prepared.filter { $0.key > stable }
            prePrepared = prePrepared.filter { $0.key > stable }
        }
    }

    static let window: UInt64 = 3
    static let batchesPerNumber = 3

    let faults: Int
    let rule: Rule
    private var random: SplitMix64
    private var correct: [Correct]
    private let liars: [Int]
    private var viewChanges: [UInt64: [Int: Word]] = [:]
    private var choices: [(view: UInt64, choice: Choice)] = []
    private var choiceOfCorrectPrimary: [UInt64: Choice] = [:]
    private var prePreparedBy: [Vote: Set<Int>] = [:]
    private var preparedBy: [Vote: Set<Int>] = [:]
    /// By number: what committed, and the first view in which it did.
    private(set) var committed: [UInt64: (batch: Int, view: UInt64)] = [:]
    /// The highest number for which a certificate exists.
    private var certified: UInt64 = 0
    private(set) var newViews = 0
    /// What went wrong; empty in a safe history.
    private(set) var violation: String?
    /// Whether all correct replicas' VIEW-CHANGEs together decided nothing.
    private(set) var isStuck = false

    private var replicas: Int { 3 * faults + 1 }
    private var quorum: Int { 2 * faults + 1 }

    init(seed: UInt64, faults: Int, rule: @escaping Rule) {
        self.faults = faults
        self.rule = rule
        random = SplitMix64(seed: seed)
        var indices = Array(0..<3 * faults + 1)
        for index in indices.indices { indices.swapAt(index, index + random.below(indices.count - index)) }
        liars = Array(indices[..<faults])
        correct = indices[faults...].sorted().map { Correct(index: $0) }
    }

    mutating func run(steps: Int) {
        for _ in 0..<steps where violation == nil {
            let replica = random.below(correct.count)
            switch random.below(100) {
            case ..<35: accept(replica)
            case ..<75: prepare(replica)
            case ..<82: leave(replica)
            case ..<97: enter(replica)
            default: stabilise(replica)
            }
        }
    }

    private func isLying(primaryOf view: UInt64) -> Bool { liars.contains(Int(view) % replicas) }

    private mutating func number(for replica: Int) -> UInt64 {
        correct[replica].stable + 1 + UInt64(random.below(Int(Self.window)))
    }

    /// A PRE-PREPARE: what NEW-VIEW chose, and else something fresh, or whatever a lying primary says to this replica.
    private mutating func accept(_ replica: Int) {
        let number = number(for: replica)
        let state = correct[replica]
        guard state.isActive, state.accepted[number] == nil else { return }
        var batch = 10 + Int(state.view)
        if isLying(primaryOf: state.view) {
            batch = random.chance(50) ? 40 + random.below(3) : 10 + random.below(batch - 9)
        }
        if let chosen = state.chosen.batch(at: number) {
            batch = chosen
        } else {
            let held = state.prePrepared[number] ?? [:]
            guard number > state.chosen.start, held[batch] != nil || held.count < Self.batchesPerNumber else { return }
        }
        correct[replica].accepted[number] = batch
        correct[replica].prePrepared[number, default: [:]][batch] = state.view
        prePreparedBy[Vote(view: state.view, number: number, batch: batch), default: []].insert(state.index)
    }

    private mutating func prepare(_ replica: Int) {
        let number = number(for: replica)
        let state = correct[replica]
        guard state.isActive, let batch = state.accepted[number] else { return }
        let vote = Vote(view: state.view, number: number, batch: batch)
        guard let voters = prePreparedBy[vote], voters.count + faults >= quorum else { return }
        correct[replica].prepared[number] = Word.Claim(number, batch, state.view)
        preparedBy[vote, default: []].insert(state.index)
        if let voters = preparedBy[vote], voters.count + faults >= quorum { commit(vote) }
    }

    private mutating func commit(_ vote: Vote) {
        let before = committed[vote.number] ?? (vote.batch, vote.view)
        if before.batch != vote.batch {
            violation = "\(before.batch) and \(vote.batch) committed at \(vote.number)"
        }
        committed[vote.number] = (vote.batch, min(before.view, vote.view))
        for (view, choice) in choices { check(choice, for: view) }
    }

    /// What committed in an earlier view is chosen, also if it did so after the choice.
    private mutating func check(_ choice: Choice, for view: UInt64) {
        for (number, commit) in committed where number > choice.start && commit.view < view {
            if choice.batch(at: number) != commit.batch {
                violation = "\(commit.batch) committed at \(number), but \(choice) was chosen for view \(view)"
            }
        }
    }

    private mutating func leave(_ replica: Int) {
        correct[replica].view += random.chance(90) ? 1 : 2
        correct[replica].isActive = false
        viewChanges[correct[replica].view, default: [:]][correct[replica].index] = correct[replica].word
    }

    private mutating func enter(_ replica: Int) {
        let view = correct[replica].view
        guard !correct[replica].isActive, let choice = choice(for: view) else { return }
        choices.append((view, choice))
        newViews += 1
        check(choice, for: view)
        correct[replica].isActive = true
        correct[replica].stabilise(choice.start)
        correct[replica].accepted = [:]
        correct[replica].chosen = choice
    }

    /// What a NEW-VIEW chooses: always the same if the primary is correct, and else from other VIEW-CHANGEs for each replica.
    private mutating func choice(for view: UInt64) -> Choice? {
        if let choice = choiceOfCorrectPrimary[view] { return choice }
        var words = (viewChanges[view] ?? [:]).sorted { $0.key < $1.key }.map(\.value)
        if words.count == correct.count, rule(words) == nil { isStuck = true }
        while words.count > faults + 1, random.chance(40) { words.remove(at: random.below(words.count)) }
        for _ in liars where words.count < quorum || random.chance(70) { words.append(lie(view)) }
        guard words.count >= quorum, let choice = rule(words) else { return nil }
        if !isLying(primaryOf: view) { choiceOfCorrectPrimary[view] = choice }
        return choice
    }

    /// A liar's VIEW-CHANGE: a certificate that exists, and claims of batches that there are, in views in which they were not.
    private mutating func lie(_ view: UInt64) -> Word {
        var word = Word(stable: UInt64(random.below(Int(certified) + 1)))
        for number in word.stable + 1...word.stable + Self.window {
            func claim() -> Word.Claim {
                let known = prePreparedBy.keys.filter { $0.number == number }.map(\.batch).sorted()
                let batch = known.isEmpty || random.chance(10) ? random.below(3) : known[random.below(known.count)]
                return Word.Claim(number, batch, UInt64(random.below(Int(view))))
            }
            if random.chance(70) {
                let prepared = claim()
                word.prepared.append(prepared)
                word.prePrepared.append(prepared)
            }
            while random.chance(60) { word.prePrepared.append(claim()) }
        }
        return word
    }

    private mutating func stabilise(_ replica: Int) {
        var number = correct[replica].stable
        while committed[number + 1] != nil, random.chance(70) { number += 1 }
        correct[replica].stabilise(number)
        certified = max(certified, number)
    }
}

/// No choice contradicts a batch that committed, whatever f replicas say.
struct NewViewSafetyTests {
    /// Runs many histories.
    private func run(_ histories: Int, faults: Int, rule: @escaping History.Rule) -> Findings {
        var findings = Findings()
        for seed in 0..<UInt64(histories) where findings.violation == nil {
            var history = History(seed: seed, faults: faults, rule: rule)
            history.run(steps: 400 * faults)
            findings.violation = history.violation.map { "seed \(seed): \($0)" }
            findings.stuck += history.isStuck ? 1 : 0
            findings.committed += history.committed.count
            findings.newViews += history.newViews
        }
        return findings
    }

    private struct Findings {
        var violation: String?
        var stuck = 0
        var committed = 0
        var newViews = 0
    }

    @Test(arguments: [1, 2])
    func `No choice contradicts a committed batch, and the correct replicas' VIEW-CHANGEs decide`(faults: Int) throws {
        let size = try #require(ClusterSize(faults: faults))
        let histories = 1200 / (faults * faults)
        let findings = run(histories, faults: faults) { words in
            let members = words.enumerated().map { $1.viewChange(by: $0) }
            return NewViewChoice.decide(members, size: size, digestsPerNumber: History.batchesPerNumber).map { choice in
                Choice(start: choice.start.rawValue, batches: choice.chosen.map { Int($0[0]) })
            }
        }
        #expect(findings.violation == nil)
        #expect(findings.stuck == 0)
        // The histories are about something.
        #expect(findings.newViews > 4 * histories)
        #expect(findings.committed > histories / 2)
    }

    @Test func `Such histories find rules that are wrong`() {
        let count = History.batchesPerNumber
        for rule in [
            ReferenceChoice(batchesPerNumber: count, looksAtOneNumberOnly: false),
            ReferenceChoice(batchesPerNumber: count, countsMembers: false),
            ReferenceChoice(batchesPerNumber: count, testsA1: false),
            ReferenceChoice(batchesPerNumber: count, testsA2: false),
        ] {
            let findings = run(500, faults: 1) { rule.choice($0) }
            #expect(findings.violation != nil, "\(rule)")
        }
    }
}
