import Aardvark
import Agreement
import KeyValueService
import Simulation
import Synchronization

/// Clients that increment and read the same few counters beside the load, at a leisurely pace, so that it can be checked whether what they
/// saw is linearizable: the load's own writes have a key each, which shows nothing about order. For a while they may all crowd round one
/// counter.
final class HistoryClients: Sendable {
    private static let oracle = "linearizability"
    private static let counters = 2
    /// How long each client waits between its operations: what they cost must not matter beside the load.
    private static let pause = Duration.milliseconds(25)
    /// How long in a crowd.
    private static let shortPause = Duration.milliseconds(1)
    /// The most operations that are kept; after that nothing more is asked.
    private static let mostOperations = 100_000

    private let clients: [Client]
    private let history = Mutex(CounterHistory())
    private let isContending = Atomic(false)

    init(_ clients: [Client]) {
        self.clients = clients
    }

    /// Whether all crowd round one counter from now on.
    func setContending(_ isOn: Bool) { isContending.store(isOn, ordering: .relaxed) }

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
            let isCrowd = isContending.load(ordering: .relaxed)
            let counter = isCrowd ? 0 : UInt8(number % Self.counters)
            let isRead = number / Self.counters % 2 == 0
            let called = Instant.now().nanoseconds
            let value = await ask(client, counter, isRead: isRead)
            let answer = value.map { (returned: Instant.now().nanoseconds, value: $0) }
            let entry = CounterHistory.Entry(counter: counter, isRead: isRead, called: called, answer: answer)
            history.withLock { $0.add(entry) }
            // A pace: nothing is waited for. When it is cancelled, the loop ends.
            try? await Task.sleep(for: isCrowd ? Self.shortPause : Self.pause)
        }
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
        guard history.entries.contains(where: { $0.answer != nil }) else {
            return AttackResults.Verdict(oracle: Self.oracle, held: nil, detail: "no operation had a result")
        }
        // When there is no more room the rest of the run is not looked at.
        let which = history.entries.count < Self.mostOperations ? "" : "the first "
        let what =
            "\(which)\(history.entries.count) operations of \(clients.count) clients on \(Self.counters) counters"
        let (held, detail) =
            switch history.verdict {
            case .linearizable: (true, "\(what) are linearizable")
            case .violated(let counter): (false, "what clients saw of counter \(counter) has no order: \(what)")
            case .undecided(let counter): (false, "the search for an order of counter \(counter) was given up: \(what)")
            }
        return AttackResults.Verdict(oracle: Self.oracle, held: held, detail: detail)
    }
}
