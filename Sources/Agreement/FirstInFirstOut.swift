import Invariants

/// A queue on an array: removing the first element is cheap on average, because the gap at the front is closed only now and then.
struct FirstInFirstOut<Element: Sendable>: Sendable {
    private var elements: [Element?] = []
    private var head = 0

    /// How many elements are in the queue.
    var count: Int { elements.count - head }

    /// The element that was put in first.
    var first: Element? { head < elements.count ? elements[head] : nil }

    mutating func append(_ element: Element) {
        elements.append(element)
    }

    mutating func removeFirst() {
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
    func makeIterator() -> AnyIterator<Element> {
        var rest = elements[head...].makeIterator()
        return AnyIterator { rest.next() ?? nil }
    }
}
