import Adversary
import Agreement
import Messages

/// The behaviours of a faulty replica, between the replica and the network. A correct replica has none.
struct BehaviourStack {
    private var behaviours: [any ReplicaBehaviour]
    private var faulty: FaultyReplica

    init(_ behaviours: [any ReplicaBehaviour], of faulty: FaultyReplica) {
        self.behaviours = behaviours
        self.faulty = faulty
    }

    var isEmpty: Bool { behaviours.isEmpty }

    var periods: [UInt64?] { behaviours.map(\.period) }

    /// Tells the behaviours how far the replica inside is.
    mutating func refresh(now: UInt64, engine: borrowing Replica) {
        faulty.now = now
        faulty.view = engine.view
        faulty.executed = engine.executed
        faulty.low = engine.stable
        faulty.high = engine.high
        faulty.watch = engine.watchStatus
    }

    /// Shows a message to each behaviour in turn.
    ///
    /// - Returns: What is left of it, and how late it goes on; nil when nothing is.
    mutating func pass<Message>(
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

    mutating func timePassed(_ index: Int) {
        behaviours[index].timePassed(as: &faulty)
    }

    /// What the behaviours said beside.
    mutating func takeUtterances() -> [FaultyReplica.Utterance] {
        faulty.isQuiet ? [] : faulty.takeUtterances()
    }
}
