import Agreement
import Cryptography
import Messages
import TestSupport
import Testing

/// Seeded schedules with loss, duplication and reordering, slow disks and slow checks, and at most f faulty replicas: one history at
/// all correct replicas, every operation exactly once and in its client's order, every request answered after the network heals.
struct RandomScheduleTests {
    /// What is wrong with the replicas in a run.
    enum Fault: CaseIterable {
        /// Nothing.
        case none
        /// A backup is down from the start; the water marks are narrow, so that checkpoints matter.
        case absent
        /// A backup goes down on the way.
        case crash
        /// A backup says what it likes.
        case liar
    }

    @Test(arguments: Fault.allCases, 0..<8)
    func `one history, exactly once, and every request is answered after the network heals`(fault: Fault, block: Int) {
        for seed in (block * 10)..<(block * 10 + 10) {
            var run = RandomRun(fault: fault, seed: UInt64(seed))
            run.disturb()
            run.heal()
            run.check()
        }
    }

    @Test(arguments: 0..<10)
    func `a primary that tells each backup another story cannot make two histories`(block: Int) {
        var executed = 0
        for seed in (block * 20)..<(block * 20 + 20) {
            executed += Self.equivocate(seed: UInt64(seed))
        }
        #expect(executed > 0, "in some of the runs batches are executed, or nothing is tested")
    }

    /// - Returns: How many batches were executed by backups.
    private static func equivocate(seed: UInt64) -> Int {
        var random = SplitMix64(seed: seed)
        let keys = Keys()
        let cluster = TestCluster(keys: keys)
        cluster.crashed = [0]
        let requests = [keys.opening(1), keys.opening(2), keys.request(1, number: 1), keys.request(2, number: 1)]
        var proposals: [[PrePrepare]] = []
        for sequence: UInt64 in 1...6 {
            proposals.append(
                (0..<2).map { _ in .proposal(sequence, (0...random.below(3)).map { _ in requests[random.below(4)] }) }
            )
        }
        for _ in 0..<600 {
            let busy = cluster.busyLinks
            if random.chance(40) || busy.isEmpty {
                let target = cluster[1 + random.below(3)]
                // Mostly one story a number, so that some are agreed on.
                let told = proposals[random.below(6)][random.chance(25) ? 1 : 0]
                let digest = told.batch.digest
                switch random.below(3) {
                case 0: target.receive(.prePrepare(told), from: 0)
                case 1: target.receive(.commit, told.sequence.rawValue, digest, from: [0])
                default: target.receive(.prepare, told.sequence.rawValue, digest, from: [0])
                }
            } else {
                let place = busy[random.below(busy.count)]
                cluster.deliver(place, at: random.below(cluster.links[place].queue.count))
            }
            cluster.collect()
        }
        let histories = cluster.live.map { $0.batches.map(Entry.init) }
        for one in histories {
            for other in histories {
                let common = min(one.count, other.count)
                #expect(one.prefix(common) == other.prefix(common), "seed \(seed)")
            }
        }
        return histories.reduce(0) { $0 + $1.count }
    }
}

/// A batch in a history.
private struct Entry: Hashable {
    let sequence: SequenceNumber
    let time: Timestamp
    let requests: [Digest]

    init(_ execution: Execution) {
        sequence = execution.sequence
        time = execution.time
        requests = execution.requests.map(\.envelopeDigest)
    }
}

/// One seeded run.
private struct RandomRun {
    private static let operations: UInt64 = 12

    private let fault: RandomScheduleTests.Fault
    private let seed: UInt64
    private let cluster: TestCluster
    private var random: SplitMix64
    private let victim: UInt8
    private let clientWindow: Int

    init(fault: RandomScheduleTests.Fault, seed: UInt64) {
        self.fault = fault
        self.seed = seed
        random = SplitMix64(seed: seed)
        // Replicas that fall behind a stable checkpoint need a state transfer, so windows are narrow only where every live replica has
        // to sign each checkpoint.
        var limits: Limits = fault == .absent || fault == .liar ? .small : .large
        limits.pipelineDepth = 1 + random.below(4)
        limits.batchRequests = 1 + random.below(4)
        clientWindow = [1, 4][random.below(2)]
        limits.clientWindow = clientWindow
        cluster = TestCluster(
            keys: Keys(switches: random.chance(30) ? .pbft : .unwatched),
            limits: limits,
            window: clientWindow,
            bundle: 1 + random.below(2)
        )
        victim = UInt8(1 + random.below(3))
        for replica in cluster.replicas {
            replica.syncsAtOnce = random.chance(50)
            replica.checksAtOnce = random.chance(50)
            replica.wallOffset = Int64(random.below(1_000_000_000)) - 500_000_000
        }
        if fault == .absent || fault == .liar { cluster.crashed = [victim] }
    }

    mutating func disturb() {
        var network = SplitMix64(seed: random.next())
        let loss = random.below(20)
        let duplication = random.below(20)
        cluster.filter = { _, _ in
            if network.chance(loss) { return .drop }
            return network.chance(duplication) ? .duplicate : .deliver
        }
        for client in cluster.clients {
            client.open()
            for ticket in 1...Self.operations { client.submit("c\(client.id.rawValue) op\(ticket)", ticket: ticket) }
        }
        for step in 0..<1_200 {
            if fault == .crash, step == 400 { cluster.crashed = [victim] }
            if fault == .liar, random.chance(20) { lie() }
            cluster.collect()
            let busy = cluster.busyLinks
            if !busy.isEmpty, random.chance(80) {
                let place = busy[random.below(busy.count)]
                let isReordered = random.chance(25)
                cluster.deliver(place, at: isReordered ? random.below(cluster.links[place].queue.count) : 0)
                continue
            }
            let replica = cluster.live[random.below(cluster.live.count)]
            switch random.below(5) {
            case 0: replica.sync()
            case 1: replica.releaseChecks()
            case 2:
                cluster.setTime(cluster.time + UInt64(random.below(50_000_000)))
                cluster.callDue()
            default: cluster.endTurns()
            }
        }
    }

    /// The faulty backup says something to a random replica.
    private mutating func lie() {
        let target = cluster.live[random.below(cluster.live.count)]
        let sequence = SequenceNumber(target.stable.rawValue + UInt64(random.below(10)))
        let known = target.journal.compactMap {
            if case .prePrepared(let known) = $0 { known.batch.digest } else { nil }
        }
        let isKnown = !known.isEmpty && random.chance(50)
        let digest = isKnown ? known[random.below(known.count)] : Digest.of([UInt8(random.below(3))])
        switch random.below(6) {
        case 0: target.receive(.vote(Vote(.prepare, view: View(0), sequence: sequence, digest: digest)), from: victim)
        case 1: target.receive(.vote(Vote(.commit, view: View(0), sequence: sequence, digest: digest)), from: victim)
        case 2:
            let checkpoint = cluster.keys.checkpoint(sequence, root: digest, by: ReplicaID(victim))
            target.receive(.checkpoint(Unverified(checkpoint)), from: victim)
        case 3:
            target.receive(
                .catchUp(CatchUp.question(after: SequenceNumber(random.next()))),
                from: victim
            )
        case 4:
            let number = UInt64(random.below(9)) + 1
            let forged = cluster.keys.request(1, number: number, spoiledFor: [target.id])
            target.receive(cluster.keys.forward(forged, by: victim), from: victim)
        default: target.receive(.prePrepare(.proposal(sequence.rawValue, [cluster.keys.opening(1)])), from: victim)
        }
        for client in cluster.clients where random.chance(10) {
            let payload = Reply.Payload(
                session: SessionID(1),
                number: RequestNumber(UInt64(random.below(5))),
                outcome: .executed,
                results: [[0]]
            )
            client.receive(Reply(view: View(random.next()), sequence: sequence, payload: payload), from: victim)
        }
    }

    mutating func heal() {
        cluster.filter = { _, _ in .deliver }
        for replica in cluster.replicas {
            replica.syncsAtOnce = true
            replica.checksAtOnce = true
            replica.sync()
            replica.releaseChecks()
        }
        cluster.deliverAll()
        var rounds = 0
        while rounds < 200, cluster.clients.contains(where: { $0.unanswered > 0 }) {
            rounds += 1
            cluster.advance(by: 500_000_000)
        }
    }

    func check() {
        let context: Comment = "\(fault) seed \(seed)"
        let histories = cluster.replicas.map { $0.batches.map(Entry.init) }
        let longest = cluster.replicas.max { $0.service.steps.count < $1.service.steps.count } ?? cluster[0]
        let reference = longest.batches.map(Entry.init)
        for history in histories {
            #expect(history == Array(reference.prefix(history.count)), context)
        }
        for client in cluster.clients {
            #expect(client.unanswered == 0, context)
            var position = 0
            var last = 0
            for step in longest.service.steps {
                position += 1
                guard step.client == client.id else { continue }
                last += 1
                let operation = String(decoding: step.operation, as: UTF8.self)
                #expect(operation == "c\(client.id.rawValue) op\(last)", context)
                let result = String(decoding: ToyService.result(position: position, operation), as: UTF8.self)
                #expect(client.results[UInt64(last)] == result, context)
            }
            #expect(last == Self.operations, context)
        }
        for replica in cluster.replicas where replica.batches.count == reference.count {
            #expect(replica.root == longest.root, context)
        }
    }
}
