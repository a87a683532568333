import Invariants

/// The keys of one keyspace in the order of their bytes: a list of sorted chunks.
///
/// Finding a place costs two binary searches; an insertion moves at most one chunk, and every now and then the list of
/// chunks. It holds no values, so overwriting a value does not touch it.
struct OrderedIndex {
    private static let chunkLimit = 256
    /// No chunk is empty, and the keys of each are below those of the next.
    private var chunks: [[StoreKey]] = []
    private(set) var count = 0

    /// Adds a key that is not there yet.
    mutating func insert(_ key: StoreKey) {
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
    mutating func remove(_ key: StoreKey) {
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

    /// Visits the keys of a range in order, until the visitor stops.
    func scan(_ range: KeyRange, _ visit: (StoreKey) -> ScanStep) {
        var chunk = firstChunk(endingAtOrAbove: range.from)
        guard chunk < chunks.count else { return }
        var place = lowerBound(of: range.from, in: chunk)
        while chunk < chunks.count {
            while place < chunks[chunk].count {
                let key = chunks[chunk][place]
                if let end = range.to, !precedes(key.bytes, end) { return }
                if case .stop = visit(key) { return }
                place += 1
            }
            chunk += 1
            place = 0
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
private func precedes(_ left: [UInt8], _ right: [UInt8]) -> Bool {
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
