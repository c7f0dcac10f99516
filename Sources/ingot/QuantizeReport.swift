import Calibration
import Conversion
import JSON
import Kernels
import Models
import Pack
import Quantization
import Safetensors
import Storage
import Tensors
import Text

/// What `quantize` says before and after.
struct QuantizeReport {
  private let converter: Converter
  private let source: String
  private let output: String?
  let rawByteCount: Int
  private let choice: PrecisionChoice?
  private let rounds: [Round]
  private let heldOut: String?

  /// A pack that was made and checked on the way to a target of drift.
  struct Round {
    /// Bits a weight of the experts.
    let bits: Double
    let damage: Double
    /// Mean KL divergence, in nats.
    let divergence: Double

    var text: String { "\(Format.fixed(bits, 3)) bits a weight of the experts, KL \(Format.significant(divergence))" }
  }

  /// - Parameters:
  ///   - choice: what a target has led to.
  ///   - rounds: on the way there, where it is one of drift.
  ///   - heldOut: what they were checked on.
  init(
    _ converter: Converter, source: String, output: String?, _ choice: PrecisionChoice? = nil, rounds: [Round] = [],
    heldOut: String? = nil
  ) {
    self.choice = choice
    self.rounds = rounds
    self.heldOut = heldOut
    self.converter = converter
    self.source = source
    self.output = output
    rawByteCount = converter.plan.rawByteCount
  }

  private var plan: ConversionPlan { converter.plan }
  private var quantizedCount: Int { plan.pack.tensors.count { $0.encoding.isGrouped } }

  func printStart() {
    let configuration = plan.model.configuration
    let (parameters, expertParameters) = plan.parameterCounts
    let layout = plan.model.layout.map { ", experts \($0.name)" } ?? ""
    let kept = plan.pack.tensors.count - quantizedCount
    var rows = [
      [
        "source",
        "\(source): \(configuration.modelType), \(Format.count(parameters)) parameters (experts \(share(expertParameters, parameters)))",
      ],
      ["", "\(plan.checkpoint.files.count) files, \(Format.bytes(plan.sourceByteCount))\(layout)"],
      [
        "tensors",
        "\(Format.count(quantizedCount)) quantized, \(Format.count(kept)) kept, \(Format.count(plan.droppedCount)) dropped",
      ],
    ]
    for part in plan.model.dropped where part.pattern != nil {
      rows.append(["", "\(Format.count(part.names.count)) dropped by `\(part.pattern ?? "")`: \(shown(part.names))"])
    }
    rows += [
      ["recipe", recipeText],
      [
        "memory",
        "\(Format.bytes(converter.budget.peak)) at most, \(threadsText), \(converter.kernels) kernels",
      ],
    ]
    if let output {
      let bound = plan.options.compression == .none ? "" : "at most "
      let free = OutputFile.freeBytes(beside: output).map { ", \(Format.bytes($0)) free" } ?? ""
      rows.append(["output", "\(output): \(bound)\(Format.bytes(rawByteCount))\(free)"])
    }
    for line in Format.table(rows) { Console.note(line) }
    printSpent()
    Console.notes(notes)
  }

  private var threadsText: String {
    let (working, asked) = (converter.threads, converter.threadsAsked)
    guard working == asked else { return "\(working) of \(asked) threads, as --max-memory has no room for more" }
    return working == 1 ? "1 thread" : "\(working) threads"
  }

  /// How an export of a checkpoint is quantized on the way.
  func printRecipe() {
    for line in Format.table([["recipe", recipeText]]) { Console.note(line) }
    printSpent()
  }

  private func printSpent() {
    for line in Format.table(spentRows, right: [1, 2, 3, 4]) { Console.note(line) }
  }

  /// What a target's bytes were spent on.
  private var spentRows: [[String]] {
    guard let choice, let target = plan.options.target else { return [] }
    let saved = choice.damage.least > 0 ? 1 - choice.damage.chosen / choice.damage.least : 0
    return [["target \(target)", "gate", "up", "down", "share"]]
      + zip(PrecisionTarget.levels, choice.counts).map { level, counts in
        let all = choice.counts.joined().reduce(0, +)
        return ["  \(level)"] + counts.map { Format.count($0) } + [share(counts.reduce(0, +), all)]
      } + [["  damage \(Format.fixed(100 * saved, 1)) % below the least levels"]]
  }

  /// Of the source, and what the pack lacks.
  private var notes: [String] {
    var notes = plan.model.notes.map(\.text)
    if plan.file(named: "tokenizer.json") == nil {
      notes.append("the checkpoint has no tokenizer.json; the pack can be inspected, not run or verified")
    }
    for name in plan.emptyFiles { notes.append("\(name) is empty and is left out") }
    return notes
  }

  /// The first few names.
  private func shown(_ names: [String]) -> String {
    names.prefix(3).map { "`\(Shown.text($0))`" }.joined(separator: ", ") + (names.count > 3 ? ", …" : "")
  }

  private var recipeText: String {
    let recipe = plan.options.recipe
    let overrides =
      recipe.overrides.isEmpty ? "" : ", \(recipe.overrides.count) override\(recipe.overrides.count == 1 ? "" : "s")"
    let calibrated = plan.options.calibrated.name
    let states =
      plan.options.calibration.map { ", of experts by \(calibrated) with \(Format.count($0.rows)) token states" } ?? ""
    return "experts \(recipe.experts), rest \(recipe.rest)\(overrides); scales by \(plan.options.solver.name)\(states)"
      + (plan.options.compression == .none ? "" : "; \(plan.options.compression.rawValue)")
  }

  func printEnd(_ outcome: Converter.Outcome, seconds: Double) {
    let bits = Self.bitsPerWeight(outcome, plan)
    let sizes = "\(Format.bytes(outcome.byteCount)) (\(Format.count(outcome.byteCount)) bytes), "
    Console.note(
      (output == nil ? "would write " : "wrote ") + sizes
        + "\(share(outcome.byteCount, plan.sourceByteCount)) of the source")
    Console.note(
      "bits per weight: \(Format.fixed(bits.all, 3)) in all, \(Format.fixed(bits.experts, 3)) of the experts")
    guard output != nil else { return }
    let all = " for \(rounds.count) rounds, each made and checked"
    let rate = { (bytes: Int) in Format.bytes(Int(Double(bytes) / max(seconds, 1e-9))) + "/s" }
    Console.note(
      "\(Format.fixed(seconds, 1)) s"
        + (rounds.isEmpty ? ", \(rate(plan.sourceByteCount)) in, \(rate(outcome.byteCount)) out" : all))
    printQuality(outcome)
    // Without a tokenizer nothing can be asked.
    guard plan.file(named: "tokenizer.json") != nil, let output, !plan.options.requantizes,
      plan.options.companions == nil
    else { return }
    Console.note("next: ingot verify \(output) --reference \(source)")
  }

  /// What was lost, and what could be missed.
  func printQuality(_ outcome: Converter.Outcome) {
    if plan.options.requantizes {
      let kinds = plan.model.requantized.map { "\(Format.count($0.count)) \($0.name)" }.joined(separator: ", ")
      Console.note(
        "taken as numbers: \(kinds); "
          + (plan.requantizationError(outcome.statistics).map {
            "what of them is quantized anew has a relative RMSE of \(Format.significant(Double($0))) beside these, on top of the error "
              + "of the source"
          } ?? "none is quantized anew"))
    }
    let clamped = outcome.statistics.reduce(0) { $0 + $1.clampedGroups }
    if clamped > 0 {
      Console.note("\(Format.count(clamped)) groups are too small for the byte scales of their rows and lose precision")
    }
    if let solutions = outcome.solutions {
      let coverage = solutions.coverage(columns: plan.model.configuration.hiddenSize)
      for line in CalibrationReport.lines(coverage) { Console.note(line) }
      let rounded = solutions.outcomes.count { $0 == .rounded || $0 == .withoutStates }
      if rounded > 0 {
        Console.note(
          "\(Format.count(rounded)) matrices were rounded number by number, for lack of usable states; see `ingot inspect --all`"
        )
      }
    }
    let worst = worstTensors(outcome)
    if !worst.isEmpty { Console.note("largest relative RMSE:") }
    for line in Format.table(worst.map { ["  \(Format.fixed(Double($0.error), 4))", $0.name] }) { Console.note(line) }
    if !worst.isEmpty, !plan.options.requantizes, let known = KnownDrift.text(plan.options) { Console.note(known) }
  }

  private func worstTensors(_ outcome: Converter.Outcome) -> [(error: Float, name: String)] {
    zip(outcome.statistics, plan.pack.tensors).filter { $1.encoding.isGrouped && $0.relativeRMSE > 0 }
      .map { ($0.relativeRMSE, $1.name) }
      .sorted { ($1.0, $0.1) < ($0.0, $1.1) }
      .prefix(5).map { (error: $0.0, name: $0.1) }
  }

  static func bitsPerWeight(_ outcome: Converter.Outcome, _ plan: ConversionPlan) -> (all: Double, experts: Double) {
    let (parameters, expertParameters) = plan.parameterCounts
    return (
      8 * Double(outcome.byteCount) / Double(parameters),
      8 * Double(outcome.expertByteCount) / Double(max(expertParameters, 1))
    )
  }

  /// Matrices by what became of them.
  private func count(_ outcomes: [SolutionRecord.Outcome]) -> JSONObject {
    var object = JSONObject()
    for outcome in SolutionRecord.Outcome.allCases where outcome != .other {
      object.append(.init(key: "\(outcome)", value: JSONValue(outcomes.count { $0 == outcome })))
    }
    return object
  }

  /// Matrices by what their codes were.
  private var requantizedKinds: JSONObject {
    var object = JSONObject()
    for (name, count) in plan.model.requantized { object.append(.init(key: name, value: JSONValue(count))) }
    return object
  }

  private func share(_ part: Int, _ whole: Int) -> String {
    "\(Format.fixed(100 * Double(part) / Double(max(whole, 1)), 1)) %"
  }

  /// Schema `ingot.quantize/1`.
  func json(_ outcome: Converter.Outcome, seconds: Double, peakAnonymous: Int) -> JSONValue {
    let bits = Self.bitsPerWeight(outcome, plan)
    let (parameters, expertParameters) = plan.parameterCounts
    return [
      "schema": "ingot.quantize/1",
      "dry_run": .bool(output == nil),
      "source": .string(source),
      "output": output.map { .string($0) } ?? .null,
      "source_bytes": JSONValue(plan.sourceByteCount),
      "output_bytes": JSONValue(outcome.byteCount),
      "root_hash": outcome.rootHash.map { .string(XXH3.text($0)) } ?? .null,
      "parameters": JSONValue(parameters),
      "expert_parameters": JSONValue(expertParameters),
      "bits_per_weight": JSONValue(bits.all),
      "bits_per_weight_experts": JSONValue(bits.experts),
      "tensors_quantized": JSONValue(quantizedCount),
      "tensors_kept": JSONValue(plan.pack.tensors.count - quantizedCount),
      "tensors_dropped": JSONValue(plan.droppedCount),
      "dropped": .array(plan.model.dropped.map(\.json)),
      "tensors_passed_through": JSONValue(plan.model.passedThrough.count),
      "recipe": plan.options.recipe.json,
      "solver": .string(plan.options.solver.name),
      "calibration": plan.options.calibration.map { calibration in
        var object = calibration.provenance.object ?? JSONObject()
        let outcomes = outcome.solutions.map { JSONValue.object(count($0.outcomes)) } ?? .null
        object.append(.init(key: "outcomes", value: outcomes))
        return .object(object)
      } ?? .null,
      "target": choice.map { choice in
        [
          "wanted": .string(plan.options.target.map { "\($0)" } ?? ""),
          "levels": .array(
            zip(PrecisionTarget.levels, choice.counts).map { level, counts in
              [
                "encoding": .string("\(level)"), "gate": JSONValue(counts[0]), "up": JSONValue(counts[1]),
                "down": JSONValue(counts[2]),
              ]
            }), "damage": JSONValue(choice.damage.chosen), "damage_of_least": JSONValue(choice.damage.least),
          "servable": plan.options.engine.map { .string($0.name) } ?? .null,
          "held_out": heldOut.map { .string($0) } ?? .null,
          "rounds": .array(
            rounds.map {
              [
                "bits_per_weight_experts": JSONValue($0.bits), "damage": JSONValue($0.damage),
                "kl": JSONValue($0.divergence),
              ]
            }),
        ]
      } ?? .null,
      "requantized": plan.options.requantizes
        ? [
          "matrices": .object(requantizedKinds),
          "relative_rmse": plan.requantizationError(outcome.statistics).map { JSONValue($0) } ?? .null,
        ] : .null,
      "compress": .string(plan.options.compression.rawValue),
      "kernels": .string(converter.kernels.name),
      "threads": JSONValue(converter.threads),
      "memory_planned_bytes": JSONValue(converter.budget.peak),
      "memory_peak_anonymous_bytes": JSONValue(peakAnonymous),
      "seconds": JSONValue(seconds),
      "clamped_groups": JSONValue(outcome.statistics.reduce(0) { $0 + $1.clampedGroups }),
      "worst_tensors": .array(
        worstTensors(outcome).map { ["name": .string($0.name), "relative_rmse": JSONValue($0.error)] }),
      "notes": .array(notes.map { JSONValue($0) }),
    ]
  }
}
