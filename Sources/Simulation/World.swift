import Adversary
import Agreement
import Cryptography
import Messages

/// What happens at a moment.
enum Event {
    case peerMessage(PeerMessage, from: Int, to: Int, epoch: UInt32)
    case clientMessage(ClientMessage, from: Int, to: Int, epoch: UInt32)
    case answer(ReplicaAnswer, from: Int, to: Int, epoch: UInt32)
    /// A message that a faulty replica held back leaves now.
    case delayedMessage(PeerMessage, from: Int, to: ReplicaID)
    case delayedAnswer(ReplicaAnswer, from: Int, to: ClientID)
    case turn(Int, UInt32)
    case timer(Int, UInt32, UInt64)
    case synced(Int, UInt32, LogPosition)
    case finished(Int, UInt32, SimulatedReplica.Work)
    case behaviourTimer(node: Int, index: Int, period: UInt64)
    case openSession(Int)
    case think(Int)
    case clientTimer(Int, UInt64)
    case connected(Int, Int)
    case faultStarts(Int)
    case faultEnds(Int)
    case powerReturns(ReplicaID)
    case loadEnds
}

/// A run in progress: the nodes, the network between them, and the events to come.
final class World {
    let scenario: Scenario
    let members: [ReplicaID]
    private(set) var now: UInt64 = 0
    var oracle: Oracle
    private(set) var violation: Violation?
    var statistics = Statistics()

    private var queue = EventQueue<Event>()
    var network: Network
    private(set) var trace: Trace
    private var random: RandomStream
    private(set) var replicas: [SimulatedReplica] = []
    private(set) var clients: [SimulatedClient] = []
    private(set) var administrator: SimulatedAdministrator?
    /// By replica number: its nodes, two for a twin.
    private(set) var copies: [[Int]] = []
    let faults: [NamedFault]
    private let isTwin: [Bool]
    private let correct: Set<ReplicaID>
    private var isSettling = false
    private var primary = ReplicaID(0)
    private var highestView = View(0)
    /// By replica number: how often it wrote to its disk, or a sync of it was done.
    var writes: [Int]
    /// How many replicas lost their power at a write and will have it again.
    var awaitedReturns = 0

    /// More events than this in a run are a storm.
    private let mostEvents: Int

    init(_ scenario: Scenario, write: ((String) -> Void)?) {
        self.scenario = scenario
        faults = scenario.keptFaults
        members = scenario.keys.size.members
        trace = Trace(write: write)
        writes = Array(repeating: 0, count: scenario.keys.size.replicas)
        random = RandomStream(seed: scenario.seed, stream: 3)
        mostEvents = 2_000_000 + 200 * scenario.options.steps
        var twins = Array(repeating: false, count: members.count)
        var nodeReplicas: [ReplicaID?] = members
        var faultyClients: Set<ClientID> = []
        for fault in faults {
            switch fault.fault {
            case .twin(let replica) where !twins[replica.index]:
                twins[replica.index] = true
                nodeReplicas.append(replica)
            case .client(let client, _):
                faultyClients.insert(client)
            default: break
            }
        }
        isTwin = twins
        let identities = nodeReplicas.compactMap { $0 }
        nodeReplicas += scenario.keys.clients.map { _ in nil } + [nil]
        network = Network(
            replicas: nodeReplicas,
            conditions: scenario.conditions,
            random: RandomStream(seed: scenario.seed, stream: 4)
        )
        correct = Set(members).subtracting(faults.compactMap(\.fault.faultyReplica))
        oracle = Oracle(
            keys: scenario.keys,
            correctReplicas: correct,
            correctClients: Set(scenario.keys.clients).subtracting(faultyClients),
            newcomers: scenario.newcomers
        )
        makeNodes(identities, faultyClients)
        schedule()
    }

    private func makeNodes(_ identities: [ReplicaID], _ faultyClients: Set<ClientID>) {
        copies = Array(repeating: [], count: members.count)
        for (node, id) in identities.enumerated() {
            let behaviours = faults.compactMap { fault -> (any ReplicaBehaviour)? in
                if case .replica(id, let behaviour) = fault.fault { behaviour } else { nil }
            }
            let isSecond = node >= members.count
            copies[id.index].append(node)
            replicas.append(
                SimulatedReplica(
                    node: node,
                    id: id,
                    name: isSecond ? "\(id)'" : "\(id)",
                    behaviours: behaviours,
                    isCorrect: correct.contains(id),
                    in: self
                )
            )
        }
        for (place, id) in scenario.keys.clients.enumerated() {
            let behaviours = faults.compactMap { fault -> (any ClientBehaviour)? in
                if case .client(id, let behaviour) = fault.fault { behaviour } else { nil }
            }
            let isCorrect = !faultyClients.contains(id)
            clients.append(
                SimulatedClient(
                    node: identities.count + place,
                    id: id,
                    behaviours: behaviours,
                    isCorrect: isCorrect,
                    in: self
                )
            )
        }
        if faults.contains(where: { if case .administration = $0.fault { true } else { false } }) {
            administrator = SimulatedAdministrator(
                node: replicas.count + clients.count,
                id: scenario.keys.administrator,
                in: self
            )
        }
    }

    /// The client, or the administrator, at a node.
    func shell(_ node: Int) -> ClientShell? {
        let place = node - replicas.count
        return clients.indices.contains(place) ? clients[place] : place == clients.count ? administrator : nil
    }

    /// Puts in what is known from the start.
    private func schedule() {
        for from in replicas.indices {
            for to in replicas.indices where replicas[from].id != replicas[to].id {
                schedule(.connected(from, to), at: random.within(0...2_000_000))
            }
            schedulePeriods(replicas[from].periods, node: from)
        }
        for client in clients {
            // Drawn in any case, so that a run without the newcomers' faults is the same otherwise.
            let opening = random.within(0...10_000_000 as ClosedRange<UInt64>)
            if client.key == nil {
                network.disconnectAll(of: client.node)
            } else {
                schedule(.openSession(client.node), at: opening)
            }
            schedule(.think(client.node), at: random.within(5_000_000...50_000_000))
            schedulePeriods(client.periods, node: client.node)
        }
        for (place, fault) in faults.enumerated() {
            switch fault.fault {
            case .network(let fault):
                schedule(.faultStarts(place), at: fault.start)
                schedule(.faultEnds(place), at: fault.end)
            case .powerLoss(_, let time, let outage):
                schedule(.faultStarts(place), at: time)
                if let outage { schedule(.faultEnds(place), at: time + outage) }
            case .lostStore(_, let time, let outage):
                schedule(.faultStarts(place), at: time)
                if let outage { schedule(.faultEnds(place), at: time + outage) }
            case .amnesia(_, let time, let outage):
                schedule(.faultStarts(place), at: time)
                schedule(.faultEnds(place), at: time + outage)
            case .administration(let step):
                schedule(.faultStarts(place), at: step.time)
            case .replica, .client, .twin, .powerLossAtWrite:
                break
            }
        }
        if let administrator { schedule(.openSession(administrator.node), at: 0) }
        schedule(.loadEnds, at: scenario.end)
    }

    private func schedulePeriods(_ periods: [UInt64?], node: Int) {
        for (index, period) in periods.enumerated() {
            guard let period else { continue }
            schedule(.behaviourTimer(node: node, index: index, period: period), at: random.within(0...period))
        }
    }

    func schedule(_ event: Event, at time: UInt64) {
        queue.add(event, at: max(time, now))
    }

    func schedule(_ event: Event, after delay: UInt64) {
        queue.add(event, at: now + delay)
    }

    // MARK: The run

    func run() -> Outcome {
        // Without a claim there is no need to wait for what may never come.
        let deadline = scenario.end + (scenario.claimsLiveness ? Scenario.settlingNanoseconds : 5_000_000_000)
        while violation == nil, let (time, event) = queue.removeFirst() {
            if time > deadline {
                now = deadline
                break
            }
            now = time
            statistics.events += 1
            handle(event)
            if isSettling, statistics.events.isMultiple(of: 16), isSettled { break }
            if statistics.events > mostEvents {
                report(Violation(.bounded, "more than \(mostEvents) events: the replicas do not come to rest"))
            }
        }
        if violation == nil { judge() }
        statistics.virtualNanoseconds = now
        statistics.batches = oracle.batches
        let answers = clients.filter(\.isCorrect).flatMap(\.answers)
        statistics.operations = answers.count
        return Outcome(
            violation: violation,
            statistics: statistics,
            digest: trace.digest,
            answers: answers.sorted(),
            writes: writes
        )
    }

    private var isSettled: Bool {
        for client in clients where client.isCorrect && client.unanswered > 0 { return false }
        if let administrator, administrator.unanswered > 0 { return false }
        return awaitedReturns == 0 && levelReplicas == nil && oracle.unfounded == nil
    }

    /// The correct replicas that are furthest apart; nil when they are level.
    private var levelReplicas: (behind: SimulatedReplica, ahead: SimulatedReplica)? {
        let up = replicas.filter { $0.isCorrect && $0.isUp }
        guard let behind = up.min(by: { $0.executed < $1.executed }),
            let ahead = up.max(by: { $0.executed < $1.executed }),
            behind.executed != ahead.executed
        else { return nil }
        return (behind, ahead)
    }

    /// What can be said at the end only.
    private func judge() {
        let history = clients.filter(\.isCorrect).flatMap(\.history) + oracle.foreign
        switch Linearizability.check(history) {
        case .linearizable: break
        case .violated(let register):
            return report(Violation(.linearizable, "the history of register \(register) has no order"))
        case .undecided: statistics.undecidedHistories += 1
        }
        if let unfounded = oracle.unfounded { return report(unfounded) }
        guard scenario.claimsLiveness else { return }
        if let waiting = clients.first(where: { $0.isCorrect && $0.unanswered > 0 }) {
            let seconds = Scenario.settlingNanoseconds / 1_000_000_000
            return report(
                Violation(
                    .answered,
                    "\(waiting.id) waits for \(waiting.unanswered) results \(seconds) s after the last fault"
                )
            )
        }
        if let administrator, administrator.unanswered > 0 {
            return report(Violation(.answered, "the administrator waits for \(administrator.unanswered) results"))
        }
        if let (behind, ahead) = levelReplicas {
            report(
                Violation(.level, "\(behind.name) stays at \(behind.executed), \(ahead.name) is at \(ahead.executed)")
            )
        }
    }

    func report(_ violation: Violation?, from replica: SimulatedReplica) {
        guard let violation, replica.isCorrect else { return }
        report(violation)
    }

    func report(_ violation: Violation?, at client: ClientID) {
        if let violation { report(violation) }
    }

    private func report(_ violation: Violation) {
        guard self.violation == nil else { return }
        self.violation = violation.at(now)
        trace.line(now, "--", "!", "VIOLATION \(violation.rule.rawValue): \(violation.sentence)")
    }

    // MARK: Events

    private func handle(_ event: Event) {
        switch event {
        case .peerMessage(let message, let from, let to, let epoch):
            deliver(message, from, to, epoch)
        case .clientMessage(let message, let from, let to, let epoch):
            deliver(message, from, to, epoch)
        case .answer(let answer, let from, let to, let epoch):
            deliver(answer, from, to, epoch)
        case .delayedMessage(let message, let from, let to):
            send(message, from: replicas[from], to: to, after: 0)
        case .delayedAnswer(let answer, let from, let to):
            send(answer, from: replicas[from], to: to, after: 0)
        case .turn(let node, let life):
            if isAlive(node, life) { replicas[node].takeTurn() }
        case .timer(let node, let life, let time):
            if isAlive(node, life) { replicas[node].timePassed(time) }
        case .synced(let node, let life, let position):
            guard isAlive(node, life) else { return }
            happened(replicas[node], "+", position.rawValue, "up to \(position.rawValue)")
            replicas[node].synced()
        case .finished(let node, let life, let work):
            if isAlive(node, life) { replicas[node].finished(work) }
        case .behaviourTimer(let node, let index, let period):
            behaviourTimer(node, index, period)
        case .openSession(let node):
            shell(node)?.open()
        case .think(let node):
            if !isSettling { clients[node - replicas.count].think() }
        case .clientTimer(let node, let time):
            shell(node)?.timePassed(time)
        case .connected(let from, let to):
            connect(from, to)
        case .faultStarts(let place):
            start(faults[place])
        case .faultEnds(let place):
            end(faults[place])
        case .powerReturns(let replica):
            powerReturns(to: replica)
        case .loadEnds:
            isSettling = true
            trace.line(now, "--", "~", "load and faults end")
        }
        followPrimary()
    }

    private func isAlive(_ node: Int, _ life: UInt32) -> Bool {
        replicas[node].isUp && replicas[node].incarnation == life
    }

    private func followPrimary() {
        for replica in replicas where replica.isCorrect && replica.view > highestView {
            highestView = replica.view
            primary = highestView.primary(in: scenario.keys.size)
        }
    }

    private func behaviourTimer(_ node: Int, _ index: Int, _ period: UInt64) {
        // Noise of faulty parties only hides whether the others come to rest.
        if isSettling, now > scenario.end + 1_000_000_000 { return }
        if node < replicas.count {
            if replicas[node].isUp { replicas[node].behaviourTimePassed(index) }
        } else {
            clients[node - replicas.count].behaviourTimePassed(index)
        }
        schedule(.behaviourTimer(node: node, index: index, period: period), after: period)
    }

    private func connect(_ from: Int, _ to: Int) {
        guard isUp(from), isUp(to) else { return }
        guard isAdmitted(from, to), isAdmitted(to, from) else {
            // Clients dial again and again.
            if hasKey(from), hasKey(to) { reconnect(from, to) }
            return
        }
        network.connect(from, to)
        if from >= replicas.count {
            shell(from)?.connected(replicas[to].id)
            return
        }
        guard to < replicas.count else { return }
        happened(replicas[from], "~", UInt64(to), "connected to \(replicas[to].name)")
        replicas[from].peerConnected(replicas[to].id)
    }

    private func isUp(_ node: Int) -> Bool {
        node >= replicas.count || replicas[node].isUp
    }

    private func start(_ fault: NamedFault) {
        trace.line(now, "--", "~", "\(fault.name) starts")
        switch fault.fault {
        case .network(let fault):
            network.start(fault)
            for link in network.linksBroken(by: fault) { network.disconnect(link.from, link.to) }
        case .powerLoss(let replica, at: _, outage: _):
            losePower(replica)
        case .amnesia(let replica, at: _, outage: _):
            losePower(replica) { $0.loseDisk(isKnown: false) }
        case .lostStore(let replica, at: _, outage: _):
            losePower(replica) { $0.loseDisk(isKnown: true) }
        case .administration(let step):
            administrator?.carryOut(step)
        case .replica, .client, .twin, .powerLossAtWrite:
            break
        }
    }

    private func end(_ fault: NamedFault) {
        trace.line(now, "--", "~", "\(fault.name) ends")
        switch fault.fault {
        case .network(let fault): end(fault)
        case .powerLoss(let replica, at: _, outage: _), .amnesia(let replica, at: _, outage: _),
            .lostStore(let replica, at: _, outage: _):
            restart(replica)
        case .replica, .client, .twin, .administration, .powerLossAtWrite: break
        }
    }

    private func end(_ fault: NetworkFault) {
        network.end(fault)
        // Where messages were lost, connections broke: both ends come to know it when they are made again.
        if case .disconnect = fault.kind {
            for link in network.linksBroken(by: fault) { reconnect(link.from, link.to) }
        } else if fault.isLossy {
            for from in replicas.indices {
                for to in replicas.indices where replicas[from].id != replicas[to].id { reconnect(from, to) }
            }
        }
    }

    func reconnect(_ from: Int, _ to: Int) {
        schedule(.connected(from, to), after: random.within(1_000_000...20_000_000))
    }

    // MARK: Messages

    /// The nodes that a message to a replica reaches: both copies of a twin, or one, otherwise each round.
    private func nodes(of replica: ReplicaID, seenFrom node: Int) -> [Int] {
        guard isTwin[replica.index] else { return copies[replica.index] }
        let round = now / 20_000_000
        var choice = RandomStream(seed: scenario.seed ^ round, stream: UInt64(node))
        switch choice.below(5) {
        case 0, 1: return [copies[replica.index][0]]
        case 2, 3: return [copies[replica.index][1]]
        default: return copies[replica.index]
        }
    }

    func send(_ message: PeerMessage, from replica: SimulatedReplica, to peer: ReplicaID, after delay: UInt64) {
        if delay > 0 { return schedule(.delayedMessage(message, from: replica.node, to: peer), after: delay) }
        var message = message
        if !replica.isCorrect || random.chance(perMille: 20) {
            let bytes = message.encoded
            guard let decoded = try? PeerMessage(decoding: bytes, in: 0..<bytes.count), decoded.encoded == bytes else {
                // What a faulty replica makes up and no decoder takes would only close its connection.
                return report(Violation(.encoding, "a message of \(replica.name) has no encoding"), from: replica)
            }
            message = decoded
        }
        for node in nodes(of: peer, seenFrom: replica.node) {
            let delivery = network.send(from: replica.node, to: node, at: now, primary: primary)
            if delivery.first == nil { lost(replica.node, node, MessageSummary(message)) }
            if let time = delivery.first {
                schedule(.peerMessage(message, from: replica.node, to: node, epoch: delivery.epoch), at: time)
            }
            if let time = delivery.second {
                schedule(.peerMessage(message, from: replica.node, to: node, epoch: delivery.epoch), at: time)
            }
        }
    }

    func send(_ answer: ReplicaAnswer, from replica: SimulatedReplica, to client: ClientID, after delay: UInt64) {
        if delay > 0 { return schedule(.delayedAnswer(answer, from: replica.node, to: client), after: delay) }
        let place = client.isAdministrator ? clients.count : scenario.keys.clients.firstIndex(of: client)
        guard let place, let receiver = shell(replicas.count + place) else { return }
        let node = receiver.node
        let delivery = network.send(from: replica.node, to: node, at: now, primary: primary)
        for time in [delivery.first, delivery.second].compactMap({ $0 }) {
            schedule(.answer(answer, from: replica.node, to: node, epoch: delivery.epoch), at: time)
        }
    }

    func send(_ message: ClientMessage, from client: ClientShell, to replica: ReplicaID) {
        for node in nodes(of: replica, seenFrom: client.node) {
            let delivery = network.send(from: client.node, to: node, at: now, primary: primary)
            for time in [delivery.first, delivery.second].compactMap({ $0 }) {
                schedule(.clientMessage(message, from: client.node, to: node, epoch: delivery.epoch), at: time)
            }
        }
    }

    private func deliver(_ message: PeerMessage, _ from: Int, _ to: Int, _ epoch: UInt32) {
        let summary = MessageSummary(message)
        guard network.carries(from, to, epoch: epoch), replicas[to].isUp else { return lost(from, to, summary) }
        mix(1, to, UInt64(from) << 32 ^ (summary.view ?? 0) << 16 ^ (summary.sequence ?? 0) ^ summary.tag)
        trace.line(now, replicas[to].name, "<", "\(Trace.column(replicas[from].name, 4)) \(summary.text)")
        statistics.messages += 1
        replicas[to].receive(message, from: replicas[from].id)
    }

    private func deliver(_ message: ClientMessage, _ from: Int, _ to: Int, _ epoch: UInt32) {
        guard network.carries(from, to, epoch: epoch), replicas[to].isUp, let client = shell(from) else { return }
        let summary = MessageSummary(message)
        mix(2, to, summary.tag)
        let text = "\(Trace.column("\(client.id)", 4)) \(summary.text)"
        switch message {
        case .request(let request):
            // The channel is the client's: a request in another client's name is refused there. An unknown client has a channel of its own.
            if request.claim.client != client.id, replicas[to].key(of: request.claim.client) != nil {
                return trace.line(now, replicas[to].name, "/", text)
            }
            trace.line(now, replicas[to].name, "<", text)
            replicas[to].receive(request)
        case .read(let read):
            trace.line(now, replicas[to].name, "<", text)
            replicas[to].receive(read, from: client.id)
        case .statusQuery:
            return
        }
        statistics.messages += 1
    }

    private func deliver(_ answer: ReplicaAnswer, _ from: Int, _ to: Int, _ epoch: UInt32) {
        guard network.carries(from, to, epoch: epoch), let client = shell(to) else { return }
        let summary = MessageSummary(answer)
        mix(3, to, summary.tag ^ (summary.view ?? 0) << 32)
        trace.line(now, "\(client.id)", "<", "\(Trace.column(replicas[from].name, 4)) \(summary.text)")
        statistics.messages += 1
        client.receive(answer, from: replicas[from].id)
    }

    private func lost(_ from: Int, _ to: Int, _ summary: MessageSummary) {
        statistics.lost += 1
        mix(4, to, UInt64(from))
        trace.line(now, replicas[to].name, "x", "\(Trace.column(replicas[from].name, 4)) \(summary.text)")
    }

    // MARK: Trace

    private func mix(_ kind: UInt64, _ node: Int, _ value: UInt64) {
        trace.mix(now ^ kind << 56 ^ UInt64(node) << 48)
        trace.mix(value)
    }

    func happened(_ replica: SimulatedReplica, _ mark: Character, _ value: UInt64, _ text: @autoclosure () -> String) {
        mix(5, replica.node, value ^ UInt64(mark.asciiValue ?? 0) << 56)
        trace.line(now, replica.name, mark, text())
    }

    func happened(_ client: ClientShell, _ mark: Character, _ value: UInt64, _ text: @autoclosure () -> String) {
        mix(6, client.node, value)
        trace.line(now, "\(client.id)", mark, text())
    }

    func note(_ event: Agreement.Event, by replica: SimulatedReplica) {
        if replica.isCorrect { statistics.count(event) }
        if case .stable(let sequence) = event { return happened(replica, "=", sequence.rawValue, "\(sequence) stable") }
        trace.line(now, replica.name, "!", "\(event)")
        switch event {
        case .diverged(let sequence):
            report(
                Violation(.sameState, "\(replica.name) has another state at \(sequence) than a quorum"),
                from: replica
            )
        case .accused(let peer, let accusation) where copies[peer.index].allSatisfy { replicas[$0].isCorrect }:
            report(
                Violation(.rightBlame, "\(replica.name) accuses \(peer), which is correct, of \(accusation.rawValue)"),
                from: replica
            )
        case .blacklisted(let source) where isCorrect(source):
            report(Violation(.rightBlame, "\(replica.name) blacklists \(source), which is correct"), from: replica)
        default: break
        }
    }

    /// A replica has evidence: whatever it proves is true.
    func keep(_ evidence: Evidence, of replica: SimulatedReplica) {
        let flaw = scenario.keys.flaw(of: evidence)
        trace.line(now, replica.name, "!", "evidence against \(evidence.accused)\(flaw.map { ": \($0)" } ?? "")")
        guard flaw == nil else { return }
        if replica.isCorrect { statistics.evidence += 1 }
        let accused: RequestSource =
            switch evidence.offence {
            case .badForward(_, let endorsement): .forwarded(by: endorsement.forwarder)
            case .conflictingRequests(let request, _): .client(request.client)
            }
        if isCorrect(accused) {
            report(Violation(.rightBlame, "\(replica.name) accuses \(evidence.accused), a correct one"), from: replica)
        }
    }

    private func isCorrect(_ source: RequestSource) -> Bool {
        switch source {
        case .client(let client): clients.first { $0.id == client }?.isCorrect ?? true
        case .forwarded(let peer): copies[peer.index].allSatisfy { replicas[$0].isCorrect }
        }
    }
}
