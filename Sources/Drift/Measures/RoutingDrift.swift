import Glibc
package import Models

/// How the choice of experts changes (`Formats/drift-report.md` §8). Fed one layer of one batch at a time.
package struct RoutingDrift: Sendable {
  struct Sums: Sendable {
    var changed = ClusterSums()
    var overlap = ClusterSums()
    var kl = ClusterSums()
    var shift = ClusterSums()

    mutating func add(_ a: Router.Route, _ b: Router.Route, kl divergence: Double?, cluster: Int) {
      let common = Set(a.experts).intersection(b.experts).count
      changed.add(Set(a.experts) == Set(b.experts) ? 0 : 1, cluster: cluster)
      overlap.add(Double(common) / Double(max(a.experts.count, 1)), cluster: cluster)
      if let divergence { kl.add(divergence, cluster: cluster) }
      shift.add(RoutingDrift.weightShift(a, b), cluster: cluster)
    }

    static func += (all: inout Self, others: Self) {
      all.changed += others.changed
      all.overlap += others.overlap
      all.kl += others.kl
      all.shift += others.shift
    }

    var numbers: DriftReport.RoutingNumbers {
      .init(changed: changed.mean, overlap: overlap.mean, kl: kl.mean, weightShift: shift.mean)
    }
  }

  var total = Sums()
  var byLayer: [Int: Sums] = [:]
  var byRatio: [Int: Sums] = [:]
  var floor: [Int: ClusterSums] = [:]
  /// Rows left out, where a router's scores are not finite.
  package internal(set) var nonFiniteCount = 0

  private let scores: Conventions.Scores

  /// - Parameter scores: what the routers make of their logits.
  package init(_ scores: Conventions.Scores = .sigmoid) { self.scores = scores }

  /// Those of other texts, too.
  package static func += (all: inout Self, others: Self) {
    all.total += others.total
    for (layer, sums) in others.byLayer { all.byLayer[layer, default: Sums()] += sums }
    for (ratio, sums) in others.byRatio { all.byRatio[ratio, default: Sums()] += sums }
    for (layer, sums) in others.floor { all.floor[layer, default: ClusterSums()] += sums }
    all.nonFiniteCount += others.nonFiniteCount
  }

  /// The divergence of reference and candidate by their routers' scores, each over the sum of all.
  package func divergence(_ a: ArraySlice<Float>, _ b: ArraySlice<Float>) -> Double {
    let (s, t) = (weights(a), weights(b))
    let (sumS, sumT) = (s.reduce(0, +), t.reduce(0, +))
    var kl = 0.0
    for (x, y) in zip(s, t) where x > 0 { kl += x / sumS * (Glibc.log(x / sumS) - Glibc.log(max(y, 1e-300) / sumT)) }
    return max(kl, 0)
  }

  /// In proportion to the scores.
  private func weights(_ logits: ArraySlice<Float>) -> [Double] {
    switch scores {
    case .sigmoid: return logits.map { 1 / (1 + Glibc.exp(-Double($0))) }
    case .softmax:
      let largest = Double(logits.max() ?? 0)
      return logits.map { Glibc.exp(Double($0) - largest) }
    }
  }

  /// ½ Σ abs(v − w) / Σ v over all experts.
  static func weightShift(_ a: Router.Route, _ b: Router.Route) -> Double {
    var difference: [Int: Double] = [:]
    for (expert, weight) in zip(a.experts, a.weights) { difference[expert, default: 0] += Double(weight) }
    for (expert, weight) in zip(b.experts, b.weights) { difference[expert, default: 0] -= Double(weight) }
    let sum = a.weights.reduce(0.0) { $0 + Double($1) }
    // In a fixed order, so that the sum has the same bits each time.
    return sum > 0 ? difference.sorted { $0.key < $1.key }.reduce(0) { $0 + abs($1.value) } / (2 * sum) : 0
  }

  /// - Parameters:
  ///   - routes: of the counted rows, reference and candidate.
  ///   - logits: (experts) of the row, of both; nil from a record.
  package mutating func add(
    layer: Int, ratio: Int, text: Int, _ a: Router.Route, _ b: Router.Route,
    logits: (ArraySlice<Float>, ArraySlice<Float>)?
  ) {
    let divergence = logits.map { self.divergence($0.0, $0.1) }
    total.add(a, b, kl: divergence, cluster: text)
    byLayer[layer, default: Sums()].add(a, b, kl: divergence, cluster: text)
    byRatio[ratio, default: Sums()].add(a, b, kl: divergence, cluster: text)
  }

  /// A row that is in no number.
  package mutating func leaveOut() { nonFiniteCount += 1 }

  /// The reference against its noisy self.
  package mutating func addFloor(layer: Int, text: Int, _ a: Router.Route, _ b: Router.Route) {
    floor[layer, default: ClusterSums()].add(Set(a.experts) == Set(b.experts) ? 0 : 1, cluster: text)
  }

  /// By layer, the share of rows of the floor whose set changed.
  package var floorChangedByLayer: [Int: Double] { floor.compactMapValues(\.mean) }

  package var changedByRatio: [Int: ClusterSums] { byRatio.mapValues(\.changed) }

  /// Share of rows of the floor whose set changed.
  package var floorChanged: ClusterSums {
    var all = ClusterSums()
    for (_, sums) in floor.sorted(by: { $0.key < $1.key }) { all += sums }
    return all
  }

  /// Nil for a model without mixtures.
  ///
  /// - Parameter recordedFloor: shares of the noise floor by layer, where they were not measured beside.
  package func section(
    ratios: [Double], seed: UInt64, recordedFloor: [Int: Double]? = nil
  ) -> DriftReport.Routing? {
    let floor = recordedFloor ?? floorChangedByLayer
    guard total.changed.count + nonFiniteCount > 0 else { return nil }
    return DriftReport.Routing(
      rows: total.changed.count, nonFinite: nonFiniteCount, changed: total.changed.estimate(seed: seed),
      overlap: total.overlap.estimate(seed: seed), kl: total.kl.estimate(seed: seed),
      weightShift: total.shift.estimate(seed: seed),
      byLayer: byLayer.sorted { $0.key < $1.key }.map { layer, sums in
        .init(.init(layer: layer), .init(sums.numbers, .init(floorChanged: floor[layer])))
      },
      byMaskRatio: byRatio.sorted { $0.key < $1.key }.map { ratio, sums in
        .init(.init(maskRatio: ratios[ratio]), sums.numbers)
      })
  }
}
