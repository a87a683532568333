import Cryptography
import Invariants

extension StateFetch {
    /// A state that a certificate vouches for.
    public struct Target: Hashable, Sendable {
        /// The number of its checkpoint.
        public let checkpoint: UInt64

        /// The root of its Merkle tree.
        public let root: Digest

        /// The state with this root at this checkpoint.
        public init(checkpoint: UInt64, root: Digest) {
            self.checkpoint = checkpoint
            self.root = root
        }
    }

    /// What the caller has to do or may want to know, in order.
    public enum Effect: Hashable, Sendable {
        /// Send a request to a source.
        case send(StateRequest, to: Int)

        /// The source sent what no correct replica sends. It is asked no more in this fetch.
        case accuse(source: Int, Fault)

        /// The source did not answer in time. Others are asked in its place; it is asked again only when there is no
        /// other.
        case timedOut(source: Int)

        /// The source has not the checkpoint, or not any more. It is asked no more unless it is added again or the
        /// target changes.
        case gone(source: Int)

        /// Nobody is left to ask: add a source or change the target.
        case stalled

        /// All that differs was fetched: call ``StateFetch/beginInstall()``.
        case complete
    }

    /// What is wrong with an answer. A correct source gives no such answer to a request for a certified state.
    public enum Fault: String, Hashable, Sendable {
        /// The bytes are no answer, or one with an entry beyond ``StateLimits``.
        case malformed

        /// A node has not the digest that its parent names.
        case wrongNode

        /// There are more nodes than were asked for.
        case tooLong

        /// Nodes are missing though the answer is not full.
        case tooShort
    }

    /// What became of the attempt to install the fetched state.
    public enum Installation: Hashable, Sendable {
        /// The store is making the state its own; this many keys are set or deleted.
        case begun(changes: Int)

        /// The store itself has come as far or further. Nothing was changed, and the fetch is of no use any more.
        case overtaken

        /// Something is still to be fetched, since the local checkpoint was dropped meanwhile for instance: call
        /// ``StateFetch/advance(to:)``. Nothing was changed.
        case incomplete
    }

    /// Counts of what a fetch did.
    public struct Progress: Hashable, Sendable {
        /// Requests sent.
        public internal(set) var requests: UInt64 = 0

        /// Nodes received and verified.
        public internal(set) var nodes: UInt64 = 0

        /// The size of those nodes, in bytes as sent.
        public internal(set) var bytes: UInt64 = 0

        /// Nodes known from an earlier target, or from before the local checkpoint was dropped, that were not fetched
        /// again.
        public internal(set) var reusedNodes: UInt64 = 0
    }

    /// How much to ask for at once and how long to wait.
    public struct Limits: Hashable, Sendable {
        /// The most requests in flight, at least 1. Their answers together have at most so many times
        /// ``StateTransferLimits/answerBytes``.
        public var requestsInFlight = 8

        /// The most of them at one source, at least 1.
        public var requestsPerSource = 4

        /// The most subtrees in one request, 1 to ``StateTransferLimits/requestPaths``.
        public var pathsPerRequest = StateTransferLimits.requestPaths

        /// The size in bytes at which an answer ends, 1 to ``StateTransferLimits/answerBudget``. A source does nothing else while it
        /// makes one.
        public var answerBudget = 128 << 10

        /// How long to wait for an answer, in nanoseconds, at least 1. It is less for a source that is known to be faster, an eighth of
        /// this at least, and doubles for one that let it pass.
        public var answerTimeout: UInt64 = 2_000_000_000

        /// The most bytes of nodes of earlier targets to keep, as sent; 0 or more. A fetch whose target changes goes on
        /// where it was as long as what it had fetched is not more than this.
        public var retainedBytes = 1 << 30

        #if DEBUG
            /// A bug that a test has planted: nodes are taken in whatever their digests.
            var trustsSources = false
        #endif

        /// The defaults.
        public init() {}

        func check() {
            invariant(requestsInFlight >= 1 && requestsPerSource >= 1, "no request may be in flight")
            invariant(
                (1...StateTransferLimits.requestPaths).contains(pathsPerRequest),
                "paths per request out of bounds"
            )
            invariant(
                (1...StateTransferLimits.answerBudget).contains(answerBudget),
                "budget of an answer out of bounds"
            )
            invariant(answerTimeout >= 1 && retainedBytes >= 0, "negative limit")
        }
    }
}

/// What a fetch knows about one of its sources.
struct StateSource {
    private static let maximumDoublings: UInt64 = 6
    private static let longestElapsed: UInt64 = 1 << 40
    private static let paceBytes: UInt64 = 1 << 16
    /// Twice what four answers of a megabyte take, of which each counts as 64 KiB more.
    private static let patiencePaces: UInt64 = 2 * 4 * 17
    private static let leastPatience: UInt64 = 8

    let name: Int
    var inFlight = 0
    /// It sent something wrong.
    var isDropped = false
    /// It has not the target's checkpoint.
    var isGone = false
    /// It cannot be reached.
    var isAway = false
    /// Time-outs less answers in time, not below 0.
    private var strikes: UInt64 = 0
    /// Nanoseconds it takes for 64 KiB; 0 until it has answered once. An answer counts as 64 KiB more than it has, so
    /// that small ones do not make a source look slow.
    private var pace: UInt64 = 0

    init(name: Int) {
        self.name = name
    }

    var isUsable: Bool { !isDropped && !isGone && !isAway }

    /// The order of preference: first those that answer in time, then by the time until one more answer is there.
    var rank: (UInt64, UInt64, Int) { (strikes, pace * UInt64(inFlight + 1), inFlight) }

    /// How long to wait for an answer, where one of which nothing is known has `timeout`. One that has answered fast and does so no more
    /// may be gone: what it was asked for must not keep a replica out for long on which a quorum may rest.
    func patience(_ timeout: UInt64) -> UInt64 {
        // At most 2^48 nanoseconds.
        let usual = pace == 0 ? timeout : min(timeout, max(timeout / Self.leastPatience, pace * Self.patiencePaces, 1))
        let (wait, isTooLong) = usual.multipliedReportingOverflow(by: 1 << min(strikes, Self.maximumDoublings))
        return isTooLong ? .max : wait
    }

    mutating func onTimeout() {
        strikes += 1
    }

    mutating func onAnswer(after elapsed: UInt64, bytes: UInt64) {
        strikes -= min(strikes, 1)
        pace = min(elapsed, Self.longestElapsed) * Self.paceBytes / (Self.paceBytes + bytes)
    }
}
