import Decoding
package import JSON

/// Values of positions and the text that each belongs to: what means, intervals and quantiles are made of.
///
/// Positions of one text are not independent, so the bootstrap draws whole texts (`Formats/drift-report.md`).
package struct Sample: Sendable {
  package private(set) var values: [Double] = []
  /// The text of each value; any integer.
  package private(set) var clusters: [Int] = []

  package init() {}

  package mutating func add(_ value: Double, cluster: Int) {
    values.append(value)
    clusters.append(cluster)
  }

  package var count: Int { values.count }
  /// Nil where there are no values.
  package var mean: Double? { values.isEmpty ? nil : values.reduce(0, +) / Double(values.count) }

  /// The smallest value not exceeded by a share `p` of all (nearest rank); nil where there are none.
  package func quantile(_ p: Double) -> Double? { Self.quantile(p, ofSorted: values.sorted()) }

  static func quantile(_ p: Double, ofSorted sorted: [Double]) -> Double? {
    guard !sorted.isEmpty else { return nil }
    let rank = Int((p * Double(sorted.count)).rounded(.up))
    return sorted[min(max(rank, 1), sorted.count) - 1]
  }

  /// 95 % percentile interval of the mean over bootstrap samples of whole clusters (Efron 1979; Cameron, Gelbach, Miller
  /// 2008 for clusters); nil with fewer than two clusters.
  ///
  /// - Parameter seed: the same seed draws the same samples.
  package func interval(seed: UInt64, samples: Int = 1000) -> ClosedRange<Double>? {
    var sums: [Int: (sum: Double, count: Int)] = [:]
    for (value, cluster) in zip(values, clusters) {
      let old = sums[cluster] ?? (0, 0)
      sums[cluster] = (old.sum + value, old.count + 1)
    }
    // Without a number for every text there is no interval.
    guard sums.count > 1, sums.values.allSatisfy({ $0.sum.isFinite }) else { return nil }
    let parts = sums.sorted { $0.key < $1.key }.map(\.value)
    var random = SplitMix64(seed: seed)
    var means: [Double] = []
    means.reserveCapacity(samples)
    for _ in 0..<samples {
      var sum = 0.0
      var count = 0
      for _ in parts.indices {
        let part = parts[Int(random.uniform() * Double(parts.count))]
        sum += part.sum
        count += part.count
      }
      means.append(sum / Double(count))
    }
    means.sort()
    return means[Int(0.025 * Double(samples))]...means[Int(0.975 * Double(samples)) - 1]
  }

  /// `mean` and `ci95`, or null without values.
  package func meanJSON(seed: UInt64) -> JSONValue {
    guard let mean else { return .null }
    return ["mean": JSONValue(mean), "ci95": intervalJSON(seed: seed)]
  }

  /// The *distribution* of `Formats/drift-report.md`, or null without values.
  package func distributionJSON(seed: UInt64) -> JSONValue {
    guard let mean else { return .null }
    let sorted = values.sorted()
    let quantile = { (p: Double) in JSONValue(Self.quantile(p, ofSorted: sorted) ?? 0) }
    return [
      "mean": JSONValue(mean), "ci95": intervalJSON(seed: seed), "median": quantile(0.5), "p90": quantile(0.9),
      "p99": quantile(0.99), "p999": quantile(0.999), "max": quantile(1),
    ]
  }

  package func intervalJSON(seed: UInt64) -> JSONValue {
    guard let interval = interval(seed: seed) else { return .null }
    return [JSONValue(interval.lowerBound), JSONValue(interval.upperBound)]
  }
}
