import Messages

/// What the network and the power do, and what comes together.
extension Profiles {
    private static let second: UInt64 = 1_000_000_000

    static let environment: [Profile] = [
        Profile(
            "partition",
            .environment,
            needs: [.viewChange, .stateTransfer],
            "the replicas fall into two parts, 2-2 or 3-1"
        ) {
            [partition(&$0)]
        },
        Profile(
            "long-partition",
            .environment,
            needs: [.viewChange, .stateTransfer],
            "the replicas fall into two parts for three quarters of the run"
        ) { setting in
            let count = setting.random.within(1...(setting.size.replicas / 2))
            let side = setting.random.sample(count, of: setting.size.members).sorted()
            let end = setting.end / 20 * 17
            let fault = NetworkFault(.divide(side), start: setting.end / 10, end: end, isLossy: true)
            let names = side.map(\.description).joined(separator: "+")
            return [NamedFault("partition \(names)\(when(fault))", .network(fault))]
        },
        Profile(
            "isolate-primary",
            .environment,
            needs: [.viewChange, .stateTransfer],
            "the primary is cut off, whoever it is"
        ) {
            [isolatePrimary(&$0)]
        },
        Profile("one-way-link", .environment, needs: [.stateTransfer], "one replica does not hear another") {
            [oneWay(&$0)]
        },
        Profile(
            "lossy",
            .environment,
            needs: [.viewChange, .stateTransfer],
            "messages are lost, doubled and reordered"
        ) {
            [lossy(&$0)]
        },
        Profile("blip", .environment, needs: [.stateTransfer], "connections break and come back") {
            blips(&$0)
        },
        Profile("wan", .environment, "long and uneven delays") { setting in
            let slow = NetworkFault(
                .slow(setting.random.within(5_000_000...60_000_000)),
                start: 0,
                end: setting.end,
                isLossy: false
            )
            return [NamedFault("wan", .network(slow))]
        },
        Profile(
            "power-loss",
            .environment,
            needs: [.viewChange, .stateTransfer, .recovery],
            "replicas lose power and come back"
        ) {
            powerLosses(&$0)
        },
        Profile(
            "power-loss-at-write",
            .environment,
            needs: [.viewChange, .stateTransfer, .recovery],
            "replicas lose power at the very moment of a write, alone or all together"
        ) { setting in
            let isolations = setting.random.chance(perMille: 500) ? [isolatePrimary(&setting)] : []
            return isolations + (0..<setting.random.within(1...3)).map { _ in powerLossAtWrite(&setting) }
        },
        Profile(
            "lost-store",
            .backup,
            needs: [.viewChange, .stateTransfer, .recovery],
            "f replicas lose their stores and come back empty, knowing it"
        ) {
            lostStores(&$0)
        },
        Profile("read-contention", .nobody, demand: .contended, "reads outside the order among writes of one register")
        {
            _ in []
        },
        Profile("spike-no-fault", .nobody, demand: .spike, "the load grows from one client to all, and back") { _ in
            []
        },
        Profile(
            "unheard",
            .environment,
            needs: [.viewChange, .stateTransfer, .recovery],
            "the clients are cut off while all replicas lose power"
        ) { setting in
            let span = setting.span(longest: second)
            let cut = NetworkFault(.clients, start: span.start, end: span.end, isLossy: true)
            let time = setting.random.within(span.start...span.end)
            return [NamedFault("clients cut off\(when(cut))", .network(cut))]
                + setting.size.members.map { replica in
                    let outage: UInt64 = setting.random.within(1_000_000...100_000_000)
                    return NamedFault(
                        "\(replica) power-loss at \(milliseconds(time)) for \(milliseconds(outage))",
                        .powerLoss(replica, at: time, outage: outage)
                    )
                }
        },
        Profile("amnesia", .backup, needs: [.viewChange, .recovery], "f replicas lose their disks") { setting in
            setting.random.sample(setting.size.faults, of: setting.size.members).map { replica in
                let span = setting.span(longest: second / 2)
                let outage = span.end - span.start
                return NamedFault(
                    "\(replica) amnesia at \(milliseconds(span.start)) for \(milliseconds(outage))",
                    .amnesia(replica, at: span.start, outage: outage)
                )
            }
        },
    ]

    /// Who the clients are changes while they send.
    static let administration: [Profile] = [
        Profile("changing-clients", .environment, "an administrator adds, removes and re-keys clients while they send")
        {
            changes(of: $0.clients, &$0)
        },
        Profile(
            "changing-clients-random",
            .several,
            needs: [.viewChange, .stateTransfer, .recovery],
            needsSignatures: true,
            "the same among f faulty replicas, faulty clients and a bad network, at random"
        ) { setting in
            random(&setting) + changes(of: setting.clients, &setting)
        },
        Profile(
            "revoked-key",
            .several,
            needs: .viewChange,
            "clients go on with revoked keys, and faulty primaries order what they ask"
        ) { setting in
            let replicas = setting.size.members.prefix(setting.size.faults)
            let orders = replicas.map { NamedFault("\($0) old-key-orders", .replica($0, OldKeyOrders())) }
            let clients = setting.corruptible.flatMap { client in
                [NamedFault("\(client) revoked-key", .client(client, RevokedKey()))]
                    + revocation(of: client, &setting)
            }
            return orders + clients
        },
    ]

    /// One to three changes of each of some clients, in an order that makes sense, and questions for the list.
    private static func changes(of clients: [ClientID], _ setting: inout Setting) -> [NamedFault] {
        let histories: [[AdministrationStep.Change]] = [
            [.replaceKey], [.remove], [.remove, .add], [.add], [.add, .replaceKey], [.replaceKey, .remove, .add],
            [.replaceKey, .replaceKey], [.list], [.add, .remove],
        ]
        let count = setting.random.within(1...clients.count)
        return setting.random.sample(count, of: clients).flatMap { client in
            steps(setting.random.pick(histories) ?? [], of: client, &setting)
        }
    }

    private static func revocation(of client: ClientID, _ setting: inout Setting) -> [NamedFault] {
        let histories: [[AdministrationStep.Change]] = [
            [.replaceKey], [.remove], [.remove, .add], [.replaceKey, .remove],
        ]
        return steps(setting.random.pick(histories) ?? [], of: client, &setting)
    }

    private static func steps(
        _ changes: [AdministrationStep.Change],
        of client: ClientID,
        _ setting: inout Setting
    ) -> [NamedFault] {
        var times: [UInt64] = []
        for _ in changes { times.append(setting.random.within(setting.start...setting.end - 1)) }
        return zip(changes, times.sorted()).map { change, time in
            NamedFault(
                "\(client) \(change.rawValue) at \(milliseconds(time))",
                .administration(AdministrationStep(change, of: client, at: time))
            )
        }
    }

    static let combined: [Profile] = [
        Profile(
            "primary-and-clients",
            .several,
            needs: .viewChange,
            "a primary that delays by 10 ms, and flooding clients"
        ) { setting in
            let late = DelayingPrimary(nanoseconds: 10_000_000)
            let flood = ClientFlood(bytes: setting.random.pick([1 << 10, 64 << 10]) ?? 1 << 10)
            let clients = setting.corruptible.map { NamedFault("\($0) client-flood", .client($0, flood)) }
            return [NamedFault("r0 delay", .replica(ReplicaID(0), late))] + clients
        },
        Profile(
            "restart-in-view-change",
            .several,
            needs: [.viewChange, .stateTransfer, .recovery],
            "the primary is cut off while replicas lose power"
        ) { setting in
            [isolatePrimary(&setting), isolatePrimary(&setting)] + powerLosses(&setting) + powerLosses(&setting)
        },
        Profile(
            "twin-and-lost-store",
            .several,
            needs: [.viewChange, .stateTransfer, .recovery],
            "a twin, and with f > 1 a replica that loses its store and comes back at once"
        ) { setting in
            let twin = setting.random.pick(Array(setting.size.members.prefix(2))) ?? ReplicaID(0)
            let others = setting.size.members.filter { $0 != twin }
            return [NamedFault("\(twin) twin", .twin(twin))]
                + setting.random.sample(setting.size.faults - 1, of: others).map { replica in
                    let start = setting.span(longest: 1).start
                    let outage: UInt64 = setting.random.within(100_000...5_000_000)
                    return NamedFault(
                        "\(replica) lost-store at \(milliseconds(start)) for \(milliseconds(outage))",
                        .lostStore(replica, at: start, outage: outage)
                    )
                }
        },
        Profile(
            "churning-views",
            .environment,
            needs: [.viewChange, .stateTransfer],
            "most messages are lost again and again, so that views end before they have come far"
        ) { setting in
            (0..<setting.random.within(2...6)).map { _ in
                let span = setting.span(longest: second)
                let kind = NetworkFault.Kind.lossy(
                    loss: setting.random.within(200...700),
                    duplication: 0,
                    reordering: 100
                )
                let fault = NetworkFault(kind, start: span.start, end: span.end, isLossy: true)
                return NamedFault("lossy\(when(fault))", .network(fault))
            }
        },
        Profile(
            "random",
            .several,
            needs: [.viewChange, .stateTransfer, .recovery],
            needsSignatures: true,
            "f faulty replicas, clients and the network, at random"
        ) {
            random(&$0)
        },
    ]

    // MARK: Single faults

    private static func partition(_ setting: inout Setting) -> NamedFault {
        let count = setting.random.within(1...(setting.size.replicas / 2))
        let side = setting.random.sample(count, of: setting.size.members)
        return partition(side, setting.span(longest: second), &setting)
    }

    /// Nothing passes between these replicas and the others.
    static func partition(
        _ replicas: [ReplicaID],
        _ span: (start: UInt64, end: UInt64),
        _ setting: inout Setting
    ) -> NamedFault {
        let side = replicas.sorted()
        let isLossy = setting.random.chance(perMille: 500)
        let fault = NetworkFault(.divide(side), start: span.start, end: span.end, isLossy: isLossy)
        let names = side.map(\.description).joined(separator: "+")
        return NamedFault("partition \(names)\(when(fault))", .network(fault))
    }

    /// Correct replicas do not hear one of them, which hears everybody.
    static func unheard(_ replica: ReplicaID, by others: [ReplicaID], _ setting: inout Setting) -> [NamedFault] {
        let start = setting.span(longest: second).start
        return others.filter { $0 != replica }.map { other in
            let fault = NetworkFault(.cut(from: replica, to: other), start: start, end: setting.end, isLossy: true)
            return NamedFault("one-way-link \(replica)>\(other)\(when(fault))", .network(fault))
        }
    }

    static func isolation(_ setting: inout Setting) -> NamedFault { isolatePrimary(&setting) }

    private static func isolatePrimary(_ setting: inout Setting) -> NamedFault {
        let span = setting.span(longest: second)
        let isLossy = setting.random.chance(perMille: 500)
        let fault = NetworkFault(.isolatePrimary, start: span.start, end: span.end, isLossy: isLossy)
        return NamedFault("isolate-primary\(when(fault))", .network(fault))
    }

    private static func oneWay(_ setting: inout Setting) -> NamedFault {
        let ends = setting.random.sample(2, of: setting.size.members)
        let span = setting.span(longest: second)
        let isLossy = setting.random.chance(perMille: 500)
        let fault = NetworkFault(.cut(from: ends[0], to: ends[1]), start: span.start, end: span.end, isLossy: isLossy)
        return NamedFault("one-way-link \(ends[0])>\(ends[1])\(when(fault))", .network(fault))
    }

    private static func lossy(_ setting: inout Setting) -> NamedFault {
        let loss = setting.random.within(1...100)
        let kind = NetworkFault.Kind.lossy(
            loss: loss,
            duplication: setting.random.within(0...50),
            reordering: setting.random.within(0...200)
        )
        let fault = NetworkFault(kind, start: setting.start, end: setting.end, isLossy: true)
        return NamedFault("lossy \(loss)/1000\(when(fault))", .network(fault))
    }

    private static func blip(_ setting: inout Setting) -> NamedFault {
        let count = setting.random.within(1...setting.size.replicas)
        let side = setting.random.sample(count, of: setting.size.members).sorted()
        let span = setting.span(longest: second / 4)
        let fault = NetworkFault(.disconnect(side), start: span.start, end: span.end, isLossy: true)
        let names = side.map(\.description).joined(separator: "+")
        return NamedFault("blip \(names)\(when(fault))", .network(fault))
    }

    private static func blips(_ setting: inout Setting) -> [NamedFault] {
        let count = setting.random.within(1...4)
        var faults: [NamedFault] = []
        for _ in 0..<count { faults.append(blip(&setting)) }
        return faults
    }

    private static func powerLosses(_ setting: inout Setting) -> [NamedFault] {
        let count = setting.random.within(1...setting.size.replicas)
        let isTogether = setting.random.chance(perMille: 300)
        let together = setting.span(longest: second / 2)
        return setting.random.sample(count, of: setting.size.members).map { replica in
            let span = isTogether ? together : setting.span(longest: second / 2)
            return powerLoss(of: replica, span.start, span.end)
        }
    }

    private static func powerLossAtWrite(_ setting: inout Setting) -> NamedFault {
        let loss = PowerLossAtWrite(
            setting.random.pick(setting.size.members) ?? ReplicaID(0),
            // About as many as a run of the default length has, and more often one of the first.
            write: setting.random.within(1...setting.random.within(1...2_000)),
            isTogether: setting.random.chance(perMille: 300),
            outage: setting.random.within(1_000_000...300_000_000)
        )
        let who = loss.isTogether ? "all" : "\(loss.replica)"
        return NamedFault(
            "\(who) power-loss at write \(loss.write) of \(loss.replica) for \(milliseconds(loss.outage))",
            .powerLossAtWrite(loss)
        )
    }

    /// Some come back while they are not needed, some lose power while they learn, some never start again; view changes, which a learner
    /// waits for, now and then.
    private static func lostStores(_ setting: inout Setting) -> [NamedFault] {
        var faults: [NamedFault] = []
        for replica in setting.random.sample(setting.size.faults, of: setting.size.members) {
            faults += lostStore(of: replica, &setting)
        }
        for _ in 0..<setting.random.within(0...2) { faults.append(isolatePrimary(&setting)) }
        return faults
    }

    private static func lostStore(of replica: ReplicaID, _ setting: inout Setting) -> [NamedFault] {
        let span = setting.span(longest: second / 4)
        let outage = span.end - span.start
        let name = "\(replica) lost-store at \(milliseconds(span.start))"
        guard setting.random.chance(perMille: 850) else {
            return [NamedFault("\(name) for good", .lostStore(replica, at: span.start, outage: nil))]
        }
        let loss = NamedFault(
            "\(name) for \(milliseconds(outage))",
            .lostStore(replica, at: span.start, outage: outage)
        )
        guard setting.random.chance(perMille: 300) else { return [loss] }
        let start = setting.random.within(span.end...setting.end)
        return [loss, powerLoss(of: replica, start, setting.random.within(start...setting.end))]
    }

    private static func powerLoss(of replica: ReplicaID, _ start: UInt64, _ end: UInt64) -> NamedFault {
        NamedFault(
            "\(replica) power-loss at \(milliseconds(start)) for \(milliseconds(end - start))",
            .powerLoss(replica, at: start, outage: end - start)
        )
    }

    private static func when(_ fault: NetworkFault) -> String {
        " \(milliseconds(fault.start)) to \(milliseconds(fault.end))\(fault.isLossy ? ", lost" : ", held")"
    }

    private static func milliseconds(_ nanoseconds: UInt64) -> String { "\(nanoseconds / 1_000_000)ms" }

    // MARK: Random combinations

    private static func random(_ setting: inout Setting) -> [NamedFault] {
        var faults: [NamedFault] = []
        let count = setting.random.within(0...setting.size.faults)
        for replica in setting.random.sample(count, of: setting.size.members).sorted() {
            if setting.random.chance(perMille: 150) {
                faults.append(NamedFault("\(replica) twin", .twin(replica)))
                continue
            }
            if setting.random.chance(perMille: 150) {
                faults += lostStore(of: replica, &setting)
                continue
            }
            for _ in 0..<setting.random.within(1...3) {
                faults.append(randomReplica(replica, &setting))
            }
        }
        for client in setting.corruptible where setting.random.chance(perMille: 400) {
            faults.append(randomClient(client, &setting))
        }
        for _ in 0..<setting.random.within(0...3) {
            switch setting.random.below(6) {
            case 0: faults.append(partition(&setting))
            case 1: faults.append(isolatePrimary(&setting))
            case 2: faults.append(oneWay(&setting))
            case 3: faults.append(lossy(&setting))
            case 4: faults += powerLosses(&setting)
            default: faults.append(blip(&setting))
            }
        }
        return faults
    }

    private static func randomClient(_ client: ClientID, _ setting: inout Setting) -> NamedFault {
        guard let profile = setting.random.pick(faultyClients) else {
            return NamedFault("none", .client(client, BigMAC()))
        }
        let behaviour = profile.faults(in: &setting).first?.fault
        if case .client(_, let made) = behaviour {
            return NamedFault("\(client) \(profile.name)", .client(client, made))
        }
        return NamedFault("\(client) big-mac", .client(client, BigMAC()))
    }

    private static func randomReplica(_ replica: ReplicaID, _ setting: inout Setting) -> NamedFault {
        while true {
            guard let profile = setting.random.pick(faultyPrimaries + faultyBackups) else { continue }
            // A twin is another replica and not a behaviour of this one.
            if case .replica(_, let made)? = profile.faults(in: &setting).first?.fault {
                return NamedFault("\(replica) \(profile.name)", .replica(replica, made))
            }
        }
    }
}
