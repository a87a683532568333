import Cryptography
import Disk
import Messages

/// Whose store it is: a store of one replica is of no use to another, and could make it contradict itself.
public struct StoreOwner: Hashable, Sendable {
    /// The cluster.
    public let cluster: ClusterID

    /// The replica in it.
    public let replica: ReplicaID

    /// Names a replica of a cluster.
    public init(cluster: ClusterID, replica: ReplicaID) {
        self.cluster = cluster
        self.replica = replica
    }

    /// Bytes that no other owner has.
    var bytes: [UInt8] { cluster.bytes + [replica.rawValue] }
}

/// The record that says what the database holds: magic bytes, the format's version (u32), the cluster (32 bytes), the replica (u8).
struct StoreHeader {
    static let format: UInt32 = 1
    static let key = Array("header".utf8)
    private static let magic = Array("aardvark store".utf8)

    let owner: StoreOwner

    init(owner: StoreOwner) {
        self.owner = owner
    }

    var encoded: [UInt8] {
        var bytes = Self.magic
        bytes.append(littleEndian: Self.format)
        bytes.append(contentsOf: owner.bytes)
        return bytes
    }

    /// Reads the record; refuses another format.
    init(_ bytes: [UInt8]?, at path: String) throws(StoreError) {
        guard let bytes, bytes.starts(with: Self.magic) else {
            throw .damaged(path, "it has no header")
        }
        var reader = ByteReader(bytes, in: Self.magic.count..<bytes.count)
        guard let version = try? reader.readUInt32() else { throw .damaged(path, "its header is too short") }
        guard version == Self.format else {
            throw StoreError(
                .otherFormat,
                "\(path): the store has format \(version); this version of the program reads format \(Self.format)"
            )
        }
        guard let cluster = ClusterID(Array(bytes[reader.position...].prefix(ClusterID.byteCount))),
            let replica = bytes.last, bytes.count == reader.position + ClusterID.byteCount + 1
        else { throw .damaged(path, "its header has the wrong length") }
        owner = StoreOwner(cluster: cluster, replica: ReplicaID(replica))
    }

    /// Refuses a store that is not this owner's.
    func check(_ expected: StoreOwner, at path: String) throws(StoreError) {
        guard owner.cluster == expected.cluster else {
            throw StoreError(.foreign, "\(path): the store belongs to another cluster (\(owner.cluster))")
        }
        guard owner.replica == expected.replica else {
            throw StoreError(
                .foreign,
                "\(path): the store belongs to replica \(owner.replica.rawValue), not to replica "
                    + "\(expected.replica.rawValue)"
            )
        }
    }
}
