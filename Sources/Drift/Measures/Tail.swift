/// The largest values of a sample, by text: what becomes of quantiles and trimmed means when texts are drawn anew.
struct Tail: Sendable {
  /// By text, in the order of their numbers: all of its values.
  private let sums: [(sum: Double, count: Int)]
  /// All values, descending, with the place of their text in `sums`.
  private let values: [(value: Double, cluster: Int)]

  /// - Parameter clusters: of each value, its text; any integers.
  init(_ values: [Double], clusters: [Int]) {
    let numbers = Set(clusters).sorted()
    let places = Dictionary(uniqueKeysWithValues: zip(numbers, numbers.indices))
    var sums = numbers.map { _ in (sum: 0.0, count: 0) }
    var all: [(value: Double, cluster: Int)] = []
    all.reserveCapacity(values.count)
    for (value, cluster) in zip(values, clusters) {
      guard let place = places[cluster] else { continue }
      sums[place].sum += value
      sums[place].count += 1
      all.append((value, place))
    }
    self.sums = sums
    self.values = all.sorted { $1.value < $0.value }
  }

  var clusterCount: Int { sums.count }
  var once: [Int] { Array(repeating: 1, count: sums.count) }

  private func count(_ weights: [Int]) -> Int { zip(sums, weights).reduce(0) { $0 + $1.0.count * $1.1 } }

  /// The smallest value not exceeded by a share `p` of all (nearest rank).
  ///
  /// - Parameter weights: how often each text counts.
  func quantile(_ p: Double, _ weights: [Int]) -> Double? {
    let count = count(weights)
    guard count > 0 else { return nil }
    // So many values may stand above it.
    var above = count - min(max(Int((p * Double(count)).rounded(.up)), 1), count)
    for (value, cluster) in values {
      above -= weights[cluster]
      if above < 0 { return value }
    }
    return nil
  }

  /// Values that a mean leaves out of so many: one in a thousand, and one at least.
  static func trimmedCount(of count: Int) -> Int { (count + 999) / 1000 }

  /// The mean without the largest one in a thousand.
  func trimmedMean(_ weights: [Int]) -> Double? {
    let count = count(weights)
    var left = Self.trimmedCount(of: count)
    guard count > left else { return nil }
    var sum = zip(sums, weights).reduce(0) { $0 + $1.0.sum * Double($1.1) }
    let kept = Double(count - left)
    for (value, cluster) in values {
      guard left > 0 else { break }
      let dropped = min(left, weights[cluster])
      sum -= Double(dropped) * value
      left -= dropped
    }
    return sum / kept
  }

  /// The share of the sum that the largest ten values hold; nil where the sum is 0.
  var tenLargestShare: Double? {
    let sum = sums.reduce(0) { $0 + $1.sum }
    return sum > 0 ? values.prefix(10).reduce(0) { $0 + $1.value } / sum : nil
  }
}

extension Tail {
  /// A number of the sample with its interval over draws of whole texts.
  func estimate(seed: UInt64, _ value: ([Int]) -> Double?) -> Estimate? {
    value(once).map {
      Estimate(mean: $0, ci95: Bootstrap(seed: seed, clusters: clusterCount).interval(value))
    }
  }

  /// The quotient of a number of two samples with the same texts, drawn together.
  func ratio(to other: Tail, seed: UInt64, _ value: (Tail, [Int]) -> Double?) -> Estimate? {
    estimate(seed: seed) { weights in
      guard let own = value(self, weights), let others = value(other, weights), others > 0 else { return nil }
      return own / others
    }
  }
}
