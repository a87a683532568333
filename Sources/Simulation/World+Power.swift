import Adversary
import Messages

/// Power that is lost and comes back.
extension World {
    func losePower(_ replica: ReplicaID, then: (SimulatedReplica) -> Void = { _ in }) {
        for node in copies[replica.index] where replicas[node].isUp {
            replicas[node].losePower()
            then(replicas[node])
            network.disconnectAll(of: node)
        }
    }

    /// A replica wrote to its disk, or a sync of it is done: the power may fail at this very moment.
    func wrote(_ replica: SimulatedReplica) {
        writes[replica.id.index] += 1
        for fault in faults {
            guard case .powerLossAtWrite(let loss) = fault.fault, loss.replica == replica.id,
                loss.write == writes[replica.id.index]
            else { continue }
            trace.line(now, "--", "~", "\(fault.name) happens")
            for id in loss.isTogether ? members : [loss.replica] {
                losePower(id)
                awaitedReturns += 1
                schedule(.powerReturns(id), after: loss.outage)
            }
        }
    }

    func powerReturns(to replica: ReplicaID) {
        awaitedReturns -= 1
        restart(replica)
    }

    func restart(_ replica: ReplicaID) {
        for node in copies[replica.index] where !replicas[node].isUp {
            replicas[node].restart()
            let others = replicas.count + clients.count + (administrator == nil ? 0 : 1)
            for other in 0..<others where !copies[replica.index].contains(other) {
                reconnect(node, other)
                reconnect(other, node)
            }
        }
    }
}
