/// A cluster's identifier: 32 random bytes chosen when the cluster was made. Every signature, MAC key and handshake is bound to it, so
/// that nothing said in one cluster is good in another that has the same keys.
public struct ClusterID: Hashable, Sendable, CustomStringConvertible {
    /// The length of an identifier in bytes.
    public static let byteCount = 32

    private let storage: Bytes32

    /// Takes an identifier out of 32 bytes.
    ///
    /// - Returns: nil unless there are exactly 32 bytes.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.byteCount, let storage = Bytes32(bytes) else { return nil }
        self.storage = storage
    }

    /// The 32 bytes.
    public var bytes: [UInt8] {
        var result: [UInt8] = []
        storage.append(to: &result)
        return result
    }

    /// Appends the 32 bytes to a byte string.
    public func append(to bytes: inout [UInt8]) {
        storage.append(to: &bytes)
    }

    /// The bytes in hexadecimal, as the cluster file holds them.
    public var description: String {
        Hexadecimal.encode(bytes)
    }
}
