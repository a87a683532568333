import Agreement
import Disk
import Messages
import StateStore

/// Stores for replicas that have lost theirs. What such a replica voted is forgotten, and it must not contradict itself: so each of these
/// stores has a record of `LogRecord.learning`, with which the replica votes for nothing until all that it may have said is past.
extension DurableStore {
    /// Makes a store out of a backup. It is there as a whole, with the state that was signed, or not at all.
    ///
    /// - Parameters:
    ///   - backup: The backup, of any replica of the cluster.
    ///   - path: A directory that does not exist yet, or is empty, in one that exists.
    ///   - owner: Whose store it will be.
    ///   - keys: The keys of the cluster's replicas.
    ///   - progress: Called now and then with the number of entries written so far.
    /// - Throws: When something else is there, the backup is damaged or of another cluster, or the disk refuses.
    public static func restore(
        _ backup: Backup,
        to path: String,
        for owner: StoreOwner,
        _ keys: ReplicaKeys,
        progress: (UInt64) -> Void = { _ in }
    ) throws(StoreError) {
        try backup.checkCertificate(keys)
        guard backup.cluster == owner.cluster else {
            throw StoreError(.foreign, "\(backup.path): the backup is of another cluster (\(backup.cluster))")
        }
        try make(at: path, for: owner) { database, batch throws(StoreError) in
            var loading = BulkLoad(of: backup.sequence.rawValue, into: database, at: path)
            var done: UInt64 = 0
            try backup.readEntries { keyspace, entry throws(StoreError) in
                guard try loading.add(keyspace, entry) else { throw backup.outOfOrder }
                done += 1
                if done.isMultiple(of: 1024) { progress(done) }
            }
            guard try loading.finish(in: batch) == backup.root else { throw backup.wrongRoot }
            let records: [LogRecord] = [
                .stable(backup.sequence, certificate: backup.certificate), .learning(true),
            ]
            for (index, record) in records.enumerated() {
                LogWriter.add(record, at: UInt64(index + 1), of: owner, to: batch)
            }
        }
    }

    /// Sets a damaged store aside, if there is one, and makes an empty one in its place.
    ///
    /// The damaged one gets another name and nothing else is done to it. A crash in the middle leaves no store, and this can be done again.
    ///
    /// - Parameters:
    ///   - path: Where the store is, or was.
    ///   - owner: Whose store it is.
    ///   - keys: The keys of the cluster's replicas, to look for damage with.
    /// - Returns: Where the damaged store is now; nil when there was none.
    /// - Throws: When the store is not damaged but whole, in use or another's, or the disk refuses.
    public static func replaceDamaged(
        at path: String,
        for owner: StoreOwner,
        _ keys: ReplicaKeys
    ) throws(StoreError) -> String? {
        var aside: String?
        if try exists(at: path) {
            guard try isDamaged(path, owner, keys) else {
                throw StoreError(.exists, "\(path): the store is whole, so there is nothing to repair")
            }
            var number = 1
            while try isTaken("\(path).damaged-\(number)") { number += 1 }
            let name = "\(path).damaged-\(number)"
            try withFiles(at: path) { () throws(FileError) in
                try Directory.rename(path, to: name, in: parent(of: path))
            }
            aside = name
        }
        try make(at: path, for: owner) { _, batch in LogWriter.add(.learning(true), at: 1, of: owner, to: batch) }
        return aside
    }

    private static func isTaken(_ path: String) throws(StoreError) -> Bool {
        try withFiles(at: path) { () throws(FileError) in try Files.exists(path) }
    }

    private static func isDamaged(_ path: String, _ owner: StoreOwner, _ keys: ReplicaKeys) throws(StoreError) -> Bool {
        do throws(StoreError) {
            let reader = try StoreReader(at: path)
            try StoreHeader(owner: reader.owner).check(owner, at: path)
            _ = try reader.verify(keys)
            return false
        } catch {
            guard error.kind == .damaged else { throw error }
            return true
        }
    }
}
