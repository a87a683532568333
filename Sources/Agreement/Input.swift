import Cryptography
import Messages

/// One call of a ``Replica``'s input methods as a value, so that it can be recorded and made again.
public enum Input: Sendable {
    /// A message of a peer, never one of state transfer.
    case message(PeerMessage, from: ReplicaID)
    /// A request over its client's own channel: ``Replica/receive(_:now:into:)``
    case request(Unverified<Request>)
    /// A read of a client.
    case read(ReadRequest, from: ClientID)
    /// ``Replica/peerConnected(_:now:into:)``
    case peerConnected(ReplicaID)
    /// ``Replica/turnEnded(now:into:)``
    case turnEnded
    /// ``Replica/timePassed(now:into:)``
    case timePassed
    /// ``Replica/requestChecked(_:from:now:into:)``
    case requestChecked(Verified<Request>?, from: RequestSource)
    /// ``Replica/forwardRefused(_:now:into:)``
    case forwardRefused(Evidence)
    /// ``Replica/batchChecked(_:valid:now:into:)``
    case batchChecked(BatchPlace, valid: Bool)
    /// ``Replica/checkpointVerified(_:now:into:)``
    case checkpointVerified(Verified<Checkpoint>)
    /// ``Replica/certificateVerified(_:now:into:)``
    case certificateVerified(Verified<CheckpointCertificate>)
    /// ``Replica/startLearning(now:into:)``
    case startLearning
    /// ``Replica/viewChangeVerified(_:from:now:into:)``
    case viewChangeVerified(Verified<ViewChange>, from: ReplicaID)
    /// ``Replica/newViewVerified(_:from:now:into:)``
    case newViewVerified(Verified<NewView>, from: ReplicaID)
    /// ``Replica/executed(_:results:now:into:)``
    case executed(SequenceNumber, results: [[[UInt8]]])
    /// ``Replica/checkpointTaken(_:root:now:into:)``
    case checkpointTaken(SequenceNumber, root: Digest)
    /// ``Replica/stateInstalled(_:records:now:into:)``
    case stateInstalled(SequenceNumber, records: [SystemRecord])
}

extension Input {
    /// What came of ``Effect/checkRequest(_:from:)``.
    ///
    /// - Parameters:
    ///   - request: The request, or nil when its authentication is wrong.
    ///   - check: What was to be checked.
    ///   - source: Where it came from, as the effect said.
    public static func verdict(
        _ request: Verified<Request>?,
        on check: RequestCheck,
        from source: RequestSource
    ) -> Input {
        if request == nil, let evidence = check.evidence { return .forwardRefused(evidence) }
        return .requestChecked(request, from: source)
    }
}

extension Replica {
    /// Calls the input method that the input names.
    public mutating func step(_ input: Input, now: ClockReading, into effects: inout [Effect]) {
        switch input {
        case .message(let message, let peer):
            receive(message, from: peer, now: now, into: &effects)
        case .request(let request):
            receive(request, now: now, into: &effects)
        case .read(let read, let client):
            receive(read, from: client, now: now, into: &effects)
        case .peerConnected(let peer):
            peerConnected(peer, now: now, into: &effects)
        case .turnEnded:
            turnEnded(now: now, into: &effects)
        case .timePassed:
            timePassed(now: now, into: &effects)
        case .requestChecked(let request, let source):
            requestChecked(request, from: source, now: now, into: &effects)
        case .forwardRefused(let evidence):
            forwardRefused(evidence, now: now, into: &effects)
        case .batchChecked(let place, let isValid):
            batchChecked(place, valid: isValid, now: now, into: &effects)
        case .checkpointVerified(let checkpoint):
            checkpointVerified(checkpoint, now: now, into: &effects)
        case .certificateVerified(let certificate):
            certificateVerified(certificate, now: now, into: &effects)
        case .startLearning:
            startLearning(now: now, into: &effects)
        case .viewChangeVerified(let viewChange, let peer):
            viewChangeVerified(viewChange, from: peer, now: now, into: &effects)
        case .newViewVerified(let newView, let peer):
            newViewVerified(newView, from: peer, now: now, into: &effects)
        case .executed(let sequence, let results):
            executed(sequence, results: results, now: now, into: &effects)
        case .checkpointTaken(let sequence, let root):
            checkpointTaken(sequence, root: root, now: now, into: &effects)
        case .stateInstalled(let sequence, let records):
            stateInstalled(sequence, records: records, now: now, into: &effects)
        }
    }
}
