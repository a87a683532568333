import Cryptography
import Messages

/// Who the clients are after what was executed so far: a second, obvious implementation of administrators' operations, for the oracle.
struct ClientDirectory {
    private struct Entry {
        var epoch: UInt32
        var key: PublicKey?
    }

    private var entries: [ClientID: Entry] = [:]

    init(_ genesis: [ClientKey]) {
        for known in genesis { entries[known.client] = Entry(epoch: 0, key: known.key) }
    }

    /// The key that a request has to be authenticated with to take effect now; nil when nothing can make it take effect.
    func key(of request: Request) -> PublicKey? {
        guard let entry = entries[request.client], entry.epoch == request.keyEpoch.rawValue else { return nil }
        return entry.key
    }

    /// The results of an administrator's operations, the clients being those after it.
    mutating func carryOut(_ operations: [[UInt8]]) -> [[UInt8]] {
        operations.map { bytes in
            guard let operation = try? AdministrationOperation(decoding: bytes) else {
                return AdministrationResult.malformed.encoded
            }
            return carryOut(operation).encoded
        }
    }

    private mutating func carryOut(_ operation: AdministrationOperation) -> AdministrationResult {
        switch operation {
        case .add(nil, let key):
            var number: UInt32 = 0
            while entries[ClientID(number)] != nil { number += 1 }
            return carryOut(.add(ClientID(number), key))
        case .add(let client?, let key):
            if entries[client]?.key != nil { return .exists(client) }
            if let owner = owner(of: key) { return .keyInUse(owner) }
            let epoch = entries[client].map { $0.epoch + 1 } ?? 0
            entries[client] = Entry(epoch: epoch, key: key)
            return .added(client, KeyEpoch(epoch))
        case .replaceKey(let client, let key):
            guard let entry = entries[client], entry.key != nil else { return .unknown(client) }
            if let owner = owner(of: key) { return .keyInUse(owner) }
            entries[client] = Entry(epoch: entry.epoch + 1, key: key)
            return .keyReplaced(client, KeyEpoch(entry.epoch + 1))
        case .remove(let client):
            guard entries[client]?.key != nil else { return .unknown(client) }
            entries[client]?.key = nil
            return .removed(client)
        case .list(let first):
            let listed = entries.keys.sorted().filter { $0 >= first && !$0.isAdministrator }
            let clients = listed.compactMap { client in
                entries[client].flatMap { entry in
                    entry.key.map { ClientKey(client, $0, epoch: KeyEpoch(entry.epoch)) }
                }
            }
            return .clients(clients, isComplete: true)
        }
    }

    private func owner(of key: PublicKey) -> ClientID? {
        entries.first { $0.value.key == key }?.key
    }
}
