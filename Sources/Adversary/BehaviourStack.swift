import Agreement
import Messages

/// The behaviours of a faulty replica, between the replica and the network. A correct replica has none.
package struct BehaviourStack {
    private var behaviours: [any ReplicaBehaviour]
    private var faulty: FaultyReplica

    /// Stacks behaviours: each sees what the one before let through.
    package init(_ behaviours: [any ReplicaBehaviour], of faulty: FaultyReplica) {
        self.behaviours = behaviours
        self.faulty = faulty
    }

    /// Whether there is no behaviour.
    package var isEmpty: Bool { behaviours.isEmpty }

    /// How often each behaviour wants ``timePassed(_:)``, in nanoseconds; nil for never.
    package var periods: [UInt64?] { behaviours.map(\.period) }

    /// Tells the behaviours how far the replica inside is.
    package mutating func refresh(
        now: UInt64,
        view: View,
        executed: SequenceNumber,
        low: SequenceNumber,
        high: SequenceNumber,
        watch: PrimaryWatchStatus?
    ) {
        faulty.now = now
        faulty.view = view
        faulty.executed = executed
        faulty.low = low
        faulty.high = high
        faulty.watch = watch
    }

    /// Shows a message to each behaviour in turn.
    ///
    /// - Returns: What is left of it, and how late it goes on; nil when nothing is.
    package mutating func pass<Message>(
        _ message: Message,
        _ show: (inout any ReplicaBehaviour, Message, inout FaultyReplica) -> Fate<Message>
    ) -> (message: Message, delay: UInt64)? {
        var message = message
        var delay: UInt64 = 0
        for index in behaviours.indices {
            switch show(&behaviours[index], message, &faulty) {
            case .pass: break
            case .drop: return nil
            case .replace(let other): message = other
            case .delay(let nanoseconds): delay += nanoseconds
            }
        }
        return (message, delay)
    }

    /// The period of a behaviour has passed again.
    package mutating func timePassed(_ index: Int) {
        behaviours[index].timePassed(as: &faulty)
    }

    /// What the behaviours said beside.
    package mutating func takeUtterances() -> [FaultyReplica.Utterance] {
        faulty.isQuiet ? [] : faulty.takeUtterances()
    }
}
