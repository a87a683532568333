import Cryptography
import Invariants
import Messages

/// Gives a recorded run's inputs to the same engine, and finds the first input at which it does something else.
public struct Replay: ~Copyable {
    /// How a run differs from its recording.
    public enum Deviation: Hashable, Sendable, CustomStringConvertible {
        /// The input is the answer to something that the engine did not ask for, or no input that a shell gives.
        case unasked
        /// The input had another number of effects.
        case otherNumber(recorded: UInt32, replayed: Int)
        /// As many effects came, but not the same.
        case otherEffects

        /// What is different, in a clause.
        public var description: String {
            switch self {
            case .unasked: "it answers what the engine did not ask for"
            case .otherNumber(let recorded, let replayed):
                "it had \(recorded) effects in the recording and has \(replayed) now"
            case .otherEffects: "its effects are not those of the recording"
            }
        }
    }

    /// The engine.
    public private(set) var replica: Replica

    private let configuration: ReplicaConfiguration
    private var digest = EffectDigest()
    /// The execution that the shell was asked for: for each request, the number of its operations.
    private var execution: (sequence: SequenceNumber, operations: [Int])?
    private var checkpoints: Set<SequenceNumber> = []
    private var state: SequenceNumber?
    private var isTentative = false

    /// Begins a run as the recorded one began.
    public init(of start: RecordedStart) {
        configuration = start.configuration
        let signer = RecordedSigner(signatures: start.signatures)
        replica =
            if let recovery = start.recovery {
                Replica(configuration: configuration, signer: signer, recovering: recovery)
            } else {
                Replica(configuration: configuration, signer: signer)
            }
    }

    /// Gives the engine the next input.
    ///
    /// - Returns: Its effects, and the first thing that is not as recorded. After a deviation the run is over.
    public mutating func step(_ recorded: RecordedInput) -> (effects: [Effect], deviation: Deviation?) {
        guard isExpected(recorded.input) else { return ([], .unasked) }
        settle(recorded.input)
        var effects: [Effect] = []
        replica.signer = RecordedSigner(signatures: recorded.signatures)
        replica.step(recorded.input, now: recorded.now, into: &effects)
        for effect in effects { expect(effect) }
        digest.add(effects[...])
        if effects.count != Int(recorded.effects) {
            return (effects, .otherNumber(recorded: recorded.effects, replayed: effects.count))
        }
        return (effects, digest.prefix == recorded.digest ? nil : .otherEffects)
    }

    /// Whether a shell may give this input now. The engine takes that for granted, so it is made sure before.
    private func isExpected(_ input: Input) -> Bool {
        switch input {
        case .message(_, let peer), .peerConnected(let peer), .viewChangeVerified(_, let peer),
            .newViewVerified(_, let peer):
            configuration.size.contains(peer) && peer != configuration.replica
        case .requestChecked(_, .forwarded(let peer)):
            configuration.size.contains(peer) && peer != configuration.replica
        case .forwardRefused(let evidence):
            evidence.forwarder.map { configuration.size.contains($0) && $0 != configuration.replica } ?? false
        case .checkpointVerified(let checkpoint):
            configuration.size.contains(checkpoint.value.replica)
        case .certificateVerified(let certificate):
            certificate.value.isComplete(size: configuration.size)
        case .startLearning:
            replica.logPosition == .start && replica.executed == .zero
        case .executed(let sequence, let results):
            execution?.sequence == sequence && execution?.operations == results.map(\.count)
        case .checkpointTaken(let sequence, _):
            checkpoints.contains(sequence)
        case .stateInstalled(let sequence, _):
            state == sequence && execution == nil && !isTentative
        case .request, .read, .requestChecked, .batchChecked, .turnEnded, .timePassed:
            true
        }
    }

    private mutating func settle(_ input: Input) {
        switch input {
        case .executed: execution = nil
        case .checkpointTaken(let sequence, _): checkpoints.remove(sequence)
        case .stateInstalled: state = nil
        default: break
        }
    }

    private mutating func expect(_ effect: Effect) {
        switch effect {
        case .execute(let asked):
            execution = (asked.sequence, asked.requests.map(\.operationCount))
            isTentative = isTentative || asked.isTentative
        case .confirmExecution, .rollBackExecution: isTentative = false
        case .takeCheckpoint(let sequence): checkpoints.insert(sequence)
        case .fetchState(let sequence, root: _): state = sequence
        default: break
        }
    }
}

/// Gives the signatures that were recorded for an input, so that a replay needs no key.
private struct RecordedSigner: Signer {
    let signatures: [RecordedSignature]

    /// What nobody signed: the effects that carry it are not those of the recording.
    private static let none = Signature(Array(repeating: 0, count: Signature.byteCount))

    func sign(_ message: [UInt8]) -> Signature {
        let digest = Digest.of(message)
        guard let found = signatures.first(where: { $0.message == digest })?.signature ?? Self.none else {
            invariantViolated("a signature has 64 bytes")
        }
        return found
    }
}
