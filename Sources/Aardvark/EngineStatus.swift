import Agreement
import Messages

/// What a replica's status shows of its engine beside the counters.
extension Replica {
    /// The most clients, and the most replicas, that the status names as blacklisted.
    private static let mostNamed = 8

    /// Who is blacklisted, by name as far as a status has room for it.
    var namedBlacklist: [ReplicaStatus.Counter] {
        var names: (clients: [String], replicas: [String]) = ([], [])
        for source in blacklist {
            switch source {
            case .client(let client): names.clients.append("client_\(client.rawValue)_blacklisted")
            case .forwarded(let replica): names.replicas.append("peer_\(replica.index)_blacklisted")
            }
        }
        let named = names.clients.prefix(Self.mostNamed) + names.replicas.prefix(Self.mostNamed)
        return named.map { .init($0, 1, .gauge) }
    }

    /// What the watch over the primary goes by now; nothing where it is off.
    var watchGauges: [ReplicaStatus.Counter] {
        guard let watch = watchStatus else { return [] }
        var gauges: [ReplicaStatus.Counter] = [
            .init("primary_heartbeat_microseconds", watch.heartbeatNanoseconds / 1_000, .gauge),
            .init("primary_round_trip_microseconds", watch.roundTripNanoseconds / 1_000, .gauge),
            .init("primary_back_off_factor", watch.backOffFactor, .gauge),
            .init("primary_grace_factor", watch.graceFactor, .gauge),
            .init("primary_watched_requests", UInt64(watch.watchedRequests), .gauge),
        ]
        if let required = watch.required { gauges.append(.init("primary_work_required", required, .gauge)) }
        if let observed = watch.observed { gauges.append(.init("primary_work_observed", observed, .gauge)) }
        return gauges
    }
}
