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
  /// Index of its lane.
  private let candidate: Int
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
    self.candidate = candidate
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
  package func maskedSection(words: ([Int]) -> String) -> DriftReport.Masked {
    masked.section(
      tokenCounts: tokenCounts, klFullMean: result.fullDivergence.map { $0 / Double(max(masked.positions.count, 1)) },
      routingChanged: result.routing.changedByRatio, worst: result.worst.section(scoring, words: words))
  }

  package var layers: [DriftReport.Layer] { result.layers.section }
  package var routing: DriftReport.Routing? {
    result.routing.section(ratios: scoring.plan.ratios, seed: seed, recordedFloor: floor?.routingChanged)
  }

  /// §11; nil without a floor.
  package var floorSection: DriftReport.Floor? { floor?.section(kl: masked.kl.mean) }

  /// §9; nil without pairs.
  package var preferences: DriftReport.Preferences? {
    guard !pairs.isEmpty else { return nil }
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
    return DriftReport.Preferences(
      pairs: change.count, nonFinite: pairs.count - change.count,
      margin: .init(reference: before.mean, candidate: after.mean, change: change.estimate(seed: seed)),
      flipped: change.count > 0 ? Double(flips) / Double(change.count) : nil)
  }

  /// §10: this run as one entry of the sweep.
  package var blockLength: DriftReport.BlockLength {
    DriftReport.BlockLength(
      blockLength: scoring.plan.blockLength, positions: masked.positions.count, nonFinite: masked.nonFiniteCount,
      kl: masked.kl.distribution(seed: seed), top1Agreement: masked.agreement(),
      elboDifference: masked.elbo(tokenCounts)?.difference)
  }

  /// §15.
  ///
  /// - Parameters: indices of the lanes with the candidate's routes and with its weights.
  package func routeReplay(candidateRoutes: Int, candidateWeights: Int) -> DriftReport.RouteReplay {
    let lanes = [candidateRoutes, candidateWeights].map {
      Self.masked(scoring, result.comparisons[$0], threshold, without: rejected)
    }
    return DriftReport.RouteReplay(
      nonFinite: lanes.map(\.nonFiniteCount).max() ?? 0, candidateRoutes: lanes[0].kl.estimate(seed: seed),
      candidateWeights: lanes[1].kl.estimate(seed: seed), both: masked.kl.estimate(seed: seed),
      throughRoutes: throughRoutes(candidateRoutes, candidateWeights))
  }

  /// The share of the candidate's drift that flows through changed routes: what changing them adds to the divergence, on
  /// the average of before and after the weights change (Shapley 1953, for two players).
  private func throughRoutes(_ routes: Int, _ weights: Int) -> Estimate? {
    var sums = PairedSums()
    for (index, state) in scoring.states.enumerated() where !rejected.contains(state.text) {
      for place in state.counted.indices {
        let position = scoring.starts[index] + place
        let cells = [candidate, routes, weights].map { result.comparisons[$0][position] }
        guard cells.allSatisfy(\.isFinite) else { continue }
        sums.add(cells[1].kl + cells[0].kl - cells[2].kl, 2 * cells[0].kl, cluster: state.text)
      }
    }
    return sums.ratio(seed: seed)
  }

  /// §15.1.
  ///
  /// - Parameters:
  ///   - lane: index of the rival among the lanes.
  ///   - decisions: along the reference's path, where that was measured.
  package func versus(_ model: DriftReport.Model, lane: Int, decisions: PairedSums?) -> DriftReport.Versus {
    PairedDrift(scoring, result.comparisons[candidate], result.comparisons[lane], without: rejected)
      .section(model: model, routes: result.routesOfRivals, decisions: decisions)
  }
}
