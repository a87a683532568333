/// Every threshold of the robustness policies (Aardvark sections 4 and 5) in one place, checked by ``problem``. None of them is a number
/// of requests a second: what a primary must achieve is learnt.
public struct RobustnessLimits: Hashable, Sendable {
    /// Of the scheduler of what comes in.
    public var scheduling = Scheduling()
    /// Of the flood guard.
    public var flooding = Flooding()
    /// Of the repetition of cached replies.
    public var resending = Resending()
    /// Of the watch over the primary.
    public var monitoring = Monitoring()

    /// The default thresholds.
    public init() {}

    /// What is wrong with these thresholds, in one sentence; nil when they fit each other.
    public var problem: String? {
        scheduling.problem ?? flooding.problem ?? resending.problem ?? monitoring.problem
    }

    /// No duration is longer than this: an hour, in nanoseconds. So products of durations and factors stay far from overflow.
    static let longestNanoseconds: UInt64 = 3_600_000_000_000

    static func isDuration(_ nanoseconds: UInt64) -> Bool {
        (1...longestNanoseconds).contains(nanoseconds)
    }

    /// Shares and bounds of ``FairScheduler``.
    public struct Scheduling: Hashable, Sendable {
        /// The guaranteed share of agreement messages, in percent of the processor time, split evenly by peer.
        public var agreementPercent = 75
        /// The guaranteed share of requests, in percent: one half for all clients together, the other for what peers forward, split
        /// evenly by peer.
        public var requestPercent = 20
        /// The guaranteed share of catch-up and state transfer, in percent, split evenly by peer.
        public var bulkPercent = 5
        /// What is left to a peer that the flood guard cut off, in percent of its share; and of all time to it, and to a client that sends
        /// more than it may without an answer.
        public var cutPercent = 1
        /// The processor time that the shares divide in one round. A shorter round spreads it more evenly; a message is never interrupted.
        public var roundNanoseconds: UInt64 = 1_000_000
        /// The processor time that a client connection has in its turn: about one signature check, so that a turn is one request.
        public var clientTurnNanoseconds: UInt64 = 50_000
        /// What every message is charged when it is taken, beside its measured cost: what its way through the queues costs.
        public var messageNanoseconds: UInt64 = 500
        /// The most that a queue can owe. A pause of the whole process, which is charged to whoever's message was handled then, must not
        /// shut its sender out for long; but the excess of a message that costs more than this goes unpunished.
        public var mostDebtNanoseconds: UInt64 = 20_000_000
        /// The most agreement messages of one peer that wait.
        public var agreementMessages = 4096
        /// The most bytes of them; the last one may overshoot it, here and below.
        public var agreementBytes = 16 << 20
        /// The most forwarded requests of one peer that wait: a correct one forwards one request of each client at a time.
        public var forwardMessages = 4096
        /// The most bytes of them.
        public var forwardBytes = 8 << 20
        /// The most catch-up and state transfer messages of one peer that wait.
        public var bulkMessages = 256
        /// The most bytes of them.
        public var bulkBytes = 8 << 20
        /// The most messages of one client connection that wait.
        public var clientMessages = 128
        /// The most bytes of them.
        public var clientBytes = 256 << 10
        /// The most client connections.
        public var clientConnections = 4096
        /// How many messages a client may send at once that no answer comes to: more than it may have outstanding, some times over.
        public var unansweredMessages: UInt64 = 1000
        /// How many such messages a second it may send for ever.
        public var unansweredPerSecond: UInt64 = 100

        var problem: String? {
            let percentages = [agreementPercent, requestPercent, bulkPercent]
            if percentages.contains(where: { $0 < 1 }) || percentages.reduce(0, +) != 100 {
                return "the shares of agreement, requests and bulk must be positive and make 100 percent"
            }
            if !(1...100).contains(cutPercent) {
                return "a peer that is cut off must keep 1 to 100 percent of its share"
            }
            if !(100_000...RobustnessLimits.longestNanoseconds).contains(roundNanoseconds) {
                return "a round must be 100 microseconds to an hour of processor time"
            }
            if !isDuration(clientTurnNanoseconds) || !isDuration(messageNanoseconds) {
                return "a client's turn and the cost of a message must be positive, and an hour at most"
            }
            if !isDuration(mostDebtNanoseconds) { return "the most debt must be positive, and an hour at most" }
            if !(1...1_000_000).contains(unansweredMessages) || !(1...1_000_000).contains(unansweredPerSecond) {
                return "the messages without an answer and their growth must be 1 to 1000000"
            }
            let bounds = [
                agreementMessages, agreementBytes, forwardMessages, forwardBytes, bulkMessages, bulkBytes,
                clientMessages, clientBytes, clientConnections,
            ]
            return bounds.contains { $0 < 1 } ? "every queue must have room for a message" : nil
        }
    }

    /// Budgets and times of ``FloodGuard``.
    public struct Flooding: Hashable, Sendable {
        /// How many offences a peer may commit at once. The longest messages cost half a millisecond for each, so that a flood has cost
        /// 150 ms of processor time when it is cut off.
        public var offenceBudget: UInt64 = 300
        /// How many offences a second a peer may commit for ever. At 50 microseconds each, the dearest kind, they cost 0.5 % of a core.
        public var offencesPerSecond: UInt64 = 100
        /// After how many offences of all peers they are compared (Aardvark's implementation: every 2000 messages).
        public var comparedOffences = 2000
        /// How many times the offences of the (f + 1)-th worst peer are too many (Aardvark's implementation: 20 times the second).
        public var worstFactor = 20
        /// Offences that took longer than this to come together are not compared.
        public var comparisonNanoseconds: UInt64 = 60_000_000_000
        /// After how long without an offence a peer that is cut off floods no more.
        public var quietNanoseconds: UInt64 = 1_000_000_000
        /// How long the first cut lasts; each further one lasts twice as long.
        public var shortestCutNanoseconds: UInt64 = 5_000_000_000
        /// How long a cut lasts at most; after as long without one, the next is short again.
        public var longestCutNanoseconds: UInt64 = 600_000_000_000

        var problem: String? {
            if !(1...1_000_000_000).contains(offenceBudget) || !(1...1_000_000_000).contains(offencesPerSecond) {
                return "the budget of offences and its growth must be 1 to 1000000000"
            }
            if comparedOffences < 1 || !(2...1_000_000).contains(worstFactor) {
                return "offences must be compared, and the factor be 2 to 1000000"
            }
            if !isDuration(comparisonNanoseconds) || !isDuration(quietNanoseconds) {
                return "the times of a comparison and without an offence must be positive, and an hour at most"
            }
            if !isDuration(shortestCutNanoseconds) || !isDuration(longestCutNanoseconds)
                || shortestCutNanoseconds > longestCutNanoseconds
            {
                return "cuts must last longer each time, an hour at most"
            }
            return nil
        }
    }

    /// The exponential back-off of cached replies (Aardvark section 5.1, retransmission check).
    public struct Resending: Hashable, Sendable {
        /// How long after a cached reply was sent again it is not; doubles each time.
        public var shortestSlotNanoseconds: UInt64 = 100_000_000
        /// The longest such time.
        public var longestSlotNanoseconds: UInt64 = 12_800_000_000

        /// The default slots.
        public init() {}

        var problem: String? {
            isDuration(shortestSlotNanoseconds) && isDuration(longestSlotNanoseconds)
                && shortestSlotNanoseconds <= longestSlotNanoseconds
                ? nil : "the slots of cached replies must grow, to an hour at most"
        }
    }

    /// Times and factors of the watch over the primary.
    public struct Monitoring: Hashable, Sendable {
        /// How long a primary may be silent (Aardvark section 5.3: 40 ms), beside two round trips.
        public var heartbeatNanoseconds: UInt64 = 40_000_000
        /// How much a primary may be late over time, beyond its heartbeats: a pause of the whole process, such as a garbage collector's.
        public var pauseNanoseconds: UInt64 = 100_000_000
        /// In how long that allowance grows from nothing to the whole. With the default a primary can waste 2 % of the time.
        public var pauseIntervalNanoseconds: UInt64 = 5_000_000_000
        /// How many heartbeats the oldest batch may take to be committed.
        public var progressHeartbeats: UInt64 = 10
        /// How many heartbeats after a request was forwarded the primary may not say that it has nothing to order.
        public var idleHeartbeats: UInt64 = 10
        /// How long a primary may take to take in a forwarded request, beside the round trip.
        public var forwardNanoseconds: UInt64 = 10_000_000
        /// How often the round trip to each peer is measured.
        public var pingNanoseconds: UInt64 = 1_000_000_000
        /// How often the one back-off doubles at most: with 10, heartbeats grow to 41 s and grace periods to 1.4 hours.
        public var mostDoublings = 10
        /// How many batches proposed in views that execute something take back one doubling.
        public var batchesPerHalving = 16
        /// How long a view lasts before its primary's throughput is judged (Aardvark section 5.3: 5 s).
        public var graceNanoseconds: UInt64 = 5_000_000_000
        /// How many times as long the grace period gets by evictions for throughput.
        public var mostGraceFactor: UInt64 = 8
        /// After how many grace periods a view ends, at the next checkpoint, whatever its primary's throughput.
        public var viewGracePeriods: UInt64 = 4
        /// How long the throughput is measured at least, at whole checkpoints: long against a pause.
        public var measuringNanoseconds: UInt64 = 2_000_000_000
        /// How long the throughput is measured at least before a primary that became very slow is replaced, in the grace period too.
        public var earlyNanoseconds: UInt64 = 500_000_000
        /// Below what part of what is required, or of what the view achieved before, a primary is very slow, in percent.
        public var earlyPercent: UInt64 = 50
        /// The same for a primary that became less slow: longer than that.
        public var slowNanoseconds: UInt64 = 2_000_000_000
        /// Below what part of the same such a primary is, in percent: so much less that no noise of a machine is taken for it each time.
        public var slowPercent: UInt64 = 80
        /// A time without a proposal after which nothing was offered: longer than a client waits before it asks every replica.
        public var idleNanoseconds: UInt64 = 2_000_000_000
        /// What part of the recent best a primary must reach at the start, in percent (Aardvark section 5.3: 90).
        public var requirementPercent: UInt64 = 90
        /// By how much of its start value the requirement rises with each checkpoint, in percent (Aardvark section 5.3: 1).
        public var raisePercent: UInt64 = 1
        /// What an executed request counts, in nanoseconds of processor time: a signature check.
        public var requestWork: UInt64 = 50_000
        /// What an executed operation counts, in the same unit. Both are measured costs of this project on one machine; only their ratio
        /// matters, because work is only ever compared with work.
        public var operationWork: UInt64 = 2_000

        /// The default thresholds.
        public init() {}

        /// What a batch counts. It is not the size that a client declares: checking and executing it costs every replica as much.
        func work(requests: Int, operations: Int) -> UInt64 {
            UInt64(requests) * requestWork + UInt64(operations) * operationWork
        }

        var problem: String? {
            let durations = [
                heartbeatNanoseconds, pauseIntervalNanoseconds, forwardNanoseconds, pingNanoseconds, graceNanoseconds,
                measuringNanoseconds, earlyNanoseconds, slowNanoseconds, idleNanoseconds,
            ]
            if !durations.allSatisfy(isDuration) {
                return "the times of the monitor must be positive, and an hour at most"
            }
            if pauseNanoseconds > pauseIntervalNanoseconds / 10 {
                return "pauses may be at most a tenth of the interval in which they are allowed"
            }
            if !(1...100).contains(progressHeartbeats) || !(2...100).contains(idleHeartbeats) {
                return "the monitor must wait 1 to 100 heartbeats for progress, and 2 to 100 for a forwarded request"
            }
            if !(0...10).contains(mostDoublings) { return "the back-off must double at most 10 times" }
            if batchesPerHalving < 1 { return "at least 1 batch must take a doubling back" }
            if !(2...1024).contains(viewGracePeriods) { return "a view must last for 2 to 1024 grace periods" }
            if !(1...1024).contains(mostGraceFactor) { return "the grace period must grow to 1 to 1024 times" }
            if [requirementPercent, raisePercent, earlyPercent, slowPercent].contains(where: { !(1...100).contains($0) }
            ) {
                return "the requirement, its raise and what counts as very slow must be 1 to 100 percent"
            }
            let costs: ClosedRange<UInt64> = 1...1_000_000_000
            return costs.contains(requestWork) && costs.contains(operationWork)
                ? nil : "a request and an operation must count 1 nanosecond to 1 second of work each"
        }
    }
}
