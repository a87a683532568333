import Adversary
import Agreement

/// How a run went.
public struct Outcome: Sendable {
    /// The first thing that went wrong, if any did.
    public let violation: Violation?
    /// What happened, in numbers.
    public let statistics: Statistics
    /// A digest of everything that happened: the same seed gives the same one, in every process.
    public let digest: UInt64
    /// When correct clients were answered, in virtual nanoseconds, in their order: one for each operation.
    public let answers: [UInt64]
    /// By replica number: how often it wrote to its disk, or a sync of it was done. Power can be lost at each of these moments
    /// (`Fault.powerLossAtWrite`).
    public let writes: [Int]
}

/// What happened in a run, or in several, in numbers.
public struct Statistics: Sendable, Hashable {
    /// Events handled.
    public var events = 0
    /// Messages delivered.
    public var messages = 0
    /// Messages between replicas lost.
    public var lost = 0
    /// Operations of correct clients answered.
    public var operations = 0
    /// Batches executed by some correct replica.
    public var batches = 0
    /// Checkpoints that became stable, counted at each correct replica.
    public var checkpoints = 0
    /// Times that a correct replica asked for what it missed.
    public var stalls = 0
    /// Times that a correct replica accused another.
    public var accusations = 0
    /// Senders of requests that a correct replica blacklisted.
    public var blacklisted = 0
    /// Pieces of evidence that a correct replica kept.
    public var evidence = 0
    /// Views that a correct replica entered.
    public var views = 0
    /// Times that a correct replica fetched a state.
    public var stateTransfers = 0
    /// Changes of a client's key, counted at each correct replica.
    public var keyChanges = 0
    /// Histories whose search was given up.
    public var undecidedHistories = 0
    /// Virtual time, in nanoseconds.
    public var virtualNanoseconds: UInt64 = 0

    /// Nothing yet.
    public init() {}

    /// Adds another run's numbers.
    public mutating func add(_ other: Statistics) {
        events += other.events
        messages += other.messages
        lost += other.lost
        operations += other.operations
        batches += other.batches
        checkpoints += other.checkpoints
        stalls += other.stalls
        accusations += other.accusations
        blacklisted += other.blacklisted
        evidence += other.evidence
        views += other.views
        stateTransfers += other.stateTransfers
        keyChanges += other.keyChanges
        undecidedHistories += other.undecidedHistories
        virtualNanoseconds += other.virtualNanoseconds
    }

    mutating func count(_ event: Agreement.Event) {
        switch event {
        case .stalled: stalls += 1
        case .accused: accusations += 1
        case .blacklisted: blacklisted += 1
        case .stable: checkpoints += 1
        case .enteredView: views += 1
        case .fetchesState: stateTransfers += 1
        default: break
        }
    }
}

extension Scenario {
    /// Runs it.
    ///
    /// - Parameter write: Takes the lines of the trace; nil for none.
    public func run(write: ((String) -> Void)? = nil) -> Outcome {
        World(self, write: write).run()
    }

    /// What the columns and marks of the trace mean.
    public static var traceLegend: String { Trace.legend }

    /// The faults of the smallest set that still breaks the same rule, found by taking them away one by one.
    ///
    /// - Parameters:
    ///   - rule: The rule that has to be broken again.
    ///   - progress: Told before each try which fault is taken away.
    public func shrunk(breaking rule: Violation.Rule, progress: (NamedFault) -> Void = { _ in }) -> (
        places: [Int], outcome: Outcome
    )? {
        var kept = options.keptFaults ?? Array(faults.indices)
        var last: Outcome?
        var place = 0
        while place < kept.count {
            progress(faults[kept[place]])
            var fewer = kept
            fewer.remove(at: place)
            let outcome = keeping(fewer).run()
            if outcome.violation?.rule == rule {
                kept = fewer
                last = outcome
            } else {
                place += 1
            }
        }
        let outcome = last ?? keeping(kept).run()
        return outcome.violation?.rule == rule ? (kept, outcome) : nil
    }

    /// The same run with only some of the faults.
    public func keeping(_ places: [Int]) -> Scenario {
        var options = options
        options.keptFaults = places
        return Scenario(seed: seed, profile: profile, keys: keys, options: options)
    }
}
