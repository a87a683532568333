import Agreement
import Messages

/// What the oracles are told of a correct replica's records and words.
extension SimulatedReplica {
    func persisted(_ record: LogRecord, at position: LogPosition) {
        if position.rawValue != disk.end {
            world.report(
                Violation(.durableFirst, "\(name) numbers a record \(position.rawValue), but it is the \(disk.end)th"),
                from: self
            )
        }
        switch record {
        case .stable(let sequence, let certificate):
            world.report(world.oracle.stabilised(sequence, certificate: certificate, by: id), from: self)
        case .newView(let newView, let members):
            world.report(world.oracle.begins(newView, with: members, at: id), from: self)
        case .prePrepared, .prepared, .viewChange, .learning:
            break
        }
    }

    /// A correct replica's words rest on durable records and contradict none of its words before.
    func watch(_ message: PeerMessage) {
        world.report(world.oracle.says(message, by: id), from: self)
        world.report(disk.breach(saying: message, as: id), from: self)
    }
}
