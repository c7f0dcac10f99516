import Decoding

/// Values of two things at the same places, by the text that each place belongs to: what paired ratios and differences are
/// made of. Texts are drawn whole, and both things with the same draws, so that what makes a text hard for both cancels.
package struct PairedSums: Sendable {
  struct Sums: Sendable {
    var first = 0.0
    var second = 0.0
    var count = 0.0
  }
  private(set) var places: [Int: Int] = [:]
  private(set) var sums: [Sums] = []

  package init() {}

  /// As they were kept: by text, in any order.
  init(clusters: [Int], sums: [Sums]) {
    places = Dictionary(zip(clusters, clusters.indices)) { first, _ in first }
    self.sums = sums
  }

  /// Those of other texts, too.
  package static func += (all: inout Self, others: Self) {
    for (cluster, place) in others.places.sorted(by: { $0.key < $1.key }) {
      let own = all.place(of: cluster)
      all.sums[own].first += others.sums[place].first
      all.sums[own].second += others.sums[place].second
      all.sums[own].count += others.sums[place].count
    }
  }

  package mutating func add(_ first: Double, _ second: Double, cluster: Int) {
    let place = place(of: cluster)
    sums[place].first += first
    sums[place].second += second
    sums[place].count += 1
  }

  private mutating func place(of cluster: Int) -> Int {
    if let place = places[cluster] { return place }
    places[cluster] = sums.count
    sums.append(Sums())
    return sums.count - 1
  }

  /// In the order of the texts' numbers.
  private var parts: [Sums] { places.sorted { $0.key < $1.key }.map { sums[$0.value] } }

  private static func total(_ parts: some Sequence<Sums>) -> Sums {
    parts.reduce(into: Sums()) { all, part in
      all.first += part.first
      all.second += part.second
      all.count += part.count
    }
  }

  package var count: Int { Int(Self.total(parts).count) }
  package var means: (first: Double, second: Double)? {
    let all = Self.total(parts)
    return all.count > 0 ? (all.first / all.count, all.second / all.count) : nil
  }

  /// Σ first / Σ second with its interval; nil where the second is 0.
  package func ratio(seed: UInt64) -> Estimate? {
    estimate(seed: seed) { $0.second != 0 ? $0.first / $0.second : nil }
  }

  /// Mean of first − second with its interval.
  package func difference(seed: UInt64) -> Estimate? {
    estimate(seed: seed) { $0.count > 0 ? ($0.first - $0.second) / $0.count : nil }
  }

  private func estimate(seed: UInt64, _ value: (Sums) -> Double?) -> Estimate? {
    let parts = parts
    guard let own = value(Self.total(parts)) else { return nil }
    let interval = Bootstrap(seed: seed, clusters: parts.count).interval { weights in
      value(
        zip(parts, weights).reduce(into: Sums()) { all, part in
          let weight = Double(part.1)
          all.first += weight * part.0.first
          all.second += weight * part.0.second
          all.count += weight * part.0.count
        })
    }
    return Estimate(mean: own, ci95: interval)
  }
}

/// Draws of whole texts with replacement (Efron 1979).
struct Bootstrap {
  let seed: UInt64
  let clusters: Int
  var samples = 1000

  /// 95 % percentile interval of a number over all samples; nil with fewer than two texts, or where a sample has no number.
  ///
  /// - Parameter value: of a sample, given how often each text was drawn.
  func interval(_ value: ([Int]) -> Double?) -> ClosedRange<Double>? {
    guard clusters > 1 else { return nil }
    var random = SplitMix64(seed: seed)
    var values: [Double] = []
    values.reserveCapacity(samples)
    for _ in 0..<samples {
      var weights = [Int](repeating: 0, count: clusters)
      for _ in 0..<clusters { weights[Int(random.uniform() * Double(clusters))] += 1 }
      guard let own = value(weights), own.isFinite else { return nil }
      values.append(own)
    }
    values.sort()
    return values[Int(0.025 * Double(samples))]...values[Int(0.975 * Double(samples)) - 1]
  }
}
