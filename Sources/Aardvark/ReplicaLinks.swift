import Agreement
import Transport

/// What passed through several links.
struct LinkTotals {
    private(set) var framesIn: UInt64 = 0
    private(set) var framesOut: UInt64 = 0
    private(set) var bytesIn: UInt64 = 0
    private(set) var bytesOut: UInt64 = 0

    mutating func add(_ counters: LinkCounters) {
        framesIn += counters.framesIn
        framesOut += counters.framesOut
        bytesIn += counters.bytesIn
        bytesOut += counters.bytesOut
    }
}

/// The link on which a peer's messages arrive.
struct PeerLink {
    let link: Link
    let connection: ConnectionID
}

/// A client's or administrator's link, and how far the frame that is being read was read.
final class ClientLink {
    let link: Link
    let connection: ConnectionID
    var isQueued = false
    var isDirty = false
    private var frame: [UInt8] = []
    private var ranges = MessageRanges([])

    init(_ link: Link, _ connection: ConnectionID) {
        self.link = link
        self.connection = connection
    }

    /// The next message: the frame it is in, and where.
    func nextMessage() -> (frame: [UInt8], range: Range<Int>)? {
        while true {
            if let range = ranges.next() { return (frame, range) }
            guard let next = link.nextFrame() else {
                frame = []
                return nil
            }
            frame = next
            ranges = MessageRanges(next)
        }
    }
}
