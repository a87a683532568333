import Cryptography
import Messages
import NIOCore
import NIOPosix
import Transport

/// Asks replicas what they say of themselves.
public enum StatusProbe {
    /// Asks every replica of a cluster at once.
    ///
    /// - Parameters:
    ///   - cluster: The cluster.
    ///   - identity: Who asks: a client or an administrator of the cluster. A client's own connection is replaced by the question's, so
    ///     a client that is at work should not be used.
    ///   - key: The identity's key.
    ///   - timeout: How long to wait for the slowest.
    /// - Returns: One answer a replica, in their order; nil where none came in time.
    public static func query(
        cluster: ClusterFile,
        identity: Identity,
        key: SigningKey,
        timeout: Duration
    ) async -> [ReplicaStatus?] {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        return await withCheckedContinuation { continuation in
            eventLoop.execute {
                let query = StatusQuery(
                    cluster: cluster,
                    identity: identity,
                    key: key,
                    eventLoop: eventLoop
                ) { continuation.resume(returning: $0) }
                query.start(timeout: timeout)
            }
        }
    }
}

/// One round of questions, on its event loop.
private final class StatusQuery: TransportDelegate {
    private let cluster: ClusterFile
    private let eventLoop: any EventLoop
    private let keys: ClusterKeys
    private let completion: ([ReplicaStatus?]) -> Void
    private var answers: [ReplicaStatus?]
    private var missing: Int
    private var dialers: [Dialer] = []
    private var timer: Scheduled<Void>?
    // Kept alive until the round is over.
    private var itself: StatusQuery?

    init(
        cluster: ClusterFile,
        identity: Identity,
        key: SigningKey,
        eventLoop: any EventLoop,
        completion: @escaping ([ReplicaStatus?]) -> Void
    ) {
        self.cluster = cluster
        self.eventLoop = eventLoop
        self.completion = completion
        keys = ClusterKeys(cluster: cluster, identity: identity, key: key)
        answers = Array(repeating: nil, count: cluster.size.replicas)
        missing = cluster.size.replicas
    }

    func start(timeout: Duration) {
        itself = self
        for replica in cluster.replicas {
            let dialer = keys.dialer(
                to: replica.id,
                at: replica.clientEndpoint,
                purpose: .clients,
                eventLoop: eventLoop,
                delegate: self
            )
            guard let dialer else { continue }
            dialers.append(dialer)
            dialer.start()
        }
        let delay = TimeAmount.nanoseconds(Int64(clamping: timeout.wholeNanoseconds))
        timer = eventLoop.assumeIsolated().scheduleTask(in: delay) { self.finish() }
    }

    private func finish() {
        guard itself != nil else { return }
        itself = nil
        timer?.cancel()
        for dialer in dialers { dialer.stop() }
        completion(answers)
    }

    func linkOpened(_ link: Link) {
        link.send(ClientMessage.statusQuery(UInt64(link.peer.number)).encoded)
        link.flush()
    }

    func linkReadable(_ link: Link) {
        let index = Int(link.peer.number)
        while let frame = link.nextFrame() {
            for range in MessageRanges(frame) {
                guard case .status(_, let status)? = try? ReplicaAnswer(decoding: frame, in: range),
                    answers[index] == nil
                else { continue }
                answers[index] = status
                missing -= 1
            }
        }
        if missing == 0 { finish() }
    }

    func linkClosed(_ link: Link, reason: LinkCloseReason) {}

    func connectionRefused(at place: ConnectionPlace, remoteAddress: String, reason: ConnectionRefusal) {
        // A replica that is down will not be up in the time of one question.
        guard case .dialer(let peer) = place, case .unreachable = reason, answers[Int(peer.number)] == nil,
            !unreachable.contains(peer)
        else { return }
        unreachable.insert(peer)
        missing -= 1
        if missing == 0 { finish() }
    }

    private var unreachable: Set<Identity> = []
}
