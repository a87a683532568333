import Invariants

/// A queue on an array: removing the first element is cheap on average, because the gap at the front is closed only now and then.
///
/// It is inlinable for ``Held``, so that the shells' modules need not look its types up while they run.
@usableFromInline
package struct FirstInFirstOut<Element: Sendable>: Sendable {
    @usableFromInline var elements: [Element?] = []
    @usableFromInline var head = 0

    /// Makes an empty queue.
    @inlinable package init() {}

    /// How many elements are in the queue.
    @inlinable package var count: Int { elements.count - head }

    /// The element that was put in first.
    @inlinable package var first: Element? { head < elements.count ? elements[head] : nil }

    /// Puts an element at the end.
    @inlinable
    package mutating func append(_ element: Element) {
        elements.append(element)
    }

    /// Removes the first element, of which there is one.
    @inlinable
    package mutating func removeFirst() {
        invariant(head < elements.count, "an empty queue has no first element")
        elements[head] = nil
        head += 1
        if head > 32, head * 2 > elements.count {
            elements.removeFirst(head)
            head = 0
        }
    }

    /// Removes every element for which `isUnwanted` holds.
    ///
    /// - Returns: How many there were.
    mutating func removeAll(where isUnwanted: (Element) -> Bool) -> Int {
        let before = count
        elements = elements[head...].filter { element in
            guard let element else { return false }
            return !isUnwanted(element)
        }
        head = 0
        return before - count
    }
}

extension FirstInFirstOut: Sequence {
    /// The elements in the order in which they were put in.
    @usableFromInline
    package func makeIterator() -> AnyIterator<Element> {
        var rest = elements[head...].makeIterator()
        return AnyIterator { rest.next() ?? nil }
    }
}
