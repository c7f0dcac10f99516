package import JSON

/// The gates of one command: conditions that were typed and, with its name, a preset.
package struct Gates: Sendable {
  package let typed: [Gate]
  package let preset: [Gate]

  /// What `--gate` was given, in order: conditions and names of presets.
  package init(_ words: [String]) throws(GateError) {
    var typed: [Gate] = []
    var preset: [Gate] = []
    for word in words {
      if let expressions = Self.presets[word] {
        for expression in expressions { preset.append(try Gate(expression)) }
      } else if word.contains(where: { "<>=!".contains($0) }) {
        typed.append(try Gate(word))
      } else {
        let names = Self.presets.keys.sorted().map { "`\($0)`" }.joined(separator: ", ")
        throw GateError(
          expression: word, reason: "it has no `<`, `<=`, `>` or `>=` and is not the name of a preset (\(names))")
      }
    }
    // Who types a limit for a number wants that limit, looser or stricter; a preset that is named twice counts once.
    var keys = Set(typed.map(\.key))
    self.typed = typed
    self.preset = preset.filter { keys.insert($0.key).inserted }
  }

  /// Sets of conditions that go by a name: the table of `Formats/drift-report.md`, which has the reasons.
  package static let presets: [String: [String]] = [
    "default": [
      "weights.non_finite > 0", "masked.non_finite > 0", "weights.kept_different > 0",
      "weights.worst_expert_rmse > 0.25", "weights.worst_gain_error > 0.03",
      "masked.kl.mean > 0.05", "masked.kl.p99 > 1.0", "masked.top1_agreement.mean < 0.90",
      "masked.nll.difference.mean > 0.05", "routing.changed.mean > 0.35",
      "trajectories.tokens_per_forward.change < -0.10", "tasks.lost_significantly > 0",
    ]
  ]

  /// A report with its verdict and what the gates have to say in its notes.
  ///
  /// - Parameter report: complete but for that.
  package func judge(_ report: DriftReport) -> DriftReport {
    let judgement = judge(report.json)
    var report = report
    report.verdict.status = judgement.status
    report.verdict.gates = judgement.gates
    report.notes += judgement.notes
    return report
  }

  package struct Judgement: Sendable, Equatable {
    package let status: DriftReport.Verdict.Status
    package let gates: [DriftReport.GateOutcome]
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
    // A rival of the candidate says nothing of the candidate.
    let isWhole = ["non_finite", "missing"].allSatisfy { key in
      (document.object?[key]?.array ?? []).allSatisfy { $0.object?["model"]?.string == "versus" }
    }
    return Judgement(
      status: !isWhole ? .fail : all.isEmpty ? .none : passed ? .pass : .fail,
      gates: all.map { $0.outcome(document) }, notes: notes)
  }
}
