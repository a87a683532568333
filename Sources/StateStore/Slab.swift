import Invariants

/// Elements that are named by their places, in chunks: growing never moves an element, and a freed place is used again.
struct Slab<Element> {
    private static var chunkSize: Int { 4096 }
    private var chunks: [[Element?]] = []
    private var free: [Int] = []
    /// The number of places ever used, those that are free again among them.
    private var used = 0

    /// The number of elements.
    var count: Int { used - free.count }

    /// The element at a place that is in use.
    subscript(place: Int) -> Element {
        guard let element = chunks[place / Self.chunkSize][place % Self.chunkSize] else {
            invariantViolated("place in a slab is not in use")
        }
        return element
    }

    /// Adds an element and returns its place.
    mutating func insert(_ element: Element) -> Int {
        if let place = free.popLast() {
            chunks[place / Self.chunkSize][place % Self.chunkSize] = element
            return place
        }
        let place = used
        used += 1
        if place % Self.chunkSize == 0 {
            var chunk: [Element?] = []
            chunk.reserveCapacity(Self.chunkSize)
            chunks.append(chunk)
        }
        chunks[place / Self.chunkSize].append(element)
        return place
    }

    /// Removes the element at a place that is in use.
    mutating func remove(at place: Int) {
        invariant(chunks[place / Self.chunkSize][place % Self.chunkSize] != nil, "place in a slab freed twice")
        chunks[place / Self.chunkSize][place % Self.chunkSize] = nil
        free.append(place)
    }
}
