import Cryptography
import Invariants

/// A client or an administrator and its key.
public struct ClientKey: Hashable, Sendable {
    /// Whose key it is.
    public let client: ClientID
    /// The key.
    public let key: PublicKey
    /// Which of its keys this is.
    public let epoch: KeyEpoch

    /// Names a key.
    public init(_ client: ClientID, _ key: PublicKey, epoch: KeyEpoch = .genesis) {
        self.client = client
        self.key = key
        self.epoch = epoch
    }
}

/// What an administrator can ask for: one operation of a request of the kind ``Request/Kind/administration``. This project's own; the
/// papers take the clients' keys as given.
public enum AdministrationOperation: Hashable, Sendable {
    /// Takes in a client with this key: the one with this number, or for nil the lowest number that no client has or ever had.
    case add(ClientID?, PublicKey)
    /// Gives a client another key. What is authenticated with the one before takes no effect any more.
    case replaceKey(ClientID, PublicKey)
    /// Shuts a client out. What it has asked for and is not executed takes no effect any more.
    case remove(ClientID)
    /// Lists the clients from a number on, at most ``MessageLimits/clientsPerList`` of them.
    case list(from: ClientID)

    /// Reads an operation.
    ///
    /// - Throws: ``MalformedMessage`` for bytes that no operation encodes to, and for the number of an administrator: who they are does
    ///   not change.
    public init(decoding bytes: [UInt8]) throws(MalformedMessage) {
        var reader = ByteReader(bytes)
        switch try reader.readUInt8() {
        case 0: self = .add(nil, try reader.readPublicKey())
        case 1: self = .add(try reader.readClient(), try reader.readPublicKey())
        case 2: self = .replaceKey(try reader.readClient(), try reader.readPublicKey())
        case 3: self = .remove(try reader.readClient())
        case 4: self = .list(from: try reader.readClient())
        default: throw .badField(.kind)
        }
        try reader.finish()
    }

    /// The encoding.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        switch self {
        case .add(nil, let key):
            bytes.append(0)
            bytes.append(contentsOf: key.bytes)
        case .add(let client?, let key):
            bytes.append(1)
            bytes.append(littleEndian: client.rawValue)
            bytes.append(contentsOf: key.bytes)
        case .replaceKey(let client, let key):
            bytes.append(2)
            bytes.append(littleEndian: client.rawValue)
            bytes.append(contentsOf: key.bytes)
        case .remove(let client):
            bytes.append(3)
            bytes.append(littleEndian: client.rawValue)
        case .list(let first):
            bytes.append(4)
            bytes.append(littleEndian: first.rawValue)
        }
        return bytes
    }
}

/// What became of an ``AdministrationOperation``.
public enum AdministrationResult: Hashable, Sendable {
    /// The client is there now, with a key of this epoch.
    case added(ClientID, KeyEpoch)
    /// The client has the new key now, of this epoch.
    case keyReplaced(ClientID, KeyEpoch)
    /// The client is shut out.
    case removed(ClientID)
    /// Nothing has changed: the client was there already.
    case exists(ClientID)
    /// Nothing has changed: there is no such client.
    case unknown(ClientID)
    /// Nothing has changed: the key is that of this client or administrator.
    case keyInUse(ClientID)
    /// Nothing has changed: there are as many clients, removed ones included, or as many epochs of this one, as there may be.
    case full
    /// Nothing has changed: the operation is none.
    case malformed
    /// Clients in the order of their numbers; whether these are all from the wanted number on.
    case clients([ClientKey], isComplete: Bool)

    /// Reads a result.
    ///
    /// - Throws: ``MalformedMessage`` for bytes that no result encodes to.
    public init(decoding bytes: [UInt8]) throws(MalformedMessage) {
        var reader = ByteReader(bytes)
        switch try reader.readUInt8() {
        case 0: self = .added(try reader.readClient(), KeyEpoch(try reader.readUInt32()))
        case 1: self = .keyReplaced(try reader.readClient(), KeyEpoch(try reader.readUInt32()))
        case 2: self = .removed(try reader.readClient())
        case 3: self = .exists(try reader.readClient())
        case 4: self = .unknown(try reader.readClient())
        case 5: self = .keyInUse(ClientID(try reader.readUInt32()))
        case 6: self = .full
        case 7: self = .malformed
        case 8: self = try Self.list(&reader)
        default: throw .badField(.outcome)
        }
        try reader.finish()
    }

    private static func list(_ reader: inout ByteReader) throws(MalformedMessage) -> Self {
        let isComplete = try reader.readFlag()
        let count = Int(try reader.readUInt32())
        guard count <= MessageLimits.clientsPerList else { throw .overLimit(.clients) }
        var clients: [ClientKey] = []
        // Each takes 40 bytes: a count that the bytes cannot hold takes no memory.
        clients.reserveCapacity(min(count, reader.remaining / 40))
        for _ in 0..<count {
            let client = try reader.readClient()
            let epoch = KeyEpoch(try reader.readUInt32())
            clients.append(ClientKey(client, try reader.readPublicKey(), epoch: epoch))
        }
        return .clients(clients, isComplete: isComplete)
    }

    /// The encoding.
    public var encoded: [UInt8] {
        switch self {
        case .added(let client, let epoch): return Self.bytes(0, client, epoch)
        case .keyReplaced(let client, let epoch): return Self.bytes(1, client, epoch)
        case .removed(let client): return Self.bytes(2, client)
        case .exists(let client): return Self.bytes(3, client)
        case .unknown(let client): return Self.bytes(4, client)
        case .keyInUse(let client): return Self.bytes(5, client)
        case .full: return [6]
        case .malformed: return [7]
        case .clients(let clients, let isComplete):
            invariant(clients.count <= MessageLimits.clientsPerList, "a list over its bound")
            var bytes: [UInt8] = [8, isComplete ? 1 : 0]
            bytes.reserveCapacity(6 + 40 * clients.count)
            bytes.append(littleEndian: UInt32(clients.count))
            for client in clients {
                bytes.append(littleEndian: client.client.rawValue)
                bytes.append(littleEndian: client.epoch.rawValue)
                bytes.append(contentsOf: client.key.bytes)
            }
            return bytes
        }
    }

    private static func bytes(_ kind: UInt8, _ client: ClientID, _ epoch: KeyEpoch? = nil) -> [UInt8] {
        var bytes = [kind]
        bytes.append(littleEndian: client.rawValue)
        if let epoch { bytes.append(littleEndian: epoch.rawValue) }
        return bytes
    }
}

extension ByteReader {
    /// Reads the number of a client that is no administrator.
    fileprivate mutating func readClient() throws(MalformedMessage) -> ClientID {
        let client = ClientID(try readUInt32())
        guard !client.isAdministrator else { throw .badField(.client) }
        return client
    }
}
