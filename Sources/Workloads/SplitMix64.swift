/// The pseudo-random generator of the workloads: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
///
/// A workload draws all its choices from generators of this kind, so that one seed gives one stream of operations, on
/// every platform and with every version of the standard library. It is not for secrets.
public struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// Starts the stream that belongs to a seed.
    public init(seed: UInt64) {
        state = seed
    }

    /// Starts the stream of one member of a family: streams of one seed do not overlap in practice.
    ///
    /// - Parameters:
    ///   - seed: The family's seed.
    ///   - stream: The member's number.
    public init(seed: UInt64, stream: UInt64) {
        var mixer = SplitMix64(seed: seed)
        var second = SplitMix64(seed: mixer.next() ^ stream)
        state = second.next()
    }

    /// The next 64 bits of the stream.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// A number below `bound`, each as likely as the others to within bound / 2^64. A bound of 0 gives 0.
    public mutating func next(below bound: UInt64) -> UInt64 {
        next().multipliedFullWidth(by: bound).high
    }

    /// A number in 0 ..< 1 with 53 random bits.
    public mutating func nextUnit() -> Double {
        Double(next() >> 11) * 0x1p-53
    }
}
