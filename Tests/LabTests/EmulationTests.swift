import Aardvark
import Foundation
import TestSupport
import Testing

@testable import Lab

@Suite(.serialized)
struct EmulationTests {
    /// Whether this user may make network namespaces.
    static let isRoot = geteuid() == 0

    private func run(_ words: [String]) throws -> (status: Int32, output: String) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: words[0])
        process.arguments = Array(words.dropFirst())
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let bytes = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: bytes, as: UTF8.self))
    }

    private var own: Int32 { ProcessInfo.processInfo.processIdentifier }

    @Test func `every link between replicas is a network of its own`() {
        for replicas in [4, 7, 10, 13] {
            var links: [String: Set<String>] = [:]
            for replica in 0..<replicas {
                for peer in 0..<replicas where peer != replica {
                    let address = EmulationNames.peerAddress(of: replica, towards: peer, replicas: replicas)
                    let parts = address.split(separator: ".")
                    #expect(Int(parts[2]).map { $0 < 256 } ?? false)
                    links[parts.dropLast().joined(separator: "."), default: []].insert(address)
                }
            }
            #expect(links.count == replicas * (replicas - 1) / 2)
            #expect(links.values.allSatisfy { $0.count == 2 })
        }
    }

    @Test func `only the lab's own names are its own`() {
        #expect(EmulationNames.process(of: "aardvark-lab-12") == 12)
        #expect(EmulationNames.process(of: "aardvark-lab-12-r0") == 12)
        for name in ["aardvark-lab-", "aardvark-lab-x", "aardvark-lab-12x", "my-aardvark-lab-12", "aardvark-12-r0", ""]
        {
            #expect(EmulationNames.process(of: name) == nil, "\(name)")
        }
    }

    @Test func `the shares of the machines sum to no more than the processors given`() {
        for machines in [(4, 1), (4, 3), (13, 5)] {
            let plan = Emulation.Plan(wish: .never, replicas: machines.0, clientMachines: machines.1, cores: 1.9)
            #expect(plan.processorPercent > 0)
            #expect(plan.processorPercent * (machines.0 + machines.1) <= 190)
        }
    }

    @Test func `without machines everything is on the loopback interface, and the record says so`() throws {
        let emulation = try Emulation(
            Emulation.Plan(wish: .never, replicas: 4, clientMachines: 1, cores: 1)
        )
        #expect(emulation.prefix(for: .replica(0)).isEmpty)
        #expect(emulation.clientHost(of: 3) == "127.0.0.1")
        #expect(emulation.peerHost(of: 3, for: 0) == "127.0.0.1")
        #expect(emulation.record.kind == .loopback)
    }

    @Test(.enabled(if: !isRoot))
    func `without the rights the record says what is missing, or nothing is made`() throws {
        var plan = Emulation.Plan(wish: .ifPossible, replicas: 4, clientMachines: 1, cores: 1)
        #expect(
            try Emulation(plan).record.missing
                == ["No machines were emulated: network namespaces can be made by root only"]
        )
        plan.wish = .always
        #expect(throws: OperatorError.self) { try Emulation(plan) }
    }

    @Test(.enabled(if: isRoot))
    func `machines have their own interfaces and addresses, and all of it goes away again`() throws {
        let emulation = try Emulation(
            Emulation.Plan(wish: .always, replicas: 4, clientMachines: 2, cores: 1)
        )
        defer { emulation.remove() }
        #expect(EmulationLeftovers.found().contains(own))
        let (status, addresses) = try run(emulation.prefix(for: .replica(1)) + ["ip", "-brief", "-4", "address"])
        #expect(status == 0)
        let interfaces = addresses.split(separator: "\n").map { String($0.prefix { $0 != "@" && $0 != " " }) }
        #expect(interfaces.sorted() == ["clients", "lo", "peer0", "peer2", "peer3"])
        #expect(addresses.contains("\(emulation.clientHost(of: 1))/24"))
        for peer in [0, 2, 3] { #expect(addresses.contains("\(emulation.peerHost(of: 1, for: peer))/30")) }

        // A word from a peer and one from a client machine reach the replica, each over its own interface.
        for (machine, host) in [
            (Emulation.Machine.replica(3), emulation.peerHost(of: 1, for: 3)),
            (.clients(1), emulation.clientHost(of: 1)),
        ] {
            let (status, route) = try run(emulation.prefix(for: machine) + ["ip", "route", "get", host])
            #expect(status == 0)
            #expect(route.contains(machine == .replica(3) ? "dev peer1" : "dev clients"), "\(route)")
        }

        // Nobody listens there: whoever reaches a peer is refused, and where a way is closed there is no answer at all.
        let way = Emulation.Way(from: .replica(0), to: .replica(1))
        let knock = { (from: Int, peer: Int, limit: [String]) in
            let door = "exec 3<>/dev/tcp/\(emulation.peerHost(of: peer, for: from))/9"
            return try run(emulation.prefix(for: .replica(from)) + limit + ["bash", "-c", door]).status
        }
        #expect(try knock(0, 1, []) == 1)
        try emulation.close([way])
        #expect(try knock(0, 1, ["timeout", "-s", "KILL", "0.3"]) != 1)
        #expect(try knock(0, 2, []) == 1)
        try emulation.open([way])
        #expect(try knock(0, 1, []) == 1)
        #expect(try emulation.breakConnections(of: 0) == 0)

        // Whatever still runs on a machine ends with it.
        let left = Process()
        let words = emulation.prefix(for: .clients(0)) + ["sh", "-c", "echo started; exec sleep 600"]
        left.executableURL = URL(filePath: words[0])
        left.arguments = Array(words.dropFirst())
        let output = Pipe()
        left.standardOutput = output
        try left.run()
        // Only what has arrived on its machine can be ended there.
        #expect(try output.fileHandleForReading.read(upToCount: 8) == Data("started\n".utf8))
        emulation.remove()
        left.waitUntilExit()
        #expect(left.terminationReason == .uncaughtSignal)
        #expect(!EmulationLeftovers.found().contains(own))
    }

    @Test(.enabled(if: isRoot))
    func `what a process left behind that is no more is removed, what a live one has is not`() throws {
        // A process that has ended: its number is not given again so soon.
        let (_, text) = try run(["/bin/sh", "-c", "echo $$"])
        let ended = try #require(Int32(text.dropLast()))
        let live = ProcessInfo.processInfo.processIdentifier
        try HostCommand.run(
            ["ip", "-batch", "-"],
            input: [
                "netns add aardvark-lab-\(ended)-r0", "netns add aardvark-lab-\(ended)0x",
                "netns add aardvark-lab-\(live)-r9",
            ]
        )
        defer {
            for name in ["\(ended)0x", "\(live)-r9"] {
                _ = try? HostCommand.run(["ip", "netns", "delete", "aardvark-lab-\(name)"], input: [])
            }
        }
        let runs = try EmulationLeftovers.remove()
        #expect(runs.contains(EmulationLeftovers.Run(process: ended, isAlive: false)))
        #expect(!runs.contains { $0.process == live })
        let (_, left) = try run(["/usr/bin/env", "ip", "netns", "list"])
        #expect(!left.contains("aardvark-lab-\(ended)-r0"))
        #expect(left.contains("aardvark-lab-\(ended)0x"))
        #expect(left.contains("aardvark-lab-\(live)-r9"))
    }

    @Test(.enabled(if: isRoot))
    func `what is left when a lab is killed together with its guard is removed by the command for it`() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "aardvark-killed-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let started = try StartedLab(
            ["attack", "--emulate", "--protocols", "pbft", "--profiles", "none", "--seconds", "4"]
                + ["--repeat", "1", "--clients", "2", "--output", directory],
            untilSaying: "pbft-none-1  1/"
        )
        let lab = started.process
        let (_, children) = try run(["/usr/bin/env", "pgrep", "-P", "\(lab.processIdentifier)", "-x", "sh"])
        let guards = children.split(separator: "\n").compactMap { Int32($0) }
        #expect(guards.count == 1)
        for process in guards + [lab.processIdentifier] { kill(process, SIGKILL) }
        lab.waitUntilExit()
        #expect(EmulationLeftovers.found().contains(lab.processIdentifier))

        let (status, told) = try run([BuiltProgram.url("aardvark-lab").path, "clean"])
        #expect(status == 0)
        #expect(told.contains("removed: the machines of process \(lab.processIdentifier)\n"))
        #expect(!EmulationLeftovers.found().contains(lab.processIdentifier))
        let (_, left) = try run(["/usr/bin/env", "pgrep", "-f", "\(directory)/"])
        #expect(left.isEmpty)
    }

    @Test func `a command that fails is told with its complaint`() {
        #expect {
            try HostCommand.run(["sh", "-c", "cat > /dev/null; echo no such luck >&2; exit 3"], input: ["x"])
        } throws: { error in
            "\(error)".hasSuffix("failed: no such luck")
        }
    }
}
