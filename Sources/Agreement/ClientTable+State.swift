import Cryptography
import Messages

/// The engine's own entries of the authenticated state, by their keys.
enum StateKey: Hashable, Sendable {
    /// The time of the last executed batch.
    case agreedTime
    /// A client's or an administrator's key and its epoch.
    case key(ClientID)
    /// How far a client's session is.
    case progress(ClientID)
    /// A reply, at its number modulo the window.
    case reply(ClientID, place: UInt16)

    private static let agreedTimeBytes = Array("agreed time".utf8)
    private static let clientBytes = Array("client/".utf8)
    private static let keyBytes = Array("/key".utf8)
    private static let progressBytes = Array("/progress".utf8)
    private static let replyBytes = Array("/reply".utf8)

    /// Reads a key.
    ///
    /// - Returns: nil when the entry is none of these.
    init?(_ bytes: [UInt8]) {
        if bytes == Self.agreedTimeBytes {
            self = .agreedTime
            return
        }
        guard bytes.starts(with: Self.clientBytes) else { return nil }
        var reader = ByteReader(bytes, in: Self.clientBytes.count..<bytes.count)
        guard let number = try? reader.readUInt32() else { return nil }
        let rest = Array(bytes[reader.position...])
        if rest == Self.keyBytes {
            self = .key(ClientID(number))
        } else if rest == Self.progressBytes {
            self = .progress(ClientID(number))
        } else if rest.starts(with: Self.replyBytes), rest.count == Self.replyBytes.count + 2 {
            let place = UInt16(rest[rest.count - 2]) | UInt16(rest[rest.count - 1]) << 8
            self = .reply(ClientID(number), place: place)
        } else {
            return nil
        }
    }

    /// The key's bytes.
    var bytes: [UInt8] {
        switch self {
        case .agreedTime: return Self.agreedTimeBytes
        case .key(let client): return Self.bytes(of: client) + Self.keyBytes
        case .progress(let client): return Self.bytes(of: client) + Self.progressBytes
        case .reply(let client, let place):
            var bytes = Self.bytes(of: client) + Self.replyBytes
            bytes.append(littleEndian: place)
            return bytes
        }
    }

    private static func bytes(of client: ClientID) -> [UInt8] {
        var bytes = clientBytes
        bytes.append(littleEndian: client.rawValue)
        return bytes
    }
}

/// The replicated part of the table, as entries of the authenticated state.
extension ClientTable {
    /// Keeps the reply to an executed request and gives the entries of the replicated state that change with it.
    mutating func finish(_ payload: Reply.Payload, for client: ClientID, at sequence: SequenceNumber) -> [SystemRecord]
    {
        // A client that was removed later in the batch has no replies.
        guard let position = index[client], entries[position].key != nil, payload.session == entries[position].session
        else { return [] }
        let place = payload.number.rawValue % UInt64(window)
        entries[position].replies[Int(place)] = (payload, sequence)
        var value: [UInt8] = []
        value.reserveCapacity(8 + payload.bytes.count)
        value.append(littleEndian: sequence.rawValue)
        value.append(contentsOf: payload.bytes)
        if mutations.contains(.leavesRepliesOut) { return [] }
        return [SystemRecord(key: StateKey.reply(client, place: UInt16(place)).bytes, value: value)]
    }

    /// The entry that says how far a client's session is.
    func progressRecord(of client: ClientID) -> SystemRecord? {
        guard let position = index[client], !mutations.contains(.leavesProgressOut) else { return nil }
        var value: [UInt8] = []
        value.append(littleEndian: entries[position].session.rawValue)
        value.append(littleEndian: entries[position].executed)
        return SystemRecord(key: StateKey.progress(client).bytes, value: value)
    }

    /// The entry that says which key a client has: the epoch, and the key or, for a client that was removed, none.
    func keyRecord(at position: Int) -> SystemRecord {
        Self.keyRecord(of: entries[position].client, entries[position].key, entries[position].epoch)
    }

    /// The entries that say who is known from the start. The first batch puts them into the state: from then on it alone says who the
    /// clients are, whatever becomes of the list that the replica is told at its start.
    var genesisRecords: [SystemRecord] {
        genesis.map { Self.keyRecord(of: $0.client, $0.key, $0.epoch) }
    }

    private static func keyRecord(of client: ClientID, _ key: PublicKey?, _ epoch: KeyEpoch) -> SystemRecord {
        var value: [UInt8] = []
        value.append(littleEndian: epoch.rawValue)
        value.append(key == nil ? 0 : 1)
        value.append(contentsOf: key?.bytes ?? [])
        return SystemRecord(key: StateKey.key(client).bytes, value: value)
    }

    /// Takes the replicated part from the engine's entries of a state.
    ///
    /// - Returns: The agreed time of that state, and the clients that have another key there than they had here.
    mutating func restore(_ records: [SystemRecord]) -> (time: Timestamp, changed: [ClientID]) {
        let earlierSessions = entries.map(\.session)
        let earlierKeys = index.mapValues { (key: entries[$0].key, epoch: entries[$0].epoch) }
        let keyed = records.compactMap { record in
            record.value.flatMap { value in StateKey(record.key).map { (key: $0, value: value) } }
        }
        // Who the clients are comes before what they did.
        restoreKeys(
            keyed.compactMap { key, value in
                if case .key(let client) = key { (client, value) } else { nil }
            }
        )
        var time = Timestamp.zero
        for (key, value) in keyed {
            switch key {
            case .agreedTime:
                var reader = ByteReader(value)
                time = Timestamp(nanoseconds: (try? reader.readUInt64()) ?? 0)
            case .progress(let client): restoreProgress(client, value)
            case .reply(let client, _): restoreReply(client, value)
            case .key: break
            }
        }
        for position in earlierSessions.indices where entries[position].session != earlierSessions[position] {
            entries[position].nextProposal = 1
        }
        for position in entries.indices {
            discardOutdated(position)
            // What waits here and is not in that state is still to be proposed, and watched.
            enqueueIfReady(position)
            watchIfNext(position)
        }
        let changed = Set(index.keys).union(earlierKeys.keys).filter { client in
            guard let position = index[client], let earlier = earlierKeys[client] else { return true }
            return entries[position].key != earlier.key || entries[position].epoch != earlier.epoch
        }
        return (time, changed.sorted())
    }

    /// Only those are known that the entries name, or in the initial state, which has none, those that are known from the start. Others
    /// keep their places and are not found at them.
    private mutating func restoreKeys(_ records: [(client: ClientID, value: [UInt8])]) {
        for position in entries.indices {
            entries[position].key = nil
            entries[position].epoch = .genesis
            entries[position].session = SessionID(0)
            entries[position].executed = 0
            entries[position].replies = []
        }
        let places = index
        index = [:]
        for known in records.isEmpty ? genesis : [] {
            put(known.client, known.key, known.epoch, at: places[known.client])
        }
        for (client, value) in records {
            var reader = ByteReader(value)
            guard let epoch = try? reader.readUInt32(), let hasKey = try? reader.readFlag() else { continue }
            put(client, hasKey ? try? reader.readPublicKey() : nil, KeyEpoch(epoch), at: places[client])
        }
    }

    private mutating func put(_ client: ClientID, _ key: PublicKey?, _ epoch: KeyEpoch, at place: Int?) {
        guard let place else { return insert(client, key, epoch) }
        index[client] = place
        entries[place].key = key
        entries[place].epoch = epoch
    }

    private mutating func restoreProgress(_ client: ClientID, _ value: [UInt8]) {
        guard let position = index[client] else { return }
        var reader = ByteReader(value)
        entries[position].session = SessionID((try? reader.readUInt64()) ?? 0)
        entries[position].executed = (try? reader.readUInt64()) ?? 0
    }

    private mutating func restoreReply(_ client: ClientID, _ value: [UInt8]) {
        guard let position = index[client] else { return }
        var reader = ByteReader(value)
        guard let sequence = try? reader.readUInt64(),
            let payload = try? Reply.Payload(decoding: value, in: reader.position..<value.count)
        else { return }
        if entries[position].replies.isEmpty {
            entries[position].replies = Array(repeating: nil, count: window)
        }
        let place = Int(payload.number.rawValue % UInt64(window))
        entries[position].replies[place] = (payload, SequenceNumber(sequence))
    }

    /// Forgets what waits here and is executed, or void, in the state that was installed.
    private mutating func discardOutdated(_ position: Int) {
        let session = entries[position].session
        if entries[position].session > SessionID(0), entries[position].replies.isEmpty {
            entries[position].replies = Array(repeating: nil, count: window)
        }
        // A reply of an earlier session may still lie at a place that this session has not reached.
        for place in entries[position].replies.indices where entries[position].replies[place]?.reply.session != session
        {
            entries[position].replies[place] = nil
        }
        for place in entries[position].pending.indices {
            guard let request = entries[position].pending[place]?.value else { continue }
            if request.session != session || request.number.rawValue <= entries[position].executed
                || !isCurrent(request, position)
            {
                entries[position].pending[place] = nil
            }
        }
        if let opening = entries[position].opening?.value, opening.session <= session || !isCurrent(opening, position) {
            entries[position].opening = nil
        }
        entries[position].pendingBytes =
            (entries[position].opening?.value.bytes.count ?? 0)
            + entries[position].pending.reduce(0) { $0 + ($1?.value.bytes.count ?? 0) }
        entries[position].nextProposal = max(entries[position].nextProposal, entries[position].executed + 1)
    }
}
