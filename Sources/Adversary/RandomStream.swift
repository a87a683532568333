/// A stream of random numbers that a seed decides: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
///
/// Written out here, with its own bounded numbers and shuffle, so that a seed gives one run on every platform and with every version
/// of the standard library. It is not for secrets.
public struct RandomStream: Sendable {
    private var state: UInt64

    /// Starts one of the streams that belong to a seed.
    ///
    /// - Parameters:
    ///   - seed: The seed of the run.
    ///   - stream: Which user of random numbers this is, so that one user's draws do not change another's.
    public init(seed: UInt64, stream: UInt64) {
        state = seed
        let first = next()
        state = stream &* 0xD134_2543_DE82_EF95
        state = first ^ next()
    }

    /// The next 64 bits.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when the bound is 0. The bias is below bound / 2^64.
    public mutating func below(_ bound: UInt64) -> UInt64 {
        next().multipliedFullWidth(by: bound).high
    }

    /// A number from 0 to `bound` - 1; 0 when the bound is not positive.
    public mutating func below(_ bound: Int) -> Int {
        Int(below(UInt64(max(bound, 0))))
    }

    /// A number in a range, both ends included.
    public mutating func within(_ range: ClosedRange<UInt64>) -> UInt64 {
        let (count, overflow) = (range.upperBound - range.lowerBound).addingReportingOverflow(1)
        return overflow ? next() : range.lowerBound + below(count)
    }

    /// A number in a range, both ends included; the range has no negative numbers.
    public mutating func within(_ range: ClosedRange<Int>) -> Int {
        Int(within(UInt64(range.lowerBound)...UInt64(range.upperBound)))
    }

    /// True in `perMille` of a thousand cases.
    public mutating func chance(perMille: Int) -> Bool {
        below(1000) < perMille
    }

    /// One of the elements; nil when there is none.
    public mutating func pick<Element>(_ elements: [Element]) -> Element? {
        elements.isEmpty ? nil : elements[below(elements.count)]
    }

    /// Puts elements into a random order (Fisher and Yates).
    public mutating func shuffle<Element>(_ elements: inout [Element]) {
        var last = elements.count - 1
        while last > 0 {
            elements.swapAt(last, below(last + 1))
            last -= 1
        }
    }

    /// Some of the elements, in random order.
    ///
    /// - Parameters:
    ///   - count: How many; all of them when there are no more.
    ///   - elements: Where they are taken from.
    public mutating func sample<Element>(_ count: Int, of elements: [Element]) -> [Element] {
        var shuffled = elements
        shuffle(&shuffled)
        return Array(shuffled.prefix(count))
    }
}
