import Adversary
import Messages
import Testing

@testable import Simulation

/// The event queue, random numbers and the disk.
struct PartsTests {
    @Test func `events come in the order of their times, and of their addition`() {
        var random = RandomStream(seed: 1, stream: 1)
        var queue = EventQueue<Int>()
        var expected: [(UInt64, Int)] = []
        for number in 0..<2_000 {
            let time = random.below(UInt64(300))
            queue.add(number, at: time)
            expected.append((time, number))
        }
        expected.sort { ($0.0, $0.1) < ($1.0, $1.1) }
        for (time, number) in expected {
            let next = queue.removeFirst()
            #expect(next?.time == time && next?.event == number)
        }
        #expect(queue.removeFirst() == nil)
    }

    @Test func `events that are added while others are taken keep the order`() {
        var random = RandomStream(seed: 2, stream: 1)
        var queue = EventQueue<UInt64>()
        var now: UInt64 = 0
        queue.add(0, at: 0)
        for _ in 0..<3_000 {
            guard let (time, _) = queue.removeFirst() else { break }
            #expect(time >= now)
            now = time
            for _ in 0..<random.within(1...2) where queue.count < 50 {
                queue.add(now, at: now + random.below(UInt64(40)))
            }
            if queue.count == 0 { queue.add(now, at: now) }
        }
    }

    @Test func `random numbers stay in their bounds and reach all of them`() {
        var random = RandomStream(seed: 3, stream: 1)
        var seen = Array(repeating: 0, count: 7)
        for _ in 0..<7_000 { seen[random.below(7)] += 1 }
        #expect(seen.allSatisfy { $0 > 800 && $0 < 1_200 })
        #expect(random.below(0) == 0)
        #expect((0..<1_000).allSatisfy { _ in (5...9).contains(random.within(5...9) as Int) })
        #expect(random.within(UInt64(4)...4) == 4)
        _ = random.within(UInt64(0)...UInt64.max)
        var deck = Array(0..<50)
        random.shuffle(&deck)
        #expect(deck != Array(0..<50) && deck.sorted() == Array(0..<50))
        #expect(random.sample(3, of: deck).count == 3)
        #expect(random.pick([Int]()) == nil)
    }

    @Test func `streams of one seed differ, and are the same each time`() {
        var first = RandomStream(seed: 9, stream: 1)
        var again = RandomStream(seed: 9, stream: 1)
        var other = RandomStream(seed: 9, stream: 2)
        let numbers = (0..<20).map { _ in first.next() }
        #expect(numbers == (0..<20).map { _ in again.next() })
        #expect(numbers != (0..<20).map { _ in other.next() })
    }

    @Test func `a profile has a name of its own and is found by it`() {
        let all = Profiles.all + Profiles.beyondTheModel
        #expect(Set(all.map(\.name)).count == all.count)
        for profile in all { #expect(Profiles.named(profile.name)?.name == profile.name) }
        #expect(Profiles.named("no-such-profile") == nil)
    }

    /// Inside the model: at most f replicas are faulty in any way, whatever the profile and the seed.
    @Test(arguments: [4, 7, 10])
    func `no profile makes more than f replicas faulty`(replicas: Int) throws {
        let keys = try Runs.keys(replicas: replicas, clients: 6)
        for profile in Profiles.all {
            for seed: UInt64 in 1...30 {
                let scenario = try Runs.scenario(seed: seed, profile.name, keys: keys)
                var faulty: Set<ReplicaID> = []
                for named in scenario.faults {
                    switch named.fault {
                    case .replica(let replica, _), .twin(let replica), .amnesia(let replica, at: _, outage: _),
                        .lostStore(let replica, at: _, outage: _):
                        faulty.insert(replica)
                    case .client, .network, .powerLoss, .powerLossAtWrite, .administration: break
                    }
                }
                #expect(faulty.count <= keys.size.faults, "\(profile.name) \(seed)")
            }
        }
    }
}
