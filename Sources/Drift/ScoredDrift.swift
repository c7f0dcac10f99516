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
    var (before, after, change, flips) = (Sample(), Sample(), Sample(), 0)
    for (index, pair) in pairs.enumerated() {
      let a = (reference[pair.rejected] ?? 0) - (reference[pair.chosen] ?? 0)
      let b = (candidate[pair.rejected] ?? 0) - (candidate[pair.chosen] ?? 0)
      before.add(a, cluster: index)
      after.add(b, cluster: index)
      change.add(b - a, cluster: index)
      if (a > 0) != (b > 0) { flips += 1 }
    }
    return [
      "pairs": JSONValue(pairs.count),
      "margin": [
        "reference": JSONValue(before.mean ?? 0), "candidate": JSONValue(after.mean ?? 0),
        "change": change.meanJSON(seed: seed),
      ],
      "flipped": JSONValue(Double(flips) / Double(pairs.count)),
    ]
  }

  /// §10: this run as one entry of the sweep.
  package var blockLengthJSON: JSONValue {
    let sections = masked.json(tokenCounts: tokenCounts, klFullMean: nil, routingChanged: [:], worst: .null)
    return [
      "block_length": JSONValue(scoring.plan.blockLength), "positions": JSONValue(masked.positions.count),
      "kl": masked.kl.distributionJSON(seed: seed), "top1_agreement": sections.object?["top1_agreement"] ?? .null,
      "elbo_difference": sections.object?["elbo"]?.object?["difference"] ?? .null,
    ]
  }

  /// §15.
  ///
  /// - Parameters: indices of the lanes with the candidate's routes and with its weights.
  package func routeReplayJSON(candidateRoutes: Int, candidateWeights: Int) -> JSONValue {
    let mean = { (lane: Int) in
      Self.masked(scoring, result.comparisons[lane], threshold, without: rejected).kl.meanJSON(seed: seed)
    }
    return [
      "candidate_routes": mean(candidateRoutes), "candidate_weights": mean(candidateWeights),
      "both": masked.kl.meanJSON(seed: seed),
    ]
  }
}
