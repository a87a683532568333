import Agreement
import Messages

/// What a replica's work costs its processor, in nanoseconds.
///
/// The defaults are about what an AMD EPYC takes with a release build. That of a signature's check is measured (`aardvark bench` prints
/// it), and what a message costs follows from the processor time of an operation that `bench` prints; the others are estimates. Only their
/// ratios matter to a comparison of throughputs.
public struct CostModel: Hashable, Sendable {
    /// To read a message, open its frame and decode it, beside its bytes.
    public var receive: UInt64 = 3_500
    /// To open and hash 1024 bytes of messages that arrive: ChaCha20-Poly1305 and BLAKE2b.
    public var receiveKilobyte: UInt64 = 2_500
    /// To encode a message, seal its frame and write it, beside its bytes.
    public var send: UInt64 = 3_500
    /// To seal and write 1024 bytes of messages that leave.
    public var sendKilobyte: UInt64 = 1_500
    /// To make or check one MAC of a request.
    public var mac: UInt64 = 500
    /// To check one Ed25519 signature.
    public var signatureCheck: UInt64 = 35_000
    /// To make one.
    public var signing: UInt64 = 15_000
    /// To execute one operation, or answer one read.
    public var operation: UInt64 = 1_000

    /// The defaults.
    public init() {}

    /// The same work on a processor of which the replica has only so much.
    public func onProcessorShare(percent: UInt64) -> CostModel {
        var slower = self
        for cost in [
            \CostModel.receive, \.receiveKilobyte, \.send, \.sendKilobyte, \.mac, \.signatureCheck, \.signing,
            \.operation,
        ] {
            slower[keyPath: cost] = slower[keyPath: cost] * 100 / percent
        }
        return slower
    }

    func receiving(_ bytes: Int) -> UInt64 { receive + UInt64(bytes) * receiveKilobyte / 1024 }

    func sending(_ bytes: Int) -> UInt64 { send + UInt64(bytes) * sendKilobyte / 1024 }

    func checking(_ request: Request) -> UInt64 { request.scheme == .signature ? signatureCheck : mac }
}

/// The processor of each replica in a run.
public struct ProcessorModel: Sendable {
    /// What its work costs.
    public var costs: CostModel
    /// Whether what arrives waits in queues apart (`isolated-queues`); otherwise in one queue, first come, first served.
    public var isolatedQueues: Bool
    /// Whether peers that flood are cut off; only where there are queues apart.
    public var floodGuard = true
    /// The shares of the queues, and what a flood is.
    var limits = RobustnessLimits()

    /// Describes processors.
    public init(costs: CostModel = CostModel(), isolatedQueues: Bool) {
        self.costs = costs
        self.isolatedQueues = isolatedQueues
    }
}

extension PeerMessage {
    /// About as many bytes as its encoding has, without making it.
    var approximateByteCount: Int {
        switch self {
        case .prePrepare(let message): 27 + message.batch.encodedByteCount
        case .digestPrePrepare(let message): message.encodedByteCount
        case .vote: 49
        case .checkpoint: 120
        case .forward(let message): 100 + message.request.claim.bytes.count
        case .batch(let message): 17 + message.batch.encodedByteCount
        case .stateRequest(let body), .stateAnswer(let body): 1 + body.count
        case .idle, .ping, .catchUp, .fetch, .committed: 64
        case .requests, .viewChange, .newView, .certificate: encoded.count
        }
    }
}
