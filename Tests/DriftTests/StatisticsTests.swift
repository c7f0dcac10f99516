import Drift
import Testing

@Suite struct StatisticsTests {
  private func sample(_ values: [Double], clusters: [Int]? = nil) -> Sample {
    var sample = Sample()
    for (index, value) in values.enumerated() { sample.add(value, cluster: clusters?[index] ?? index) }
    return sample
  }

  @Test func quantilesAreNearestRanks() {
    let sample = sample([5, 1, 4, 2, 3])
    #expect(sample.mean == 3)
    #expect(sample.quantile(0.5) == 3)
    #expect(sample.quantile(0.9) == 5)
    #expect(sample.quantile(0.2) == 1)
    #expect(sample.quantile(0.21) == 2)
    #expect(sample.quantile(1) == 5)
    #expect(Sample().quantile(0.5) == nil)
  }

  @Test func intervalsDrawWholeTexts() {
    // Two texts whose values do not vary: a sample holds one, the other, or both.
    let sample = sample([1, 1, 1, 3], clusters: [7, 7, 7, 9])
    let interval = sample.interval(seed: 1)
    #expect(interval == 1...3)
    #expect(self.sample([1, 1, 1], clusters: [7, 7, 7]).interval(seed: 1) == nil)
    // Without variation between texts there is none in the interval.
    #expect(self.sample([2, 2, 2], clusters: [1, 2, 3]).interval(seed: 1) == 2...2)
  }

  /// Of many texts with independent values the interval is about mean ± 1.96 · sd / sqrt(n).
  @Test func intervalsAreAsWideAsTheory() throws {
    let values = (0..<400).map { (index: Int) in Double(index % 20) }
    let interval = try #require(sample(values).interval(seed: 5))
    let variance = 33.25  // of 0 … 19: (20² − 1) / 12
    let half = 1.96 * (variance / 400).squareRoot()
    #expect(abs(interval.lowerBound - (9.5 - half)) < 0.1 * half)
    #expect(abs(interval.upperBound - (9.5 + half)) < 0.1 * half)
  }

  @Test func oneSeedGivesOneInterval() {
    let sample = sample((0..<50).map { (index: Int) in Double(index * index % 37) })
    #expect(sample.interval(seed: 3) == sample.interval(seed: 3))
    #expect(sample.interval(seed: 3) != sample.interval(seed: 4))
  }
}
