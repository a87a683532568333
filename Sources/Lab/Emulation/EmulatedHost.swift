import Aardvark
import Foundation

/// What was made on this host for emulated machines.
final class EmulatedHost: Sendable {
    let names: EmulationNames
    private let groups: ControlGroups?
    private let remover: EmulationRemover

    /// Whether each machine has a share of the processors.
    var hasQuotas: Bool { groups != nil }
    /// Whether each link has a rate.
    let hasRates: Bool
    /// What the host did not permit, as sentences.
    let missing: [String]

    /// Makes namespaces, links and control groups.
    ///
    /// - Throws: Where namespaces or links cannot be made; nothing is left behind then.
    init(_ plan: Emulation.Plan, names: EmulationNames) throws(OperatorError) {
        guard geteuid() == 0 else {
            throw OperatorError(.noPermission, "network namespaces can be made by root only")
        }
        self.names = names
        // Before anything is made, so that whatever happens from here on leaves nothing behind.
        remover = try EmulationRemover(prefix: names.prefix)
        var missing: [String] = []
        do {
            try Self.makeNetwork(plan, names)
        } catch {
            remover.remove()
            throw error
        }
        do {
            try Self.limitRates(plan, names)
            hasRates = true
        } catch {
            missing.append("The links have no rate: \(error.sentence)")
            hasRates = false
        }
        do {
            groups = try ControlGroups(plan, names)
        } catch {
            missing.append("The machines share all processors: \(error.sentence)")
            groups = nil
        }
        self.missing = missing
    }

    deinit {
        remover.remove()
    }

    func remove() {
        remover.remove()
    }

    func prefix(for machine: Emulation.Machine) -> [String] {
        let enter = ["ip", "netns", "exec", names.namespace(of: machine)]
        guard let file = groups?.membersFile(of: machine) else { return ["/usr/bin/env"] + enter }
        // The shell puts itself into the group and then becomes the command, so that no moment of it is outside.
        return ["/bin/sh", "-c", "echo $$ > \(file) && exec \"$@\"", "sh"] + enter
    }

    private static func machines(_ plan: Emulation.Plan) -> [Emulation.Machine] {
        (0..<plan.replicas).map { .replica($0) } + (0..<plan.clientMachines).map { .clients($0) }
    }

    private static func makeNetwork(_ plan: Emulation.Plan, _ names: EmulationNames) throws(OperatorError) {
        let machines = machines(plan)
        var lines = (machines.map(names.namespace) + [names.switchNamespace]).map { "netns add \($0)" }
        // Both ends are made where they belong, so that no interface shows on the host even for a moment.
        for replica in 0..<plan.replicas {
            let here = names.namespace(of: .replica(replica))
            for peer in (replica + 1)..<max(plan.replicas, replica + 1) {
                let there = names.namespace(of: .replica(peer))
                lines.append("link add peer\(peer) netns \(here) type veth peer name peer\(replica) netns \(there)")
            }
        }
        for machine in machines {
            let (here, there) = (names.namespace(of: machine), names.switchNamespace)
            lines.append("link add clients netns \(here) type veth peer name \(machine.name) netns \(there)")
        }
        try HostCommand.run(["ip", "-batch", "-"], input: lines)

        let ports = machines.map(\.name)
        try HostCommand.run(
            ["ip", "-n", names.switchNamespace, "-batch", "-"],
            input: ["link add bridge type bridge", "link set bridge up"]
                + ports.flatMap { ["link set \($0) master bridge", "link set \($0) up"] }
        )
        for machine in machines {
            try HostCommand.run(
                ["ip", "-n", names.namespace(of: machine), "-batch", "-"],
                input: ["link set lo up"]
                    + interfaces(of: machine, plan).flatMap { name, address in
                        ["addr add \(address) dev \(name)", "link set \(name) up"]
                    }
            )
        }
    }

    /// A machine's interfaces with their addresses.
    private static func interfaces(
        of machine: Emulation.Machine,
        _ plan: Emulation.Plan
    ) -> [(name: String, address: String)] {
        switch machine {
        case .clients(let number): [("clients", EmulationNames.address(ofClientMachine: number) + "/24")]
        case .replica(let number):
            [("clients", EmulationNames.clientAddress(ofReplica: number) + "/24")]
                + (0..<plan.replicas).filter { $0 != number }.map { peer in
                    let address = EmulationNames.peerAddress(of: number, towards: peer, replicas: plan.replicas)
                    return ("peer\(peer)", address + "/30")
                }
        }
    }

    /// Each end of a link sends at its rate at most, what it receives is held up by the sender's end.
    private static func limitRates(_ plan: Emulation.Plan, _ names: EmulationNames) throws(OperatorError) {
        let queue = "root tbf rate \(plan.linkMegabits)mbit burst 256kb latency 50ms"
        for machine in machines(plan) {
            try HostCommand.run(
                ["tc", "-n", names.namespace(of: machine), "-batch", "-"],
                input: interfaces(of: machine, plan).map { "qdisc add dev \($0.name) \(queue)" }
            )
        }
        try HostCommand.run(
            ["tc", "-n", names.switchNamespace, "-batch", "-"],
            input: machines(plan).map { "qdisc add dev \($0.name) \(queue)" }
        )
    }
}

/// Shares of the processors by control groups, of version 2 or 1.
struct ControlGroups: Sendable {
    private static let root = "/sys/fs/cgroup"
    /// Short, so that a machine that has used its share up stands still for a short time only.
    private static let periodMicroseconds = 10_000

    private let directory: String
    private let names: EmulationNames

    /// Makes a group for each machine.
    ///
    /// - Throws: Where the host has no groups that limit processor time, or does not let this process make some.
    init(_ plan: Emulation.Plan, _ names: EmulationNames) throws(OperatorError) {
        self.names = names
        let isVersion2 = FileManager.default.fileExists(atPath: "\(Self.root)/cgroup.controllers")
        directory = isVersion2 ? "\(Self.root)/\(names.prefix)" : "\(Self.root)/cpu/\(names.prefix)"
        if isVersion2 { try Self.write("+cpu", to: "\(Self.root)/cgroup.subtree_control") }
        try Self.make(directory)
        if isVersion2 { try Self.write("+cpu", to: "\(directory)/cgroup.subtree_control") }
        let machines: [Emulation.Machine] =
            (0..<plan.replicas).map { .replica($0) } + (0..<plan.clientMachines).map { .clients($0) }
        let quota = max(1_000, Self.periodMicroseconds * plan.processorPercent / 100)
        for machine in machines {
            let group = group(of: machine)
            try Self.make(group)
            if isVersion2 {
                try Self.write("\(quota) \(Self.periodMicroseconds)", to: "\(group)/cpu.max")
            } else {
                try Self.write("\(Self.periodMicroseconds)", to: "\(group)/cpu.cfs_period_us")
                try Self.write("\(quota)", to: "\(group)/cpu.cfs_quota_us")
            }
        }
    }

    private func group(of machine: Emulation.Machine) -> String { "\(directory)/\(names.namespace(of: machine))" }

    /// The file that a process writes its number into to become a member of a machine's group.
    func membersFile(of machine: Emulation.Machine) -> String { "\(group(of: machine))/cgroup.procs" }

    private static func make(_ directory: String) throws(OperatorError) {
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        } catch {
            throw OperatorError(.noPermission, "the control group \(directory) cannot be made")
        }
    }

    private static func write(_ text: String, to file: String) throws(OperatorError) {
        do {
            let handle = try FileHandle(forWritingTo: URL(filePath: file))
            try handle.write(contentsOf: Array("\(text)\n".utf8))
            try handle.close()
        } catch {
            throw OperatorError(.noPermission, "\(file) does not accept \(text)")
        }
    }
}
