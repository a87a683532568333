import Agreement
import Logging
import Messages

/// The engine's events in words for operators; what can come often is held back.
struct EventLog {
    private let size: ClusterSize
    private let logger: Logger
    /// Holds back what misbehaving peers could fill the log with.
    var limiter = LogLimiter()

    init(of size: ClusterSize, to logger: Logger) {
        self.size = size
        self.logger = logger
    }

    /// Says what happened.
    mutating func log(_ event: Event) {
        switch event {
        case .accused(let peer, let accusation):
            guard let suppressed = limiter.admit(.now()) else { return }
            logger.warning(
                "replica misbehaved",
                metadata: ["peer": "\(peer)", "accusation": "\(accusation.rawValue)", "suppressed": "\(suppressed)"]
            )
        case .blacklisted(let source):
            logger.warning(
                "a request with a wrong signature: its sender is blacklisted",
                metadata: ["sender": "\(source)"]
            )
        case .diverged(let sequence):
            logger.error(
                "a quorum has another state than this replica: its memory is damaged or its service is not deterministic",
                metadata: ["seq": "\(sequence.rawValue)"]
            )
        case .leftView(let view, let reason):
            logger.notice("leaves its view", metadata: ["for": "\(view.rawValue)", "because": "\(reason.rawValue)"])
        case .enteredView(let view):
            logger.notice(
                "enters a view",
                metadata: ["view": "\(view.rawValue)", "primary": "\(view.primary(in: size))"]
            )
        case .learning(let isLearning):
            logger.notice(
                isLearning
                    ? "lost its store: votes for nothing until what it may have said is past"
                    : "has learned enough to vote again"
            )
        case .fetchesState(let sequence):
            logger.notice("lacks the state of a stable checkpoint", metadata: ["seq": "\(sequence.rawValue)"])
        case .stalled(let sequence):
            guard let suppressed = limiter.admit(.now()) else { return }
            logger.notice("no progress", metadata: ["seq": "\(sequence.rawValue)", "suppressed": "\(suppressed)"])
        case .stable(let sequence):
            logger.debug("checkpoint stable", metadata: ["seq": "\(sequence.rawValue)"])
        case .dropped, .proposed, .executed, .rolledBack:
            break
        }
    }
}
