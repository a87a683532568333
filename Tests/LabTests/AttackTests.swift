import Aardvark
import Adversary
import Cryptography
import Foundation
import Messages
import Testing

@testable import Lab

@Suite("Attack runs") struct AttackTests {
    @Test func `every profile that is not run has a reason and every one that is run has faulty replicas or none`() {
        let run = Set(AttackProfiles.all.map(\.name))
        #expect(run.isSuperset(of: ["none", "silent", "delay-1ms", "delay-10ms", "delay-100ms"]))
        for profile in Profiles.all {
            let names = AttackProfiles.courses[profile.name]?.map(\.name) ?? [profile.name]
            #expect(run.isSuperset(of: names) == (AttackProfiles.reasonForSimulatorOnly(profile) == nil))
        }
        #expect(AttackProfiles.named("out-of-model")?.isOutOfModel == true)
    }

    @Test func `faulty clients come after all correct ones`() throws {
        let size = try #require(ClusterSize(replicas: 4))
        for profile in AttackProfiles.all where profile.culprit == .client {
            let faults = AttackProfiles.faults(of: profile, in: size, clients: (correct: 5, faulty: 2), seed: 1)
            let clients = faults.compactMap { named -> UInt32? in
                if case .client(let client, _) = named.fault { client.rawValue } else { nil }
            }
            #expect(clients == [5, 6], "\(profile.name)")
        }
    }

    @Test func `an attack begins when the replica leads that it takes`() throws {
        let primaries = { (name: String, behaving: [Int]) in
            let profile = try #require(AttackProfiles.named(name))
            return (0..<4).filter { !AttackRun.mustWait(profile, primary: $0, behaving: behaving) }
        }
        #expect(try primaries("silent", [0]) == [0])
        #expect(try primaries("silent", [2]) == [1], "it is about the one after that")
        #expect(try primaries("flood", [0]) == [0, 1, 2, 3])
        #expect(try primaries("out-of-model", [0, 3]) == [0], "the other one helps it only")
        #expect(try !AttackRun.mustWait(#require(AttackProfiles.named("silent")), primary: nil, behaving: [0]))
    }

    @Test(arguments: [true, false])
    func `a client can fool backups with MACs and with signatures, and what it does is counted`(isSigned: Bool) throws {
        let size = try #require(ClusterSize(replicas: 4))
        let keys = size.members.map { _ in SigningKey.random() }
        let own = SigningKey.random()
        let cluster = try #require(ClusterID(Array(repeating: 7, count: 32)))
        let shared = { (key: SigningKey) in
            keys.compactMap { PairwiseKey(own: key, peer: $0.publicKey, cluster: cluster) }
        }
        let (right, wrong) = (shared(own), shared(SigningKey.random()))
        let stranger = SigningKey.random()
        let authenticator = { @Sendable (spoiled: [ReplicaID]) -> RequestAuthenticator in
            isSigned
                ? .signature(spoiled.isEmpty ? own : stranger, cluster: cluster)
                : .macVector(size.members.map { spoiled.contains($0) ? wrong[$0.index] : right[$0.index] })
        }
        let faulty = FaultyClient(
            client: ClientID(7),
            size: size,
            victim: ClientID(0),
            random: RandomStream(seed: 1, stream: 1),
            authenticator: authenticator
        )
        var stack = ClientBehaviourStack([BigMAC()], of: faulty)
        let request = Request(
            client: ClientID(7),
            session: SessionID(1),
            number: RequestNumber(1),
            operations: [[1]],
            authenticator: authenticator([])
        )
        let left = stack.pass(request, to: ReplicaID(0), in: View(0))
        let primary = try #require(left)
        var received = [ReplicaID(0): primary]
        for parcel in stack.takeParcels() { received[parcel.replica] = parcel.request }
        if !isSigned { for replica in size.members { received[replica] = primary } }
        let actions = stack.takeActions()
        #expect(actions == (isSigned ? 3 : 1))
        for replica in size.members {
            let verifier = RequestVerifier(cluster: cluster, replica: replica, key: keys[replica.index])
            let copy = try #require(received[replica])
            let isGood = verifier.verify(RequestCheck(Unverified(copy), under: own.publicKey)) != nil
            #expect(isGood == (replica == ReplicaID(0)))
        }
    }

    @Test func `an attack that waits for its moment takes the load's steps along`() {
        let phases = Scenario.Phases(warmup: 1, faultFree: 2, attack: 10, after: 1)
        var course = RunCourse(phases, load: Scenario.spike(seconds: 10))
        #expect(course.mostClients == 50)
        #expect((0..<14).map(course.clients(in:)) == [1, 1, 1, 1, 1, 10, 10, 50, 50, 10, 10, 1, 1, 1])
        let mayWait = course.postpone()
        #expect(mayWait)
        #expect(course.attackStart == 4 && course.phases.total == 15 && course.phases.attack == 10)
        #expect(course.clients(in: 5) == 1 && course.clients(in: 6) == 10)
        let rest = (0..<1_000).count { _ in course.postpone() }
        #expect(rest == RunCourse.mostPostponed - 1)
    }

    @Test func `replicas are killed within the attack and started again before it is over, however short it is`() throws
    {
        for (replicas, seconds) in [(4, 1), (4, 6), (7, 20)] {
            let size = try #require(ClusterSize(replicas: replicas))
            for name in ["power-loss", "power-loss-all", "lost-store", "amnesia"] {
                let profile = try #require(AttackProfiles.named(name))
                let faults = AttackProfiles.faults(of: profile, in: size, clients: (correct: 8, faulty: 1), seed: 1)
                let outages = Outage.all(in: faults, seconds: seconds)
                #expect(outages.count == (name == "power-loss-all" ? replicas : size.faults))
                #expect(outages.allSatisfy { !$0.seconds.isEmpty && (0...seconds).contains($0.seconds.upperBound) })
                #expect(Set(outages.map(\.replica)).count == outages.count)
            }
        }
        #expect(AttackProfiles.seconds(from: 900_000, to: 950_000, ofAttack: 10, atLeast: 3) == 7..<10)
        #expect(AttackProfiles.seconds(from: 0, to: .max, ofAttack: 2, atLeast: 3) == 0..<2)
        let kept = try #require(AttackProfiles.named("power-loss"))
        let size = try #require(ClusterSize(replicas: 4))
        let faults = AttackProfiles.faults(of: kept, in: size, clients: (correct: 8, faulty: 1), seed: 1)
        let outage = try #require(Outage.all(in: faults, seconds: 20).first)
        #expect(outage.replica == 0 && outage.loss == .none && outage.seconds == 2..<10)
    }

    @Test func `a cut network closes the ways that it is about and no others`() throws {
        let size = try #require(ClusterSize(replicas: 4))
        let ways = { (kind: NetworkFault.Kind) in
            (NetworkCuts.cut(kind, in: size, primary: 2)?.ways ?? []).map { "\($0.from.name)>\($0.to.name)" }.sorted()
        }
        #expect(
            ways(.divide([ReplicaID(2), ReplicaID(3)]))
                == ["r0>r2", "r0>r3", "r1>r2", "r1>r3", "r2>r0", "r2>r1", "r3>r0", "r3>r1"]
        )
        #expect(ways(.isolatePrimary) == ["c0>r2", "r0>r2", "r1>r2", "r2>c0", "r2>r0", "r2>r1", "r2>r3", "r3>r2"])
        #expect(ways(.cut(from: ReplicaID(0), to: ReplicaID(1))) == ["r0>r1"])
        #expect(ways(.clients).count == 8)
        #expect(ways(.disconnect(size.members)).isEmpty)
    }

    @Test func `a bad network loses, doubles and delays as many messages as it says`() {
        var random = RandomStream(seed: 1, stream: 1)
        let count = 20_000
        let lossy = (0..<count).map { _ in
            BadNetworkInterceptor.delays([.lossy(loss: 100, duplication: 50, reordering: 200)], &random)
        }
        let near = { (found: Int, share: Double) in abs(Double(found) / Double(count) - share) < 0.01 }
        #expect(near(lossy.count { $0.isEmpty }, 0.1))
        #expect(near(lossy.count { $0.count == 2 }, 0.9 * 0.05))
        #expect(near(lossy.count { $0.contains { $0 > 0 } }, 0.9 * 0.2))
        let slow = (0..<count).flatMap { _ in BadNetworkInterceptor.delays([.slow(1_000)], &random) }
        #expect(slow.count == count && slow.allSatisfy { $0 <= 1_000 } && Set(slow).count > 900)
        #expect(BadNetworkInterceptor.delays([], &random) == [0])
    }

    @Test func `a profile that cuts the network is refused where there are no machines`() async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "aardvark-attack-\(UUID())").path
        var plan = AttackPlan(programs: "/nowhere", output: directory, command: "")
        plan.profiles = [try #require(AttackProfiles.named("partition-3-1"))]
        plan.emulation = .never
        let error = await #expect(throws: OperatorError.self) { try await plan.run(onProgress: { _ in }) }
        #expect(error?.sentence.contains("partition-3-1") == true)
        #expect(!FileManager.default.fileExists(atPath: directory))
    }

    private static func observer(faulty: [Int] = []) -> RunObserver {
        RunObserver(
            replicas: 4,
            hasOwnInterfaces: false,
            behaving: faulty,
            disturbed: [],
            forgetful: [],
            faultyClients: []
        )
    }

    private static func status(_ replica: UInt8, _ figures: [(String, UInt64)]) -> ReplicaStatus {
        ReplicaStatus(
            replica: ReplicaID(replica),
            protocolName: "aardvark",
            view: View(0),
            primary: ReplicaID(0),
            executed: .zero,
            stable: .zero,
            low: .zero,
            high: .zero,
            connectedPeers: [],
            counters: figures.map { ReplicaStatus.Counter($0.0, $0.1, .gauge) }
        )
    }

    @Test func `a run in which no checkpoint could be compared is not judged`() {
        #expect(Self.observer().history.held == nil)
    }

    @Test func `another state, another order and a state that nobody signed are found, but only at correct replicas`() {
        func verdict(_ first: [(String, UInt64)], _ second: [(String, UInt64)], faulty: [Int] = []) -> Bool? {
            var observer = Self.observer(faulty: faulty)
            observer.take([Self.status(1, first), nil])
            observer.take([nil, Self.status(2, second)])
            return observer.history.held
        }
        let checkpoint = [("checkpoint_sequence", UInt64(128)), ("checkpoint_root_prefix", 7)]
        #expect(verdict(checkpoint, checkpoint) == true)
        let otherState = [("checkpoint_sequence", UInt64(128)), ("checkpoint_root_prefix", 8)]
        #expect(verdict(checkpoint, otherState) == false)
        #expect(verdict(checkpoint, otherState, faulty: [2]) == nil)
        func history(from start: UInt64, _ place: String, _ end: UInt64, _ prefix: UInt64) -> [(String, UInt64)] {
            checkpoint + [
                ("history_start", start), ("history_\(place)_sequence", end), ("history_\(place)_prefix", prefix),
            ]
        }
        for place in ["mark", "checkpoint"] {
            #expect(verdict(history(from: 1, place, 48, 5), history(from: 1, place, 48, 5)) == true)
            #expect(verdict(history(from: 1, place, 48, 5), history(from: 1, place, 48, 6)) == false)
            #expect(verdict(history(from: 1, place, 48, 5), history(from: 1, place, 64, 6)) == true, "another length")
            #expect(
                verdict(history(from: 1, place, 48, 5), history(from: 9, place, 48, 6)) == true,
                "another beginning"
            )
            #expect(verdict(history(from: 64, place, 48, 5), history(from: 64, place, 48, 6)) == true, "from before")
        }
        #expect(verdict(checkpoint, checkpoint + [("checkpoints_diverged", 1)]) == false)
    }
}
