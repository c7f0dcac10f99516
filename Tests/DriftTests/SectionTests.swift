import Drift
import Glibc
import JSON
import Kernels
import Models
import Testing

/// Sections of the report with numbers worked by hand.
@Suite struct SectionTests {
  private func number(_ value: JSONValue?, _ path: String...) -> Double? {
    var value = value
    for key in path {
      if let index = Int(key) { value = value?.array?[index] } else { value = value?.object?[key] }
    }
    return value?.double
  }

  private func near(_ a: Double?, _ b: Double, _ tolerance: Double = 1e-6) -> Bool {
    a.map { abs($0 - b) <= tolerance } ?? false
  }

  private func comparison(_ p: [Double], _ q: [Double], truth: Int) -> Comparison {
    let row = { (values: [Double]) in LogSoftmax(values.map { Float(log($0)) }[...], kernels: .best) }
    let mask = p.count - 1
    return Comparison(ReferenceRow(row(p), truth: truth, mask: mask), row(q), truth: truth, mask: mask)
  }

  /// Two texts with one block each at two ratios. Text 0: p = q but once; text 1: never.
  private func masked() -> MaskedDrift {
    let plan = MaskPlan(ratios: [0.5, 1], blockLength: 2, mask: 3, seed: 1)
    let states = [
      MaskedState(text: 0, start: 2, tokens: [3, 1], counted: [0], ratio: 0, weight: 0.75 * 2),
      MaskedState(text: 0, start: 2, tokens: [3, 3], counted: [0, 1], ratio: 1, weight: 0.25),
      MaskedState(text: 1, start: 0, tokens: [3, 3], counted: [0, 1], ratio: 1, weight: 0.25),
    ]
    let same = comparison([0.97, 0.01, 0.01, 0.01], [0.97, 0.01, 0.01, 0.01], truth: 0)
    let moved = comparison([0.96, 0.02, 0.01, 0.01], [0.48, 0.5, 0.01, 0.01], truth: 0)
    return MaskedDrift(
      plan: plan, states: states,
      positions: [
        .init(state: 0, position: 2, comparison: same), .init(state: 1, position: 2, comparison: moved),
        .init(state: 1, position: 3, comparison: same), .init(state: 2, position: 0, comparison: same),
        .init(state: 2, position: 1, comparison: same),
      ], threshold: 0.95)
  }

  @Test func maskedNumbers() {
    let json = JSONValue(
      encoding: masked().section(tokenCounts: [0: 2, 1: 2], klFullMean: nil, routingChanged: [:], worst: []))
    let kl = 0.96 * log(2.0) + 0.02 * log(0.04)
    #expect(near(number(json, "kl", "mean"), kl / 5))
    #expect(near(number(json, "kl", "max"), kl) && near(number(json, "kl", "median"), 0))
    #expect(near(number(json, "top1_agreement", "mean"), 0.8))
    #expect(near(number(json, "top1_probability_change", "mean"), -0.48 / 5))
    #expect(near(number(json, "top1_probability_change", "rms"), 0.48 / 5.0.squareRoot()))
    #expect(near(number(json, "top1_probability_change", "p1"), -0.48))
    #expect(near(number(json, "threshold", "reference_above"), 1))
    #expect(near(number(json, "threshold", "candidate_above"), 0.8))
    #expect(near(number(json, "threshold", "crossed_down"), 0.2))
    #expect(near(number(json, "threshold", "crossed_up"), 0))
    // All five lie within 0.05 of the threshold; one of them fell from 0.96 to 0.5.
    #expect(near(number(json, "threshold", "margin_change", "mean"), -0.46 / 5))
    #expect(near(number(json, "nll", "difference", "mean"), log(2.0) / 5))
    // Text 0: 1.5 · a + 0.25 · (b + a), text 1: 0.25 · 2a, over four tokens; a = −ln 0.97, b = −ln 0.96.
    let (a, b) = (-log(0.97), -log(0.96))
    #expect(near(number(json, "elbo", "reference"), (1.5 * a + 0.25 * (a + b) + 0.5 * a) / 4))
    #expect(near(number(json, "elbo", "difference", "mean"), 0.25 * log(2.0) / 4))
    // The interval draws texts: none, one or two of the text that moved.
    #expect(near(number(json, "elbo", "difference", "ci95", "0"), 0))
    #expect(near(number(json, "elbo", "difference", "ci95", "1"), 0.25 * log(2.0) / 2))
    #expect(near(number(json, "by_mask_ratio", "0", "positions"), 1))
    #expect(near(number(json, "by_mask_ratio", "1", "kl", "mean"), kl / 4))
    #expect(near(number(json, "by_block", "0", "kl", "mean"), 0))
    #expect(near(number(json, "by_block", "1", "kl", "mean"), kl / 3))
    #expect(near(number(json, "by_confidence", "4", "positions"), 5))
    let histogram = json.object?["histogram"]?.array ?? []
    #expect(histogram.count == 36)
    #expect(histogram.first?.object?["count"]?.int == 4)
    let bar = histogram.first {
      number($0, "from").map { $0 <= kl } ?? false && number($0, "to").map { kl < $0 } ?? false
    }
    #expect(bar?.object?["count"]?.int == 1)
  }

  @Test func whatIsNotANumberIsCountedAndLeftOut() {
    let state = MaskedState(text: 0, start: 0, tokens: [3, 3], counted: [0, 1])
    let good = comparison([0.5, 0.25, 0.25], [0.5, 0.25, 0.25], truth: 0)
    let row = LogSoftmax([0, 1, 2][...], kernels: .best)
    for broken in [Float.nan, .infinity] {
      let bad = Comparison(
        ReferenceRow(row, truth: 0, mask: 2), LogSoftmax([0, broken, 2][...], kernels: .best), truth: 0, mask: 2)
      let drift = MaskedDrift(
        plan: MaskPlan(ratios: [1], blockLength: 2, mask: 3, seed: 0), states: [state],
        positions: [.init(state: 0, position: 0, comparison: good), .init(state: 0, position: 1, comparison: bad)],
        threshold: 0.95)
      let json = JSONValue(
        encoding: drift.section(tokenCounts: [0: 2], klFullMean: nil, routingChanged: [:], worst: []))
      #expect(number(json, "non_finite") == 1 && number(json, "positions") == 1 && number(json, "kl", "max") == 0)
    }
    var sample = Sample()
    for (text, value) in [1, Double.nan, 2].enumerated() { sample.add(value, cluster: text) }
    #expect(sample.interval(seed: 0) == nil)
  }

  @Test("the scores of a softmax do not know what is added to all logits, those of a sigmoid do")
  func routerScores() {
    let (a, b): (ArraySlice<Float>, ArraySlice<Float>) = ([0, 1, 3], [2, 3, 5])
    #expect(RoutingDrift(.softmax).divergence(a, b) < 1e-12 && RoutingDrift(.sigmoid).divergence(a, b) > 1e-3)
    // ½ and ½ against ¼ and ¾.
    #expect(abs(RoutingDrift(.softmax).divergence([7, 7], [0, logf(3)]) - 0.5 * log(4.0 / 3)) < 1e-6)
  }

  @Test func routingNumbers() {
    var routing = RoutingDrift()
    let a = Router.Route(experts: [0, 1], weights: [1.5, 1])
    let b = Router.Route(experts: [1, 2], weights: [1.5, 1])
    // Scores ½ and ½ against ¼ and ¾: logits 0, 0 and −ln 3, ln 3.
    let logits: (ArraySlice<Float>, ArraySlice<Float>) = ([0, 0], [-logf(3), logf(3)])
    routing.add(layer: 1, ratio: 0, text: 0, a, b, logits: logits)
    routing.add(layer: 1, ratio: 1, text: 1, a, Router.Route(experts: [1, 0], weights: [1, 1.5]), logits: nil)
    routing.addFloor(layer: 1, text: 0, a, b)
    routing.addFloor(layer: 1, text: 0, a, a)
    let json = JSONValue(encoding: routing.section(ratios: [0.5, 1], seed: 0))
    #expect(number(json, "changed", "mean") == 0.5, "the order does not matter")
    #expect(number(json, "overlap", "mean") == 0.75)
    // ½ (abs(1.5) + abs(1 − 1.5) + abs(−1)) / 2.5
    #expect(near(number(json, "weight_shift", "mean"), (3.0 / 5) / 2))
    #expect(near(number(json, "kl", "mean"), 0.5 * log(2.0) + 0.5 * log(2.0 / 3)))
    #expect(number(json, "by_layer", "0", "floor_changed") == 0.5)
    #expect(number(json, "by_mask_ratio", "1", "changed") == 0)
    #expect(routing.floorChanged.mean == 0.5)
  }

  @Test func layerNumbers() {
    var layers = LayerDrift()
    // Rows (3, 4) and (0, 5) against (3, 4) and (5, 0); row 1 is not counted.
    layers.add(
      layer: 0, [3, 4, 9, 9, 0, 5], [3, 4, 0, 0, 5, 0], floor: [3, 4.5, 0, 0, 0, 5], rows: [0, 2], width: 2)
    #expect(near(number(JSONValue(encoding: layers.section[0]), "relative_error"), 1))
    #expect(near(number(JSONValue(encoding: layers.section[0]), "cosine"), 0.5))
    #expect(near(number(JSONValue(encoding: layers.section[0]), "floor"), 0.5 / 50.0.squareRoot()))
  }
}
