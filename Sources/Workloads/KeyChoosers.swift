import Foundation
import Invariants

/// Draws ranks so that rank r comes with a probability proportional to 1 / (r + 1)^theta: rank 0 is the most popular.
///
/// The method is that of Gray, Sundaresan, Englert, Baclawski and Weinberger, "Quickly Generating Billion-Record
/// Synthetic Databases" (SIGMOD 1994), as YCSB's `ZipfianGenerator` uses it: exact for the first two ranks, a close
/// approximation after them.
public struct ZipfianChooser: Sendable {
    /// YCSB's skew.
    public static let standardSkew = 0.99

    /// How many ranks there are, at least 1.
    public private(set) var count: UInt64

    private let theta: Double
    private let alpha: Double
    private let zetaOfTwo: Double
    private let weightOfFirstTwo: Double
    private var zeta: Double
    private var eta = 0.0

    /// Prepares draws from `count` ranks: one power a rank, so about a second for 20 million.
    ///
    /// - Parameters:
    ///   - count: How many ranks there are, at least 1.
    ///   - skew: theta, between 0 and 1, both excluded.
    public init(count: UInt64, skew: Double = Self.standardSkew) {
        self.init(count: count, skew: skew, zeta: Self.zeta(from: 0, to: count, skew: skew, initially: 0))
    }

    /// Prepares draws when the sum of 1 / r^theta over all ranks is known.
    init(count: UInt64, skew: Double, zeta: Double) {
        invariant(count >= 1, "a choice needs something to choose from")
        invariant(skew > 0 && skew < 1, "Gray's method is for a skew between 0 and 1")
        self.count = count
        self.zeta = zeta
        theta = skew
        alpha = 1 / (1 - skew)
        weightOfFirstTwo = 1 + pow(0.5, skew)
        zetaOfTwo = Self.zeta(from: 0, to: 2, skew: skew, initially: 0)
        updateEta()
    }

    /// Adds ranks, the least popular ones; a smaller count than before changes nothing.
    ///
    /// - Parameter newCount: How many ranks there are from now on.
    public mutating func grow(to newCount: UInt64) {
        guard newCount > count else { return }
        zeta = Self.zeta(from: count, to: newCount, skew: theta, initially: zeta)
        count = newCount
        updateEta()
    }

    /// Draws a rank in 0 ..< ``count``.
    public func next(using random: inout SplitMix64) -> UInt64 {
        let unit = random.nextUnit()
        let scaled = unit * zeta
        if scaled < 1 || count == 1 { return 0 }
        // Two ranks have no tail, and eta is not a number then.
        if scaled < weightOfFirstTwo || count == 2 { return 1 }
        return min(UInt64(Double(count) * pow(eta * unit - eta + 1, alpha)), count - 1)
    }

    private mutating func updateEta() {
        eta = (1 - pow(2 / Double(count), 1 - theta)) / (1 - zetaOfTwo / zeta)
    }

    private static func zeta(from start: UInt64, to end: UInt64, skew: Double, initially sum: Double) -> Double {
        var sum = sum
        for rank in start..<end {
            sum += 1 / pow(Double(rank + 1), skew)
        }
        return sum
    }
}

/// Draws numbers with zipfian popularity, the popular ones scattered over the whole range by a hash (YCSB's
/// `ScrambledZipfianGenerator`).
public struct ScrambledZipfianChooser: Sendable {
    // As in YCSB: the ranks are always drawn from 10^10, whose zeta is known, so that popularity does not depend on the
    // range.
    private static let ranks: UInt64 = 10_000_000_000
    private static let zetaOfRanks = 26.46902820178302

    private let count: UInt64
    private let zipfian = ZipfianChooser(count: Self.ranks, skew: ZipfianChooser.standardSkew, zeta: Self.zetaOfRanks)

    /// Prepares draws from 0 ..< `count`, which is at least 1.
    public init(count: UInt64) {
        invariant(count >= 1, "a choice needs something to choose from")
        self.count = count
    }

    /// Draws a number in 0 ..< count.
    public func next(using random: inout SplitMix64) -> UInt64 {
        fnv64(zipfian.next(using: &random)) % count
    }
}

/// How a workload picks the record of an operation.
public enum KeyChooser: Sendable {
    /// Every record that was there at the start, each as likely as the others.
    case uniform(count: UInt64)

    /// Zipfian popularity, scattered; a draw above the newest record is drawn again, so that the popular records stay
    /// the same while records are inserted (YCSB's `zipfian`).
    case scrambledZipfian(ScrambledZipfianChooser)

    /// Zipfian popularity by age, the newest record first (YCSB's `latest`).
    case latest(ZipfianChooser)

    /// Draws a record.
    ///
    /// - Parameters:
    ///   - newest: The number of the newest record that is known to be there.
    ///   - random: Where the choice comes from.
    /// - Returns: A number in 0 ... `newest`.
    public mutating func next(newest: UInt64, using random: inout SplitMix64) -> UInt64 {
        switch self {
        case .uniform(let count):
            return random.next(below: min(count, newest + 1))
        case .scrambledZipfian(let chooser):
            var record: UInt64
            repeat { record = chooser.next(using: &random) } while record > newest
            return record
        case .latest(var chooser):
            // YCSB draws from `newest` ranks and so never reads record 0; here record 0 is the oldest rank.
            if chooser.count < newest + 1 {
                chooser.grow(to: newest + 1)
                self = .latest(chooser)
            }
            return newest - min(chooser.next(using: &random), newest)
        }
    }
}

/// YCSB's hash of a number: FNV-1a (64 bits) over its eight bytes, the lowest first, without the sign.
func fnv64(_ value: UInt64) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    var rest = value
    for _ in 0..<8 {
        hash = (hash ^ (rest & 0xFF)) &* 1_099_511_628_211
        rest >>= 8
    }
    return Int64(bitPattern: hash).magnitude
}
