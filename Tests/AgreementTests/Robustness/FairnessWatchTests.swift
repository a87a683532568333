import Messages
import TestSupport
import Testing

@testable import Agreement

/// The fairness rule, alone and against a slow second implementation.
struct FairnessWatchTests {
    private static func name(_ client: UInt32, _ number: UInt64) -> WatchedRequest {
        WatchedRequest(client: ClientID(client), session: SessionID(1), number: RequestNumber(number))
    }

    private static func at(_ nanoseconds: UInt64) -> Instant { Instant(nanoseconds: nanoseconds) }

    @Test func `two proposals of one other client beyond k and the pipeline are unfair, fewer or earlier ones are not`()
    {
        var watch = FairnessWatch(pipelineDepth: 8)
        watch.watch(Self.name(1, 1), now: Self.at(0))
        let before = watch.ordered([Self.name(2, 1)], at: SequenceNumber(99))
        watch.note(SequenceNumber(100), forwardedUntil: Self.at(0))
        var verdicts: [WatchedRequest?] = [before]
        for sequence: UInt64 in 101...108 {
            verdicts.append(watch.ordered([Self.name(2, sequence)], at: SequenceNumber(sequence)))
        }
        verdicts.append(watch.ordered([Self.name(2, 109)], at: SequenceNumber(109)))
        verdicts.append(watch.ordered([Self.name(3, 1), Self.name(4, 1)], at: SequenceNumber(110)))
        verdicts.append(watch.ordered([Self.name(5, 1), Self.name(5, 2), Self.name(5, 3)], at: SequenceNumber(111)))
        #expect(verdicts.allSatisfy { $0 == nil })
        let unfair = watch.ordered([Self.name(2, 110)], at: SequenceNumber(112))
        #expect(unfair == Self.name(1, 1))
    }

    @Test func `a long request is watched from the time on until which a primary may let it wait`() {
        var watch = FairnessWatch(pipelineDepth: 1)
        watch.watch(Self.name(1, 1), patience: 50, now: Self.at(0))
        watch.watch(Self.name(2, 1), now: Self.at(10))
        // One behind it waits at the most as long as that one may.
        #expect(watch.nextToNote() == Self.at(50))
        watch.note(SequenceNumber(10), forwardedUntil: Self.at(49))
        for sequence: UInt64 in 12...20 {
            let verdict = watch.ordered([Self.name(3, sequence)], at: SequenceNumber(sequence))
            #expect(verdict == nil)
        }
        watch.note(SequenceNumber(20), forwardedUntil: Self.at(50))
        let early = watch.ordered([Self.name(3, 22)], at: SequenceNumber(22))
        let late = watch.ordered([Self.name(3, 23)], at: SequenceNumber(23))
        #expect(early == nil && late == Self.name(1, 1))
        // In the next view it may wait as long again.
        watch.restart(now: Self.at(1_000))
        #expect(watch.nextToNote() == Self.at(1_050))
    }

    @Test func `the watch ends when the number is proposed, whoever's request it is, or executed`() {
        for isProposed in [true, false] {
            var watch = FairnessWatch(pipelineDepth: 1)
            watch.watch(Self.name(1, 5), now: Self.at(0))
            watch.note(SequenceNumber(10), forwardedUntil: Self.at(0))
            if isProposed {
                _ = watch.ordered([Self.name(1, 5)], at: SequenceNumber(11))
            } else {
                watch.end(Self.name(1, 6))
            }
            #expect(watch.count == 0)
            for sequence: UInt64 in 12...20 {
                let verdict = watch.ordered([Self.name(2, sequence)], at: SequenceNumber(sequence))
                #expect(verdict == nil)
            }
        }
    }

    @Test
    func `the watched client's own other requests do not help the primary, nor hide that it is unfair to a third`() {
        var watch = FairnessWatch(pipelineDepth: 1)
        watch.watch(Self.name(1, 5), now: Self.at(0))
        watch.watch(Self.name(2, 5), now: Self.at(1))
        watch.note(SequenceNumber(10), forwardedUntil: Self.at(0))
        watch.note(SequenceNumber(11), forwardedUntil: Self.at(1))
        // Requests of client 1 that cannot take effect yet are ordered again and again.
        let first = watch.ordered([Self.name(1, 3)], at: SequenceNumber(13))
        let second = watch.ordered([Self.name(1, 4)], at: SequenceNumber(14))
        #expect(first == nil && second == Self.name(2, 5))
    }

    @Test func `a request is repeated once, and counts as waiting only when that is long ago too`() {
        var watch = FairnessWatch(pipelineDepth: 1)
        watch.watch(Self.name(1, 1), now: Self.at(100))
        watch.watch(Self.name(2, 1), now: Self.at(200))
        let early = watch.takeRepeats(forwardedUntil: Self.at(99), now: Self.at(150))
        let repeats = watch.takeRepeats(forwardedUntil: Self.at(199), now: Self.at(300))
        let again = watch.takeRepeats(forwardedUntil: Self.at(199), now: Self.at(350))
        #expect(early.isEmpty && repeats == [Self.name(1, 1)] && again.isEmpty)
        let tooSoon = [
            watch.waiting(forwardedUntil: Self.at(99), repeatedUntil: Self.at(400)),
            watch.waiting(forwardedUntil: Self.at(400), repeatedUntil: Self.at(299)),
        ]
        let waiting = watch.waiting(forwardedUntil: Self.at(100), repeatedUntil: Self.at(300))
        #expect(tooSoon == [nil, nil] && waiting == Self.name(1, 1))
        watch.end(Self.name(1, 1))
        let none = watch.waiting(forwardedUntil: Self.at(400), repeatedUntil: Self.at(400))
        #expect(none == nil, "the second one was not repeated")
    }

    @Test(arguments: 0..<20)
    func `it finds what a slow second implementation finds`(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let depth = 1 + random.below(4)
        var watch = FairnessWatch(pipelineDepth: depth)
        var reference = SlowFairness(depth: UInt64(depth))
        var numbers: [UInt32: UInt64] = [:]
        var time: UInt64 = 10
        var highest: UInt64 = 0
        var verdicts = 0
        for _ in 0..<3_000 {
            time += 1
            let client = UInt32(1 + random.below(6))
            switch random.below(10) {
            case 0..<3:
                let request = Self.name(client, numbers[client, default: 1])
                watch.watch(request, now: Self.at(time))
                reference.watch(request, now: time)
            case 3..<5:
                let until = time - UInt64(random.below(5))
                watch.note(SequenceNumber(highest), forwardedUntil: Self.at(until))
                reference.note(highest, until: until)
            default:
                // Mostly some clients only, so that others starve.
                highest += 1
                var requests: [WatchedRequest] = []
                for _ in 0...random.below(3) {
                    let chosen = UInt32(1 + random.below(random.chance(80) ? 3 : 6))
                    let number = numbers[chosen, default: 1]
                    if random.chance(50) {
                        requests.append(Self.name(chosen, number))
                        numbers[chosen] = number + 1
                    } else if number > 1 {
                        requests.append(Self.name(chosen, number - 1))
                    }
                }
                let found = watch.ordered(requests, at: SequenceNumber(highest))
                let expected = reference.ordered(requests, at: highest)
                #expect((found != nil) == !expected.isEmpty && found.map { expected.contains($0) } != false)
                if found != nil {
                    verdicts += 1
                    watch.clear()
                    reference = SlowFairness(depth: UInt64(depth))
                }
            }
            #expect(watch.count == reference.watched.count)
        }
        #expect(verdicts > 0, "somebody starves in every run")
    }

    @Test func `it takes no memory for requests that came and went`() {
        var watch = FairnessWatch(pipelineDepth: 8)
        watch.watch(Self.name(1, 1), now: Self.at(0))
        for step: UInt64 in 1...20_000 {
            watch.watch(Self.name(2, step), now: Self.at(step))
            watch.note(SequenceNumber(step), forwardedUntil: Self.at(step))
            watch.end(Self.name(2, step))
        }
        #expect(watch.count == 1 && watch.listed < 1_000)
    }
}

/// The fairness rule by its definition, over the whole history.
private struct SlowFairness {
    let depth: UInt64
    var watched: [ClientID: (request: WatchedRequest, since: UInt64, k: UInt64?)] = [:]
    private var history: [(sequence: UInt64, clients: Set<ClientID>)] = []

    init(depth: UInt64) {
        self.depth = depth
    }

    mutating func watch(_ request: WatchedRequest, now: UInt64) {
        guard watched[request.client]?.request != request else { return }
        watched[request.client] = (request, now, nil)
    }

    mutating func note(_ highest: UInt64, until: UInt64) {
        for (client, entry) in watched where entry.k == nil && entry.since <= until {
            watched[client]?.k = highest
        }
    }

    mutating func ordered(_ requests: [WatchedRequest], at sequence: UInt64) -> [WatchedRequest] {
        for request in requests {
            if let entry = watched[request.client], entry.request.number <= request.number {
                watched[request.client] = nil
            }
        }
        history.append((sequence, Set(requests.map(\.client))))
        return watched.values.filter { entry in
            guard let k = entry.k else { return false }
            let beyond = history.filter { $0.sequence > k + depth }
            let others = Set(beyond.flatMap(\.clients)).subtracting([entry.request.client])
            return others.contains { other in beyond.count { $0.clients.contains(other) } >= 2 }
        }.map(\.request)
    }
}
