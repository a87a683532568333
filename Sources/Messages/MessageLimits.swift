/// The bounds of every length and count on the wire. A decoder checks them before it takes memory.
public enum MessageLimits {
    /// The longest operation, in bytes: a value of 1 MiB and what an operation needs beside it.
    public static let operationBytes = 1 << 20 + 4 << 10

    /// The longest result of one operation, in bytes.
    public static let resultBytes = operationBytes

    /// The most operations in one request (a bundle under one signature).
    public static let operationsPerRequest = 64

    /// The longest encoded request, in bytes.
    public static let requestBytes = 2 << 20

    /// The longest encoded reply without its header, in bytes.
    public static let replyPayloadBytes = 2 << 20

    /// The most requests in one batch.
    public static let requestsPerBatch = 4096

    /// The longest encoded batch, in bytes.
    public static let batchBytes = 3 << 20

    /// The most elements of P in a VIEW-CHANGE, and of batches that a NEW-VIEW chooses: one for each number of the largest window.
    public static let preparedClaims = 8192

    /// The most elements of Q in a VIEW-CHANGE: several digests for each number.
    public static let prePreparedClaims = 8 * preparedClaims

    /// The longest question or answer of a state transfer, in bytes.
    public static let stateBytes = 3 << 20

    /// The most clients in the answer to one question for their list.
    public static let clientsPerList = 16_384

    /// The most named counters in a status report.
    public static let countersPerStatus = 256
}
