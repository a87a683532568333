/// A key of the store with its hash, which is computed once for all the tables the key is looked up in.
///
/// The hash is Swift's seeded SipHash, different in each process: a client cannot choose keys that collide. Nothing
/// that reaches the state or a reply may depend on it.
package struct StoreKey: Hashable, Sendable {
    package let bytes: [UInt8]
    package let keyspace: Keyspace
    private let seededHash: UInt32

    package init(_ bytes: [UInt8], in keyspace: Keyspace) {
        self.bytes = bytes
        self.keyspace = keyspace
        var hasher = Hasher()
        hasher.combine(keyspace.rawValue)
        hasher.combine(bytes)
        seededHash = UInt32(truncatingIfNeeded: hasher.finalize())
    }

    package static func == (left: StoreKey, right: StoreKey) -> Bool {
        left.seededHash == right.seededHash && left.keyspace == right.keyspace && left.bytes == right.bytes
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(seededHash)
    }

    /// A number below `count`, a power of two, that spreads the keys evenly.
    func shard(of count: Int) -> Int {
        Int(seededHash) & (count - 1)
    }
}

/// The current values, in many small dictionaries.
///
/// One dictionary of a million keys stops the replica for a tenth of a second whenever it grows; each of these grows on
/// its own.
struct ValueTable {
    private static let shardCount = 256
    private var shards: [[StoreKey: [UInt8]]] = Array(repeating: [:], count: shardCount)

    subscript(key: StoreKey) -> [UInt8]? {
        shards[key.shard(of: Self.shardCount)][key]
    }

    /// Sets or, with nil, removes the value of `key`.
    ///
    /// - Returns: The value before.
    mutating func set(_ key: StoreKey, to value: [UInt8]?) -> [UInt8]? {
        let shard = key.shard(of: Self.shardCount)
        guard let value else { return shards[shard].removeValue(forKey: key) }
        return shards[shard].updateValue(value, forKey: key)
    }
}
