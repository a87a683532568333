import Adversary
import Agreement
import Messages
import Testing

@testable import Simulation

/// Replicas whose work takes time: throughput follows from what the work costs, and each defence is what keeps its profile from taking it
/// from correct clients (Aardvark, NSDI 2009, table 3 and figures 5 and 6).
///
/// Replicas have a small part of a processor, so that a virtual second is a few hundred operations.
struct ThroughputTests {
    private static let millisecond: UInt64 = 1_000_000

    private static func trial(
        _ switches: ProtocolSwitches = .aardvark,
        percent: UInt64 = 5,
        steps: Int = 12_000
    ) -> ThroughputTrial {
        let costs = CostModel().onProcessorShare(percent: percent)
        var trial = ThroughputTrial(switches: switches, processor: ProcessorModel(costs: costs, isolatedQueues: true))
        trial.steps = steps
        trial.window = 8
        trial.processor.limits.flooding.offenceBudget = 100
        return trial
    }

    /// Judges primaries sooner than in reality.
    private static func hasten(_ trial: inout ThroughputTrial) {
        trial.adjust = { limits in
            limits.monitoring.graceNanoseconds = 200 * millisecond
            limits.monitoring.measuringNanoseconds = 100 * millisecond
            limits.monitoring.earlyNanoseconds = 50 * millisecond
        }
    }

    private static func profile(_ fault: @escaping @Sendable (Setting) -> NamedFault) -> Profile {
        Profile("test", .several, "one fault") { [fault($0)] }
    }

    /// A faulty backup: it is never the primary of the first views.
    private static func backup(_ behaviour: any ReplicaBehaviour) -> Profile {
        profile { setting in
            let last = setting.size.members.last ?? ReplicaID(0)
            return NamedFault("backup", .replica(last, behaviour))
        }
    }

    private static func primary(_ behaviour: any ReplicaBehaviour) -> Profile {
        profile { _ in NamedFault("primary", .replica(ReplicaID(0), behaviour)) }
    }

    private static func client(_ behaviour: any ClientBehaviour) -> Profile {
        profile { setting in
            let last = setting.clients.last ?? ClientID(1)
            return NamedFault("client", .client(last, behaviour))
        }
    }

    /// What part of the fault-free throughput correct clients keep, in percent.
    private static func kept(
        _ profile: Profile,
        of trial: ThroughputTrial,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Double {
        let keys = try Runs.keys(clients: 6, trial.switches)
        let normal = trial.run(profile, keys: keys, withFaults: false)
        let attacked = trial.run(profile, keys: keys, withFaults: true)
        #expect(normal.violation == nil && attacked.violation == nil, sourceLocation: sourceLocation)
        #expect(normal.operationsPerSecond > 100, sourceLocation: sourceLocation)
        return 100 * attacked.operationsPerSecond / normal.operationsPerSecond
    }

    @Test func `a trial gives the same run again, another seed another`() throws {
        let keys = try Runs.keys(clients: 6)
        let profile = try #require(Profiles.named("flood"))
        var trial = Self.trial(steps: 11_000)
        let first = trial.run(profile, keys: keys, withFaults: true)
        #expect(first == trial.run(profile, keys: keys, withFaults: true))
        #expect(first.violation == nil)
        trial.seed = 2
        #expect(first.digest != trial.run(profile, keys: keys, withFaults: true).digest)
    }

    @Test func `throughput is what the dearest work allows`() throws {
        let keys = try Runs.keys(clients: 6)
        let none = try #require(Profiles.named("none"))
        for share in [2, 4] as [UInt64] {
            var trial = Self.trial()
            trial.processor.costs = CostModel().onProcessorShare(percent: share)
            let measured = trial.run(none, keys: keys, withFaults: false)
            let most = 1e9 / Double(trial.processor.costs.signatureCheck)
            #expect((0.35 * most...most).contains(measured.operationsPerSecond), "\(share) %: \(measured)")
            // It is not more than what the checks that were made take.
            let checked = measured.usage.map { Double($0.checkNanoseconds) / Double($0.busyNanoseconds) }
            #expect(checked.allSatisfy { $0 > 0.35 }, "\(checked)")
        }
        // A MAC costs next to nothing beside a signature.
        let signed = Self.trial().run(none, keys: keys, withFaults: false)
        let pbftKeys = try Runs.keys(clients: 6, .pbft)
        let authenticated = Self.trial(.pbft, steps: 20_000).run(none, keys: pbftKeys, withFaults: false)
        #expect(authenticated.operationsPerSecond > 1.5 * signed.operationsPerSecond)
    }

    private static func expect(
        _ kept: Double,
        in range: ClosedRange<Double>,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(range.contains(kept), "they keep \(kept) %", sourceLocation: sourceLocation)
    }

    @Test func `queues apart keep the flood of a replica from the others' time`() throws {
        var trial = Self.trial(percent: 20, steps: 8_000)
        let flood = Self.backup(Flood(bytes: 16 << 10))
        Self.expect(try Self.kept(flood, of: trial), in: 90...200)
        trial.processor.floodGuard = false
        Self.expect(try Self.kept(flood, of: trial), in: 30...80)
        trial.processor.isolatedQueues = false
        Self.expect(try Self.kept(flood, of: trial), in: 0...30)
    }

    @Test func `queues apart bound what the flood of a client costs the others`() throws {
        var trial = Self.trial(percent: 20, steps: 15_000)
        let flood = Self.client(ClientFlood(bytes: 48 << 10))
        // Backups do not forward what is long as long as the primary may be serving others, so that its peers' queues stay free of it.
        Self.expect(try Self.kept(flood, of: trial), in: 80...200)
        trial.processor.isolatedQueues = false
        Self.expect(try Self.kept(flood, of: trial), in: 0...65)
    }

    @Test func `a view change between correct replicas costs less than 10 ms, and no client asks again`() throws {
        var trial = Self.trial(percent: 100, steps: 25_000)
        Self.hasten(&trial)
        let none = Profile("test", .nobody, "nothing goes wrong") { _ in [] }
        let run = trial.run(none, keys: try Runs.keys(clients: 6), withFaults: true)
        #expect(run.violation == nil && run.view >= 2)
        #expect(run.longestPauseNanoseconds < 10 * Self.millisecond)
        #expect(run.retransmissions == 0)
    }

    @Test func `regular view changes end the view of a primary that is slow`() throws {
        var trial = Self.trial(steps: 25_000)
        Self.hasten(&trial)
        let slow = Self.primary(DelayBelowTimeout())
        Self.expect(try Self.kept(slow, of: trial), in: 90...200)
        trial.switches.regularViewChanges = false
        Self.expect(try Self.kept(slow, of: trial), in: 0...20)
    }

    @Test(arguments: [EquivocatingPrimary.Division.single, .halves])
    func `regular view changes end the view of a primary that shows backups different batches`(
        division: EquivocatingPrimary.Division
    ) throws {
        var trial = Self.trial(steps: 25_000)
        let equivocating = Self.primary(EquivocatingPrimary(division))
        Self.expect(try Self.kept(equivocating, of: trial), in: 90...200)
        trial.switches.regularViewChanges = false
        Self.expect(try Self.kept(equivocating, of: trial), in: 0...40)
    }

    @Test func `signatures leave a client no way to divide the replicas over a request`() throws {
        var trial = Self.trial()
        let poison = Self.client(PoisonBatch())
        Self.expect(try Self.kept(poison, of: trial), in: 90...200)
        trial.switches.requestAuthentication = .macVector
        Self.expect(try Self.kept(poison, of: trial), in: 0...80)
    }

    @Test func `no primary starves a client where it is watched`() throws {
        var trial = Self.trial(steps: 25_000)
        Self.hasten(&trial)
        let victim = ClientID(1)
        let starving = Self.primary(StarveClient(victim: victim))
        let keys = try Runs.keys(clients: 6)
        func served() -> Double {
            let normal = trial.run(starving, keys: keys, withFaults: false)
            let attacked = trial.run(starving, keys: keys, withFaults: true)
            #expect(normal.violation == nil && attacked.violation == nil)
            return 100 * attacked.leastOfClient / normal.leastOfClient
        }
        Self.expect(served(), in: 85...200)
        trial.switches.regularViewChanges = false
        Self.expect(served(), in: 0...70)
    }

    @Test(arguments: ["big-mac", "bad-mac-flood", "wrong-votes"])
    func `correct clients keep nine tenths under`(_ name: String) throws {
        let profile = try #require(Profiles.named(name))
        Self.expect(try Self.kept(profile, of: Self.trial()), in: 90...200)
    }
}
