import Cryptography
import Invariants
import Messages

/// What a replica finds when it starts again: its durable log, and its state as of a checkpoint.
public struct Recovery: Sendable {
    /// The batch that the state contains last: the last checkpoint that was kept, stable or not, or 0.
    public let executed: SequenceNumber
    /// The engine's entries of that state.
    public let records: [SystemRecord]
    /// The durable log records in their order. Those about sequence numbers up to the last stable checkpoint's may be missing, and so
    /// may all but the last VIEW-CHANGE, NEW-VIEW, ``LogRecord/learning(_:)`` and stable checkpoint.
    public let log: [LogRecord]

    /// The checkpoints of this replica's own that are kept, in their order.
    public let checkpoints: [OwnCheckpoint]

    /// A checkpoint that this replica took before.
    public struct OwnCheckpoint: Sendable {
        /// The last batch in it.
        public let sequence: SequenceNumber
        /// Its root.
        public let root: Digest

        /// Describes a checkpoint.
        public init(sequence: SequenceNumber, root: Digest) {
            self.sequence = sequence
            self.root = root
        }
    }

    /// Collects what was found.
    public init(
        executed: SequenceNumber,
        records: [SystemRecord],
        log: [LogRecord],
        checkpoints: [OwnCheckpoint] = []
    ) {
        self.executed = executed
        self.records = records
        self.log = log
        self.checkpoints = checkpoints
    }
}

/// Starting again after a crash (2f + 1 replicas count on what this one said: it must say nothing that contradicts it).
extension Replica {
    /// Makes a replica that goes on from what it had made durable.
    public init(configuration: ReplicaConfiguration, signer: any Signer, recovering recovery: Recovery) {
        self.init(configuration: configuration, signer: signer)
        // First where the water marks are: records between them may precede that of the stable checkpoint.
        let stable = recovery.log.last { if case .stable = $0 { true } else { false } }
        for record in [stable].compactMap({ $0 }) + recovery.log {
            restore(record)
        }
        logPosition = LogPosition(rawValue: UInt64(recovery.log.count))
        executed = recovery.executed
        agreedTime = clients.restore(isMutated(.restartForgetsClients) ? [] : recovery.records).time
        proposedTime = agreedTime
        restoreVotes()
        // Those that were not stable yet are signed again: nobody else may have kept what this replica said of them.
        for kept in recovery.checkpoints where kept.sequence > log.low {
            checkpoints.setOwnRoot(kept.root, at: kept.sequence)
            checkpoints.add(checkpoint(kept.root, at: kept.sequence), low: log.low)
        }
        isBehind = true
    }

    private mutating func restore(_ record: LogRecord) {
        switch record {
        case .prePrepared where isMutated(.restartForgetsPrePrepared),
            .viewChange where isMutated(.restartForgetsViewChange):
            break
        case .prePrepared(let prePrepare):
            guard log.contains(prePrepare.sequence) else { return }
            log[prePrepare.sequence].notePrePrepared(prePrepare.sequence, prePrepare.batch, in: prePrepare.view)
        case .prepared(let view, let sequence, let digest):
            if !isMutated(.restartForgetsFence) { highestPrepared = max(highestPrepared, sequence) }
            guard log.contains(sequence), !isMutated(.restartForgetsPrepared) else { return }
            log[sequence].preparedClaim = BatchClaim(sequence, digest, view)
        case .stable(let sequence, let certificate):
            guard sequence > log.low else { return }
            checkpoints.stabilise(sequence, certificate: certificate)
            log.truncate(to: sequence)
        case .viewChange(let own):
            view = own.view
            isActive = false
            viewChanges[configuration.replica.index] = own
        case .newView(let newView, let members):
            view = newView.view
            logView = view
            isActive = true
            installed = InstalledNewView(newView: newView, members: members)
        case .learning(let isLearning):
            learning = isLearning ? Learning(size: configuration.size) : nil
            isActive = !isLearning
        }
    }

    /// Puts this replica's own votes of its last view back, so that it casts no others.
    private mutating func restoreVotes() {
        nextSequence = log.low.next
        let wasPrimary = logView.primary(in: configuration.size) == configuration.replica
        if let newView = installed?.newView {
            nextSequence = max(nextSequence, SequenceNumber(newView.start.rawValue + UInt64(newView.chosen.count) + 1))
        }
        for sequence in log.sequences {
            guard let claim = log[sequence].prePreparedClaims.first(where: { $0.view == logView }),
                let batch = log[sequence].body(claim.digest)
            else { continue }
            log[sequence].proposal = .accepted(PrePrepare(view: logView, sequence: sequence, batch: batch))
            if !wasPrimary { log[sequence].prepares.add(claim.digest, from: configuration.replica) }
            if log[sequence].preparedClaim?.view == logView {
                log[sequence].isPrepared = true
                log[sequence].commits.add(claim.digest, from: configuration.replica)
            }
            nextSequence = max(nextSequence, sequence.next)
            highestNamed = max(highestNamed, sequence)
        }
        restoreChosen()
    }

    /// Batches that NEW-VIEW chose and that had not come before the crash are fetched again.
    private mutating func restoreChosen() {
        guard isActive, let newView = installed?.newView else { return }
        var sequence = newView.start
        for digest in newView.chosen {
            sequence = sequence.next
            guard log.contains(sequence), log[sequence].proposedDigest == nil else { continue }
            log[sequence].proposal = .chosen(digest)
        }
    }
}
