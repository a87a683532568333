import Agreement
import Messages

/// The profiles by name.
public enum Profiles {
    /// Every profile, without those that go beyond the fault model.
    public static let all: [Profile] =
        [none] + faultyClients + faultyPrimaries + faultyBackups + environment + administration + combined

    /// Those that go beyond the fault model, to show that the oracles see it.
    public static let beyondTheModel: [Profile] = [outOfModel]

    /// The profile with a name.
    public static func named(_ name: String) -> Profile? {
        (all + beyondTheModel).first { $0.name == name }
    }

    static let none = Profile("none", .nobody, "nothing goes wrong") { _ in [] }

    // MARK: Clients

    private static func client(
        _ name: String,
        _ summary: String,
        needs: Mechanisms = [],
        needsSignatures: Bool = false,
        _ make: @escaping @Sendable (inout Setting) -> any ClientBehaviour
    ) -> Profile {
        Profile(name, .client, needs: needs, needsSignatures: needsSignatures, summary) { setting in
            setting.corruptible.map { NamedFault("\($0) \(name)", .client($0, make(&setting))) }
        }
    }

    static let faultyClients: [Profile] = [
        client("big-mac", "MACs good for the primary, bad for the backups", needs: .viewChange, needsSignatures: true) {
            _ in
            BigMAC()
        },
        client("partial-mac", "MACs bad for some replicas", needs: .viewChange, needsSignatures: true) { _ in
            PartialMAC()
        },
        client(
            "poison-batch",
            "one request a batch with MACs good for the primary, bad for the backups",
            needs: .viewChange,
            needsSignatures: true
        ) { _ in
            PoisonBatch()
        },
        client("bad-signature", "requests with wrong signatures or MACs") { _ in BadSignature() },
        client("replay-old", "old requests again and again") { _ in ReplayOld() },
        client("replay-pending", "the pending request to everybody, all the time") { _ in ReplayPending() },
        client("sequence-skip", "numbers far ahead") { _ in SequenceSkip() },
        client("two-requests-one-number", "two requests under one number", needs: .viewChange) { _ in
            TwoRequestsOneNumber()
        },
        client("backup-only", "requests to backups only") { _ in BackupOnly() },
        client("frame-client", "requests in a victim's name") { _ in FrameClient() },
        client("bad-mac-flood", "requests with wrong signatures or MACs, as fast as it can") { _ in
            BadMACFlood()
        },
        client("client-flood", "long requests that nobody can order, to everybody, as fast as it can") {
            ClientFlood(bytes: $0.random.pick([1 << 10, 64 << 10]) ?? 1 << 10)
        },
        client("heavy-request", "as many operations in each request as fit") { _ in HeavyRequest() },
        client("big-request", "operations of up to a megabyte") {
            BigRequest(bytes: $0.random.pick([64 << 10, 256 << 10, 1 << 20]) ?? 64 << 10)
        },
        client("many-identities", "unknown identities") { _ in ManyIdentities() },
        client("session-churn", "session after session") { _ in SessionChurn() },
    ]

    // MARK: Replicas

    private static func replica(
        _ name: String,
        _ culprit: Profile.Culprit,
        _ summary: String,
        needs: Mechanisms,
        _ make: @escaping @Sendable (inout Setting) -> any ReplicaBehaviour
    ) -> Profile {
        Profile(name, culprit, needs: needs, summary) { setting in
            // The primaries of the first f views, or else those of the last f.
            let members = setting.size.members
            let faulty =
                culprit == .primary ? members.prefix(setting.size.faults) : members.suffix(setting.size.faults)
            return faulty.map { NamedFault("\($0) \(name)", .replica($0, make(&setting))) }
        }
    }

    private static func primary(
        _ name: String,
        _ summary: String,
        needs: Mechanisms = .viewChange,
        _ make: @escaping @Sendable (inout Setting) -> any ReplicaBehaviour
    ) -> Profile {
        replica(name, .primary, summary, needs: needs, make)
    }

    private static func backup(
        _ name: String,
        _ summary: String,
        needs: Mechanisms = [],
        _ make: @escaping @Sendable (inout Setting) -> any ReplicaBehaviour
    ) -> Profile {
        replica(name, .backup, summary, needs: needs, make)
    }

    /// The primary of view 1 and those after it, where the first primary is cut off so that its view ends.
    private static func newPrimary(
        _ name: String,
        _ summary: String,
        _ make: @escaping @Sendable (inout Setting) -> any ReplicaBehaviour
    ) -> Profile {
        Profile(name, .primary, needs: .viewChange, summary) { setting in
            let faulty = setting.size.members.dropFirst().prefix(setting.size.faults)
            return faulty.map { NamedFault("\($0) \(name)", .replica($0, make(&setting))) } + [isolation(&setting)]
        }
    }

    /// Backups that misbehave in view changes, where the first primary is cut off so that there are some.
    private static func withSilentPrimary(
        _ name: String,
        _ summary: String,
        _ make: @escaping @Sendable (inout Setting) -> any ReplicaBehaviour
    ) -> Profile {
        Profile(name, .backup, needs: .viewChange, summary) { setting in
            let faulty = setting.size.members.suffix(setting.size.faults)
            return faulty.map { NamedFault("\($0) \(name)", .replica($0, make(&setting))) } + [isolation(&setting)]
        }
    }

    static let faultyPrimaries: [Profile] = [
        primary("silent", "proposes nothing") { _ in SilentPrimary() },
        primary("empty-heartbeats", "proposes nothing and says that there is nothing") { _ in EmptyHeartbeats() },
        primary("delay", "proposes 1, 10 or 100 ms late", needs: []) { setting in
            DelayingPrimary(nanoseconds: setting.random.pick([1_000_000, 10_000_000, 100_000_000]) ?? 1_000_000)
        },
        primary("delay-below-timeout", "proposes as late as no request timer notices", needs: []) { _ in
            DelayBelowTimeout()
        },
        primary("exclude-and-mute", "leaves f backups in the dark and answers no client") { setting in
            let backups = Array(setting.size.members.dropFirst(setting.size.faults))
            return ExcludeAndMute(excluded: setting.random.sample(setting.size.faults, of: backups))
        },
        primary("smart", "just as slow as it may be", needs: []) { _ in SmartPrimary(RobustnessLimits.Monitoring()) },
        Profile(
            "smart-spike",
            .primary,
            demand: .spike,
            "just as slow as it may be, while the load grows from one client to all, and back"
        ) { setting in
            setting.size.members.prefix(setting.size.faults).map {
                NamedFault("\($0) smart", .replica($0, SmartPrimary(RobustnessLimits.Monitoring())))
            }
        },
        primary("small-batches", "one request a batch", needs: []) { _ in SmallBatches() },
        primary("starve-client", "never orders one client's requests") { setting in
            StarveClient(victim: setting.clients.first ?? ClientID(1))
        },
        primary("equivocate-2-2", "two batches at one number, half sees each") { _ in EquivocatingPrimary(.halves) },
        primary("equivocate-3-1", "two batches at one number, one sees the other") { _ in EquivocatingPrimary(.single)
        },
        Profile(
            "equivocate-and-lie",
            .primary,
            needs: [.viewChange, .stateTransfer],
            "two batches at one number, and lies about them in VIEW-CHANGEs, while a backup is cut off"
        ) { setting in
            let backup = ReplicaID(UInt8(setting.random.within(setting.size.faults...(setting.size.replicas - 1))))
            let division: EquivocatingPrimary.Division = setting.random.chance(perMille: 500) ? .halves : .single
            let liars = setting.size.members.prefix(setting.size.faults).map { replica in
                NamedFault(
                    "\(replica) equivocate-and-lie",
                    .replica(replica, EquivocatingPrimary(division, isLiar: true))
                )
            }
            return liars + [partition([backup], setting.span(longest: setting.end), &setting)]
        },
        primary("skip-sequence", "leaves a gap in the numbers") { setting in
            SkipSequence(after: setting.random.within(0...39), gap: setting.random.within(1...4))
        },
        primary("bad-mac-to-some", "proposals that some backups cannot check") { setting in
            let backups = Array(setting.size.members.dropFirst(setting.size.faults))
            return BadMACToSome(excluded: setting.random.sample(setting.size.faults, of: backups))
        },
        primary("corrupt-request", "changes requests in batches") { _ in CorruptRequest(perMille: 200) },
        primary("forge-request", "adds forged requests to batches") { _ in ForgeRequest(perMille: 200) },
        primary("duplicate-order", "orders requests twice") { _ in DuplicateOrder() },
        primary("bad-time", "proposes wrong times") { _ in BadTime() },
        newPrimary("new-view-lie", "begins its view with a wrong choice") { _ in NewViewLie() },
        newPrimary("new-view-stuffing", "begins its view on its own word") { _ in NewViewStuffing() },
        newPrimary("new-view-withhold", "begins its view with some only") { setting in
            let count = setting.random.within(0...(setting.size.faults + 1))
            return NewViewWithhold(told: setting.random.sample(count, of: setting.size.members))
        },
    ]

    static let faultyBackups: [Profile] = [
        backup("crash", "falls silent") { Mute(from: $0.span(longest: 1).start) },
        backup("duplicate-votes", "votes twice, and for different batches") { _ in DuplicateVotes() },
        backup("wrong-votes", "votes for everything at once") { _ in WrongVotes() },
        backup("usurper", "proposes as if it were the primary", needs: .viewChange) { _ in Usurper() },
        backup("future-spam", "votes for numbers and views far ahead") { _ in FutureSpam() },
        backup("checkpoint-lie", "signs wrong roots") { _ in CheckpointLie() },
        backup("checkpoint-withhold", "signs no checkpoints") { _ in CheckpointWithhold() },
        backup("wrong-replies", "answers clients wrongly") { _ in WrongReplies() },
        backup("reply-view-lie", "names wrong views to clients") { _ in ReplyViewLie() },
        backup("slow", "does everything 5 to 200 ms late") {
            Slow(nanoseconds: $0.random.within(5_000_000...200_000_000))
        },
        backup("forward-bad-requests", "forwards requests with wrong proofs") { _ in ForwardBadRequests() },
        backup("view-change-spam", "asks for view after view") { _ in ViewChangeSpam() },
        withSilentPrimary("view-change-lies", "lies about what it prepared, after a silent primary") { _ in
            ViewChangeLies()
        },
        withSilentPrimary("view-change-forgery", "claims a forged batch, after a silent primary") { setting in
            ViewChangeForgery(victim: setting.clients.first ?? ClientID(1))
        },
        Profile(
            "stale-reads",
            .backup,
            needs: [.viewChange, .stateTransfer],
            demand: .contended,
            "answers reads with old values, while a correct backup is cut off"
        ) { setting in
            let span = setting.span(longest: setting.end)
            let faulty = setting.size.members.suffix(setting.size.faults)
            let cut = setting.random.sample(setting.size.faults, of: setting.size.members.dropLast(setting.size.faults))
            return faulty.map { NamedFault("\($0) stale-reads", .replica($0, StaleReads(from: span.start))) }
                + [partition(cut, span, &setting)]
        },
        Profile(
            "two-faced",
            .backup,
            needs: [.viewChange, .stateTransfer],
            "votes towards one backup only, which the others do not hear"
        ) { setting in
            let correct = setting.size.members.dropLast(setting.size.faults)
            let faulty = setting.size.members.suffix(setting.size.faults)
            let friend = setting.random.pick(Array(correct.dropFirst())) ?? ReplicaID(1)
            return faulty.map { NamedFault("\($0) two-faced", .replica($0, TwoFaced(friend: friend))) }
                + unheard(friend, by: Array(correct), &setting)
        },
        Profile(
            "bad-state-transfer",
            .backup,
            needs: [.viewChange, .stateTransfer],
            "answers questions for its state wrongly, those of a backup that was cut off"
        ) { setting in
            let faulty = setting.size.members.suffix(setting.size.faults)
            return faulty.map { NamedFault("\($0) bad-state-transfer", .replica($0, BadStateTransfer())) }
                + [partition([ReplicaID(1)], setting.span(longest: setting.end), &setting)]
        },
        Profile(
            "bad-fetch",
            .primary,
            needs: [.viewChange, .stateTransfer],
            "leaves a backup out and holds the others up, and answers its questions for batches wrongly"
        ) { setting in
            let excluded = [ReplicaID(UInt8(setting.size.faults + 1))]
            let start = setting.span(longest: setting.end).start
            return setting.size.members.prefix(setting.size.faults).flatMap { replica in
                let behaviours: [any ReplicaBehaviour] = [
                    BadFetch(), BadMACToSome(excluded: excluded), CommitWithhold(from: start),
                ]
                return behaviours.map { NamedFault("\(replica) bad-fetch", .replica(replica, $0)) }
            }
        },
        backup("protocol-flood", "asks for everything again, all the time") { _ in ProtocolFlood() },
        backup("flood", "long messages that nobody waits for, as fast as it can") {
            Flood(bytes: $0.random.pick([1 << 10, 64 << 10]) ?? 1 << 10)
        },
        backup("mutate", "changes its own messages") {
            Mutator(
                perMille: $0.random.within(20...300),
                isAnyScope: $0.random.chance(perMille: 500),
                seed: $0.random.next()
            )
        },
        Profile("twin", .backup, needs: .viewChange, "runs twice with one key") { setting in
            let members = setting.size.members
            let twins = setting.random.sample(setting.size.faults, of: members)
            return twins.map { NamedFault("\($0) twin", .twin($0)) }
        },
        primary("mutate-primary", "changes its own messages, as primary") {
            Mutator(
                perMille: $0.random.within(20...300),
                isAnyScope: $0.random.chance(perMille: 500),
                seed: $0.random.next()
            )
        },
    ]

    /// More than f: a primary that shows two batches and f that vote for both. Two correct replicas execute different batches.
    static let outOfModel = Profile(
        "out-of-model",
        .several,
        needs: .viewChange,
        isOutOfModel: true,
        "f + 1 faulty replicas: an equivocating primary and f accomplices"
    ) { setting in
        let primary = NamedFault("r0 equivocate-2-2", .replica(ReplicaID(0), EquivocatingPrimary(.halves)))
        let accomplices = setting.size.members.suffix(setting.size.faults)
        return [primary] + accomplices.map { NamedFault("\($0) echo-votes", .replica($0, EchoVotes())) }
    }
}
