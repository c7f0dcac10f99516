import Drift

// Whose numbers are not finite, and where.

/// A model of a run, as `non_finite[]` of the report calls it.
struct ScoredModel {
  /// The section whose numbers leave its positions out.
  let section: String
  let name: String
  let path: String

  static func candidate(_ path: String) -> Self { Self(section: "masked", name: "candidate", path: path) }
}

extension Verification {
  /// The findings of a run over masked positions, the reference first.
  ///
  /// - Parameter models: in the order of the lanes beside the reference.
  func nonFinite(
    _ scoring: Scoring, _ result: ScoredRun.Result, _ models: [ScoredModel], rejected: Set<Int>, _ encoded: EncodedData
  ) -> [NonFiniteFinding] {
    let own = ScoredModel(section: models.first?.section ?? "masked", name: "reference", path: reference.path)
    var findings: [NonFiniteFinding?] = []
    func add(_ model: ScoredModel, layer: Int?, _ isFinite: (Int) -> Bool) {
      let counted = scoring.tally(of: { !rejected.contains($0) }, isFinite)
      findings.append(finding(model, counted, layer: layer, encoded))
      guard !rejected.isEmpty else { return }
      let pairs = ScoredModel(section: "preferences", name: model.name, path: model.path)
      findings.append(finding(pairs, scoring.tally(of: rejected.contains, isFinite), layer: layer, encoded))
    }
    if let comparisons = result.comparisons.first {
      add(own, layer: result.layers.firstNonFinite.reference) { comparisons[$0].referenceIsFinite }
    } else {
      add(own, layer: nil) { result.scores.rows[$0].isFinite }
    }
    for (model, comparisons) in zip(models, result.comparisons) {
      let layers = result.layers.firstNonFinite
      let layer = model.name == "candidate" ? layers.candidate : model.name == "floor" ? layers.floor : nil
      add(model, layer: layer) { comparisons[$0].candidateIsFinite }
    }
    // Where the reference is a record, it has no lane.
    for (model, router) in zip(reference.model == nil ? models : [own] + models, result.routers) {
      let routers = ScoredModel(section: "routing", name: model.name, path: model.path)
      findings.append(finding(routers, router.tally, layer: router.layer, encoded))
    }
    return findings.compactMap(\.self)
  }

  /// The finding at positions in texts; nil where all are finite.
  func finding(
    _ model: ScoredModel, _ tally: NonFinite, layer: Int? = nil, _ encoded: EncodedData
  ) -> NonFiniteFinding? {
    tally.first.map { first in
      NonFiniteFinding(
        section: model.section, model: model.name, path: model.path, tally: tally,
        source: source(ofText: first.text, position: first.position, encoded), layer: layer)
    }
  }

  /// The findings along the reference's path.
  func nonFinite(_ along: TrajectoryScorer.Result) -> [NonFiniteFinding] {
    [
      nonFinite(along.nonFinite.reference, of: "reference", reference.path),
      nonFinite(along.nonFinite.candidate, of: "candidate", candidate?.path ?? ""),
    ].compactMap(\.self)
  }

  /// The finding in a model along the reference's path; nil where all are finite.
  func nonFinite(_ tally: NonFinite, of model: String, _ path: String) -> NonFiniteFinding? {
    tally.first.map { first in
      NonFiniteFinding(
        section: "trajectories.along_reference", model: model, path: path, tally: tally,
        source: source(ofPrompt: first.text))
    }
  }

  /// What a position is in, for people: the prompt that it belongs to, or the line of a text.
  private func source(ofText text: Int, position: Int, _ encoded: EncodedData) -> String {
    if let prompt = encoded.origins[text] { return source(ofPrompt: prompt) }
    // Windows of one text follow each other without gaps.
    let windows = encoded.texts.indices.prefix(text).filter { encoded.origins[$0] == nil }
    let before = windows.flatMap { encoded.texts[$0].tokens } + encoded.texts[text].tokens.prefix(position)
    let line = 1 + (teller?.text(of: before).count { $0 == UInt8(ascii: "\n") } ?? 0)
    return "window \(windows.count + 1) of `\(data.text?.source ?? encoded.textSource)`, line \(line)"
  }

  /// - Parameter prompt: index of a prompt.
  func source(ofPrompt prompt: Int) -> String {
    data.prompts[prompt].line > 0
      ? data.place(of: data.prompts[prompt]) : "\(data.source) prompt \(prompt + 1)"
  }
}
