package import JSON

/// Level 2 as sections of the report, from a run over the texts of one block length.
package struct ScoredDrift: Sendable {
  /// A chosen answer and a rejected one to the same prompt, as indices of texts.
  package struct Pair: Sendable, Equatable {
    package let chosen: Int
    package let rejected: Int
    package init(chosen: Int, rejected: Int) {
      self.chosen = chosen
      self.rejected = rejected
    }
  }

  private let scoring: Scoring
  private let result: ScoredRun.Result
  private let pairs: [Pair]
  private let rejected: Set<Int>
  private let threshold: Float
  private let floor: NoiseFloor?
  /// Comparisons of the candidate, without the rejected answers.
  package let masked: MaskedDrift
  private let all: MaskedDrift

  /// - Parameters:
  ///   - candidate: index of the candidate among the lanes of the run.
  ///   - floor: measured in the run, or recorded.
  package init(
    _ scoring: Scoring, _ result: ScoredRun.Result, candidate: Int = 0, pairs: [Pair], threshold: Float,
    floor: NoiseFloor? = nil
  ) {
    self.scoring = scoring
    self.result = result
    self.pairs = pairs
    self.threshold = threshold
    self.floor = floor
    rejected = Set(pairs.map(\.rejected))
    all = Self.masked(scoring, result.comparisons[candidate], threshold, without: [])
    masked = pairs.isEmpty ? all : Self.masked(scoring, result.comparisons[candidate], threshold, without: rejected)
  }

  static func masked(
    _ scoring: Scoring, _ comparisons: [Comparison], _ threshold: Float, without: Set<Int>
  ) -> MaskedDrift {
    var positions: [MaskedDrift.Position] = []
    for (index, state) in scoring.states.enumerated() where !without.contains(state.text) {
      for (place, offset) in state.counted.enumerated() {
        positions.append(
          .init(
            state: index, position: state.start + offset, comparison: comparisons[scoring.starts[index] + place]))
      }
    }
    return MaskedDrift(plan: scoring.plan, states: scoring.states, positions: positions, threshold: threshold)
  }

  private var seed: UInt64 { scoring.plan.seed }

  private var tokenCounts: [Int: Int] {
    Dictionary(uniqueKeysWithValues: scoring.texts.enumerated().map { ($0, $1.scored.count) })
  }

  /// - Parameter words: the text that some tokens stand for.
  package func maskedJSON(words: ([Int]) -> String) -> JSONValue {
    let full = result.fullDivergence.map { $0 / Double(max(masked.positions.count, 1)) }
    return masked.json(
      tokenCounts: tokenCounts, klFullMean: full,
      routingChanged: result.routing.changedByRatio,
      worst: result.worst.json(scoring, words: words))
  }

  package var layersJSON: [JSONValue] { result.layers.json }
  package var routingJSON: JSONValue {
    result.routing.json(ratios: scoring.plan.ratios, seed: seed, recordedFloor: floor?.routingChanged)
  }

  /// §11; null without a floor.
  package var floorJSON: JSONValue { floor?.json(kl: masked.kl.mean) ?? .null }

  /// §9; null without pairs.
  package var preferencesJSON: JSONValue {
    guard !pairs.isEmpty else { return .null }
    let reference = all.bounds { $0.referenceLoss }
    let candidate = all.bounds { $0.candidateLoss }
    var (before, after, change, flips) = (ClusterSums(), ClusterSums(), ClusterSums(), 0)
    for (index, pair) in pairs.enumerated() {
      guard let worse = reference[pair.rejected], let better = reference[pair.chosen],
        let ownWorse = candidate[pair.rejected], let ownBetter = candidate[pair.chosen]
      else { continue }
      let (a, b) = (worse - better, ownWorse - ownBetter)
      before.add(a, cluster: index)
      after.add(b, cluster: index)
      change.add(b - a, cluster: index)
      if (a > 0) != (b > 0) { flips += 1 }
    }
    return [
      "pairs": JSONValue(change.count), "non_finite": JSONValue(pairs.count - change.count),
      "margin": [
        "reference": JSONValue(before.mean), "candidate": JSONValue(after.mean), "change": change.meanJSON(seed: seed),
      ],
      "flipped": change.count > 0 ? JSONValue(Double(flips) / Double(change.count)) : .null,
    ]
  }

  /// §10: this run as one entry of the sweep.
  package var blockLengthJSON: JSONValue {
    let sections = masked.json(tokenCounts: tokenCounts, klFullMean: nil, routingChanged: [:], worst: .null)
    return [
      "block_length": JSONValue(scoring.plan.blockLength), "positions": JSONValue(masked.positions.count),
      "non_finite": JSONValue(masked.nonFiniteCount), "kl": masked.kl.distributionJSON(seed: seed),
      "top1_agreement": sections.object?["top1_agreement"] ?? .null,
      "elbo_difference": sections.object?["elbo"]?.object?["difference"] ?? .null,
    ]
  }

  /// §15.
  ///
  /// - Parameters: indices of the lanes with the candidate's routes and with its weights.
  package func routeReplayJSON(candidateRoutes: Int, candidateWeights: Int) -> JSONValue {
    let lanes = [candidateRoutes, candidateWeights].map {
      Self.masked(scoring, result.comparisons[$0], threshold, without: rejected)
    }
    return [
      "non_finite": JSONValue(lanes.map(\.nonFiniteCount).max() ?? 0),
      "candidate_routes": lanes[0].kl.meanJSON(seed: seed), "candidate_weights": lanes[1].kl.meanJSON(seed: seed),
      "both": masked.kl.meanJSON(seed: seed),
    ]
  }
}
