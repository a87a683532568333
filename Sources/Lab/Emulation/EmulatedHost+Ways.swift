import Aardvark

/// Closing ways between emulated machines.
extension EmulatedHost {
    /// A hardware address that no interface has: those that the system chooses are never this one.
    private static let nobody = "02:00:00:00:00:01"

    /// Closes or opens ways: while one is closed, every packet that leaves on it has a hardware address that nobody has, so that it is
    /// lost without anybody being told, as behind a switch that has failed.
    func set(_ ways: Set<Emulation.Way>, areOpen: Bool, _ plan: Emulation.Plan) throws(OperatorError) {
        for (machine, ways) in Dictionary(grouping: ways, by: \.from).sorted(by: { $0.key.name < $1.key.name }) {
            let lines = ways.map { way in
                let (interface, address) = Self.neighbour(way, plan)
                return areOpen
                    ? "neigh del \(address) dev \(interface)"
                    : "neigh replace \(address) lladdr \(Self.nobody) dev \(interface) nud permanent"
            }
            try HostCommand.run(["ip", "-n", names.namespace(of: machine), "-batch", "-"], input: lines)
        }
    }

    /// Breaks all connections of a replica with others.
    ///
    /// - Returns: How many there were.
    func breakConnections(of replica: Int) throws(OperatorError) -> Int {
        let name = names.namespace(of: .replica(replica))
        let listed = try HostCommand.run(
            ["ip", "netns", "exec", name, "ss", "--kill", "--no-header", "--tcp", "dst", EmulationNames.peerNetwork],
            input: []
        )
        return listed.split(separator: "\n").count
    }

    /// The interface that a way leaves by, and the address at its other end.
    private static func neighbour(_ way: Emulation.Way, _ plan: Emulation.Plan) -> (interface: String, address: String)
    {
        switch (way.from, way.to) {
        case (.replica(let from), .replica(let to)):
            ("peer\(to)", EmulationNames.peerAddress(of: to, towards: from, replicas: plan.replicas))
        case (.clients, .replica(let to)): ("clients", EmulationNames.clientAddress(ofReplica: to))
        case (_, .clients(let to)): ("clients", EmulationNames.address(ofClientMachine: to))
        }
    }
}
