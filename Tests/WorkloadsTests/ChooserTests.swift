import Foundation
import Testing

@testable import Workloads

@Suite
struct ChooserTests {
    /// The exact probability of each rank.
    static func zipfian(_ count: Int) -> [Double] {
        let weights = (1...count).map { 1 / pow(Double($0), 0.99) }
        let sum = weights.reduce(0, +)
        return weights.map { $0 / sum }
    }

    static func frequencies(_ count: Int, draws: Int, _ draw: () -> UInt64) -> [Double] {
        var counts = [Int](repeating: 0, count: count)
        for _ in 0..<draws { counts[Int(draw())] += 1 }
        return counts.map { Double($0) / Double(draws) }
    }

    /// The largest difference of the two distribution functions (Kolmogorov and Smirnov).
    static func distance(_ left: [Double], _ right: [Double]) -> Double {
        var difference = 0.0
        var most = 0.0
        for (first, other) in zip(left, right) {
            difference += first - other
            most = max(most, abs(difference))
        }
        return most
    }

    @Test func `SplitMix64 gives the published stream`() {
        var random = SplitMix64(seed: 1_234_567)
        let expected: [UInt64] = [
            6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
            4_593_380_528_125_082_431, 16_408_922_859_458_223_821,
        ]
        #expect(expected.map { _ in random.next() } == expected)
    }

    @Test func `bounded draws cover their range evenly`() {
        var random = SplitMix64(seed: 3)
        let found = Self.frequencies(10, draws: 100_000) { random.next(below: 10) }
        #expect(found.allSatisfy { abs($0 - 0.1) < 0.005 })
        #expect((0..<1_000).allSatisfy { _ in (0..<1).contains(random.nextUnit()) })
    }

    @Test(arguments: [1, 2, 3, 100, 1_000]) func `zipfian ranks have their exact probabilities`(count: Int) {
        let chooser = ZipfianChooser(count: UInt64(count))
        var random = SplitMix64(seed: 42)
        let found = Self.frequencies(count, draws: 400_000) { chooser.next(using: &random) }
        let exact = Self.zipfian(count)
        // Gray's method is exact for the first two ranks; sampling alone moves them by some 0.001.
        for rank in 0..<min(2, count) { #expect(abs(found[rank] - exact[rank]) < 0.004, "rank \(rank)") }
        // After them it is an approximation, which is off by 2 % of all draws at most.
        #expect(Self.distance(found, exact) < 0.025)
    }

    @Test func `growing a zipfian choice gives the one made at that size`() {
        var grown = ZipfianChooser(count: 10)
        grown.grow(to: 500)
        let made = ZipfianChooser(count: 500)
        #expect(grown.count == 500)
        var first = SplitMix64(seed: 5)
        var second = SplitMix64(seed: 5)
        #expect((0..<1_000).allSatisfy { _ in grown.next(using: &first) == made.next(using: &second) })
        grown.grow(to: 20)
        #expect(grown.count == 500)
    }

    @Test func `scrambled zipfian scatters the popular records by their hash`() {
        let count = 1_000
        let chooser = ScrambledZipfianChooser(count: UInt64(count))
        var random = SplitMix64(seed: 7)
        let found = Self.frequencies(count, draws: 400_000) { chooser.next(using: &random) }
        // The head is summed rank by rank; what is past it falls on all records evenly.
        let zeta = 26.46902820178302
        let head = 1_000_000
        var expected = [Double](repeating: 0, count: count)
        var mass = 0.0
        for rank in 0..<head {
            let probability = 1 / pow(Double(rank + 1), 0.99) / zeta
            expected[Int(fnv64(UInt64(rank)) % UInt64(count))] += probability
            mass += probability
        }
        for record in expected.indices { expected[record] += (1 - mass) / Double(count) }
        #expect(Self.distance(found, expected) < 0.02)
        let hottest = Int(fnv64(0) % UInt64(count))
        #expect(found.max() == found[hottest])
        #expect(abs(found[hottest] - expected[hottest]) < 0.004)
    }

    @Test func `the hash of a number is YCSB's`() {
        // FNV-1a (64 bits) of eight zero bytes, and of 1 as eight bytes from the lowest on, as signed numbers without
        // the sign.
        #expect(fnv64(0) == UInt64(Int64(bitPattern: 0xA8C7_F832_281A_39C5).magnitude))
        #expect(fnv64(0) == 6_284_781_860_667_377_211)
        #expect(fnv64(1) == 8_517_097_267_634_966_620)
        #expect(RecordOperation.key(0) == Array("user6284781860667377211".utf8))
    }

    @Test func `latest prefers the newest record and follows insertions`() {
        var chooser = KeyChooser.latest(ZipfianChooser(count: 100))
        var random = SplitMix64(seed: 9)
        for newest in [99, 199] {
            let found = Self.frequencies(newest + 1, draws: 200_000) {
                chooser.next(newest: UInt64(newest), using: &random)
            }
            #expect(Self.distance(found.reversed(), Self.zipfian(newest + 1)) < 0.025)
            #expect(abs(found[newest] - Self.zipfian(newest + 1)[0]) < 0.005)
        }
    }

    @Test func `uniform choices are even and stay with the first records`() {
        var chooser = KeyChooser.uniform(count: 50)
        var random = SplitMix64(seed: 11)
        let found = Self.frequencies(80, draws: 200_000) { chooser.next(newest: 79, using: &random) }
        #expect(found[..<50].allSatisfy { abs($0 - 0.02) < 0.002 })
        #expect(found[50...].allSatisfy { $0 == 0 })
    }

    @Test func `zipfian choices leave out the records that are not there yet`() {
        var chooser = KeyChooser.scrambledZipfian(ScrambledZipfianChooser(count: 1_000))
        var random = SplitMix64(seed: 13)
        #expect((0..<10_000).allSatisfy { _ in chooser.next(newest: 99, using: &random) <= 99 })
    }

    @Test func `an inserted record is the newest when those before it have ended too`() {
        let sequence = InsertSequence(records: 10)
        #expect(sequence.newest == 9)
        let numbers = (0..<4).map { _ in sequence.next() }
        #expect(numbers == [10, 11, 12, 13])
        sequence.acknowledge(12)
        sequence.acknowledge(11)
        #expect(sequence.newest == 9)
        sequence.acknowledge(10)
        #expect(sequence.newest == 12)
        sequence.acknowledge(12)
        sequence.acknowledge(13)
        #expect(sequence.newest == 13)
    }
}
