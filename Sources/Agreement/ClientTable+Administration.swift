import Cryptography
import Messages

/// What a request of an administrator has done to the table.
struct AdministrationOutcome: Sendable {
    /// One result for each operation.
    var results: [[UInt8]] = []
    /// Whose key has changed.
    var changed: [ClientID] = []
    /// The entries of the replicated state that change.
    var records: [SystemRecord] = []
}

/// Who may send requests. The clients' keys are replicated state: administrators' ordered requests change them, and each change starts a
/// new key epoch of that client. A request names the epoch of the key that authenticates it, so that everybody checks it with the same
/// key, whenever that is; and it takes effect only in that epoch.
///
/// A client that was removed leaves its epoch and its session behind: were it taken in again from the start, what it once signed could
/// be executed a second time.
extension ClientTable {
    /// The checks that a batch needs from this replica, by the keys known here: those of requests that it has not checked before.
    ///
    /// A request of an epoch that is over is not checked, because it takes no effect whatever it says.
    ///
    /// - Returns: nil when a request names a client, or an epoch of its, that is not known here (yet).
    func checks(of requests: [Request]) -> [RequestCheck]? {
        var checks: [RequestCheck] = []
        for request in requests {
            guard let position = index[request.client], request.keyEpoch <= entries[position].epoch else { return nil }
            guard let key = entries[position].key, request.keyEpoch == entries[position].epoch,
                !wasChecked(request)
            else { continue }
            checks.append(RequestCheck(Unverified(request), under: key))
        }
        return checks
    }

    /// Carries out an administrator's request that takes effect.
    mutating func administer(_ request: Request) -> AdministrationOutcome {
        var outcome = AdministrationOutcome()
        for bytes in request.operations {
            let operation = try? AdministrationOperation(decoding: bytes)
            let result = operation.map { carryOut($0, &outcome) } ?? .malformed
            outcome.results.append(result.encoded)
        }
        return outcome
    }

    private mutating func carryOut(
        _ operation: AdministrationOperation,
        _ outcome: inout AdministrationOutcome
    ) -> AdministrationResult {
        switch operation {
        case .add(let wanted, let key): return add(wanted, key, &outcome)
        case .replaceKey(let client, let key):
            guard let position = index[client], entries[position].key != nil else { return .unknown(client) }
            if let owner = owner(of: key) { return .keyInUse(owner) }
            guard beginEpoch(key, position, &outcome) else { return .full }
            return .keyReplaced(client, entries[position].epoch)
        case .remove(let client):
            guard let position = index[client], entries[position].key != nil else { return .unknown(client) }
            remove(position, &outcome)
            return .removed(client)
        case .list(let first):
            return list(from: first)
        }
    }

    private mutating func add(
        _ wanted: ClientID?,
        _ key: PublicKey,
        _ outcome: inout AdministrationOutcome
    ) -> AdministrationResult {
        if let wanted, self.key(of: wanted) != nil { return .exists(wanted) }
        if let owner = owner(of: key) { return .keyInUse(owner) }
        let client = wanted ?? lowestUnused
        if let position = index[client] {
            guard beginEpoch(key, position, &outcome) else { return .full }
            return .added(client, entries[position].epoch)
        }
        guard index.count < identities else { return .full }
        insert(client, key, .genesis)
        note(entries.count - 1, &outcome)
        return .added(client, .genesis)
    }

    /// Gives a client that is known, or was, a key of a new epoch.
    ///
    /// - Returns: false when there are no more epochs.
    private mutating func beginEpoch(
        _ key: PublicKey,
        _ position: Int,
        _ outcome: inout AdministrationOutcome
    ) -> Bool {
        guard entries[position].epoch.rawValue < .max else { return false }
        entries[position].key = key
        entries[position].epoch = KeyEpoch(entries[position].epoch.rawValue + 1)
        entries[position].discardPending()
        note(position, &outcome)
        return true
    }

    private mutating func remove(_ position: Int, _ outcome: inout AdministrationOutcome) {
        let client = entries[position].client
        entries[position].key = nil
        entries[position].discardPending()
        for place in entries[position].replies.indices {
            entries[position].replies[place] = nil
            let key = StateKey.reply(client, place: UInt16(place)).bytes
            outcome.records.append(SystemRecord(key: key, value: nil))
        }
        note(position, &outcome)
    }

    private func note(_ position: Int, _ outcome: inout AdministrationOutcome) {
        outcome.changed.append(entries[position].client)
        outcome.records.append(keyRecord(at: position))
    }

    private func owner(of key: PublicKey) -> ClientID? {
        entries.first { $0.key == key }?.client
    }

    /// The lowest number that no client has or had.
    private var lowestUnused: ClientID {
        var number: UInt32 = 0
        while index[ClientID(number)] != nil { number += 1 }
        return ClientID(number)
    }

    private func list(from first: ClientID) -> AdministrationResult {
        let clients = entries.compactMap { entry in
            entry.client >= first && !entry.client.isAdministrator
                ? entry.key.map { ClientKey(entry.client, $0, epoch: entry.epoch) } : nil
        }
        let page = clients.sorted { $0.client < $1.client }.prefix(MessageLimits.clientsPerList)
        return .clients(Array(page), isComplete: page.count == clients.count)
    }
}
