import Agreement
import Messages

/// The behaviours of a faulty replica, between the replica and the network. A correct replica has none.
package struct BehaviourStack {
    private var behaviours: [any ReplicaBehaviour]
    private var faulty: FaultyReplica
    private var actions: UInt64 = 0

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
            let fate = show(&behaviours[index], message, &faulty)
            if fate.isAction { actions += 1 }
            switch fate {
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
        guard !faulty.isQuiet else { return [] }
        let utterances = faulty.takeUtterances()
        actions += UInt64(utterances.count)
        return utterances
    }

    /// How often since the last call a behaviour did something: held a message back, changed or delayed it, or added one.
    package mutating func takeActions() -> UInt64 {
        defer { actions = 0 }
        return actions
    }
}

/// The behaviours of a faulty client, between the client and the network. A correct client has none.
package struct ClientBehaviourStack {
    private var behaviours: [any ClientBehaviour]
    private var faulty: FaultyClient
    private var actions: UInt64 = 0

    /// Stacks behaviours: each sees what the one before let through.
    package init(_ behaviours: [any ClientBehaviour], of faulty: FaultyClient) {
        self.behaviours = behaviours
        self.faulty = faulty
    }

    /// How often each behaviour wants ``timePassed(_:in:)``, in nanoseconds; nil for never.
    package var periods: [UInt64?] { behaviours.map(\.period) }

    /// Shows a request that is about to leave for a replica to each behaviour in turn.
    ///
    /// - Parameter view: The view as far as the client inside knows.
    /// - Returns: What is left of it; nil when nothing is.
    package mutating func pass(_ request: Request, to replica: ReplicaID, in view: View) -> Request? {
        var request = request
        faulty.view = view
        for index in behaviours.indices {
            let fate = behaviours[index].send(request, to: replica, as: &faulty)
            if fate.isAction { actions += 1 }
            switch fate {
            case .pass, .delay: break
            case .drop: return nil
            case .replace(let other): request = other
            }
        }
        return request
    }

    /// The period of a behaviour has passed again.
    package mutating func timePassed(_ index: Int, in view: View) {
        faulty.view = view
        behaviours[index].timePassed(as: &faulty)
    }

    /// What the behaviours sent beside.
    package mutating func takeParcels() -> [FaultyClient.Parcel] {
        let parcels = faulty.takeParcels()
        actions += UInt64(parcels.count)
        return parcels
    }

    /// How often since the last call a behaviour did something: held a request back, changed it, or added one.
    package mutating func takeActions() -> UInt64 {
        defer { actions = 0 }
        return actions
    }
}

extension Fate {
    /// Whether it is anything but to go on unchanged.
    fileprivate var isAction: Bool {
        if case .pass = self { false } else { true }
    }
}
