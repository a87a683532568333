import Aardvark
import Adversary
import Messages
import Synchronization

/// What a bad network does to what one replica sends and what clients send to it, as long as the attack is on: messages are lost, doubled or
/// late, while connections stay.
///
/// It stands between the replica and its links, since not every system can do so to packets. Every replica of a run has its own.
final class BadNetworkInterceptor: ReplicaInterceptor {
    /// What is late is late by that much, in nanoseconds.
    private static let lateness: ClosedRange<UInt64> = 1_000_000...20_000_000

    private let kinds: [NetworkFault.Kind]
    private let attack: AttackSwitch
    private var random: RandomStream

    init(_ kinds: [NetworkFault.Kind], random: RandomStream, while attack: AttackSwitch) {
        self.kinds = kinds
        self.random = random
        self.attack = attack
    }

    var period: UInt64? { nil }
    var proposedRequests: Int? { nil }

    func incoming(
        _ message: PeerMessage,
        from peer: ReplicaID,
        at progress: ReplicaProgress,
        into departures: inout [Departure]
    ) -> PeerMessage? { message }

    /// What is late is not held back here: a request can only be let pass or lost.
    func incoming(_ request: Request, at progress: ReplicaProgress, into departures: inout [Departure]) -> Request? {
        guard attack.isOn.load(ordering: .relaxed) else { return request }
        for case .lossy(let loss, _, _) in kinds where random.chance(perMille: loss) {
            attack.count(1)
            return nil
        }
        return request
    }

    func outgoing(
        _ message: PeerMessage,
        to peer: ReplicaID,
        at progress: ReplicaProgress,
        into departures: inout [Departure]
    ) {
        for delay in delays() { departures.append(.message(message, to: peer, after: delay)) }
    }

    func outgoing(
        _ answer: ReplicaAnswer,
        to client: ClientID,
        at progress: ReplicaProgress,
        into departures: inout [Departure]
    ) {
        for delay in delays() { departures.append(.answer(answer, to: client, after: delay)) }
    }

    func timePassed(at progress: ReplicaProgress, into departures: inout [Departure]) {}

    /// After which times a message arrives, in nanoseconds; none when it is lost.
    private func delays() -> [UInt64] {
        guard attack.isOn.load(ordering: .relaxed) else { return [0] }
        let delays = Self.delays(kinds, &random)
        if delays != [0] { attack.count(1) }
        return delays
    }

    /// Draws after which times a message arrives, in nanoseconds; none when it is lost.
    static func delays(_ kinds: [NetworkFault.Kind], _ random: inout RandomStream) -> [UInt64] {
        var delays: [UInt64] = [0]
        for kind in kinds {
            switch kind {
            case .lossy(let loss, let duplication, let reordering):
                if random.chance(perMille: loss) { return [] }
                if random.chance(perMille: duplication) { delays += delays }
                if random.chance(perMille: reordering) {
                    let late = random.within(lateness)
                    delays = delays.map { $0 + late }
                }
            case .slow(let most):
                for index in delays.indices { delays[index] += random.within(0...most) }
            case .divide, .isolatePrimary, .cut, .clients, .disconnect: break
            }
        }
        return delays
    }
}
