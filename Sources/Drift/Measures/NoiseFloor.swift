/// The reference against itself with noise (`Formats/drift-report.md` §11): what it is, whatever the candidate.
package struct NoiseFloor: Sendable, Equatable {
  package let numbers: DriftReport.FloorNumbers
  /// By layer, the share of rows whose set of experts changed.
  package let routingChanged: [Int: Double]
  /// By layer (−1: the embeddings), the relative error of hidden states.
  package let layerErrors: [Int: Double]

  package init(numbers: DriftReport.FloorNumbers, routingChanged: [Int: Double], layerErrors: [Int: Double]) {
    self.numbers = numbers
    self.routingChanged = routingChanged
    self.layerErrors = layerErrors
  }

  /// - Parameters:
  ///   - lane: index of the floor among the lanes of the run.
  ///   - noise: its relative standard deviation.
  package init(
    _ scoring: Scoring, _ result: ScoredRun.Result, lane: Int, pairs: [ScoredDrift.Pair], threshold: Float,
    noise: Double
  ) {
    let seed = scoring.plan.seed
    let floor = ScoredDrift.masked(
      scoring, result.comparisons[lane], threshold, without: Set(pairs.map(\.rejected)))
    numbers = DriftReport.FloorNumbers(
      noise: noise, nonFinite: floor.nonFiniteCount, kl: floor.kl.distribution(seed: seed),
      top1Agreement: floor.agreement(), nllDifference: floor.lossDifference(),
      routingChanged: result.routing.floorChanged.estimate(seed: seed))
    routingChanged = result.routing.floorChangedByLayer
    layerErrors = result.layers.floorErrors
  }

  /// `floor` of the report.
  ///
  /// - Parameter kl: the candidate's mean.
  package func section(kl: Double?) -> DriftReport.Floor {
    var ratio: Double?
    if let kl, let own = numbers.kl?.mean, own > 0 { ratio = kl / own }
    return .init(numbers, .init(klRatio: ratio))
  }
}
