import Aardvark
import Cryptography
import Messages
import NIOCore
import NIOPosix
import Transport

/// Stands in for all replicas of a cluster: takes what a client sends, and answers as a test says.
enum StandInReplicas {
    /// An answer, and whose word it is; without an answer, that replica closes its connection.
    typealias Answer = (from: ReplicaID, payload: Reply.Payload?)

    /// What one read of a replica's socket brought, and the answers to it. Called on one event loop.
    typealias Script = @Sendable (ReplicaID, [Request]) -> [Answer]

    /// Listens in the place of all replicas, calls `body`, and stops.
    static func with(
        _ created: ClusterFile.Created,
        _ script: @escaping Script,
        _ body: () async throws -> Void
    ) async throws {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let node = try await start(created, script, on: eventLoop)
        do {
            try await body()
        } catch {
            try await eventLoop.flatSubmit { node.value.stop() }.get()
            throw error
        }
        try await eventLoop.flatSubmit { node.value.stop() }.get()
    }

    private static func start(
        _ created: ClusterFile.Created,
        _ script: @escaping Script,
        on eventLoop: any EventLoop
    ) async throws -> NIOLoopBoundBox<Node> {
        var attempts = 0
        while true {
            let node = try await eventLoop.submit {
                NIOLoopBoundBox(Node(created, script, eventLoop: eventLoop), eventLoop: eventLoop)
            }.get()
            do {
                try await eventLoop.flatSubmit { node.value.start() }.get()
                return node
            } catch {
                try await eventLoop.flatSubmit { node.value.stop() }.get()
                attempts += 1
                guard attempts < Patience.attempts else { throw error }
                try await Task.sleep(for: Patience.pause)
            }
        }
    }

    /// The replicas, on their event loop.
    private final class Node {
        private let eventLoop: any EventLoop
        private let script: Script
        private var replicas: [StandIn] = []
        private var listeners: [Listener] = []

        init(_ created: ClusterFile.Created, _ script: @escaping Script, eventLoop: any EventLoop) {
            self.eventLoop = eventLoop
            self.script = script
            let file = created.file
            for replica in file.replicas {
                guard let key = created.key(of: .replica(replica.id.rawValue)) else { continue }
                let local = LocalIdentity(
                    cluster: file.clusterID,
                    identity: .replica(replica.id.rawValue),
                    key: key
                )
                let cache = PairwiseKeyCache(local: local)
                let standIn = StandIn(replica.id) { [unowned self] in received($0, by: $1) }
                let listener = Listener(
                    Listener.Configuration(
                        host: replica.clientEndpoint.host,
                        port: replica.clientEndpoint.port,
                        purpose: .clients
                    ),
                    local: local,
                    eventLoop: eventLoop,
                    delegate: standIn
                ) { identity in
                    let key = file.publicKey(of: identity)
                    return key.flatMap { cache.keys(of: identity, publicKey: $0) }.map(Admission.admitted) ?? .unknown
                }
                replicas.append(standIn)
                listeners.append(listener)
            }
        }

        func start() -> EventLoopFuture<Void> {
            EventLoopFuture.andAllSucceed(listeners.map { $0.start() }, on: eventLoop)
        }

        func stop() -> EventLoopFuture<Void> {
            EventLoopFuture.andAllComplete(listeners.map { $0.stop() }, on: eventLoop)
        }

        private func received(_ requests: [Request], by replica: ReplicaID) {
            for answer in script(replica, requests) {
                guard let payload = answer.payload else {
                    replicas[answer.from.index].close()
                    continue
                }
                let reply = Reply(view: View(0), sequence: SequenceNumber(1), payload: payload)
                replicas[answer.from.index].send(ReplicaAnswer.reply(reply).encoded)
            }
            for replica in replicas { replica.flush() }
        }
    }

    /// One replica: the client's link, and where its requests go.
    private final class StandIn: TransportDelegate {
        private let replica: ReplicaID
        private let onRequests: ([Request], ReplicaID) -> Void
        private var link: Link?
        // What is said before the client has connected.
        private var early: [[UInt8]] = []

        init(_ replica: ReplicaID, _ onRequests: @escaping ([Request], ReplicaID) -> Void) {
            self.replica = replica
            self.onRequests = onRequests
        }

        func send(_ message: [UInt8]) {
            if let link { link.send(message) } else { early.append(message) }
        }

        func flush() {
            link?.flush()
        }

        func close() {
            link?.close(.local("the test wants it"))
        }

        func linkOpened(_ link: Link) {
            self.link = link
            for message in early { link.send(message) }
            early = []
            link.flush()
        }

        func linkReadable(_ link: Link) {
            var requests: [Request] = []
            while let frame = link.nextFrame() {
                for range in MessageRanges(frame) {
                    if case .request(let request)? = try? ClientMessage(decoding: frame, in: range) {
                        requests.append(request.claim)
                    }
                }
            }
            onRequests(requests, replica)
        }

        func linkClosed(_ link: Link, reason: LinkCloseReason) {
            if self.link === link { self.link = nil }
        }

        func connectionRefused(at place: ConnectionPlace, remoteAddress: String, reason: ConnectionRefusal) {}
    }
}

extension Request {
    /// The answer that this request's operations were executed with these results; with the operations themselves if
    /// none are given.
    func executed(_ results: [[UInt8]]? = nil) -> Reply.Payload {
        Reply.Payload(session: session, number: number, outcome: .executed, results: results ?? operations)
    }

    /// The answer that the session is open.
    var opened: Reply.Payload {
        Reply.Payload(session: session, number: number, outcome: .sessionOpened, results: [])
    }

    /// The answer that a later session is open already.
    func outdated(by current: UInt64) -> Reply.Payload {
        let bytes = (0..<8).map { UInt8(truncatingIfNeeded: current >> (8 * $0)) }
        return Reply.Payload(session: session, number: number, outcome: .sessionOutdated, results: [bytes])
    }
}
