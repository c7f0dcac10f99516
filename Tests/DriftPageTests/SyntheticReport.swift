import Drift
import JSON

/// A made-up drift report with every section and key of `Formats/drift-report.md`, in numbers that could be true.
enum SyntheticReport {
  static func real(_ value: Double) -> JSONValue { JSONValue((value * 1e6).rounded() / 1e6) }

  /// Repeatable wobble of ±1 around nothing.
  static func wobble(_ index: Int) -> Double { Double((index &* 2_654_435_761) % 1000) / 500 - 1 }

  static func mean(_ value: Double, spread: Double = 0.12) -> JSONValue {
    let half = abs(value) * spread
    return ["mean": real(value), "ci95": [real(value - half), real(value + half)]]
  }

  static func distribution(_ value: Double) -> JSONValue {
    [
      "mean": real(value), "ci95": [real(value * 0.88), real(value * 1.14)], "median": real(value * 0.21),
      "p90": real(value * 2.4), "p99": real(value * 11), "p999": real(value * 41), "max": real(value * 97),
    ]
  }

  /// Every section filled, and judged.
  static func full() -> DriftReport {
    guard let gates = try? Gates(["default", "masked.kl.p99 > 0.2", "layers[20].relative_error > 0.2"]) else {
      preconditionFailure("gates as documented")
    }
    return gates.judge(report(document()))
  }

  /// Nothing but the two models.
  static func minimal() -> DriftReport { report(minimalDocument()) }

  /// What must be a report.
  static func report(_ document: JSONValue) -> DriftReport {
    do throws(DriftReport.ReadingError) {
      return try DriftReport(json: document) { preconditionFailure("not as documented: \($0)") }
    } catch { preconditionFailure("no report: \(error)") }
  }

  static func document() -> JSONValue {
    minimalDocument().replacing([
      "weights": weights, "masked": masked, "layers": layers, "routing": routing, "preferences": preferences,
      "block_lengths": blockLengths, "floor": floor, "trajectories": trajectories, "tasks": tasks,
      "attribution": attribution, "route_replay": routeReplay, "versus": versus,
      "notes": ["3 texts were cut at 4,096 tokens"],
    ])
  }

  static func minimalDocument() -> JSONValue {
    let verdict: JSONValue = ["status": "none", "gates": [], "zero_drift": .bool(false)]
    let start: [(String, JSONValue)] = [
      ("schema", "ingot.drift/1"), ("ingot", "0.2.0"), ("reference", reference), ("candidate", candidate),
      ("data", data), ("verdict", verdict), ("weights", .null), ("masked", .null), ("layers", []), ("routing", .null),
    ]
    let rest: [(String, JSONValue)] = [
      ("preferences", .null), ("block_lengths", []), ("floor", .null), ("trajectories", .null), ("tasks", .null),
      ("attribution", .null), ("route_replay", .null), ("versus", .null), ("missing", []), ("non_finite", []),
      ("notes", []),
      ("cost", cost),
    ]
    return row(start, rest)
  }

  // MARK: What was compared

  private static let reference: JSONValue = [
    "path": "LLaDA2.0-mini", "kind": "checkpoint", "hash": "5f0c2a9be41d7730", "bytes": 32_512_882_176,
    "bits_per_weight": .number("16.0"), "experts": ["bf16"], "activations": "fp32", "lossless": .null,
  ]

  private static let candidate: JSONValue = [
    "path": "mini.ingot", "kind": "pack", "hash": "c81e728d9d4c2f63", "bytes": 8_702_140_416,
    "bits_per_weight": .number("4.282"), "experts": ["int4-g64"], "activations": "fp32", "lossless": .bool(false),
  ]

  private static var versus: JSONValue {
    let ratio = { (candidate: Double, versus: Double) -> JSONValue in
      let quotient = candidate / versus
      return [
        "candidate": real(candidate), "versus": real(versus), "ratio": real(quotient),
        "ci95": [real(0.91 * quotient), real(1.08 * quotient)],
      ]
    }
    let difference = { (candidate: Double, versus: Double) -> JSONValue in
      let change = candidate - versus
      return [
        "candidate": real(candidate), "versus": real(versus), "difference": real(change),
        "ci95": [real(change - 0.004), real(change + 0.006)],
      ]
    }
    let geometric: JSONValue = [
      "texts": 62, "smaller": 59, "ratio": real(0.3187), "ci95": [real(0.2841), real(0.3522)],
    ]
    return [
      "model": candidate.replacing(["path": "other.ingot", "hash": "77aa01d95b1c2e40"]), "positions": 41_230,
      "non_finite": 0, "kl": ratio(0.0213, 0.0671), "kl_geometric": geometric, "kl_trimmed": ratio(0.0191, 0.0602),
      "kl_p99": ratio(0.2343, 0.7144), "top1_agreement": difference(0.9412, 0.9031),
      "routing_changed": ratio(0.2741, 0.4413), "same_decision": difference(0.8389, 0.7712),
    ]
  }

  private static let data: JSONValue = [
    "prompts": [
      "source": "built-in", "count": 64, "hash": "a3b1c29977e01f24", "with_answers": 64, "with_preferences": 16,
    ],
    "texts": [
      "source": "answers", "count": 64, "tokens": 18_432, "scored_positions": 12_480, "hash": "09f1aa2387bc6d10",
    ],
    "raw": false, "seed": 1,
    "mask_ratios": [.number("0.15"), .number("0.35"), .number("0.55"), .number("0.75"), .number("0.95")],
    "block_length": 32, "steps": 32, "generation_length": 256, "threshold": .number("0.95"),
    "temperature": .number("0.0"), "decoder": "2.0", "editing": .null, "stops_early": false,
    "levels": ["weights", "masked", "trajectories", "tasks"],
  ]

  private static let cost: JSONValue = [
    "seconds": .number("1841.7"),
    "by_level": [
      "weights": .number("71.2"), "masked": .number("912.4"), "trajectories": .number("798.0"),
      "tasks": .number("60.1"),
    ],
    "peak_memory": 3_221_225_472, "bytes_read": ["reference": 94_489_280_512, "candidate": 24_159_191_040], "passes": 3,
    "threads": 16, "kernels": "avx512",
  ]

  // MARK: Weights

  private static func differences(_ error: Double) -> [(String, JSONValue)] {
    let decibels: Double = 20.4 + wobble(Int(error * 1e5))
    let cosine: Double = 1 - error * error / 2
    return [
      ("relative_rmse", real(error)), ("sqnr_db", real(decibels)), ("cosine", real(cosine)),
      ("gain", real(1 - error / 50)), ("non_finite", 0), ("max_abs_error", real(error * 0.4)),
      ("saturated_share", real(error / 9)),
    ]
  }

  static func row(_ first: [(String, JSONValue)], _ rest: [(String, JSONValue)]) -> JSONValue {
    var object = JSONObject()
    for (key, value) in first + rest { object.append(.init(key: key, value: value)) }
    return .object(object)
  }

  private static var weights: JSONValue {
    let layers = (1..<20).map { (layer: Int) -> JSONValue in
      row([("layer", JSONValue(layer))], differences(0.094 + 0.007 * wobble(layer)))
    }
    let names = ["mlp.experts.gate_proj", "mlp.experts.up_proj", "mlp.experts.down_proj"]
    let projections = names.enumerated().map { (index: Int, name: String) -> JSONValue in
      row([("projection", .string(name))], differences(0.09 + 0.004 * Double(index)))
    }
    let experts = (0..<12).map { (index: Int) -> JSONValue in
      let place: [(String, JSONValue)] = [("layer", JSONValue(1 + index % 5)), ("expert", JSONValue(17 * index % 256))]
      return row(place, differences(0.13 - 0.002 * Double(index)))
    }
    let tensors = (0..<12).map { (index: Int) -> JSONValue in
      let name = "model.layers.\(index + 1).mlp.experts.\(31 * index % 256).down_proj.weight"
      return row([("name", .string(name)), ("encoding", "int4-g64")], differences(0.14 - 0.002 * Double(index)))
    }
    return row(
      [
        ("compared", 15_012), ("different", 14_592), ("kept_different", 0),
        ("worst_expert_rmse", .number("0.13")), ("worst_gain_error", .number("0.004")),
      ],
      differences(0.0951) + [
        ("by_layer", .array(layers)), ("by_projection", .array(projections)), ("experts", .array(experts)),
        ("tensors", .array(tensors)),
      ])
  }
}

extension JSONValue {
  /// The object with other values for some of its keys; new keys come last.
  func replacing(_ changes: KeyValuePairs<String, JSONValue>) -> JSONValue {
    var object = JSONObject()
    for member in self.object?.members ?? [] {
      let value = changes.first { $0.key == member.key }?.value ?? member.value
      object.append(.init(key: member.key, value: value))
    }
    for (key, value) in changes { object.append(.init(key: key, value: value)) }
    return .object(object)
  }
}
