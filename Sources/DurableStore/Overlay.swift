import StateStore

/// What was written since a checkpoint, over the values on disk.
struct Overlay {
    private(set) var keys = DirtyKeys()
    private var systemIndex = OrderedIndex()
    private var serviceIndex = OrderedIndex()

    /// What was written to `key`, or nil when nothing was; a nil value in it stands for a deletion.
    subscript(key: StoreKey) -> DirtyKeys.Entry? { keys[key] }

    mutating func set(_ key: StoreKey, to value: [UInt8]?) {
        if keys[key] == nil {
            switch key.keyspace {
            case .system: systemIndex.insert(key)
            case .service: serviceIndex.insert(key)
            }
        }
        keys.set(key, to: value)
    }

    /// The keys that were written, deleted ones too, in their order.
    func keys(in range: KeyRange, of keyspace: Keyspace) -> OrderedIndex.Keys {
        switch keyspace {
        case .system: systemIndex.keys(in: range)
        case .service: serviceIndex.keys(in: range)
        }
    }
}
