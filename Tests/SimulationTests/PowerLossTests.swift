import Adversary
import Agreement
import Cryptography
import Foundation
import Messages
import Testing

@testable import Simulation

/// Power is lost at each write of a replica in turn, of this replica alone and of all at once: nothing that was said is contradicted,
/// nothing that a client was told is lost, and in the end everybody is answered.
///
/// A run of the tests takes some of the writes, spread evenly; `EVERY_WRITE=1 swift test --filter PowerLossTests` takes all of them.
struct PowerLossTests {
    struct Case: CustomTestStringConvertible, Sendable {
        let profile: String
        let seed: UInt64
        /// Whose writes are counted; a correct one.
        let replica: ReplicaID
        var isSigned = true

        var switches: ProtocolSwitches { isSigned ? .aardvark : .pbft }
        var testDescription: String {
            "\(profile), seed \(seed), writes of \(replica), \(isSigned ? "aardvark" : "pbft")"
        }
    }

    private static let cases = [true, false].flatMap { isSigned in
        [
            Case(profile: "none", seed: 3, replica: ReplicaID(0), isSigned: isSigned),
            Case(profile: "none", seed: 4, replica: ReplicaID(2), isSigned: isSigned),
            Case(profile: "isolate-primary", seed: 1, replica: ReplicaID(1), isSigned: isSigned),
            Case(profile: "isolate-primary", seed: 2, replica: ReplicaID(0), isSigned: isSigned),
            Case(profile: "equivocate-2-2", seed: 1, replica: ReplicaID(1), isSigned: isSigned),
            Case(profile: "restart-in-view-change", seed: 2, replica: ReplicaID(3), isSigned: isSigned),
            Case(profile: "long-partition", seed: 5, replica: ReplicaID(1), isSigned: isSigned),
        ]
    }

    /// The run of a case, with power lost at a write, if one is given. Checkpoints are frequent, and syncs take their time.
    private static func outcome(_ example: Case, _ keys: KeyRing, losing loss: PowerLossAtWrite? = nil) throws
        -> Outcome
    {
        let base = try #require(Profiles.named(example.profile))
        let profile = Profile(base.name, base.culprit, needs: base.needs, base.summary) { setting in
            base.faults(in: &setting) + (loss.map { [NamedFault("power-loss", .powerLossAtWrite($0))] } ?? [])
        }
        var options = SimulationOptions(switches: example.switches, steps: 1_000)
        options.redraw = { drawn in
            drawn.limits.checkpointInterval = 4
            drawn.limits.logWindow = 12
            drawn.limits.pipelineDepth = 4
            drawn.conditions.sync = 300_000...2_000_000
        }
        return Scenario(seed: example.seed, profile: profile, keys: keys, options: options).run()
    }

    /// Some numbers from 1 to the last, spread evenly; all if the environment asks for them.
    private static func writes(upTo last: Int) -> [Int] {
        let some = 6
        guard ProcessInfo.processInfo.environment["EVERY_WRITE"] == nil, last > some else {
            return Array(1...max(last, 1))
        }
        return (0..<some).map { 1 + $0 * (last - 1) / (some - 1) }
    }

    @Test(arguments: cases)
    func `power that is lost at a write takes nothing back`(example: Case) throws {
        let keys = try Runs.keys(example.switches)
        let undisturbed = try Self.outcome(example, keys)
        #expect(undisturbed.violation == nil)
        let last = undisturbed.writes[example.replica.index]
        #expect(last > 20, "so few writes show nothing")
        for write in Self.writes(upTo: last) {
            for isTogether in [false, true] {
                let loss = PowerLossAtWrite(
                    example.replica,
                    write: write,
                    isTogether: isTogether,
                    outage: 20_000_000
                )
                let outcome = try Self.outcome(example, keys, losing: loss)
                let who = isTogether ? "all" : "one"
                #expect(outcome.violation == nil, "\(who) at write \(write): \(outcome.violation?.sentence ?? "")")
                #expect(outcome.digest != undisturbed.digest, "\(who) at write \(write): the power was not lost")
            }
        }
    }

    // MARK: The disk

    private static func prepared(_ sequence: UInt64) -> LogRecord {
        .prepared(View(0), SequenceNumber(sequence), .zero)
    }

    private static func checkpoint(_ sequence: UInt64) -> SimulatedDisk.Checkpoint {
        SimulatedDisk.Checkpoint(sequence: SequenceNumber(sequence), root: .zero)
    }

    @Test func `power that is lost leaves any first part of what was written after the last sync, and nothing else`() {
        var random = RandomStream(seed: 1, stream: 1)
        var seen: Set<[Int]> = []
        for _ in 0..<200 {
            var disk = SimulatedDisk()
            disk.append(Self.prepared(1))
            #expect(disk.startSync() == LogPosition(recovered: 1))
            disk.append(Self.prepared(2))
            disk.append(Self.checkpoint(2))
            #expect(disk.startSync() == nil, "one sync at a time")
            #expect(disk.finishSync().isEmpty && disk.durable == LogPosition(recovered: 1))
            disk.append(Self.prepared(3))
            disk.losePower(&random)
            seen.insert([disk.durableRecords.count, disk.checkpoints.count])
            #expect(disk.end == disk.durable.rawValue)
        }
        #expect(seen == [[1, 0], [2, 0], [2, 1], [3, 1]])
    }

    @Test func `a sync makes the checkpoints durable that were written before it began`() {
        var disk = SimulatedDisk()
        disk.append(Self.checkpoint(4))
        #expect(disk.startSync() == .start)
        disk.append(Self.checkpoint(8))
        #expect(disk.finishSync().map(\.sequence) == [SequenceNumber(4)])
        #expect(disk.startSync() != nil)
        #expect(disk.finishSync().map(\.sequence) == [SequenceNumber(8)])
        #expect(disk.startSync() == nil)
    }

    @Test func `a CHECKPOINT before its state is durable is noticed`() throws {
        let keys = try Runs.keys()
        var disk = SimulatedDisk()
        func breach() -> Violation.Rule? {
            let claim = Checkpoint(
                SequenceNumber(4),
                root: .zero,
                by: ReplicaID(1),
                cluster: keys.cluster,
                signer: keys.signer(of: ReplicaID(1))
            )
            return disk.breach(saying: .checkpoint(Unverified(claim)), as: ReplicaID(1))?.rule
        }
        disk.append(Self.checkpoint(4))
        #expect(breach() == .durableFirst)
        _ = disk.startSync()
        _ = disk.finishSync()
        #expect(breach() == nil)
    }
}
