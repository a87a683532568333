import Agreement
import Messages

extension SimulatedReplica {
    /// What a shell works at beside the engine.
    enum Work {
        case request(RequestCheck, RequestSource)
        case batch(BatchPlace, [RequestCheck])
        case checkpoint(Unverified<Checkpoint>)
        case certificate(Unverified<CheckpointCertificate>)
        case viewChange(Unverified<ViewChange>, ReplicaID)
        case newView(Unverified<NewView>, ReplicaID)
        case execution(Execution)
    }

    /// The time that some work took is over.
    func finished(_ work: Work) {
        guard carryOut(work) else { return }
        drain()
        scheduleTurn()
    }

    /// Tells the engine what came of some work.
    ///
    /// - Returns: false when it is of no use, and the engine is told nothing.
    @discardableResult
    func carryOut(_ work: Work) -> Bool {
        let keys = world.scenario.keys
        switch work {
        case .request(let check, let source):
            let verdict = Input.verdict(keys.verified(check, at: id), on: check, from: source)
            engine.step(verdict, now: clock, into: &effects)
        case .batch(let place, let checks):
            let isValid = checks.allSatisfy { keys.verified($0, at: id) != nil }
            engine.batchChecked(place, valid: isValid, now: clock, into: &effects)
        case .checkpoint(let checkpoint):
            guard let verified = keys.verified(checkpoint) else { return refuse() }
            engine.checkpointVerified(verified, now: clock, into: &effects)
        case .certificate(let certificate):
            guard let verified = keys.verified(certificate) else { return refuse() }
            engine.certificateVerified(verified, now: clock, into: &effects)
        case .viewChange(let viewChange, let peer):
            guard let verified = keys.verified(viewChange) else { return refuse() }
            engine.viewChangeVerified(verified, from: peer, now: clock, into: &effects)
        case .newView(let newView, let peer):
            guard let verified = keys.verified(newView) else { return refuse() }
            engine.newViewVerified(verified, from: peer, now: clock, into: &effects)
        case .execution(let execution):
            isExecuting = false
            execute(execution)
        }
        return true
    }

    private func refuse() -> Bool {
        processor?.invalid()
        return false
    }

    /// The connection of whoever sends a request: of the client that it is from, or none that is known.
    func connection(of request: Unverified<Request>) -> ConnectionID {
        let client = request.claim.client
        return key(of: client) == nil ? .ofStrangers : ConnectionID(of: client)
    }

    /// Whether everything is durable as soon as it is written.
    var syncsAtOnce: Bool { processor != nil && world.scenario.conditions.sync.upperBound == 0 }

    func syncAtOnce() {
        while isUp, disk.startSync() != nil { finishSync() }
    }

    // MARK: What leaves

    func put(_ message: PeerMessage, to peer: ReplicaID, after delay: UInt64) {
        let form = message.disseminated(world.scenario.switches.dissemination)
        if let processor { return processor.post(form, to: peer, after: delay) }
        world.send(form, from: self, to: peer, after: delay)
    }

    func put(_ answer: ReplicaAnswer, to client: ClientID, after delay: UInt64) {
        if let processor { return processor.post(answer, to: client, after: delay) }
        world.send(answer, from: self, to: client, after: delay)
    }
}
