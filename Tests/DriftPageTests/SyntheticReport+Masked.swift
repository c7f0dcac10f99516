import JSON

extension SyntheticReport {
  // MARK: Scored states

  static var masked: JSONValue {
    let ratios: [JSONValue] = [0.15, 0.35, 0.55, 0.75, 0.95].enumerated().map {
      (index: Int, ratio: Double) -> JSONValue in
      let kl: Double = 0.009 + 0.028 * ratio * ratio
      let changed: Double = 0.21 + 0.1 * ratio
      return row([("mask_ratio", real(ratio))], conditional(kl, index) + [("routing_changed", mean(changed))])
    }
    let blocks: [JSONValue] = (0..<9).map { (index: Int) -> JSONValue in
      let kl: Double = 0.029 - 0.0014 * Double(index)
      return row([("block", JSONValue(index))], conditional(kl, index))
    }
    let edges: [Double] = [0, 0.25, 0.5, 0.75, 0.95, 1]
    let levels: [Double] = [0.141, 0.088, 0.051, 0.019, 0.0021]
    let confidence: [JSONValue] = (0..<5).map { (index: Int) -> JSONValue in
      row([("from", real(edges[index])), ("to", real(edges[index + 1]))], conditional(levels[index], index))
    }
    return [
      "texts": 64, "states": 2_310, "positions": 41_230, "non_finite": 0, "kl": distribution(0.0213),
      "kl_full_mean": real(0.021412),
      "robust": [
        "geometric": mean(0.0164), "texts_without_drift": 2, "trimmed": mean(0.0191), "ten_worst_share": real(0.0631),
      ],
      "top1_agreement": mean(0.9412, spread: 0.008), "top1_probability_change": probabilityChange,
      "threshold": [
        "value": real(0.95), "reference_above": real(0.4121), "candidate_above": real(0.4015),
        "crossed_down": real(0.0204),
        "crossed_up": real(0.0098), "margin_change": mean(-0.0061),
      ],
      "nll": ["reference": real(1.4021), "candidate": real(1.4102), "difference": mean(0.0081)],
      "elbo": ["reference": real(1.2214), "candidate": real(1.2311), "difference": mean(0.0097)],
      "by_mask_ratio": .array(ratios), "by_block": .array(blocks), "by_confidence": .array(confidence),
      "histogram": histogram, "worst": worst,
    ]
  }

  private static func conditional(_ kl: Double, _ index: Int) -> [(String, JSONValue)] {
    [
      ("positions", JSONValue(9_000 - 700 * index)), ("kl", distribution(kl)),
      ("top1_agreement", mean(0.97 - 1.4 * kl, spread: 0.01)), ("nll_difference", mean(kl * 0.4, spread: 0.4)),
    ]
  }

  private static let probabilityChange: JSONValue = [
    "mean": real(-0.0021), "ci95": [real(-0.0032), real(-0.0011)], "rms": real(0.0312), "p1": real(-0.121),
    "p10": real(-0.0201), "median": real(-0.0001), "p90": real(0.0164), "p99": real(0.1032),
  ]

  /// Four bars a decade from 1e-7 to 100, the first from 0.
  private static var histogram: JSONValue {
    let steps = [1, 1.778279, 3.162278, 5.623413]
    var edges: [Double] = []
    var decade = 1e-7
    for _ in 0..<9 {
      edges += steps.map { $0 * decade }
      decade *= 10
    }
    edges.append(100)
    let bars = (0..<36).map { (index: Int) -> JSONValue in
      let distance: Double = Double(index - 18) / 6
      let square: Double = distance * distance
      let count: Int = max(0, Int(5200 / (1 + square * square * 3)) - 24)
      let from: JSONValue = index == 0 ? 0 : JSONValue(edges[index])
      return row([("from", from), ("to", JSONValue(edges[index + 1]))], [("count", JSONValue(count))])
    }
    return .array(bars)
  }

  private static func token(_ id: Int, _ text: String, _ probability: Double) -> JSONValue {
    ["token": JSONValue(id), "text": .string(text), "probability": real(probability)]
  }

  private static var worst: JSONValue {
    let first: JSONValue = [
      "text": 41, "position": 187, "block": 5, "mask_ratio": real(0.75), "kl": real(2.0661),
      "truth": " Cairo",
      "reference": [
        token(4012, " Cairo", 0.9113), token(17, " the", 0.031), token(993, " Alexandria", 0.012),
        token(8, "\n", 0.004),
        token(1, "▁", 0.001),
      ],
      "candidate": [
        token(993, " Alexandria", 0.5021), token(4012, " Cairo", 0.241), token(17, " the", 0.06), token(8, "\n", 0.02),
        token(55, "</s>", 0.011),
      ],
      "context": "What is the capital of Egypt?\nThe capital of Egypt is[▒]▒▒, which lies on the▒▒ of the Nile▒",
    ]
    let second: JSONValue = [
      "text": 7, "position": 96, "block": 3, "mask_ratio": real(0.95), "kl": real(1.4432),
      "truth": "7",
      "reference": [
        token(311, "7", 0.61), token(312, "8", 0.22), token(313, "9", 0.1), token(9, ".", 0.02), token(3, ",", 0.01),
      ],
      "candidate": [
        token(312, "8", 0.71), token(311, "7", 0.14), token(313, "9", 0.07), token(9, ".", 0.03), token(3, ",", 0.01),
      ],
      "context":
        "Natalia sold 48 clips in April, and half as many in May, so she sold 48 / 2 = 24 clips. Altogether[▒]▒▒▒▒▒▒▒",
    ]
    let third: JSONValue = [
      "text": 12, "position": 402, "block": 12, "mask_ratio": real(0.35), "kl": real(1.201),
      "truth": "尼罗河",
      "reference": [
        token(6121, "尼罗河", 0.8), token(6122, "河流", 0.1), token(2, "的", 0.02), token(4, "。", 0.01), token(5, "，", 0.01),
      ],
      "candidate": [
        token(6122, "河流", 0.6), token(6121, "尼罗河", 0.21), token(2, "的", 0.1), token(4, "。", 0.02), token(5, "，", 0.01),
      ],
      "context": "开罗是埃及的首都，位于[▒]▒沿岸。",
    ]
    return [first, second, third, second, third, first]
  }

  // MARK: Inside the model

  static var layers: JSONValue { .array((-1..<20).map(layer)) }

  private static func layer(_ layer: Int) -> JSONValue {
    let depth = Double(layer)
    let error: Double = layer < 0 ? 0 : 0.012 + 0.0042 * depth + 0.002 * wobble(layer)
    let floor: Double = layer < 0 ? 0.0019 : 0.0021 + 0.0006 * depth
    return row(
      [("layer", JSONValue(layer)), ("non_finite", 0), ("relative_error", real(error))],
      [("cosine", real(1 - error * error / 2)), ("floor", real(floor))])
  }

  static var routing: JSONValue {
    let rows = (1..<20).map { (layer: Int) -> JSONValue in
      let changed: Double = 0.16 + 0.011 * Double(layer) + 0.03 * wobble(layer + 3)
      let floor: Double = 0.03 + 0.002 * Double(layer)
      let numbers = four(changed).map { ($0.0, real($0.1)) }
      return row([("layer", JSONValue(layer))], numbers + [("floor_changed", real(floor))])
    }
    let ratios = [0.15, 0.35, 0.55, 0.75, 0.95].map { (ratio: Double) -> JSONValue in
      let numbers = four(0.2 + 0.12 * ratio).map { ($0.0, real($0.1)) }
      return row([("mask_ratio", real(ratio))], numbers)
    }
    let totals = four(0.2741).map { ($0.0, mean($0.1, spread: 0.04)) }
    return row(
      [("rows", 783_370), ("non_finite", 0)] + totals, [("by_layer", .array(rows)), ("by_mask_ratio", .array(ratios))])
  }

  private static func four(_ changed: Double) -> [(String, Double)] {
    [("changed", changed), ("overlap", 1 - changed / 7.4), ("kl", changed * 0.0071), ("weight_shift", changed * 0.21)]
  }

  static let preferences: JSONValue = [
    "pairs": 16, "non_finite": 0,
    "margin": ["reference": real(14.21), "candidate": real(13.87), "change": mean(-0.34, spread: 0.7)],
    "flipped": real(0.0625),
  ]

  static var blockLengths: JSONValue { .array([8, 16, 32, 64].map(blockLength)) }

  private static func blockLength(_ length: Int) -> JSONValue {
    let size = Double(length)
    let kl = 0.0181 + 0.00012 * size
    let agreement = 0.95 - 0.0003 * size
    let difference = 0.008 + 0.00005 * size
    return [
      "block_length": JSONValue(length), "positions": JSONValue(41_000 - 30 * length), "non_finite": 0,
      "kl": distribution(kl),
      "top1_agreement": mean(agreement, spread: 0.01), "elbo_difference": mean(difference, spread: 0.4),
    ]
  }

  static let floor: JSONValue = [
    "noise": .number("0.001953125"), "non_finite": 0, "kl": distribution(0.0041),
    "top1_agreement": mean(0.9801, spread: 0.004),
    "nll_difference": mean(0.0004, spread: 2), "routing_changed": mean(0.0511, spread: 0.05), "kl_ratio": real(5.195),
  ]

  static var attribution: JSONValue {
    let parts = (0..<19).map { (index: Int) -> JSONValue in
      let kl: Double = 0.0042 / (1 + 0.35 * Double(index))
      let name = "layer \((index * 7 + 3) % 19 + 1)"
      return ["part": .string(name), "non_finite": 0, "kl": mean(kl), "share": real(kl / 0.0223)]
    }
    return [
      "by": "layers", "non_finite": 0, "parts": .array(parts), "sum": real(0.0223), "whole": real(0.0213),
      "additivity": real(1.047),
      "left_out": 0,
    ]
  }

  static let routeReplay: JSONValue = [
    "non_finite": 0, "candidate_routes": mean(0.0079), "candidate_weights": mean(0.0142), "both": mean(0.0213),
    "through_routes": mean(0.3521, spread: 0.2),
  ]
}
