import Cryptography
import Messages

/// The independent switches that make a protocol out of the one engine, so that each mechanism can be measured alone.
public struct ProtocolSwitches: Hashable, Sendable {
    /// How client requests prove whose they are.
    public enum RequestAuthentication: String, Hashable, Sendable {
        /// PBFT's authenticator: one MAC for each replica.
        case macVector = "mac-vector"
        /// Aardvark's: the client's Ed25519 signature, inside a channel that is MACed for the one receiver.
        case signature
    }

    /// To whom a client sends its requests.
    public enum Dissemination: String, Hashable, Sendable, CaseIterable {
        /// To the primary; to all replicas after a time-out.
        case primary
        /// To all replicas; PRE-PREPAREs name them by their digests (Aardvark section 5, PBFT section 5.1.5).
        case all
    }

    /// How client requests prove whose they are.
    public var requestAuthentication: RequestAuthentication

    /// To whom a client sends its requests.
    public var dissemination = Dissemination.primary

    /// Whether a prepared batch is executed before it is known to be committed (PBFT section 5.1.2). It saves a message delay while
    /// 2f + 1 replicas answer. If one of them does not, and a faulty primary keeps another in the dark, each request waits for its
    /// retransmission: so Aardvark does without.
    public var tentativeExecution: Bool

    /// Whether the primary is watched and replaced when it is slow, unfair or silent (Aardvark section 5.3), beside the request timer.
    public var regularViewChanges: Bool

    /// Sets the switches; the dissemination is to the primary until that is set.
    public init(requestAuthentication: RequestAuthentication, tentativeExecution: Bool, regularViewChanges: Bool) {
        self.requestAuthentication = requestAuthentication
        self.regularViewChanges = regularViewChanges
        self.tentativeExecution = tentativeExecution
    }

    /// Castro and Liskov's protocol (OSDI 1999).
    public static let pbft = ProtocolSwitches(
        requestAuthentication: .macVector,
        tentativeExecution: true,
        regularViewChanges: false
    )

    /// Clement et al.'s protocol (NSDI 2009).
    public static let aardvark = ProtocolSwitches(
        requestAuthentication: .signature,
        tentativeExecution: false,
        regularViewChanges: true
    )
}

/// Every bound of the engine in one place, checked against each other by ``problem``.
public struct Limits: Hashable, Sendable {
    /// K: batches between two checkpoints (PBFT section 4.3: 128).
    public var checkpointInterval = 128
    /// L: how far the high water mark is above the low one, in batches; at least 2 K.
    public var logWindow = 256
    /// How many batches may be proposed and not yet executed.
    public var pipelineDepth = 8
    /// The most requests in one batch.
    public var batchRequests = 1024
    /// The most bytes of requests in one batch; a single longer request still makes a batch of its own.
    public var batchBytes = 1 << 20
    /// Requests of more bytes than this are long: each counts as one for each so many bytes, since it costs everybody as much time.
    public var longRequestBytes = 8 << 10
    /// How many bytes of long requests of one client are ordered in a second at least, whatever others ask for.
    public var longRequestBytesPerSecond = 1 << 20
    /// W: how many replies of a client are kept, and how many requests it may have outstanding.
    public var clientWindow = 64
    /// The most clients and administrators that are known, clients that were removed included.
    public var identities = 65_536
    /// The most bytes of one client's requests that wait to be ordered, the next executable one not counted.
    public var clientPendingBytes = 8 << 20
    /// How long nothing may move, with work at hand, before peers are asked for what was missed; doubles up to
    /// ``longestStallNanoseconds``.
    public var stallNanoseconds: UInt64 = 250_000_000
    /// The longest pause between two such questions.
    public var longestStallNanoseconds: UInt64 = 8_000_000_000
    /// The shortest time between two answers to one peer's CATCH-UP.
    public var catchUpNanoseconds: UInt64 = 50_000_000
    /// How many sequence numbers one answer to a CATCH-UP covers: as many as others may be ahead of a checkpoint when it becomes stable.
    public var catchUpBatches = 128
    /// How many executed batches below the low water mark are kept for peers that missed them, and how far a replica may be below its own
    /// mark and execute what it missed rather than fetch the state; 0 for none.
    public var pastBatches = 131_072
    /// The most bytes of those that are kept.
    public var pastBytes = 64 << 20
    /// How many of them one answer to a CATCH-UP names.
    public var pastBatchesPerAnswer = 4096
    /// How long requests that a proposal names may take to come from their clients, before the primary is asked for them.
    public var requestFetchNanoseconds: UInt64 = 2_000_000
    /// The most bytes of batches that one answer to a CATCH-UP has, and the most bytes that are sent in answer to one peer's FETCHes within
    /// ``catchUpNanoseconds``; one longer message goes alone.
    public var answerBytes = 8 << 20
    /// M: how many digests a replica accepts at one number in ordinary PRE-PREPAREs. Bounds Q without ever forgetting a part of it.
    public var digestsPerNumber = 4
    /// T: how long a request may wait to be executed before the primary is replaced, and a NEW-VIEW to come; doubles with each view that
    /// executes nothing (PBFT section 4.4), 64 times at the most.
    public var viewChangeNanoseconds: UInt64 = 2_000_000_000
    /// How many messages of views to come are kept of one peer.
    public var earlyMessages = 1024
    /// The most bytes of such messages.
    public var earlyBytes = 8 << 20
    /// The most reads that wait until what was prepared when they came is executed.
    public var waitingReads = 4096
    /// The most bytes of those reads.
    public var waitingReadBytes = 16 << 20
    /// How far a fresh batch's time may be from this replica's clock, either way, before it is parked.
    public var clockToleranceNanoseconds: UInt64 = 10_000_000_000
    /// The back-off of cached replies, where requests are signed.
    public var resending = RobustnessLimits.Resending()
    /// The thresholds of the watch over the primary, where ``ProtocolSwitches/regularViewChanges`` is on.
    public var monitoring = RobustnessLimits.Monitoring()

    /// The default bounds.
    public init() {}

    /// What is wrong with these bounds, in one sentence; nil when they fit each other.
    public var problem: String? {
        if checkpointInterval < 1 { return "the checkpoint interval must be at least 1 batch" }
        if logWindow / 2 < checkpointInterval { return "the log window must be at least two checkpoint intervals" }
        if logWindow > 1 << 16 { return "the log window must be at most 65536 batches" }
        if pipelineDepth < 1 || pipelineDepth > logWindow { return "the pipeline depth must be 1 to the log window" }
        if batchRequests < 1 || batchRequests > MessageLimits.requestsPerBatch {
            return "a batch must have 1 to \(MessageLimits.requestsPerBatch) requests"
        }
        if batchBytes < 1 || batchBytes > MessageLimits.batchBytes - (1 << 20) {
            return "a batch must have 1 byte to 2 MiB of requests"
        }
        if longRequestBytes < 1 || longRequestBytesPerSecond < 1 << 10 {
            return "long requests must have more than 1 byte, and 1 KiB of them must be ordered in a second"
        }
        if clientWindow < 1 || clientWindow > 64 { return "the client window must be 1 to 64 requests" }
        if identities < 1 || identities > 1 << 20 { return "1 to 1048576 clients and administrators must be known" }
        if clientPendingBytes < MessageLimits.requestBytes {
            return "a client must be able to send one longest request"
        }
        if stallNanoseconds < 1 || longestStallNanoseconds < stallNanoseconds { return "the stall times must grow" }
        if digestsPerNumber < 1 || digestsPerNumber > 8 { return "1 to 8 digests must be accepted at one number" }
        if viewChangeNanoseconds < 1 { return "the view change time-out must be positive" }
        if earlyMessages < 1 || earlyBytes < MessageLimits.batchBytes + 64 {
            return "at least 1 early message of a peer must be kept"
        }
        if logWindow > MessageLimits.preparedClaims { return "the log window must fit a VIEW-CHANGE" }
        if waitingReads < 0 || waitingReadBytes < 0 { return "the bounds on waiting reads must not be negative" }
        if answerBytes < 1 { return "a peer's question must be answered" }
        if catchUpBatches < 1 { return "an answer to a CATCH-UP must cover at least 1 batch" }
        if pastBatches < 0 || pastBatches > 1 << 18 || pastBytes < 0 || pastBatchesPerAnswer < 0 {
            return "0 to 262144 past batches must be kept, and no negative number of their bytes"
        }
        return resending.problem ?? monitoring.problem
    }
}

/// What a replica is told at its start.
public struct ReplicaConfiguration: Sendable {
    /// How many replicas there are.
    public let size: ClusterSize
    /// Which of them this is.
    public let replica: ReplicaID
    /// The cluster that signatures are bound to.
    public let cluster: ClusterID
    /// Which mechanisms are on.
    public let switches: ProtocolSwitches
    /// The bounds.
    public let limits: Limits
    /// The clients and administrators that are known from the start, with the keys of the first epoch: the same at every replica. After
    /// the first batch the state says who they are.
    public let clients: [ClientKey]
    /// The bug that a test has planted.
    var mutations = Mutations()

    /// Collects what a replica is told at its start.
    ///
    /// - Parameters:
    ///   - size: How many replicas there are.
    ///   - replica: Which of them this is.
    ///   - cluster: The cluster that signatures are bound to.
    ///   - switches: Which mechanisms are on.
    ///   - limits: Bounds whose ``Limits/problem`` is nil.
    ///   - clients: The clients and administrators that are known from the start, each once, with the keys of the first epoch; at most
    ///     ``Limits/identities``.
    public init(
        size: ClusterSize,
        replica: ReplicaID,
        cluster: ClusterID,
        switches: ProtocolSwitches,
        limits: Limits,
        clients: [ClientKey]
    ) {
        self.size = size
        self.replica = replica
        self.cluster = cluster
        self.switches = switches
        self.limits = limits
        self.clients = clients
    }
}
