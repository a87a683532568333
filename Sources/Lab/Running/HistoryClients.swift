import Aardvark
import KeyValueService
import Simulation
import Synchronization

/// Clients that increment and read the same few counters beside the load, at a leisurely pace, so that it can be checked whether what they
/// saw is linearizable: the load's own writes have a key each, which shows nothing about order.
final class HistoryClients: Sendable {
    private static let counters = 2
    /// How long each client waits between its operations: what they cost must not matter beside the load.
    private static let pause = Duration.milliseconds(25)
    /// The most operations that are kept; after that nothing more is asked.
    private static let mostOperations = 20_000

    private let clients: [Client]
    private let history = Mutex(CounterHistory())
    private let start = ContinuousClock.now

    init(_ clients: [Client]) {
        self.clients = clients
    }

    /// Works until the task is cancelled.
    func work() async {
        await withDiscardingTaskGroup { group in
            for (index, client) in clients.enumerated() {
                group.addTask { await self.work(client, index) }
            }
        }
    }

    private func work(_ client: Client, _ index: Int) async {
        var number = index
        while !Task.isCancelled, history.withLock({ $0.entries.count < Self.mostOperations }) {
            number += 1
            let counter = UInt8(number % Self.counters)
            let isRead = number / Self.counters % 2 == 0
            let called = now
            let answer = await ask(client, counter, isRead: isRead).map { (returned: now, value: $0) }
            let entry = CounterHistory.Entry(counter: counter, isRead: isRead, called: called, answer: answer)
            history.withLock { $0.add(entry) }
            try? await Task.sleep(for: Self.pause)
        }
    }

    private var now: UInt64 {
        let passed = (ContinuousClock.now - start).components
        return UInt64(passed.seconds) * 1_000_000_000 + UInt64(passed.attoseconds / 1_000_000_000)
    }

    /// Does one operation.
    ///
    /// - Returns: The counter's value; nil when it is unknown whether the operation took effect.
    private func ask(_ client: Client, _ counter: UInt8, isRead: Bool) async -> UInt64? {
        let key = Array("history/\(counter)".utf8)
        let operation = isRead ? KeyValueOperation.get(key: key) : .increment(key: key, by: 1)
        guard let result = try? await client.invoke(operation.encoded, isReadOnly: isRead) else { return nil }
        switch KeyValueResult(encoded: result) {
        case .number(let sum): return UInt64(clamping: sum)
        case .value(nil): return 0
        // What is no number is no value that the counter had.
        case .value(let value?): return UInt64(String(decoding: value, as: UTF8.self)) ?? .max
        default: return .max
        }
    }

    /// What the clients saw, once they do nothing any more.
    var verdict: AttackResults.Verdict {
        let history = history.withLock(\.self)
        let what = "\(history.entries.count) operations of \(clients.count) clients on \(Self.counters) counters"
        let (held, detail) =
            switch history.verdict {
            case .linearizable: (true, "\(what) are linearizable")
            case .violated(let counter): (false, "what clients saw of counter \(counter) has no order: \(what)")
            case .undecided(let counter): (false, "the search for an order of counter \(counter) was given up: \(what)")
            }
        return AttackResults.Verdict(oracle: "linearizability", held: held, detail: detail)
    }
}
