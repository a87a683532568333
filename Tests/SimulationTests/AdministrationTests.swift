import Adversary
import Cryptography
import Messages
import Testing

@testable import Agreement
@testable import Simulation

/// Clients that come, change keys and go, in the simulator: that it happens there, and that the oracles see when it goes wrong.
struct AdministrationTests {
    @Test(arguments: [ProtocolSwitches.aardvark, .pbft])
    func `keys change while clients send, and everybody goes on`(switches: ProtocolSwitches) throws {
        let keys = try Runs.keys(switches)
        var total = Statistics()
        var newcomers = 0
        for seed: UInt64 in 1...6 {
            let scenario = try Runs.scenario(seed: seed, "changing-clients", keys: keys, switches: switches)
            newcomers += scenario.newcomers.count
            let outcome = scenario.run()
            #expect(outcome.violation == nil, "seed \(seed): \(outcome.violation?.sentence ?? "")")
            total.add(outcome.statistics)
        }
        #expect(total.keyChanges > 0 && total.operations > 0 && newcomers > 0)
    }

    @Test func `nothing rests on the connections of revoked keys being closed`() throws {
        let keys = try Runs.keys()
        for seed: UInt64 in 1...4 {
            let scenario = try Runs.scenario(seed: seed, "changing-clients-random", keys: keys) { options in
                options.sabotage = { effect, _ in
                    if case .clientsChanged = effect { [] } else { [effect] }
                }
            }
            let violation = scenario.run().violation
            #expect(violation?.kind != .safety, "seed \(seed): \(violation?.sentence ?? "")")
        }
    }

    // MARK: The oracle

    private static func administration(_ keys: KeyRing, _ number: UInt64, _ operation: AdministrationOperation?)
        -> Request
    {
        Request(
            client: keys.administrator,
            session: SessionID(1),
            number: RequestNumber(number),
            operations: operation.map { [$0.encoded] } ?? [],
            authenticator: keys.authenticator(of: keys.administrator)
        )
    }

    private static func request(
        _ keys: KeyRing,
        _ client: ClientID,
        _ number: UInt64,
        epoch: UInt32 = 0,
        generation: Int = 0
    ) -> Request {
        Request(
            client: client,
            keyEpoch: KeyEpoch(epoch),
            session: SessionID(1),
            number: RequestNumber(number),
            operations: number == 0 ? [] : [[0]],
            authenticator: keys.authenticator(of: client, generation: generation)
        )
    }

    /// The first rule that a history breaks, one request a batch.
    private static func broken(_ keys: KeyRing, _ requests: [Request], newcomers: Set<ClientID> = []) -> Violation.Rule?
    {
        var oracle = Oracle(keys: keys, correctReplicas: [], correctClients: [], newcomers: newcomers)
        for (place, request) in requests.enumerated() {
            if request.client.isAdministrator { oracle.made(request) }
            let execution = Execution(
                sequence: SequenceNumber(UInt64(place) + 1),
                batch: .zero,
                time: .zero,
                requests: [request],
                isTentative: false
            )
            if let violation = oracle.executes(execution, at: ReplicaID(0)) { return violation.rule }
        }
        return nil
    }

    @Test func `a request that takes effect with a revoked key, or one of another epoch, is noticed`() throws {
        let keys = try Runs.keys()
        let client = ClientID(3)
        let start = [Self.administration(keys, 0, nil), Self.request(keys, client, 0)]
        let replace = Self.administration(keys, 1, .replaceKey(client, keys.publicKey(of: client, generation: 1)))
        let remove = Self.administration(keys, 1, .remove(client))
        let addAgain = Self.administration(keys, 2, .add(client, keys.publicKey(of: client)))
        let old = Self.request(keys, client, 1)
        #expect(Self.broken(keys, start + [old]) == nil)
        #expect(Self.broken(keys, start + [replace, Self.request(keys, client, 1, epoch: 1, generation: 1)]) == nil)
        #expect(Self.broken(keys, start + [remove, addAgain, Self.request(keys, client, 1, epoch: 1)]) == nil)
        let wrong = [
            [replace, old], [replace, Self.request(keys, client, 1, epoch: 1)], [remove, old],
            [replace, Self.request(keys, client, 1, epoch: 0, generation: 1)], [remove, addAgain, old],
            [Self.request(keys, client, 1, epoch: 1)],
        ]
        for history in wrong {
            #expect(Self.broken(keys, start + history) == .onlyRealRequests)
        }
        #expect(Self.broken(keys, [Self.request(keys, client, 0)], newcomers: [client]) == .onlyRealRequests)
    }

    @Test func `a wrong result of an administrator's operation is noticed`() throws {
        let keys = try Runs.keys()
        let client = ClientID(3)
        let requests = [Self.administration(keys, 0, nil), Self.administration(keys, 1, .remove(client))]
        var oracle = Oracle(keys: keys, correctReplicas: [], correctClients: [])
        for request in requests { oracle.made(request) }
        let execution = Execution(
            sequence: SequenceNumber(1),
            batch: .zero,
            time: .zero,
            requests: requests,
            isTentative: false
        )
        #expect(oracle.executes(execution, at: ReplicaID(0)) == nil)
        #expect(oracle.executed(execution, results: [[], []], at: ReplicaID(0)) == nil)
        let name = RequestName(requests[1])
        #expect(oracle.took(AdministrationResult.removed(client).encoded, of: name, operation: 0) == nil)
        #expect(
            oracle.took(AdministrationResult.unknown(client).encoded, of: name, operation: 0)?.rule == .rightResults
        )
    }

    @Test func `a correct replica that accuses a correct one is noticed`() throws {
        let keys = try Runs.keys()
        let scenario = try Runs.scenario(seed: 1, "none", keys: keys) { options in
            options.sabotage = { effect, replica in
                guard replica == ReplicaID(2), case .note(.executed) = effect else { return [effect] }
                return [effect, .note(.accused(ReplicaID(0), .forgedRequest))]
            }
        }
        #expect(scenario.run().violation?.rule == .rightBlame)
    }
}
