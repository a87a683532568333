/// One run of one protocol under one profile. All times are seconds since its ``AttackResults/Run/startedAt``.
extension AttackResults {
    package struct Run: Codable, Hashable, Sendable {
        /// The protocol, or one of its ablations, by the name on the command line: `pbft`, `aardvark`, `aardvark-without-signatures`.
        package var protocolName: String
        /// The profile's name.
        package var profile: String
        /// The scenario file's name, without directory and ending; nil when the run came from options alone.
        package var scenario: String?
        /// Which repetition it is, from 1.
        package var repetition: Int
        /// When it began, in UTC as ISO 8601 has it.
        package var startedAt: String
        /// Replicas that the profile has misbehave; replicas that the network merely mistreats are not among them.
        package var faultyReplicas: [Int]
        /// Clients that the profile has misbehave.
        package var faultyClients: [UInt64]
        /// What each of them did; nil in results of programs that did not count it.
        package var attackers: [Attacker]?
        /// Whether more than f replicas are faulty, so that an oracle has to find something.
        package var isOutOfModel: Bool
        /// How many correct clients send, from when on; the first step begins at 0.
        package var load: [LoadStep]
        /// The parts of the run, in order and without gaps between them.
        package var phases: [Phase]
        /// The run second by second, in order; the last may be shorter.
        package var samples: [Sample]
        /// What the attackers did, and what the lab did to them, in order.
        package var events: [Event]
        /// What each correct client got.
        package var clientShares: [ClientShare]
        /// What the oracles say, one entry an oracle.
        package var verdicts: [Verdict]
        /// Why the run did not come to its end; nil when it did. Such a run is in no figure of the summary.
        package var failure: String?
        /// Where its logs and recordings were kept; nil when they were removed because nothing was wrong. Beyond the fault model they
        /// always are.
        package var keptFiles: String?

        /// The phase of a kind.
        package func phase(_ kind: Phase.Kind) -> Phase? { phases.first { $0.kind == kind } }
    }

    /// What a faulty party did.
    package struct Attacker: Codable, Hashable, Sendable {
        /// Who it is, for example `replica 0`, `client 3`, `power`, `network`.
        package var actor: String
        /// How often it did something that a correct one does not: held a message back, changed or delayed it, or added one; of `power`,
        /// how often a replica was killed; of `network`, how many ways between machines were closed and connections broken.
        package var actions: UInt64
    }

    /// From when on a number of clients sends.
    package struct LoadStep: Codable, Hashable, Sendable {
        /// Since when.
        package var startSeconds: Double
        /// How many correct clients.
        package var clients: Int
    }

    /// A part of a run.
    package struct Phase: Codable, Hashable, Sendable {
        /// The parts that a run can have.
        package enum Kind: String, Codable, Sendable, CaseIterable {
            /// Before anything is measured.
            case warmup
            /// Measured, nobody misbehaves yet.
            case faultFree = "fault-free"
            /// The attack is on.
            case attack
            /// The attackers are correct again, or stopped.
            case after
        }

        /// Which part it is.
        package var kind: Kind
        /// Its beginning.
        package var startSeconds: Double
        /// Its end.
        package var endSeconds: Double
        /// Operations of correct clients that succeeded.
        package var operations: UInt64
        /// Operations of correct clients that failed.
        package var errors: UInt64
        /// The latencies of those that succeeded; nil when none did.
        package var latency: Latency?

        /// Its length.
        package var seconds: Double { endSeconds - startSeconds }
        /// Operations a second; nil for an empty phase.
        package var throughput: Double? { seconds > 0 ? Double(operations) / seconds : nil }
    }

    /// Latencies of correct clients' operations that succeeded, in microseconds, exact over the time that they describe.
    package struct Latency: Codable, Hashable, Sendable {
        /// The median.
        package var p50Microseconds: UInt64
        /// The 99th percentile.
        package var p99Microseconds: UInt64
        /// The 99.9th percentile.
        package var p999Microseconds: UInt64
        /// The longest.
        package var maxMicroseconds: UInt64
    }

    /// One second of a run.
    package struct Sample: Codable, Hashable, Sendable {
        /// Its beginning.
        package var startSeconds: Double
        /// Its length.
        package var durationSeconds: Double
        /// Operations of correct clients that succeeded.
        package var operations: UInt64
        /// Operations of correct clients that failed.
        package var errors: UInt64
        /// The latencies of those that succeeded; nil when none did.
        package var latency: Latency?
        /// The view that most correct replicas were in at its end; nil when too few told.
        package var view: UInt64?
        /// The primary of that view.
        package var primary: Int?
        /// What each replica did, those of which something is known.
        package var replicas: [ReplicaSample]
        /// Processor time of the correct clients, in microseconds; nil when it is not known.
        package var cpuMicrosecondsOfClients: UInt64?
        /// Processor time of the attacking clients, in microseconds; nil when there are none, or it is not known.
        package var cpuMicrosecondsOfAttackers: UInt64?

        /// Its end.
        package var endSeconds: Double { startSeconds + durationSeconds }
        /// Operations a second.
        package var throughput: Double { durationSeconds > 0 ? Double(operations) / durationSeconds : 0 }
    }

    /// What one replica did in one second. A figure that is not known is nil.
    package struct ReplicaSample: Codable, Hashable, Sendable {
        /// Its number.
        package var replica: Int
        /// The view that it was in at the end.
        package var view: UInt64?
        /// Processor time of its process, in microseconds, as the system tells it.
        package var cpuMicroseconds: UInt64?
        /// Bytes that it received from anybody: on an emulated machine what its interfaces counted, with all headers and whether it looked
        /// at them or not; otherwise what it took from its connections.
        package var bytesReceived: UInt64?
        /// Bytes that it sent to anybody.
        package var bytesSent: UInt64?
        /// Signatures that it checked, good and bad.
        package var signatureChecks: UInt64?
        /// View changes that it began.
        package var viewChanges: UInt64?
        /// Peers that it does not listen to for a while, at the end.
        package var cutOffPeers: [Int]?
        /// Clients on its blacklist, at the end.
        package var blacklistedClients: [UInt64]?
    }

    /// Something that happened at one moment.
    package struct Event: Codable, Hashable, Sendable {
        /// When.
        package var atSeconds: Double
        /// Who did it, for example `replica 0`, `client 3`, `network`, `lab`.
        package var actor: String
        /// What, in a few words, for example `delays proposals by 100 ms`.
        package var text: String
    }

    /// What one correct client got.
    package struct ClientShare: Codable, Hashable, Sendable {
        /// Its number.
        package var client: UInt64
        /// Whether the attack is aimed at this client.
        package var isVictim: Bool
        /// Operations that succeeded in the fault-free phase.
        package var faultFreeOperations: UInt64
        /// Operations that succeeded during the attack.
        package var attackOperations: UInt64
    }

    /// What an oracle says of a run.
    package struct Verdict: Codable, Hashable, Sendable {
        /// What it watches over, for example `one history`.
        package var oracle: String
        /// Whether it held; nil when there was nothing to judge.
        package var held: Bool?
        /// What it looked at when it held, for example `12 431 batches of 3 replicas`; what it found when it did not; why it could not
        /// judge.
        package var detail: String
    }
}
