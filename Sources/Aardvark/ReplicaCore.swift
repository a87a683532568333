import Agreement
import Cryptography
import Invariants
import Messages
import StateStore

/// Where a replica's messages go. The shell puts them into its links' buffers; nothing is sent before the end of the turn.
protocol ReplicaOutlet: AnyObject {
    /// A message for peers, encoded once.
    func send(_ message: [UInt8], to recipient: Recipient)
    /// A reply for a client; lost when the client has no link here.
    func reply(_ message: [UInt8], to client: ClientID)
    /// Something worth logging happened.
    func note(_ event: Event)
}

/// One replica without sockets: the engine, the state, the service and the checks of signatures, in one thread.
///
/// It carries out the engine's effects and hands the results back until none are left. Everything that it cannot do itself goes to
/// its outlet.
final class ReplicaCore {
    private var engine: Replica
    private let cluster: ClusterFile
    private let service: any ReplicatedService
    private let store = InMemoryStateStore()
    private let verifier: RequestVerifier
    private weak var outlet: (any ReplicaOutlet)?
    private var effects: [Effect] = []

    /// What has happened so far.
    private(set) var counters = ReplicaCounters()

    init(
        cluster: ClusterFile,
        replica: ReplicaID,
        key: SigningKey,
        limits: Limits,
        service: any ReplicatedService,
        outlet: any ReplicaOutlet
    ) {
        let configuration = ReplicaConfiguration(
            size: cluster.size,
            replica: replica,
            cluster: cluster.clusterID,
            switches: cluster.protocolName.switches,
            limits: limits,
            clients: cluster.clients.map { ClientID($0.id) }
        )
        engine = Replica(configuration: configuration, signer: key)
        verifier = RequestVerifier(
            cluster: cluster.clusterID,
            replica: replica,
            key: key,
            clients: Dictionary(uniqueKeysWithValues: cluster.clients.map { (ClientID($0.id), $0.publicKey) })
        )
        self.cluster = cluster
        self.service = service
        self.outlet = outlet
    }

    /// When the engine wants ``timePassed(now:)``.
    var deadline: Instant? { engine.deadline }

    // MARK: Inputs

    func receive(_ message: PeerMessage, from peer: ReplicaID, now: ClockReading) {
        engine.receive(message, from: peer, now: now, into: &effects)
        drain(now)
    }

    func receive(_ request: Unverified<Request>, now: ClockReading) {
        engine.receive(request, now: now, into: &effects)
        drain(now)
    }

    func peerConnected(_ peer: ReplicaID, now: ClockReading) {
        engine.peerConnected(peer, now: now, into: &effects)
        drain(now)
    }

    func turnEnded(now: ClockReading) {
        engine.turnEnded(now: now, into: &effects)
        drain(now)
    }

    func timePassed(now: ClockReading) {
        engine.timePassed(now: now, into: &effects)
        drain(now)
    }

    // MARK: Effects

    /// Carries out effects in their order; those that their results bring forth come after.
    private func drain(_ now: ClockReading) {
        var next = 0
        while next < effects.count {
            let effect = effects[next]
            next += 1
            perform(effect, now)
        }
        effects.removeAll(keepingCapacity: true)
    }

    private func perform(_ effect: Effect, _ now: ClockReading) {
        switch effect {
        case .persist:
            // Durability `none`: every position counts as durable at once, so no message waits for one.
            break
        case .send(let message, let recipient, after: _):
            outlet?.send(message.encoded, to: recipient)
        case .reply(let replies, after: _):
            for addressed in replies {
                outlet?.reply(addressed.reply.encoded, to: addressed.client)
            }
        case .checkRequest(let request, let source):
            engine.requestChecked(verifier.verify(request), from: source, now: now, into: &effects)
        case .checkBatch(let place, let requests):
            let valid = requests.allSatisfy { verifier.verify($0) != nil }
            engine.batchChecked(place, valid: valid, now: now, into: &effects)
        case .checkCheckpoint(let checkpoint):
            if let key = cluster.replica(checkpoint.claim.replica)?.publicKey,
                let verified = checkpoint.verified(by: key, cluster: cluster.clusterID)
            {
                engine.checkpointVerified(verified, now: now, into: &effects)
            } else {
                counters.badCheckpointSignatures += 1
            }
        case .execute(let execution):
            engine.executed(execution.sequence, results: execute(execution), now: now, into: &effects)
        case .record(let records):
            record(records)
        case .takeCheckpoint(let sequence):
            let root = store.checkpoint(sequence.rawValue)
            engine.checkpointTaken(sequence, root: root, now: now, into: &effects)
        case .discardCheckpoints(let sequence):
            store.releaseCheckpoints(before: sequence.rawValue)
        case .note(let event):
            counters.count(event)
            outlet?.note(event)
        }
    }

    private func execute(_ execution: Execution) -> [[[UInt8]]] {
        var results: [[[UInt8]]] = []
        results.reserveCapacity(execution.requests.count)
        for request in execution.requests {
            results.append(
                request.operations.map { operation in
                    var context = ExecutionContext(
                        client: request.client,
                        time: execution.time,
                        state: ServiceState(of: store)
                    )
                    return service.execute(operation, in: &context)
                }
            )
        }
        return results
    }

    private func record(_ records: [SystemRecord]) {
        for record in records {
            if let value = record.value {
                store.put(value, at: record.key, in: .system)
            } else {
                _ = store.delete(record.key, in: .system)
            }
        }
    }

    // MARK: Status

    /// What this replica says of itself.
    func status(of replica: ReplicaID, connectedPeers: [ReplicaID], counters shell: [ReplicaStatus.Counter])
        -> ReplicaStatus
    {
        ReplicaStatus(
            replica: replica,
            protocolName: cluster.protocolName.rawValue,
            view: engine.view,
            primary: engine.primary,
            executed: engine.executed,
            stable: engine.stable,
            low: engine.stable,
            high: engine.high,
            connectedPeers: connectedPeers,
            counters: counters.named + [
                .init("signatures_checked", verifier.signaturesChecked),
                .init("macs_checked", verifier.macsChecked),
            ] + shell
        )
    }
}

/// What a replica counts. Every counter only grows.
struct ReplicaCounters {
    var badCheckpointSignatures: UInt64 = 0
    private var proposedBatches: UInt64 = 0
    private var proposedRequests: UInt64 = 0
    private var batches: UInt64 = 0
    private var requests: UInt64 = 0
    private var operations: UInt64 = 0
    private var stableCheckpoints: UInt64 = 0
    private var divergences: UInt64 = 0
    private var stalls: UInt64 = 0
    private var dropped: [DropReason: UInt64] = [:]
    private var accusations: [Accusation: UInt64] = [:]

    mutating func count(_ event: Event) {
        switch event {
        case .dropped(let reason): dropped[reason, default: 0] += 1
        case .accused(_, let accusation): accusations[accusation, default: 0] += 1
        case .proposed(_, let requests):
            proposedBatches += 1
            proposedRequests += UInt64(requests)
        case .executed(_, let requests, let operations):
            batches += 1
            self.requests += UInt64(requests)
            self.operations += UInt64(operations)
        case .stable: stableCheckpoints += 1
        case .diverged: divergences += 1
        case .stalled: stalls += 1
        }
    }

    /// The counters by name, in an order that stays.
    var named: [ReplicaStatus.Counter] {
        [
            .init("operations_executed", operations),
            .init("requests_executed", requests),
            .init("batches_executed", batches),
            .init("batches_proposed", proposedBatches),
            .init("requests_proposed", proposedRequests),
            .init("checkpoints_stable", stableCheckpoints),
            .init("checkpoints_diverged", divergences),
            .init("checkpoint_signatures_bad", badCheckpointSignatures),
            .init("stalls", stalls),
        ] + DropReason.allCases.map { .init("dropped_\($0.rawValue)", dropped[$0, default: 0]) }
            + Accusation.allCases.map { .init("accused_\($0.rawValue)", accusations[$0, default: 0]) }
    }
}

extension ClusterFile.ProtocolName {
    /// The switches that make this protocol out of the engine.
    var switches: ProtocolSwitches {
        switch self {
        case .pbft: .pbft
        case .aardvark: .aardvark
        }
    }
}

extension ClusterFile.Tuning {
    /// The engine's bounds as this file sets them.
    var limits: Limits {
        var limits = Limits()
        limits.batchBytes = batchBytes
        limits.batchRequests = batchRequests
        limits.pipelineDepth = pipelineDepth
        limits.checkpointInterval = checkpointInterval
        limits.logWindow = window
        limits.clientWindow = clientWindow
        return limits
    }
}
