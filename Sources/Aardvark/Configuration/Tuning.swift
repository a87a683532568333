extension ClusterFile {
    /// The settings of the protocol that an operator may change. All replicas must have the same ones.
    public struct Tuning: Hashable, Sendable {
        /// The most bytes of requests in a batch; one request that is larger still gets a batch of its own.
        public var batchBytes = 512 << 10

        /// The most requests in a batch.
        public var batchRequests = 512

        /// How many batches the primary keeps in flight before it waits for one to be executed.
        public var pipelineDepth = 8

        /// K: the number of batches between two checkpoints (PBFT section 4.3: "when the sequence number is divisible by 100").
        public var checkpointInterval = 128

        /// L: how far the high water mark is above the low one, in batches; a multiple of K (PBFT section 4.3).
        public var window = 256

        /// How many executed batches below the low water mark are kept for replicas that missed them, 64 MiB at the most; with 0 such a
        /// replica fetches the state.
        public var pastBatches = 131_072

        /// How many requests one client may have outstanding (Aardvark's rule is 1; a window serves gateways).
        public var clientWindow = 64

        /// How long a backup waits for a request to be executed before it suspects the primary, in milliseconds (PBFT section 4.4).
        public var requestTimeoutMilliseconds = 2_000

        /// How long a client waits for enough replies before it sends a request to all replicas, in milliseconds.
        public var retransmissionMilliseconds = 500

        /// The settings for a cluster whose file does not say otherwise.
        public init() {}
    }

    /// One setting: its name in the file, where it is kept, its range and what it means.
    struct TuningField {
        let name: String
        let path: any WritableKeyPath<Tuning, Int> & Sendable
        let range: ClosedRange<Int>
        let comment: String
    }

    /// Every setting, in the order in which the file lists them.
    static let tuningFields: [TuningField] = [
        TuningField(
            name: "batchBytes",
            path: \.batchBytes,
            range: 1_024...(3 << 20),
            comment: "most bytes of requests in a batch"
        ),
        TuningField(
            name: "batchRequests",
            path: \.batchRequests,
            range: 1...65_536,
            comment: "most requests in a batch"
        ),
        TuningField(
            name: "pipelineDepth",
            path: \.pipelineDepth,
            range: 1...1_024,
            comment: "batches in flight"
        ),
        TuningField(
            name: "checkpointInterval",
            path: \.checkpointInterval,
            range: 1...65_536,
            comment: "K: batches between checkpoints"
        ),
        TuningField(
            name: "window",
            path: \.window,
            range: 2...131_072,
            comment: "L: batches between the water marks, a multiple of K"
        ),
        TuningField(
            name: "pastBatches",
            path: \.pastBatches,
            range: 0...262_144,
            comment: "older batches kept for replicas that missed them"
        ),
        TuningField(
            name: "clientWindow",
            path: \.clientWindow,
            range: 1...64,
            comment: "outstanding requests per client"
        ),
        TuningField(
            name: "requestTimeoutMilliseconds",
            path: \.requestTimeoutMilliseconds,
            range: 10...600_000,
            comment: "a backup suspects the primary after this"
        ),
        TuningField(
            name: "retransmissionMilliseconds",
            path: \.retransmissionMilliseconds,
            range: 10...600_000,
            comment: "a client turns to all replicas after this"
        ),
    ]
}
