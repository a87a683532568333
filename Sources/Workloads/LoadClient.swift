import Invariants
import Synchronization

/// One client of a load generator: keeps a fixed number of operations outstanding while it is active.
///
/// The next operation is submitted from the completion of the one before, on the client's own thread, under one
/// uncontended lock and without a task or a hop. What is decided is a matter of ``State``; this class only carries it
/// out.
final class LoadClient: Sendable {
    private let submitter: any OperationSubmitter
    private let clock: LoadClock
    private let state: Mutex<State>

    init(submitter: any OperationSubmitter, source: any OperationSource, slots: Int, clock: LoadClock) {
        invariant(slots >= 1, "a client has at least one operation outstanding")
        self.submitter = submitter
        self.clock = clock
        state = Mutex(State(source: source, slots: slots))
    }

    /// Operations that were submitted and have not ended.
    var outstanding: Int { state.withLock { $0.outstanding } }

    /// Whether the source has no more operations.
    var isExhausted: Bool { state.withLock { $0.isExhausted } }

    /// Lets the client send, or makes it stop after the operations that are outstanding.
    func setActive(_ active: Bool) {
        state.withLock { $0.isActive = active }
        fill()
    }

    /// Sends an operation for every slot that is free: at the start, and after failures.
    func fill() {
        let now = clock.now()
        for operation in state.withLock({ $0.fill() }) {
            submit(operation, startedAt: now)
        }
    }

    /// Hands over what was recorded since the last time.
    func takeRecording() -> LoadRecording {
        // Made before the lock is taken: it is some 100 KiB of zeros.
        var recording = LoadRecording()
        state.withLock { swap(&$0.recording, &recording) }
        return recording
    }

    private func submit(_ operation: WorkloadOperation, startedAt start: UInt64) {
        submitter.perform(operation.bytes, isReadOnly: operation.kind.beginsReadOnly) { outcome in
            self.onOutcome(outcome, of: operation, isContinuation: false, startedAt: start)
        }
    }

    private func onOutcome(
        _ outcome: OperationOutcome,
        of operation: WorkloadOperation,
        isContinuation: Bool,
        startedAt start: UInt64
    ) {
        let now = clock.now()
        let step = state.withLock { state in
            state.onOutcome(
                outcome,
                of: operation,
                isContinuation: isContinuation,
                latencyMicroseconds: now > start ? (now - start) / 1_000 : 0
            )
        }
        switch step {
        case .rest: break
        case .submit(let next): submit(next, startedAt: now)
        case .carryOn(let continuation):
            submitter.perform(continuation, isReadOnly: false) { outcome in
                self.onOutcome(outcome, of: operation, isContinuation: true, startedAt: start)
            }
        }
    }

    /// What to do after an operation has ended.
    private enum Step {
        case rest
        case submit(WorkloadOperation)
        case carryOn([UInt8])
    }

    private struct State {
        var source: any OperationSource
        let slots: Int
        var outstanding = 0
        var isActive = false
        var isExhausted = false
        var recording = LoadRecording()

        init(source: any OperationSource, slots: Int) {
            self.source = source
            self.slots = slots
        }

        mutating func fill() -> [WorkloadOperation] {
            var operations: [WorkloadOperation] = []
            while let operation = begin() { operations.append(operation) }
            return operations
        }

        mutating func onOutcome(
            _ outcome: OperationOutcome,
            of operation: WorkloadOperation,
            isContinuation: Bool,
            latencyMicroseconds: UInt64
        ) -> Step {
            invariant(outstanding > 0, "an operation ended twice")
            if let fault = fault(in: outcome, of: operation, isContinuation: isContinuation) {
                end(operation, succeeded: false)
                recording.noteFailure(fault)
                // The slot stays free until the generator's next tick: what fails at once must not spin.
                return .rest
            }
            if let continuation = operation.continuation, !isContinuation { return .carryOn(continuation) }
            end(operation, succeeded: true)
            recording.noteSuccess(
                of: operation.kind,
                invocations: isContinuation ? 2 : 1,
                latencyMicroseconds: latencyMicroseconds
            )
            guard let next = begin() else { return .rest }
            return .submit(next)
        }

        private func fault(
            in outcome: OperationOutcome,
            of operation: WorkloadOperation,
            isContinuation: Bool
        ) -> String? {
            switch outcome {
            case .failure(let kind): kind
            case .result(let result): source.fault(in: result, of: operation, isContinuation: isContinuation)
            }
        }

        private mutating func end(_ operation: WorkloadOperation, succeeded: Bool) {
            outstanding -= 1
            source.end(operation, succeeded: succeeded)
        }

        /// Takes a slot for the next operation, when there are both.
        private mutating func begin() -> WorkloadOperation? {
            guard isActive, !isExhausted, outstanding < slots else { return nil }
            guard let operation = source.next() else {
                isExhausted = true
                return nil
            }
            outstanding += 1
            return operation
        }
    }
}
