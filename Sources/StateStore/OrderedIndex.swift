import Invariants

/// The keys of one keyspace in the order of their bytes: a list of sorted chunks.
///
/// Finding a place costs two binary searches; an insertion moves at most one chunk, and every now and then the list of
/// chunks. It holds no values, so overwriting a value does not touch it.
package struct OrderedIndex {
    private static let chunkLimit = 256
    /// No chunk is empty, and the keys of each are below those of the next.
    fileprivate var chunks: [[StoreKey]] = []
    package private(set) var count = 0

    /// Makes an index of no key.
    package init() {}

    /// Adds a key that is not there yet.
    package mutating func insert(_ key: StoreKey) {
        count += 1
        guard !chunks.isEmpty else {
            chunks.append([key])
            return
        }
        // A key above all others goes to the end of the last chunk.
        let chunk = min(firstChunk(endingAtOrAbove: key.bytes), chunks.count - 1)
        let place = lowerBound(of: key.bytes, in: chunk)
        invariant(place == chunks[chunk].count || chunks[chunk][place].bytes != key.bytes, "key indexed twice")
        chunks[chunk].insert(key, at: place)
        if chunks[chunk].count > Self.chunkLimit {
            split(chunk, insertedAt: place)
        }
    }

    /// Removes a key that is there.
    package mutating func remove(_ key: StoreKey) {
        let chunk = firstChunk(endingAtOrAbove: key.bytes)
        invariant(chunk < chunks.count, "removed key is above all indexed ones")
        let place = lowerBound(of: key.bytes, in: chunk)
        invariant(chunks[chunk][place].bytes == key.bytes, "removed key is not indexed")
        chunks[chunk].remove(at: place)
        count -= 1
        if chunks[chunk].isEmpty {
            chunks.remove(at: chunk)
        } else if chunk + 1 < chunks.count, chunks[chunk].count + chunks[chunk + 1].count <= Self.chunkLimit / 2 {
            chunks[chunk].append(contentsOf: chunks[chunk + 1])
            chunks.remove(at: chunk + 1)
        }
    }

    /// The keys of a range in order.
    package func keys(in range: KeyRange) -> Keys {
        let chunk = firstChunk(endingAtOrAbove: range.from)
        let place = chunk < chunks.count ? lowerBound(of: range.from, in: chunk) : 0
        return Keys(index: self, end: range.to, chunk: chunk, place: place)
    }

    /// Goes through keys in order. It holds the index as it was when it was made.
    package struct Keys: IteratorProtocol {
        fileprivate let index: OrderedIndex
        fileprivate let end: [UInt8]?
        fileprivate var chunk: Int
        fileprivate var place: Int

        /// The next key, or nil at the end.
        package mutating func next() -> StoreKey? {
            guard chunk < index.chunks.count else { return nil }
            let key = index.chunks[chunk][place]
            if let end, !precedes(key.bytes, end) { return nil }
            place += 1
            if place == index.chunks[chunk].count {
                chunk += 1
                place = 0
            }
            return key
        }
    }

    /// Halves a full chunk. Keys that come in rising order fill each chunk instead, and leave a full one behind.
    private mutating func split(_ chunk: Int, insertedAt place: Int) {
        let size = chunks[chunk].count
        let isLastKey = chunk == chunks.count - 1 && place == size - 1
        let middle = isLastKey ? size - 1 : size / 2
        let upper = Array(chunks[chunk][middle...])
        chunks[chunk].removeSubrange(middle...)
        chunks.insert(upper, at: chunk + 1)
    }

    /// The first chunk whose last key is not below `key`, or the number of chunks when there is none.
    private func firstChunk(endingAtOrAbove key: [UInt8]) -> Int {
        var low = 0
        var high = chunks.count
        while low < high {
            let middle = (low + high) / 2
            if precedes(chunks[middle][chunks[middle].count - 1].bytes, key) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    /// The place in a chunk of the first key that is not below `key`.
    private func lowerBound(of key: [UInt8], in chunk: Int) -> Int {
        var low = 0
        var high = chunks[chunk].count
        while low < high {
            let middle = (low + high) / 2
            if precedes(chunks[chunk][middle].bytes, key) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }
}

/// Whether `left` comes before `right` in the order of byte strings.
package func precedes(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    let common = min(left.count, right.count)
    var place = 0
    while place < common {
        if left[place] != right[place] {
            return left[place] < right[place]
        }
        place += 1
    }
    return left.count < right.count
}
