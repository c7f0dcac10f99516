import Decoding
import Glibc

/// Level 2: what candidate and reference say at masked positions (`Formats/drift-report.md` §6).
package struct MaskedDrift: Sendable {
  /// One masked position of one state.
  package struct Position: Sendable, Equatable {
    package let state: Int
    /// In the text.
    package let position: Int
    package let comparison: Comparison

    package init(state: Int, position: Int, comparison: Comparison) {
      self.state = state
      self.position = position
      self.comparison = comparison
    }
  }

  let plan: MaskPlan
  let states: [MaskedState]
  /// The positions with numbers.
  let positions: [Position]
  /// Positions left out, where a model's scores are infinite or NaN.
  package let nonFiniteCount: Int
  /// Texts with such positions, of which no bound can be told.
  private let boundless: Set<Int>
  let threshold: Float
  let seed: UInt64

  package init(
    plan: MaskPlan, states: [MaskedState], positions: [Position], threshold: Float
  ) {
    self.plan = plan
    self.states = states
    self.positions = positions.filter(\.comparison.isFinite)
    nonFiniteCount = positions.count - self.positions.count
    boundless = Set(positions.filter { !$0.comparison.isFinite }.map { states[$0.state].text })
    self.threshold = threshold
    seed = plan.seed
  }

  /// A value of each position, drawn by text.
  func sample(
    where isCounted: (Position) -> Bool = { _ in true }, _ value: (Comparison) -> Double
  ) -> Sample {
    var sample = Sample()
    for position in positions where isCounted(position) {
      sample.add(value(position.comparison), cluster: states[position.state].text)
    }
    return sample
  }

  package var kl: Sample { sample { $0.kl } }

  /// Whether both gave the same numbers at all positions, those without numbers among them.
  package var isSame: Bool { nonFiniteCount == 0 && positions.allSatisfy(\.comparison.isSame) }

  /// Block-diffusion bound of each text with numbers at all its positions, in nats: Σ over its states of weight · Σ −ln p.
  package func bounds(_ loss: (Comparison) -> Float) -> [Int: Double] {
    var bounds: [Int: Double] = [:]
    for position in positions {
      let state = states[position.state]
      guard !boundless.contains(state.text) else { continue }
      bounds[state.text, default: 0] += state.weight * Double(loss(position.comparison))
    }
    return bounds
  }

  /// - Parameters:
  ///   - tokenCounts: scored tokens of each text.
  ///   - klFullMean: the mean over all tokens of the vocabulary, where it was taken.
  ///   - routingChanged: by mask ratio, share of rows whose set of experts changed.
  ///   - worst: made by the caller, who has the words.
  package func section(
    tokenCounts: [Int: Int], klFullMean: Double?, routingChanged: [Int: ClusterSums],
    worst: [DriftReport.WorstPosition]
  ) -> DriftReport.Masked {
    DriftReport.Masked(
      texts: Set(positions.map { states[$0.state].text }).count, states: Set(positions.map(\.state)).count,
      positions: positions.count, nonFinite: nonFiniteCount, kl: kl.distribution(seed: seed), klFullMean: klFullMean,
      robust: robust, top1Agreement: agreement(), top1ProbabilityChange: probabilityChange, threshold: thresholdSection,
      nll: nll,
      elbo: elbo(tokenCounts), byMaskRatio: byMaskRatio(routingChanged), byBlock: byBlock, byConfidence: byConfidence,
      histogram: histogram, worst: worst)
  }

  /// Means that a few positions do not lead.
  private var robust: DriftReport.Robust? {
    guard !positions.isEmpty else { return nil }
    var texts: [Int: (sum: Double, count: Int)] = [:]
    for position in positions {
      let text = states[position.state].text
      texts[text, default: (0, 0)].sum += position.comparison.kl
      texts[text, default: (0, 0)].count += 1
    }
    var logs = ClusterSums()
    for (text, part) in texts.sorted(by: { $0.key < $1.key }) where part.sum > 0 {
      logs.add(Glibc.log(part.sum / Double(part.count)), cluster: text)
    }
    let tail = Tail(positions.map(\.comparison.kl), clusters: positions.map { states[$0.state].text })
    return DriftReport.Robust(
      geometric: logs.mean.map { mean in
        Estimate(
          mean: Glibc.exp(mean),
          ci95: logs.interval(seed: seed).map { Glibc.exp($0.lowerBound)...Glibc.exp($0.upperBound) })
      }, textsWithoutDrift: texts.count - logs.count, trimmed: tail.estimate(seed: seed, tail.trimmedMean),
      tenWorstShare: tail.tenLargestShare)
  }

  func agreement(where isIn: (Position) -> Bool = { _ in true }) -> Estimate? {
    sample(where: isIn) { $0.sameTop ? 1 : 0 }.estimate(seed: seed)
  }

  func lossDifference(where isIn: (Position) -> Bool = { _ in true }) -> Estimate? {
    sample(where: isIn) { Double($0.candidateLoss - $0.referenceLoss) }.estimate(seed: seed)
  }

  private var probabilityChange: DriftReport.ProbabilityChange? {
    guard !positions.isEmpty else { return nil }
    let change = sample { Double($0.candidate - $0.reference) }
    let sorted = change.values.sorted()
    let quantile = { (p: Double) in Sample.quantile(p, ofSorted: sorted) ?? 0 }
    let squares = change.values.reduce(0) { $0 + $1 * $1 }
    return DriftReport.ProbabilityChange(
      mean: change.mean ?? 0, ci95: change.interval(seed: seed), rms: (squares / Double(change.count)).squareRoot(),
      p1: quantile(0.01), p10: quantile(0.1), median: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99))
  }

  // MARK: Positions that have something in common

  private func group(_ isIn: (Position) -> Bool) -> DriftReport.Group {
    let kl = sample(where: isIn) { $0.kl }
    return DriftReport.Group(
      positions: kl.count, kl: kl.distribution(seed: seed), top1Agreement: agreement(where: isIn),
      nllDifference: lossDifference(where: isIn))
  }

  private func byMaskRatio(_ routingChanged: [Int: ClusterSums]) -> [DriftReport.MaskRatioGroup] {
    plan.ratios.indices.map { ratio in
      .init(
        .init(maskRatio: plan.ratios[ratio]),
        .init(
          group { states[$0.state].ratio == ratio },
          .init(routingChanged: routingChanged[ratio]?.estimate(seed: seed))))
    }
  }

  /// Where the next token is predicted there are no blocks: each position is its own.
  private var byBlock: [DriftReport.BlockGroup] {
    guard plan.mask != SpecialTokens.noMask else { return [] }
    let block = { (position: Position) in states[position.state].start / plan.blockLength }
    return Set(positions.map(block)).sorted().map { number in
      .init(.init(block: number), group { block($0) == number })
    }
  }

  private var byConfidence: [DriftReport.ConfidenceGroup] {
    let edges = [0, 0.25, 0.5, 0.75, 0.95, 1]
    return zip(edges, edges.dropFirst()).map { low, high in
      let isLast = high == 1
      let group = group {
        let probability = Double($0.comparison.reference)
        return probability >= low && (probability < high || isLast)
      }
      return .init(.init(from: low, to: high), group)
    }
  }

  // MARK: Threshold, losses, bounds

  private var thresholdSection: DriftReport.Threshold? {
    guard !positions.isEmpty else { return nil }
    let share = { (isCounted: (Comparison) -> Bool) in
      Double(positions.count { isCounted($0.comparison) }) / Double(positions.count)
    }
    let near = sample(where: { abs($0.comparison.reference - threshold) < 0.05 }) {
      Double($0.candidateBest - $0.reference)
    }
    return DriftReport.Threshold(
      value: threshold, referenceAbove: share { $0.reference > threshold },
      candidateAbove: share { $0.candidateBest > threshold },
      crossedDown: share { $0.reference > threshold && $0.candidateBest <= threshold },
      crossedUp: share { $0.reference <= threshold && $0.candidateBest > threshold },
      marginChange: near.estimate(seed: seed))
  }

  private var nll: DriftReport.Loss? {
    guard !positions.isEmpty else { return nil }
    return DriftReport.Loss(
      reference: sample { Double($0.referenceLoss) }.mean ?? 0,
      candidate: sample { Double($0.candidateLoss) }.mean ?? 0, difference: lossDifference())
  }

  /// Sums of texts over sums of tokens; for the interval each text stands with all its tokens, so that the mean of a
  /// sample is again such a quotient.
  func elbo(_ tokenCounts: [Int: Int]) -> DriftReport.Loss? {
    let reference = bounds { $0.referenceLoss }
    let candidate = bounds { $0.candidateLoss }
    var difference = Sample()
    var sums = (0.0, 0.0, 0)
    for (text, bound) in reference.sorted(by: { $0.key < $1.key }) {
      let tokens = tokenCounts[text] ?? 0
      let other = candidate[text] ?? 0
      sums = (sums.0 + bound, sums.1 + other, sums.2 + tokens)
      for _ in 0..<tokens { difference.add((other - bound) / Double(tokens), cluster: text) }
    }
    guard sums.2 > 0 else { return nil }
    return DriftReport.Loss(
      reference: sums.0 / Double(sums.2), candidate: sums.1 / Double(sums.2),
      difference: difference.estimate(seed: seed))
  }

  /// Four bars a decade from 1e-7 to 1e2; the first begins at 0 and the last has no end.
  private var histogram: [DriftReport.Bar] {
    let decades = -7...2
    let bars = (decades.count - 1) * 4
    let edges = (0...bars).map { Glibc.pow(10, Double(decades.lowerBound) + Double($0) / 4) }
    var counts = [Int](repeating: 0, count: bars)
    for position in positions {
      let kl = position.comparison.kl
      counts[min(bars - 1, max(0, edges.dropFirst().firstIndex { kl < $0 }.map { $0 - 1 } ?? bars - 1))] += 1
    }
    return counts.enumerated().map { bar, count in
      .init(.init(from: bar == 0 ? 0 : edges[bar], to: edges[bar + 1]), .init(count: count))
    }
  }
}
