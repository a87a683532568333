/// The state as a service may change it while it executes one operation: its own keyspace and nothing else.
///
/// It is a reference to the store and costs nothing to make. It cannot be copied, so that a service cannot keep it
/// beyond the operation it was handed for.
public struct ServiceState: ~Copyable {
    private let store: any AuthenticatedStore

    /// Gives access to the service's part of `store`.
    public init(of store: any AuthenticatedStore) {
        self.store = store
    }

    /// The same state, for reading only.
    public var view: StateView { StateView(of: store) }

    /// The number of entries.
    public var count: Int { store.count(in: .service) }

    /// The value under `key`, or nil when there is none.
    public func get(_ key: [UInt8]) -> [UInt8]? {
        store.value(of: key, in: .service)
    }

    /// Sets the value under `key`.
    ///
    /// - Throws: A refusal when the key or the value is longer than ``StateLimits`` allows; the state is as before
    ///   then.
    public mutating func put(_ key: [UInt8], _ value: [UInt8]) throws(StateRefusal) {
        guard key.count <= StateLimits.keyBytes else { throw .keyTooLong(bytes: key.count) }
        guard value.count <= StateLimits.serviceValueBytes else { throw .valueTooLong(bytes: value.count) }
        store.put(value, at: key, in: .service)
    }

    /// Removes the entry of `key`.
    ///
    /// - Returns: Whether there was one.
    @discardableResult
    public mutating func delete(_ key: [UInt8]) -> Bool {
        store.delete(key, in: .service)
    }

    /// Visits the entries of a range in the order of their keys, until the visitor stops.
    public func scan(_ range: KeyRange, _ visit: (_ key: [UInt8], _ value: [UInt8]) -> ScanStep) {
        store.scan(range, in: .service, visit)
    }

    /// The first entries of a range, in the order of their keys.
    ///
    /// - Parameters:
    ///   - range: The keys.
    ///   - limit: The most entries to return; none when it is 0 or less.
    public func entries(_ range: KeyRange, limit: Int) -> [StateEntry] {
        view.entries(range, limit: limit)
    }
}

/// The service's part of the state, for reading only.
///
/// Like ``ServiceState`` it is a reference that costs nothing to make and cannot be kept.
public struct StateView: ~Copyable {
    private let store: any AuthenticatedStore

    /// Gives read access to the service's part of `store`.
    public init(of store: any AuthenticatedStore) {
        self.store = store
    }

    /// The number of entries.
    public var count: Int { store.count(in: .service) }

    /// The value under `key`, or nil when there is none.
    public func get(_ key: [UInt8]) -> [UInt8]? {
        store.value(of: key, in: .service)
    }

    /// Visits the entries of a range in the order of their keys, until the visitor stops.
    public func scan(_ range: KeyRange, _ visit: (_ key: [UInt8], _ value: [UInt8]) -> ScanStep) {
        store.scan(range, in: .service, visit)
    }

    /// The first entries of a range, in the order of their keys.
    ///
    /// - Parameters:
    ///   - range: The keys.
    ///   - limit: The most entries to return; none when it is 0 or less.
    public func entries(_ range: KeyRange, limit: Int) -> [StateEntry] {
        var entries: [StateEntry] = []
        guard limit > 0 else { return entries }
        scan(range) { key, value in
            entries.append(StateEntry(key: key, value: value))
            return entries.count < limit ? .more : .stop
        }
        return entries
    }
}
