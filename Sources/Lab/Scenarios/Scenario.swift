/// What `aardvark-lab attack` is to run, as a file in `Config/scenarios` says it.
package struct Scenario: Hashable, Sendable {
    /// The version of the format.
    package static let formatVersion = 1
    /// The largest file that is read, in bytes.
    package static let mostBytes = 64 << 10

    /// The lengths of a run's parts, in seconds.
    package struct Phases: Hashable, Sendable {
        /// Before anything is measured.
        package var warmup = 2
        /// Measured, without an attack.
        package var faultFree = 10
        /// The attack.
        package var attack = 20
        /// After the attack.
        package var after = 10

        /// All of them together.
        package var total: Int { warmup + faultFree + attack + after }
    }

    /// A part of the attack with a number of clients.
    package struct LoadPart: Hashable, Sendable {
        /// How many correct clients send.
        package var clients: Int
        /// For how long, in seconds.
        package var seconds: Int
    }

    /// The file's name without directory and ending.
    package var name: String
    /// What it is for, in a sentence.
    package var summary: String
    /// The profiles by name, or nil for all.
    package var profiles: [String]?
    /// The protocols that take turns.
    package var protocols: [ProtocolVariant] = [.pbft, .aardvark]
    /// n.
    package var replicas = 4
    /// How often each pair of protocol and profile is run.
    package var repeats = 3
    /// The seed of all random choices.
    package var seed: UInt64 = 1
    /// The load during the attack. Before it, as many clients send as in its first part, after it as many as in its last.
    package var load: [LoadPart]
    /// Requests that each client keeps outstanding.
    package var window = 1
    /// Operations in each request.
    package var bundle = 1
    /// The workload by name.
    package var workload = "null"
    /// The replicas' durability by name.
    package var durability = "none"
    /// The lengths of a run's parts.
    package var phases = Phases()

    /// The most clients that send at once.
    package var mostClients: Int { load.map(\.clients).max() ?? 0 }

    /// How many clients send from when on, in seconds since the run began; neighbouring steps differ.
    package var loadSteps: [AttackResults.LoadStep] {
        Self.steps(of: load, attackStart: phases.warmup + phases.faultFree)
    }

    /// How many clients send from when on, where the attack begins at a second; neighbouring steps differ.
    static func steps(of load: [LoadPart], attackStart: Int) -> [AttackResults.LoadStep] {
        var steps: [AttackResults.LoadStep] = []
        var start = attackStart
        for part in load {
            if steps.last?.clients != part.clients {
                let beginning = steps.isEmpty ? 0 : start
                steps.append(AttackResults.LoadStep(startSeconds: Double(beginning), clients: part.clients))
            }
            start += part.seconds
        }
        return steps
    }

    /// The load spike of Aublin, Ben Mokhtar and Quema (ICDCS 2013, section VI): 1, 10, 50, 10 and 1 clients.
    static func spike(seconds: Int) -> [LoadPart] {
        let clients = [1, 10, 50, 10, 1]
        return clients.enumerated().compactMap { index, count in
            let length = (index + 1) * seconds / clients.count - index * seconds / clients.count
            return length > 0 ? LoadPart(clients: count, seconds: length) : nil
        }
    }
}
