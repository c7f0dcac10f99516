import Glibc
package import JSON

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
  /// Those with numbers.
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
  package func json(
    tokenCounts: [Int: Int], klFullMean: Double?, routingChanged: [Int: ClusterSums], worst: JSONValue
  ) -> JSONValue {
    let change = sample { Double($0.candidate - $0.reference) }
    let sorted = change.values.sorted()
    let quantile = { (p: Double) in Sample.quantile(p, ofSorted: sorted).map { JSONValue($0) } ?? .null }
    let squares = change.values.reduce(0) { $0 + $1 * $1 }
    let texts = Set(positions.map { states[$0.state].text }).count
    let elbo = elbo(tokenCounts)
    return [
      "texts": JSONValue(texts), "states": JSONValue(Set(positions.map(\.state)).count),
      "positions": JSONValue(positions.count), "non_finite": JSONValue(nonFiniteCount),
      "kl": kl.distributionJSON(seed: seed),
      "kl_full_mean": JSONValue(klFullMean),
      "top1_agreement": sample { $0.sameTop ? 1 : 0 }.meanJSON(seed: seed),
      "top1_probability_change": positions.isEmpty
        ? .null
        : [
          "mean": JSONValue(change.mean ?? 0), "ci95": change.sums.intervalJSON(seed: seed),
          "rms": JSONValue((squares / Double(max(change.count, 1))).squareRoot()), "p1": quantile(0.01),
          "p10": quantile(0.1), "median": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99),
        ],
      "threshold": thresholdJSON, "nll": nllJSON, "elbo": elbo,
      "by_mask_ratio": .array(
        plan.ratios.indices.map { ratio in
          var row = group("mask_ratio", JSONValue(plan.ratios[ratio])) { self.states[$0.state].ratio == ratio }
          row.append(
            .init(key: "routing_changed", value: routingChanged[ratio].map { $0.meanJSON(seed: seed) } ?? .null))
          return .object(row)
        }),
      "by_block": .array(
        Set(positions.map { states[$0.state].start / plan.blockLength }).sorted().map { block in
          .object(
            group("block", JSONValue(block)) { self.states[$0.state].start / self.plan.blockLength == block })
        }),
      "by_confidence": .array(byConfidence), "histogram": .array(histogram), "worst": worst,
    ]
  }

  private func group(_ key: String, _ value: JSONValue, _ isIn: (Position) -> Bool) -> JSONObject {
    let kl = sample(where: isIn) { $0.kl }
    var object = JSONObject()
    object.append(.init(key: key, value: value))
    object.append(.init(key: "positions", value: JSONValue(kl.count)))
    object.append(.init(key: "kl", value: kl.distributionJSON(seed: seed)))
    object.append(
      .init(key: "top1_agreement", value: sample(where: isIn) { $0.sameTop ? 1 : 0 }.meanJSON(seed: seed)))
    object.append(
      .init(
        key: "nll_difference",
        value: sample(where: isIn) { Double($0.candidateLoss - $0.referenceLoss) }.meanJSON(seed: seed)))
    return object
  }

  private var byConfidence: [JSONValue] {
    let edges = [0, 0.25, 0.5, 0.75, 0.95, 1]
    return zip(edges, edges.dropFirst()).map { low, high in
      let isLast = high == 1
      let row = group("from", JSONValue(low)) {
        let probability = Double($0.comparison.reference)
        return probability >= low && (probability < high || isLast)
      }
      var object = JSONObject()
      object.append(row.members[0])
      object.append(.init(key: "to", value: JSONValue(high)))
      for member in row.members.dropFirst() { object.append(member) }
      return .object(object)
    }
  }

  private var thresholdJSON: JSONValue {
    guard !positions.isEmpty else { return .null }
    let share = { (isCounted: (Comparison) -> Bool) in
      JSONValue(Double(positions.count { isCounted($0.comparison) }) / Double(positions.count))
    }
    let near = sample(where: { abs($0.comparison.reference - threshold) < 0.05 }) {
      Double($0.candidateBest - $0.reference)
    }
    return [
      "value": JSONValue(threshold), "reference_above": share { $0.reference > threshold },
      "candidate_above": share { $0.candidateBest > threshold },
      "crossed_down": share { $0.reference > threshold && $0.candidateBest <= threshold },
      "crossed_up": share { $0.reference <= threshold && $0.candidateBest > threshold },
      "margin_change": near.meanJSON(seed: seed),
    ]
  }

  private var nllJSON: JSONValue {
    guard !positions.isEmpty else { return .null }
    return [
      "reference": JSONValue(sample { Double($0.referenceLoss) }.mean ?? 0),
      "candidate": JSONValue(sample { Double($0.candidateLoss) }.mean ?? 0),
      "difference": sample { Double($0.candidateLoss - $0.referenceLoss) }.meanJSON(seed: seed),
    ]
  }

  /// Sums of texts over sums of tokens; for the interval each text stands with all its tokens, so that the mean of a
  /// sample is again such a quotient.
  private func elbo(_ tokenCounts: [Int: Int]) -> JSONValue {
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
    guard sums.2 > 0 else { return .null }
    return [
      "reference": JSONValue(sums.0 / Double(sums.2)), "candidate": JSONValue(sums.1 / Double(sums.2)),
      "difference": difference.meanJSON(seed: seed),
    ]
  }

  /// Four bars a decade from 1e-7 to 1e2; the first begins at 0 and the last has no end.
  private var histogram: [JSONValue] {
    let decades = -7...2
    let bars = (decades.count - 1) * 4
    let edges = (0...bars).map { Glibc.pow(10, Double(decades.lowerBound) + Double($0) / 4) }
    var counts = [Int](repeating: 0, count: bars)
    for position in positions {
      let kl = position.comparison.kl
      counts[min(bars - 1, max(0, edges.dropFirst().firstIndex { kl < $0 }.map { $0 - 1 } ?? bars - 1))] += 1
    }
    return counts.indices.map { bar in
      ["from": JSONValue(bar == 0 ? 0 : edges[bar]), "to": JSONValue(edges[bar + 1]), "count": JSONValue(counts[bar])]
    }
  }
}
