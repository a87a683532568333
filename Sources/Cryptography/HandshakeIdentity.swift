/// What an identity is in a cluster. The raw value is its form on the wire.
public enum Role: UInt8, Hashable, Sendable {
    /// A member of the cluster.
    case replica = 1

    /// Asks for operations.
    case client = 2

    /// Changes the cluster.
    case administrator = 3
}

/// One end of a connection: a role and a number in it.
public struct Identity: Hashable, Sendable, CustomStringConvertible {
    /// What the identity is.
    public let role: Role

    /// The replica's, client's or administrator's number; unique in its role.
    public let number: UInt32

    /// Names an identity.
    public init(role: Role, number: UInt32) {
        self.role = role
        self.number = number
    }

    /// The replica with this number.
    public static func replica(_ number: UInt8) -> Identity { Identity(role: .replica, number: UInt32(number)) }

    /// The client with this number.
    public static func client(_ number: UInt32) -> Identity { Identity(role: .client, number: number) }

    /// The administrator with this number.
    public static func administrator(_ number: UInt32) -> Identity { Identity(role: .administrator, number: number) }

    /// For example `replica 2`.
    public var description: String { "\(role) \(number)" }
}

/// Whom one of a replica's listening endpoints is for. Each peer has an endpoint of its own (Aardvark section 4.3: a
/// network interface per peer), so that one peer's flood is cut off without the others.
public enum EndpointPurpose: Hashable, Sendable, CustomStringConvertible {
    /// For clients and administrators.
    case clients

    /// For the replica with this number.
    case peer(UInt8)

    /// 0 for the clients' endpoint, 1 + n for that of replica n.
    var wireValue: UInt16 {
        switch self {
        case .clients: 0
        case .peer(let number): 1 + UInt16(number)
        }
    }

    /// For example `endpoint for replica 2`.
    public var description: String {
        switch self {
        case .clients: "endpoint for clients"
        case .peer(let number): "endpoint for replica \(number)"
        }
    }
}

/// What this process is in a handshake.
public struct LocalIdentity: Sendable {
    /// The cluster that it belongs to.
    public let cluster: ClusterID

    /// Its name.
    public let identity: Identity

    /// Its identity key.
    public let key: SigningKey

    /// The protocol version that it speaks; both ends must speak the same.
    public let protocolVersion: UInt16

    /// Describes this process.
    public init(
        cluster: ClusterID,
        identity: Identity,
        key: SigningKey,
        protocolVersion: UInt16 = Handshake.protocolVersion
    ) {
        self.cluster = cluster
        self.identity = identity
        self.key = key
        self.protocolVersion = protocolVersion
    }
}

/// The keys of an identity that this process knows.
public struct KnownIdentity: Sendable {
    /// Its identity key.
    public let publicKey: PublicKey

    /// The key that it shares with this process.
    public let pairwiseKey: PairwiseKey

    /// Joins the two keys.
    public init(publicKey: PublicKey, pairwiseKey: PairwiseKey) {
        self.publicKey = publicKey
        self.pairwiseKey = pairwiseKey
    }
}

/// Keeps the pairwise keys of known identities, because one costs about 100 microseconds to derive.
///
/// It holds one key for each identity it was asked for and not told to forget: as many as its owner knows, since the
/// owner asks only with public keys that it looked up itself.
public final class PairwiseKeyCache {
    private let local: LocalIdentity
    private var known: [Identity: KnownIdentity] = [:]

    /// Makes an empty cache for this process's key and cluster.
    public init(local: LocalIdentity) {
        self.local = local
    }

    /// The keys of `identity`, whose public key is `publicKey` now; an entry for another public key is replaced.
    ///
    /// - Returns: nil when `publicKey` is not a valid key.
    public func keys(of identity: Identity, publicKey: PublicKey) -> KnownIdentity? {
        if let entry = known[identity], entry.publicKey == publicKey { return entry }
        guard let pairwiseKey = PairwiseKey(own: local.key, peer: publicKey, cluster: local.cluster) else { return nil }
        let entry = KnownIdentity(publicKey: publicKey, pairwiseKey: pairwiseKey)
        known[identity] = entry
        return entry
    }

    /// Drops what is kept for an identity that is known no more.
    public func forget(_ identity: Identity) {
        known[identity] = nil
    }
}
