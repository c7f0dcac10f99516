package import JSON

/// The gates of one command: those that were typed and, with `default`, the preset.
package struct Gates: Sendable {
  package let typed: [Gate]
  package let preset: [Gate]

  /// What `--gate` was given, in order: expressions and the word `default`.
  package init(_ expressions: [String]) throws(GateError) {
    var typed: [Gate] = []
    for expression in expressions where expression != Self.presetName { typed.append(try Gate(expression)) }
    self.typed = typed
    guard expressions.contains(Self.presetName) else {
      preset = []
      return
    }
    // Who types a limit for a number wants that limit, looser or stricter.
    let keys = Set(typed.map(\.key))
    preset = try Self.presetGates().filter { !keys.contains($0.key) }
  }

  package static var presetName: String { "default" }

  /// The table of `Formats/drift-report.md`, which has the reasons.
  package static var presetExpressions: [String] {
    [
      "weights.non_finite > 0", "masked.non_finite > 0", "weights.kept_different > 0",
      "weights.worst_expert_rmse > 0.25", "weights.worst_gain_error > 0.03",
      "masked.kl.mean > 0.05", "masked.kl.p99 > 1.0", "masked.top1_agreement.mean < 0.90",
      "masked.nll.difference.mean > 0.05", "routing.changed.mean > 0.35",
      "trajectories.tokens_per_forward.change < -0.10", "tasks.lost_significantly > 0",
    ]
  }

  private static func presetGates() throws(GateError) -> [Gate] {
    var gates: [Gate] = []
    for expression in presetExpressions { gates.append(try Gate(expression)) }
    return gates
  }

  package struct Judgement: Sendable, Equatable {
    package enum Status: String, Sendable { case pass, fail, none }
    package let status: Status
    /// `verdict.gates[]`.
    package let gates: [JSONValue]
    /// For `notes[]`: gates of the preset that were left out, keys that hold no number.
    package let notes: [String]
  }

  /// Holds the gates against a document that is complete but for `verdict` and the notes of it.
  package func judge(_ document: JSONValue) -> Judgement {
    let measured = preset.filter { $0.hasSection(in: document) }
    let left = preset.filter { !$0.hasSection(in: document) }
    let all = measured + typed
    var notes = all.compactMap { $0.complaint(document) }
    if !left.isEmpty {
      let keys = left.map { "`\($0.key)`" }.joined(separator: ", ")
      notes.append("gates of the preset left out, because their sections were not measured: \(keys)")
    }
    let passed = all.allSatisfy { $0.passes(document) }
    // In force whatever the gates: what has no numbers, or was not measured, passes nothing.
    let isWhole = document.rows(at: "non_finite").isEmpty && document.rows(at: "missing").isEmpty
    return Judgement(
      status: !isWhole ? .fail : all.isEmpty ? .none : passed ? .pass : .fail, gates: all.map { $0.json(document) },
      notes: notes)
  }
}
