import Agreement
import Invariants
import Messages

/// Replicas, clients and the queues between them, one for each ordered pair; nothing moves unless the test says so.
final class TestCluster {
    /// An end of a link.
    enum Node: Hashable {
        case replica(UInt8)
        case client(UInt32)
    }

    /// What travels.
    enum Body {
        case peer(PeerMessage)
        case request(Request)
        case reply(Reply)
    }

    /// What becomes of a message when it is sent.
    enum Fate {
        case deliver
        case drop
        case duplicate
    }

    struct Link: Hashable {
        let from: Node
        let to: Node
    }

    let keys: Keys
    let replicas: [TestReplica]
    var clients: [TestClient]
    /// Replicas that neither hear nor say anything.
    var crashed: Set<UInt8> = []
    /// Decides over each message as it is sent.
    var filter: (Link, Body) -> Fate = { _, _ in .deliver }
    private(set) var time: UInt64 = 1_000_000_000
    // A list, not a dictionary: the order in which links are visited must not depend on hashing.
    private(set) var links: [(link: Link, queue: [Body])] = []
    private var places: [Link: Int] = [:]

    init(
        keys: Keys = Keys(),
        limits: Limits = .small,
        window: Int = 1,
        bundle: Int = 1,
        withAdministrator: Bool = false,
        isRecorded: Bool = false
    ) {
        self.keys = keys
        replicas = keys.size.members.map {
            TestReplica($0.rawValue, keys: keys, limits: limits, isRecorded: isRecorded)
        }
        let identities = keys.clients + (withAdministrator ? [Keys.administrator] : [])
        clients = identities.map { TestClient($0, keys: keys, window: window, bundle: bundle) }
        let nodes = replicas.map { Node.replica($0.id.rawValue) } + clients.map { Node.client($0.id.rawValue) }
        for from in nodes {
            for to in nodes where from != to {
                places[Link(from: from, to: to)] = links.count
                links.append((Link(from: from, to: to), []))
            }
        }
    }

    subscript(replica: Int) -> TestReplica { replicas[replica] }

    func client(_ number: UInt32) -> TestClient {
        guard let client = clients.first(where: { $0.id.rawValue == number }) else {
            invariantViolated("a client that is not there")
        }
        return client
    }

    /// The administrator, if there is one.
    var administrator: TestClient { client(Keys.administrator.rawValue) }

    /// Has the administrator's operation carried out.
    func administer(_ operation: AdministrationOperation) -> AdministrationResult? {
        let ticket = UInt64(administrator.administrationResults.count + 1)
        administrator.submit(operation, ticket: ticket)
        deliverAll()
        return administrator.administrationResults[ticket]
    }

    var live: [TestReplica] { replicas.filter { !crashed.contains($0.id.rawValue) } }

    // MARK: Moving messages

    /// Puts what replicas and clients want to send into the queues.
    func collect() {
        for replica in live {
            let from = Node.replica(replica.id.rawValue)
            for sent in replica.takeOutbox() {
                let message = sent.message.disseminated(keys.switches.dissemination)
                switch sent.recipient {
                case .replica(let peer): send(.peer(message), from, .replica(peer.rawValue))
                case .others:
                    for peer in replicas where peer.id != replica.id {
                        send(.peer(message), from, .replica(peer.id.rawValue))
                    }
                }
            }
            for addressed in replica.replies {
                send(.reply(addressed.reply), from, .client(addressed.client.rawValue))
            }
            replica.replies = []
        }
        for client in clients {
            for (request, target) in client.outbox {
                for replica in replicas where target == nil || target == replica.id {
                    send(.request(request), .client(client.id.rawValue), .replica(replica.id.rawValue))
                }
            }
            client.outbox = []
        }
    }

    private func send(_ body: Body, _ from: Node, _ to: Node) {
        let link = Link(from: from, to: to)
        guard let place = places[link] else { invariantViolated("a link that is not there") }
        switch filter(link, body) {
        case .deliver: links[place].queue.append(body)
        case .drop: break
        case .duplicate: links[place].queue.append(contentsOf: [body, body])
        }
    }

    /// The places of the links that hold a message.
    var busyLinks: [Int] { links.indices.filter { !links[$0].queue.isEmpty } }

    /// Delivers one message of a link, the first unless told otherwise.
    func deliver(_ place: Int, at index: Int = 0) {
        let body = links[place].queue.remove(at: index)
        let link = links[place].link
        switch (body, link.from, link.to) {
        case (.peer(let message), .replica(let from), .replica(let to)):
            guard !crashed.contains(to) else { return }
            replicas[Int(to)].receive(message, from: from)
        case (.request(let request), .client, .replica(let to)):
            guard !crashed.contains(to) else { return }
            replicas[Int(to)].receive(request)
        case (.reply(let reply), .replica(let from), .client(let to)):
            client(to).receive(reply, from: from)
        default:
            invariantViolated("a message on a link that is not for it")
        }
    }

    func endTurns() {
        for replica in live { replica.endTurn() }
        for client in clients { client.flush() }
        collect()
    }

    /// Connects a replica with all others, both ways.
    func connect(_ replica: UInt8) {
        for peer in live where peer.id != ReplicaID(replica) {
            replicas[Int(replica)].peerConnected(peer.id.rawValue)
            peer.peerConnected(replica)
        }
        deliverAll()
    }

    /// Lets a few seconds pass, and gives each replica the state that it wants, if another has it.
    func settle() {
        for _ in 0..<4 {
            advance(by: 1_000_000_000)
            for replica in live {
                for other in live where other.id != replica.id { replica.fetchState(from: other) }
            }
            deliverAll()
        }
    }

    /// Delivers everything, and what it brings forth, until nothing is left to deliver.
    func deliverAll() {
        collect()
        endTurns()
        while !busyLinks.isEmpty {
            for place in busyLinks {
                while !links[place].queue.isEmpty { deliver(place) }
            }
            endTurns()
        }
    }

    /// Moves every clock, calls whose time has come, and delivers everything.
    func advance(by nanoseconds: UInt64) {
        let end = time + nanoseconds
        while let due = nextDeadline, due <= end {
            setTime(max(due, time))
            callDue()
            deliverAll()
        }
        setTime(end)
        deliverAll()
    }

    /// The next instant at which somebody wants to be called.
    var nextDeadline: UInt64? {
        (live.compactMap(\.deadline) + clients.compactMap(\.deadline)).map(\.nanoseconds).min()
    }

    func setTime(_ time: UInt64) {
        self.time = time
        for replica in replicas { replica.time = time }
        for client in clients { client.time = time }
    }

    func callDue() {
        for replica in live { replica.passTime() }
        for client in clients { client.passTime() }
        collect()
    }

    /// Opens a session for each client and lets everything settle.
    func openSessions(_ session: UInt64 = 1) {
        for client in clients { client.open(session) }
        deliverAll()
        invariant(clients.allSatisfy { $0.opened == [.init(session)] }, "sessions open in a cluster without faults")
    }

    /// Submits operations at a client, with tickets from 1 on unless told otherwise, and lets everything settle.
    func run(_ operations: [String], client number: UInt32 = 1, ticket: UInt64 = 1) {
        for (offset, operation) in operations.enumerated() {
            client(number).submit(operation, ticket: ticket + UInt64(offset))
        }
        deliverAll()
    }
}
