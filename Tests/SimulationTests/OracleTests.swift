import Adversary
import Cryptography
import Messages
import Testing

@testable import Agreement
@testable import Simulation

/// Each rule is broken on purpose at the shell of a correct replica, and the oracle that watches it must say so. An oracle that never
/// speaks proves nothing.
struct OracleTests {
    /// The first rule that some seed breaks under a sabotage.
    private static func broken(
        _ profile: String = "none",
        seeds: ClosedRange<UInt64> = 1...20,
        _ sabotage: @escaping @Sendable (Effect, ReplicaID) -> [Effect]
    ) throws -> Violation.Rule? {
        let keys = try Runs.keys()
        for seed in seeds {
            let scenario = try Runs.scenario(seed: seed, profile, keys: keys) { $0.sabotage = sabotage }
            if let violation = scenario.run().violation { return violation.rule }
        }
        return nil
    }

    @Test func `without sabotage nothing is broken`() throws {
        #expect(try Self.broken { effect, _ in [effect] } == nil)
    }

    @Test func `a vote before its record is durable is noticed`() throws {
        let rule = try Self.broken { effect, _ in
            guard case .send(let message, let recipient, after: _) = effect else { return [effect] }
            return [.send(message, to: recipient, after: .start)]
        }
        #expect(rule == .durableFirst)
    }

    @Test func `a record that is never written is noticed`() throws {
        let rule = try Self.broken { effect, _ in
            if case .persist(.prepared, at: _) = effect { return [] }
            return [effect]
        }
        #expect(rule == .durableFirst)
    }

    @Test func `two different votes are noticed`() throws {
        let rule = try Self.broken { effect, replica in
            guard replica == ReplicaID(2), case .send(.vote(let vote), let recipient, let position) = effect else {
                return [effect]
            }
            let other = Vote(vote.phase, view: vote.view, sequence: vote.sequence, digest: .zero)
            return [effect, .send(.vote(other), to: recipient, after: position)]
        }
        #expect(rule == .noContradiction)
    }

    @Test func `another state at one replica is noticed`() throws {
        let rule = try Self.broken { effect, replica in
            guard replica == ReplicaID(3), case .record = effect else { return [effect] }
            return [effect, .record([SystemRecord(key: [1], value: [UInt8](repeating: 7, count: 3))])]
        }
        #expect(rule == .sameState)
    }

    @Test func `more than f faulty replicas are noticed`() throws {
        let keys = try Runs.keys()
        for seed: UInt64 in 1...5 {
            let outcome = try Runs.scenario(seed: seed, "out-of-model", keys: keys).run()
            #expect(outcome.violation?.kind == .safety, "seed \(seed)")
        }
    }

    @Test func `a cluster that answers nobody is noticed`() throws {
        let rule = try Self.broken { effect, _ in
            if case .reply = effect { return [] }
            return [effect]
        }
        #expect(rule == .answered)
    }

    @Test func `a replica that stays behind is noticed`() throws {
        let rule = try Self.broken { effect, replica in
            if replica == ReplicaID(3), case .execute = effect { return [] }
            return [effect]
        }
        #expect(rule == .level)
    }

    // MARK: The history, directly

    private static func request(
        _ keys: KeyRing,
        _ client: UInt32,
        session: UInt64 = 1,
        _ number: UInt64,
        _ byte: UInt8 = 0,
        spoiled: Bool = false
    ) -> Request {
        Request(
            client: ClientID(client),
            session: SessionID(session),
            number: RequestNumber(number),
            operations: number == 0 ? [] : [[byte]],
            authenticator: keys.authenticator(of: ClientID(client), spoiledFor: spoiled ? [ReplicaID(0)] : [])
        )
    }

    private static func execution(_ sequence: UInt64, _ requests: [Request], time: UInt64 = 5) -> Execution {
        Execution(
            sequence: SequenceNumber(sequence),
            batch: requests.isEmpty ? .zero : Batch(time: Timestamp(nanoseconds: time), requests: requests).digest,
            time: Timestamp(nanoseconds: time),
            requests: requests,
            isTentative: false
        )
    }

    @Test func `another batch, another order, another time and a gap in the history are noticed`() throws {
        let keys = try Runs.keys()
        let first = [Self.request(keys, 1, 0), Self.request(keys, 2, 0)]
        var oracle = Oracle(keys: keys, correctReplicas: [], correctClients: [])
        #expect(oracle.executes(Self.execution(1, first), at: ReplicaID(0)) == nil)
        #expect(oracle.executes(Self.execution(1, first), at: ReplicaID(1)) == nil)
        let wrong = [
            Self.execution(1, first.reversed()), Self.execution(1, [first[0]]), Self.execution(1, first, time: 6),
            Self.execution(3, []),
        ]
        for execution in wrong {
            #expect(oracle.executes(execution, at: ReplicaID(2))?.rule == .oneHistory)
        }
        #expect(oracle.executes(Self.execution(2, [], time: 4), at: ReplicaID(0))?.rule == .monotone)
    }

    @Test func `requests that take effect twice, or out of order, or in a void session are noticed`() throws {
        let keys = try Runs.keys()
        func rule(_ requests: [Request]) -> Violation.Rule? {
            var oracle = Oracle(keys: keys, correctReplicas: [], correctClients: [])
            return oracle.executes(Self.execution(1, requests), at: ReplicaID(0))?.rule
        }
        func request(_ session: UInt64, _ number: UInt64) -> Request {
            Self.request(keys, 1, session: session, number)
        }
        #expect(rule([request(1, 0), request(1, 1), request(1, 2), request(2, 0), request(2, 1)]) == nil)
        #expect(rule([request(1, 0), request(1, 1), request(1, 1)]) == .exactlyOnce)
        #expect(rule([request(1, 0), request(1, 2)]) == .exactlyOnce)
        #expect(rule([request(1, 1)]) == .exactlyOnce)
        #expect(rule([request(2, 0), request(1, 0)]) == .exactlyOnce)
        #expect(rule([request(1, 0), request(2, 0), request(1, 1)]) == .exactlyOnce)
    }

    @Test func `requests that nobody made or signed are noticed`() throws {
        let keys = try Runs.keys()
        var oracle = Oracle(keys: keys, correctReplicas: [], correctClients: [ClientID(1)])
        let opening = Self.request(keys, 1, 0)
        #expect(oracle.executes(Self.execution(1, [opening]), at: ReplicaID(0))?.rule == .onlyRealRequests)
        oracle = Oracle(keys: keys, correctReplicas: [], correctClients: [ClientID(1)])
        oracle.made(opening)
        oracle.made(Self.request(keys, 1, 1, 7))
        let changed = Self.request(keys, 1, 1, 8)
        #expect(oracle.executes(Self.execution(1, [opening]), at: ReplicaID(0)) == nil)
        #expect(oracle.executes(Self.execution(2, [changed]), at: ReplicaID(0))?.rule == .onlyRealRequests)
        let forged = Self.request(keys, 2, 0, spoiled: true)
        oracle = Oracle(keys: keys, correctReplicas: [], correctClients: [ClientID(1)])
        #expect(oracle.executes(Self.execution(1, [forged]), at: ReplicaID(0))?.rule == .onlyRealRequests)
    }

    @Test func `a checkpoint that is stable on too few good signatures is noticed`() throws {
        let keys = try Runs.keys()
        var oracle = Oracle(keys: keys, correctReplicas: [], correctClients: [])
        let sequence = SequenceNumber(4)
        let root = Digest.of([1])
        #expect(oracle.took(root: root, at: sequence, by: ReplicaID(0)) == nil)
        #expect(oracle.took(root: .zero, at: sequence, by: ReplicaID(1))?.rule == .sameState)
        func signed(_ replica: UInt8, _ root: Digest, by signer: UInt8) -> Checkpoint {
            let key = keys.signer(of: ReplicaID(signer))
            return Checkpoint(sequence, root: root, by: ReplicaID(replica), cluster: keys.cluster, signer: key)
        }
        func rule(_ certificate: [Checkpoint]) -> Violation.Rule? {
            oracle.stabilised(sequence, certificate: certificate, by: ReplicaID(0))?.rule
        }
        let good = (0..<3).map { signed($0, root, by: $0) }
        #expect(rule(good) == nil)
        #expect(rule(Array(good.dropLast())) == .certificates)
        #expect(rule(good.dropLast() + [good[0]]) == .certificates)
        #expect(rule(good.dropLast() + [signed(3, root, by: 2)]) == .certificates)
        #expect(rule(good.dropLast() + [signed(3, .zero, by: 3)]) == .certificates)
    }

    @Test func `a result that nobody computed is noticed`() throws {
        let keys = try Runs.keys()
        var oracle = Oracle(keys: keys, correctReplicas: [], correctClients: [])
        let opening = Self.request(keys, 1, 0)
        let request = Self.request(keys, 1, 1)
        let execution = Self.execution(1, [opening, request])
        #expect(oracle.executes(execution, at: ReplicaID(0)) == nil)
        #expect(oracle.took([9], of: RequestName(request), operation: 0) == nil, "it may be computed yet")
        #expect(oracle.unfounded?.rule == .rightResults)
        #expect(oracle.executed(execution, results: [[], [[9]]], at: ReplicaID(0)) == nil)
        #expect(oracle.unfounded == nil)
        #expect(oracle.took([9], of: RequestName(request), operation: 0) == nil)
        #expect(oracle.took([8], of: RequestName(request), operation: 0)?.rule == .rightResults)
        #expect(oracle.took([9], of: RequestName(request), operation: 1)?.rule == .rightResults)
        #expect(oracle.executed(execution, results: [[], [[8]]], at: ReplicaID(1))?.rule == .sameState)
    }
}
