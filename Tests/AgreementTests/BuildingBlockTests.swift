import Cryptography
import Messages
import TestSupport
import Testing

@testable import Agreement

/// The small types that the engine rests on.
struct BuildingBlockTests {
    @Test func `a vote set is a set`() {
        var set = VoteSet()
        for (count, replica) in [UInt8(0), 5, 63, 31].enumerated() {
            #expect(set.count == count)
            #expect(!set.contains(ReplicaID(replica)))
            let insertions = [set.insert(ReplicaID(replica)), set.insert(ReplicaID(replica))]
            #expect(insertions == [true, false])
            #expect(set.contains(ReplicaID(replica)))
        }
        #expect(set.count == 4 && !set.contains(ReplicaID(1)))
    }

    @Test func `a tally counts each replica's first vote for the digest that it names`() {
        var tally = VoteTally()
        let first = Digest.of([1])
        let second = Digest.of([2])
        let additions = [
            tally.add(first, from: ReplicaID(1)), tally.add(second, from: ReplicaID(2)),
            tally.add(second, from: ReplicaID(1)), tally.add(first, from: ReplicaID(3)),
        ]
        #expect(additions == [true, true, false, true])
        #expect(tally.votes(for: first).count == 2 && tally.votes(for: second).count == 1)
        #expect(tally.votes(for: .zero).count == 0 && tally.voters.count == 3)
    }

    @Test func `a queue gives back what was put in, in order, whatever is removed between`() {
        var random = SplitMix64(seed: 1)
        var queue = FirstInFirstOut<Int>()
        var model: [Int] = []
        for step in 0..<5_000 {
            switch random.below(20) {
            case 0..<10:
                queue.append(step)
                model.append(step)
            case 10..<19:
                #expect(queue.first == model.first)
                guard !model.isEmpty else { continue }
                queue.removeFirst()
                model.removeFirst()
            default:
                let before = model.count
                model.removeAll { $0 % 7 == 0 }
                let removed = queue.removeAll { $0 % 7 == 0 }
                #expect(removed == before - model.count)
            }
            #expect(queue.count == model.count)
        }
    }

    @Test func `the log holds exactly the slots between its marks`() {
        var log = MessageLog(window: 4)
        for low: UInt64 in [0, 2, 3, 7] {
            if low > 0 { log.truncate(to: SequenceNumber(low)) }
            for sequence in low..<(low + 7) {
                #expect(log.contains(SequenceNumber(sequence)) == (sequence > low && sequence <= low + 4))
            }
            for sequence in (low + 1)...(low + 4) where !log[SequenceNumber(sequence)].isPrepared {
                log[SequenceNumber(sequence)].isPrepared = true
            }
        }
        log.truncate(to: SequenceNumber(9))
        let states = (10...13).map { log[SequenceNumber($0)].isPrepared }
        #expect(states == [true, true, false, false], "what came into the window is empty")
    }
}
