/// The shell's half of the rule of durability: what waits until the protocol log is durable up to a position, in the order in which it was
/// said. Effects, and answers to reads.
public struct Held<Item: Sendable>: Sendable {
    private var held = FirstInFirstOut<(item: Item, position: LogPosition)>()
    /// Up to where the log is durable.
    public private(set) var durable = LogPosition.start

    /// Nothing is held.
    ///
    /// - Parameter durable: Up to where the log is durable.
    public init(durable: LogPosition = .start) {
        self.durable = durable
    }

    /// How much waits.
    public var count: Int { held.count }

    /// Keeps something if it has to wait.
    ///
    /// - Returns: false when it need not.
    public mutating func hold(_ item: Item, until position: LogPosition) -> Bool {
        guard position > durable else { return false }
        held.append((item, position))
        return true
    }

    /// The log is durable up to here: what need not wait any more comes out, in its order.
    public mutating func release(upTo position: LogPosition) -> [Item] {
        durable = max(durable, position)
        var released: [Item] = []
        while let first = held.first, first.position <= durable {
            released.append(first.item)
            held.removeFirst()
        }
        return released
    }
}
