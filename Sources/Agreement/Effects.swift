import Cryptography
import Messages

/// A place in the protocol log. Positions grow by one with each record.
public struct LogPosition: Hashable, Comparable, Sendable {
    /// Before the first record: durable from the start.
    public static let start = LogPosition(rawValue: 0)

    /// How many records precede and include this one.
    public let rawValue: UInt64

    init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// The position of the last of the records that a replica starts from.
    public init(recovered count: Int) {
        rawValue = UInt64(count)
    }

    /// The order of the log.
    public static func < (left: LogPosition, right: LogPosition) -> Bool { left.rawValue < right.rawValue }
}

/// What a replica must not forget, because it says or will say things that rest on it (2f + 1 of the others count on that).
public enum LogRecord: Sendable {
    /// This batch was pre-prepared here in this view (an element of Q), with its content.
    case prePrepared(PrePrepare)
    /// The batch with this digest is prepared here in this view (an element of P).
    case prepared(View, SequenceNumber, Digest)
    /// This replica has left its view and says so with this very message, which is sent again byte for byte.
    case viewChange(ViewChange)
    /// This replica is active in the view that this NEW-VIEW began; its primary has sent this very message.
    case newView(NewView, members: [ViewChange])
    /// This replica lost its store, so that it does not know what it said: from here on it votes for nothing; or, when false, for all
    /// again.
    case learning(Bool)
    /// The checkpoints that make this sequence number stable; the log up to it is no longer needed.
    case stable(SequenceNumber, certificate: [Checkpoint])
}

/// To whom a message goes.
public enum Recipient: Hashable, Sendable {
    /// One peer.
    case replica(ReplicaID)
    /// Every other replica.
    case others
}

/// Where a request came from. Whom to blame for a bad one depends on it: the owner of the channel, nobody else.
public enum RequestSource: Hashable, Sendable {
    /// The client's own channel.
    case client(ClientID)
    /// A replica forwarded it.
    case forwarded(by: ReplicaID)
}

extension RequestSource: CustomStringConvertible {
    /// For example `c3`, or `forwards of r2`.
    public var description: String {
        switch self {
        case .client(let client): "\(client)"
        case .forwarded(let replica): "forwards of \(replica)"
        }
    }
}

/// A batch at its place, as a batch that waits for the verdict on its requests is named.
public struct BatchPlace: Hashable, Sendable {
    /// The view of the PRE-PREPARE.
    public let view: View
    /// Its sequence number.
    public let sequence: SequenceNumber
    /// The batch's digest.
    public let digest: Digest
    /// The last batch that was executed when the verdict was asked for: the keys of clients are as of then.
    public let executed: SequenceNumber
}

/// The requests of a batch that take effect, in their order. Those that do not (duplicates, outdated sessions, revoked keys, numbers out
/// of order) are left out, the same at every replica.
public struct Execution: Sendable {
    /// The place in the order.
    public let sequence: SequenceNumber
    /// The digest of the whole batch, also of what takes no effect.
    public let batch: Digest
    /// The agreed time that every operation of the batch sees.
    public let time: Timestamp
    /// The requests that take effect. Only the operations of those of the kind `ordered` are the service's; see ``results(_:)``.
    public let requests: [Request]
    /// Whether the batch is prepared and not yet known to be committed (PBFT section 5.1.2): what it does to the state must be kept so
    /// that it can be taken back, until ``Effect/confirmExecution(_:)`` or ``Effect/rollBackExecution(_:)``. No other batch is executed
    /// and no checkpoint taken before that.
    public let isTentative: Bool

    /// What ``Replica/executed(_:results:now:into:)`` wants: for each request the results of its operations.
    ///
    /// - Parameter execute: Has the service execute one operation of a request; called in the agreed order. Openings of sessions have no
    ///   operations, and those of administrators are the engine's own.
    public func results(_ execute: (Request, [UInt8]) -> [UInt8]) -> [[[UInt8]]] {
        requests.map { request in
            request.kind == .ordered ? request.operations.map { execute(request, $0) } : []
        }
    }
}

/// A replicated entry of the engine's own: kept in the authenticated state beside the service's, so that checkpoints, rollback and
/// state transfer cover it.
public struct SystemRecord: Sendable, Hashable {
    /// The key in the system's keyspace.
    public let key: [UInt8]
    /// The value; nil removes the entry.
    public let value: [UInt8]?

    /// Makes an entry, or the removal of one.
    public init(key: [UInt8], value: [UInt8]?) {
        self.key = key
        self.value = value
    }
}

/// A reply and the client whose channel it goes to.
public struct AddressedReply: Sendable {
    /// The receiver.
    public let client: ClientID
    /// The reply.
    public let reply: Reply
}

/// What the engine asks of its shell, in the order in which it must happen.
///
/// The one rule of durability is in the types: a message with `after: p` leaves only when the log is durable up to position p.
public enum Effect: Sendable {
    /// Append a record to the protocol log, at the next position.
    case persist(LogRecord, at: LogPosition)
    /// Send a message, once the log is durable up to `after`.
    case send(PeerMessage, to: Recipient, after: LogPosition)
    /// Send replies to clients, once the log is durable up to `after`.
    case reply([AddressedReply], after: LogPosition)
    /// Check a request's signature or MAC and answer with ``Input/verdict(_:on:from:)``.
    case checkRequest(RequestCheck, from: RequestSource)
    /// Check these requests of a proposed batch and answer with ``Replica/batchChecked(_:valid:now:into:)``. There may be none.
    case checkBatch(BatchPlace, [RequestCheck])
    /// Check a checkpoint's signature and, if it is good, answer with ``Replica/checkpointVerified(_:now:into:)``.
    case checkCheckpoint(Unverified<Checkpoint>)
    /// Check the signatures of a certificate and, if they are good, answer with ``Replica/certificateVerified(_:now:into:)``.
    case checkCertificate(Unverified<CheckpointCertificate>)
    /// Check a VIEW-CHANGE's signature and certificate and, if they are good, answer with
    /// ``Replica/viewChangeVerified(_:from:now:into:)``.
    case checkViewChange(Unverified<ViewChange>, from: ReplicaID)
    /// Check a NEW-VIEW's signature and, if it is good, answer with ``Replica/newViewVerified(_:from:now:into:)``.
    case checkNewView(Unverified<NewView>, from: ReplicaID)
    /// Fetch the state of a stable checkpoint from peers, replacing an earlier target, and answer with
    /// ``Replica/stateInstalled(_:records:now:into:)``.
    case fetchState(SequenceNumber, root: Digest)
    /// Execute a batch on the state and answer with ``Replica/executed(_:results:now:into:)``.
    case execute(Execution)
    /// The batch that was executed tentatively is committed: what it did to the state is final.
    case confirmExecution(SequenceNumber)
    /// The batch that was executed tentatively may not commit in its place: the state is again as it was before. Also before the state
    /// of a checkpoint is fetched.
    case rollBackExecution(SequenceNumber)
    /// Answer a read-only operation from the state as it is now, to the client's channel; the answer leaves once the log is durable up to
    /// `after`.
    case query(ReadRequest, for: ClientID, after: LogPosition)
    /// These clients were added or removed, or have another key: a connection of theirs is to be closed unless it was authenticated with
    /// what ``Replica/key(of:)`` is now.
    case clientsChanged([ClientID])
    /// Put the engine's own entries into the state.
    case record([SystemRecord])
    /// Keep the state as it is now as a checkpoint, compute its root, and, when all of it is durable, answer with
    /// ``Replica/checkpointTaken(_:root:now:into:)``: what this replica signs then must outlive a crash.
    case takeCheckpoint(SequenceNumber)
    /// Checkpoints before this one are no longer needed, once the log is durable up to `after`: a restart before that begins at one of
    /// them.
    case discardCheckpoints(before: SequenceNumber, after: LogPosition)
    /// Check this, and if it has no flaw keep it for the operator: somebody misbehaved, and others can be shown it. At most one for each
    /// replica, and for ``Replica/mostAccusedClients``.
    case keepEvidence(Evidence)
    /// Something worth counting or logging happened.
    case note(Event)
}

/// Something that happened in the engine, for counters, logs and traces. Changes nothing.
public enum Event: Hashable, Sendable {
    /// A message was dropped, and why.
    case dropped(DropReason)
    /// A peer did what no correct replica does.
    case accused(ReplicaID, Accusation)
    /// The sender of a request with a wrong signature is not listened to any more: a client on its own channel, or a replica that
    /// forwards.
    case blacklisted(RequestSource)
    /// A batch was proposed with so many requests.
    case proposed(SequenceNumber, requests: Int)
    /// A batch that was executed tentatively was taken back.
    case rolledBack(SequenceNumber)
    /// A batch was executed and is committed: so many requests took effect, with so many operations.
    case executed(SequenceNumber, requests: Int, operations: Int)
    /// A checkpoint became stable.
    case stable(SequenceNumber)
    /// A quorum signed another root for this checkpoint than this replica computed: its state is damaged, or its service is not
    /// deterministic.
    case diverged(SequenceNumber)
    /// This replica left its view, and wants to enter this one.
    case leftView(for: View, because: ViewChangeReason)
    /// This replica is active in a new view.
    case enteredView(View)
    /// This replica lacks the state of a stable checkpoint and fetches it.
    case fetchesState(SequenceNumber)
    /// This replica lost its store and votes no more, or has learned enough to vote again.
    case learning(Bool)
    /// Nothing moved for a while with work at hand; peers were asked for what was missed.
    case stalled(SequenceNumber)
}

/// Why a message was dropped. Each reason is a counter.
public enum DropReason: String, Hashable, Sendable, CaseIterable {
    /// The client is not in the client table, or was removed, or the request's key epoch is yet to come.
    case unknownClient = "unknown_client"
    /// The request's session is not the client's current one.
    case otherSession = "other_session"
    /// The request's number is too far ahead.
    case outsideClientWindow = "outside_client_window"
    /// The request was received before and waits, or was executed and its reply is no longer kept.
    case duplicateRequest = "duplicate_request"
    /// The client has too many bytes waiting.
    case clientBytes = "client_bytes"
    /// Its sender is blacklisted.
    case blacklisted
    /// The reply was sent again a short time ago.
    case resentAlready = "resent_already"
    /// The request carries the other protocol's authentication.
    case wrongScheme = "wrong_scheme"
    /// The request's signature or MAC is wrong.
    case badAuthentication = "bad_authentication"
    /// As many reads wait for execution as may.
    case tooManyReads = "too_many_reads"
    /// The message belongs to another view.
    case otherView = "other_view"
    /// The sequence number is outside the water marks.
    case outsideWindow = "outside_window"
    /// The sender may not send this: not the primary's PRE-PREPARE, the primary's PREPARE, a forward to a backup.
    case wrongRole = "wrong_role"
    /// The sender said this before.
    case duplicateVote = "duplicate_vote"
    /// A checkpoint at a number that is none, or already covered, or not from the replica that it names.
    case uselessCheckpoint = "useless_checkpoint"
    /// A VIEW-CHANGE or NEW-VIEW for a view that is over, or a second one.
    case uselessViewChange = "useless_view_change"
    /// As many digests as may be were accepted at the number.
    case tooManyDigests = "too_many_digests"
    /// A message of a view to come, over the bound on those.
    case tooEarly = "too_early"
    /// A FETCH for what is not here, or a BATCH that nobody waits for.
    case uselessFetch = "useless_fetch"
    /// A read, at a replica that lost its store.
    case learning
    /// A question of a peer that was sent too much in answers lately.
    case overAllowance = "over_allowance"
    /// A PING too soon after the last, or an answer to none.
    case uselessPing = "useless_ping"
    /// A CATCH-UP too soon after the last.
    case needlessCatchUp = "needless_catch_up"
}

/// Why a replica left its view. Each reason is a counter.
public enum ViewChangeReason: String, Hashable, Sendable, CaseIterable {
    /// The primary gave no sign of life in time.
    case silent
    /// A batch was not committed in time.
    case stuck
    /// The primary had nothing to order while a request waited.
    case idle
    /// The primary ordered others' requests again and again before one that waited.
    case unfair
    /// The primary's throughput was below what is required.
    case slow
    /// The view has lasted as long as one may.
    case expired
    /// The primary did what no correct one does.
    case faulty
    /// A request was not executed in time: the last resort, and PBFT's only one.
    case requestTimer = "request_timer"
    /// The new primary did not begin the view in time.
    case newViewTimer = "new_view_timer"
    /// The new primary began the view wrongly.
    case wrongNewView = "wrong_new_view"
    /// f + 1 others have left it.
    case joined
    /// Its primary is this replica, and lacks the state to lead it.
    case behind
    /// Its primary has left it.
    case abdicated
}

/// What a replica did that no correct one does, as far as this replica alone can tell.
public enum Accusation: String, Hashable, Sendable, CaseIterable {
    /// Two PRE-PREPAREs, or two votes, for one sequence number in one view.
    case equivocation
    /// A batch with a request that its client never signed with its key of that epoch.
    case forgedRequest = "forged_request"
    /// A NEW-VIEW that does not follow from the VIEW-CHANGEs that it names.
    case wrongNewView = "wrong_new_view"
    /// A batch beyond the bounds that all replicas share.
    case batchOverLimits = "batch_over_limits"
}
