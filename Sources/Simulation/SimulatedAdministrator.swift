import Adversary
import Agreement
import Cryptography
import Messages

/// The administrator: changes who the clients are, and hands them their keys.
final class SimulatedAdministrator: ClientShell {
    private struct Order {
        let change: AdministrationStep.Change
        let client: ClientID
        /// The key that the client gets, if it gets one.
        let generation: Int
    }

    private var orders: [Order] = []
    /// By client: the latest of the orders that were answered.
    private var latest: [ClientID: Int] = [:]
    private var missing = 0
    /// The last key that was meant for each client.
    private var generations: [ClientID: Int] = [:]
    /// By operation: the request that carries it, and its place there.
    private var carriers: [(name: RequestName, place: Int)] = []
    private var lastNumber = RequestNumber.opening

    /// How many operations have no result.
    var unanswered: Int { missing }

    /// Makes a change, when it is its time.
    func carryOut(_ step: AdministrationStep) {
        let first = world.scenario.newcomers.contains(step.client) ? -1 : 0
        var generation = generations[step.client, default: first]
        if step.change == .add || step.change == .replaceKey {
            guard generation + 1 < KeyRing.generations else { return }
            generation += 1
            generations[step.client] = generation
        }
        let key = world.scenario.keys.publicKey(of: step.client, generation: max(generation, 0))
        let operation: AdministrationOperation =
            switch step.change {
            case .add: .add(step.client, key)
            case .replaceKey: .replaceKey(step.client, key)
            case .remove: .remove(step.client)
            case .list: .list(from: ClientID(0))
            }
        world.announceChange(of: step.client)
        submit(operation.encoded, ticket: orders.count)
        orders.append(Order(change: step.change, client: step.client, generation: generation))
        missing += 1
        flush()
    }

    override func made(_ request: Request) {
        world.oracle.made(request)
        if request.number > lastNumber {
            lastNumber = request.number
            carriers += (0..<request.operationCount).map { (RequestName(request), $0) }
        }
        world.happened(self, "?", request.number.rawValue, "\(request.session) \(request.number)")
    }

    override func completed(_ ticket: Int, _ result: [UInt8]) {
        missing -= 1
        let order = orders[ticket]
        world.report(world.oracle.took(result, of: carriers[ticket].name, operation: carriers[ticket].place), at: id)
        guard let result = try? AdministrationResult(decoding: result) else { return }
        // Orders take effect in their order, but results may arrive in another: the key of an earlier one is void by then.
        guard ticket > latest[order.client, default: -1] else { return }
        latest[order.client] = ticket
        world.happened(self, ".", UInt64(ticket), "\(order.change) \(order.client)")
        switch result {
        case .added, .keyReplaced: world.giveKey(order.generation, to: order.client)
        case .removed: world.shutOut(order.client)
        default: break
        }
    }

    override func lost(_ ticket: Int) {
        world.report(
            Violation(.rightResults, "the administrator is told that operation \(ticket) has no result"),
            at: id
        )
    }
}
