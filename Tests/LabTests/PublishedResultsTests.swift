import Testing

@testable import Lab

@Suite
struct PublishedResultsTests {
    /// Rounded to tenths of a percent.
    private func percent(_ share: Double?) -> Double? { share.map { ($0 * 1_000).rounded() / 10 } }

    @Test func `shares are of each protocol's own peak`() {
        let shares = { (name: String) in PublishedResults.attacks.compactMap { percent($0.figure(of: name)?.share) } }
        #expect(shares("pbft") == [0, 8.2, 7.9, 1.8, 0, 0.4])
        #expect(shares("aardvark") == [100, 99.7, 96.6, 98, 20.4, 30.3, 13])
        #expect(percent(PublishedResults.share(of: "aardvark", under: "flood")) == 30.3)
        #expect(PublishedResults.share(of: "aardvark", under: "crash") == nil)
        #expect(percent(ResultTables.publishedPeakShare("aardvark")) == 62.7)
        #expect(PublishedResults.unfairPrimary.map { percent($0.share) } == [0.1, 77])
    }
}
