import Agreement
import Messages

/// What a replica counts. Every counter only grows.
struct ReplicaCounters {
    var badCheckpointSignatures: UInt64 = 0
    var badViewChangeSignatures: UInt64 = 0
    var badStateAnswers: UInt64 = 0
    var stateBytesServed: UInt64 = 0
    /// Of misbehaviour, as it was handed to the operator, and as it turned out to prove nothing.
    var evidence: UInt64 = 0
    var flawedEvidence: UInt64 = 0
    /// On other threads.
    var signaturesChecked: UInt64 = 0
    var readsAnswered: UInt64 = 0
    private var viewsLeft: [ViewChangeReason: UInt64] = [:]
    private var viewsEntered: UInt64 = 0
    private var stateTransfers: UInt64 = 0
    private var proposedBatches: UInt64 = 0
    private var proposedRequests: UInt64 = 0
    private var batches: UInt64 = 0
    private var requests: UInt64 = 0
    private var operations: UInt64 = 0
    private var stableCheckpoints: UInt64 = 0
    private var blacklistedClients: UInt64 = 0
    private var blacklistedReplicas: UInt64 = 0
    private var divergences: UInt64 = 0
    private var stalls: UInt64 = 0
    private var rollbacks: UInt64 = 0
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
        case .blacklisted(.client): blacklistedClients += 1
        case .blacklisted(.forwarded): blacklistedReplicas += 1
        case .diverged: divergences += 1
        case .stalled: stalls += 1
        case .rolledBack: rollbacks += 1
        case .leftView(_, let reason): viewsLeft[reason, default: 0] += 1
        case .enteredView: viewsEntered += 1
        case .fetchesState: stateTransfers += 1
        case .learning: break
        }
    }

    /// The counters by name, in an order that stays.
    var named: [ReplicaStatus.Counter] {
        [
            .init("operations_executed", operations),
            .init("requests_executed", requests),
            .init("batches_executed", batches),
            .init("reads_answered", readsAnswered),
            .init("batches_proposed", proposedBatches),
            .init("requests_proposed", proposedRequests),
            .init("checkpoints_stable", stableCheckpoints),
            .init("checkpoints_diverged", divergences),
            .init("checkpoint_signatures_bad", badCheckpointSignatures),
            .init("view_change_signatures_bad", badViewChangeSignatures),
            .init("state_answers_bad", badStateAnswers),
            .init("evidence", evidence),
            .init("evidence_flawed", flawedEvidence),
            .init("views_left", viewsLeft.values.reduce(0, +)),
            .init("views_entered", viewsEntered),
            .init("state_transfers", stateTransfers),
            .init("state_bytes_served", stateBytesServed),
            .init("stalls", stalls),
            .init("clients_blacklisted", blacklistedClients),
            .init("forwarders_blacklisted", blacklistedReplicas),
            .init("executions_rolled_back", rollbacks),
        ] + ViewChangeReason.allCases.map { .init("views_left_\($0.rawValue)", viewsLeft[$0, default: 0]) }
            + DropReason.allCases.map { .init("dropped_\($0.rawValue)", dropped[$0, default: 0]) }
            + Accusation.allCases.map { .init("accused_\($0.rawValue)", accusations[$0, default: 0]) }
    }
}
