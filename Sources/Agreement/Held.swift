/// The shell's half of the rule of durability: what waits until the protocol log is durable up to a position, in the order in which it was
/// said. Effects, and answers to reads.
public struct Held<Item: Sendable>: Sendable {
    @usableFromInline
    struct Waiting: Sendable {
        @usableFromInline let item: Item
        @usableFromInline let position: LogPosition

        @inlinable
        init(_ item: Item, until position: LogPosition) {
            self.item = item
            self.position = position
        }
    }

    @usableFromInline var held = FirstInFirstOut<Waiting>()
    @usableFromInline var end: LogPosition

    /// Nothing is held.
    ///
    /// - Parameter durable: Up to where the log is durable.
    @inlinable
    public init(durable: LogPosition = .start) {
        end = durable
    }

    /// Up to where the log is durable.
    @inlinable public var durable: LogPosition { end }

    /// How much waits.
    @inlinable public var count: Int { held.count }

    /// Keeps something if it has to wait.
    ///
    /// - Returns: false when it need not.
    @inlinable
    public mutating func hold(_ item: Item, until position: LogPosition) -> Bool {
        guard position > durable else { return false }
        held.append(Waiting(item, until: position))
        return true
    }

    /// The log is durable up to here: what need not wait any more comes out, in its order.
    @inlinable
    public mutating func release(upTo position: LogPosition) -> [Item] {
        end = max(end, position)
        var released: [Item] = []
        while let first = held.first, first.position <= end {
            released.append(first.item)
            held.removeFirst()
        }
        return released
    }
}
