import Synchronization

/// One call that waits for its result or for its task to be cancelled, whichever comes first, on whatever thread.
final class PendingCall: Sendable {
    private enum State {
        case idle
        case waiting(CheckedContinuation<Result<[UInt8], ClientError>, Never>)
        case finished(Result<[UInt8], ClientError>)
        case taken
    }

    private let state = Mutex(State.idle)

    /// The call waits from now on. When it has ended already (it was cancelled), the waiter goes on at once.
    func begin(_ continuation: CheckedContinuation<Result<[UInt8], ClientError>, Never>) {
        let early: Result<[UInt8], ClientError>? = state.withLock { state in
            if case .finished(let result) = state {
                state = .taken
                return result
            }
            state = .waiting(continuation)
            return nil
        }
        if let early { continuation.resume(returning: early) }
    }

    /// The first call of this ends the wait; later ones do nothing.
    func finish(_ result: Result<[UInt8], ClientError>) {
        let waiter: CheckedContinuation<Result<[UInt8], ClientError>, Never>? = state.withLock { state in
            switch state {
            case .idle:
                state = .finished(result)
                return nil
            case .waiting(let continuation):
                state = .taken
                return continuation
            case .finished, .taken:
                return nil
            }
        }
        waiter?.resume(returning: result)
    }
}
