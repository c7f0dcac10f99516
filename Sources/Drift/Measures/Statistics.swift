import Decoding

/// Sums of values by the text that each belongs to: what means and their intervals are made of, in memory that does not
/// grow with the values.
///
/// Positions of one text are not independent, so the bootstrap draws whole texts (`Formats/drift-report.md`).
package struct ClusterSums: Sendable {
  /// By text; its index in the arrays.
  private(set) var places: [Int: Int] = [:]
  private(set) var sums: [Double] = []
  private(set) var counts: [Int] = []
  /// Values mostly come text by text.
  private var last = (cluster: -1, place: -1)
  package private(set) var count = 0

  package init() {}

  /// As they were kept: by text, in any order.
  init(clusters: [Int], sums: [Double], counts: [Int]) {
    places = Dictionary(zip(clusters, clusters.indices)) { first, _ in first }
    self.sums = sums
    self.counts = counts
    count = counts.reduce(0, +)
  }

  /// - Parameter cluster: the text; any integer.
  package mutating func add(_ value: Double, cluster: Int) {
    if last.place < 0 || cluster != last.cluster { last = (cluster, place(of: cluster)) }
    sums[last.place] += value
    counts[last.place] += 1
    count += 1
  }

  private mutating func place(of cluster: Int) -> Int {
    if let place = places[cluster] { return place }
    places[cluster] = sums.count
    sums.append(0)
    counts.append(0)
    return sums.count - 1
  }

  /// The values of others, too.
  package static func += (all: inout Self, others: Self) {
    for (cluster, place) in others.places.sorted(by: { $0.key < $1.key }) {
      let own = all.place(of: cluster)
      all.sums[own] += others.sums[place]
      all.counts[own] += others.counts[place]
    }
    all.count += others.count
  }

  /// By text, in the order of their numbers.
  private var parts: [(sum: Double, count: Int)] {
    places.sorted { $0.key < $1.key }.map { (sums[$0.value], counts[$0.value]) }
  }

  /// Nil where there are no values.
  package var mean: Double? { count == 0 ? nil : parts.reduce(0) { $0 + $1.sum } / Double(count) }

  /// 95 % percentile interval of the mean over bootstrap samples of whole clusters (Efron 1979; Cameron, Gelbach, Miller
  /// 2008 for clusters); nil with fewer than two clusters.
  ///
  /// - Parameter seed: the same seed draws the same samples.
  package func interval(seed: UInt64, samples: Int = 1000) -> ClosedRange<Double>? {
    let parts = parts
    // Without a number for every text there is no interval.
    guard parts.count > 1, parts.allSatisfy({ $0.sum.isFinite }) else { return nil }
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

  /// Nil without values.
  package func estimate(seed: UInt64) -> Estimate? {
    mean.map { Estimate(mean: $0, ci95: interval(seed: seed)) }
  }
}

/// Values of positions and sums of them by text: what quantiles are made of, too.
package struct Sample: Sendable {
  package private(set) var values: [Double] = []
  package private(set) var sums = ClusterSums()

  package init() {}

  init(values: [Double], sums: ClusterSums) {
    self.values = values
    self.sums = sums
  }

  /// The values of others, too.
  package static func += (all: inout Self, others: Self) {
    all.values += others.values
    all.sums += others.sums
  }

  package mutating func add(_ value: Double, cluster: Int) {
    values.append(value)
    sums.add(value, cluster: cluster)
  }

  package var count: Int { values.count }
  /// Nil where there are no values.
  package var mean: Double? { sums.mean }

  /// The smallest value not exceeded by a share `p` of all (nearest rank); nil where there are none.
  package func quantile(_ p: Double) -> Double? { Self.quantile(p, ofSorted: values.sorted()) }

  static func quantile(_ p: Double, ofSorted sorted: [Double]) -> Double? {
    guard !sorted.isEmpty else { return nil }
    let rank = Int((p * Double(sorted.count)).rounded(.up))
    return sorted[min(max(rank, 1), sorted.count) - 1]
  }

  /// The interval of ``sums``.
  package func interval(seed: UInt64) -> ClosedRange<Double>? { sums.interval(seed: seed) }

  /// Nil without values.
  package func estimate(seed: UInt64) -> Estimate? { sums.estimate(seed: seed) }

  /// The *distribution* of `Formats/drift-report.md`; nil without values.
  package func distribution(seed: UInt64) -> Distribution? {
    guard let mean else { return nil }
    let sorted = values.sorted()
    let quantile = { (p: Double) in Self.quantile(p, ofSorted: sorted) ?? 0 }
    return Distribution(
      mean: mean, ci95: sums.interval(seed: seed), median: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99),
      p999: quantile(0.999), max: quantile(1))
  }
}
