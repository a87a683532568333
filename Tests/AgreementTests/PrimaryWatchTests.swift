import Messages
import Testing

@testable import Agreement

/// The watch over the primary in the engine: what it is told, and what follows from its verdict. The policies alone are tested as values.
struct PrimaryWatchTests {
    private static let millisecond: UInt64 = 1_000_000
    private static let second: UInt64 = 1_000_000_000

    private static func cluster(
        _ dissemination: ProtocolSwitches.Dissemination = .primary,
        clients: Int = 2,
        window: Int = 1,
        isWatched: Bool = true
    ) -> TestCluster {
        var switches = ProtocolSwitches.aardvark
        switches.dissemination = dissemination
        switches.regularViewChanges = isWatched
        let cluster = TestCluster(keys: Keys(clients: clients, switches: switches), limits: Limits(), window: window)
        for replica in cluster.replicas {
            for peer in cluster.replicas where peer.id != replica.id { replica.peerConnected(peer.id.rawValue) }
        }
        cluster.deliverAll()
        return cluster
    }

    private static func reasons(_ replica: TestReplica) -> [ViewChangeReason] {
        replica.events.compactMap { if case .leftView(for: _, let reason) = $0 { reason } else { nil } }
    }

    @Test(arguments: [ProtocolSwitches.Dissemination.primary, .all])
    func `a primary without work says so, and stays`(dissemination: ProtocolSwitches.Dissemination) {
        let cluster = Self.cluster(dissemination)
        var idles = 0
        cluster.filter = { _, body in
            if case .peer(.idle) = body { idles += 1 }
            return .deliver
        }
        cluster.openSessions()
        cluster.advance(by: 10 * Self.second)
        #expect(cluster.replicas.allSatisfy { $0.view == View(0) && $0.isActive })
        // Each half heartbeat to each of three.
        #expect((1_400...1_600).contains(idles))
    }

    @Test func `a backup that is slower to check than the others sees how slow the primary becomes`() {
        var switches = ProtocolSwitches.aardvark
        switches.dissemination = .primary
        let keys = Keys(clients: 1, switches: switches)
        let replica = TestReplica(1, keys: keys, limits: Limits())
        // The others' COMMITs come before the verdict on the batch, each time.
        replica.checksAtOnce = false
        for sequence: UInt64 in 1...250 {
            let request = sequence == 1 ? keys.opening(1) : keys.request(1, number: sequence - 1)
            let proposal = PrePrepare.proposal(sequence, [request])
            replica.receive(.prePrepare(proposal), from: 0)
            replica.receive(.commit, sequence, proposal.batch.digest, from: [0, 2, 3])
            replica.releaseChecks()
            replica.time += (sequence < 215 ? 10 : 30) * Self.millisecond
            replica.endTurn()
            guard replica.isActive else { break }
        }
        #expect(replica.executed.rawValue > 215 && replica.executed.rawValue < 250)
        #expect(Self.reasons(replica) == [.slow])
    }

    // MARK: Faults that this replica saw itself

    /// Why a backup leaves its view when the primary's fault shows while it hears its peers.
    private static func reasons(
        isWatched: Bool = true,
        showing fault: (TestReplica, Keys) -> Void
    ) -> [ViewChangeReason] {
        var switches = ProtocolSwitches.aardvark
        switches.dissemination = .primary
        switches.regularViewChanges = isWatched
        let keys = Keys(clients: 2, switches: switches)
        let replica = TestReplica(1, keys: keys, limits: Limits())
        fault(replica, keys)
        replica.endTurn()
        for peer: UInt8 in [2, 3] { replica.receive(.ping(Ping(isAnswer: false, number: 1)), from: peer) }
        replica.endTurn()
        return reasons(replica)
    }

    @Test(arguments: [Vote.Phase.prepare, .commit])
    func `a primary that shows f + 1 others another batch is left at once`(phase: Vote.Phase) {
        for (voters, expected) in [([2], []), ([0, 2], []), ([2, 3], [.faulty])] as [([UInt8], [ViewChangeReason])] {
            let other = { (keys: Keys) in PrePrepare.proposal(1, [keys.opening(2)]).batch.digest }
            let votesLast = Self.reasons { replica, keys in
                replica.receive(.prePrepare(.proposal(1, [keys.opening(1)])), from: 0)
                replica.receive(phase, 1, other(keys), from: voters)
            }
            let votesFirst = Self.reasons { replica, keys in
                replica.receive(phase, 1, other(keys), from: voters)
                replica.receive(.prePrepare(.proposal(1, [keys.opening(1)])), from: 0)
            }
            #expect(votesLast == expected && votesFirst == expected, "votes of \(voters)")
        }
        let unwatched = Self.reasons(isWatched: false) { replica, keys in
            replica.receive(.prePrepare(.proposal(1, [keys.opening(1)])), from: 0)
            replica.receive(phase, 1, PrePrepare.proposal(1, [keys.opening(2)]).batch.digest, from: [2, 3])
        }
        #expect(unwatched.isEmpty)
    }

    @Test func `a primary that proposes twice, or what nobody signed, is left at once, and nobody for others' faults`()
    {
        let twice = Self.reasons { replica, keys in
            replica.receive(.prePrepare(.proposal(1, [keys.opening(1)])), from: 0)
            replica.receive(.prePrepare(.proposal(1, [keys.opening(2)])), from: 0)
        }
        #expect(twice == [.faulty])
        let forged = Self.reasons { replica, keys in
            let request = keys.request(1, number: 0, [], spoiledFor: [ReplicaID(1)])
            replica.receive(.prePrepare(.proposal(1, [request])), from: 0)
        }
        #expect(forged == [.faulty])
        let ofBackup = Self.reasons { replica, keys in
            let proposal = PrePrepare.proposal(1, [keys.opening(1)])
            replica.receive(.prePrepare(proposal), from: 0)
            replica.receive(.commit, 1, proposal.batch.digest, from: [2])
            replica.receive(.commit, 1, PrePrepare.proposal(1, [keys.opening(2)]).batch.digest, from: [2])
        }
        #expect(ofBackup.isEmpty)
    }

    @Test func `without the switch there is no IDLE and no PING`() {
        let cluster = Self.cluster(isWatched: false)
        var said = 0
        cluster.filter = { _, body in
            switch body {
            case .peer(.idle), .peer(.ping): said += 1
            default: break
            }
            return .deliver
        }
        cluster.openSessions()
        cluster.advance(by: 3 * Self.second)
        #expect(said == 0 && cluster.replicas.allSatisfy { $0.watchStatus == nil })
    }

    @Test func `a primary that falls silent is replaced long before the request timer, and serves nobody meanwhile`() {
        let cluster = Self.cluster()
        cluster.openSessions()
        cluster.crashed = [0]
        cluster.client(1).submit("a", ticket: 1)
        cluster.endTurns()
        cluster.advance(by: 350 * Self.millisecond)
        #expect(cluster.live.allSatisfy { $0.view == View(1) && $0.isActive })
        #expect(cluster.live.contains { Self.reasons($0) == [.silent] })
        #expect(cluster.client(1).results[1] != nil)
    }

    @Test func `a primary that was never there is not missed before somebody asks for something`() {
        let cluster = Self.cluster()
        cluster.crashed = [0]
        cluster.advance(by: 60 * Self.second)
        #expect(cluster.live.allSatisfy { $0.view == View(0) && $0.isActive })
        cluster.client(1).open(1)
        cluster.advance(by: 400 * Self.millisecond)
        #expect(cluster.live.allSatisfy { $0.view == View(1) && $0.isActive })
        #expect(cluster.client(1).opened.count == 1)
    }

    @Test(arguments: [ProtocolSwitches.Dissemination.primary, .all])
    func `requests in flight are taken over by the next view, without their clients`(
        dissemination: ProtocolSwitches.Dissemination
    ) {
        let cluster = Self.cluster(dissemination, clients: 4, window: 4)
        cluster.openSessions()
        var isHeld = true
        // The primary has the requests, and nobody sees what it proposes.
        cluster.filter = { _, body in
            switch body {
            case .peer(.prePrepare), .peer(.digestPrePrepare): isHeld ? .drop : .deliver
            default: .deliver
            }
        }
        for client in 1...4 as ClosedRange<UInt32> {
            for ticket in 1...4 as ClosedRange<UInt64> { cluster.client(client).submit("x\(ticket)", ticket: ticket) }
        }
        cluster.endTurns()
        cluster.deliverAll()
        isHeld = false
        for replica in cluster.replicas { replica.suspect() }
        cluster.deliverAll()
        #expect(cluster.replicas.allSatisfy { $0.view == View(1) && $0.isActive })
        for client in cluster.clients {
            #expect(client.results.count == 4 && client.retransmissions == 0)
        }
    }

    @Test(arguments: [ProtocolSwitches.Dissemination.primary, .all], [true, false])
    func `a primary that orders others' requests and never one client's is replaced`(
        dissemination: ProtocolSwitches.Dissemination,
        isWatched: Bool
    ) {
        let cluster = Self.cluster(dissemination, isWatched: isWatched)
        cluster.openSessions()
        cluster.filter = { link, body in
            guard link.to == .replica(0) else { return .deliver }
            switch body {
            case .request(let request): return request.client == ClientID(2) ? .drop : .deliver
            case .peer(.forward(let request)): return request.request.claim.client == ClientID(2) ? .drop : .deliver
            default: return .deliver
            }
        }
        cluster.client(2).submit("starved", ticket: 1)
        cluster.endTurns()
        for ticket in 1...100 as ClosedRange<UInt64> {
            cluster.client(1).submit("served", ticket: ticket)
            cluster.advance(by: 5 * Self.millisecond)
        }
        if isWatched {
            #expect(cluster.client(2).results[1] != nil)
            #expect(cluster.replicas.contains { Self.reasons($0).contains(.unfair) })
        } else {
            #expect(cluster.client(2).results[1] == nil)
        }
        #expect(cluster.client(1).results.count == 100)
    }

    @Test func `a primary that says IDLE while a request that it was handed waits is replaced`() {
        let cluster = Self.cluster()
        cluster.openSessions()
        cluster.filter = { link, body in
            switch body {
            case .peer(.forward) where link.to == .replica(0): .drop
            case .request where link.to == .replica(0): .drop
            default: .deliver
            }
        }
        cluster.client(1).submit("x", ticket: 1)
        cluster.endTurns()
        cluster.advance(by: 700 * Self.millisecond)
        #expect(cluster.client(1).results[1] != nil)
        #expect(cluster.replicas.contains { Self.reasons($0).contains(.idle) })
    }

    @Test func `a batch that does not commit is a reason after ten heartbeats`() {
        let cluster = Self.cluster()
        cluster.openSessions()
        cluster.filter = { _, body in
            if case .peer(.vote(let vote)) = body, vote.view == View(0), vote.phase == .commit { return .drop }
            return .deliver
        }
        cluster.client(1).submit("x", ticket: 1)
        cluster.endTurns()
        cluster.advance(by: 600 * Self.millisecond)
        #expect(cluster.replicas.contains { Self.reasons($0).contains(.stuck) })
        #expect(cluster.client(1).results[1] != nil)
    }

    @Test func `a request of which another number of the client was proposed is still watched`() {
        let cluster = Self.cluster(window: 8)
        cluster.openSessions()
        let replica = cluster[1]
        replica.receive(cluster.keys.request(1, number: 1))
        #expect(replica.watchStatus?.watchedRequests == 1)
        // The primary skips it: number 2 takes no effect.
        replica.receive(.prePrepare(.proposal(2, [cluster.keys.request(1, number: 2)])), from: 0)
        replica.endTurn()
        #expect(replica.watchStatus?.watchedRequests == 1)
        replica.receive(.prePrepare(.proposal(3, [cluster.keys.request(1, number: 1)])), from: 0)
        replica.endTurn()
        #expect(replica.watchStatus?.watchedRequests == 0)
    }

    @Test func `round trips are measured by PING, answered at most ten times a second`() {
        let cluster = Self.cluster()
        #expect(cluster[1].watchStatus?.roundTripNanoseconds == 0)
        let replica = cluster[2]
        replica.peerConnected(0)
        replica.peerConnected(1)
        replica.peerConnected(3)
        let questions = replica.takeOutbox().compactMap { sent -> (ReplicaID, Ping)? in
            guard case .ping(let ping) = sent.message, !ping.isAnswer, case .replica(let peer) = sent.recipient else {
                return nil
            }
            return (peer, ping)
        }
        #expect(questions.map(\.0.rawValue) == [0, 1, 3])
        replica.time += 30 * Self.millisecond
        for (peer, ping) in questions.prefix(2) {
            let answer = PeerMessage.ping(Ping(isAnswer: true, number: ping.number))
            replica.receive(answer, from: peer.rawValue)
            replica.receive(answer, from: peer.rawValue)
        }
        #expect(replica.dropped(.uselessPing) == 2)
        // Averaged with the 0 ns of the connection.
        #expect(replica.watchStatus?.roundTripNanoseconds == 30 * Self.millisecond / 8)

        for number in 1...3 as ClosedRange<UInt64> {
            replica.receive(.ping(Ping(isAnswer: false, number: number)), from: 0)
        }
        let answers = replica.takeOutbox().filter {
            if case .ping(let ping) = $0.message { ping.isAnswer } else { false }
        }
        #expect(answers.count <= 1 && replica.dropped(.uselessPing) >= 4)
    }
}
