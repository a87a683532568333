import TestSupport

@testable import Lab

/// Results that nobody measured: numbers drawn to look like an attack, so that summaries and reports have something to show.
struct MadeUpResults {
    typealias Run = AttackResults.Run

    /// How a made-up run goes. Throughput is in operations a second.
    struct Course {
        var protocolName: String
        var profile: String
        var repetition = 1
        var quiet = 10_000.0
        /// What is left of it in each second of the attack; the last value stays.
        var attack: [Double] = [1]
        var after: [Double] = [1]
        /// The second of the attack after which replica 1 is the primary instead of replica 0; nil for never.
        var primaryChangesAfter: Int?
        var faultyReplicas: [Int] = []
        var faultyClients: [UInt64] = []
        /// The second of the attack after which all correct replicas have the faulty parties cut off; nil for never.
        var cutOffAfter: Int?
        var latencyMicroseconds = 900.0
    }

    static let warmup = 2
    static let faultFree = 8
    static let attack = 12
    static let after = 8

    static func phases(_ samples: [AttackResults.Sample]) -> [AttackResults.Phase] {
        var start = 0
        return zip(AttackResults.Phase.Kind.allCases, [warmup, faultFree, attack, after]).map { kind, length in
            defer { start += length }
            let inside = samples[start..<(start + length)]
            let slowest = inside.compactMap(\.latency).max { $0.p50Microseconds < $1.p50Microseconds }
            return AttackResults.Phase(
                kind: kind,
                startSeconds: Double(start),
                endSeconds: Double(start + length),
                operations: inside.reduce(0) { $0 + $1.operations },
                errors: 0,
                latency: slowest
            )
        }
    }

    static func run(_ course: Course) -> Run {
        var random = SplitMix64(seed: UInt64(course.repetition) &+ UInt64(course.profile.utf8.count) &* 31)
        let total = warmup + faultFree + attack + after
        let samples = (0..<total).map { sample(course, second: $0, &random) }
        let shares = (1...4).map { client in
            AttackResults.ClientShare(
                client: UInt64(client),
                isVictim: course.profile == "starve-client" && client == 1,
                faultFreeOperations: 20_000,
                attackOperations: course.profile == "starve-client" && client == 1 ? 2_000 : 24_000
            )
        }
        return Run(
            protocolName: course.protocolName,
            profile: course.profile,
            scenario: nil,
            repetition: course.repetition,
            startedAt: "2026-01-01T00:00:00Z",
            faultyReplicas: course.faultyReplicas,
            faultyClients: course.faultyClients,
            attackers: nil,
            isOutOfModel: false,
            load: [AttackResults.LoadStep(startSeconds: 0, clients: 4)],
            phases: phases(samples),
            samples: samples,
            events: [
                AttackResults.Event(atSeconds: 10, actor: "lab", text: "attack begins"),
                AttackResults.Event(atSeconds: 22, actor: "lab", text: "attack ends"),
            ],
            clientShares: shares,
            verdicts: [
                AttackResults.Verdict(oracle: "one history", held: true, detail: "3 replicas"),
                AttackResults.Verdict(oracle: "linearizability", held: true, detail: "made up"),
            ],
            failure: nil,
            keptFiles: nil
        )
    }

    private static func sample(_ course: Course, second: Int, _ random: inout SplitMix64) -> AttackResults.Sample {
        let since = second - warmup - faultFree
        let share: Double
        if since < 0 {
            share = 1
        } else if since < attack {
            share = course.attack[min(since, course.attack.count - 1)]
        } else {
            share = course.after[min(since - attack, course.after.count - 1)]
        }
        let noise = 0.97 + Double(random.next() % 600) / 10_000
        let operations = UInt64(course.quiet * share * noise)
        let delay = course.latencyMicroseconds / max(share, 0.02) * noise
        let changed = course.primaryChangesAfter.map { since > $0 } ?? false
        let cutOff = course.cutOffAfter.map { since > $0 && since < attack } ?? false
        return AttackResults.Sample(
            startSeconds: Double(second),
            durationSeconds: 1,
            operations: operations,
            errors: 0,
            latency: operations == 0
                ? nil
                : AttackResults.Latency(
                    p50Microseconds: UInt64(delay),
                    p99Microseconds: UInt64(delay * 3.1),
                    p999Microseconds: UInt64(delay * 6.4),
                    maxMicroseconds: UInt64(delay * 9)
                ),
            view: changed ? 1 : 0,
            primary: changed ? 1 : 0,
            replicas: (0..<4).map { replica in
                let isFaulty = course.faultyReplicas.contains(replica)
                return AttackResults.ReplicaSample(
                    replica: replica,
                    view: changed ? 1 : 0,
                    cpuMicroseconds: UInt64(200_000 + 250_000 * share * (replica == 0 ? 1.2 : 1) * noise),
                    bytesReceived: UInt64(4_000_000 * share),
                    bytesSent: UInt64(3_000_000 * share),
                    signatureChecks: course.protocolName == "pbft" ? 0 : operations,
                    viewChanges: changed && since == (course.primaryChangesAfter ?? 0) + 1 ? 1 : 0,
                    cutOffPeers: cutOff && !isFaulty ? course.faultyReplicas : [],
                    blacklistedClients: cutOff && !isFaulty ? course.faultyClients : []
                )
            },
            cpuMicrosecondsOfClients: UInt64(300_000 * share),
            cpuMicrosecondsOfAttackers: course.faultyClients.isEmpty || since < 0 || since >= attack ? nil : 150_000
        )
    }

    static func results(_ runs: [Run]) -> AttackResults {
        AttackResults(
            startedAt: "2026-01-01T00:00:00Z",
            machine: AttackResults.Machine(
                processor: "MADE-UP DATA, no machine",
                cores: 2,
                memoryBytes: 24 << 30,
                operatingSystem: "none",
                build: "release",
                signatureCheckMicroseconds: 50
            ),
            commit: "made-up",
            command: "made-up data of a test",
            settings: AttackResults.Settings(
                replicas: 4,
                faults: 1,
                clients: 4,
                window: 8,
                bundle: 1,
                workload: "null",
                durability: "none",
                repeats: 3,
                seed: 1,
                emulation: AttackResults.EmulationRecord(
                    kind: .namespaces,
                    processorPercent: 40,
                    linkMegabits: 1_000,
                    missing: []
                )
            ),
            profiles: [
                AttackResults.ProfileNote(name: "none", culprit: "nobody", summary: "nothing goes wrong"),
                AttackResults.ProfileNote(name: "big-mac", culprit: "client", summary: "MACs bad for the backups"),
                AttackResults.ProfileNote(name: "delay-10ms", culprit: "primary", summary: "proposes 10 ms late"),
            ],
            runs: runs
        )
    }

    /// Both protocols under a number of profiles, three times each.
    static let whole: AttackResults = {
        var courses: [Course] = []
        for repetition in 1...3 {
            func add(
                _ profile: String,
                pbft: [Double],
                aardvark: [Double],
                replicas: [Int] = [],
                clients: [UInt64] = [],
                evicted: Int? = nil
            ) {
                courses.append(
                    Course(
                        protocolName: "pbft",
                        profile: profile,
                        repetition: repetition,
                        quiet: 16_000,
                        attack: pbft,
                        faultyReplicas: replicas,
                        faultyClients: clients
                    )
                )
                courses.append(
                    Course(
                        protocolName: "aardvark",
                        profile: profile,
                        repetition: repetition,
                        quiet: 9_500,
                        attack: aardvark,
                        primaryChangesAfter: replicas == [0] ? evicted : nil,
                        faultyReplicas: replicas,
                        faultyClients: clients,
                        cutOffAfter: replicas == [0] ? nil : evicted,
                        latencyMicroseconds: 1_500
                    )
                )
            }
            add("none", pbft: [1], aardvark: [1])
            add("big-mac", pbft: [0.3, 0], aardvark: [0.93, 0.98], clients: [9], evicted: 0)
            add("client-flood", pbft: [0.4, 0.2, 0.1], aardvark: [0.7, 0.96], clients: [9], evicted: 1)
            add("delay-10ms", pbft: [0.05], aardvark: [0.4, 0.6, 0.97], replicas: [0], evicted: 2)
            add("starve-client", pbft: [0.95], aardvark: [0.98], replicas: [0], evicted: 3)
            add("flood", pbft: [0.1, 0.02], aardvark: [0.6, 0.9, 0.97], replicas: [3], evicted: 1)
            add("crash", pbft: [1.02], aardvark: [1.01], replicas: [3])
            add("equivocate-3-1", pbft: [0.3, 0, 0.5, 0.9], aardvark: [0, 0.5, 0.96], replicas: [0], evicted: 1)
        }
        return results(courses.map(run))
    }()
}
