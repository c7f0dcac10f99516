package import JSON

/// The reference against itself with noise (`Formats/drift-report.md` §11): what it is, whatever the candidate.
package struct NoiseFloor: Sendable, Equatable {
  /// `floor` of the report but for `kl_ratio`.
  package let section: JSONObject
  /// By layer, the share of rows whose set of experts changed.
  package let routingChanged: [Int: Double]
  /// By layer (−1: the embeddings), the relative error of hidden states.
  package let layerErrors: [Int: Double]

  package init(section: JSONObject, routingChanged: [Int: Double], layerErrors: [Int: Double]) {
    self.section = section
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
    let section: JSONValue = [
      "noise": JSONValue(noise), "non_finite": JSONValue(floor.nonFiniteCount),
      "kl": floor.kl.distributionJSON(seed: seed),
      "top1_agreement": floor.sample { $0.sameTop ? 1 : 0 }.meanJSON(seed: seed),
      "nll_difference": floor.sample { Double($0.candidateLoss - $0.referenceLoss) }.meanJSON(seed: seed),
      "routing_changed": result.routing.floorChanged.meanJSON(seed: seed),
    ]
    self.section = section.object ?? JSONObject()
    routingChanged = result.routing.floorChangedByLayer
    layerErrors = result.layers.floorErrors
  }

  /// `floor` of the report.
  ///
  /// - Parameter kl: the candidate's mean.
  package func json(kl: Double?) -> JSONValue {
    var object = section
    var ratio: Double?
    if let kl, let own = section["kl"]?.object?["mean"]?.double, own > 0 { ratio = kl / own }
    object.append(.init(key: "kl_ratio", value: JSONValue(ratio)))
    return .object(object)
  }
}
