import Cryptography
import Messages
import NIOCore
import Transport

/// The keys of a cluster's members as this process uses them, and whom it lets in where. On one event loop.
final class ClusterKeys {
    let local: LocalIdentity
    /// Says which key a client or an administrator has now. A process that is no replica admits nobody.
    var clientKey: (ClientID) -> PublicKey? = { _ in nil }
    private let cluster: ClusterFile
    private let cache: PairwiseKeyCache

    init(cluster: ClusterFile, identity: Identity, key: SigningKey) {
        self.cluster = cluster
        local = LocalIdentity(cluster: cluster.clusterID, identity: identity, key: key)
        cache = PairwiseKeyCache(local: local)
    }

    /// The keys of a member; nil when there is no such member, or its key is not valid.
    func keys(of identity: Identity) -> KnownIdentity? {
        let publicKey =
            identity.role == .replica ? cluster.publicKey(of: identity) : ClientID(identity).flatMap(clientKey)
        return publicKey.flatMap { cache.keys(of: identity, publicKey: $0) }
    }

    /// Drops what was derived from a member's key, which is no longer its key.
    func forget(_ identity: Identity) {
        cache.forget(identity)
    }

    /// Whether an identity may connect to an endpoint of this process: a peer to its own, everybody else to that for clients.
    func admission(of identity: Identity, at purpose: EndpointPurpose) -> Admission {
        guard let keys = keys(of: identity) else { return .unknown }
        switch (purpose, identity.role) {
        case (.clients, .client), (.clients, .administrator): return .admitted(keys)
        case (.peer(let number), .replica) where UInt32(number) == identity.number: return .admitted(keys)
        default: return .notAllowed
        }
    }

    /// Between replicas: short, so that they find each other soon after a partition has healed. There are few of them.
    private static let peerBackOff = BackOff(longest: .milliseconds(500))
    private static let peerRepeatPause = Duration.milliseconds(250)

    /// A dialer to a replica's endpoint.
    ///
    /// - Returns: nil when the replica's key is not valid.
    func dialer(
        to replica: ReplicaID,
        at endpoint: ClusterFile.Endpoint,
        purpose: EndpointPurpose,
        eventLoop: any EventLoop,
        delegate: any TransportDelegate
    ) -> Dialer? {
        guard let keys = keys(of: .replica(replica.rawValue)) else { return nil }
        let configuration = Dialer.Configuration(
            host: endpoint.host,
            port: endpoint.port,
            peer: .replica(replica.rawValue),
            keys: keys,
            purpose: purpose,
            backOff: local.identity.role == .replica ? Self.peerBackOff : BackOff(),
            repeatPause: local.identity.role == .replica ? Self.peerRepeatPause : nil
        )
        return Dialer(configuration, local: local, eventLoop: eventLoop, delegate: delegate)
    }

    /// A listener of this process.
    func listener(
        at endpoint: ClusterFile.Endpoint,
        purpose: EndpointPurpose,
        eventLoop: any EventLoop,
        delegate: any TransportDelegate
    ) -> Listener {
        Listener(
            Listener.Configuration(host: endpoint.host, port: endpoint.port, purpose: purpose),
            local: local,
            eventLoop: eventLoop,
            delegate: delegate,
            admission: { [self] identity in admission(of: identity, at: purpose) }
        )
    }
}
