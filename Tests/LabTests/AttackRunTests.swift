import Aardvark
import Foundation
import TestSupport
import Testing

@testable import Lab

@Suite struct AttackRunTests {
    /// Whether this user may make network namespaces.
    static let isRoot = geteuid() == 0

    /// Runs one attack of a second in a directory of its own, which is removed again.
    private func attack(_ profile: String) async throws -> AttackResults {
        let programs = try BuiltProgram.url("aardvark-lab").deletingLastPathComponent().path
        let directory = FileManager.default.temporaryDirectory.appending(path: "aardvark-attack-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var plan = AttackPlan(programs: programs, output: directory, command: "")
        plan.protocols = [.aardvark]
        plan.profiles = [try #require(AttackProfiles.named(profile))]
        plan.emulation = .never
        plan.phases = AttackPlan.phases(attackSeconds: 1)
        plan.repeats = 1
        plan.clients = 2
        return try await plan.run(onProgress: { _ in })
    }

    @Test func `a run with a silent replica counts every second and every client, and all oracles hold`() async throws {
        let results = try await attack("crash")
        let run = try #require(results.runs.first)
        #expect(results.runs.count == 1)
        // Tests run in a work tree, but perhaps not in one of git.
        if let commit = results.commit { #expect(commit.prefix { $0.isHexDigit }.count == 40) }
        #expect(run.failure == nil)
        #expect(run.verdicts.map(\.oracle) == ["one history", "linearizability", "exactly once"])
        #expect(run.verdicts.map(\.held) == [true, true, true])
        #expect(run.faultyReplicas.count == 1)
        #expect(run.phases.map(\.kind) == AttackResults.Phase.Kind.allCases)
        // A second may be missing where this machine stood still for that long.
        let seconds = Int(try #require(run.phases.last).endSeconds)
        #expect((seconds - 1...seconds).contains(run.samples.count))
        #expect(run.clientShares.map(\.client) == [0, 1])
        let quiet = try #require(run.phase(.faultFree))
        #expect(quiet.operations > 0 && quiet.latency != nil)
        #expect(quiet.operations == run.clientShares.map(\.faultFreeOperations).reduce(0, +))
        #expect(run.samples.map(\.operations).reduce(0, +) == run.phases.map(\.operations).reduce(0, +))
        #expect(results.settings.emulation.kind == .loopback)
        #expect(results.stopped == nil)
        let used = run.samples.map { sample in sample.replicas.compactMap(\.cpuMicroseconds).count }
        #expect(used == run.samples.map { _ in 4 })
        #expect(run.samples.compactMap(\.cpuMicrosecondsOfClients).reduce(0, +) > 0)
        #expect(run.samples.allSatisfy { $0.cpuMicrosecondsOfAttackers == nil })
        let checks = run.samples.flatMap(\.replicas).compactMap(\.signatureChecks)
        #expect(checks.reduce(0, +) > 0)
    }

    @Test func `a replica of an older version is refused again and again, and the service goes on`() async throws {
        let run = try #require(try await attack("old-version").runs.first)
        #expect(run.failure == nil)
        #expect(run.verdicts.map(\.held) == [true, true, true])
        #expect(run.faultyReplicas == [3])
        // Three peers, every ten milliseconds, unless this machine was slow; what the silent one does not say counts too.
        let attacker = try #require(run.attackers?.first)
        #expect(attacker.actor == "replica 3" && attacker.actions > 30)
        let attack = try #require(run.phase(.attack))
        #expect(attack.operations > 0)
    }

    @Test func `a replica that is killed loses its store, comes back empty, and all oracles hold`() async throws {
        let run = try #require(try await attack("lost-store").runs.first)
        #expect(run.failure == nil)
        #expect(run.verdicts.map(\.held) == [true, true, true])
        #expect(run.faultyReplicas == [])
        #expect(run.attackers == [AttackResults.Attacker(actor: "power", actions: 1)])
        let story = run.events.filter { $0.actor == "replica 3" }.map(\.text)
        #expect(story == ["is killed and loses its store", "is started again"])
    }

    @Test func `a primary that has room for one request in a batch proposes such, and all oracles hold`() async throws {
        let run = try #require(try await attack("small-batches").runs.first)
        #expect(run.failure == nil)
        #expect(run.verdicts.map(\.held) == [true, true, true])
        let attacker = try #require(run.attackers?.first)
        #expect(attacker.actor == "replica 0" && attacker.actions > 0)
    }

    @Test(.enabled(if: isRoot))
    func `each party has its machine, and an interrupt keeps the runs until then and leaves no machine behind`() throws
    {
        let directory = FileManager.default.temporaryDirectory.appending(path: "aardvark-attack-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let started = try StartedLab(
            ["attack", "--emulate", "--protocols", "aardvark", "--profiles", "big-mac", "--seconds", "1"]
                + ["--repeat", "2", "--clients", "2", "--output", directory],
            untilSaying: "aardvark-big-mac-2  1/"
        )
        let lab = started.process
        let path = "\(directory)/results.json"
        func results() throws -> AttackResults {
            try AttackResults(json: Array(Data(contentsOf: URL(filePath: path))), path: path)
        }
        #expect(try results().stopped == "it did not come to its end, after 1 of 2 runs")
        kill(lab.processIdentifier, SIGINT)
        _ = try started.progress.fileHandleForReading.readToEnd()
        lab.waitUntilExit()
        #expect(lab.terminationStatus == 69)
        #expect(!EmulationLeftovers.found().contains(lab.processIdentifier))

        let results = try results()
        #expect(results.stopped == "it was interrupted, after 1 of 2 runs")
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory).allSatisfy { !$0.contains("big-mac-2") })
        let emulation = results.settings.emulation
        #expect(emulation.kind == .namespaces)
        // 4 replicas, the correct clients, and the faulty one have 90 % of all processors.
        #expect(emulation.processorPercent.map { $0 * 6 <= 90 * results.machine.cores } ?? !emulation.missing.isEmpty)

        let run = try #require(results.runs.first)
        #expect(run.failure == nil)
        #expect(run.faultyClients == [2])
        #expect(run.verdicts.allSatisfy { $0.held != false })
        let attackers = run.samples.compactMap(\.cpuMicrosecondsOfAttackers)
        #expect(attackers.count == run.samples.count)
        for replica in 0..<4 {
            let seconds = run.samples.flatMap(\.replicas).filter { $0.replica == replica }
            #expect(seconds.compactMap(\.bytesReceived).reduce(0, +) > 10_000)
            #expect(seconds.compactMap(\.bytesSent).reduce(0, +) > 10_000)
            let used = seconds.compactMap(\.cpuMicroseconds)
            #expect(used.reduce(0, +) > 0)
            // Nobody uses more than its share, give or take how exactly a second is met.
            if let share = emulation.processorPercent {
                #expect(used.reduce(0, +) < UInt64(share * run.samples.count * 15_000))
            }
        }
    }

    @Test
    func
        `a run beyond the model is found, keeps its files and says where, and each correct replica's recording replays`()
        throws
    {
        let directory = FileManager.default.temporaryDirectory.appending(path: "aardvark-attack-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let (status, text) = try lab(
            ["attack", "--no-emulate", "--protocols", "aardvark", "--profiles", "out-of-model", "--seconds", "2"]
                + ["--repeat", "1", "--record", "--output", directory]
        )
        let path = "\(directory)/results.json"
        let results = try AttackResults(json: Array(Data(contentsOf: URL(filePath: path))), path: path)
        let run = try #require(results.runs.first)
        #expect(run.isOutOfModel && run.failure == nil)
        #expect(run.faultyReplicas == [0, 3])
        // Two correct replicas execute different batches, and that is found.
        #expect(run.verdicts.first { $0.oracle == "one history" }?.held == false)
        #expect(status == 0 && !text.contains("no oracle noticed"))

        let kept = try #require(run.keptFiles)
        #expect(text.contains("The logs of aardvark under out-of-model, repetition 1,"))
        #expect(text.contains("are kept in \(kept)."))
        let files = try FileManager.default.contentsOfDirectory(atPath: kept)
        #expect(Set(files).isSuperset(of: (0..<4).map { "replica-\($0).log" }))
        let recordings = files.filter { $0.hasSuffix(".recording") }.sorted()
        #expect(recordings == ["replica-1.recording", "replica-2.recording"])
        for recording in recordings {
            let (status, text) = try lab(["replay", "\(kept)/\(recording)"])
            #expect(status == 0)
            #expect(text.contains("the same run: every input had the effects that were recorded"))
        }
    }

    /// Runs the lab to its end.
    ///
    /// - Returns: Its exit code and its output.
    private func lab(_ words: [String]) throws -> (status: Int32, output: String) {
        let lab = Process()
        let output = Pipe()
        lab.executableURL = try BuiltProgram.url("aardvark-lab")
        lab.arguments = words
        lab.standardInput = FileHandle.nullDevice
        lab.standardOutput = output
        lab.standardError = FileHandle.nullDevice
        try lab.run()
        let bytes = try output.fileHandleForReading.readToEnd() ?? Data()
        lab.waitUntilExit()
        return (lab.terminationStatus, String(decoding: bytes, as: UTF8.self))
    }

    @Test func `what a process used is read whatever its name is`() throws {
        let devices = """
            Inter-|   Receive                                                |  Transmit
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
                lo:  999999      10    0    0    0     0          0         0   999999      10    0    0    0     0       0          0
             peer1:    1000      10    0    0    0     0          0         0       20       1    0    0    0     0       0          0
            clients:     234       3    0    0    0     0          0         0        1       1    0    0    0     0       0          0

            """
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 100 0 0 0 150 25 9 9 20 0 1 0 100 1000 100"
        let usage = try #require(ProcessUsage(stat: stat, devices: devices, ticksPerSecond: 100))
        #expect(usage.cpuMicroseconds == 1_750_000)
        #expect(usage.bytesReceived == 1_234)
        #expect(usage.bytesSent == 21)
        #expect(ProcessUsage(stat: "12 (a) S 1", devices: devices, ticksPerSecond: 100) == nil)
        #expect(ProcessUsage(stat: "", devices: devices, ticksPerSecond: 100) == nil)
    }
}
